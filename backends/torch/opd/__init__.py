"""On-policy distillation on torch: losses for any training loop, a trainer for TRL, recipes.

``driftproof train opd`` compares the ways to distil on a task made on the spot; with a recipe that has a
table ``[published]`` it trains published models through TRL.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from driftproof.backends.torch.kit.entry import Paper, ending
from driftproof.backends.torch.kit.report import Section, write_whole

from .config import RECIPES, Published, Recipe
from .linear import linear_divergence, linear_log_probs, linear_opd_loss
from .losses import OPDLoss, full_vocabulary_loss, opd_loss

__all__ = [
    "OPDLoss",
    "full_vocabulary_loss",
    "linear_divergence",
    "linear_log_probs",
    "linear_opd_loss",
    "main",
    "opd_loss",
]


def main(config: Path | None, smoke: bool, out: Path, changes: Sequence[str] = ()) -> None:
    """Run one recipe, or the comparison on arithmetic, as :class:`.kit.entry.Paper` does.

    A recipe with a table ``[published]`` is run by TRL, with its own accelerator, and leaves ``out/log.json``.
    """
    if config is not None and (published := RECIPES.load(config, smoke, changes)[0].published) is not None:
        _distil(published, out)
    else:
        COMPARISON(config, smoke, out, changes)


def _sections(recipe: Recipe, out: Path, accelerator: Accelerator) -> list[Section]:
    from .experiment import compare
    from .report import comparison_section

    return [comparison_section(recipe.title, *compare(recipe, out / "checkpoints", accelerator))]


COMPARISON = Paper(RECIPES, _sections, packages=("torch", "transformers", "accelerate"))


def _distil(published: Published, out: Path) -> None:
    from accelerate import PartialState

    from .published import distil

    with ending():
        log = distil(published, out)
    if PartialState().is_main_process:
        write_whole(out / "log.json", json.dumps(log, indent=1).encode())
