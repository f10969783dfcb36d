"""What every training shares: which fields tell runs apart, how a run is stopped, locked and ended."""

from __future__ import annotations

import math
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from accelerate import Accelerator
from typer.testing import CliRunner

from driftproof import UnmetHypothesis, _training, cli
from driftproof.backends.torch.kit import lock as locks
from driftproof.backends.torch.kit.entry import ending, interruptible
from driftproof.backends.torch.kit.identity import HOW, LENGTH, OtherRun, identity_of
from driftproof.backends.torch.kit.lock import InUse, RunWarning, locked
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.run import Run
from driftproof.backends.torch.kit.stop import Interruption, TrainingInterrupted, session, this_session

# -- identity


@dataclass(frozen=True)
class Part:
    rate: float = 0.1
    steps: int = field(default=4, metadata=LENGTH)
    pairs: int = field(default=2, metadata=HOW)


def test_the_first_field_that_differs_is_named_with_both_values() -> None:
    saved = identity_of(part=Part(), other={"a": [1, 2], "b": None}).to_json()
    for other, message in (
        ({"part": Part(0.2), "other": {"a": [1, 2], "b": None}}, r"\(part.rate: 0.1 there, 0.2 here\)"),
        (
            {"part": Part(), "other": {"a": (1, 3), "b": Part()}},
            r"\(other.a: \[1, 2\] there, \[1, 3\] here\)",
        ),
        ({"part": Part(), "other": {"a": [1, 2]}}, r"\(other.b: None there, 'nothing' here\)"),
        ({"part": Part(), "other": {"a": [1, 2], "b": None}, "c": 1}, r"\(c: 'nothing' there, 1 here\)"),
    ):
        with pytest.raises(OtherRun, match=message):
            identity_of(**other).require(saved, 2, "x")
    identity_of(part=Part(pairs=9), other={"a": (1, 2), "b": None}).require(saved, 2, "x")
    identity_of(a=math.nan, b=1).require(identity_of(a=math.nan, b=1.0).to_json(), 0, "x")


def test_lengths_of_runs_that_came_before_are_law() -> None:
    saved = identity_of(teacher={"training": Part()}).to_json()
    with pytest.raises(OtherRun, match=r"teacher\.training\.steps: 4 there, 5 here"), session(extend=True):
        identity_of(teacher={"training": Part(steps=5)}).require(saved, 2, "x")


def test_what_json_cannot_hold_tells_nothing_apart() -> None:
    with pytest.raises(TypeError, match=r"part\.a: expected what JSON can hold"):
        identity_of(part={"a": object()})


def test_another_environment_is_a_warning_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, weight = tmp_path / "a.safetensors", torch.zeros(2)
    with Run(path, identity_of(a=1), Accelerator(cpu=True)) as run:
        run.save(1, {"w": weight}, {})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert run.resume({"w": weight}, {}) is not None
    monkeypatch.setattr("driftproof.backends.torch.kit.identity.__version__", "9.9")
    with (
        Run(path, identity_of(a=1), Accelerator(cpu=True)) as run,
        pytest.warns(RunWarning, match=r"another environment \(driftproof .* there, 9.9 here\)"),
    ):
        assert run.resume({"w": weight}, {}) is not None


class Told(Exception):
    """Carries the recipe that a training was given."""


def telling(*arguments: Any, **options: Any) -> None:
    raise Told(options["config"])


