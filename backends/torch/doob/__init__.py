"""Hard constraints on torch: an h learned from unguided trajectories of a frozen model, and draws that it guides.

``driftproof train doob`` learns it for a Gaussian model, whose h is known, and for a model of digits in the zoo.
"""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from driftproof.backends.torch.kit.entry import Paper
from driftproof.backends.torch.kit.report import Section

from .callback import GuidanceCallback, load_guidance
from .config import RECIPES, Recipe
from .models import Frozen, Guide
from .store import Store, make_store

__all__ = ["Frozen", "GuidanceCallback", "Guide", "Store", "load_guidance", "main", "make_store"]


def _sections(recipe: Recipe, out: Path, accelerator: Accelerator) -> list[Section]:
    from .experiment import run
    from .report import gaussian_section, image_section

    found = run(recipe, out / (recipe.image.name if recipe.image else "gaussian"), accelerator)
    return [image_section(found) if recipe.gaussian is None else gaussian_section(found)]


main = Paper(RECIPES, _sections, "Hard constraints", ("torch", "accelerate", "diffusers"))
