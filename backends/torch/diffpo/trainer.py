r"""Model and sampler trained on the same rollouts: groups of a prompt, losses of numerics, exact to resume.

All that is drawn in step k is a function of (seed, k): prompts, thresholds, one uniform number for each position, masks and
times of the surrogate.  The network is in evaluation mode throughout, so that the policy that is trained is the one that rolls
out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

import array_api_compat.torch as xp
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.checkpoint import prefixed
from driftproof.backends.torch.kit.identity import digest_of
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.planned import Planned
from driftproof.backends.torch.kit.run import Resumed
from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.numerics.diffpo import group_advantages, sampler_loss

from .config import Method
from .losses import policy_loss, surrogate
from .models import require_same_law
from .rollouts import Rollout, roll_out
from .thresholds import ThresholdHead

__all__ = ["Settings", "Task", "Trainer"]

COLUMNS = ("reward", "evaluations", "mismatch", "loss")


class Task(Protocol):
    """Prompts and what they are rewarded for.

    Where a run is resumed, a task is identified by its method ``description()``, if it has one: JSON values.
    """

    def draw(self, generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Canvases and attention masks, (count, L), on the generator's device."""
        ...

    def reward(self, z: Tensor, x: Tensor) -> Tensor:
        """Rewards of the completions x of the canvases z, (B,)."""
        ...


@final
@dataclass(frozen=True)
class Settings:
    """The settings of a training beside its budget.

    Arguments:
        method: How.
        thresholds: Entropy bounds that a sampler chooses among, in nats.
        samples: Rollouts of one prompt.
        iterations: Updates on the rollouts of a step.
        cost: The cost of an evaluation, in units of the reward.
        temperature: The temperature of the draws.
    """

    method: Method
    thresholds: tuple[float, ...]
    samples: int = 8
    iterations: int = 1
    cost: float = 0.0
    temperature: float = 1.0


