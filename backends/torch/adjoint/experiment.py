"""One recipe: tune, and measure against what the theory says or against the model as it was."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.backends.torch.pretrained.lora import save_adapter
from driftproof.backends.torch.rl.gaussian import GaussianModel
from driftproof.backends.torch.rl.rewards import make_reward
from driftproof.backends.torch.rl.task import Task
from driftproof.numerics.adjoint import Certificate, optimum_interval
from driftproof.theory.adjoint import DiscreteFlow, GaussianFlow, uniform_times
from driftproof.theory.rewards import Quadratic

from .config import Recipe
from .flows import AffineFlow
from .models import prepared
from .rewards import closed_form
from .trainer import Evaluation, FlowTrainer, Tuned

__all__ = ["GaussianOutcome", "ModelOutcome", "flow_trainer", "tune_gaussian", "tune_model"]


@final
@dataclass(frozen=True, slots=True)
class GaussianOutcome:
    """A tuned Gaussian flow: exact objective and loss, the certified interval, the exact optimum."""

    recipe: Recipe
    tuned: Tuned
    before: float
    objective: float
    loss: float
    optimum: float
    certified: Certificate
    mean: list[float]
    best_mean: list[float]

    @property
    def holds(self) -> bool:
        """Whether the optimum lies in the interval, which is exact up to rounding."""
        slack = 1e-9 * (1.0 + abs(self.optimum))
        return self.certified.low - slack <= self.optimum <= self.certified.high + slack


@final
@dataclass(frozen=True, slots=True)
class ModelOutcome:
    """A tuned flow model: rewards on held-out noise before and after, and costs."""

    recipe: Recipe
    tuned: Tuned
    before: Evaluation
    after: Evaluation
    spread: tuple[float, float]  # mean pixel deviation over noises, before and after


def gaussian_problem(model: GaussianModel, steps: int) -> tuple[GaussianFlow, Quadratic, list[float]]:
    """Flow, reward and grid, on torch in float64."""
    parts = (model.mean, model.cov, model.c, model.Q)
    mean, cov, c, q = (torch.tensor(part, dtype=torch.float64) for part in parts)
    return GaussianFlow(mean, cov), Quadratic(c, q), uniform_times(steps)


def tune_gaussian(recipe: Recipe, folder: Path, accelerator: Accelerator) -> GaussianOutcome:
    """Tune the closed form.  Costs are quadratic in the noise: 2 d points give exact expectations.

    Raises:
        UnmetHypothesis: A reward that is not concave or another running cost than the quadratic one: the
            certified interval and the exact optimum are those of neither.
    """
    assert recipe.gaussian is not None
    flow, reward, times = gaussian_problem(recipe.gaussian, recipe.steps)
    least = float(torch.linalg.eigvalsh(reward.Q).min())
    if least < 0.0:
        raise UnmetHypothesis(
            "Gaussian recipe", "the reward is concave", f"least eigenvalue {least:.3g} of Q"
        )
    if recipe.matching.cost.kind != "quadratic":
        got = f"cost.kind = {recipe.matching.cost.kind!r}"
        raise UnmetHypothesis("Gaussian recipe", "the running cost is quadratic", got)
    d, lam = len(recipe.gaussian.mean), recipe.matching.lam
    task = Task((d,), closed_form(reward), dtype=torch.float64)
    trainer = FlowTrainer(
        AffineFlow(flow, times),
        task,
        times,
        recipe.matching,
        recipe.budget,
        checkpoint=folder / "gaussian.safetensors",
        config={"gaussian": recipe.gaussian},
        accelerator=accelerator,
    )
    identity = math.sqrt(d) * torch.eye(d, dtype=torch.float64)
    noise, rows = torch.cat([identity, -identity]), torch.zeros(2 * d, dtype=torch.long)
    before = float(trainer.evaluate(noise, rows).costs.mean())
    tuned = trainer.train(recipe.title)
    found = trainer.evaluate(noise, rows)
    grid = DiscreteFlow(flow, times)
    values, axes = torch.linalg.eigh(grid.gramian(lam))
    root = axes * values.clamp_min(0.0).sqrt()
    curvature = float(torch.linalg.eigvalsh(root.T @ reward.Q @ root).max())
    objective, loss = float(found.costs.mean()), float(found.losses.mean())
    return GaussianOutcome(
        recipe=recipe,
        tuned=tuned,
        before=before,
        objective=objective,
        loss=loss,
        optimum=float(grid.objective(reward, lam)),
        certified=optimum_interval(objective, loss, lam, curvature),
        mean=trainer.sample(noise, rows).mean(dim=0).tolist(),
        best_mean=grid.terminal_law(reward, lam).mean.tolist(),
    )


def flow_trainer(
    recipe: Recipe, accelerator: Accelerator, checkpoint: Path | None = None
) -> tuple[FlowTrainer, nn.Module]:
    """The trainer of a flow model, and the network whose adapter it trains."""
    assert recipe.pipeline is not None
    choice, device = recipe.reward, accelerator.device
    gradient = {"smoothing": choice.smoothing, "noise": choice.noise, "bound": choice.bound}
    reward = make_reward(choice, device)
    made = prepared(recipe.pipeline, recipe.steps, reward, device, recipe.budget.seed, **gradient)
    trainer = FlowTrainer(
        made.flow,
        made.task,
        made.times,
        recipe.matching,
        recipe.budget,
        checkpoint=checkpoint,
        config={"pipeline": recipe.pipeline, "steps": recipe.steps, "reward": choice},
        accelerator=accelerator,
    )
    return trainer, made.network


def tune_model(recipe: Recipe, folder: Path, accelerator: Accelerator) -> ModelOutcome:
    """Tune a flow model; write its adapter."""
    trainer, network = flow_trainer(recipe, accelerator, folder / "model.safetensors")
    noise, rows = _held_out(trainer.task, recipe.held_out, accelerator.device)
    size = max(1, recipe.budget.train_batch_size // accelerator.num_processes)
    before, spread = _measured(trainer, noise, rows, size)
    tuned = trainer.train(recipe.title)
    after, spread_after = _measured(trainer, noise, rows, size)
    if accelerator.is_main_process:
        save_adapter(network, folder / "lora")
    return ModelOutcome(recipe, tuned, before, after, (spread, spread_after))


def _held_out(task: Task, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    noise = torch.randn(count, *task.shape, generator=generator_of(2**31 - 1, 0), dtype=task.dtype)
    return noise.to(device), (torch.arange(count) % len(task.prompts)).to(device)


def _measured(trainer: FlowTrainer, noise: Tensor, rows: Tensor, size: int) -> tuple[Evaluation, float]:
    batches = list(zip(torch.split(noise, size), torch.split(rows, size), strict=True))
    parts = [trainer.evaluate(x, r) for x, r in batches]
    names = ("rewards", "costs", "losses")
    joined = Evaluation(*(torch.cat([getattr(part, name) for part in parts]) for name in names))
    with torch.no_grad():
        images = torch.cat([trainer.task.decode(trainer.sample(x, r)) for x, r in batches])
    return joined, float(images.std(dim=0).mean())
