"""Dry runs: the memory that they predict is that which torch's allocator reports of the trainings themselves."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("diffusers")

from memory_measured import measured_peak  # noqa: E402  # needs torch

from driftproof.backends.torch.kit.memory import Estimate, Machine, gpu_of  # noqa: E402
from driftproof.backends.torch.recipes import find  # noqa: E402
from driftproof.backends.torch.rl.trainer import RolloutTrainer  # noqa: E402

HERE = Machine(gpu_of("h200"), precision="no", cuda=False)  # with the kernels of this computer
BOUND = 0.15  # what is promised
SHORT = ("budget.epochs=2", "budget.pairs=2", "sampling.steps=2")
STEPS = ("budget.max_steps=2",)


def paper(name: str) -> Any:
    return importlib.import_module(f"driftproof.backends.torch.{name}").main


def estimate(name: str, config: str, *changes: str) -> Estimate:
    found: Estimate = paper(name).estimate(find(name, config), True, changes, HERE)
    return found


def maker(name: str, config: str, *changes: str) -> Callable[[Any], RolloutTrainer[Any]]:
    """The trainer of a recipe, as a training makes it."""
    recipe = paper(name).recipes.load(find(name, config), True, changes)[0]
    made = importlib.import_module(f"driftproof.backends.torch.{name}.experiment")
    match name:
        case "adjoint":
            return lambda accelerator: made.flow_trainer(recipe, accelerator)[0].trainer
        case "score_as_action":
            return lambda accelerator: made.pipeline_trainer(recipe, recipe.actors[0], accelerator)[0]
    return lambda accelerator: made.pipeline_trainer(recipe, accelerator)[0]


PAIRS = {
    "DDPO on a UNet, 8 rows": ("reward_gap", "ddpo-sd15", *SHORT, "budget.prompts=8"),
    "DDPO on a UNet, 12 rows, recomputed": (
        *("reward_gap", "ddpo-sd15", *SHORT, "pipeline.checkpointing=true", "budget.prompts=24"),
        *("budget.per_device_train_batch_size=12", "budget.per_device_rollout_batch_size=4"),
    ),
    "Flow-GRPO on an MMDiT, 24 rows, with a reference": ("reward_gap", "flow-grpo-sd3", *SHORT),
    "MixGRPO on FLUX, 18 rows": (
        *("reward_gap", "mixgrpo-flux", *SHORT, "budget.per_device_train_batch_size=18"),
        *("window.size=1", "budget.num_generations=9"),
    ),
    "actor and critic on a UNet, 4 rows": (
        *("score_as_action", "sd15", "budget.epochs=3", "budget.prompts=8", "sampling.steps=2"),
        *("budget.per_device_train_batch_size=4", "critic.steps=2"),
    ),
    "adjoint matching of SiT, 10 rows": ("adjoint", "sit-xl-2", *STEPS),
    "adjoint matching of FLUX.2, 8 rows": ("adjoint", "flux2-klein-4b", *STEPS),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_the_predicted_peak_is_the_measured_one(pair: str) -> None:
    predicted = estimate(*PAIRS[pair]).peak
    measured = measured_peak(maker(*PAIRS[pair]))
    assert abs(predicted / measured - 1.0) <= BOUND, (pair, predicted, measured)
