"""Folders that driftproof writes into: what it wrote stands in a manifest, and it touches nothing else.

``.driftproof.json`` in the folder lists each file with the command that wrote it and the digest of what was
written.  A file that is not listed, or has changed since, is somebody else's: it is neither overwritten nor
removed.  (A document of the command is its own wherever it stands, for ``--json`` writes these too.)  The manifest is written before the files, so that a kill in between leaves nothing unowned.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Final, final

from .documents import FORMATS, is_ours, read, stamped
from .journal import write_atomically

__all__ = ["MANIFEST", "Entry", "claim", "require_free", "write"]

MANIFEST: Final = ".driftproof.json"


@final
@dataclass(frozen=True)
class Entry:
    """Who wrote a file, and the digests of what may be in it; none where it is written by a training."""

    by: str
    digests: tuple[str, ...] = ()


def require_free(directory: Path, by: str, names: Iterable[str]) -> None:
    """Find out that a command can write these files below a folder without touching what is somebody else's.

    Raises:
        ValueError: One of them is there and is not ours, or leads out of the folder; in one line.
    """
    listed = _manifest(directory)
    for name in names:
        _require_ours(directory, by, name, listed.get(name), "")


def write(directory: Path, by: str, files: Mapping[str, str]) -> list[str]:
    """Write text files below a folder, and remove what the same command wrote there before and does not now.

    Arguments:
        directory: The folder; made where it is missing.
        by: The command.
        files: From the paths below the folder, with slashes, to their text.

    Returns:
        What was left alone although an earlier run wrote it, since it has changed: a line for each.

    Raises:
        ValueError: A file is in the way that is not ours; nothing is written then.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = write(Path(folder), "example", {"a.txt": "1", "b.txt": "2"})
        ...     left = write(Path(folder), "example", {"a.txt": "3"})
        ...     print(left, (Path(folder) / "a.txt").read_text(), (Path(folder) / "b.txt").exists())
        [] 3 False
    """
    listed = _manifest(directory)
    digests = {name: _digest(text.encode("utf-8")) for name, text in files.items()}
    for name, digest in digests.items():
        _require_ours(directory, by, name, listed.get(name), digest)
    stale = [name for name, entry in listed.items() if entry.by == by and name not in files]
    new = {name: Entry(by, (digest,)) for name, digest in digests.items()}
    both = {
        name: Entry(by, (*(listed[name].digests if name in listed else ()), *entry.digests))
        for name, entry in new.items()
    }
    _keep(directory, {**listed, **both})
    for name, text in files.items():
        write_atomically(directory / name, text)
    left = [line for name in stale if (line := _removed(directory, name, listed[name]))]
    _keep(directory, {**{name: e for name, e in listed.items() if name not in stale}, **new})
    return left


def claim(directory: Path, by: str, names: Sequence[str]) -> None:
    """Take names in a folder for a command that fills them by itself, before it does.

    Raises:
        ValueError: One of them is there and was not written by this command; in one line.
    """
    listed = _manifest(directory)
    for name in names:
        entry = listed.get(name)
        if entry is not None and entry.by != by:
            raise ValueError(f"{directory / name} was written by driftproof {entry.by}: name another folder")
        if entry is None and (_is_there(directory / name)):
            raise ValueError(_in_the_way(directory / name))
    _keep(directory, {**listed, **{name: Entry(by) for name in names}})


def _require_ours(directory: Path, by: str, name: str, entry: Entry | None, digest: str) -> None:
    """Raise where a file is in the way that is neither ours nor the same."""
    file = _below(directory, name)
    if not _is_there(file):
        return
    if file.is_symlink() or not file.is_file():
        raise ValueError(f"{file} is no regular file: name another folder, or remove it")
    if by in FORMATS and name.endswith(".json") and is_ours(file, by):
        return
    if _digest(file.read_bytes()) not in ((*entry.digests, digest) if entry else (digest,)):
        raise ValueError(_in_the_way(file, changed=entry is not None))


def _removed(directory: Path, name: str, entry: Entry) -> str:
    """Remove a file as it was written, and its folder once that is empty; say so where it has changed."""
    file = _below(directory, name)
    if not _is_there(file):
        return ""
    if file.is_symlink() or not file.is_file() or _digest(file.read_bytes()) not in entry.digests:
        return f"{file} has changed since it was written: it is left alone"
    file.unlink()
    with suppress(OSError):  # something else is in it
        if file.parent != directory:
            file.parent.rmdir()
    return ""


def _manifest(directory: Path) -> dict[str, Entry]:
    file = directory / MANIFEST
    if not _is_there(file):
        return {}
    if file.is_symlink() or not file.is_file():
        raise ValueError(f"{file} is no regular file: name another folder, or remove it")
    found = read(file, "manifest")["files"]
    try:
        return {name: _entry(directory, name, entry) for name, entry in found.items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is no manifest of driftproof: {error!r:.200}") from error


def _entry(directory: Path, name: str, entry: Mapping[str, Any]) -> Entry:
    by, digests = entry["by"], entry["digests"]
    if not isinstance(by, str) or not all(isinstance(digest, str) for digest in digests):
        raise TypeError(name)
    _below(directory, name)
    return Entry(by, tuple(digests))


def _keep(directory: Path, files: Mapping[str, Entry]) -> None:
    entries = {
        name: {"by": e.by, "digests": list(dict.fromkeys(e.digests))} for name, e in sorted(files.items())
    }
    write_atomically(
        directory / MANIFEST, json.dumps(stamped("manifest", {"files": entries}), indent=1) + "\n"
    )


def _below(directory: Path, name: str) -> Path:
    """The file of a name; every folder on the way is a real one."""
    parts = PurePosixPath(name).parts
    if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name or "\0" in name:
        raise ValueError(f"{name[:80]!r} is no path below {directory}")
    place = directory
    for part in parts[:-1]:
        place = place / part
        if _is_there(place) and (place.is_symlink() or not place.is_dir()):
            raise ValueError(f"{place} is no folder: name another one, or remove it")
    return directory.joinpath(*parts)


def _is_there(file: Path) -> bool:
    return file.is_symlink() or file.exists()


def _in_the_way(file: Path, changed: bool = False) -> str:
    why = "has changed since driftproof wrote it" if changed else "is there and was not written by driftproof"
    return f"{file} {why}: name another folder, or remove it"


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()
