"""Pipelines of diffusers with small random weights, as policies to be trained."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

from driftproof.backends.torch.pretrained.config import Lora, PipelineModel
from driftproof.backends.torch.reward_gap import JPEGReward
from driftproof.backends.torch.rl.policies import load_policy
from driftproof.backends.torch.rl.sampler import Sampling

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


def flow_model(
    kind: str = "flux2", targets=("to_q", "to_k", "to_v"), rank: int = 4, **change
) -> PipelineModel:
    """A small flow of this kind for adjoint matching."""
    subject = {"labels": (0, 1)} if kind == "sit" else {"prompts": PROMPTS}
    return PipelineModel(kind, Lora(rank, rank, targets), **{**subject, **change})
