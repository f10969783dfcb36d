"""The entry point of ``driftproof train``: it reads recipes, writes one report, and loses nothing to a signal."""

from __future__ import annotations

import errno
import io
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, final

import numpy as np
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from safetensors import SafetensorError

from driftproof._namespace import UnmetHypothesis

from .loop import few_threads
from .memory import Estimate, Machine
from .memory.knobs import advised
from .recipe import Recipes
from .report import Section, versioned, write_report, write_whole
from .run import held
from .stop import TrainingInterrupted

__all__ = ["SMOKE", "Paper", "as_it_is", "ending", "interruptible"]

# In the place of every summary of a smoke run: what these compare is noise at such a budget.
SMOKE: Final = "A smoke run: it shows that it runs, not what it finds."

RecipeT = TypeVar("RecipeT")
WorkT = TypeVar("WorkT")


def as_it_is(recipe: Any) -> Any:
    """For papers whose recipes need no preparation."""
    return recipe


@final
@dataclass(frozen=True)
class Paper(Generic[RecipeT, WorkT]):
    """What ``driftproof train PAPER`` runs: the ``main`` of a paper.

    Arguments:
        recipes: Its recipes.
        run: ``run(prepared, out, accelerator)`` gives the sections of the report on a recipe; checkpoints go to
            ``out / "checkpoints"``, from which an interrupted run goes on.
        title: Title of the report on several recipes; a recipe alone has its own.
        packages: Installed packages whose versions are recorded.
        prepare: What is done with a recipe before any work, for instance to load its data, which may be refused.
        dry: What a recipe would hold and take on a machine, on tensors without values.
    """

    recipes: Recipes[RecipeT]
    run: Callable[[WorkT, Path, Accelerator], Sequence[Section]]
    title: str = ""
    packages: tuple[str, ...] = ("torch", "accelerate")
    prepare: Callable[[RecipeT], WorkT] = as_it_is
    dry: Callable[[RecipeT, Machine], Estimate] | None = None

    def estimate(self, config: Path, smoke: bool, changes: Sequence[str], machine: Machine) -> Estimate:
        """What a recipe would hold and take; where it does not fit, settings with which it takes less.

        Arguments:
            config, smoke, changes: The recipe, as for a training.
            machine: What it is to run on.

        Raises:
            RecipeError: A recipe that cannot be run.
            UnmetHypothesis: One whose method has no dry run, or a model whose configuration is not known.
        """
        recipe: Any = self.recipes.load(config, smoke, changes)[0]
        if self.dry is None or getattr(recipe, "pipeline", None) is None:
            got = f"{self.recipes.paper}, {recipe.title}"
            raise UnmetHypothesis("--dry-run", "a recipe that trains a [pipeline] by rollouts", got)
        found = self.dry(recipe, machine)
        if found.fits:
            return found

        def again(more: list[str]) -> Estimate:
            assert self.dry is not None
            return self.dry(self.recipes.load(config, smoke, [*changes, *more])[0], machine)

        return replace(found, advice=advised(found, recipe, again))

    def __call__(self, config: Path | None, smoke: bool, out: Path, changes: Sequence[str] = ()) -> None:
        """Run recipes one after the other and write ``out/report.json``.

        The summary of a smoke run says that it is one, and ranks nothing.

        Sections with ``metrics`` or ``samples``, named numbers and arrays for programs, have them in
        ``out/metrics.json`` and ``out/samples``.

        Arguments:
            config: A recipe; None for the packaged ones, which need no download.
            smoke: Whether the budgets are the small ones.
            out: The folder of the report.
            changes: Values that are set in the recipe, see :func:`..recipes.changed`.

        Raises:
            RecipeError: A recipe that cannot be run; raised before any work.
            UnmetHypothesis: Data that a recipe refuses; raised before any work.
            InUse: Another run writes to ``out``.
            SystemExit: After a signal or the limit of the session, with everything saved; see :func:`ending`.
        """
        name = self.recipes.paper
        files = self.recipes.packaged() if config is None else [config]
        recipes: list[Any] = [self.recipes.load(file, smoke, changes) for file in files]
        prepared = [self.prepare(recipe) for recipe, _ in recipes]
        started = time.perf_counter()
        accelerator = Accelerator()
        with interruptible(out, accelerator):
            sections = [section for work in prepared for section in self.run(work, out, accelerator)]
            if not accelerator.is_main_process:
                return
            if smoke:
                sections = [
                    {**section, "summary": SMOKE if i == 0 else ""} for i, section in enumerate(sections)
                ]
            meta = {
                "seed": [_seeds(recipe) for recipe, _ in recipes],
                "recipes": {recipe.title: dict(tables) for recipe, tables in recipes},
                "smoke": smoke,
                "device": str(accelerator.device),
                "processes": accelerator.num_processes,
                "seconds": round(time.perf_counter() - started, 1),
            }
            _write_numbers(out, sections, versioned(meta, self.packages))
            heading = self.title if len(recipes) > 1 else recipes[0][0].title
            write_report(out, name, heading, sections, meta, self.packages)
            found = " ".join(section["summary"] for section in sections if section["summary"])
            print(f"{out / 'report.json'}: {found}")


def _seeds(recipe: Any) -> object:
    """Those of a recipe, for the record: a pipeline has one run, of its budget."""
    one = getattr(recipe, "pipeline", None) is not None or not hasattr(recipe, "seeds")
    return recipe.budget.seed if one else list(recipe.seeds)


def _write_numbers(out: Path, sections: Sequence[Section], meta: Mapping[str, object]) -> None:
    for section in sections:
        for name, rows in section.get("samples", {}).items():
            buffer = io.BytesIO()
            np.save(buffer, rows, allow_pickle=False)
            write_whole(out / "samples" / f"{name}.npy", buffer.getvalue())
    metrics = {name: part for section in sections for name, part in section.get("metrics", {}).items()}
    if metrics:
        write_whole(out / "metrics.json", json.dumps({"meta": meta, **metrics}, indent=1).encode())


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
