"""Which modules a campaign speaks of, and which errors it draws."""

from __future__ import annotations

import pkgutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from driftproof._identity import specification
from driftproof.validation.inventory import modules as inventory_modules

from .sites import Site, sites
from .swap import text

__all__ = ["drawn", "folder_of", "module_of", "named", "replayed", "sites_of"]

LIBRARY = "driftproof"


def named(names: Sequence[str]) -> list[str]:
    """The modules that names speak of.

    Arguments:
        names: Modules and packages (``theory``, ``numerics.rates``, ``backends.torch.opd``, your own), and
            papers (``opd``): of these what theory and numerics hold.  None: theory and numerics.

    Raises:
        LookupError: No module and no paper has one of the names.
    """
    ours = [module.__name__ for module in inventory_modules()]
    found: dict[str, None] = {}
    for name in names or ("theory", "numerics"):
        of_paper = [module for module in ours if name in module.split(".")[2:3]]
        candidates = (f"{LIBRARY}.{name}", name)
        place = next((c for c in candidates if c != LIBRARY and specification(c) is not None), None)
        if place is None and not of_paper:
            raise LookupError(f"mutate: no module and no paper is called {name!r}")
        found |= dict.fromkeys(_below(place) if place else of_paper)
    return list(found)


def _below(name: str) -> list[str]:
    """A module, or all modules of a package, without importing them."""
    spec = specification(name)
    if spec is None or not spec.submodule_search_locations:
        return [name]
    found = [name] if spec.has_location else []
    for module in sorted(pkgutil.iter_modules(spec.submodule_search_locations), key=lambda m: m.name):
        found += _below(f"{name}.{module.name}")
    return found


def folder_of(module: str) -> str:
    """The folder whose rate a module counts for: ``theory``, ``numerics``, ``backends``; of others the package."""
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] if first == LIBRARY and rest else first


def sites_of(modules: Sequence[str]) -> list[Site]:
    """Every error that can be planted in these modules."""
    return [site for module in modules for site in sites(text(module)[1], module, _shown(module))]


def _shown(module: str) -> str:
    """``theory/laws/normal.py``: the same in a checkout and where the library is installed."""
    spec = specification(module)
    package = spec is not None and spec.submodule_search_locations
    path = module.removeprefix(f"{LIBRARY}.").replace(".", "/")
    return f"{path}/__init__.py" if package else f"{path}.py"


def drawn(candidates: Sequence[Site], count: int, seed: int) -> list[Site]:
    """Errors drawn at random: a place (a span and an operator) with equal chances, then one of its replacements.

    A larger count continues the draw of the same seed.
    """
    places: Mapping[str, list[Site]] = defaultdict(list)
    for site in candidates:
        places[site.place].append(site)
    rng, names = np.random.default_rng(seed), list(places)
    order = rng.permutation(len(names))[:count]
    return [places[names[i]][int(rng.integers(len(places[names[i]])))] for i in order]


def replayed(candidates: Sequence[Site], keys: Sequence[str]) -> list[Site]:
    """The errors of these keys.

    Raises:
        LookupError: The text has no such error: it may have changed.
    """
    known = {site.key: site for site in candidates}
    for key in keys:
        if key not in known:
            near = [k for k in known if k.startswith(key.rpartition(":")[0].rpartition("-")[0])][:5]
            hint = f"; there: {', '.join(near)}" if near else ""
            raise LookupError(
                f"mutate: no error {key!r} can be planted: expected FILE:LINE:COLUMN-END:OPERATOR{hint}"
            )
    return [known[key] for key in keys]


def module_of(key: str) -> str:
    """The module of the key of an error."""
    parts = Path(key.partition(":")[0]).with_suffix("").parts
    name = ".".join(parts[:-1] if parts and parts[-1] == "__init__" else parts)
    return f"{LIBRARY}.{name}" if name and specification(f"{LIBRARY}.{name}") is not None else name
