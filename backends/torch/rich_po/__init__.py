"""Preference optimisation on torch: Diffusion-DPO of denoisers and flows, on pairs of any origin.

``driftproof train rich_po`` trains a Gaussian denoiser to its known optimum, and pipelines of diffusers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from driftproof.backends.torch.kit.entry import Paper, as_it_is, either, run_recipes

from .config import RECIPES, GaussianPairs, Objective, PairChoice, ReachWarning
from .gaussian import GaussianSource, ShiftedGaussian, population_optimum
from .models import Studio, open_studio
from .noising import Noising
from .objective import Compared, PairBatch, compare, drawn
from .pairs import LatentPairs, encoded, made_pairs
from .trainer import DisplacementWarning, PreferenceTrainer

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

    from driftproof.backends.torch.kit.report import Section

    from .config import Recipe

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


def main(config: Path | None, smoke: bool, out: Path, changes: Sequence[str] = ()) -> None:
    """Run one recipe, or those that need no download; see :func:`.kit.entry.run_recipes`."""
    from .experiment import train_gaussian, train_pipeline
    from .policies import compare_policies
    from .report import comparison_section, gaussian_section, pipeline_section

    def of_pipeline(recipe: Recipe, folder: Path, accelerator: Accelerator) -> Section:
        if recipe.policies:
            return comparison_section(compare_policies(recipe, folder, accelerator))
        return pipeline_section(train_pipeline(recipe, folder, accelerator))

    run = either(lambda *run: gaussian_section(train_gaussian(*run)), of_pipeline)
    packages = ("torch", "diffusers", "peft", "accelerate")
    run_recipes(
        Paper(RECIPES, as_it_is, run, "Preference optimisation", packages), config, smoke, out, changes
    )
