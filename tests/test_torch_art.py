"""ART on torch: the closed form is what is learned, a scheduler goes through the grid or is refused, and files."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytest.importorskip("accelerate")

from driftproof import UnmetHypothesis
from driftproof.backends.torch.art import (
    ARTSchedule,
    GridError,
    gaussian_flow,
    learn_grid,
    main,
    measure,
    run_solver,
)
from driftproof.backends.torch.art.experiment import baselines
from driftproof.backends.torch.art.frozen import FrozenFlow
from driftproof.backends.torch.art.gaussian import GaussianDenoiser, stable_diffusion_table
from driftproof.backends.torch.art.passing import levels_of_labels
from driftproof.theory.art import (
    equidistribute,
    euler_ratio,
    flow_grid,
    level_density,
    std_error,
    tangent_grid,
)

FLOW = ARTSchedule((1.0, 0.9, 0.7, 0.4, 0.1, 0.0), "flow")
RATIO = ARTSchedule((14.0, 5.0, 2.0, 1.0, 0.3, 0.0), "ratio")


# -- what is learned from a Gaussian is the closed form


@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_a_flow_learns_equal_angles(scale: float) -> None:
    """Beside the optimum an error is of the second order in the levels, so the levels themselves are compared."""
    made = learn_grid(gaussian_flow(scale, "flow", 256), 8, count=64, fine=24)
    np.testing.assert_allclose(made.levels, flow_grid(8, scale), atol=0.01)
    lost, least = (
        1.0 - float(euler_ratio(np.asarray(grid), scale, 1.0 - np.asarray(grid)))
        for grid in (made.levels, flow_grid(8, scale))
    )
    assert least <= lost < 1.002 * least


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_table_learns_equal_angles_and_heuns_density(scale: float) -> None:
    """The default run has the flow, and local errors on a table."""
    flow = gaussian_flow(scale, "ratio", 256)
    high = flow.ends[0]
    euler = learn_grid(flow, 8, count=128, fine=40)
    best = tangent_grid(8, scale, 0.0, high)
    assert abs(std_error(np.asarray(euler.levels), scale)) < 1.004 * abs(std_error(best, scale))
    heun = learn_grid(flow, 32, "heun", count=128, fine=64)
    density = equidistribute(lambda x: level_density(x, scale, "heun"), 32, 1e-6, high)
    # Of the upper levels; to the last one > 0 it is constant and not a power.
    np.testing.assert_allclose(heun.levels[1:24], density[1:24], rtol=0.1)


def test_local_errors_learn_arts_density_and_lose_more() -> None:
    flow, scale = gaussian_flow(0.5, "ratio", 128), 0.5
    made = learn_grid(flow, 8, count=32, fine=32, carried=False)
    art = equidistribute(lambda x: level_density(x, scale, "art"), 8, 1e-9, flow.ends[0])
    np.testing.assert_allclose(made.levels[1:-1], art[1:-1], rtol=0.05)
    carried = learn_grid(flow, 8, count=32, fine=32)
    local, whole = (abs(float(std_error(np.asarray(grid.levels), scale))) for grid in (made, carried))
    assert whole < 0.9 * local


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("kind", ["flow", "ratio"])
def test_products_and_differences_measure_the_same(kind: str) -> None:
    found = [
        measure(gaussian_flow(0.5, kind, 8), 4, 8, torch.Generator().manual_seed(0), jvp=jvp, carried=True)
        for jvp in (False, True)
    ]
    np.testing.assert_allclose(found[0].values, found[1].values, rtol=0.02)  # differences in single precision
    np.testing.assert_array_equal(found[0].levels, found[1].levels)


def test_evaluations_are_counted() -> None:
    """A slope, which serves the error before and the step after, Heun's other one, two differences; halves of a step.

    Backwards two forwards and as much again.
    """
    flow, count, fine = gaussian_flow(0.5, "flow"), 8, 10
    generator = torch.Generator().manual_seed(0)
    assert measure(flow, count, fine, generator).evaluations == count * (1 + (fine - 1) * (1 + 1 + 2))
    assert flow.evaluations == count * (1 + (fine - 1) * 4)
    assert measure(flow, count, fine, generator, solver="heun").evaluations == count * (fine - 1) * (2 + 3)
    before = flow.evaluations
    carried = measure(flow, count, fine, generator, carried=True).evaluations
    asked = flow.evaluations - before
    assert asked == count * (1 + (fine - 1) * 4 + 2 * (fine - 2) + 1)
    assert carried == asked + 2 * count * (fine - 2) + count


def test_solvers_are_those_of_theory() -> None:
    flow, grid = gaussian_flow(0.5, "ratio"), np.asarray([10.0, 3.0, 1.0, 0.2, 0.0])
    x = torch.full((2, 64), math.hypot(0.5, 10.0))
    for solver in ("euler", "heun"):
        end = run_solver(flow.velocity({}), x, grid, solver)  # type: ignore[arg-type]
        wanted = 0.5 * (1.0 + float(std_error(grid, 0.5, solver)))  # type: ignore[arg-type]
        assert float(end[0, 0]) == pytest.approx(wanted, rel=1e-4)


def test_a_network_that_is_nan_at_one_level_is_refused() -> None:
    denoiser = GaussianDenoiser(1.0)

    class Broken:
        prediction = "flow_prediction"

        def __call__(self, x: Any, t: Any, condition: Any) -> Any:
            return torch.where(t[:, None] < 500.0, torch.nan, denoiser(x, t))

    with pytest.raises(UnmetHypothesis, match=r"finite"):
        measure(FrozenFlow(Broken(), None, {}, (4,)), 4, 8, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    with pytest.raises(UnmetHypothesis, match=r"two paths and four levels"):
        measure(gaussian_flow(1.0, "flow"), 1, 8, torch.Generator())


@pytest.mark.parametrize("kind", ["flow", "ratio"])
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_every_baseline_is_a_grid(kind: str, steps: int) -> None:
    for name, grid in baselines(gaussian_flow(1.0, kind), steps).items():
        assert grid.shape == (steps + 1,), name
        ARTSchedule(tuple(grid.tolist()), kind)  # type: ignore[arg-type]


# -- on schedulers


@pytest.mark.parametrize(
    ("name", "options", "grid"),
    [
        ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}, FLOW),
        ("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True, "shift_terminal": 0.1}, FLOW),
        ("FlowMatchEulerDiscreteScheduler", {"use_karras_sigmas": True}, FLOW),
        ("EulerDiscreteScheduler", {"beta_schedule": "scaled_linear", "use_karras_sigmas": True}, RATIO),
    ],
)
def test_a_scheduler_goes_through_the_grid(name: str, options: dict[str, Any], grid: ARTSchedule) -> None:
    """Whatever a pipeline asks: with sigmas and mu, as that of Flux does, or by the number of steps alone."""
    given = getattr(diffusers, name)(**options)
    before = dict(given.config)
    held = grid.on(given)
    assert isinstance(held, type(given))
    assert dict(given.config) == before
    for asked in ({"num_inference_steps": 5}, {"sigmas": [1.0, 0.8, 0.6, 0.4, 0.2], "mu": 0.9}):
        for scheduler in (held, copy.deepcopy(held)):
            scheduler.set_timesteps(**asked, device="cpu")
            np.testing.assert_allclose(scheduler.sigmas.double().numpy(), grid.levels, rtol=1e-4, atol=1e-7)
            told = levels_of_labels(scheduler, scheduler.timesteps.double().numpy())
            np.testing.assert_allclose(told, grid.levels[:-1], rtol=1e-3)
    with pytest.raises(UnmetHypothesis, match=r"one of 5 steps"):
        held.set_timesteps(8)
    assert type(held).from_config(held.config).set_timesteps.__qualname__  # a class like any other


def test_euler_of_diffusers_takes_our_steps() -> None:
    """On a Gaussian the states of the scheduler are those of the solver."""
    table = stable_diffusion_table()
    scheduler = RATIO.on(
        diffusers.EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    )
    scheduler.set_timesteps(5)
    denoiser, x = GaussianDenoiser(0.5, table), torch.full((1, 4), 14.0)
    start = x.clone()
    for label in scheduler.timesteps:
        output = denoiser(scheduler.scale_model_input(x, label), label.expand(1))
        x = scheduler.step(output, label, x).prev_sample
    wanted = 14.0 / math.hypot(0.5, 14.0) * 0.5 * float(euler_ratio(np.asarray(RATIO.levels), 0.5))
    assert float(x[0, 0]) == pytest.approx(wanted, rel=1e-3)
    flow = FrozenFlow(denoiser, table, {}, (4,))
    ours = run_solver(flow.velocity({}), start, np.asarray(RATIO.levels))
    torch.testing.assert_close(x, ours, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "grid", "told"),
    [
        ("DDIMScheduler", {}, RATIO, r"takes sigmas or timesteps.*GDDIMScheduler"),
        ("UniPCMultistepScheduler", {}, RATIO, r"use_flow_sigmas=True"),
        ("HeunDiscreteScheduler", {}, RATIO, r"rounded=True accepts"),
        ("EDMEulerScheduler", {}, RATIO, r"EDMEulerScheduler makes"),
        ("FlowMatchHeunDiscreteScheduler", {}, FLOW, r"takes sigmas or timesteps"),
        ("EulerDiscreteScheduler", {}, FLOW, r"the same kind of levels"),
        ("ScoreSdeVeScheduler", {}, RATIO, r"whose levels are not known"),
    ],
)
def test_a_scheduler_that_makes_another_grid_is_refused(
    name: str, options: dict[str, Any], grid: ARTSchedule, told: str
) -> None:
    with pytest.raises(UnmetHypothesis, match=told):
        grid.on(getattr(diffusers, name)(**options))


def test_rounding_is_to_whole_labels_and_no_further() -> None:
    held = RATIO.on(diffusers.DPMSolverMultistepScheduler(), rounded=True)
    held.set_timesteps(5)
    labels = held.timesteps.double().numpy()
    np.testing.assert_allclose(held.sigmas[:-1].double().numpy(), levels_of_labels(held, labels), rtol=1e-4)
    np.testing.assert_allclose(held.sigmas[:-1].double().numpy(), RATIO.levels[:-1], rtol=0.01)
    given = diffusers.UniPCMultistepScheduler(use_flow_sigmas=True, flow_shift=5.0)
    held = FLOW.on(given, rounded=True)
    held.set_timesteps(5)
    np.testing.assert_allclose(held.sigmas.double().numpy(), FLOW.levels, atol=1e-5)
    assert np.abs(held.timesteps.double().numpy() - 1000.0 * np.asarray(FLOW.levels[:-1])).max() <= 1.0
    with pytest.raises(UnmetHypothesis, match=r"tells the network other levels.*rounded=True"):
        FLOW.on(given)
    with pytest.raises(UnmetHypothesis, match=r"off by"):  # it takes timesteps, and makes equal steps of them
        FLOW.on(diffusers.DPMSolverSinglestepScheduler(use_flow_sigmas=True), rounded=True)


# -- files


def test_a_grid_is_kept_and_measured_once(tmp_path: Path) -> None:
    flow = gaussian_flow(0.5, "flow")
    first = learn_grid(flow, 8, count=8, fine=8, folder=tmp_path)
    spent = flow.evaluations
    again, other = (learn_grid(flow, steps, count=8, fine=8, folder=tmp_path) for steps in (8, 5))
    assert flow.evaluations == spent
    assert (again.levels, other.steps) == (first.levels, 5)
    assert ARTSchedule.load(tmp_path / first.file_name, flow.digest).levels == first.levels
    assert first.resampled(5).levels == other.levels
    local = learn_grid(flow, 8, count=8, fine=8, carried=False, folder=tmp_path)
    assert flow.evaluations > spent
    assert local.file_name != first.file_name


def test_what_was_measured_otherwise_is_measured_anew(tmp_path: Path) -> None:
    """Other data, levels, paths, seeds, prompts or errors: none takes the grid of another."""

    def learned(flow: FrozenFlow, **given: Any) -> ARTSchedule:
        return learn_grid(flow, 4, **{"count": 8, "fine": 8, "folder": tmp_path, **given})

    flow, wide = gaussian_flow(0.5, "ratio"), gaussian_flow(3.0, "ratio")
    local = learned(flow, carried=False)
    carried = learned(flow)
    assert (local.carried, carried.carried) == (False, True) and local.levels != carried.levels
    assert learned(wide).levels != carried.levels
    assert learned(gaussian_flow(0.5, "flow")).kind == "flow"
    for other in ({"seed": 1}, {"count": 16}, {"fine": 12}):
        before = flow.evaluations
        learned(flow, **other)
        assert flow.evaluations > before, other
    asked = gaussian_flow(0.5, "ratio")
    asked.conditions = {"label": torch.tensor([3])}
    learned(asked)
    assert asked.evaluations > 0


def test_a_file_that_is_no_grid_is_told(tmp_path: Path) -> None:
    file = FLOW.save(tmp_path / "grid.json")
    with pytest.raises(GridError, match=r"expected abc"):
        ARTSchedule.load(file, "abc")
    found = json.loads(file.read_text())
    for name, changed in (
        ("format", {**found, "format": 9}),
        ("rises", {**found, "levels": [0.0, 1.0]}),
        ("unknown", {**found, "colour": 1}),
        ("list", [found]),
    ):
        (tmp_path / name).write_text(json.dumps(changed))
        with pytest.raises(GridError, match=r"grid"):
            ARTSchedule.load(tmp_path / name)
    (tmp_path / "half").write_text(file.read_text()[:40])
    with pytest.raises(GridError, match=r"no grid"):
        ARTSchedule.load(tmp_path / "half")
    with pytest.raises(GridError, match=r"no grid"):
        ARTSchedule.load(tmp_path / "missing")


@pytest.mark.parametrize("levels", [(1.0,), (0.5, 1.0), (1.0, math.nan), (2.0, 0.0), (1.0, -0.1)])
def test_levels_of_a_flow_fall_from_at_most_one_to_data(levels: tuple[float, ...]) -> None:
    with pytest.raises(UnmetHypothesis, match=r"levels that fall"):
        ARTSchedule(levels, "flow")


def test_other_tools_get_a_list() -> None:
    assert FLOW.sigmas() == [1.0, 0.9, 0.7, 0.4, 0.1, 0.0]
    assert FLOW.text() == "1, 0.9, 0.7, 0.4, 0.1, 0"
    with pytest.raises(UnmetHypothesis, match=r"a stiffness"):
        FLOW.resampled(3)


# -- recipes and the command


@pytest.mark.slow(ci=True)
def test_the_recipe_of_a_gaussian_finds_the_closed_form(tmp_path: Path) -> None:
    from driftproof.backends.torch.art.config import RECIPES

    changes = ["seeds=[0]", "solvers=['euler']", "steps=[8]", "count=16", "reference=64"]
    main(RECIPES.find("gaussian"), False, tmp_path, changes)
    report = json.loads((tmp_path / "report.json").read_text())
    assert "times that of the closed form" in report["summary"]
    share = float(report["summary"].partition(" times that")[0].split()[-1])
    assert 0.99 < share < 1.01
    assert len(report["figures"]) == 2


@pytest.mark.slow
def test_the_command_learns_a_grid_of_the_zoo(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from driftproof import cli

    asked = ["grid", "zoo:mnist-sit", "--steps", "4", "--paths", "2", "--fine", "4", "--out", str(tmp_path)]
    done = CliRunner().invoke(cli.app, asked)
    assert done.exit_code == 0, done.output
    (file,) = tmp_path.glob("*.json")
    assert ARTSchedule.load(file).steps == 4
    assert file.with_suffix(".svg").read_text().startswith("<svg")
    with pytest.raises(ValueError, match=r"--solver is one of"):
        raise CliRunner().invoke(cli.app, [*asked, "--solver", "rk4"]).exception  # type: ignore[misc]


@pytest.mark.parametrize("device", ["cuda:99", "meta", "nowhere"])
def test_a_device_that_is_not_there_is_told_before_the_work(device: str, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from driftproof import cli

    asked = ["grid", "zoo:mnist-sit", "--device", device, "--out", str(tmp_path / "out")]
    error = CliRunner().invoke(cli.app, asked).exception
    assert isinstance(error, ValueError)
    assert str(error).startswith(f"grid: --device {device} is not usable here: ")
    assert "\n" not in str(error)
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_neither_in_the_zoo_nor_a_folder_is_told(tmp_path: Path) -> None:
    from driftproof.backends.torch.art import load

    with pytest.raises(FileNotFoundError, match=r"zoo:NAME"):
        load(str(tmp_path))


@pytest.mark.slow
def test_the_record_of_what_schedulers_make_of_a_grid_is_that_of_the_installed_one() -> None:
    """`python papers/passing.py` measures it anew."""
    import sys

    papers = Path(__file__).resolve().parents[1] / "papers"
    sys.path.insert(0, str(papers))
    import passing

    record = json.loads((papers / "data" / "passing.json").read_text(encoding="utf-8"))
    if record["diffusers"] != diffusers.__version__:
        pytest.skip(f"recorded with diffusers {record['diffusers']}")
    assert record["rows"] == passing.measured()
