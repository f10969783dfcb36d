r"""Adjoint matching on torch: roll out, pull the reward's gradient back, regress the control on it.

.. math:: \min_u\; \sum_k h_k\,\tfrac12 E\,\Big|\,v_{tuned}(x_k, t_k) - v_{base}(x_k, t_k)
    - \nabla L^*\Big(\frac{a_{k+1}}\lambda\Big)\Big|^2

on trajectories of the current policy, with the adjoint of the *base* velocity held fixed.  Every kernel is
that of :mod:`driftproof.numerics.adjoint`; this module adds autograd, accelerate and exact resume.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.loop import Plan, train
from driftproof.backends.torch.pretrained.guidance import Condition
from driftproof.backends.torch.rl.task import Task
from driftproof.numerics.adjoint import (
    Trajectory,
    adjoints,
    chosen_steps,
    control_target,
    matching_loss,
    quantile_mask,
    rollout,
    sample_losses,
    step_probabilities,
    trajectory_costs,
)

from .config import Matching
from .flows import FlowModel

__all__ = ["COLUMNS", "AdjointMatchingTrainer", "Evaluation", "Tuned"]

COLUMNS = ("reward", "objective", "loss", "kept", "adjoint")


@final
@dataclass(frozen=True, slots=True)
class Evaluation:
    """Numbers of every trajectory, shape (B,): reward, cost (running cost less reward), matching loss."""

    rewards: Tensor
    costs: Tensor
    losses: Tensor


@final
@dataclass(frozen=True, slots=True)
class Tuned:
    """What training gives: the log, a row for each step (columns: COLUMNS), its losses and seconds."""

    log: Tensor
    losses: Tensor
    seconds: float


@final
class AdjointMatchingTrainer:
    """Tunes a flow for a reward.

    Arguments:
        flow: The model; its trainable weights end as the average that the plan asks for.
        task: Shape, conditions, reward.
        times: Decreasing noise times: the grid of rollouts and adjoints.
        matching: Weight, truncation, sub-sampling, damping, mask, guidance.
        plan: Steps, batch, learning rate.
        checkpoint: A file to resume from when it exists, and to save to.
        config: What the checkpoint must have been made with beside these parts: JSON, or dataclasses.
        accelerator: Devices, processes and precision.

    Raises:
        UnmetHypothesis: In ``train``: what the parts refuse, before the first step.

    Example:
        >>> from driftproof.theory.adjoint import GaussianFlow, uniform_times
        >>> from driftproof.theory.rewards import Linear
        >>> from driftproof.backends.torch.adjoint import AffineFlow, closed_form
        >>> times, one = uniform_times(2), torch.ones(1)
        >>> flow = AffineFlow(GaussianFlow(one, one[None]), times)
        >>> trainer = AdjointMatchingTrainer(flow, Task((1,), closed_form(Linear(one))), times,
        ...                                  Matching(lam=2.0), Plan(steps=1, batch=4, learning_rate=0.1))
        >>> float(trainer.evaluate(torch.zeros(1, 1), torch.zeros(1, dtype=torch.long)).losses[0])
        0.125
    """

    def __init__(
        self,
        flow: FlowModel,
        task: Task,
        times: Sequence[float],
        matching: Matching,
        plan: Plan,
        *,
        checkpoint: Path | None = None,
        config: Mapping[str, object] | None = None,
        accelerator: Accelerator | None = None,
    ) -> None:
        self.flow, self.task, self.matching, self.plan = flow, task, matching, plan
        self.times = tuple(float(t) for t in times)
        self.checkpoint = checkpoint
        self.config = dict(config or {})
        self.accelerator = accelerator or Accelerator()
        self.log: list[Tensor] = []
        count = len(self.times) - 1
        if count < 1:
            raise UnmetHypothesis("AdjointMatchingTrainer", "at least two times", f"times = {self.times}")
        matching.require_steps(count)
        # Where the control is dropped, it is neither trained nor applied.
        self.first = count - matching.last if matching.last and matching.mode != "frozen" else 0
        self.probabilities = [0.0] * self.first + list(step_probabilities(count - self.first))
        self.chosen = min(matching.chosen or count - self.first, count - self.first)

    def train(self, title: str = "adjoint matching") -> Tuned:
        """Run the plan, from the checkpoint if there is one; the flow then holds the averaged weights."""
        policy = _Policy(self.flow, self.matching.guidance == "full")
        self.log.clear()
        done = train(
            policy,
            self._draw,
            self._loss,
            self.plan,
            checkpoint=self.checkpoint,
            config={
                **self.config,
                "matching": self.matching,
                "times": list(self.times),
                "task": self.task.description(),
            },
            accelerator=self.accelerator,
            title=title,
            rows=self.log,
        )
        with torch.no_grad():
            for weight, average in zip(policy.weights, done.model.weights, strict=True):
                weight.copy_(average)
        return Tuned(torch.stack(self.log), done.losses, done.seconds)

    @torch.no_grad()
    def evaluate(self, noise: Tensor, rows: Tensor) -> Evaluation:
        """Reward, cost and the whole matching loss of trajectories from given noise; no step is left out."""
        condition = self.task.condition(rows)
        path = self._rollout(noise, condition)
        with torch.random.fork_rng([]):
            torch.manual_seed(0)  # the copies of a smoothed gradient: the same at every call
            rewards, gradient = self.task.rewards_and_gradients(path.end, rows)
        after = adjoints(path, gradient, self._vjp(condition))
        full = self.matching.guidance == "full"
        controls = []
        for k, (x, t) in enumerate(zip(path.states, path.times[:-1], strict=False)):
            applied = k >= self.first
            v = self._velocity("base", x, t, condition, full)
            tuned = self._velocity("tuned", x, t, condition, full) if applied else v
            controls.append(tuned - v)
        lam, cost = self.matching.lam, self.matching.cost.made()
        losses = matching_loss(path, controls, after, lam, cost)
        return Evaluation(rewards, trajectory_costs(path, controls, rewards, lam, cost), losses)

    @torch.no_grad()
    def sample(self, noise: Tensor, rows: Tensor) -> Tensor:
        """Data of the tuned flow from given noise, with the grid and guidance of the training."""
        end: Tensor = self._rollout(noise, self.task.condition(rows)).end
        return end

    def _draw(self, generator: torch.Generator, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        device, task = generator.device, self.task
        noise = torch.randn(batch, *task.shape, generator=generator, device=device, dtype=task.dtype)
        rows = torch.randint(len(task.prompts), (batch,), generator=generator, device=device)
        # The same steps in every row, so that two processes take those that one would take.
        uniforms = torch.rand(1, self.chosen, generator=generator, device=device)
        return noise, rows, uniforms.expand(batch, -1)

    def _loss(self, policy: Any, noise: Tensor, rows: Tensor, uniforms: Tensor) -> Tensor:
        m, condition = self.matching, self.task.condition(rows)
        with torch.no_grad():
            path = self._rollout(noise, condition)
        rewards, gradient = self.task.rewards_and_gradients(path.end, rows)
        after = adjoints(path, gradient, self._vjp(condition), last=m.last or None, mode=m.mode)
        cost, full = m.cost.made(), m.guidance == "full"
        losses, spent, largest = noise.new_zeros(len(noise)), noise.new_zeros(len(noise)), 0.0
        for k, weight in chosen_steps(self.probabilities, uniforms[0].tolist()):
            x, t, a, h = path.states[k], path.times[k], after[k], path.steps[k]
            assert a is not None  # steps without a target have probability 0
            u = policy(x, t, condition) - self._velocity("base", x, t, condition, full)
            target = control_target(a, m.lam, cost, current=u.detach(), damping=m.damping)
            losses = losses + weight * h * sample_losses(u, target)
            spent = spent + weight * h * m.lam * cost.cost(u.detach().flatten(1))
            largest = max(largest, float(a.flatten(1).norm(dim=1).max()))
        mask = quantile_mask(losses.detach(), m.keep)
        self._write(rewards, spent - rewards, losses.detach(), mask, largest)
        # A mean over dimensions, too, so that learning rate and clipping mean the same for every shape.
        return (mask * losses).sum() / mask.sum() / noise[0].numel()

    def _rollout(self, noise: Tensor, condition: Condition) -> Trajectory:
        guided, first_time = self.matching.guidance != "none", self.times[self.first]

        def velocity(x: Tensor, t: float) -> Tensor:
            return self._velocity("base" if t > first_time else "tuned", x, t, condition, guided)

        return rollout(velocity, noise, self.times)

    def _velocity(
        self, kind: Literal["base", "tuned"], x: Tensor, t: float, condition: Condition, guided: bool
    ) -> Tensor:
        # As accelerate calls the policy: in another precision, the difference of the two would be rounding.
        with self.accelerator.autocast():
            call = self.flow.base if kind == "base" else self.flow.tuned
            return call(x, t, condition, guided)

    def _vjp(self, condition: Condition) -> Callable[[Tensor, float, Tensor], Tensor]:
        full = self.matching.guidance == "full"

        def vjp(x: Tensor, t: float, a: Tensor) -> Tensor:
            with self.accelerator.autocast():
                return self.flow.vjp(x, t, a, condition, full)

        return vjp

    def _write(self, rewards: Tensor, costs: Tensor, losses: Tensor, mask: Tensor, largest: float) -> None:
        means = [part.float().mean() for part in (rewards, costs, losses, mask)]
        row = torch.stack([*means, means[0].new_tensor(largest)])
        shared: Tensor = self.accelerator.reduce(row.to(self.accelerator.device), reduction="mean")
        self.log.append(shared.cpu())


@final
class _Policy(nn.Module):
    """The weights that are trained; the network itself is not copied or saved."""

    def __init__(self, flow: FlowModel, guided: bool) -> None:
        super().__init__()
        self.flow, self.guided = flow, guided
        self.weights = nn.ParameterList(flow.trainable())

    def forward(self, x: Tensor, t: float, condition: Condition) -> Tensor:
        return self.flow.tuned(x, t, condition, self.guided)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # The moving average wants a second set of weights, not a second network.
        twin = type(self).__new__(type(self))
        nn.Module.__init__(twin)
        twin.flow, twin.guided = self.flow, self.guided
        twin.weights = nn.ParameterList([nn.Parameter(weight.detach().clone()) for weight in self.weights])
        return twin
