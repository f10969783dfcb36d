r"""What a flow is tuned for: a reward with a gradient, through a decoder, in single precision.

.. math:: \nabla r = \tfrac1n \sum_i \nabla_x\, r\big(\mathrm{decode}(x + s\,\xi_i)\big)

Rewards see images in [0, 1]; their gradients pass through the decoder.  Smoothing (n > 1) and a bound on the
norm tame decoders whose gradients are rough; the bound is the running cost ``BallCost`` in disguise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from ...._namespace import UnmetHypothesis
from ....theory.adjoint.endpoints import SmoothReward
from ..guidance import Condition
from ..kit.identity import digest_of

__all__ = ["Reward", "Task", "closed_form"]

# reward(images, prompts) -> (B,), differentiable in the images.
Reward: TypeAlias = Callable[[Tensor, Sequence[str]], Tensor]


@final
@dataclass(frozen=True, slots=True)
class Task:
    """What is sampled and what it is worth.

    Arguments:
        shape: Shape of a state.
        reward: From decoded states and prompts to numbers (B,).
        decode: From last states to images; the identity unless given.
        prompts: Prompts; a task without has one empty prompt.
        conditions: Named tensors with a row for each prompt.
        dtype: Of states and adjoints: float32 or float64, whatever the network computes in.
        device: Where the states live.
        smoothing: Copies of the state that a gradient is averaged over, >= 1.
        noise: Standard deviation of the copies.
        bound: Largest norm of the gradient of a sample; infinity for none.
        at_once: States that are decoded together, >= 1.

    Raises:
        UnmetHypothesis: Conditions without a row for each prompt, half precision, or numbers out of range.
    """

    shape: tuple[int, ...]
    reward: Reward
    decode: Callable[[Tensor], Tensor] = field(default=lambda x: x)
    prompts: tuple[str, ...] = ("",)
    conditions: Mapping[str, Tensor] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    smoothing: int = 1
    noise: float = 0.02
    bound: float = float("inf")
    at_once: int = 8

    def description(self) -> dict[str, object]:
        """What tells this task from others, as JSON; of prompts, of which there may be many, a digest."""
        prompts = {"count": len(self.prompts), "digest": digest_of(self.prompts)}
        gradient = {name: getattr(self, name) for name in ("smoothing", "noise", "bound")}
        return {"prompts": prompts, "shape": list(self.shape), "dtype": str(self.dtype), **gradient}

    def __post_init__(self) -> None:
        for name, value in self.conditions.items():
            if len(value) != len(self.prompts):
                got = f"{len(value)} rows of {name!r} for {len(self.prompts)} prompts"
                raise UnmetHypothesis("Task", "conditions have a row for each prompt", got)
        if self.dtype not in (torch.float32, torch.float64):
            raise UnmetHypothesis("Task", "adjoints accumulate in float32 or float64", str(self.dtype))
        for hypothesis, good in (
            ("at least one prompt", bool(self.prompts)),
            ("smoothing >= 1", self.smoothing >= 1),
            ("noise >= 0", 0.0 <= self.noise < float("inf")),
            ("bound > 0", self.bound > 0.0),
            ("at_once >= 1", self.at_once >= 1),
        ):
            if not good:
                name = "prompts" if "prompt" in hypothesis else hypothesis.split()[0]
                raise UnmetHypothesis("Task", hypothesis, f"{name} = {getattr(self, name)!r}")

    def condition(self, rows: Tensor) -> Condition:
        """The conditions of some prompts, by number."""
        return {name: value[rows.to(value.device)] for name, value in self.conditions.items()}

    def rewards_and_gradients(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rewards (B,) of last states and their gradients (B, *).

        Raises:
            FloatingPointError: A reward or a gradient is not finite.
            UnmetHypothesis: A reward without gradient, or not one for each state.
        """
        prompts = [self.prompts[i] for i in rows.tolist()]
        chunks = range(0, len(x), self.at_once)
        parts = [self._chunk(x[i : i + self.at_once].detach(), prompts[i : i + self.at_once]) for i in chunks]
        rewards, total = (torch.cat(column) for column in zip(*parts, strict=True))
        for name, found in (("reward", rewards), ("gradient of the reward", total)):
            if not bool(torch.isfinite(found).all()):
                raise FloatingPointError(f"{name}: not finite for some of {len(x)} states")
        norms = total.flatten(1).norm(dim=1).clamp_min(torch.finfo(x.dtype).tiny)
        scale = (self.bound / norms).clamp_max(1.0).reshape(-1, *[1] * (x.ndim - 1))
        return rewards, total * scale

    def _chunk(self, x: Tensor, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        total, rewards = torch.zeros_like(x), None
        for _ in range(self.smoothing):
            moved = x + (self.noise * torch.randn_like(x) if self.smoothing > 1 else 0.0)
            moved.requires_grad_()
            with torch.enable_grad():
                rewards = self._values(moved, prompts)
                (slope,) = torch.autograd.grad(rewards.sum(), moved, allow_unused=True)
            if slope is None:
                raise _no_gradient(self.reward)
            total = total + slope / self.smoothing
        if rewards is None or self.smoothing > 1:  # the copies are for the gradient alone
            with torch.no_grad():
                rewards = self._values(x, prompts, constant=True)
        return rewards.detach(), total

    def _values(self, x: Tensor, prompts: Sequence[str], constant: bool = False) -> Tensor:
        values = self.reward(self.decode(x), prompts)
        if values.shape != (len(x),):
            got = f"shape {tuple(values.shape)} for {len(x)} states"
            raise UnmetHypothesis("reward", "one reward for each state", got)
        if not (constant or values.requires_grad):
            raise _no_gradient(self.reward)
        return values.to(x.dtype)


def _no_gradient(reward: Reward) -> UnmetHypothesis:
    name = getattr(reward, "__name__", type(reward).__name__)
    got = f"{name} does not depend on them differentiably; a policy gradient needs no gradient"
    return UnmetHypothesis("reward", "the reward has a gradient in the images", got)


def closed_form(reward: SmoothReward) -> Reward:
    """A reward of the theory, as a function that autograd differentiates by its own gradient."""

    class Known(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(reward.gradient(x))
            value: Tensor = reward.value(x)
            return value

        @staticmethod
        def backward(ctx: Any, *outer: Tensor) -> Tensor:
            (slope,) = ctx.saved_tensors
            return outer[0][..., None] * slope

    def call(x: Tensor, prompts: Sequence[str]) -> Tensor:
        value: Tensor = Known.apply(x)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return value

    return call
