"""Trainings of masked language models: what they refuse, exact to resume, and rewards that rise."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("transformers")

from torch import Tensor, nn

from driftproof import UnmetHypothesis
from driftproof.backends.torch.diffpo import Method, Settings, ThresholdHead, Trainer
from driftproof.backends.torch.kit.moved import RoundingWarning
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.stop import TrainingInterrupted
from tests.diffpo_table import LENGTH, SIZE, Every, Table, trainer_of


def test_samples_must_divide_the_rows() -> None:
    with pytest.raises(UnmetHypothesis, match="samples divides the rows of a step"):
        trainer_of(Method("trace"), samples=7)


def test_a_temperature_needs_weights_by_the_rollout() -> None:
    with pytest.raises(UnmetHypothesis, match="temperature = 1, for a loss that does not weigh"):
        trainer_of(Method("trace"), temperature=0.5)
    trainer_of(Method("diffpo"), temperature=0.5)
    trainer_of(Method("trace", trains="sampler"), temperature=0.5)


def test_another_task_or_model_is_another_run(tmp_path: Path) -> None:
    def trainer(trains: Any = "model", reward: str = "sum", shift: float = 0.0, size: int = SIZE) -> Trainer:
        found = trainer_of(Method("diffpo", trains=trains), 16, samples=4)
        found.task.description = lambda: {"reward": reward}
        found.model.vocabulary = size
        with torch.no_grad():
            found.model.table += shift
        return found

    trainer().run(tmp_path / "model.safetensors")
    trainer("sampler").run(tmp_path / "sampler.safetensors")
    trainer().run(tmp_path / "model.safetensors")  # the same resumes
    trainer("sampler").run(tmp_path / "sampler.safetensors")
    with pytest.raises(ValueError, match=r"another configuration \(task.reward: 'sum' there"):
        trainer(reward="product").run(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"another configuration \(model: "):
        trainer(size=1).run(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"another configuration \(weights: "):
        trainer("sampler", shift=1.0).run(tmp_path / "sampler.safetensors")


def test_padding_says_nothing_of_a_threshold() -> None:
    head = ThresholdHead((0.0, 1.0, 2.0), 4)
    nn.init.normal_(head.said.weight)
    z, attention = torch.tensor([[1, 2, 3], [1, 2, 0]]), torch.tensor([[1, 1, 0], [1, 1, 0]])
    torch.testing.assert_close(*head(z, attention))
    z[0, 2] = -100  # as others write padding
    torch.testing.assert_close(*head(z, attention))
    assert head.choose(z, attention, torch.tensor([0.0, 0.999999])).tolist() == [0, 2]


@pytest.mark.parametrize("trains", ["model", "joint"])
def test_a_run_that_was_stopped_is_the_run_that_was_not(tmp_path: Path, trains: Any) -> None:
    method, settings = Method("diffpo", trains=trains), {"samples": 4, "iterations": 2, "cost": 0.1}
    whole = trainer_of(method, 16, **settings)
    whole.run(tmp_path / "whole.safetensors")
    stopped = trainer_of(method, 16, **settings)
    drawn, asked = stopped.task.draw, []

    def draw(generator: Any, count: int) -> tuple[Tensor, Tensor]:
        asked.append(count)
        if len(asked) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return drawn(generator, count)

    stopped.task.draw = draw  # type: ignore[method-assign]
    with pytest.raises(TrainingInterrupted):
        stopped.run(tmp_path / "stopped.safetensors")
    again = trainer_of(method, 16, **settings)
    again.run(tmp_path / "stopped.safetensors")
    assert len(again.rows) == 6
    assert torch.equal(torch.stack(again.rows), torch.stack(whole.rows))
    for name, value in whole.parts.state_dict().items():
        assert torch.equal(value, again.parts.state_dict()[name]), name
    other = trainer_of(Method("diffpo", trains=trains, cap=3.0), 16, **settings)
    with pytest.raises(ValueError, match="another configuration"):
        other.run(tmp_path / "stopped.safetensors")


SECONDS = pytest.mark.slow(ci=True)


@pytest.mark.parametrize(
    "loss",
    [
        "diffpo",
        *(
            pytest.param(name, marks=SECONDS)
            for name in ("trace", "diffu_grpo", "wd1", "gdpo", "coupled_grpo")
        ),
    ],
)
def test_the_reward_rises(loss: Any) -> None:
    """A table in a few steps, for every loss; mean field is the policy where all is revealed at once, and there alone."""
    thresholds = (9.0, 10.0) if loss in ("diffu_grpo", "wd1") else (0.0, 9.0)
    plan = Plan(
        max_steps=60, train_batch_size=64, learning_rate=0.05, lr_scheduler_type="constant_with_warmup"
    )
    settings = Settings(Method(loss), thresholds, samples=16)
    trainer = Trainer(Table(), Every(), settings, plan)
    trainer.run()
    rewards = trainer.column("reward")
    assert np.mean(rewards[-5:]) > np.mean(rewards[:5]) + 0.5, rewards


def test_a_prompt_that_masks_nothing_is_told() -> None:
    trainer = trainer_of(Method("trace"), 16, samples=4)
    trainer.task.draw = lambda generator, count: (  # type: ignore[method-assign]
        torch.zeros(count, LENGTH, dtype=torch.long),
        torch.ones(count, LENGTH, dtype=torch.long),
    )
    with pytest.raises(UnmetHypothesis, match="every prompt masks a position"):
        trainer.run()


def test_updates_that_round_to_nothing_are_seen() -> None:
    settings = Settings(Method("trace"), (0.0, 9.0), samples=16)
    plan = Plan(max_steps=1, train_batch_size=16, learning_rate=1e-7)
    trainer = Trainer(Table().to(torch.bfloat16), Every(), settings, plan)
    with pytest.warns(RoundingWarning, match="of the weights"):
        trainer.advance(0)
