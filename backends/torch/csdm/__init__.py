r"""Diffusion in a sketch on torch: batched FISTA, a pipeline that samples and decodes, and its recipes.

``driftproof train csdm --config FILE`` trains a latent diffusion for each of several latent dimensions and one
in full dimension, with the same network and budget, and measures what each budget of sampling buys.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from driftproof.backends.torch.kit.changes import loss_section
from driftproof.backends.torch.kit.entry import Paper, run_recipes

from .config import RECIPES
from .data import load
from .experiment import run
from .fista import batched_fista
from .pipeline import CSDMOutput, CSDMPipeline
from .report import study_section

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

    from driftproof.backends.torch.kit.report import Section
    from driftproof.backends.torch.score_models.data import Data

    from .config import Recipe

__all__ = ["CSDMOutput", "CSDMPipeline", "batched_fista", "main"]


def main(config: Path | None, smoke: bool, out: Path, changes: Sequence[str] = ()) -> None:
    """Run one recipe, or all that come with the package; see :func:`.kit.entry.run_recipes`."""

    def loaded(recipe: Recipe) -> tuple[Recipe, Data]:
        return recipe, load(recipe.data)

    def sections(loaded: tuple[Recipe, Data], out: Path, accelerator: Accelerator) -> list[Section]:
        study = run(*loaded, out / "checkpoints", accelerator)
        losses = {f"{study.recipe.title}: m = {m}": series for m, series in study.losses.items()}
        return [study_section(study), *loss_section(losses)]

    title, packages = "Diffusion in a sketch of real data", ("torch", "numpy", "scipy", "accelerate")
    run_recipes(Paper(RECIPES, loaded, sections, title, packages), config, smoke, out, changes)
