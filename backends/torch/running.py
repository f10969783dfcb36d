"""The frame of ``driftproof train``: recipes in, one report out, and an end by a signal that loses nothing."""

from __future__ import annotations

import errno
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from safetensors import SafetensorError

from .kit.run import held
from .kit.stop import TrainingInterrupted
from .report import Section, write_report
from .training import few_threads

__all__ = ["ending", "interruptible", "run_recipes", "told"]

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
        InUse: Another run writes to ``out``.
        SystemExit: After a signal or the limit of the session, with everything saved; see :func:`ending`.
    """
    recipes = [load(path, smoke) for path in (packaged() if config is None else [config])]
    started = time.perf_counter()
    accelerator = Accelerator()
    with interruptible(out, accelerator):
        sections = [run(recipe, out / "checkpoints", accelerator) for recipe, _ in recipes]
        if accelerator.is_main_process:
            tables = {getattr(recipe, "title", paper): dict(table) for recipe, table in recipes}
            seed = [seeds(recipe) for recipe, _ in recipes]
            meta = told(accelerator, started, seed=seed, recipes=tables, smoke=smoke)
            heading = title if config is None else next(iter(tables))
            write_report(out, paper, heading, sections, meta, packages)
            print(f"{out / 'report.json'}: {' '.join(section['summary'] for section in sections)}")


@contextmanager
def interruptible(out: Path, accelerator: Accelerator) -> Iterator[None]:
    """One CPU thread inside, and the folder ``out`` for this run alone; ends as :func:`ending` does."""
    out.mkdir(parents=True, exist_ok=True)
    with ending(), held(out, accelerator, out / "report.json"), few_threads():
        yield


@contextmanager
def ending() -> Iterator[None]:
    """One line for what ends a training from outside.

    Raises:
        SystemExit: The training was asked to stop, and has saved: with status 130 (SIGINT), 143 (SIGTERM),
            129 (SIGHUP), or 75 (the limit of ``--stop-after``).
        OSError: There is not enough memory, or no room on the disk for a checkpoint of TRL's.
    """
    try:
        yield
    except TrainingInterrupted as stop:
        print(stop, file=sys.stderr)
        raise SystemExit(stop.status) from None
    except KeyboardInterrupt:
        print("stopped between two checkpoints; the same command goes on from the last one", file=sys.stderr)
        raise SystemExit(130) from None
    except (MemoryError, RuntimeError, SafetensorError) as error:
        if _NO_ROOM.search(str(error)):
            raise OSError(
                errno.ENOSPC, "no room on the disk for a checkpoint; the one before is kept"
            ) from None
        if not isinstance(error, MemoryError) and not _TOO_LARGE.search(str(error)):
            raise
        needed = str(error).partition("\n")[0][-160:]
        raise OSError(errno.ENOMEM, f"not enough memory for this recipe ({needed})") from None


# What torch says in words alone: its allocator on the CPU raises a bare RuntimeError.
_TOO_LARGE = re.compile(r"out of memory|can't allocate memory|Storage size calculation overflowed")
_NO_ROOM = re.compile(r"PytorchStreamWriter failed writing file|No space left on device|StorageFull")


def told(accelerator: Accelerator, started: float, **given: object) -> dict[str, object]:
    """What a report says of its run: ``given``, the device, and the seconds since ``started``."""
    return {
        **given,
        "device": str(accelerator.device),
        "processes": accelerator.num_processes,
        "seconds": round(time.perf_counter() - started, 1),
    }
