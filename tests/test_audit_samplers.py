"""The affine probe: what is planted in a sampler is found, with its cause; what is right is left alone."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

from driftproof.numerics.samplers import ddim_step, euler_maruyama_step, gddim_step
from driftproof.numerics.samplers.parametrization import DIFFUSERS
from driftproof.theory.processes import CIR, VE, VP, Flow
from driftproof.validation import audit
from driftproof.validation.audits import mixtures
from driftproof.validation.audits.adapters import SchedulerSampler
from driftproof.validation.audits.affine import DATA, LAWS, POINT, propagate
from driftproof.validation.audits.models import Model, models
from driftproof.validation.audits.steps import StepSampler
from tests.short_audits import ends_of_long_runs  # noqa: F401  # a fixture
from tests.toy_schedulers import (
    Ancestral,
    Asking,
    Broken,
    Choosy,
    Clipped,
    Consistent,
    Crowded,
    Leaping,
    Louder,
    Misstated,
    Noisy,
    OtherGrid,
    Refined,
    Repeated,
    Reshaping,
    Rising,
    Silent,
    Timeless,
    Toy,
    Uniform,
    Unseen,
    Velocity,
    Wasted,
    ddim,
)

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.usefixtures("ends_of_long_runs")


def test_the_probe_is_the_recursion_of_ddim() -> None:
    """A second derivation: with x = m + c (x - m) at every step, the deviation is a product."""
    n, process = 12, VP()
    path = propagate(StepSampler(ddim, process), n, Model("epsilon"))
    times = np.linspace(process.T, 0.0, n + 1)
    alpha, sigma = (np.asarray(x) for x in process.alpha_sigma(np, times))
    for i, law in enumerate(LAWS):
        total = alpha**2 * law.variance + sigma**2
        gains = alpha[1:] * alpha[:-1] * law.variance / total[:-1] + sigma[1:] * sigma[:-1] / total[:-1]
        expected = math.sqrt(total[0]) * np.cumprod(gains)
        np.testing.assert_allclose(path.std[1:, i], expected, rtol=1e-12, atol=1e-300)
        np.testing.assert_allclose(path.mean[:, i], alpha * law.mean, atol=1e-14)
    assert path.defect < 1e-13
    assert (path.draws, path.finite) == (n, True)


def test_variances_add_over_the_draws() -> None:
    """The ancestral step of one point: after it the state has the law of the forward process."""

    def step(model_output: Any, t: float, s: float, sample: Any, noise: Any) -> Any:
        return gddim_step(VP(), sample, t, s, model_output, 1.7, noise)

    path = propagate(StepSampler(step, VP()), 7, Model())
    np.testing.assert_allclose(path.std[:-1, POINT], path.sigma, rtol=1e-12)
    np.testing.assert_allclose(path.mean[:-1, POINT], DATA.mean * path.alpha, atol=1e-14)
    np.testing.assert_allclose(path.point[:-1], np.stack([path.alpha, path.sigma], axis=1), atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("process", [VP(), VE(), Flow()])
def test_steps_of_our_own_converge(process: Any, eta: float) -> None:
    def step(model_output: Any, t: float, s: float, sample: Any, noise: Any) -> Any:
        return gddim_step(process, sample, t, s, model_output, eta, noise)

    grid = None if process.T == 1.0 and not isinstance(process, VE) else geometric
    row = audit(step, process=process, grid=grid)
    assert row.severity == "converges", row.verdict
    assert row.order is not None
    assert 0.4 < row.order < 1.6
    assert row.mean_error is not None
    assert max(map(abs, row.mean_error)) < 1e-12  # a consistent grid keeps the mean


def geometric(n: int) -> list[float]:
    return [*np.geomspace(1.0, 1e-4, n).tolist(), 0.0]


def test_euler_maruyama_is_of_first_order() -> None:
    def step(model_output: Any, t: float, s: float, sample: Any, noise: Any) -> Any:
        score = -model_output / VP().alpha_sigma(np, np.asarray(t))[1]
        return euler_maruyama_step(VP(), sample, t, s, score, 1.0, noise)

    row = audit(step, steps=(40, 80, 160))
    assert row.order is not None
    assert row.order == pytest.approx(1.0, abs=0.3)


def plain(stochastic: float, loudness: float = 1.0) -> Any:
    """The method of Euler and Maruyama in time: right, and not exact on a point mass."""

    def step(model_output: Any, t: float, s: float, sample: Any, noise: Any) -> Any:
        score = -model_output / VP().alpha_sigma(np, np.asarray(t))[1]
        return euler_maruyama_step(VP(), sample, t, s, score, stochastic, loudness * noise)

    return step


@pytest.mark.parametrize("stochastic", [0.0, 1.0])
def test_a_discretisation_is_no_disagreement(stochastic: float) -> None:
    row = audit(plain(stochastic))
    assert row.severity == "limit", row.verdict
    assert row.verdict.startswith("consistent in the limit only: the mean is ")
    assert "the grids differ" not in row.verdict
    assert "disagree" not in row.verdict


@pytest.mark.slow(ci=True)
def test_wrong_noise_is_told_from_a_discretisation() -> None:
    assert audit(plain(1.0, 1.2)).severity == "diverges"
    row = audit(Louder())
    assert row.severity in ("diverges", "mismatch"), row.verdict
    assert row.std_error is not None
    assert row.std_error[-1] > 0.05


def test_a_slow_start_is_not_said_to_be_the_limit() -> None:
    row = audit(Crowded(), steps=(4, 6, 8))
    assert row.severity == "converges", row.verdict
    assert row.steps == (4, 6, 8, 16, 32)


def test_an_order_that_was_asked_for_is_the_one_that_is_stated() -> None:
    assert audit(Refined(), step_options={"order": 1}).severity == "converges"
    row = audit(Refined())
    assert row.severity == "slow"
    assert row.verdict.startswith("order 1.0 where 2 is stated")


@pytest.mark.slow(ci=True)
def test_jumps_that_do_not_shrink_want_the_trajectory_function() -> None:
    row = audit(Leaping())
    assert row.severity == "conditional", row.verdict
    assert row.verdict.startswith("with epsilon, as stated: does not converge")
    assert "(the std is 21% low)" in row.verdict
    assert row.verdict.endswith("reads the output as epsilon of the trajectory function")
    assert max(map(abs, row.std_error or ())) < 1e-12
    assert "however many there are" in row.reason
    assert "function" not in audit(Ancestral()).verdict


def test_the_trajectory_function_lands_on_the_flow() -> None:
    x, alpha, sigma, aim = np.array([1.7]), 0.6, 0.8, (0.9, 0.4)
    v = np.array([0.25])
    x0 = Model("sample", function="trajectory").output(x, alpha, sigma, 0.8, v, aim)
    z = Model("epsilon", function="trajectory").output(x, alpha, sigma, 0.8, v, aim)
    np.testing.assert_allclose(alpha * x0 + sigma * z, x, rtol=1e-14)
    scale = math.sqrt((0.81 * 0.25 + 0.16) / (0.36 * 0.25 + 0.64))
    np.testing.assert_allclose(aim[0] * x0 + aim[1] * z, 0.9 * 0.8 + scale * (x - 0.6 * 0.8), rtol=1e-14)
    consistency = Model("sample", function="consistency").output(x, alpha, sigma, 0.8, v)
    at_data = Model("sample", function="trajectory").output(x, alpha, sigma, 0.8, v, (1.0, 0.0))
    np.testing.assert_allclose(at_data, consistency, rtol=1e-14)


def test_a_step_may_write_into_what_it_is_given() -> None:
    def inplace(model_output: Any, t: float, s: float, sample: Any, noise: Any) -> Any:
        sample[:] = ddim_step(VP(), sample, t, s, model_output)
        model_output[:] = 0.0
        return sample

    assert audit(inplace).std_error == audit(ddim).std_error


def test_noise_that_is_not_the_probes_is_said() -> None:
    assert "random beyond the noise that is given" in audit(Unseen()).verdict


def test_arguments_of_step_may_be_given() -> None:
    with pytest.raises(ValueError, match="step needs generator, and step_options does not give it"):
        audit(Asking())
    row = audit(Asking(), step_options={"generator": torch.Generator()})
    assert row.severity == "converges"
    assert "{'generator': torch.Generator()}" in row.reproduction


def test_every_exact_model_means_what_it_says() -> None:
    x0, z, alpha, sigma = np.array([0.3, -1.0]), np.array([0.7, 0.2]), 0.6, 0.8
    read = {name: Model(name).of(x0, z, alpha, sigma) for name in DIFFUSERS}
    np.testing.assert_allclose(alpha * z - sigma * x0, read["v_prediction"], rtol=1e-14)
    np.testing.assert_allclose(z - x0, read["flow_prediction"], rtol=1e-14)
    assert len(set(models(0.5))) == len(list(models(0.5))) == 16


def test_a_scheduler_of_the_user_is_audited() -> None:
    row = audit(Toy())
    assert row.severity == "converges", row.verdict
    assert row.object.endswith("Toy")
    assert row.affine
    stochastic = audit(Ancestral())
    assert stochastic.severity == "converges", stochastic.verdict
    assert "normals drawn" in stochastic.reason


def test_a_last_step_that_does_nothing_is_a_floor_with_its_cause() -> None:
    row = audit(Repeated())
    assert row.severity == "floor"
    assert "the last call does nothing" in row.verdict
    assert "sigma = 0.01 instead of" in row.verdict
    assert row.floor == pytest.approx(math.hypot(0.5, 0.01) - 0.5, rel=1e-3)


def test_a_last_call_at_the_data_is_a_waste_and_no_disagreement() -> None:
    row = audit(Wasted())
    assert row.severity == "converges"
    assert row.verdict.endswith("the last call does nothing")


def test_a_step_on_another_grid_is_seen_at_the_first_call() -> None:
    row = audit(OtherGrid())
    assert row.severity in ("mismatch", "floor", "diverges")
    assert "after call 1 of 5" in row.verdict
    assert "the grids differ" in row.verdict


@pytest.mark.slow(ci=True)
def test_noise_without_drift_does_not_converge() -> None:
    row = audit(Noisy())
    assert row.severity == "diverges"
    assert row.std_error is not None
    assert row.std_error[-1] > 0.1


def test_not_a_number_is_a_verdict_and_json() -> None:
    row = audit(Broken())
    assert row.severity == "nan"
    assert row.verdict.startswith("NaN after call 1 of 5")
    json.dumps(asdict(row), allow_nan=False)


def test_clipping_is_settled_by_monte_carlo_with_its_budget() -> None:
    row = audit(Clipped())
    assert row.affine is False
    assert row.severity == "converges", row.verdict
    assert "not affine: settled by Gaussian mixture and Monte Carlo" in row.verdict
    assert "would have been seen, at a false-alarm rate of 1e-08 a test" in row.verdict
    assert "at 1e-08 each" in row.reason


def test_differences_to_the_exact_flow_show_what_the_draws_alone_do_not() -> None:
    """0.5 % of a deviation of 0.5, where the draws alone show 0.019; what is right alarms in neither way."""
    rng, n = np.random.default_rng(0), mixtures.PATHS
    x0 = rng.choice(mixtures._MEANS, p=mixtures._WEIGHTS, size=n) + mixtures._SD * rng.standard_normal(n)
    flow = mixtures._flow(0.3 * x0 + 0.95 * rng.standard_normal(n), 0.3, 0.95)
    assert not mixtures._compared(flow, flow)[0]
    assert not mixtures._compared(x0, flow)[0]
    assert not mixtures._compared(0.995 * x0, flow)[0]
    alarm, mean, std, seen = mixtures._compared(0.995 * flow, flow)
    assert alarm
    assert seen < 1e-3
    assert mean == pytest.approx(-0.005 * mixtures._MEAN, abs=1e-4)
    assert std == pytest.approx(-0.005 * math.sqrt(mixtures._VARIANCE), abs=1e-4)


def test_the_exact_flow_ends_at_the_data() -> None:
    """The quantiles of the start are those of the end: Kolmogorov's distance to the mixture, at 1e-8."""
    rng, n = np.random.default_rng(0), 100_000
    x0 = rng.choice(mixtures._MEANS, p=mixtures._WEIGHTS, size=n) + mixtures._SD * rng.standard_normal(n)
    found = np.sort(mixtures._flow(0.3 * x0 + 0.95 * rng.standard_normal(n), 0.3, 0.95))
    cdf = ndtr((found[:, None] - mixtures._MEANS) / mixtures._SD) @ mixtures._WEIGHTS
    assert np.max(np.abs(cdf - (np.arange(n) + 0.5) / n)) < math.sqrt(math.log(2e8) / (2 * n)) + 0.5 / n


