"""Whole samplers: functions that call the model by themselves, pipelines, and the samplers of other libraries."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from driftproof import UnmetHypothesis
from driftproof.theory.processes import VP
from driftproof.validation import audit
from driftproof.validation.audits import audit_target, libraries
from driftproof.validation.audits.affine import Path, propagate
from driftproof.validation.audits.levels import exploding, from_noise, rectified, table
from driftproof.validation.audits.models import Model
from driftproof.validation.audits.runs import RunSampler
from driftproof.validation.audits.suspended import Suspended

torch = pytest.importorskip("torch")

from tests import planted_runs as runs

pytestmark = pytest.mark.filterwarnings("ignore")
DENOISER: dict[str, Any] = {"levels": exploding, "prediction": "sample", "fast": True}


def path(run: Callable[..., Any], n: int = 6, **more: Any) -> Path:
    return propagate(RunSampler(run, exploding, **more), n, Model("sample"))


@pytest.mark.parametrize("name", list(runs.RIGHT))
def test_right_runs_converge(name: str) -> None:
    run, told, order = runs.RIGHT[name]
    row = audit(run, order=order, **DENOISER, **told)
    assert row.severity == "converges", row.verdict
    assert row.order is not None
    assert round(row.order) == order or name == "churned"  # whose churn is switched off by n


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("name", list(runs.PLANTED))
def test_planted_runs_do_not(name: str) -> None:
    run, told, severities = runs.PLANTED[name]
    row = audit(run, **{**DENOISER, **told})
    assert row.severity in severities, row.verdict


def test_a_good_verdict_is_confirmed_with_a_mixture_and_longer_runs() -> None:
    row = audit(runs.euler, levels=exploding, prediction="sample", steps=(10, 20, 40))
    assert row.confirmed
    assert row.severity == "converges"
    assert tuple(row.steps) == (10, 20, 40, 160)


def test_stages_of_a_step_are_calls_too() -> None:
    row = audit(
        runs.rk4, levels=rectified, prediction="flow_prediction", order=4, steps=(5, 10, 20), fast=True
    )
    assert row.severity == "converges", row.verdict
    assert row.std_error is not None
    assert abs(row.std_error[-1]) < 1e-6
    assert len(path(runs.heun, 5).alpha) == 9


def test_what_the_model_returns_is_found_where_it_is_not_said() -> None:
    row = audit(runs.euler, levels=exploding, steps=(5, 10, 20), fast=True)
    assert row.options["prediction"] == "sample"
    assert row.severity == "converges"


def test_the_error_of_one_step_is_the_hand_computed_one() -> None:
    """One step of Euler's method from 40 to 0 is the denoiser: its deviation is v / sqrt(v + 40^2)."""
    found = path(runs.euler, 1)
    assert found.start == pytest.approx((1.0, 40.0))
    assert found.std[-1, 0] == pytest.approx(0.25 / np.sqrt(0.25 + 40.0**2), rel=1e-12)
    assert found.mean[-1, 0] == pytest.approx(0.8, rel=1e-12)


def drawers() -> dict[str, Callable[[Any], Any]]:
    generator = torch.Generator().manual_seed(3)
    return {
        "randn_like": torch.randn_like,
        "normal_": lambda x: torch.empty_like(x).normal_(),
        "a generator": lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype),
        "the global generator": lambda x: torch.randn(x.shape, dtype=x.dtype),
    }


@pytest.mark.parametrize("name", list(drawers()))
def test_draws_are_answered_however_they_are_made(name: str) -> None:
    before = torch.get_rng_state()
    found, want = path(runs.ancestral(drawers()[name])), path(runs.ancestral(torch.randn_like))
    assert found.draws == want.draws == 6
    assert np.allclose(found.std, want.std, rtol=1e-12)
    assert torch.equal(before, torch.get_rng_state())


def test_a_brownian_tree_is_answered() -> None:
    """Noise between two levels is the increment of one path, whatever it is asked for in between."""
    torchsde = pytest.importorskip("torchsde")

    def run(model: Any, x: Any, n: int) -> Any:
        tree = torchsde.BrownianTree(runs.BOTTOM, torch.zeros_like(x), runs.TOP, entropy=1)

        def noise(x: Any) -> Any:
            levels = next(steps)
            return (tree(*levels) / np.sqrt(levels[1] - levels[0])) if levels[0] else 0.0 * x

        found = runs.sigmas(n)
        steps = iter([(b, a) for a, b in pairwise(found)])
        return runs.ancestral(noise)(model, x, n)

    found, want = path(run, 4), path(runs.ancestral(torch.randn_like), 4)
    assert np.allclose(found.std[-1], want.std[-1], rtol=1e-9)


def test_nothing_of_torch_changes_for_others() -> None:
    """While a run stands still its switches are its own, and draws elsewhere are torch's."""
    seen = []

    def run(model: Any, x: Any, n: int) -> Any:
        with torch.inference_mode():
            return runs.ancestral(torch.randn_like)(model, x, n)

    sampler = RunSampler(run, exploding)
    sampler.begin(4)
    x = sampler.opened(np.ones(3), lambda key: np.zeros(3))
    torch.manual_seed(0)
    seen.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.randn(2)))
    sampler.step(0, x, x, lambda key: np.zeros(3))
    sampler.close()
    grad, inference, drawn = seen[0]
    assert grad and not inference
    assert torch.equal(drawn, torch.randn(2, generator=torch.Generator().manual_seed(0)))


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    audit(runs.ancestral(torch.randn_like), **{**DENOISER, "steps": (5, 10)})
    assert threading.active_count() == before


