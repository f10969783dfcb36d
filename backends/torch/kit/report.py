"""What a training leaves behind: ``report.json`` with tables and figures, written whole or not at all."""

from __future__ import annotations

import io
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeAlias

import matplotlib as mpl
from matplotlib.figure import Figure

__all__ = ["Section", "section_of", "svg", "table_of", "versioned", "write_report", "write_whole"]

# "summary", a sentence or two; "tables", each with "caption", "columns", "rows"; "figures", each with "caption", "svg";
# for programs, where there are any, "metrics", named numbers, and "samples", named arrays.
Section: TypeAlias = Mapping[str, Any]

FORMAT: Final = 2  # of report.json, as validation/documents.py reads it


def table_of(caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> dict[str, Any]:
    """A table of a section."""
    return {"caption": caption, "columns": columns, "rows": rows}


def section_of(
    summary: str, tables: Sequence[Any], figures: Sequence[Any] = (), **for_programs: Any
) -> dict[str, Any]:
    """A section; ``metrics`` and ``samples`` are for programs."""
    return {"summary": summary, "tables": tables, "figures": figures, **for_programs}


def write_report(
    out: Path,
    paper: str,
    title: str,
    sections: Sequence[Section],
    meta: Mapping[str, object],
    packages: Sequence[str] = ("torch", "accelerate"),
) -> None:
    """Write ``out/report.json``, one section after the other.

    Arguments:
        out: The folder; made where it is missing.
        paper: The name of the paper.
        title: The title of the report.
        sections: The sections of the report.
        meta: Seeds, recipes, device, seconds.
        packages: Installed packages whose versions are recorded.
    """
    report = {
        "format": FORMAT,
        "title": title,
        "paper": paper,
        "summary": " ".join(section["summary"] for section in sections if section["summary"]),
        "tables": [table for section in sections for table in section["tables"]],
        "figures": [figure for section in sections for figure in section["figures"]],
        "meta": versioned(meta, packages),
    }
    write_whole(out / "report.json", json.dumps(report, indent=1).encode())


def versioned(meta: Mapping[str, object], packages: Sequence[str]) -> dict[str, object]:
    """``meta`` with the versions of Python and of packages."""
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    return {**meta, "versions": versions}


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def svg(figure: Figure) -> str:
    """A figure as an <svg> element: text stays text, and the same figure gives the same bytes."""
    for axes in figure.get_axes():
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(9.5)
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "driftproof", "font.size": 9.0}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)
