"""Transfer by transport on torch: feature maps, minibatch Sinkhorn, few-shot comparisons, recipes.

``driftproof train transfer`` compares transfer with direct learning on shifted digits and on a table.
"""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from driftproof.backends.torch.kit.changes import loss_section
from driftproof.backends.torch.kit.entry import Paper
from driftproof.backends.torch.kit.report import Section

from .backbones import Classifier, PretrainedFeatures, extract
from .config import RECIPES, Recipe
from .sinkhorn import sinkhorn_loss, sinkhorn_plan

__all__ = ["Classifier", "PretrainedFeatures", "extract", "main", "sinkhorn_loss", "sinkhorn_plan"]


def _sections(recipe: Recipe, out: Path, accelerator: Accelerator) -> list[Section]:
    from .data import Shift, digits
    from .fewshot import compare, prepare, source_model
    from .report import comparisons_section
    from .tabular import compare_table

    models, losses = {}, {}
    for seed in recipe.seeds:
        done = source_model(recipe, seed, out / "checkpoints", accelerator)
        models[seed] = prepare(done.model, digits(Shift("none"), seed).source)
        losses[f"{recipe.title}: source model of seed {seed}"] = done.losses.numpy()
    compared = [compare(shift, recipe, models, accelerator) for shift in recipe.shift]
    if recipe.table is not None:
        compared.append(compare_table(recipe.table))
    return [comparisons_section(compared), *loss_section(losses)]


main = Paper(RECIPES, _sections, packages=("torch", "scikit-learn", "POT", "accelerate"))
