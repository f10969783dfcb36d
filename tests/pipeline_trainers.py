"""Trainers of small pipelines, by name: what their tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("peft")
pytest.importorskip("transformers")

from driftproof.backends.torch.score_as_action import CriticChoice
from driftproof.backends.torch.trainers import (
    AdjointMatchingConfig,
    AdjointMatchingTrainer,
    DDPOConfig,
    DDPOTrainer,
    MixGRPOConfig,
    MixGRPOTrainer,
    ScoreAsActionConfig,
    ScoreAsActionTrainer,
    Task,
)
from tests.saved_pipelines import small_pipeline

PROMPTS = ("a cat", "a dog")
TRAINERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "ddpo": (DDPOTrainer, DDPOConfig, {"kind": "stable_diffusion"}),
    "mixgrpo": (
        MixGRPOTrainer,
        MixGRPOConfig,
        {"kind": "stable_diffusion_3", "num_generations": 2, "generation_batch_size": 8},
    ),
    "score_as_action": (
        ScoreAsActionTrainer,
        ScoreAsActionConfig,
        {"kind": "stable_diffusion", "critic": CriticChoice(width=4, steps=2, batch=8, skip="none")},
    ),
    "adjoint": (AdjointMatchingTrainer, AdjointMatchingConfig, {"kind": "stable_diffusion_3"}),
}


def brightness(images: torch.Tensor) -> torch.Tensor:
    return images.mean(dim=(1, 2, 3))


def made(name: str, folder: Path, reward: Any = brightness, callbacks: Any = (), **changes: Any) -> Any:
    """A trainer on a small pipeline without guidance: four images, three steps of a trajectory."""
    trainer, config, own = TRAINERS[name]
    numbers = {"max_steps": 4, "per_device_train_batch_size": 4, "num_inference_steps": 3, "save_steps": 2}
    options = {"guidance_scale": 1.0, **numbers, **own, "output_dir": str(folder), **changes}
    pipe = small_pipeline(options.pop("kind"))
    task = Task.from_pipeline(pipe, PROMPTS, reward)
    return trainer(pipe, task, config(**options), callbacks)


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: w for name, w in trainer.network.named_parameters() if w.requires_grad}
