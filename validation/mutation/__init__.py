"""Errors that nobody declared: drawn at random, planted one by one, and counted by what notices them.

The planted errors of a claim show that its evidence can fail.  Whether it fails for errors that its author did
not think of is a measurement: ``driftproof mutate``.  An error (:mod:`~.operators`, :mod:`~.sites`) is planted
in a fork (:mod:`~.swap`); only evidence whose lines it touches runs (:mod:`~.records`), the cheapest first; a kill
is confirmed on the right code, and a survivor is tried for equivalence (:mod:`~.equivalence`).

mutmut and cosmic-ray judge by a test command alone: neither runs evidence, knows the slips of array code (axes,
wrong variables, dropped clips), or looks for equivalence; both write the wrong text to disk and start a command.
"""

from .campaign import mutate
from .found import Campaign, Rate, Tried
from .sites import Site

__all__ = ["Campaign", "Rate", "Site", "Tried", "mutate"]
