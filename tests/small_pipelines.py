"""Pipelines of diffusers with small random weights, as policies to be trained."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

from driftproof.backends.torch.reward_gap import JPEGReward
from driftproof.backends.torch.reward_gap.config import Lora, PipelineModel, Sampling
from driftproof.backends.torch.reward_gap.pipelines import load_policy

KINDS = ("stable_diffusion", "stable_diffusion_3", "flux")
LORA = Lora(4, 4, ("to_q", "to_v"))
GUIDANCE = {"stable_diffusion": 5.0, "stable_diffusion_3": 4.5, "flux": 3.5}
PROMPTS = ("a cat", "a dog")


def model(kind: str, **change) -> PipelineModel:
    return PipelineModel(
        **{"kind": kind, "lora": LORA, "guidance": GUIDANCE[kind], "prompts": PROMPTS, **change}
    )


def policy(kind: str, steps: int = 4, eta: float = 1.0, sampler: str = "gddim", **change):
    return load_policy(
        model(kind, **change), Sampling(steps, eta, sampler), JPEGReward(), torch.device("cpu"), seed=0
    )


def latents(pipe, seed: int = 1):
    return torch.randn(2, *pipe.task.shape, generator=torch.Generator().manual_seed(seed))
