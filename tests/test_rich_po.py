"""Preference optimisation in closed form: where users stand, stacks, precisions and gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest

from driftproof import UnmetHypothesis
from driftproof.theory import rich_po
from driftproof.theory.laws import Gaussian
from driftproof.theory.rewards import Linear, Quadratic

torch = pytest.importorskip("torch")

COV = np.asarray([[1.3, 0.4], [0.4, 0.5]])
W = np.asarray([0.7, -0.9])


def test_no_gap_and_any_gap() -> None:
    """At a gap of 0 every label is a coin; far out kappa is 4 / (s sqrt(2 pi))."""
    assert float(rich_po.mean_slope(0.0)) == 1.0
    assert float(rich_po.gap_efficiency(0.0)) == 0.0
    for s in (1e6, 1e100, 1e300):
        assert float(rich_po.mean_slope(s)) * s == pytest.approx(4.0 / math.sqrt(2.0 * math.pi), rel=1e-11)
    assert float(rich_po.gap_information(1e300)) == 0.0
    assert float(rich_po.gap_efficiency(1e300)) * 1e300 == pytest.approx(2.9881177, rel=1e-7)


def test_kappa_falls_and_joins_where_its_formula_changes() -> None:
    s = np.linspace(0.9, 1.1, 41)
    kappa = rich_po.mean_slope(s)
    assert (np.diff(kappa) < 0).all()
    assert np.max(np.abs(np.diff(kappa, 3))) < 1e-6


@pytest.mark.parametrize("sd", [0.0, 1e-8, 1.0, 30.0, 100.0])
def test_scales_are_between_0_and_1_and_exact_without_a_cause(sd: float) -> None:
    assert float(rich_po.flipped_scale(sd, 0.0)) == pytest.approx(1.0, rel=1e-11)
    assert float(rich_po.stepwise_scale(sd, 1.0)) == pytest.approx(1.0, rel=1e-11)
    assert float(rich_po.independent_noise_scale(sd, 1.0)) == pytest.approx(1.0, rel=1e-11)
    assert float(rich_po.sft_scale(sd, 0.5, 0.0)) == pytest.approx(1.0, rel=1e-11)
    for values in (
        rich_po.flipped_scale(sd, np.linspace(0.0, 0.5, 30)),
        rich_po.stepwise_scale(sd, np.geomspace(1.0, 1e-12, 30)),
        rich_po.independent_noise_scale(sd, np.geomspace(1.0, 1e12, 30)),
    ):
        # Without a gap the steps of a chain learn all of the reward.
        assert (np.diff(values) <= 1e-12).all()
        assert (values >= 0.0).all()


def test_single_precision_and_gradients_of_the_roots() -> None:
    sd = torch.tensor([0.0, 0.5, 3.0, 20.0], dtype=torch.float32)
    single = rich_po.flipped_scale(sd, 0.1)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), rich_po.flipped_scale(sd.double(), 0.1).numpy(), rtol=1e-4)
    flips = torch.tensor([0.0, 0.1, 0.5], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(rich_po.flipped_scale(2.0, flips).sum(), flips)
    assert torch.isfinite(slope).all()
    assert (slope < 0).all()
    # At eps = 1/2 the root is 0, where c kappa(c s) = c: its slope is -2 kappa(s).
    assert float(slope[-1]) == pytest.approx(-2.0 * float(rich_po.mean_slope(2.0)), rel=1e-9)


def test_the_flow_of_an_edit_starts_at_half_its_speed() -> None:
    time = torch.tensor([0.0, 1e-8, 1.0, 1e6], dtype=torch.float64, requires_grad=True)
    z = rich_po.always_won_margin(time)
    (speed,) = torch.autograd.grad(z.sum(), time)
    np.testing.assert_allclose(speed.numpy(), 1.0 / (1.0 + np.exp(z.detach().numpy())), rtol=1e-13)
    assert float(rich_po.always_won_margin(1e308)) == pytest.approx(math.log(1e308), rel=1e-2)


def test_margins_of_certain_wins() -> None:
    assert float(rich_po.optimal_margin(1.0, 0.1)) == math.inf
    assert float(rich_po.optimal_margin(1.0, 0.1, smoothing=0.1)) == pytest.approx(10.0 * math.log(9.0))
    assert float(rich_po.optimal_margin(0.5, 0.1, "hinge")) == 0.0
    with pytest.raises(UnmetHypothesis, match="loss is one of"):
        rich_po.optimal_margin(0.5, 0.1, "slic")  # type: ignore[arg-type]


def test_stacks_and_one_problem_agree() -> None:
    """Vectors and matrices with leading axes are many problems."""
    covs, ws = np.stack([COV, 2.0 * COV, np.eye(2)]), np.stack([W, -W, W[::-1]])
    edges = np.stack([np.asarray([[1.0], [0.2]])] * 3)
    many = rich_po.captured_gain(covs, ws, edges)
    mixed = rich_po.mixture_coefficient(covs, ws, ws[::-1].copy(), 0.3)
    for k in range(3):
        assert float(many[k]) == pytest.approx(float(rich_po.captured_gain(covs[k], ws[k], edges[k])))
        one = rich_po.mixture_coefficient(covs[k], ws[k], ws[2 - k].copy(), 0.3)
        np.testing.assert_allclose(mixed[k], one, rtol=1e-13)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rich_po.captured_gain(COV, W, np.zeros((2, 1))), "linearly independent"),
        (lambda: rich_po.captured_gain(COV, W, np.zeros((2, 0))), r"1 <= k <= d"),
        (lambda: rich_po.captured_gain(COV, np.ones(3), np.ones((2, 1))), r"cov \(d, d\)"),
        (lambda: rich_po.gold_gain(np.ones(3), np.stack([W, W]), W, COV, 0.1), "fit together"),
        (lambda: rich_po.peak_penalty(W, np.asarray([0.0, 0.0]), COV, 1.0), "w.T S0 v > 0"),
        (lambda: rich_po.pair_margin(W, COV, W, [0.5, 0.6], [0.5]), r"alpha and sigma \(n,\)"),
        (lambda: rich_po.pair_margin(W, COV, W, [0.0], [0.5]), "alpha > 0"),
        (lambda: rich_po.optimal_value(Gaussian([0.0], [[1.0]]), Linear([1.0]), math.inf), "beta > 0"),
        (lambda: rich_po.flipped_scale(101.0, 0.1), r"sd in \[0, 100\]"),
        (lambda: rich_po.summed_beta(5000.0, 16384, "sdxl"), "script is one of"),  # type: ignore[arg-type]
    ],
)
def test_what_is_refused(call, words: str) -> None:
    with pytest.raises(UnmetHypothesis, match=words):
        call()


def test_the_value_is_where_the_tilt_is_legal_up_to_its_edge() -> None:
    """A convex reward that nearly outgrows the density has a large value, not a wrong one."""
    law = Gaussian([0.0], [[1.0]])
    for gap in (1e-2, 1e-6, 1e-10):
        reward = Quadratic([0.0], [[-1.0 + gap]])
        assert float(rich_po.optimal_value(law, reward, 1.0)) == pytest.approx(-0.5 * math.log(gap), rel=1e-5)


def test_units_agree_between_scripts() -> None:
    assert rich_po.summed_beta(5000.0, 16384) == rich_po.summed_beta(2500.0, 16384, "diffusers-sd")
    assert set(rich_po.BETA_CONVENTIONS) >= {"salesforce", "diffusers-sd", "diffusers-sdxl", "d3po", "spo"}
    least, most = rich_po.attainable_losses(0.1, 1e-9)
    assert least == pytest.approx(math.log(2.0), abs=1e-9)
    assert least < most


def test_displacement_of_extremes() -> None:
    """Nothing moves without a reward; a weak penalty displaces without bound."""
    assert float(rich_po.displacement(0.0, 1e-3)) == 0.0
    assert float(rich_po.displacement(5000.0, 1e-3)) < -1e9
    assert float(rich_po.sft_threshold(5000.0, 0.01)) < 0.01
    assert float(rich_po.sft_threshold(0.0, 1.0)) == 0.0