@final
class Trainer(Planned):
    """The work of a run: see :func:`.kit.loop.run_steps`.

    Arguments:
        model: A :class:`.models.MaskedModel` that is a module; trained in place.
        task: Prompts and rewards.
        settings: The settings of the training.
        plan: Budget; rows are rollouts.
        accelerator: Device and precision.

    Raises:
        UnmetHypothesis: Several processes, samples that do not divide the rows, a temperature other than 1 for a loss
            that takes the rollouts for draws of the policy that is trained, or what :class:`.kit.planned.Planned` refuses.
    """

    def __init__(
        self, model: Any, task: Task, settings: Settings, plan: Plan, accelerator: Accelerator | None = None
    ) -> None:
        accelerator = accelerator or Accelerator()
        if accelerator.num_processes > 1:
            raise UnmetHypothesis("diffpo", "one process", f"{accelerator.num_processes}")
        if plan.train_batch_size % settings.samples:
            got = f"{plan.train_batch_size} rows, {settings.samples} samples of a prompt"
            raise UnmetHypothesis("diffpo", "samples divides the rows of a step", got)
        method = settings.method
        if settings.temperature != 1.0 and method.loss != "diffpo" and method.trains != "sampler":
            got = f"temperature = {settings.temperature}, loss = {method.loss}"
            raise UnmetHypothesis(
                "diffpo", "temperature = 1, for a loss that does not weigh by the rollout", got
            )
        self.task, self.settings = task, settings
        self.head = ThresholdHead(settings.thresholds, model.mask_token + 1).to(accelerator.device)
        trains = method.trains
        self.parts = nn.ModuleDict()
        if trains != "sampler":
            self.parts["model"] = model
        if trains != "model":
            self.parts["head"] = self.head
        self.model: Any = model.to(accelerator.device).eval()
        weights = [weight for weight in self.parts.parameters() if weight.requires_grad]
        super().__init__("diffpo", model, weights, plan, accelerator, "diffpo")
        self.rows: list[Tensor] = []

    def run(self, checkpoint: Path | None = None, title: str = "diffpo", **config: object) -> float:
        """Train, from a checkpoint if there is one; the seconds.

        Arguments:
            checkpoint: A file to resume from and to save to.
            title: The label of the progress bar.
            config: What the checkpoint must have been made with beside plan, settings, model and task.
        """
        self.title, model = title, self.model
        described = getattr(self.task, "description", None)
        if described is not None:
            config["task"] = described()
        if self.settings.method.trains == "sampler":
            config["weights"] = _digest(model)  # they stay, and the checkpoint has none
        named = type(model).__qualname__, model.mask_token, model.vocabulary
        return self.run_plan(checkpoint, settings=self.settings, model=named, **config)

    def column(self, name: str) -> list[float]:
        """A number of every step: reward, evaluations, mismatch or loss."""
        return [float(row[COLUMNS.index(name)]) for row in self.rows]

    # -- one step -----------------------------------------------------------------------------------------

    def gather(self, generator: torch.Generator) -> tuple[Rollout, Tensor, Tensor]:
        """Rollouts, the indices of their thresholds, and their rewards less what their evaluations cost.

        Raises:
            UnmetHypothesis: A prompt masks nothing, or the model looks at padding.
        """
        settings, count = self.settings, self.plan.train_batch_size
        prompts, attention = self.task.draw(generator, count // settings.samples)
        if not bool(((prompts == self.model.mask_token) & (attention > 0)).any(dim=1).all()):
            raise UnmetHypothesis("diffpo", "every prompt masks a position", "one masks none")
        if not bool((attention > 0).all()):
            require_same_law(self.model, prompts, attention)
        z, attention = (part.repeat_interleave(settings.samples, dim=0) for part in (prompts, attention))
        device, size = generator.device, len(settings.thresholds)
        uniform = torch.rand(count, generator=generator, dtype=torch.float64, device=device)
        noise = torch.rand(z.shape, generator=generator, dtype=torch.float64, device=device)
        if settings.method.trains == "model":  # one threshold for all samples of a prompt
            one = uniform[:: settings.samples].repeat_interleave(settings.samples)
            index = (one * size).long()
        else:
            index = self.head.choose(z, attention, uniform)
        gamma = self.head.thresholds[index]
        rollout = roll_out(self.model, z, attention, gamma, noise, settings.temperature)
        rewards = self.task.reward(z, rollout.x).double() - settings.cost * rollout.evaluations
        return rollout, index, rewards

    def losses(
        self, rollout: Rollout, index: Tensor, rewards: Tensor, generator: torch.Generator
    ) -> Callable[[], tuple[Tensor, Tensor]]:
        """The loss on these rollouts, for every update, and how far the surrogate is from the recorded numbers.

        The thresholds are scored in the first pass: their loss has no ratio that would make another one right.
        """
        settings, method = self.settings, self.settings.method
        grouped = rewards.reshape(-1, settings.samples)
        advantages = group_advantages.kernel(xp, grouped).reshape(-1)
        scored = surrogate(method, rollout, self.model.mask_token, generator)
        kept: list[Tensor] = []

        def loss() -> tuple[Tensor, Tensor]:
            total, first = torch.zeros((), device=rewards.device), not kept
            mismatch = torch.zeros((), dtype=torch.float64, device=rewards.device)
            if method.trains != "sampler":
                log_p = scored(self.wrapped)
                kept.append(log_p.detach())
                total = total + policy_loss(method, rollout, log_p, kept[0], advantages)
                if log_p.ndim == 2:
                    off = (kept[0].double() - rollout.log_probs).abs()
                    mismatch = off[rollout.completion].mean()
            if method.trains != "model" and first:
                log_choice = self.head(rollout.z, rollout.attention).gather(1, index[:, None])[:, 0]
                own = sampler_loss.kernel(xp, log_choice, advantages.to(log_choice.dtype))
                total = total + method.weight * own
                kept.append(log_choice.detach())
            return total, mismatch

        return loss

    def advance(self, step: int) -> float:
        settings = self.settings
        self.set_rate(step)
        generator = generator_of(self.plan.seed, step, self.accelerator.device)
        rollout, index, rewards = self.gather(generator)
        loss = self.losses(rollout, index, rewards, generator)
        value, first = torch.zeros(()), None
        for _ in range(settings.iterations if settings.method.trains != "sampler" else 1):
            value, mismatch = loss()
            first = mismatch if first is None else first
            self.require_finite(float(value.detach()), step)
            self.prepared_optimizer.zero_grad(set_to_none=True)
            self.accelerator.backward(value)
            self.descend(step)
        won = float(rewards.mean())
        seen = (won, float(rollout.evaluations.double().mean()), float(first or 0.0), float(value.detach()))
        self.rows.append(torch.tensor(seen, dtype=torch.float64))
        return -won  # the bar shows what falls

    # -- what is saved ------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        return prefixed("parts", self.parts.state_dict())

    def history(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"rows": torch.stack(self.rows)}, {}

    def resumed(self, found: Resumed) -> None:
        self.rows = list(found.series["rows"].unbind())

    def logged(self, step: int) -> Mapping[str, float]:
        return dict(zip(COLUMNS, self.rows[step].tolist(), strict=True))


def _digest(model: nn.Module) -> str:
    """A digest of every weight, in its own bytes."""
    return digest_of(
        part
        for name, value in model.state_dict().items()
        for part in (name, value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    )
