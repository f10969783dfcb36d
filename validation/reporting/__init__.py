"""The report: one self-contained HTML page for a colleague with ten minutes.

``write`` puts into a folder ``verify.json`` (the document of the run), ``figures/*.svg`` and
``index.html``; ``rebuild`` makes the page again from these and from ``runs/*/report.json``, which the
training recipes write::

    {"title", "paper", "summary", "tables": [{"caption", "columns", "rows"}],
     "figures": [{"caption", "svg" (text) or "file" (a path beside report.json)}], "meta": {...}}
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ..journal import write_atomically
from ..outcomes import Run
from .page import render

__all__ = ["rebuild", "write"]


def write(run: Run, directory: Path) -> Path:
    """Write the report of a run below ``directory``; returns the path of the page."""
    shutil.rmtree(directory / "figures", ignore_errors=True)
    for claim in run.claims:
        for figure in claim.figures:
            if figure.svg:
                write_atomically(directory / "figures" / f"{claim.id}-{figure.name}.svg", figure.svg)
    document = json.dumps(run.to_json(), indent=1, allow_nan=False)
    write_atomically(directory / "verify.json", document + "\n")
    return rebuild(directory)


def rebuild(directory: Path) -> Path:
    """Write ``directory/index.html`` from what lies in ``directory``; returns its path.

    Raises:
        ValueError: ``verify.json`` is missing, or a file is not what it should be; the page is untouched.
    """
    if not (directory / "verify.json").is_file():
        raise ValueError(
            f"report: {directory / 'verify.json'} is missing; driftproof verify --html writes it"
        )
    document = _read(directory / "verify.json")
    trainings = [_training(file) for file in sorted(directory.glob("runs/*/report.json"))]

    def picture(claim: str, figure: str) -> str | None:
        file = directory / "figures" / f"{claim}-{figure}.svg"
        return file.read_text(encoding="utf-8") if file.is_file() else None

    try:
        page = render(document, trainings, picture)
    except (KeyError, TypeError) as error:
        raise ValueError(f"report: {directory / 'verify.json'} is no document of a run: {error!r}") from error
    write_atomically(directory / "index.html", page)
    return directory / "index.html"


def _training(file: Path) -> dict[str, Any]:
    training = _read(file)
    try:
        training["title"]
        for table in training.get("tables", ()):
            table["caption"], table["columns"], table["rows"]
        for figure in training.get("figures", ()):
            if "svg" not in figure:
                figure["svg"] = (file.parent / figure["file"]).read_text(encoding="utf-8")
            if "<svg" not in figure["svg"]:
                raise ValueError(f"report: {file}: the figure {figure['caption']!r} is no SVG")
    except (KeyError, TypeError, OSError) as error:
        raise ValueError(f"report: {file} is no training report: {error!r}") from error
    return training


def _read(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"report: {file} is no JSON: {error}") from error
    return document if isinstance(document, dict) else {}
