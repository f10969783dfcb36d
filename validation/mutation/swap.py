r"""A module with an error, in a process that has imported the right one.

Two ways, by what the import of everything has run:

* A line that no import runs has left no trace yet.  Its functions take the wrong code *in place*
  (``function.__code__``): whoever holds such a function (a module, a table, a closure, a wrapper) holds the
  wrong one, at no cost.
* A line that some import runs (a constant, a default, a table made by a function) may have left its value
  anywhere.  The modules are forgotten and imported again, this one with the wrong code.

Both give what an import of the wrong text gives.
"""

from __future__ import annotations

import ast
import gc
import sys
from collections.abc import Collection, Iterable, Iterator
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, final

from driftproof._identity import specification

from .sites import Site, mutated

__all__ = ["forget", "functions_of", "import_wrong", "swapped", "text"]

_Key = tuple[str, int, bytes]


def text(module: str) -> tuple[str, str]:
    """The file of a module, as its code objects have it, and its text."""
    spec = specification(module)
    if spec is None or spec.origin is None or not spec.has_location:
        raise LookupError(f"mutate: {module} has no file")
    return spec.origin, Path(spec.origin).read_text(encoding="utf-8")


def functions_of(files: Collection[str]) -> dict[str, list[FunctionType]]:
    """All live functions of these files: looked up once, before forks are made."""
    found: dict[str, list[FunctionType]] = {file: [] for file in files}
    for item in gc.get_objects():
        if type(item) is FunctionType and (known := found.get(item.__code__.co_filename)) is not None:
            known.append(item)
    return found


def swapped(site: Site, functions: Iterable[FunctionType], *, counted: bool = False) -> list[FunctionType]:
    """Give all live functions of the site's module that the error changes their wrong code.

    Returns:
        Those functions.

    Raises:
        RuntimeError: None is alive, or one closes over other variables than it would: it cannot be swapped.
    """
    file, source = text(site.module)
    right, wrong = _code(ast.parse(source), file), _code(mutated(source, site, counted=counted), file)
    changed = dict(_changed(right, wrong))
    done = []
    for function in functions:
        new = changed.get(_key(function.__code__))
        if new is None:
            continue
        if new.co_freevars != function.__code__.co_freevars:
            raise RuntimeError(
                f"{site.key}: the closure of {function.__qualname__} would hold other variables"
            )
        function.__code__ = new
        done.append(function)
    if not done:
        raise RuntimeError(f"{site.key}: no live function has this line")
    return done


def forget(roots: Collection[str]) -> None:
    """Forget all modules below these packages: the next import of one reads it anew."""
    for name in [name for name in sys.modules if name.partition(".")[0] in roots]:
        del sys.modules[name]


def import_wrong(site: Site) -> None:
    """Have the next import of the site's module read it with the error."""
    sys.meta_path.insert(0, _Finder(site))


@final
class _Finder(MetaPathFinder):
    """Finds one module, with an error in it."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self.site.module:
            return None
        finders = (f for f in sys.meta_path if f is not self and hasattr(f, "find_spec"))
        spec = next((spec for f in finders if (spec := f.find_spec(name, path, target))), None)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(self.site, spec.loader.name, spec.loader.path)
        return spec


@final
class _Loader(SourceFileLoader):
    def __init__(self, site: Site, name: str, path: str) -> None:
        super().__init__(name, path)
        self.site = site

    def get_code(self, fullname: str) -> CodeType:
        source = Path(self.path).read_text(encoding="utf-8")
        return _code(mutated(source, self.site), self.path)


def _code(tree: ast.Module, file: str) -> CodeType:
    return compile(tree, file, "exec", dont_inherit=True)


def _changed(right: CodeType, wrong: CodeType) -> Iterator[tuple[_Key, CodeType]]:
    """The functions that an error changes, from the outermost to that which it stands in."""
    yield _key(right), wrong
    kept = set(_inner(right)) & set(_inner(wrong))
    before, after = ([code for code in _inner(whole) if code not in kept] for whole in (right, wrong))
    if len(before) == len(after):  # otherwise the error has dropped a function, which nobody calls any more
        for one, other in zip(before, after, strict=True):
            yield from _changed(one, other)


def _inner(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _key(code: CodeType) -> _Key:
    # Lambdas of one line differ in their columns, which this table holds.
    return code.co_qualname, code.co_firstlineno, code.co_linetable
