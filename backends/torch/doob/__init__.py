"""Hard constraints on torch: an h learned from unguided trajectories of a frozen model, and draws that it guides.

``driftproof train doob`` learns it for a Gaussian model, whose h is known, and for a model of digits in the zoo.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from driftproof.backends.torch.kit.entry import Paper, as_it_is, run_recipes

from .callback import GuidanceCallback, load_guidance
from .config import RECIPES
from .models import Frozen, Guide
from .store import Store, make_store

__all__ = ["Frozen", "GuidanceCallback", "Guide", "Store", "load_guidance", "main", "make_store"]


def main(config: Path | None, smoke: bool, out: Path, changes: Sequence[str] = ()) -> None:
    """Run one recipe, or those that need no download; see :func:`.kit.entry.run_recipes`."""
    from .experiment import run
    from .report import gaussian_section, image_section

    def section(recipe, out, accelerator):  # type: ignore[no-untyped-def]  # as Paper's
        found = run(recipe, out / (recipe.image.name if recipe.image else "gaussian"), accelerator)
        return [image_section(found) if recipe.gaussian is None else gaussian_section(found)]

    run_recipes(
        Paper(RECIPES, as_it_is, section, "Hard constraints", ("torch", "accelerate", "diffusers")),
        config,
        smoke,
        out,
        changes,
    )
