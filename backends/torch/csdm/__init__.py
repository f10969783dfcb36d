r"""Diffusion in a sketch on torch: batched FISTA, a pipeline that samples and decodes, and its recipes.

``driftproof train csdm --config FILE`` trains a latent diffusion for each of several latent dimensions and one
in full dimension, with the same network and budget, and measures what each budget of sampling buys.
"""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from driftproof.backends.torch.kit.changes import loss_section
from driftproof.backends.torch.kit.entry import Paper
from driftproof.backends.torch.kit.report import Section
from driftproof.backends.torch.score_models.data import Data

from .config import RECIPES, Recipe
from .data import load
from .experiment import run
from .fista import batched_fista
from .pipeline import CSDMOutput, CSDMPipeline
from .report import study_section

__all__ = ["CSDMOutput", "CSDMPipeline", "batched_fista", "main"]


def _loaded(recipe: Recipe) -> tuple[Recipe, Data]:
    return recipe, load(recipe.data)


def _sections(loaded: tuple[Recipe, Data], out: Path, accelerator: Accelerator) -> list[Section]:
    study = run(*loaded, out / "checkpoints", accelerator)
    losses = {f"{study.recipe.title}: m = {m}": series for m, series in study.losses.items()}
    return [study_section(study), *loss_section(losses)]


main = Paper(
    RECIPES,
    _sections,
    "Diffusion in a sketch of real data",
    ("torch", "numpy", "scipy", "accelerate"),
    prepare=_loaded,
)