@pytest.mark.slow(ci=True)
def test_a_table_of_another_process_than_the_stated_one_is_named() -> None:
    row = audit(Misstated())
    assert row.severity == "mismatch", row.verdict
    assert "its steps are those of (1 - sigma) x_0 + sigma z with its sigmas" in row.verdict
    left = float(row.verdict.split("stated one: ")[1].split()[0])
    assert left < 0.1 * math.hypot((row.mean_error or [0])[-1], (row.std_error or [0])[-1])
    assert "with its sigmas" not in audit(OtherGrid()).verdict


@pytest.mark.slow(ci=True)
def test_a_network_inside_of_other_scalings_is_no_error() -> None:
    row = audit(Consistent())
    assert row.severity == "floor"
    assert "with which: floor 0.0025" in row.verdict
    assert row.verdict.endswith("reads the output as F in the c_skip x + c_out F of its step")
    expected = math.hypot(0.5, Consistent.low) - 0.5  # what the last level leaves, and nothing else
    np.testing.assert_allclose(row.std_error, expected, rtol=1e-6)
    np.testing.assert_allclose(row.mean_error, 0.0, atol=1e-12)


def test_a_count_that_is_refused_is_refused_twice() -> None:
    assert audit(Choosy()).steps == (5, 10, 20, 40)
    sampler = SchedulerSampler(Choosy())
    for _ in range(2):
        with pytest.raises(ValueError, match="at most 40"):
            sampler.begin(80)


