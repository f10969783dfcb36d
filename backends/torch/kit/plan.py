"""How long a network is trained, on how many rows at a time, and how fast."""

from __future__ import annotations

import math
from dataclasses import field
from typing import Annotated, Literal, TypeAlias, final

from pydantic import AfterValidator, NonNegativeInt, PositiveFloat, PositiveInt

from .identity import HOW, LENGTH
from .schema import Decay, validated

__all__ = ["Plan", "SeededPlan"]


@final
@validated(frozen=True, slots=True)
class Plan:
    """The budget of a training run.

    Arguments:
        max_steps: Optimizer steps, > 0.
        train_batch_size: Rows of a step over all processes together, > 0: the result does not depend on their number.
        learning_rate: The peak of the rate, > 0.
        warmup_steps: Steps of the warm-up, >= 0.
        max_grad_norm: The largest norm of the gradient, > 0.
        ema_decay: Decay of the moving average, in [0, 1).
        seed: The seed of everything, >= 0.
        save_steps: Steps between two checkpoints, > 0.
        lr_scheduler_type: After a linear warm-up, ``cosine`` falls to 0 over the steps, and ``constant_with_warmup``
            stays: only a run whose rate has not begun to fall can be made longer.

    Raises:
        UnmetHypothesis: A number outside of its range, or another schedule.

    Example:
        >>> Plan(max_steps=100, train_batch_size=8, learning_rate=1.0, warmup_steps=10).rate(4)
        0.5
    """

    max_steps: PositiveInt = field(metadata=LENGTH)
    train_batch_size: PositiveInt
    learning_rate: PositiveFloat
    warmup_steps: NonNegativeInt = 0
    max_grad_norm: PositiveFloat = 1.0
    ema_decay: Decay = 0.999
    seed: NonNegativeInt = 0
    save_steps: PositiveInt = field(default=1000, metadata=HOW)
    lr_scheduler_type: Literal["cosine", "constant_with_warmup"] = "cosine"

    def rate(self, step: int) -> float:
        """The learning rate of step number ``step`` (0, 1, ...)."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.lr_scheduler_type == "constant_with_warmup":
            return self.learning_rate
        remaining = (self.max_steps - step) / max(1, self.max_steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1.0 - math.cos(math.pi * remaining))


def _without_seed(plan: Plan) -> Plan:
    if plan.seed:
        raise ValueError("no seed of its own, for it is set by seeds = [...]")
    return plan


SeededPlan: TypeAlias = Annotated[Plan, AfterValidator(_without_seed)]  # of a recipe that sets its seed
