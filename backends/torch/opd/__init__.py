"""On-policy distillation on torch: losses for any training loop, a trainer for TRL, recipes.

``driftproof train opd`` compares the ways to distil on a task made on the spot; with a recipe that has a
table ``[published]`` it trains published models through TRL.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from accelerate import Accelerator, PartialState  # type: ignore[import-untyped]  # ships no types

from ..report import write_whole
from ..running import ending, interruptible, told
from .config import load_recipe, packaged
from .linear import linear_log_probs, linear_opd_loss
from .losses import OPDLoss, full_vocabulary_loss, opd_loss

__all__ = ["OPDLoss", "full_vocabulary_loss", "linear_log_probs", "linear_opd_loss", "main", "opd_loss"]


def main(config: Path | None, smoke: bool, out: Path) -> None:
    """Run one recipe, or the one that comes with the package, and write ``out/report.json``.

    Arguments:
        config: A recipe; None for the packaged comparison on arithmetic.
        smoke: The small budget of the recipe.
        out: The folder of the report and of the checkpoints that an interrupted run goes on from.

    Raises:
        RecipeError: A recipe that cannot be run.
        InUse: Another run writes to ``out``.
        SystemExit: After a signal or the limit of the session, with everything saved.
    """
    started = time.perf_counter()
    recipe, tables = load_recipe(config if config is not None else packaged()[0], smoke)
    if recipe.published is not None:
        from .published import distil

        with ending():
            log = distil(recipe.published, out)
        if PartialState().is_main_process:
            write_whole(out / "log.json", json.dumps(log, indent=1).encode())
        return
    from .experiment import compare
    from .report import write

    accelerator = Accelerator()
    with interruptible(out, accelerator):
        before, outcomes = compare(recipe, out / "checkpoints", accelerator)
        if accelerator.is_main_process:
            meta = told(accelerator, started, seed=list(recipe.seeds), recipe=dict(tables), smoke=smoke)
            write(out, recipe.title, before, outcomes, meta)
            print(f"{out / 'report.json'}: {len(outcomes)} rows")
