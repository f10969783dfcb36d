"""Does it hold: claims, evidence, mutants, audits, benchmarks and reports.

Names are imported when they are first used, so that pytest can load the plugin at no cost.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import strategies as strategies
    from .audits import audit
    from .evidence import (
        Rate,
        Statistic,
        Thing,
        bound,
        boundary,
        drawn,
        exact,
        grid,
        parity,
        property,
        raises,
        rate,
        rounding,
        rows,
        statistical,
        symbolic,
    )
    from .registry import claim
    from .runner import run
    from .statements import figure

__all__ = [
    "Rate",
    "Statistic",
    "Thing",
    "audit",
    "bound",
    "boundary",
    "claim",
    "drawn",
    "exact",
    "figure",
    "grid",
    "parity",
    "property",
    "raises",
    "rate",
    "rounding",
    "rows",
    "run",
    "statistical",
    "strategies",
    "symbolic",
]

_HOMES = {"audit": ".audits", "claim": ".registry", "figure": ".statements", "run": ".runner"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "strategies":
        return importlib.import_module(".strategies", __name__)
    return getattr(importlib.import_module(_HOMES.get(name, ".evidence"), __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
