"""How bad a verdict is: one ordered scale for samplers and losses, and the exit status that it means.

The worst comes first.  Where an audit gates a CI, ``--fail-on`` names the least severity that fails it; what
cannot be audited fails only where that is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

__all__ = ["FAIL_ON", "Severity", "exit_status", "rank"]


class Severity(StrEnum):
    """The classes of verdicts, worst first; a value is what a document says.

    Example:
        >>> Severity.NAN.at_least(Severity.MISMATCH), Severity.CONVERGES.at_least(Severity.MISMATCH)
        (True, False)
    """

    NAN = "nan"  # not a number, at a step count that is asked for or a small one
    DIVERGES = "diverges"  # the error does not fall
    MISMATCH = "mismatch"  # state and model are at different noise levels
    UNEVEN = "uneven"  # wrong at some step counts, right at their neighbours
    FLOOR = "floor"  # it falls to something else than the data
    MISLABELLED = "mislabelled"  # a network's label stands for another level than the step uses
    CONDITIONAL = "conditional"  # right with another model than the ordinary denoiser of its prediction
    LIMIT = "limit"  # consistent in the limit only: the mean is wrong at every step count
    SLOW = "slow"  # a lower order than it states
    LONG = "long"  # not a number at 999 or 1000 steps, and right at usual counts
    CONVERGES = "converges"
    UNSUPPORTED = "unsupported"  # there is no verdict

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return tuple(Severity).index(self)

    def at_least(self, other: Severity) -> bool:
        """Whether this is as bad as the other, or worse."""
        return self.rank <= other.rank


# What fails a run by default: no number, no convergence, and a state elsewhere than the model's label says.
FAIL_ON: Final = Severity.MISMATCH


def rank(severity: str | None) -> int:
    """The rank of what a document says; what it does not know comes last.

    Example:
        >>> rank("nan"), rank(None) == rank("unsupported")
        (0, True)
    """
    known = [each for each in Severity if each == severity]
    return (known or [Severity.UNSUPPORTED])[0].rank


def exit_status(severities: Iterable[str | None], fail_on: Severity = FAIL_ON) -> int:
    """1 where one of these is at or above ``fail_on``, else 0.

    Example:
        >>> exit_status(["converges", "slow"]), exit_status(["converges", "slow"], Severity.SLOW)
        (0, 1)
        >>> exit_status(["unsupported"], Severity.CONVERGES)
        0
    """
    return int(any(rank(each) <= fail_on.rank for each in severities if each is not None))
