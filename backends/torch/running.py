"""The frame of ``driftproof train``: recipes in, one report out, and an end by ctrl-C that loses nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from .report import Section, write_report
from .training import TrainingInterrupted, few_threads

__all__ = ["interruptible", "run_recipes", "told"]

RecipeT = TypeVar("RecipeT")


def run_recipes(
    paper: str,
    config: Path | None,
    smoke: bool,
    out: Path,
    *,
    packaged: Callable[[], Sequence[Path]],
    load: Callable[[Path, bool], tuple[RecipeT, Mapping[str, Any]]],
    run: Callable[[RecipeT, Path, Accelerator], Section],
    title: str,
    seeds: Callable[[RecipeT], object],
    packages: Sequence[str],
) -> None:
    """Run recipes one after the other and write ``out/report.json``.

    Arguments:
        paper: The name of the paper.
        config: A recipe; None for the packaged ones.
        smoke: Whether the budgets are the small ones.
        out: The folder of the report; ``checkpoints`` in it is where an interrupted run goes on from.
        packaged: Gives the files of the recipes that need no download.
        load: ``load(file, smoke)`` gives a recipe with its tables as they were read.
        run: ``run(recipe, checkpoints, accelerator)`` gives the section of a recipe.
        title: Title of the report on the packaged recipes; a recipe alone has its own.
        seeds: The seeds of a recipe, for the record.
        packages: Installed packages whose versions are told.

    Raises:
        RecipeError: A recipe that cannot be run; raised before any work.
        SystemExit: 130 after ctrl-C, with everything saved.
    """
    recipes = [load(path, smoke) for path in (packaged() if config is None else [config])]
    started = time.perf_counter()
    accelerator = Accelerator()
    with interruptible():
        sections = [run(recipe, out / "checkpoints", accelerator) for recipe, _ in recipes]
    if accelerator.is_main_process:
        tables = {getattr(recipe, "title", paper): dict(table) for recipe, table in recipes}
        seed = [seeds(recipe) for recipe, _ in recipes]
        meta = told(accelerator, started, seed=seed, recipes=tables, smoke=smoke)
        write_report(out, paper, title if config is None else next(iter(tables)), sections, meta, packages)
        print(f"{out / 'report.json'}: {' '.join(section['summary'] for section in sections)}")


@contextmanager
def interruptible() -> Iterator[None]:
    """One CPU thread inside; a training that was interrupted ends the process with status 130."""
    try:
        with few_threads():
            yield
    except TrainingInterrupted as stop:
        print(stop, file=sys.stderr)
        raise SystemExit(130) from None


def told(accelerator: Accelerator, started: float, **given: object) -> dict[str, object]:
    """What a report says of its run: ``given``, the device, and the seconds since ``started``."""
    return {
        **given,
        "device": str(accelerator.device),
        "processes": accelerator.num_processes,
        "seconds": round(time.perf_counter() - started, 1),
    }
