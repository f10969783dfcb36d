"""The parity table: one file for each part of the library, one row for each public function.

A new function needs one entry in a dictionary called ``ROWS`` in any module of this folder.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from tests.parity.rows import Row


def table() -> Mapping[str, Row]:
    """Every row, by the name of its function without the leading ``driftproof.``."""
    rows: dict[str, Row] = {}
    for module in pkgutil.iter_modules(__path__):
        part = importlib.import_module(f"{__name__}.{module.name}").ROWS
        twice = rows.keys() & part.keys()
        if twice:
            raise ValueError(f"rows given twice: {sorted(twice)}")
        rows |= part
    return rows
