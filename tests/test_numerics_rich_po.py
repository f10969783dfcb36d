"""Preference losses, fits of pairs and curation: shapes, extremes, gradients, and pipelines that run."""

from __future__ import annotations

import math

import numpy as np
import pytest

from driftproof import UnmetHypothesis
from driftproof.numerics import rich_po
from driftproof.theory.laws import Gaussian
from driftproof.theory.rich_po import attainable_losses

torch = pytest.importorskip("torch")

COV = np.asarray([[1.3, 0.4], [0.4, 0.5]])
W = np.asarray([0.7, -0.9])
PAIRED = {
    "dpo_loss": {"beta": 0.3},
    "robust_dpo_loss": {"beta": 0.3, "flips": 0.1},
    "ipo_loss": {"tau": 0.3},
    "hinge_loss": {"beta": 0.3},
    "dpop_loss": {"beta": 0.3, "penalty": 2.0},
    "sppo_loss": {"beta": 0.3},
    "simpo_loss": {"beta": 2.0, "gamma": 0.5},
    "slic_loss": {"margin": 1.0},
}


@pytest.mark.parametrize("name", PAIRED)
def test_an_sft_term_is_the_winner_times_its_weight(name: str) -> None:
    loss = getattr(rich_po, name)
    w, l = np.asarray([-3.0, -0.2]), np.asarray([-1.0, -4.0])
    np.testing.assert_allclose(
        loss(w, l, **PAIRED[name], sft=0.25), loss(w, l, **PAIRED[name]) - 0.25 * w, rtol=1e-14
    )


@pytest.mark.parametrize("name", [*PAIRED, "clamped_step_loss", "orpo_loss", "log_odds_ratio_loss"])
def test_shapes_are_not_broadcast(name: str) -> None:
    """The mean over (n, n) would be a loss too, and a wrong one."""
    options = {**PAIRED, "clamped_step_loss": {"beta": 1.0, "clip": 0.1}, "orpo_loss": {"weight": 0.1}}
    with pytest.raises(UnmetHypothesis, match="one shape"):
        getattr(rich_po, name)(-np.ones(3), -np.ones((3, 1)), **options.get(name, {}))


@pytest.mark.parametrize("name", PAIRED)
def test_gradients_are_finite_however_far_a_pair_is(name: str) -> None:
    w = torch.tensor([-1e4, -700.0, -1e-3, -1e4], dtype=torch.float64, requires_grad=True)
    l = torch.tensor([-1e-3, -1e-3, -700.0, -1e4], dtype=torch.float64, requires_grad=True)
    slopes = torch.autograd.grad(getattr(rich_po, name)(w, l, **PAIRED[name]).sum(), (w, l))
    assert all(torch.isfinite(slope).all() for slope in slopes)


