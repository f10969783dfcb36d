"""Packages that are not installed: the name, and the extra of driftproof that installs it.

What cannot run here is skipped with this reason, by every runner, and is no failure.  An import that fails
for anything else (a misspelt name, an installation that is broken) stays an error.
"""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, requires

__all__ = ["absent", "installed", "lacking"]


def installed(module: str) -> bool:
    """Whether the package of a module can be found.

    Example:
        >>> installed("numpy.linalg"), installed("nonesuch.part")
        (True, False)
    """
    return importlib.util.find_spec(module.partition(".")[0]) is not None


def lacking(module: str) -> str:
    """A sentence that the package of a module is not installed, and what installs it.

    Example:
        >>> lacking("nonesuch.part")
        'nonesuch is not installed; pip install nonesuch'
    """
    package = module.partition(".")[0]
    extra = _extras().get(package)
    return f"{package} is not installed; pip install " + (f"'driftproof[{extra}]'" if extra else package)


def absent(error: BaseException) -> str | None:
    """Why an exception is no fault of what was run: an optional dependency of driftproof is not installed.

    The exception is a :class:`ModuleNotFoundError` of such a package, or is raised *from* one.

    Returns:
        The reason, as :func:`lacking` tells it; None for every other exception.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            package = cause.name.partition(".")[0]
            if package in _extras() and not installed(package):
                return lacking(package)
        cause = cause.__cause__
    return None


@cache
def _extras() -> dict[str, str]:
    """The optional dependencies, each with the first extra that has it."""
    found: dict[str, str] = {}
    try:
        listed = requires("driftproof") or []
    except PackageNotFoundError:  # a checkout that is not installed
        return found
    for line in listed:
        extra, name = re.search(r"extra == [\"'](\w+)", line), re.match(r"[\w.-]+", line)
        if extra and name:
            found.setdefault(name[0].replace("-", "_"), extra[1])
    return found
