"""How long a training of a pipeline is: epochs over its prompts, or steps."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

from driftproof import UnmetHypothesis
from driftproof.backends.torch.trainers import AdjointMatchingConfig, DDPOConfig, MixGRPOConfig


@pytest.mark.parametrize(
    ("args", "steps"),
    [
        (DDPOConfig(per_device_train_batch_size=4, num_train_epochs=3), 8),  # 30 prompts, 4 a step
        (DDPOConfig(per_device_train_batch_size=4, num_train_epochs=2, num_iterations=2), 10),
        (DDPOConfig(per_device_train_batch_size=2, generation_batch_size=8, num_train_epochs=1), 8),
        (MixGRPOConfig(per_device_train_batch_size=8, num_generations=4, num_train_epochs=1), 5),
        (AdjointMatchingConfig(per_device_train_batch_size=5, num_train_epochs=2), 4),
        (DDPOConfig(max_steps=7), 7),
        (DDPOConfig(), 100),
    ],
)
def test_epochs_become_the_steps_that_draw_every_prompt_so_often(args, steps):
    found = args.resolved(prompts=10, processes=1)
    assert (found.max_steps, found.steps, found.num_train_epochs) == (steps, steps, None)
    assert found.resolved(prompts=99, processes=1) == found


def test_two_processes_draw_twice_as_many_a_step():
    args = DDPOConfig(per_device_train_batch_size=4, num_train_epochs=4)
    assert [args.resolved(16, processes).steps for processes in (1, 2)] == [16, 8]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"num_train_epochs": 2, "max_steps": 8}, "num_train_epochs or max_steps, and not both"),
        ({"num_train_epochs": 0}, "num_train_epochs >= 1"),
        ({"max_steps": 0}, "max_steps >= 1"),
    ],
)
def test_a_length_is_said_once(wrong, words):
    with pytest.raises(UnmetHypothesis, match=words):
        DDPOConfig(**wrong)
