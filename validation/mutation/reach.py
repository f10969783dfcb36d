"""What claims and tests can run at all: the modules that their text imports, directly or not.

Imports are read from the text, wherever they stand in it.  What nothing imports runs nowhere, so nothing else
needs its coverage recorded; and what has been recorded is believed for as long as none of that text changes.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path

from driftproof._identity import LAYERS, LIBRARY, digest, library, source_files, specification, versions

__all__ = ["code_of", "planting", "reached", "reached_by", "reread", "runs"]

# It imports what it offers when it is asked for: whoever asks names it.
_LAZY = frozenset({f"{LIBRARY}.validation"})

# They go over all that is public, and name none of it: whoever imports them may run everything.
_WALKERS = frozenset({f"{LIBRARY}.validation.inventory", f"{LIBRARY}.validation.registry.REGISTRY"})

_MODULE = re.compile(rf"\b{LIBRARY}(?:\.\w+)+")


@cache
def reached(module: str) -> frozenset[str]:
    """The modules that a module runs on, itself among them: of this library, and of what is not installed.

    Example:
        >>> "driftproof.theory.special.bessel" in reached("driftproof.theory.laws")
        True
        >>> "driftproof.theory.opd.exact" in reached("driftproof.theory.laws")
        False
    """
    return _closure([module])


@cache
def reached_by(tests: Path) -> tuple[frozenset[str], tuple[Path, ...]]:
    """The modules that a file of tests runs on, by its text and that of its helpers; and those helpers.

    Helpers are the files around it that it imports, the ``conftest.py`` of its folders among them.
    """
    folders = tests.resolve().parents[:3]
    pending = [tests.resolve(), *(folder / "conftest.py" for folder in folders)]
    files, found = dict[Path, None](), set[str]()
    while pending:
        file = pending.pop()
        if file in files or not file.is_file():
            continue
        files[file] = None
        found.update(_MODULE.findall(file.read_text(encoding="utf-8")))  # in a command, or for importlib
        for name in _names(file, ""):
            found.add(name)
            if name.partition(".")[0] == LIBRARY:
                continue
            places = [folder.joinpath(*name.split(".")) for folder in folders]
            pending += [
                file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")
            ]
    helpers = tuple(sorted(file for file in files if file != tests.resolve()))
    return _closure(found), helpers


def reread() -> None:
    """Forget all texts: they may have changed since they were last read."""
    for kept in (reached, reached_by, planting, _harness, _digest, _own, _imported, _origin, _names):
        kept.cache_clear()


def runs(found: Collection[str], modules: Collection[str]) -> bool:
    """Whether code that reaches these modules may run one of those."""
    return not _WALKERS.isdisjoint(found) or not set(modules).isdisjoint(found)


def code_of(found: Iterable[str], *files: Path) -> str:
    """A digest of the text of modules and files, of the harness that runs them, and of versions."""
    found = set(found)
    ours = library() if not _WALKERS.isdisjoint(found) else _harness()
    texts = sorted((name, _digest(origin)) for name in found if (origin := _origin(name)) is not None)
    return digest(repr([versions(), ours, texts, [_digest(str(file)) for file in files]]))


@cache
def _harness() -> str:
    """A digest of all that judges, and of the data that code reads: whatever runs may run on them.

    What plants errors is left out: it changes no record of lines.
    """
    packages = [Path(str(_origin(f"{LIBRARY}.{layer}"))).parent for layer in LAYERS]
    judging = (packages[-1], "*.py")
    data = [(package, kind) for package in packages for kind in ("*.json", "*.toml")]
    content = [
        (str(file.relative_to(package)), _digest(str(file)))
        for package, kind in (judging, *data)
        for file in sorted(package.rglob(kind))
        if not any(file.is_relative_to(packages[-1] / folder) for folder in ("claims", "mutation"))
    ]
    return digest(repr(content))


@cache
def planting() -> str:
    """A digest of what plants errors and says what became of them."""
    folder = Path(__file__).parent
    return digest(repr([_digest(str(file)) for file in sorted(folder.glob("*.py"))]))


@cache
def _digest(file: str) -> str:
    return digest(Path(file).read_bytes())


def _closure(names: Iterable[str]) -> frozenset[str]:
    known, pending = set[str](), list(names)
    while pending:
        name = pending.pop()
        if name in known:
            continue
        known.add(name)
        if name.partition(".")[0] == LIBRARY:
            pending += _imported(name)
            continue
        for own in _own(name):
            known.add(own)
            pending += _imported(own)
    return frozenset(known)


@cache
def _own(module: str) -> tuple[str, ...]:
    """The modules of the user's own that one runs on."""
    if module.partition(".")[0] in sys.stdlib_module_names:
        return ()
    try:
        return tuple(source_files(module))
    except LookupError:  # it has no file
        return ()


@cache
def _imported(module: str) -> tuple[str, ...]:
    """The modules of this library that the text of a module imports."""
    origin = _origin(module)
    if origin is None or not origin.endswith(".py") or module in _LAZY:
        return ()
    is_package = Path(origin).stem == "__init__"
    names = _names(Path(origin), module if is_package else module.rpartition(".")[0])
    return tuple(dict.fromkeys(name for name in names if name.partition(".")[0] == LIBRARY))


@cache
def _origin(module: str) -> str | None:
    """The file of a module; of ours looked for in packages only, so that the name of a function costs little."""
    package, _, _ = module.rpartition(".")
    if module.startswith(f"{LIBRARY}."):
        above = _origin(package)
        if above is None or Path(above).stem != "__init__":
            return None
    spec = specification(module)
    return spec.origin if spec is not None and spec.has_location else None


@cache
def _names(file: Path, package: str) -> tuple[str, ...]:
    """The modules that a text may import, their packages included."""
    found = dict[str, None]()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level and not package:
                continue  # of a helper that is a package: its modules are reached by their names
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for parts in (name.split(".") for name in names):
            found |= dict.fromkeys(".".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return tuple(found)
