"""What actor and critic need of a rollout beside its record: which steps count, and rewards of denoised states."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.memory import real
from driftproof.backends.torch.pretrained.guidance import Condition, Predict
from driftproof.backends.torch.rl.sampler import Sampler
from driftproof.backends.torch.rl.trajectories import Recorder, Step

__all__ = ["denoised", "finish", "stochastic_steps"]


def stochastic_steps(sampler: Sampler, subject: str) -> int:
    """How many steps are stochastic; what follows them is deterministic.

    Raises:
        UnmetHypothesis: eta = 0: there is no likelihood, and no divergence from the pre-trained paths.
    """
    kinds = sampler.kinds(range(sampler.n_steps), subject)
    count = sum(kind == "sde" for kind in kinds)
    if any(kind != "sde" for kind in kinds[:count]):
        raise UnmetHypothesis(subject, "deterministic steps come last", f"{kinds}")
    return count


def denoised(sampler: Sampler, reward: Callable[[Tensor], Tensor]) -> Recorder:
    """The recorder of ``plug_in``, the rewards of denoised states, for a critic with a skip connection."""

    def record(step: Step) -> dict[str, Tensor]:
        with real():
            t = sampler.timesteps[step.number]
        guess = sampler.scheduler.step(step.output, t, step.x, eta=0.0).pred_original_sample
        return {"plug_in": reward(guess).to(step.mean.dtype)}

    return record


def finish(predict: Predict, sampler: Sampler, count: int, x: Tensor, condition: Condition) -> Tensor:
    """The deterministic steps after the stochastic ones."""
    for k in range(count, sampler.n_steps):
        steps = torch.full((len(x),), k, device=x.device)
        output = predict(x, sampler.times(steps), condition)
        x = sampler.moments(output, steps, x, 0.0)[0].to(x.dtype)
    return x
