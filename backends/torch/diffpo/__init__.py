"""DiFFPO on torch: masked language models and their samplers, trained on rollouts whose law is known.

``driftproof train diffpo`` trains the model of the zoo that fills in Sudoku, rewarded for puzzles that are solved.
"""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from driftproof.backends.torch.kit.entry import Paper
from driftproof.backends.torch.kit.report import Section

from .config import RECIPES, Method, Recipe
from .models import MaskedLM, MaskedModel, require_same_law, token_log_probs
from .rollouts import Rollout, roll_out
from .thresholds import ThresholdHead
from .trainer import Settings, Task, Trainer

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


def _sections(recipe: Recipe, out: Path, accelerator: Accelerator) -> list[Section]:
    from .experiment import compare
    from .report import section

    return [section(recipe, compare(recipe, out / "checkpoints", accelerator))]


main = Paper(RECIPES, _sections, packages=("torch", "accelerate", "transformers"))
