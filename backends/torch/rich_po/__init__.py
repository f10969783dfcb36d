"""Preference optimisation on torch: Diffusion-DPO of denoisers and flows, on pairs of any origin.

``driftproof train rich_po`` trains a Gaussian denoiser to its known optimum, and pipelines of diffusers.
"""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from driftproof.backends.torch.kit.entry import Paper
from driftproof.backends.torch.kit.report import Section

from .config import RECIPES, GaussianPairs, Objective, PairChoice, ReachWarning, Recipe
from .gaussian import GaussianSource, ShiftedGaussian, population_optimum
from .models import Studio, open_studio
from .noising import Noising
from .objective import Compared, PairBatch, compare, drawn
from .pairs import LatentPairs, encoded, made_pairs
from .trainer import DisplacementWarning, PreferenceTrainer

__all__ = [
    "Compared",
    "DisplacementWarning",
    "GaussianPairs",
    "GaussianSource",
    "LatentPairs",
    "Noising",
    "Objective",
    "PairBatch",
    "PairChoice",
    "PreferenceTrainer",
    "ReachWarning",
    "ShiftedGaussian",
    "Studio",
    "compare",
    "drawn",
    "encoded",
    "made_pairs",
    "main",
    "open_studio",
    "population_optimum",
]


def _sections(recipe: Recipe, out: Path, accelerator: Accelerator) -> list[Section]:
    from .experiment import train_gaussian, train_pipeline
    from .policies import compare_policies
    from .report import comparison_section, gaussian_section, pipeline_section

    where = out / "checkpoints", accelerator
    if recipe.gaussian is not None:
        return [gaussian_section(train_gaussian(recipe, *where))]
    if recipe.policies:
        return [comparison_section(compare_policies(recipe, *where))]
    return [pipeline_section(train_pipeline(recipe, *where))]


main = Paper(RECIPES, _sections, "Preference optimisation", ("torch", "diffusers", "peft", "accelerate"))