def test_the_gradient_of_dpo_at_the_reference_is_half_beta() -> None:
    w, l = (torch.zeros(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    slopes = torch.autograd.grad(rich_po.dpo_loss(w, l, 0.3).sum(), (w, l))
    assert [float(slope[0]) for slope in slopes] == pytest.approx([-0.15, 0.15], rel=1e-15)


def test_ties_are_half_of_either_order() -> None:
    w, l = np.asarray([0.3, 5.0]), np.asarray([-1.0, 7.0])
    tie = rich_po.dpo_loss(w, l, 0.7, smoothing=0.5)
    np.testing.assert_allclose(
        tie, 0.5 * (rich_po.dpo_loss(w, l, 0.7) + rich_po.dpo_loss(l, w, 0.7)), rtol=1e-14
    )


def test_half_precision_losses_stay_single() -> None:
    u = torch.tensor([1.0, -2.0], dtype=torch.bfloat16)
    assert rich_po.dpo_loss(u, -u, 0.1).dtype == torch.float32
    images = torch.ones((2, 3, 4), dtype=torch.bfloat16)
    assert rich_po.denoising_ratio(2.0 * images, images, images).dtype == torch.float32


def test_clamped_answers_have_no_gradient() -> None:
    w = torch.tensor([0.2, 0.05, -3.0], dtype=torch.float64, requires_grad=True)
    loss = rich_po.clamped_step_loss(w, torch.zeros(3, dtype=torch.float64), 10.0, 0.1)
    (slope,) = torch.autograd.grad(loss.sum(), w)
    assert (slope != 0).tolist() == [False, True, False]
    least, most = attainable_losses(10.0, 0.1)
    assert ((loss >= least) & (loss <= most)).all()


def test_odds_keep_their_digits_at_both_ends() -> None:
    logs = np.asarray([-1e-300, -1e-16, -0.5, -40.0, -800.0])
    values = rich_po.log_odds_ratio_loss(logs, logs[::-1].copy())
    assert np.isfinite(values).all()
    assert float(values[2]) == pytest.approx(math.log(2.0), rel=1e-15)
    with pytest.raises(UnmetHypothesis, match="a density has no odds"):
        rich_po.orpo_loss(0.0, -1.0, 0.1)


def test_the_unlearned_model_has_no_ratio() -> None:
    rng = np.random.default_rng(0)
    reference, target = rng.normal(size=(2, 2, 4, 8, 8))
    assert (rich_po.denoising_ratio(reference, reference, target) == 0.0).all()
    for weight in (np.asarray(2.0), np.asarray([1.0, 3.0])):
        moved = rich_po.denoising_ratio(target, reference, target, weight)
        np.testing.assert_allclose(
            moved, weight * np.sum((reference - target) ** 2, axis=(1, 2, 3)), rtol=1e-13
        )
    with pytest.raises(UnmetHypothesis, match=r"weight \(\) or \(n,\)"):
        rich_po.denoising_ratio(reference, reference, target, np.ones(3))


# -- fits


def test_one_pair_is_its_logit() -> None:
    for p in (1e-9, 0.3, 0.5, 1.0 - 1e-9):
        theta = rich_po.fit_pairs([[3.0, 4.0]], [p])
        np.testing.assert_allclose(
            theta, np.log(p / (1.0 - p)) / 25.0 * np.asarray([3.0, 4.0]), rtol=1e-9, atol=1e-15
        )


def test_fits_do_not_depend_on_units_or_repeated_pairs() -> None:
    rng = np.random.default_rng(0)
    delta, wins = rng.normal(size=(30, 3)), rng.uniform(0.05, 0.95, size=30)
    theta = rich_po.fit_pairs(delta, wins)
    np.testing.assert_allclose(rich_po.fit_pairs(1e8 * delta, wins), 1e-8 * theta, rtol=1e-11)
    again = rich_po.fit_pairs(np.concatenate([delta, delta[:5]]), np.concatenate([wins, wins[:5]]))
    counted = rich_po.fit_pairs(delta, wins, np.where(np.arange(30) < 5, 2.0, 1.0))
    np.testing.assert_allclose(again, counted, rtol=1e-11)
    np.testing.assert_allclose(rich_po.fit_pairs(-delta, 1.0 - wins), theta, rtol=1e-11)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_separable_pairs_are_refused(scale: float) -> None:
    """One of ten directions that always wins is enough: training would never end."""
    rng = np.random.default_rng(1)
    delta = scale * np.column_stack([rng.normal(size=20), np.zeros(20)])
    delta = np.concatenate([delta, [[0.0, scale]]])
    wins = np.append(rng.uniform(0.2, 0.8, size=20), 1.0)
    with pytest.raises(UnmetHypothesis, match="no direction separates"):
        rich_po.fit_pairs(delta, wins)
    assert np.isfinite(rich_po.fit_pairs(delta, np.append(wins[:-1], 0.999))).all()


# -- curation


def test_policies_rank_as_they_must() -> None:
    """More draws to choose from, surer labels and better critics never teach less."""
    n = 100.0
    best = [rich_po.one_step_gain(rich_po.best_of_pairs(COV, W, k), COV, W, n) for k in (2, 3, 4, 8, 64)]
    assert (np.diff(best) > 0).all()
    flipped = [
        rich_po.one_step_gain(rich_po.random_pairs(COV, W, e), COV, W, n) for e in (0.0, 0.1, 0.3, 0.49)
    ]
    assert (np.diff(flipped) < 0).all()
    sharp, blurred = (
        rich_po.EditingPipeline(W, np.eye(2), 0.5, z * np.eye(2), 0.01 * np.eye(2)).edit_law()
        for z in (0.1, 3.0)
    )
    decreed, relabelled = (
        [
            float(rich_po.one_step_gain(rich_po.edited_pairs(law, W, how), COV, W, n))
            for law in (sharp, blurred)
        ]
        for how in ("decreed", "relabelled")
    )
    assert decreed[0] > decreed[1]
    # A relabeller that knows the reward makes use of the critic's errors: they are pairs in other directions.
    assert relabelled[0] < relabelled[1]


def test_all_policies_stay_in_one() -> None:
    edit = Gaussian([0.5, -0.2], 0.1 * COV)
    policies = [rich_po.edited_pairs(edit, W, labels) for labels in ("decreed", "relabelled", "filtered")]
    for pairs in (rich_po.random_pairs(COV, W), rich_po.best_of_pairs(COV, W, 1000), *policies):
        assert np.linalg.eigvalsh(pairs.cov).min() > -1e-12
        assert 0.0 < pairs.kept <= 1.0
        shares = [float(rich_po.one_step_gain(pairs, COV, W, n)) for n in (1.0, 10.0, 1e6, math.inf)]
        assert np.all(np.diff(shares) > 0.0)
        assert shares[-1] <= 1.0 + 1e-12


def test_extreme_edits_keep_their_moments() -> None:
    """Gaps of hundreds of nats: the filter drops nothing, or next to everything."""
    for size in (1.0, 30.0, 300.0):
        law = Gaussian([size, 0.0], 0.2 * COV)
        sure = rich_po.edited_pairs(law, W, "relabelled")
        np.testing.assert_allclose(
            sure.mean[0], size, rtol=0.4 if size == 1.0 else 1e-6
        ) if size > 1.0 else None
        kept = rich_po.edited_pairs(law, -W, "filtered").kept
        assert 0.0 < kept < 0.5


def test_a_filter_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(UnmetHypothesis, match="keeps some pairs"):
        rich_po.edited_pairs(Gaussian([1e4, 0.0], 0.0 * COV), -W, "filtered")
    assert rich_po.edited_pairs(Gaussian([1e4, 0.0], 0.0 * COV), -W, "filtered", 0.1).kept == 0.1


def test_moments_carry_no_gradient() -> None:
    """A gradient through part of the formula would be a wrong one."""
    w, cov = torch.tensor(W, requires_grad=True), torch.tensor(COV, requires_grad=True)
    edit = Gaussian(torch.tensor([0.5, 0.2], dtype=torch.float64), cov)
    for pairs in (
        rich_po.random_pairs(cov, w),
        rich_po.best_of_pairs(cov, w, 3),
        rich_po.edited_pairs(edit, w),
    ):
        assert not pairs.mean.requires_grad
        assert not pairs.cov.requires_grad
    mean = torch.tensor([0.5, 0.2], dtype=torch.float64, requires_grad=True)
    share = rich_po.one_step_gain(rich_po.PairMoments(mean, cov.detach()), cov, w, 10.0)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(share, (mean, cov, w)))


def test_the_pipeline_of_doubles_runs_in_every_namespace_and_repeats() -> None:
    made = rich_po.EditingPipeline(W, np.asarray([[1.0], [0.4]]), 0.8, 0.2 * COV, 0.1 * COV)
    images = np.random.default_rng(0).normal(size=(50, 2))
    here, again = (made.pairs(images, 7, "filtered") for _ in range(2))
    np.testing.assert_array_equal(here.chosen, again.chosen)
    assert here.made == 50
    assert here.chosen.shape == here.rejected.shape == (int(here.edit_won.sum()), 2)
    there = rich_po.EditingPipeline(
        torch.tensor(W),
        torch.tensor([[1.0], [0.4]], dtype=torch.float64),
        0.8,
        0.2 * torch.tensor(COV),
        0.1 * torch.tensor(COV),
    ).pairs(torch.tensor(images), 7)
    plain = made.pairs(images, 7)
    np.testing.assert_allclose(there.chosen.numpy(), plain.chosen, rtol=1e-12)
    assert ((plain.edit_won == 0) | (plain.edit_won == 1)).all()


@pytest.mark.parametrize(
    ("images", "options", "words"),
    [
        (np.zeros((4, 3)), {}, r"images \(n, d\)"),
        (np.zeros(2), {}, r"images \(n, d\)"),
        (np.zeros((4, 2)), {"labels": "kept"}, "labels is one of"),
        (np.zeros((4, 2)), {"flips": 0.7}, "flips in"),
        (np.full((4, 2), np.nan), {}, "NaN"),
    ],
)
def test_what_the_pipeline_refuses(images, options, words: str) -> None:
    made = rich_po.EditingPipeline(W, np.eye(2), 0.8, COV, COV)
    with pytest.raises(UnmetHypothesis, match=words):
        made.pairs(images, 0, **options)


def test_a_relabeller_that_flips_a_coin_knows_nothing() -> None:
    pairs = rich_po.edited_pairs(Gaussian([3.0, 1.0], COV), W, "relabelled", 0.5)
    np.testing.assert_array_equal(pairs.mean, np.zeros(2))
    assert float(rich_po.one_step_gain(pairs, COV, W, 10.0)) == 0.0


@pytest.mark.parametrize("size", [1e-300, 1e-8, 1.0, 1e3, 1e150])
@pytest.mark.parametrize("shared", [True, False])
def test_the_optimum_of_diffusion_dpo_at_extreme_rewards(size: float, shared: bool) -> None:
    alpha = np.asarray([0.95, 0.6, 1e-6])
    sigma = np.sqrt(1.0 - alpha**2)
    found = rich_po.diffusion_dpo_optimum(COV, size * W, alpha, sigma, 1.0, shared_noise=shared)
    assert np.isfinite(found).all() and found @ W > 0.0
    again = rich_po.diffusion_dpo_optimum(COV, size * W, alpha, sigma, 0.25, shared_noise=shared)
    np.testing.assert_allclose(again, 4.0 * found, rtol=1e-15)
    if not shared:
        more = rich_po.diffusion_dpo_optimum(COV, size * W, alpha, sigma, 1.0)
        assert np.abs(found).max() < np.abs(more).max()
    with pytest.raises(UnmetHypothesis, match=r"w\^T S0 w is finite"):
        rich_po.diffusion_dpo_optimum(COV, 1e300 * W, alpha, sigma, 1.0)
