"""The logger of this library: silent until somebody listens."""

from __future__ import annotations

import logging
from typing import Final

from ._namespace import UnmetHypothesis

__all__ = ["set_verbosity"]

LOGGER: Final = logging.getLogger("driftproof")
LOGGER.addHandler(logging.NullHandler())
LEVELS: Final = ("debug", "info", "warning", "error", "critical")


def set_verbosity(level: str | int) -> None:
    """Let the logger ``driftproof`` tell what is at least this important.

    It writes to standard error, unless the program has set up logging: then its handlers are given everything.

    Arguments:
        level: ``debug``, ``info``, ``warning``, ``error`` or ``critical``, or a number as in :mod:`logging`.

    Raises:
        UnmetHypothesis: Another word.

    Example:
        >>> set_verbosity("warning")
        >>> logging.getLogger("driftproof").isEnabledFor(logging.INFO)
        False
    """
    if isinstance(level, str) and level.lower() not in LEVELS:
        hypothesis = f"level is one of {', '.join(LEVELS)}, or a number"
        raise UnmetHypothesis("set_verbosity", hypothesis, repr(level))
    LOGGER.setLevel(level.upper() if isinstance(level, str) else level)
    if not LOGGER.parent or not LOGGER.parent.handlers:
        for handler in [*LOGGER.handlers]:
            if type(handler) is logging.StreamHandler:
                LOGGER.removeHandler(handler)
        console = logging.StreamHandler()
        console.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
        LOGGER.addHandler(console)