def test_a_process_of_the_library_serves_as_levels() -> None:
    process = VP()

    def run(model: Any, x: Any, n: int) -> Any:
        times = np.linspace(1.0, 0.0, n + 1)
        for t, s in pairwise(times):
            (a, b), (c, d) = (process.alpha_sigma(np, np.asarray(u)) for u in (t, s))
            z = model(x, t)
            x = float(c) * (x - float(b) * z) / float(a) + float(d) * z
        return x

    row = audit(run, levels=process, prediction="epsilon", steps=(5, 10, 20, 40), fast=True)
    assert row.severity == "converges", row.verdict
    assert row.order is not None
    assert round(row.order) == 1


def test_the_usual_clocks() -> None:
    assert from_noise(1.0) == rectified(0.0) == exploding(0.0) == (1.0, 0.0)
    levels = table([0.9, 0.5, 0.1])
    assert np.allclose([levels(k)[0] ** 2 for k in (0, 1, 2)], [0.9, 0.5, 0.1])
    assert 0.5 < levels(0.5)[0] ** 2 < 0.9
    with pytest.raises(UnmetHypothesis, match="falls, within"):
        table([0.1, 0.5])


def no_call(model: Any, x: Any, n: int) -> Any:
    return x


def other_shape(model: Any, x: Any, n: int) -> Any:
    return model(torch.cat([x, x]), 1.0)


def several_times(model: Any, x: Any, n: int) -> Any:
    return model(x, torch.tensor([1.0, 2.0]))


def no_state(model: Any, x: Any, n: int) -> Any:
    model(x, 1.0)


def no_time(model: Any, x: Any, n: int) -> Any:
    return model(x, "late")


def integers(model: Any, x: Any, n: int) -> Any:
    return model(x.long(), 1.0)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (no_call, "calls the model"),
        (other_shape, "coordinates of its state"),
        (several_times, "one time t"),
        (no_time, "one time t"),
        (no_state, "NoneType"),
        (integers, "int64"),
        (runs.churned, "start is given"),
    ],
)
def test_what_is_no_run_says_so(run: Callable[..., Any], message: str) -> None:
    with pytest.raises(UnmetHypothesis, match=message):
        audit(run, **DENOISER)


def test_levels_that_are_none_say_so() -> None:
    for levels in (lambda t: (1.0, float("nan")), lambda t: t, lambda t: (1.0, -t)):
        with pytest.raises(UnmetHypothesis, match="levels"):
            audit(runs.euler, levels=levels, prediction="sample", fast=True)
    with pytest.raises(UnmetHypothesis, match="run\\(model, x, n\\)"):
        audit(lambda model: model, levels=exploding)


def test_what_a_run_raises_is_raised_and_counts_that_it_refuses_are_left_out() -> None:
    def picky(model: Any, x: Any, n: int) -> Any:
        if n % 2:
            raise ValueError("an even number of steps, please")
        return runs.euler(model, x, n)

    row = audit(picky, **{**DENOISER, "steps": (4, 5, 10, 20)})
    assert set(row.steps) == {4, 10, 20}
    assert "an even number" in row.refused[5]

    def failing(model: Any, x: Any, n: int) -> Any:
        model(x, runs.TOP)
        raise KeyError("nonesuch")

    with pytest.raises(KeyError, match="nonesuch"):
        audit(failing, **DENOISER)


@pytest.mark.slow
def test_a_run_that_clips_is_settled_by_monte_carlo() -> None:
    def clipped(model: Any, x: Any, n: int) -> Any:
        return runs.euler(lambda x, t: model(x, t).clamp(-1.0, 1.0), x, n)

    row = audit(clipped, **DENOISER)
    assert row.affine is False
    assert row.severity == "converges", row.verdict


def test_a_suspended_function_ends_when_it_is_told() -> None:
    ended = []

    def function(ask: Callable[..., Any]) -> None:
        try:
            ask(1)
        finally:
            ended.append(True)

    run = Suspended(function)
    assert run.resume() == (1,)
    run.close()
    assert ended == [True]
    with pytest.raises(RuntimeError, match="ended"):
        run.resume()


def test_libraries_that_are_not_installed_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Any:
        raise ModuleNotFoundError("No module named 'nonesuch'", name="nonesuch")

    monkeypatch.setitem(libraries.LIBRARIES, "k_diffusion", absent)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nonesuch is not installed"):
        libraries.entries("k_diffusion")
    with pytest.raises(LookupError, match="k_diffusion"):
        audit_target("nonesuch")


@pytest.mark.parametrize("library", list(libraries.LIBRARIES))
def test_the_samplers_of_a_library_have_reproductions(library: str) -> None:
    pytest.importorskip(library)
    found = libraries.entries(library)
    assert len(found) == len({(entry.name, str(entry.options)) for entry in found})
    assert all(len(entry.reproduction.splitlines()) <= 5 for entry in found)
    row = found[0].row(fast=True)
    assert row.severity == "converges", row.verdict


QUICK = ("ddim", "twice")


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in ("ddim", "twice", "euler", "ancestral", "sd3", "flux", "karras", "louder", "unscaled")
    ],
)
def test_right_and_planted_pipelines(name: str) -> None:
    pytest.importorskip("diffusers")
    from tests import planted_pipelines as pipelines

    make, severities = pipelines.PIPELINES[name]
    row = audit(make(), fast=True, steps=(5, 10, 20))
    assert row.severity in severities, row.verdict


def test_a_pipeline_without_latents_says_so() -> None:
    diffusers = pytest.importorskip("diffusers")
    unet = diffusers.UNet2DModel(
        sample_size=8, block_out_channels=(4,), norm_num_groups=2, down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",), in_channels=1, out_channels=1,
    )  # fmt: skip
    with pytest.raises(UnmetHypothesis, match="takes latents"):
        audit(diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()))
