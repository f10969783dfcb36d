"""Transfer by transport on torch: feature maps, minibatch Sinkhorn, few-shot comparisons, recipes.

``driftproof train transfer`` compares transfer with direct learning on shifted digits and on a table.
"""

from __future__ import annotations

import time
from pathlib import Path

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from ..running import interruptible, told
from .backbones import Classifier, PretrainedFeatures, extract
from .config import load_recipe, packaged
from .sinkhorn import sinkhorn_loss, sinkhorn_plan

__all__ = ["Classifier", "PretrainedFeatures", "extract", "main", "sinkhorn_loss", "sinkhorn_plan"]


def main(config: Path | None, smoke: bool, out: Path) -> None:
    """Run one recipe, or the one that comes with the package, and write ``out/report.json``.

    Arguments:
        config: A recipe; None for the packaged one.
        smoke: The small budget of the recipe.
        out: The folder of the report and of the source models, from which an interrupted run goes on.

    Raises:
        RecipeError: A recipe that cannot be run.
        InUse: Another run writes to ``out``.
        SystemExit: After a signal or the limit of the session, with the source models saved.
    """
    from .data import Shift, digits
    from .fewshot import compare, prepare, source_model
    from .report import write
    from .tabular import compare_table

    started = time.perf_counter()
    recipe, tables = load_recipe(config if config is not None else packaged(), smoke)
    accelerator = Accelerator()
    with interruptible(out, accelerator):
        models = {}
        for seed in recipe.seeds:
            network = source_model(recipe, seed, out / "checkpoints", accelerator)
            models[seed] = prepare(network, digits(Shift("none"), seed).source)
        compared = [compare(shift, recipe, models, accelerator) for shift in recipe.shift]
        if recipe.table is not None:
            compared.append(compare_table(recipe.table))
        if accelerator.is_main_process:
            meta = told(accelerator, started, seed=list(recipe.seeds), recipe=dict(tables), smoke=smoke)
            write(out, recipe.title, compared, meta)
            print(f"{out / 'report.json'}: {len(compared)} comparisons")
