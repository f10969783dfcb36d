"""From what a network returns to what a method wants."""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, UnmetHypothesis
from driftproof.theory.processes import AbstractGaussianProcess, AbstractProcess

from .methods import Network, Wanted
from .parametrisations import convert
from .predictions import Prediction, data_and_noise

__all__ = ["converted"]

# Parametrisations that name the data point and the noise of a Gaussian process.
BOTH: dict[str, Prediction] = {"epsilon": "epsilon", "data": "sample", "velocity": "flow_prediction"}


def converted(
    xp: Namespace, process: AbstractProcess, score: Network, kind: Wanted, wants: Wanted
) -> Network:
    """The network in the parametrisation that the method wants; negative counts are 0."""
    if kind == wants and wants != "count":
        return score
    if "x0" in (kind, wants):
        raise UnmetHypothesis("sample", f"kind = {wants!r} for this method", f"kind = {kind!r}")
    if {kind, wants} & {"data", "velocity"}:
        if not isinstance(process, AbstractGaussianProcess):
            got = f"kind = {kind!r}, process {type(process).__name__}"
            raise UnmetHypothesis("sample", f"kind {kind} becomes {wants} for Gaussian processes", got)
        return _of_both(xp, process, score, kind, wants)

    def network(x: Array, t: Array) -> Array:
        output = convert.kernel(xp, process, x, t, score(x, t), kind, wants)  # type: ignore[arg-type]
        return xp.where(output < 0, xp.zeros_like(output), output) if wants == "count" else output

    return network


def _of_both(
    xp: Namespace, process: AbstractGaussianProcess, score: Network, kind: Wanted, wants: Wanted
) -> Network:
    """Through the data point and the noise that the output means."""

    def network(x: Array, t: Array) -> Array:
        output = score(x, t)
        if kind not in BOTH:
            output = convert.kernel(xp, process, x, t, output, kind, "epsilon")  # type: ignore[arg-type]
        levels = process.alpha_sigma(xp, t)
        data, noise = data_and_noise.kernel(xp, x, output, *levels, BOTH.get(kind, "epsilon"))
        if wants == "data":
            return data
        if wants == "velocity":
            return noise - data
        return convert.kernel(xp, process, x, t, noise, "epsilon", wants)  # type: ignore[arg-type]

    return network
