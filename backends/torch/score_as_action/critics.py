r"""Value functions: what they learn from, a quadratic one, and a network with a choosable skip connection.

.. math:: V(x, t) = a_t\,r(\hat x_0(x, t)) + b_t\,\mathrm{NN}(x, t)

For a Gaussian model and a quadratic reward the right weight of the skip is a = 1 at every time, and the network
has a function of time alone to learn; with the published a = cos, b = sin it learns :math:`r(\hat x_0)` again at
high noise.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

import array_api_compat.torch as xp
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, nn

from driftproof.backends.torch.pretrained.guidance import Condition
from driftproof.numerics.score_as_action import martingale_loss, returns_to_go

from .config import CriticChoice

__all__ = ["AbstractCritic", "CriticBatch", "NetworkCritic", "QuadraticCritic", "Skip"]

Skip: TypeAlias = Literal["none", "constant", "learnable", "cos"]


@final
@dataclass(frozen=True, slots=True)
class CriticBatch:
    """The data of a rollout for a critic, for B paths and S stochastic steps.

    Arguments:
        states: (S + 1, B, *).
        plug_in: Rewards of the denoised states (S, B); zeros where no skip needs them.
        rewards: Rewards of the ends, (B,).
        cost: Running costs (B, S).
        dt: Lengths of the steps in noise time (S,).
        condition: Named tensors with B rows.
    """

    states: Tensor
    plug_in: Tensor
    rewards: Tensor
    cost: Tensor
    dt: Tensor
    condition: Condition

    @property
    def targets(self) -> Tensor:
        """Returns to go from the start of every step, (B, S)."""
        return returns_to_go.kernel(xp, self.rewards, self.cost)[:, :-1]


class AbstractCritic(nn.Module, ABC):
    """A value function of the states before each stochastic step."""

    @abstractmethod
    def forward(self, x: Tensor, steps: Tensor, plug_in: Tensor, condition: Condition) -> Tensor:
        """Values (n,) of states (n, *) before the steps with these numbers (n,)."""

    @abstractmethod
    def update(self, batch: CriticBatch, generator: torch.Generator, accelerator: Accelerator) -> float:
        """Learn from a rollout; the martingale loss before it."""

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """The parts that have a state beside the module's own."""
        return []

    def description(self) -> dict[str, object]:
        """The identity of this critic: JSON, or dataclasses."""
        return {"kind": type(self).__name__}

    def values_on_path(self, batch: CriticBatch) -> Tensor:
        """Values along the paths (B, S + 1); the last column is the reward."""
        columns = []
        with torch.no_grad():
            for k in range(len(batch.states) - 1):
                x = batch.states[k]
                steps = torch.full((len(x),), k, device=x.device)
                columns.append(self(x, steps, batch.plug_in[k], batch.condition))
        return torch.stack([*columns, batch.rewards.to(columns[0].dtype)], dim=1)


@final
class QuadraticCritic(AbstractCritic):
    r"""A quadratic function of the state for each step, by least squares with a fading memory.

    .. math:: V_k(x) = w_k\cdot\phi(x), \qquad w_k = \Big(\sum_j \gamma^j \Phi_j^\top\Phi_j\Big)^{-1}
        \sum_j \gamma^j \Phi_j^\top G_j

    The rollout that the actor learns from is taken in after it: a critic that has seen the noise of a path
    would be correlated with it.

    Arguments:
        d: Coordinates.
        steps: Stochastic steps S.
        memory: :math:`\gamma` in [0, 1).
    """

    def __init__(self, d: int, steps: int, memory: float) -> None:
        super().__init__()
        self.memory = memory
        self.pairs = torch.triu_indices(d, d)
        p = 1 + d + self.pairs.shape[1]
        self.gram: Tensor
        self.moment: Tensor
        self.weights: Tensor
        self.register_buffer("gram", torch.zeros(steps, p, p, dtype=torch.float64))
        self.register_buffer("moment", torch.zeros(steps, p, dtype=torch.float64))
        self.register_buffer("weights", torch.zeros(steps, p, dtype=torch.float64))

    def forward(self, x: Tensor, steps: Tensor, plug_in: Tensor, condition: Condition) -> Tensor:
        return (self._features(x) * self.weights[steps].to(x.dtype)).sum(dim=-1)

    def update(self, batch: CriticBatch, generator: torch.Generator, accelerator: Accelerator) -> float:
        values, targets = self.values_on_path(batch)[:, :-1], batch.targets.double()
        phi = self._features(batch.states[:-1]).double()
        gram = accelerator.reduce(phi.mT @ phi, reduction="sum")
        moment = accelerator.reduce((phi.mT @ targets.T[..., None])[..., 0], reduction="sum")
        self.gram.mul_(self.memory).add_(gram)
        self.moment.mul_(self.memory).add_(moment)
        # A ridge far below the statistical error keeps the first rollouts solvable.
        size = self.gram.diagonal(dim1=-2, dim2=-1).mean(dim=-1)[:, None, None]
        ridge = 1e-9 * size * torch.eye(self.gram.shape[-1], dtype=torch.float64, device=self.gram.device)
        self.weights.copy_(torch.linalg.solve(self.gram + ridge, self.moment))
        return float(martingale_loss.kernel(xp, values.double(), targets, batch.dt.double()))

    def description(self) -> dict[str, object]:
        return {**super().description(), "memory": self.memory}

    def _features(self, x: Tensor) -> Tensor:
        i, j = self.pairs.to(x.device)
        return torch.cat([torch.ones_like(x[..., :1]), x, x[..., i] * x[..., j]], dim=-1)


