r"""Diffusion in a sketch on torch: batched FISTA, a pipeline that samples and decodes, and its recipes.

``driftproof train csdm --config FILE`` trains a latent diffusion for each of several latent dimensions and one
in full dimension, with the same network and budget, and measures what each budget of sampling buys.
"""

from __future__ import annotations

import time
from pathlib import Path

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from ..running import interruptible, told
from .config import load_recipe, packaged
from .data import load
from .experiment import run
from .fista import batched_fista
from .pipeline import CSDMOutput, CSDMPipeline
from .report import write

__all__ = ["CSDMOutput", "CSDMPipeline", "batched_fista", "main"]


def main(config: Path | None, smoke: bool, out: Path) -> None:
    """Run one recipe, or all that come with the package, and write ``out/report.json``.

    Arguments:
        config: A recipe; None for all of the package.
        smoke: The small budget of each recipe.
        out: The folder of the report; ``checkpoints`` in it is where an interrupted run goes on from.

    Raises:
        RecipeError: A recipe that cannot be run.
        UnmetHypothesis: Data that cannot be sketched; raised before any work.
        InUse: Another run writes to ``out``.
        SystemExit: After a signal or the limit of the session, with everything saved.
    """
    started = time.perf_counter()
    recipes = [load_recipe(path, smoke) for path in ([config] if config is not None else packaged())]
    data = [load(recipe.data) for recipe, _ in recipes]
    accelerator = Accelerator()
    with interruptible(out, accelerator):
        studies = [
            run(recipe, rows, out / "checkpoints", accelerator)
            for (recipe, _), rows in zip(recipes, data, strict=True)
        ]
        if accelerator.is_main_process:
            meta = told(
                accelerator,
                started,
                seed=sorted({seed for recipe, _ in recipes for seed in recipe.seeds}),
                recipe={recipe.name: tables for recipe, tables in recipes},
                smoke=smoke,
            )
            write(out, studies, meta)
            print(f"{out / 'report.json'}: {sum(len(study.rows) for study in studies)} rows")
