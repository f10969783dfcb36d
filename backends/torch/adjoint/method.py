r"""Adjoint matching on torch: roll out, pull the reward's gradient back, regress the control on it.

.. math:: \min_u\; \sum_k h_k\,\tfrac12 E\,\Big|\,v_{tuned}(x_k, t_k) - v_{base}(x_k, t_k)
    - \nabla L^*\Big(\frac{a_{k+1}}\lambda\Big)\Big|^2

on trajectories of the current policy, with the adjoint of the *base* velocity held fixed.  Every kernel is
that of :mod:`driftproof.numerics.adjoint`; this module adds autograd, and is a method of the trainer of rollouts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, final

import torch
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.distributed import local_rows
from driftproof.backends.torch.kit.ema import EMA
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.run import everywhere
from driftproof.backends.torch.pretrained.guidance import Condition
from driftproof.backends.torch.rl.budget import RolloutBudget
from driftproof.backends.torch.rl.method import AbstractMethod, Losses
from driftproof.backends.torch.rl.sampler import Kind
from driftproof.backends.torch.rl.times import Batch, Samples
from driftproof.backends.torch.rl.trainer import RolloutTrainer
from driftproof.backends.torch.rl.trajectories import Trajectories
from driftproof.numerics.adjoint import (
    Trajectory,
    adjoints,
    chosen_steps,
    control_target,
    quantile_mask,
    rollout,
    sample_losses,
    step_probabilities,
)

from .config import Matching
from .flows import FlowModel

__all__ = ["AdjointMatching", "Targets"]


@final
@dataclass(frozen=True, slots=True)
class Targets:
    """The part of a rollout that the control is trained on.

    Arguments:
        path: The trajectory.
        after: The adjoints after every step; None where no control is needed.
        base: Base velocities that came with the adjoints, by step.
    """

    path: Trajectory
    after: list[Tensor | None]
    base: Mapping[int, Tensor]


@final
@dataclass(frozen=True, slots=True)
class MatchingBudget(RolloutBudget):
    """A plan, read as the budget of a trainer of rollouts: an epoch is a step of the plan."""

    warmup_steps: int = 0
    ema_decay: float = 0.999
    lr_scheduler_type: Literal["cosine", "constant_with_warmup"] = "cosine"

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """The same numbers under their other names."""
        return cls(
            epochs=plan.max_steps,
            prompts=plan.train_batch_size,
            per_device_train_batch_size=plan.train_batch_size,
            per_device_rollout_batch_size=plan.train_batch_size,
            learning_rate=plan.learning_rate,
            max_grad_norm=plan.max_grad_norm,
            seed=plan.seed,
            save_every=plan.save_steps,
            warmup_steps=plan.warmup_steps,
            ema_decay=plan.ema_decay,
            lr_scheduler_type=plan.lr_scheduler_type,
        )

    def rate(self, epoch: int) -> float:
        plan = Plan(
            self.epochs,
            self.prompts,
            self.learning_rate,
            self.warmup_steps,
            lr_scheduler_type=self.lr_scheduler_type,
        )
        return plan.rate(epoch)


@final
@dataclass(frozen=True, slots=True)
class _WholePaths:
    """All trajectories at once: which of their steps a loss takes in is drawn with the rollout."""

    def count(self, samples: Samples) -> int:
        return 1

    def batches(
        self, samples: Samples, rows: Tensor, size: int, generator: torch.Generator, *, first: bool
    ) -> Iterator[Batch]:
        start = samples.done.states[0]
        ones = torch.ones(len(start), device=start.device)
        yield Batch(rows, start, ones, samples.condition, ones, first)


@final
class AdjointMatching(AbstractMethod[Targets]):
    """The method.

    Arguments:
        flow: The model.
        times: Decreasing noise times: the grid of rollouts and adjoints.
        matching: Weight, truncation, sub-sampling, damping, mask, guidance.
        plan: Steps, batch, learning rate.

    Raises:
        UnmetHypothesis: Fewer than two times, or a truncation that is longer than the grid.
    """

    budget: MatchingBudget
    times = _WholePaths()

    def __init__(self, flow: FlowModel, times: Sequence[float], matching: Matching, plan: Plan) -> None:
        super().__init__(MatchingBudget.of(plan))
        self.flow, self.matching, self.plan = flow, matching, plan
        self.grid = tuple(float(t) for t in times)
        count = len(self.grid) - 1
        if count < 1:
            raise UnmetHypothesis("FlowTrainer", "at least two times", f"times = {self.grid}")
        matching.require_steps(count)
        # Where the control is dropped, it is neither trained nor applied.
        self.first = count - matching.last if matching.last and matching.mode != "frozen" else 0
        self.probabilities = [0.0] * self.first + list(step_probabilities(count - self.first))
        self.chosen = min(matching.chosen or count - self.first, count - self.first)
        self.model = _Policy(flow, matching.guidance == "full")
        self.ema = EMA(self.model, plan.ema_decay)

    # -- an epoch -----------------------------------------------------------------------------------------

    def rollout(self, trainer: RolloutTrainer[Targets], epoch: int, generator: torch.Generator) -> Samples:
        noise, prompts, uniforms = self.draw(generator, self.budget.rows)
        return self.samples(noise, prompts, uniforms)

    def draw(self, generator: torch.Generator, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """Noise and prompts of all processes, and what chooses steps: the same ones in every row."""
        task, device = self.setting.task, generator.device
        noise = task.draw_noise(generator, rows)
        prompts = torch.randint(len(task.prompts), (rows,), generator=generator, device=device)
        return noise, prompts, torch.rand(1, self.chosen, generator=generator, device=device)

    def samples(self, noise: Tensor, prompts: Tensor, uniforms: Tensor) -> Samples:
        """The rollout of this process, recorded with the gradient of the reward and what chooses steps."""
        mine, task = local_rows(self.setting.accelerator, len(prompts)), self.setting.task
        condition = task.condition(prompts[mine])
        path = self.path(noise[mine], condition)
        accelerator = self.setting.accelerator
        rewards, gradient = everywhere(
            accelerator, lambda: task.rewards_and_gradients(path.end, prompts[mine])
        )
        recorded = {"gradient": gradient, "uniforms": uniforms}
        tag: Kind = "ode"
        done = Trajectories(torch.stack(list(path.states)), (tag,) * len(path.steps), recorded)
        gathered = accelerator.gather(rewards)
        return Samples(done, condition, prompts, mine, gathered, self.setting.sampler)

    def signal(self, samples: Samples) -> Targets:
        """The adjoints of the rollout; the base velocities that they were made with are kept."""
        m, base = self.matching, dict[int, Tensor]()
        path = Trajectory(self.grid, tuple(samples.done.states))
        vjp = self.vjp(samples.condition, base)
        after = adjoints(path, samples.done.recorded["gradient"], vjp, last=m.last or None, mode=m.mode)
        return Targets(path, after, base)

    def loss(self, batch: Batch, samples: Samples, signal: Targets) -> Losses:
        m, path, condition = self.matching, signal.path, samples.condition
        cost, full = m.cost.made(), m.guidance == "full"
        losses, spent, largest = batch.weight.new_zeros(()), batch.weight.new_zeros(()), 0.0
        uniforms = samples.done.recorded["uniforms"]
        for k, weight in chosen_steps(self.probabilities, uniforms[0].tolist()):
            x, t, a, h = path.states[k], path.times[k], signal.after[k], path.steps[k]
            assert a is not None  # steps without a target have probability 0
            v = signal.base[k] if k in signal.base else self.velocity("base", x, t, condition, full)
            u = self.setting.policies.wrapped(x, t, condition) - v
            target = control_target(a, m.lam, cost, current=u.detach(), damping=m.damping)
            losses = losses + weight * h * sample_losses(u, target)
            spent = spent + weight * h * m.lam * cost.cost(u.detach().flatten(1))
            largest = max(largest, float(a.flatten(1).norm(dim=1).max()))
        mask = quantile_mask(losses.detach(), m.keep)
        rewards = samples.rewards[samples.mine]
        seen = {"objective": spent - rewards, "loss": losses, "kept": mask}
        seen["adjoint"] = torch.full_like(losses, largest)
        # A mean over dimensions, too, so that learning rate and clipping mean the same for every shape.
        each = mask * losses * (len(losses) / mask.sum() / path.states[0][0].numel())
        return Losses(each, seen)

    def after_epoch(self, epoch: int, samples: Samples, signal: Targets) -> dict[str, float]:
        self.ema.update(self.model, epoch)
        return {}

    def shown(self, numbers: Mapping[str, float]) -> float:
        return numbers["loss"]

    # -- the flow -----------------------------------------------------------------------------------------

    def path(self, noise: Tensor, condition: Condition) -> Trajectory:
        """The trajectories of the policy from given noise."""
        guided, first_time = self.matching.guidance != "none", self.grid[self.first]

        def velocity(x: Tensor, t: float) -> Tensor:
            return self.velocity("base" if t > first_time else "tuned", x, t, condition, guided)

        with torch.no_grad():
            return rollout(velocity, noise, self.grid)

    def velocity(
        self, kind: Literal["base", "tuned"], x: Tensor, t: float, condition: Condition, guided: bool
    ) -> Tensor:
        """One of the two velocities."""
        # As accelerate calls the policy: in another precision, the difference of the two would be rounding.
        with self.setting.accelerator.autocast():
            call = self.flow.base if kind == "base" else self.flow.tuned
            return call(x, t, condition, guided)

    def vjp(
        self, condition: Condition, base: dict[int, Tensor] | None = None
    ) -> Callable[[Tensor, float, Tensor], Tensor]:
        """Products with the transposed Jacobian of the base velocity; ``base`` takes in that velocity, by step."""
        full = self.matching.guidance == "full"

        def vjp(x: Tensor, t: float, a: Tensor) -> Tensor:
            with self.setting.accelerator.autocast():
                v, pulled = self.flow.vjp(x, t, a, condition, full)
            if base is not None:
                base[self.grid.index(t)] = v
            return pulled

        return vjp

    # -- how it is identified and saved -------------------------------------------------------------------

    @property
    def schedule(self) -> Callable[[int, int], float]:
        return lambda epoch, length: replace(self.budget, epochs=length).rate(epoch)

    def optimizer(self, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(weights, lr=self.budget.learning_rate, fused=True)

    def made_with(self) -> dict[str, object]:
        return {"plan": self.plan}

    def description(self) -> dict[str, object]:
        return {"matching": self.matching, "times": list(self.grid)}

    def tensors(self) -> dict[str, Tensor]:
        return self.ema.state


@final
class _Policy(nn.Module):
    """The weights that are trained; the network itself is not copied or saved."""

    def __init__(self, flow: FlowModel, guided: bool) -> None:
        super().__init__()
        self.flow, self.guided, self.prediction = flow, guided, "flow_prediction"
        self.weights = nn.ParameterList(flow.trainable())

    def forward(self, x: Tensor, t: float, condition: Condition) -> Tensor:
        return self.flow.tuned(x, t, condition, self.guided)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # The moving average wants a second set of weights, not a second network.
        twin = type(self).__new__(type(self))
        nn.Module.__init__(twin)
        twin.flow, twin.guided, twin.prediction = self.flow, self.guided, self.prediction
        twin.weights = nn.ParameterList([nn.Parameter(weight.detach().clone()) for weight in self.weights])
        return twin