def test_recipes_tell_their_trainings_all_that_defines_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The backbone of transfer, the sizes of opd's models, the networks and data of tweedie and csdm."""
    pytest.importorskip("transformers")
    from driftproof.backends.torch.csdm import config as csdm_config
    from driftproof.backends.torch.csdm import data as csdm_data
    from driftproof.backends.torch.csdm import experiment as csdm
    from driftproof.backends.torch.opd import config as opd_config
    from driftproof.backends.torch.opd import experiment as opd
    from driftproof.backends.torch.score_models import fit
    from driftproof.backends.torch.transfer import config as transfer_config
    from driftproof.backends.torch.transfer import fewshot
    from driftproof.backends.torch.tweedie import config as tweedie_config
    from driftproof.backends.torch.tweedie import experiment as tweedie

    cpu = Accelerator(cpu=True)
    for module in (opd, fewshot, fit):
        monkeypatch.setattr(module, "train", telling)

    def told(call: Callable[[], object]) -> set[str]:
        with pytest.raises(Told) as found:
            call()
        return set(identity_of(plan=Plan(1, 1, 1.0), **found.value.args[0]).law)

    recipe, _ = transfer_config.RECIPES.load(transfer_config.RECIPES.packaged()[0], True)
    assert {"backbone.width", "backbone.features"} <= told(
        lambda: fewshot.source_model(recipe, 0, tmp_path, cpu)
    )
    small, _ = opd_config.RECIPES.load(opd_config.RECIPES.find("arithmetic"), True)
    supervised = told(lambda: opd.compare(small, tmp_path, cpu))
    assert {"size.width", "size.layers", "size.heads", "task.digits", "initial_seed"} <= supervised
    with monkeypatch.context() as patch:
        patch.setattr(opd, "_supervised", lambda size, seed, *rest: opd.small_qwen(size, seed))
        patch.setattr(opd, "_measure", lambda *rest: (0.0, 0.0, (0.0, 0.0)))
        distilled = told(lambda: opd.compare(small, tmp_path, cpu))
    assert {"teacher.size.width", "student.size.width", "teacher.training.max_steps", "clip"} <= distilled
    assert {"student.training.seed", "method.divergence", "method.advantage"} <= distilled
    prepared = tweedie.prepare(tweedie_config.RECIPES.load(tweedie_config.RECIPES.packaged()[0], True)[0])
    assert {"network.width", "noise.low", "process.name", "data.recipe.window"} <= told(
        lambda: tweedie.run(prepared, tmp_path, cpu)
    )
    study, _ = csdm_config.RECIPES.load(csdm_config.RECIPES.packaged()[0], True)
    rows = csdm_data.load(study.data)
    assert {"m", "sketch", "network.depth", "noise.low", "data.window"} <= told(
        lambda: csdm.run(study, rows, tmp_path, cpu)
    )


# -- stop


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signals_ask_and_have_their_status(name: str, status: int) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with Interruption() as request:
        assert request.asked == 0
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)  # schedulers repeat themselves
        assert request.asked == status
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(number) == before
    with pytest.raises(SystemExit) as stopped, ending():
        raise TrainingInterrupted(3, Path("x"), status)
    assert stopped.value.code == status


def test_a_signal_that_nohup_ignores_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as request:
            signal.raise_signal(signal.SIGHUP)
            assert request.asked == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_limit_that_is_not_positive_is_refused() -> None:
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(UnmetHypothesis, match="stop_after > 0 seconds"), session(stop_after=wrong):
            pass


def test_the_command_passes_on_its_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found: list[Any] = []
    recipe = type(sys)("driftproof.backends.torch.toy")
    recipe.main = lambda *rest: found.append(this_session())  # type: ignore[attr-defined]
    recipe.__spec__ = type("Spec", (), {"name": recipe.__name__})()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, recipe.__name__, recipe)
    monkeypatch.setattr(_training, "_papers", lambda: ["toy"])
    plain = ["train", "toy", "--smoke", "--out", str(tmp_path)]
    assert CliRunner().invoke(cli.app, plain).exit_code == 0
    assert CliRunner().invoke(cli.app, [*plain, "--extend", "--stop-after", "9"]).exit_code == 0
    assert [one.extend for one in found] == [False, True]
    assert found[0].deadline == math.inf and found[1].deadline < math.inf


# -- lock


def test_a_folder_is_for_one_run(tmp_path: Path) -> None:
    with (
        interruptible(tmp_path, Accelerator(cpu=True)),
        pytest.raises(InUse, match=r"is in use by process .* on .*; wait for it"),
        locked(tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".lock").write_text("process 1 on nowhere")  # what a dead process left
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_without_locks_there_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def unknown(*arguments: object) -> None:
        raise OSError(next(iter(locks.NO_LOCKS)), "no locks available")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with pytest.warns(RunWarning, match="this file system has no locks"), locked(tmp_path / "a"):
        pass


# -- end


@pytest.mark.parametrize(
    ("work", "line"),
    [
        (lambda: torch.empty(10**15), "not enough memory"),
        (lambda: torch.empty(2**62, 4), "not enough memory"),
        (lambda: bytearray(2**62), "not enough memory"),
    ],
)
def test_a_batch_that_no_memory_holds_is_one_line(work: Callable[[], object], line: str) -> None:
    with pytest.raises(OSError, match=line) as error, ending():
        work()
    assert "\n" not in str(error.value)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="a shape"), ending():
        raise RuntimeError("a shape is wrong")


def test_plans_with_a_constant_schedule() -> None:
    plan = Plan(
        max_steps=10,
        train_batch_size=1,
        learning_rate=0.5,
        warmup_steps=2,
        lr_scheduler_type="constant_with_warmup",
    )
    assert [plan.rate(step) for step in (0, 1, 2, 9)] == [0.25, 0.5, 0.5, 0.5]
    with pytest.raises(UnmetHypothesis, match="lr_scheduler_type is one of"):
        replace(plan, lr_scheduler_type="step")
