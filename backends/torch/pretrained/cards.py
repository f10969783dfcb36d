"""The cards of the zoo: what a model is, how it was made, what it scores, and the digests of its files."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

__all__ = ["CARD", "FORMAT", "ZooError", "card", "folder", "names", "root", "sha256", "verified"]

FORMAT: Final = 1  # of card.json
CARD: Final = "card.json"


class ZooError(ValueError):
    """A model that cannot be loaded: which file, what was expected there, and what to do."""


def root() -> Path:
    """The folder of the models that come with the package."""
    return Path(str(files("driftproof.backends.torch.pretrained"))) / "zoo"


def names() -> list[str]:
    """The models that come with the package.

    Example:
        >>> "mnist-classifier" in names()
        True
    """
    return sorted(path.parent.name for path in root().glob(f"*/{CARD}"))


def folder(name: str) -> Path:
    """The folder of a model.

    Raises:
        ZooError: There is no model of that name; gives the nearest.
    """
    known = names()
    if name in known:
        return root() / name
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}? There are" if near else "there are"
    raise ZooError(f"zoo: no model {name!r} ({hint} {', '.join(known) or 'none'})")


def card(path: Path) -> Mapping[str, Any]:
    """The card in the folder of a model.

    Raises:
        ZooError: It is missing, no JSON, or of another format than this version reads.
    """
    subject = f"zoo: {path.name}: {CARD}"
    try:
        found = json.loads((path / CARD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ZooError(f"{subject} is missing: install driftproof again, or retrain the model") from None
    except (ValueError, RecursionError) as error:
        raise ZooError(f"{subject} is damaged ({error}): install driftproof again") from None
    written = found.get("format") if isinstance(found, dict) else None
    if written != FORMAT:
        raise ZooError(
            f"{subject} has format {written!r}, and this version reads {FORMAT}: retrain the model"
        )
    files = found.get("files")
    complete = isinstance(files, dict) and all(
        isinstance(made, dict) and isinstance(made.get("sha256"), str) for made in files.values()
    )
    if not complete or found.get("name") != path.name:
        raise ZooError(
            f"{subject} is damaged (digests are missing, or it is the card of another model): install driftproof again"
        )
    return dict(found)


def verified(path: Path) -> Mapping[str, Any]:
    """The card of a folder all of whose files are as they were when the card was written.

    Raises:
        ZooError: A file is missing, has another digest, or is none of the model's.
    """
    found = card(path)
    there = {f.relative_to(path).as_posix() for f in path.rglob("*") if f.is_file() and f.name[0] != "."}
    if strangers := sorted(there - {CARD, *found["files"]}):
        raise ZooError(f"zoo: {path.name}: {strangers[0]} is not in {CARD}: install driftproof again")
    for name, made in found["files"].items():
        file = path / name
        if not file.is_file():
            raise ZooError(f"zoo: {path.name}: {name} is missing: install driftproof again")
        digest = sha256(file)
        if digest != made["sha256"]:
            expected = f"sha256 {made['sha256'][:12]}..., got {digest[:12]}..."
            raise ZooError(
                f"zoo: {path.name}: {name} is damaged or of another version (expected {expected}): install again"
            )
    return found


def sha256(file: Path) -> str:
    """The digest of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
