"""The report: one self-contained HTML page for a colleague with ten minutes.

``write`` puts into a folder ``verify.json`` (the document of the run), ``figures/*.svg`` and
``index.html``; ``rebuild`` makes the page again from these and from ``runs/*/report.json``, which the
training recipes write::

    {"format", "title", "paper", "summary", "tables": [{"caption", "columns", "rows"}],
     "figures": [{"caption", "svg" (text) or "file" (a path below the folder of report.json)}], "meta": {...}}

and from ``coverage.json``, which ``driftproof coverage --html`` puts there (:func:`add_coverage`).

Both write what :mod:`driftproof.validation.outputs` lists as theirs, and touch nothing else.  A figure that holds
more than a drawing is not shown; the page says what it holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from driftproof.validation import documents, outputs
from driftproof.validation.covering import Coverage
from driftproof.validation.outcomes import Run

from .page import render
from .schema import require_coverage, require_run, require_training

__all__ = ["add_coverage", "rebuild", "require_writable", "write"]

_LARGEST: Final = 20_000_000  # bytes of a figure


def require_writable(directory: Path) -> None:
    """Find out, before a run, that the report can be written below a folder.

    Raises:
        ValueError: A file is in the way that is not ours; in one line.
    """
    outputs.require_free(directory, "verify", ("index.html", "verify.json", "figures/x.svg"))


def write(run: Run, directory: Path, announce: Callable[[str], None] = lambda line: None) -> Path:
    """Write the report of a run below ``directory``; returns the path of the page.

    Arguments:
        announce: Called with a line for each file of an earlier run that has changed and is left alone.

    Raises:
        ValueError: A file is in the way that is not ours.
    """
    drawn = {
        f"figures/{claim.id}-{figure.name}.svg": figure.svg
        for claim in run.claims
        for figure in claim.figures
        if figure.svg
    }
    document = json.dumps(run.to_json(), indent=1, allow_nan=False) + "\n"
    for line in outputs.write(directory, "verify", {"verify.json": document, **drawn}):
        announce(line)
    return rebuild(directory)


def add_coverage(found: Coverage, directory: Path) -> Path:
    """Put into the report below ``directory`` what the evidence of its claims runs; returns the path of the page.

    Raises:
        ValueError: There is no report, or a file is in the way that is not ours.
    """
    document = json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n"
    outputs.write(directory, "coverage", {"coverage.json": document})
    return rebuild(directory)


def rebuild(directory: Path) -> Path:
    """Write ``directory/index.html`` from what lies in ``directory``; returns its path.

    Raises:
        ValueError: ``verify.json`` is missing, a file is not what it should be, or ``index.html`` is not ours; the
            page is untouched.
    """
    file = directory / "verify.json"
    if not file.is_file():
        raise ValueError(f"report: {file} is missing; driftproof verify --html writes it")
    document = _checked(file, "verify", require_run)
    trainings = [_training(each) for each in sorted(directory.glob("runs/*/report.json"))]

    def picture(claim: str, figure: str) -> str | None:
        name = f"figures/{claim}-{figure}.svg"
        return _figure(directory, name) if _inside(directory, name) else None

    covered = directory / "coverage.json"
    coverage = _checked(covered, "coverage", require_coverage) if covered.is_file() else None
    page = render(document, trainings, picture, coverage)
    outputs.write(directory, "report", {"index.html": page})
    return directory / "index.html"


def _training(file: Path) -> dict[str, Any]:
    training = _checked(file, "report", require_training)
    for figure in training["figures"]:
        if "svg" in figure:
            continue
        if not _inside(file.parent, figure.get("file", "")):
            said = f"{figure.get('file', 'of no file')!r:.80} is no file below {file.parent}"
            raise ValueError(f"report: {file}: the figure {figure['caption'][:80]!r}: {said}")
        figure["svg"] = _figure(file.parent, figure["file"])
    return training


def _checked(file: Path, kind: str, require: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    try:
        document = documents.read(file, kind)
    except ValueError as error:
        raise ValueError(f"report: {error}") from error
    try:
        require(document)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"report: {file} is no document of driftproof {kind}: {error}") from error
    return document


def _inside(directory: Path, name: str) -> bool:
    """Whether this is a regular file that lies below the folder, whatever links lead to it."""
    try:
        file = (directory / name).resolve()
        return file.is_relative_to(directory.resolve()) and file.is_file()
    except (OSError, ValueError):  # too long, or no name of a file at all
        return False


def _figure(directory: Path, name: str) -> str:
    file = directory / name
    if file.stat().st_size > _LARGEST:
        raise ValueError(f"report: {file} has more than {_LARGEST} bytes")
    return file.read_bytes().decode("utf-8", "replace")
