"""The comparison on Sudoku: the model of the zoo, trained in several ways, and accuracy beside evaluations."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor

from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.backends.torch.pretrained import zoo
from driftproof.backends.torch.pretrained.lora import add_lora
from driftproof.backends.torch.pretrained.sudoku import EMPTY, puzzles, solved

from .config import Method, Recipe
from .models import MaskedLM
from .rollouts import roll_out
from .thresholds import ThresholdHead
from .trainer import Settings, Trainer

__all__ = ["LEARNED", "Outcome", "Point", "Sudoku", "compare"]

LEARNED = "learned"  # the threshold of a sampler that has been trained
EVALUATION = 1 << 30  # a step that no training reaches


@final
@dataclass(frozen=True)
class Sudoku:
    """Puzzles with a number of clues, whose reward is 1 where they are solved.

    Arguments:
        clues: Cells that are given.
        seen: Whether they are grids that the model is trained on.
    """

    clues: int
    seen: bool = True

    def draw(self, generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Puzzles (count, 16) and their attention masks."""
        host = torch.Generator().manual_seed(
            int(torch.randint(2**31, (1,), generator=generator, device=generator.device))
        )
        z = puzzles(self.clues, count, host, seen=self.seen).to(generator.device)
        return z, torch.ones_like(z)

    def reward(self, z: Tensor, x: Tensor) -> Tensor:
        """1 where a grid is right."""
        return solved(x).double()


@final
@dataclass(frozen=True)
class Point:
    """The results at one threshold: the share of puzzles that were solved, and the mean number of evaluations."""

    accuracy: float
    evaluations: float


@final
@dataclass(frozen=True)
class Outcome:
    """A method over seeds.

    Arguments:
        label: Its row.
        points: For each seed, what was measured by threshold; after training under ``learned``, too, if one was learned.
        rewards: The reward of every step of training, for each seed.
        chosen: The mean threshold that was learned, for each seed.
    """

    label: str
    points: tuple[Mapping[str, Point], ...]
    rewards: tuple[tuple[float, ...], ...] = ()
    chosen: tuple[float, ...] = ()


def compare(recipe: Recipe, folder: Path, accelerator: Accelerator) -> list[Outcome]:
    """The model as it is, and after training by each method."""
    outcomes = [
        Outcome("before", tuple(_measured(_model(), None, recipe, s, accelerator) for s in recipe.seeds))
    ]
    for method in recipe.method:
        points, rewards, chosen = [], [], []
        for seed in recipe.seeds:
            trainer = _trained(recipe, method, seed, folder, accelerator)
            head = trainer.head if method.trains != "model" else None
            points.append(_measured(trainer.model, head, recipe, seed, accelerator))
            rewards.append(tuple(trainer.column("reward")))
            if head is not None:
                z, attention = Sudoku(recipe.clues, seen=False).draw(torch.Generator().manual_seed(seed), 64)
                z, attention = z.to(accelerator.device), attention.to(accelerator.device)
                with torch.no_grad():
                    law = head(z, attention).exp().double()
                chosen.append(float((law @ head.thresholds).mean()))
        outcomes.append(Outcome(method.label, tuple(points), tuple(rewards), tuple(chosen)))
    return outcomes


def _model() -> MaskedLM:
    return MaskedLM(zoo("masked-lm"), mask_token=EMPTY, vocabulary=EMPTY)


def _trained(recipe: Recipe, method: Method, seed: int, folder: Path, accelerator: Accelerator) -> Trainer:
    model = copy.deepcopy(_model())
    if recipe.lora is None:
        model.requires_grad_(method.trains != "sampler")
    else:
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            add_lora(model.network, recipe.lora.rank, recipe.lora.alpha, recipe.lora.targets)
    settings = Settings(
        method, recipe.thresholds, recipe.samples, recipe.iterations, recipe.cost, recipe.temperature
    )
    trainer = Trainer(model, Sudoku(recipe.clues), settings, replace(recipe.plan, seed=seed), accelerator)
    name = f"{method.label.replace(', ', '-')}-{seed}"
    trainer.run(folder / f"{name}.safetensors", name, clues=recipe.clues, lora=recipe.lora)
    return trainer


def _measured(
    model: Any, head: ThresholdHead | None, recipe: Recipe, seed: int, accelerator: Accelerator
) -> dict[str, Point]:
    """On the same puzzles with the same noise, whatever the method and the threshold."""
    device, task = accelerator.device, Sudoku(recipe.clues, seen=False)
    model.to(device).eval()
    generator = generator_of(seed, EVALUATION)
    z, attention = task.draw(generator, recipe.evaluation)
    noise = torch.rand(z.shape, generator=generator, dtype=torch.float64)
    uniform = torch.rand(len(z), generator=generator, dtype=torch.float64)
    z, attention, noise, uniform = (part.to(device) for part in (z, attention, noise, uniform))
    gammas = {
        f"{g:g}": torch.full((len(z),), g, dtype=torch.float64, device=device) for g in recipe.thresholds
    }
    if head is not None:
        gammas[LEARNED] = head.thresholds[head.choose(z, attention, uniform)]
    found = {}
    for name, gamma in gammas.items():
        rollout = roll_out(model, z, attention, gamma, noise, recipe.temperature)
        accuracy = float(task.reward(z, rollout.x).mean())
        found[name] = Point(accuracy, float(rollout.evaluations.double().mean()))
    return found