@final
class NetworkCritic(AbstractCritic):
    """A small convolutional network beside the skip connection; it starts at zero, where the skip is all.

    Arguments:
        choice: The critic of the recipe.
        channels: Channels of the states.
        prompt: Width of the prompts' embeddings; 0 without prompts.
        times: Noise time of each stochastic step in [0, 1].
    """

    def __init__(self, choice: CriticChoice, channels: int, prompt: int, times: Tensor) -> None:
        super().__init__()
        self.choice = choice
        w = choice.width
        self.times: Tensor
        self.register_buffer("times", times.float())
        self.body = nn.Sequential(
            nn.Conv2d(channels, w, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(w, 2 * w, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Linear(2 * w + 16 + prompt, 2 * w), nn.SiLU(), nn.Linear(2 * w, 1))
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.skip = nn.Parameter(torch.ones(len(times)), requires_grad=choice.skip == "learnable")
        chosen = [p for p in self.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(chosen, lr=choice.learning_rate)

    def forward(self, x: Tensor, steps: Tensor, plug_in: Tensor, condition: Condition) -> Tensor:
        tau = self.times[steps]
        waves = tau[:, None] * math.pi * torch.arange(1, 9, device=x.device)
        parts = [self.body(x.float()), torch.sin(waves), torch.cos(waves)]
        if "prompt" in condition:
            parts.append(condition["prompt"].float().mean(dim=1))
        learnt = self.head(torch.cat(parts, dim=-1))[:, 0]
        match self.choice.skip:
            case "none":
                return learnt
            case "cos":
                turn = 0.5 * math.pi * tau
                return torch.cos(turn) * plug_in + torch.sin(turn) * learnt
        return self.skip[steps] * plug_in + learnt

    def update(self, batch: CriticBatch, generator: torch.Generator, accelerator: Accelerator) -> float:
        values, targets = self.values_on_path(batch), batch.targets.float()
        before = float(martingale_loss.kernel(xp, values[:, :-1], targets, batch.dt.float()))
        count, stochastic = targets.shape
        for _ in range(self.choice.steps):
            pick = torch.randint(count * stochastic, (self.choice.batch,), generator=generator)
            rows, steps = (part.to(targets.device) for part in (pick // stochastic, pick % stochastic))
            loss = self._loss(batch, rows, steps, targets)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # single precision: no scale of accelerate's
            for weight in self.parameters():
                if weight.grad is not None:
                    weight.grad = accelerator.reduce(weight.grad, reduction="mean")
            self.optimizer.step()
        return before

    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.optimizer]

    def description(self) -> dict[str, object]:
        return {**super().description(), "choice": self.choice}

    def _loss(self, batch: CriticBatch, rows: Tensor, steps: Tensor, targets: Tensor) -> Tensor:
        now = self._at(batch, rows, steps)
        dt = batch.dt.float()[steps]
        if self.choice.loss == "martingale":
            return martingale_loss.kernel(xp, now[None], targets[rows, steps][None], dt / dt.sum())
        with torch.no_grad():
            last = len(batch.states) - 2
            ahead = self._at(batch, rows, (steps + 1).clamp(max=last))
            ahead = torch.where(steps == last, batch.rewards[rows].float(), ahead)
            errors = ahead - now - batch.cost[rows, steps].float()
        return -(now * errors).mean()  # its gradient is minus the moment of CTD(0)

    def _at(self, batch: CriticBatch, rows: Tensor, steps: Tensor) -> Tensor:
        condition = {name: value[rows.to(value.device)] for name, value in batch.condition.items()}
        plug_in = batch.plug_in[steps, rows].float()
        found: Tensor = self(batch.states[steps, rows], steps, plug_in, condition)
        return found
