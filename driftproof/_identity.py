"""Which code a result speaks of: one digest of the source that a module runs on.

A result that is kept (a settled claim, a checkpoint) is believed again only while its identity is the same.
The identity of a module covers the whole of this library; every module that it imports, directly or not and
wherever in its text, that is neither of the standard library nor installed below ``site-packages``, by its
content; and what is installed there, by its version.  Data that code reads by itself is not covered.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["digest", "identity", "library", "source_files", "specification", "versions"]

LIBRARY = "driftproof"
LAYERS = ("theory", "numerics", "backends", "validation")


def identity(*modules: str, **circumstances: Any) -> str | None:
    """A digest of modules with all that they run on, and of circumstances (a seed, an effort).

    Arguments:
        modules: Names of modules; for ``__main__`` the script that runs.
        circumstances: What else must be the same, by JSON.

    Returns:
        Sixteen hexadecimal digits; None where a module has no file (a notebook): nothing is known of it.

    Example:
        >>> identity("driftproof.theory.opd", seed=1) == identity("driftproof.theory.opd", seed=1)
        True
        >>> identity("driftproof.theory.opd", seed=1) == identity("driftproof.theory.opd", seed=2)
        False
    """
    code: dict[str, str] = {LIBRARY: library()}
    for module in modules:
        if module.partition(".")[0] == LIBRARY:
            continue
        try:
            code |= _below(module)
        except LookupError:
            return None
    return digest(json.dumps([versions(), code, circumstances], sort_keys=True))


@cache
def versions() -> dict[str, str]:
    """The versions that a replay needs: of Python, and of what is installed of these packages."""
    known = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("numpy", "scipy", "sympy", "mpmath", "hypothesis", "array-api-compat", "torch"):
        with suppress(PackageNotFoundError):
            known[name] = version(name)
    return known


def digest(text: str | bytes) -> str:
    """Sixteen hexadecimal digits of SHA-256."""
    return sha256(text.encode() if isinstance(text, str) else text).hexdigest()[:16]


@cache
def library(*layers: str) -> str:
    """A digest of the source of this library: of these layers, or of all."""
    package = Path(__file__).resolve().parent
    places = [package, *((package / layer).resolve() for layer in layers or LAYERS)]
    places += [package.parent / place.name for place in places[1:] if not place.is_dir()]
    content = sha256()
    for place in places:
        files = place.glob("*") if place == package else place.rglob("*")
        for file in sorted(file for file in files if file.suffix in (".py", ".json", ".toml")):
            content.update(file.name.encode() + file.read_bytes())
    return content.hexdigest()[:16]


def source_files(module: str) -> Mapping[str, Path]:
    """The modules, with their files, that a module runs on: of the user's own, itself among them.

    Raises:
        LookupError: The module has no file.
    """
    known: dict[str, Path] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        if name in known or name.partition(".")[0] in (LIBRARY, *sys.stdlib_module_names):
            continue
        file = _file(name)
        if file is None:
            if name == module:
                raise LookupError(f"identity: {module} has no file")
            continue
        known[name] = file
        if not _installed(file) and file.suffix == ".py":
            pending += _imports(file, name)
    return known


def specification(name: str) -> ModuleSpec | None:
    """The specification of a module by the path alone: nothing is imported, and loaded modules play no part."""
    path: Sequence[str] | None = None
    spec: ModuleSpec | None = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        full = ".".join(parts[:depth])
        finders = (finder.find_spec(full, path) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        try:
            spec = next((spec for spec in finders if spec is not None), None)
        except KeyError:  # a folder without __init__.py asks for its parent, which is not loaded
            spec = ModuleSpec(full, None, is_package=True)
        except (ImportError, ValueError):
            spec = None
        if spec is None:
            return None
        if spec.submodule_search_locations is None and depth < len(parts):
            return None
        if spec.origin is None:
            path = [str(Path(entry) / parts[depth - 1]) for entry in (sys.path if path is None else path)]
        else:
            path = spec.submodule_search_locations
    return spec


def _below(module: str) -> dict[str, str]:
    files = source_files(module)
    versions = {name.partition(".")[0] for name, file in files.items() if _installed(file)}
    return {
        **{name: digest(file.read_bytes()) for name, file in files.items() if not _installed(file)},
        **{name: _version(name) for name in versions},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return str(getattr(sys.modules.get(package), "__version__", "unknown"))


def _file(name: str) -> Path | None:
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if loaded is None and name != "__main__":
        spec = specification(name)
        loaded = spec.origin if spec is not None and spec.has_location else None
    file = Path(loaded) if isinstance(loaded, str) else None
    return file if file is not None and file.is_file() else None


@cache
def _installed(file: Path) -> bool:
    standard = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    inside = {"site-packages", "dist-packages"} & set(file.parts)
    return bool(inside) or any(file.is_relative_to(place) for place in standard if place)


def _imports(file: Path, module: str) -> Iterator[str]:
    """The names of the modules that the text of a module may import, their packages included."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    package = module if file.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                try:
                    base = importlib.util.resolve_name("." * node.level + base, package)
                except ImportError:
                    continue
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:depth]) for depth in range(1, len(parts) + 1))
