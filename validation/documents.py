"""The JSON documents that driftproof writes, and reads again: each says its format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from driftproof import __version__

__all__ = ["FORMATS", "is_ours", "read", "require_ours", "stamped"]

# Counted up when a field is added, renamed or read in another way; documents without the field are of format 1.
FORMATS: Final = {
    "verify": 3,
    "report": 2,
    "bench": 2,
    "audit": 2,
    "soak": 1,
    "mutate": 1,
    "coverage": 1,
    "manifest": 1,
    "inventory": 1,
    "recipes": 1,
    "dry-run": 1,
}

_AGAIN: Final = {
    "report": "driftproof train",
    "dry-run": "driftproof train --dry-run",
    "manifest": "driftproof verify --html, into a new folder,",
}
_FIELDS: Final = {
    "verify": ("claims", "budget"),
    "report": ("title", "tables"),
    "bench": ("rows", "version"),
    "audit": ("rows", "target"),
    "soak": ("seeds", "flips"),
    "mutate": ("mutants", "rates"),
    "coverage": ("modules", "claims"),
    "manifest": ("files",),
    "inventory": ("entries", "version"),
    "recipes": ("recipes", "version"),
    "dry-run": ("phases", "held"),
}
_LARGEST: Final = 500_000_000  # bytes


def stamped(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """A document with its format.

    Example:
        >>> stamped("bench", {"rows": []})
        {'format': 2, 'rows': []}
    """
    return {"format": FORMATS[kind], **content}


def read(file: Path, kind: str) -> dict[str, Any]:
    """A document of this kind; its fields are for the reader to check.

    Raises:
        ValueError: The file is no JSON, no such document, or one of another format; in one line.
    """
    found = _object(file)
    again = f"run {_AGAIN.get(kind, f'driftproof {kind}')} again"
    if not all(field in found for field in _FIELDS[kind]):
        lacks = ", ".join(field for field in _FIELDS[kind] if field not in found)
        raise ValueError(f"{file} is no document of driftproof {kind}: it lacks {lacks}")
    format = found.get("format", 1)
    if format != FORMATS[kind]:
        version = found.get("version")
        writer = (
            f"driftproof {version[:40]} ({_shown(format)})" if isinstance(version, str) else _shown(format)
        )
        ours = f"driftproof {__version__} reads format {FORMATS[kind]}"
        raise ValueError(f"{file} was written by {writer}; {ours}: {again}")
    return found


def require_ours(file: Path, kind: str) -> None:
    """Find out, before any work, that a file may be written: nothing is there, or a document of this kind.

    What is no regular file (a pipe, ``/dev/stdout``) is written to.

    Raises:
        ValueError: Something else is there.
    """
    if file.is_file() and file.stat().st_size > 0 and not is_ours(file, kind):
        raise ValueError(
            f"{file} is there and was not written by driftproof {kind}: name another file, or remove it"
        )


def is_ours(file: Path, kind: str) -> bool:
    """Whether a file is a document of this kind, of whatever format."""
    try:
        found = _object(file)
    except ValueError:
        return False
    return all(field in found for field in _FIELDS[kind])


def _object(file: Path) -> dict[str, Any]:
    try:
        size = file.stat().st_size
        if size > _LARGEST:
            raise ValueError(f"{size} bytes, at most {_LARGEST} are read")
        found = json.loads(file.read_bytes().decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{file} is no JSON: {_line(error)}") from error
    if type(found) is not dict:
        raise ValueError(
            f"{file} is no document of driftproof: expected an object, got {type(found).__name__}"
        )
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _shown(format: object) -> str:
    return f"format {format!r}"[:40]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
