"""Transfer by transport on torch: feature maps, minibatch Sinkhorn, few-shot comparisons, recipes.

``driftproof train transfer`` compares transfer with direct learning on shifted digits and on a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from driftproof.backends.torch.kit.entry import Paper, as_it_is, run_recipes

from .backbones import Classifier, PretrainedFeatures, extract
from .config import RECIPES
from .sinkhorn import sinkhorn_loss, sinkhorn_plan

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

    from driftproof.backends.torch.kit.report import Section

    from .config import Recipe

__all__ = ["Classifier", "PretrainedFeatures", "extract", "main", "sinkhorn_loss", "sinkhorn_plan"]


def main(config: Path | None, smoke: bool, out: Path, changes: Sequence[str] = ()) -> None:
    """Run one recipe, or the one that comes with the package; see :func:`.kit.entry.run_recipes`."""
    from driftproof.backends.torch.kit.changes import loss_section

    from .data import Shift, digits
    from .fewshot import compare, prepare, source_model
    from .report import comparisons_section
    from .tabular import compare_table

    def sections(recipe: Recipe, out: Path, accelerator: Accelerator) -> list[Section]:
        models, losses = {}, {}
        for seed in recipe.seeds:
            done = source_model(recipe, seed, out / "checkpoints", accelerator)
            models[seed] = prepare(done.model, digits(Shift("none"), seed).source)
            losses[f"{recipe.title}: source model of seed {seed}"] = done.losses.numpy()
        compared = [compare(shift, recipe, models, accelerator) for shift in recipe.shift]
        if recipe.table is not None:
            compared.append(compare_table(recipe.table))
        return [comparisons_section(compared), *loss_section(losses)]

    packages = ("torch", "scikit-learn", "POT", "accelerate")
    run_recipes(Paper(RECIPES, as_it_is, sections, packages=packages), config, smoke, out, changes)