def test_what_is_not_stated_is_found() -> None:
    row = audit(Velocity())
    assert row.severity == "converges", row.verdict
    assert "-flow_prediction fits best" in row.reason


def test_a_wrong_prediction_type_is_named() -> None:
    class Mislabelled(Toy):
        prediction_type = "sample"

    row = audit(Mislabelled())
    assert row.verdict.endswith("reads the output as epsilon")
    assert audit(Mislabelled(), prediction="sample").severity == "diverges"


@pytest.mark.parametrize(
    ("scheduler", "hypothesis"),
    [
        (Reshaping(), "keeps the shape"),
        (Rising(), "noise level falls"),
        (Uniform(), "standard normal"),
        (Timeless(), "sets the attribute timesteps"),
        (Silent(), "step returns the next state"),
    ],
)
def test_bad_schedulers_are_refused_with_the_hypothesis(scheduler: Any, hypothesis: str) -> None:
    with pytest.raises(ValueError, match=hypothesis):
        audit(scheduler)


def test_bad_input_is_refused() -> None:
    class Formless:
        def set_timesteps(self, n: int) -> None: ...

    with pytest.raises(ValueError, match="it has no step; it states no forward process"):
        audit(Formless())
    with pytest.raises(ValueError, match="prediction is one of"):
        audit(Toy(), prediction="noise")
    with pytest.raises(ValueError, match="keeps the shape"):
        audit(lambda model_output, t, s, sample, noise: sample[:-1])
    with pytest.raises(ValueError, match="an array of numbers"):
        audit(lambda model_output, t, s, sample, noise: {"prev_sample": sample})
    with pytest.raises(ValueError, match="noise level falls"):
        audit(ddim, grid=lambda n: np.linspace(0.1, 1.0, n + 1).tolist())
    with pytest.raises(ValueError, match="n \\+ 1 noise times"):
        audit(ddim, grid=lambda n: [1.0, 0.0])
    with pytest.raises(ValueError, match="the process is Gaussian"):
        audit(ddim, process=CIR(1.0, 1.0, 1.0))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a loss, a scheduler or a step function"):
        audit(3)
