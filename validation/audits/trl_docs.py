"""Names and docstrings of the installed TRL, and the row of what cannot be called."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from typing import Any

from .rows import Row

__all__ = ["CANNOT", "quoted", "resolved", "unsettled"]

# What code of another version raises when it cannot be called like this.
CANNOT = (ImportError, AttributeError, LookupError, TypeError, ValueError, RuntimeError)


def unsettled(title: str, options: Mapping[str, Any], reason: str, reproduction: str) -> Row:
    """A row that settles nothing, and says why."""
    verdict = "not callable in isolation: not settled"
    return Row(object=title, options=dict(options), verdict=verdict, reason=reason, reproduction=reproduction)


def quoted(where: str) -> str:
    """The text of the installed docstrings on an option: of the class, or of the first base that speaks of it."""
    target, _, option = where.rpartition(":")
    for owner in inspect.getmro(resolved(target)) if option else ():
        found = re.search(
            rf"^( *){option} \(.*\):\n((?:\1 +\S.*\n?)+)", inspect.cleandoc(owner.__doc__ or ""), re.MULTILINE
        )
        if found:
            return " ".join(found[2].split())
    return ""


def resolved(target: str) -> Any:
    """The object at ``module:attribute.attribute``."""
    module, _, path = target.partition(":")
    found: Any = importlib.import_module(module)
    for attribute in path.split("."):
        found = getattr(found, attribute)
    return found
