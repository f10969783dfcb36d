"""The audit of diffusers: known findings are found again, and nothing about any class is known in advance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from driftproof.validation import audit
from driftproof.validation.audits import diffusers
from driftproof.validation.audits.adapters import SchedulerSampler
from driftproof.validation.audits.affine import DATA, propagate
from driftproof.validation.audits.measure import STEPS
from driftproof.validation.audits.models import Model
from driftproof.validation.audits.severity import Severity
from driftproof.validation.audits.thresholds import HELD

torch: Any = pytest.importorskip("torch")
library: Any = pytest.importorskip("diffusers")

from tests.planted_schedulers import too_far_at_odd_counts
from tests.short_audits import ends_of_long_runs  # noqa: F401  # a fixture

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("ends_of_long_runs")]


def at(row: Any, steps: int) -> tuple[float, float]:
    index = row.steps.index(steps)
    return row.mean_error[index], row.std_error[index]


@pytest.mark.slow(ci=True)
def test_a_stochastic_flow_needs_a_consistency_function() -> None:
    """github.com/huggingface/diffusers/issues/8549."""
    row = audit(library.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True))
    assert row.severity == "conditional"
    assert row.verdict.startswith("with flow_prediction, as is usual: does not converge")
    assert "(the std is 31% low)" in row.verdict
    assert row.verdict.endswith("reads the output as flow_prediction of the consistency function")


def test_a_count_that_is_no_number_alone() -> None:
    """github.com/huggingface/diffusers/issues/14213."""
    row = audit(library.EulerAncestralDiscreteScheduler(beta_schedule="squaredcos_cap_v2"), fast=True)
    assert row.severity == "nan"
    assert row.verdict.startswith("NaN after call 1 of 4 steps (NaN at 4 steps, and not at others)")


def test_labels_are_compared_with_the_table_of_the_training() -> None:
    right = audit(library.EulerDiscreteScheduler(), fast=True)
    assert right.label_error is not None
    assert right.label_error < 1e-3
    rounded = audit(library.DPMSolverMultistepScheduler(use_exponential_sigmas=True), fast=True)
    assert rounded.label_error is not None
    assert 0.4 < rounded.label_error <= 1.0
    # Near the data that is a third of the noise level, and yet too little to be a fault of the law.
    assert rounded.severity == "converges", rounded.verdict
    assert "labels are rounded: sigma / alpha is up to 31% off what a network is told" in rounded.verdict


@pytest.mark.parametrize(("steps", "added"), [(20, 1.7e-3), (80, 1.2e-3)])
def test_what_rounded_labels_add_to_the_law_is_below_what_makes_them_a_fault(
    steps: int, added: float
) -> None:
    """Levels 11 and 31 % off; the model is evaluated at the level of the label instead of the true one."""
    probe = SchedulerSampler(library.DPMSolverMultistepScheduler(use_exponential_sigmas=True))
    path = propagate(probe, steps, Model())
    assert path.clock is not None
    off = propagate(probe, steps, Model(), told=path.clock).errors[0] - path.errors[0]
    assert float(np.hypot(*off)) == pytest.approx(added, rel=0.1)
    assert float(np.hypot(*off)) < HELD.label_error


@pytest.mark.slow(ci=True)
def test_ddim_with_linspace_steps_on_another_grid_than_it_sets() -> None:
    """github.com/huggingface/diffusers/issues/11347 and 12633."""
    row = audit(library.DDIMScheduler(clip_sample=False, timestep_spacing="linspace"))
    assert row.severity == "mismatch"
    assert "the grids differ" in row.verdict
    assert at(row, 10)[0] == pytest.approx(-4e-2, abs=2e-3)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_other_spacings_of_ddim_keep_the_mean(spacing: str) -> None:
    row = audit(library.DDIMScheduler(clip_sample=False, timestep_spacing=spacing), steps=(5, 10, 20, 40))
    assert row.severity == "converges", row.verdict
    assert max(map(abs, row.mean_error or ())) < 1e-7


def test_rounded_timesteps_at_counts_that_nobody_asked_for_are_told_and_no_fault() -> None:
    row = audit(library.DDIMScheduler(clip_sample=False, timestep_spacing="trailing"), steps=(5, 10, 20, 40))
    assert (
        "timesteps at 3, 6, 7, 9 and 7 more steps are rounded to integers, and the step is not" in row.verdict
    )
    assert "the mean is 1.9e-02 off at 160 steps" in row.verdict
    assert row.steps == (5, 10, 20, 40, 125)  # what divides 1000, and is confirmed with


@pytest.mark.slow(ci=True)
def test_what_is_wrong_by_more_than_a_training_step_is_no_rounding() -> None:
    scheduler = too_far_at_odd_counts(library.DDIMScheduler)(clip_sample=False, timestep_spacing="trailing")
    row = audit(scheduler, steps=(10, 20, 40), fast=True)
    assert Severity(row.severity or "").at_least(Severity.UNEVEN), row.verdict
    assert "at 3 steps a point mass is 0.11 away from the levels of the calls" in row.verdict


@pytest.mark.slow(ci=True)
def test_trailing_needs_a_count_that_divides_the_training_steps() -> None:
    """1000 / 80 is no integer: the grid is rounded, the step is not."""
    row = audit(library.DDIMScheduler(clip_sample=False, timestep_spacing="trailing"), steps=(40, 80))
    assert row.severity == "mismatch"
    assert at(row, 80)[0] < -1e-2


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize(
    "spacing",
    ["trailing", *(pytest.param(spacing, marks=pytest.mark.slow) for spacing in ("leading", "linspace"))],
)
def test_ddpm_uses_the_grid_that_it_sets(spacing: str) -> None:
    """github.com/huggingface/diffusers/issues/9261, mended."""
    scheduler = library.DDPMScheduler(clip_sample=False, timestep_spacing=spacing)
    row = audit(scheduler)
    assert row.severity == "converges", row.verdict
    assert 320 in row.steps
    probe = SchedulerSampler(scheduler)
    wide = probe.in_double_precision()
    assert wide is not None
    for count in row.steps:
        path = propagate(probe, count, Model())
        assert abs(at(row, count)[0]) <= rounding_of_posterior_means(path, 2.0**-24)
        # The grid is right: in double precision nothing is left but its own rounding.
        in_double = propagate(wide, count, Model()).errors[0, 0]
        assert abs(in_double) <= rounding_of_posterior_means(path, 2.0**-53)


def rounding_of_posterior_means(path: Any, unit: float) -> float:
    r"""What a unit of rounding makes of the terminal mean, through :math:`c_0 = \sqrt{a'}\,(1 - a/a')/(1 - a)`.

    With :math:`a = \alpha^2`, the quotient a/a' is rounded and then taken from 1, which leaves an absolute error of
    one unit in c_0 (1 - a), and further relative errors of at most eight.  From the next level on the exact posterior
    mean carries an error of the state with :math:`\alpha v/(\alpha^2 v + \sigma^2)`.
    """
    variance = path.alpha**2 * DATA.variance + path.sigma**2
    carried = np.append((path.alpha * DATA.variance / variance)[1:], 1.0)
    return float(np.sum(carried * unit * (1.0 / path.sigma**2 + 8.0)) * DATA.mean)


def test_ddpm_with_fixed_large_log_is_not_a_number() -> None:
    """github.com/huggingface/diffusers/issues/14569."""
    for cls in (library.DDPMScheduler, library.DDPMParallelScheduler):
        for spacing in ("leading", "trailing"):
            scheduler = cls(clip_sample=False, variance_type="fixed_large_log", timestep_spacing=spacing)
            row = audit(scheduler, fast=True)
            assert row.severity == "nan"


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("EulerDiscreteScheduler", 1.0),
        ("HeunDiscreteScheduler", 2.0),
        ("KDPM2DiscreteScheduler", 2.0),
        ("FlowMatchEulerDiscreteScheduler", 1.0),
        ("FlowMatchHeunDiscreteScheduler", 2.0),
    ],
)
def test_orders_are_those_of_the_methods(name: str, order: float) -> None:
    row = audit(getattr(library, name)())
    assert row.severity == "converges", row.verdict
    assert row.order == pytest.approx(order, abs=0.3)


@pytest.mark.slow(ci=True)
def test_what_a_model_returns_is_found_where_it_is_another_than_stated() -> None:
    row = audit(library.EDMEulerScheduler())
    assert row.severity == "conditional", row.verdict
    assert row.verdict.startswith("with epsilon, as stated: does not converge")
    assert row.verdict.endswith("reads the output as -v_prediction in units of 0.5")
    row = audit(library.LCMScheduler(), steps=(5, 10))
    assert row.verdict.endswith("reads the output as epsilon of the consistency function")
    assert {999, 1000} <= set(row.refused) and "refuses 999, 1000 steps" in row.verdict


@pytest.mark.slow(ci=True)
def test_a_grid_that_is_slow_to_start_converges() -> None:
    """At 80 steps the error is 0.16, at 320 it is a tenth of that: an own loop over ``step`` gives the same."""
    row = audit(library.UniPCMultistepScheduler(use_beta_sigmas=True))
    assert row.severity == "converges", row.verdict
    assert abs(at(row, 80)[1]) > 0.1
    assert abs(at(row, 320)[1]) < 0.02


@pytest.mark.slow(ci=True)
def test_single_precision_is_no_other_grid() -> None:
    """Sigmas up to 2e4 in single precision, which the second stage amplifies."""
    row = audit(library.HeunDiscreteScheduler(beta_schedule="squaredcos_cap_v2"))
    assert row.severity == "converges", row.verdict
    assert "in double precision the point mass is where the model is called" in row.reason


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_jumps_below_the_next_level_are_exact_with_the_trajectory_function(eta: float) -> None:
    row = audit(library.TCDScheduler(), step_options={"eta": eta}, steps=(5, 10, 20))
    assert row.verdict.endswith("reads the output as epsilon of the trajectory function")
    assert "sigma = 0.0292 instead of 1, 0" in row.verdict
    assert row.floor is not None
    assert row.floor < 1e-3
    assert max(map(abs, row.std_error or ())) < 1e-3


@pytest.mark.slow(ci=True)
def test_noise_of_a_solver_in_the_noise_is_no_disagreement() -> None:
    options = {"algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min"}
    row = audit(library.DPMSolverMultistepScheduler(**options))
    assert "disagree" not in row.verdict
    assert row.verdict.startswith("converges")
    # Two of 1001 rounded timesteps are equal, and the step between them is divided by.
    assert row.severity == "long"
    assert row.verdict.endswith("NaN after call 501 of 1000 steps")


def test_where_epsilon_says_nothing_of_the_data_is_said() -> None:
    row = audit(library.TCDScheduler(rescale_betas_zero_snr=True))
    assert row.verdict.startswith("NaN after call 1 of 5 steps, where alpha = 0")


@pytest.mark.slow(ci=True)
def test_a_stage_is_told_its_own_small_level() -> None:
    """Sigma down rounds in single precision, and the stage lies 2 % below the level that add_noise has."""
    scheduler = library.KDPM2AncestralDiscreteScheduler(
        beta_schedule="squaredcos_cap_v2", use_karras_sigmas=True
    )
    row = audit(scheduler)
    assert "else the error falls to 0.02 at 80 steps" in row.verdict
    assert "point mass" not in row.verdict
    assert "in double precision the point mass is where the model is called" in row.reason
    # At two to four steps sigma down rounds to 0, and so does the level of the stage, by which is divided.
    assert row.verdict.startswith("NaN after call 1 of 2 steps (NaN at 2, 3, 4 steps, and not at others)")
    for count in (2, 3, 4):
        scheduler.set_timesteps(count)
        state = scheduler.init_noise_sigma * torch.ones(1, dtype=torch.float64)
        for time in scheduler.timesteps:
            state = scheduler.step(torch.zeros_like(state), time, state).prev_sample
        assert bool(torch.isnan(state).all()), count


@pytest.mark.parametrize(
    ("prediction", "steps"),
    [
        pytest.param("flow_prediction", (5, 10), marks=pytest.mark.slow),
        pytest.param("epsilon", STEPS, marks=pytest.mark.slow),
    ],
)
def test_the_flow_that_a_scheduler_steps_on_is_named(prediction: str, steps: tuple[int, ...]) -> None:
    row = audit(library.SASolverScheduler(use_flow_sigmas=True, prediction_type=prediction), steps=steps)
    assert row.severity == "mismatch", row.verdict
    assert "its steps are those of (1 - sigma) x_0 + sigma z with its sigmas" in row.verdict


@pytest.mark.slow(ci=True)
def test_scalings_that_are_not_ours_are_no_error() -> None:
    row = audit(library.CMStochasticIterativeScheduler(clip_denoised=False))
    assert row.severity == "conditional", row.verdict
    assert "with which: exact" in row.verdict
    assert "whether a trained network has that form cannot be seen from the scheduler" in row.reason
    np.testing.assert_allclose(row.std_error, (0.25 + 0.002**2) ** 0.5 - 0.5, rtol=1e-3)  # its sigma_min


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        pytest.param(
            "lower_order_final",
            False,
            "; not so with final_sigmas_type='sigma_min', which sets other noise levels",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "prediction_type",
            "flow_prediction",
            "; not so with use_flow_sigmas=True, which sets other noise levels",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_remedy_that_moves_says_so(option: str, value: object, told: str) -> None:
    cls, choice = library.UniPCMultistepScheduler, diffusers.Choice(init={option: value})
    settings = diffusers._Settings(cls, "diffusers.UniPCMultistepScheduler", STEPS)
    row = settings._mended(settings._row(choice), choice, tuple(diffusers.choices(cls)))[-1]
    assert row.verdict.endswith(told)


@pytest.mark.slow(ci=True)
def test_a_remedy_that_undoes_says_so() -> None:
    settings = diffusers._Settings(
        library.UniPCMultistepScheduler, "diffusers.UniPCMultistepScheduler", STEPS
    )
    choice, option = (
        diffusers.Choice(init={name: value})
        for name, value in (("lower_order_final", False), ("solver_order", 1))
    )
    assert settings._remedy(choice, option, settings._row(choice | option)) == (
        2, "solver_order=1 overrides it",
    )  # fmt: skip


@pytest.mark.slow(ci=True)
def test_an_order_that_is_asked_for_is_no_order_lost() -> None:
    row = audit(library.LMSDiscreteScheduler(), step_options={"order": 2})
    assert row.severity == "converges", row.verdict
    assert row.order == pytest.approx(2, abs=0.1)


@pytest.mark.slow
def test_a_setting_that_clips_is_mended_too() -> None:
    row = next(
        row for row in diffusers.rows(library.UnCLIPScheduler, "diffusers.UnCLIPScheduler") if not row.options
    )
    assert row.verdict.endswith("not so with step(prev_timestep='next timestep')")


def test_a_level_at_which_a_run_ends_too_early_is_a_floor() -> None:
    row = audit(library.PNDMScheduler(), steps=(5, 10, 20))
    assert row.severity == "floor"
    assert "sigma = 0.01 instead of" in row.verdict
    assert "the last call does nothing" in row.verdict


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample", "flow_prediction"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 1.5])
def test_our_own_scheduler(prediction: str, eta: float) -> None:
    schedulers = pytest.importorskip("driftproof.backends.torch.schedulers")
    scheduler = schedulers.GDDIMScheduler(prediction_type=prediction)
    # A conversion of the prediction is seen at any eta: the longer runs of each are made with one prediction.
    row = audit(scheduler, step_options={"eta": eta}, fast=prediction != "epsilon")
    assert row.severity == "converges", row.verdict
    assert max(map(abs, row.mean_error or ())) < 1e-8


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_our_own_scheduler_steps_on_the_grid_that_it_sets(spacing: str) -> None:
    schedulers = pytest.importorskip("driftproof.backends.torch.schedulers")
    row = audit(schedulers.GDDIMScheduler(timestep_spacing=spacing))
    assert row.severity == "converges", row.verdict
    assert max(map(abs, row.mean_error or ())) < 1e-12
