"""What a training tells as it goes on: callbacks in the shape of transformers, trackers of accelerate, the logger."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("peft")
pytest.importorskip("transformers")

from accelerate.tracking import GeneralTracker, get_available_trackers, on_main_process
from transformers import TrainerCallback as TransformersCallback

import driftproof
from driftproof import UnmetHypothesis
from tests.pipeline_trainers import made


class Events(TransformersCallback):
    """A callback of transformers, unchanged."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seen.append(("begin", state.global_step, state.max_steps))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seen.append(("step", state.global_step))
        control.should_save = state.global_step == 1

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        assert {"reward", "loss"} <= set(logs)
        self.seen.append(("log", state.global_step))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert (Path(args.output_dir) / "checkpoint.safetensors").exists()
        self.seen.append(("save", state.global_step))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seen.append(("end", len(state.log_history)))


def test_callbacks_of_transformers(tmp_path: Path) -> None:
    events = Events()
    made("ddpo", tmp_path, callbacks=[events], max_steps=3, logging_steps=2).train()
    begin, end = [("begin", 0, 3)], [("end", 2)]
    one, two = [("step", 1), ("save", 1)], [("step", 2), ("log", 2), ("save", 2)]
    assert events.seen == [*begin, *one, *two, ("step", 3), ("log", 3), ("save", 3), *end]


def test_steps_are_those_of_the_optimizer(tmp_path: Path) -> None:
    """A rollout of eight images in two updates, gone through twice."""
    events = Events()
    numbers = {"generation_batch_size": 8, "num_iterations": 2, "max_steps": 8}
    trainer = made("mixgrpo", tmp_path, callbacks=[events], **numbers)
    trainer.train()
    assert [step for kind, step, *_ in events.seen if kind == "step"] == [4, 8]
    assert trainer.rollouts.optimizer.state_dict()["state"][0]["step"] == 8


class Kept(GeneralTracker):
    name, requires_logging_directory = "kept", False

    def __init__(self) -> None:
        super().__init__()
        self.config: dict[str, Any] = {}
        self.logged: list[tuple[int, set[str]]] = []
        self.finished = 0

    @property
    def tracker(self) -> Any:
        return self.logged

    @on_main_process
    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.config = values

    @on_main_process
    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        assert step is not None
        self.logged.append((step, set(values)))

    @on_main_process
    def finish(self) -> None:
        self.finished += 1


def test_numbers_go_to_trackers(tmp_path: Path) -> None:
    tracker = Kept()
    made("ddpo", tmp_path, max_steps=2, report_to=tracker).train()
    assert [step for step, _ in tracker.logged] == [1, 2]
    assert all({"reward", "loss"} <= names for _, names in tracker.logged)
    assert (tracker.config["learning_rate"], tracker.finished) == (3e-4, 1)
    assert all(isinstance(value, bool | int | float | str) for value in tracker.config.values())


def test_a_tracker_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnmetHypothesis, match=r"report_to is none or among .*tensorboard.*wandb"):
        made("ddpo", tmp_path, report_to="paper")
    available = {str(name) for name in get_available_trackers()}
    absent = next(name for name in ("wandb", "tensorboard", "aim", "comet_ml") if name not in available)
    with pytest.raises(ModuleNotFoundError, match=f"{absent} is not installed"):
        made("ddpo", tmp_path, report_to=["none", absent])


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    made("ddpo", tmp_path, max_steps=1, report_to="tensorboard", run_name="first").train()
    assert list((tmp_path / "first").glob("events*"))


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run, of all steps and with the arguments for a configuration, and closed: its file is whole."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    made("ddpo", tmp_path / "out", max_steps=2, report_to="wandb", run_name="first").train()
    assert wandb.run is None  # finished
    (place,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    store = DataStore()
    store.open_for_scan(str(place))
    records = []
    while (data := store.scan_data()) is not None:
        records.append(Record.FromString(data))
    (run,) = [record.run for record in records if record.HasField("run")]
    assert run.project == "first"
    steps = [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    assert [row["_step"] for row in steps] == [1, 2]
    assert all({"reward", "loss"} <= row.keys() for row in steps)
    config = {
        item.key or item.nested_key[0]: json.loads(item.value_json)
        for record in records
        for item in (*record.config.update, *record.run.config.update)
    }
    assert (config["learning_rate"], config["max_steps"]) == (3e-4, 2)


def test_the_logger_speaks_when_it_is_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("driftproof")
    before = logger.level, [*logger.handlers]
    try:
        with caplog.at_level(logging.INFO, "driftproof"):
            made("ddpo", tmp_path, max_steps=1).train()
        told = [record.message for record in caplog.records if record.name == "driftproof"]
        assert told[0] == "training from step 0 to 1"
        assert told[1].startswith("step 1 of 1: reward 0.")
        assert told[2] == "saved after step 1"
        driftproof.set_verbosity("error")
        assert not logger.isEnabledFor(logging.WARNING)
        with pytest.raises(UnmetHypothesis, match="level is one of"):
            driftproof.set_verbosity("loud")
    finally:
        logger.setLevel(before[0])
        logger.handlers[:] = before[1]
