"""Kinds of evidence: what a piece of evidence returns, and when that holds.

==============  =================================================  ==================================
decorator       returns                                            holds when
==============  =================================================  ==================================
``symbolic``    sympy expression(s), or ``(lhs, rhs)``             reduced to 0, and 0 to 40 digits
``exact``       ``(got, want)`` or ``(label, got, want)`` ...      error <= tolerance, everywhere
``parity``      the same, from two backends                        error <= 8 ulp
``property``    the same, of arguments drawn by Hypothesis         on every example
``bound``       ``(value, bound)`` or ``(label, value, bound)``    value <= bound, and not vacuous
``rate``        :class:`Rate`                                      orders and leading constant agree
``boundary``    ``(got, want)`` without a hypothesis, or           they differ: the hypothesis is
                :func:`raises`                                     needed, and checked
``statistical`` :class:`Statistic`                                 p >= alpha, its share of the budget
==============  =================================================  ==================================
"""

from .algebra import symbolic
from .base import Effort, Evidence, Thing, Verdict, drawn
from .cases import Cases, grid, rows
from .chance import Statistic, statistical
from .comparison import Gap, compare, rounding
from .deterministic import Rate, bound, boundary, exact, parity, property, raises, rate

__all__ = [
    "Cases",
    "Effort",
    "Evidence",
    "Gap",
    "Rate",
    "Statistic",
    "Thing",
    "Verdict",
    "bound",
    "boundary",
    "compare",
    "drawn",
    "exact",
    "grid",
    "parity",
    "property",
    "raises",
    "rate",
    "rounding",
    "rows",
    "statistical",
    "symbolic",
]
