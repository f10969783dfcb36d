"""From what a network returns to what a method wants."""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, UnmetHypothesis
from driftproof.theory.processes import AbstractProcess

from .methods import Network, Returned
from .parametrization import convert, require_admitted

__all__ = ["converted"]


def converted(
    xp: Namespace, process: AbstractProcess, score: Network, kind: Returned, wants: Returned
) -> Network:
    """The network in the parametrization that the method wants; negative counts are 0."""
    if kind == wants and wants != "count":
        return score
    if kind == "posterior_draw" or wants == "posterior_draw":
        raise UnmetHypothesis("sample", f"kind = {wants!r} for this method", f"kind = {kind!r}")
    for each in (kind, wants):
        require_admitted(process, each)

    def network(x: Array, t: Array) -> Array:
        output = convert.kernel(xp, process, x, t, score(x, t), kind, wants)
        return xp.where(output < 0, xp.zeros_like(output), output) if wants == "count" else output

    return network
