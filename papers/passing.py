"""What a grid becomes in every scheduler of the installed diffusers: measured into a record, and told as a table.

    python papers/passing.py        measures, and writes papers/data/passing.json

A grid of five levels is given to each class in every way that its ``set_timesteps`` has, and read back
(:mod:`driftproof.backends.torch.art.passing`); the last column is what ``ARTSchedule.on`` does with it.  Flow schedulers are made
with the shift 3 that published models have, and those that have a flow as an option are tried with it, too.
"""

from __future__ import annotations

import inspect
import json
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from driftproof import UnmetHypothesis

__all__ = ["lines", "measured", "take"]

LEVELS: Mapping[Any, tuple[float, ...]] = {
    "flow": (0.99, 0.8, 0.5, 0.2, 0.05, 0.0),
    "table": (14.0, 5.0, 2.0, 1.0, 0.3, 0.0),
    "edm": (50.0, 5.0, 1.0, 0.3, 0.1, 0.0),
}
SAME = 1e-3


def measured() -> list[dict[str, str]]:
    """A row for every class and option of levels."""
    from driftproof.validation.audits.diffusers import classes, quiet

    with quiet("diffusers"):
        return [row for cls in classes() for row in _rows(cls)]


def take(record: Path) -> None:
    """Measure, and write ``record/data/passing.json``."""
    content = {"diffusers": version("diffusers"), "rows": measured()}
    file = record / "data" / "passing.json"
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def lines(record: Path, _: str) -> list[str]:
    """The table, from the record."""
    content = json.loads((record / "data" / "passing.json").read_text(encoding="utf-8"))
    told = f"diffusers {content['diffusers']}; five levels given, and what the steps go through read back."
    head = ["| scheduler | `sigmas=` | `timesteps=` | `ARTSchedule.on` |", "|---|---|---|---|"]
    cells = (
        [row[name].replace("|", r"\|") for name in ("scheduler", "sigmas", "timesteps", "ARTSchedule")]
        for row in content["rows"]
    )
    return [told, "", *head, *(f"| {' | '.join(row)} |" for row in cells)]


def _rows(cls: type[Any]) -> Iterator[dict[str, str]]:
    names = inspect.signature(cls.__init__).parameters
    flow = "use_flow_sigmas" in names
    for options in (
        ({"shift": 3.0},)
        if "shift" in names and not flow
        else ({}, {"use_flow_sigmas": True})
        if flow
        else ({},)
    ):
        said = f"`{cls.__name__}`" + "".join(f", {name}={value}" for name, value in options.items())
        try:
            cls(**options)
        except Exception as error:  # noqa: BLE001  # it needs arguments of its own
            yield {
                "scheduler": said,
                "sigmas": "",
                "timesteps": "",
                "ARTSchedule": f"not tried: {_short(error)}",
            }
            continue
        yield {"scheduler": said, **_told(lambda cls=cls, options=options: cls(**options))}


def _told(make: Any) -> dict[str, str]:
    from driftproof.backends.torch.art.passing import kind_of_levels, tried
    from driftproof.backends.torch.art.schedule import ARTSchedule

    kind = kind_of_levels(make())
    levels = LEVELS.get(kind)
    if levels is None:
        return {"sigmas": "", "timesteps": "", "ARTSchedule": "refuses: its levels are not known"}
    wanted, found = np.asarray(levels), {"sigmas": [], "timesteps": []}
    for way in tried(make, levels):
        found[way.argument].append(way)
    told = {name: _best(ways, wanted) if ways else "not taken" for name, ways in found.items()}
    grid = ARTSchedule(levels, "flow" if kind == "flow" else "ratio")
    for rounded, does in (
        (False, "goes through it"),
        (True, "goes through it but for whole labels, if asked to round"),
    ):
        try:
            grid.on(make(), rounded=rounded)
        except UnmetHypothesis as error:
            refusal = str(error).partition(" (")[2].rstrip(")").partition("; GDDIM")[0]
        else:
            return {**told, "ARTSchedule": does}
    return {**told, "ARTSchedule": f"refuses: {_short(refusal)}"}


def _best(ways: list[Any], wanted: Any) -> str:
    best = min(ways, key=lambda way: (way.error(wanted), bool(way.reason)))
    if best.reason:
        return f"refused: {_short(best.reason)}"
    with_end = " with the end in it" if best.with_end else ""
    form = {"list": "", "array": ", no list", "tensor": ", a tensor"}[best.form]
    error = best.error(wanted)
    if error <= SAME:
        return f"as given{with_end}{form}"
    if best.labelled_error(wanted) >= error and not math.isinf(error) and best.levels.shape == wanted.shape:
        off = float(np.abs(np.log(best.levels[:-1] / wanted[:-1])).max())
        if off <= SAME:
            return f"as given{with_end}{form}, and the network is told other labels"
    made = ", ".join(f"{level:.3g}" for level in best.levels)
    off = (
        "another number of levels, or another end"
        if math.isinf(error)
        else f"off by {error:.2g} in the logarithm"
    )
    return f"{off}{form}: {made}"


def _short(error: object) -> str:
    said = str(error).partition("\n")[0].replace("`", "'")
    return said if len(said) < 110 else f"{said[:107]}..."


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    take(Path(__file__).resolve().parent)
