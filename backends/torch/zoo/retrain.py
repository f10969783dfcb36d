"""One command makes a model of the zoo again: trained, written in half precision, scored, with its card."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

from driftproof.backends.torch.kit.report import versioned, write_whole
from driftproof.backends.torch.pretrained.cards import CARD, FORMAT, sha256
from driftproof.backends.torch.recipes import find

from .maker import Maker, Training
from .scores import Score

__all__ = ["maker_of", "retrain", "written"]

# The module of each model, and the name of its maker where it is not MAKER.
MODULES: Final = {
    "mnist-classifier": "classifier",
    "mnist-vae": "autoencoder",
    "mnist-sd": "stable_diffusion",
    "mnist-sit": "flow",
    "masked-lm": "masked",
    "mnist-unet": "pixels",
    "market-unet1d": "market",
    "qwen3-teacher": "sums:TEACHER",
    "qwen3-student": "sums:STUDENT",
}
POINTS: Final = 50  # of the log


def maker_of(name: str) -> Maker:
    """How a model is made.

    Raises:
        RecipeError: There is no recipe of that name.
    """
    known = find("zoo", name).stem
    module, _, attribute = MODULES[known].partition(":")
    maker: Maker = getattr(import_module(f".{module}", __package__), attribute or "MAKER")
    return maker


def retrain(name: str, out: Path, smoke: bool = False, changes: Sequence[str] = ()) -> list[Score]:
    """Train, write and score a model.

    Arguments:
        name: Which one.
        out: Its folder; checkpoints lie beside it, in ``NAME.checkpoints``, and the same command goes on from them.
        smoke: Whether it only shows that it runs.
        changes: Single settings, as ``plan.max_steps=9``.

    Raises:
        RecipeError: There is no such recipe or setting, or the data are not installed.
    """
    maker = maker_of(name)
    recipe, _ = maker.recipes.load(find("zoo", name), smoke, changes)
    checkpoints = out.with_name(f"{out.name}.checkpoints")
    checkpoints.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    training = maker.train(recipe, checkpoints)
    seconds = time.process_time() - began
    return written(name, out, maker, recipe, training, seconds)


def written(
    name: str, out: Path, maker: Maker, recipe: Any, training: Training, seconds: float
) -> list[Score]:
    """Write a model and its card; the scores are those of the files, in half precision.

    Arguments:
        name, out, maker, recipe, training: As of :func:`retrain`.
        seconds: CPU seconds of this process; a training that was resumed took more.
    """
    out.mkdir(parents=True, exist_ok=True)
    maker.write(training, out)
    log = _log(training.losses)
    write_whole(out / "log.json", json.dumps(log, indent=1).encode())
    scores = maker.evaluate(out)
    made = [file for file in sorted(out.rglob("*")) if file.is_file() and file.name != CARD]
    content = {
        "format": FORMAT,
        "name": name,
        "version": maker.version,
        "title": recipe.title,
        "data": maker.data,
        "licence": maker.licence,
        "uses": list(maker.uses),
        "recipe": json.loads(maker.recipes.resolved(recipe)),
        "training": versioned(
            {"steps": len(training.losses), "cpu_seconds": round(seconds, 1)}, ("torch", "accelerate")
        ),
        "scores": [score.to_json() for score in scores],
        "files": {
            file.relative_to(out).as_posix(): {"sha256": sha256(file), "bytes": file.stat().st_size}
            for file in made
        },
    }
    write_whole(out / CARD, json.dumps(content, indent=1).encode())
    return scores


def _log(losses: Sequence[float]) -> dict[str, Any]:
    """The losses as means over equal spans of steps."""
    spans = np.array_split(np.asarray(losses, dtype=np.float64), min(POINTS, len(losses)))
    return {
        "step": np.cumsum([len(span) for span in spans]).tolist(),
        "mean_loss": [float(f"{span.mean():.5g}") for span in spans],
    }
