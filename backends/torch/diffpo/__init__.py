"""DiFFPO on torch: masked language models and their samplers, trained on rollouts whose law is known.

``driftproof train diffpo`` trains the model of the zoo that fills in Sudoku, rewarded for puzzles that are solved.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from driftproof.backends.torch.kit.entry import Paper, as_it_is, run_recipes

from .config import RECIPES, Method
from .models import MaskedLM, MaskedModel, require_same_law, token_log_probs
from .rollouts import Rollout, roll_out
from .thresholds import ThresholdHead
from .trainer import Settings, Task, Trainer

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

    from driftproof.backends.torch.kit.report import Section

    from .config import Recipe

__all__ = [
    "MaskedLM",
    "MaskedModel",
    "Method",
    "Rollout",
    "Settings",
    "Task",
    "ThresholdHead",
    "Trainer",
    "main",
    "require_same_law",
    "roll_out",
    "token_log_probs",
]


def main(config: Path | None, smoke: bool, out: Path, changes: Sequence[str] = ()) -> None:
    """Run one recipe, or the one that comes with the package; see :func:`.kit.entry.run_recipes`."""
    from .experiment import compare
    from .report import section

    def sections(recipe: Recipe, out: Path, accelerator: Accelerator) -> list[Section]:
        return [section(recipe, compare(recipe, out / "checkpoints", accelerator))]

    packages = ("torch", "accelerate", "transformers")
    run_recipes(Paper(RECIPES, as_it_is, sections, packages=packages), config, smoke, out, changes)
