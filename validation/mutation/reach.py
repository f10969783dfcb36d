"""Which claims can run a line at all: those whose module imports its module, directly or not.

Imports are read from the text, wherever they stand in it.  What nothing imports runs nowhere, so no other
claim needs its coverage recorded.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache

from driftproof._identity import LIBRARY, source_files, specification

__all__ = ["reached"]

# It imports what it offers when it is asked for: whoever asks names it.
_LAZY = frozenset({"driftproof.validation"})


def reached(module: str) -> frozenset[str]:
    """The modules that a module runs on, itself among them: of this library, and of what is not installed.

    Example:
        >>> "driftproof.theory.special.bessel" in reached("driftproof.theory.laws")
        True
        >>> "driftproof.theory.opd.exact" in reached("driftproof.theory.laws")
        False
    """
    try:
        own = set(source_files(module))
    except LookupError:  # it has no file
        own = set()
    known, pending = set[str](), [module, *own]
    while pending:
        name = pending.pop()
        if name not in known:
            known.add(name)
            pending += [found for found in _imported(name) if found.partition(".")[0] == LIBRARY]
    return frozenset(known)


@cache
def _imported(module: str) -> tuple[str, ...]:
    spec = specification(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py") or module in _LAZY:
        return ()
    with open(spec.origin, "rb") as file:
        tree = ast.parse(file.read())
    package = module if spec.submodule_search_locations else module.rpartition(".")[0]
    return tuple(dict.fromkeys(_names(tree, package)))


def _names(tree: ast.Module, package: str) -> Iterator[str]:
    """The modules that a text may import, their packages included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            found = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in found:
            parts = name.split(".")
            yield from (".".join(parts[:depth]) for depth in range(1, len(parts) + 1))
