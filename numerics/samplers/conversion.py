"""From what a network returns to what a method wants."""

from __future__ import annotations

from driftproof._namespace import Array, Namespace
from driftproof.theory.processes import AbstractProcess

from .methods import Network
from .parametrisations import Parametrization, convert

__all__ = ["converted"]


def converted(
    xp: Namespace, process: AbstractProcess, score: Network, kind: Parametrization, wants: Parametrization
) -> Network:
    """The network in the parametrisation that the method wants; negative counts are 0."""
    if kind == wants and wants != "count":
        return score

    def network(x: Array, t: Array) -> Array:
        output = convert.kernel(xp, process, x, t, score(x, t), kind, wants)
        return xp.where(output < 0, xp.zeros_like(output), output) if wants == "count" else output

    return network
