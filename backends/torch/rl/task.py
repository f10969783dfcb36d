r"""What is sampled and what it is worth: rewards, and where a method needs them, their gradients.

.. math:: \nabla r = \tfrac1n \sum_i \nabla_x\, r\big(\mathrm{decode}(x + s\,\xi_i)\big)

Rewards see images in [0, 1]; their gradients pass through the decoder.  Smoothing (n > 1) and a bound on the
norm tame decoders whose gradients are rough; the bound is the running cost ``BallCost`` in disguise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, final

import torch
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.config_checks import require_each
from driftproof.backends.torch.kit.identity import digest_of
from driftproof.backends.torch.pretrained.guidance import Condition

from .reward_identity import reward_identity
from .rewards import Reward, checked, reward_of

__all__ = ["Task"]


@final
@dataclass(frozen=True, slots=True)
class Task:
    """The samples to be made, and their rewards.

    Arguments:
        shape: The shape of a state.
        reward: From images and prompts to numbers (B,), see :mod:`.rewards`.
        decode: From last states to images, with values in [0, 1]; the identity unless given.
        prompts: The prompts; a task without has one empty prompt.
        conditions: Named tensors with a row for each prompt.
        dtype: The dtype of the states: float32 or float64, whatever the network computes in.
        watch: Numbers to log after every epoch.
        smoothing: Copies of the state that a gradient is averaged over, >= 1.
        noise: Standard deviation of the copies.
        bound: Largest norm of the gradient of a sample; infinity for none.
        at_once: States that are decoded together for a gradient, >= 1.
        reward_identity: What identifies the reward in a checkpoint, where a recipe does not, see
            :func:`.reward_identity.reward_identity`.

    Raises:
        UnmetHypothesis: Conditions without a row for each prompt, half precision, or numbers out of range.
    """

    shape: tuple[int, ...]
    reward: Reward
    decode: Callable[[Tensor], Tensor] = field(default=lambda x: x)
    prompts: tuple[str, ...] = ("",)
    conditions: Mapping[str, Tensor] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    watch: Callable[[], Mapping[str, float]] = field(default=dict)
    smoothing: int = 1
    noise: float = 0.02
    bound: float = float("inf")
    at_once: int = 8
    reward_identity: str = ""

    def __post_init__(self) -> None:
        if not self.prompts:
            raise UnmetHypothesis("Task", "at least one prompt", "none")
        for name, value in self.conditions.items():
            if len(value) != len(self.prompts):
                got = f"{len(value)} rows of {name!r} for {len(self.prompts)} prompts"
                raise UnmetHypothesis("Task", "conditions have a row for each prompt", got)
        if self.dtype not in (torch.float32, torch.float64):
            raise UnmetHypothesis("Task", "adjoints accumulate in float32 or float64", str(self.dtype))
        require_each(
            "Task",
            self,
            ("smoothing >= 1", self.smoothing >= 1),
            ("noise >= 0", 0.0 <= self.noise < float("inf")),
            ("bound > 0", self.bound > 0.0),
            ("at_once >= 1", self.at_once >= 1),
        )

    @classmethod
    def from_pipeline(
        cls,
        pipe: Any,
        prompts: str | Sequence[str],
        reward: Callable[..., Any],
        *,
        height: int | None = None,
        width: int | None = None,
        **options: Any,
    ) -> Self:
        """The task of a pipeline of diffusers: its prompts are encoded here, once.

        Arguments:
            pipe: One of those in :data:`driftproof.backends.torch.pretrained.pipelines.CLASSES`.
            prompts: At least one; ``""`` for an unconditional pipeline.
            reward: ``reward(images)`` or ``reward(images, prompts)``, see :mod:`.rewards`: images in [0, 1] with
                shape (B, 3, H, W), and B numbers back.
            height, width: Size of the images, in pixels; by default those of the pipeline.
            options: ``smoothing``, ``noise``, ``bound``, ``at_once`` and ``watch`` of the task.

        Raises:
            UnmetHypothesis: Another pipeline, no prompt, a size that it cannot make, or a reward that is none.

        Warns:
            RunWarning: A reward that a checkpoint cannot tell from another, such as a lambda.
        """
        from driftproof.backends.torch.pretrained.decoding import images_or_gradients
        from driftproof.backends.torch.pretrained.pipelines import encoded_prompts, guidance_of, kind_of
        from driftproof.backends.torch.pretrained.pipelines import latent_shape as shape_of

        kind, texts = kind_of(pipe, "Task"), (prompts,) if isinstance(prompts, str) else tuple(prompts)
        shape, called = shape_of(kind, pipe, height, width), reward_of(reward)
        if not texts:
            raise UnmetHypothesis("Task", "at least one prompt", "none")
        for name, module in pipe.components.items():
            if isinstance(module, nn.Module) and name not in ("unet", "transformer"):
                module.requires_grad_(False).eval()
        # A trainer may guide by any weight, where the pipeline guides at all.
        negatives = kind not in ("flux", "unconditional") and guidance_of(kind, pipe, 2.0) > 1.0
        conditions = encoded_prompts(kind, pipe, texts, pipe._execution_device, shape, negatives=negatives)
        decode = images_or_gradients(kind, getattr(pipe, "vae", None))
        return cls(
            shape, called, decode, texts, conditions, reward_identity=reward_identity(reward), **options
        )

    def description(self) -> dict[str, object]:
        """The identity of this task, as JSON, with a digest for the prompts, of which there may be many."""
        prompts = {"count": len(self.prompts), "digest": digest_of(self.prompts)}
        gradient = {name: getattr(self, name) for name in ("smoothing", "noise", "bound")}
        reward = {"reward": self.reward_identity} if self.reward_identity else {}
        return {"prompts": prompts, "shape": list(self.shape), "dtype": str(self.dtype), **gradient, **reward}

    def condition(self, prompts: Tensor) -> Condition:
        """The conditions of some prompts, by number."""
        return {name: value[prompts.to(value.device)] for name, value in self.conditions.items()}

    def draw_prompts(self, generator: torch.Generator, count: int, group: int) -> Tensor:
        """The prompt of every row: distinct prompts as far as there are enough, each ``group`` times."""
        many = len(self.prompts)
        if count <= many:
            chosen = torch.randperm(many, generator=generator, device=generator.device)[:count]
        else:
            chosen = torch.randint(many, (count,), generator=generator, device=generator.device)
        return chosen.repeat_interleave(group)

    def draw_noise(self, generator: torch.Generator, rows: int) -> Tensor:
        """Standard normal states."""
        shape = (rows, *self.shape)
        return torch.randn(shape, generator=generator, device=generator.device, dtype=self.dtype)

    def rewards(self, states: Tensor, prompts: Tensor) -> Tensor:
        """The rewards (B,) of last states, without a gradient.

        Raises:
            FloatingPointError: A reward is not finite.
            UnmetHypothesis: Not one reward for each state.
        """
        with torch.no_grad():
            images = self.decode(states)
        return checked(self.reward, images, self._texts(prompts))

    def values(self, states: Tensor, prompts: Tensor) -> Tensor:
        """The rewards (B,) of last states, through which autograd runs.

        Raises:
            UnmetHypothesis: A reward without gradient, or not one for each state.
        """
        found = self._values(states, self._texts(prompts))
        if not found.requires_grad:
            raise _no_gradient(self.reward)
        return found

    def rewards_and_gradients(self, x: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Rewards (B,) of last states and their gradients (B, *).

        Raises:
            FloatingPointError: A reward or a gradient is not finite.
            UnmetHypothesis: A reward without gradient, or not one for each state.
        """
        texts = self._texts(prompts)
        chunks = range(0, len(x), self.at_once)
        parts = [self._chunk(x[i : i + self.at_once].detach(), texts[i : i + self.at_once]) for i in chunks]
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
                if not rewards.requires_grad:
                    raise _no_gradient(self.reward)
                (slope,) = torch.autograd.grad(rewards.sum(), moved, allow_unused=True)
            if slope is None:
                raise _no_gradient(self.reward)
            total = total + slope / self.smoothing
        if rewards is None or self.smoothing > 1:  # the copies are for the gradient alone
            with torch.no_grad():
                rewards = self._values(x, prompts)
        return rewards.detach(), total

    def _values(self, x: Tensor, prompts: Sequence[str]) -> Tensor:
        values: object = self.reward(self.decode(x), prompts)
        if not isinstance(values, Tensor):
            got = f"a {type(values).__name__}"
            raise UnmetHypothesis("reward", "a tensor, for a reward whose gradient is asked for", got)
        if values.shape != (len(x),):
            got = f"shape {tuple(values.shape)} for {len(x)} states"
            raise UnmetHypothesis("reward", "one reward for each state", got)
        return values.to(x.dtype)

    def _texts(self, prompts: Tensor) -> list[str]:
        return [self.prompts[i] for i in prompts.tolist()]


def _no_gradient(reward: Reward) -> UnmetHypothesis:
    name = getattr(reward, "__name__", type(reward).__name__)
    got = f"{name} does not depend on them differentiably; a policy gradient needs no gradient"
    return UnmetHypothesis("reward", "the reward has a gradient in the images", got)
