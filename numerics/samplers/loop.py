r"""The sampling loop: from a noised state down a grid of times, with any of the steps.

A step is a pure function and a method is a row of a table: which parametrisation it wants, which eta it
can run, and how to call it.  The loop owns what no step should: the grid, the conversion of the network
output, the random source, the progress bar and the check that the result is finite.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias, final

from array_api_compat import device

from ..._namespace import Array, Namespace, UnmetHypothesis, boundary, require
from ..._random import Rng, Source, source
from ...theory.processes import AbstractProcess
from .._steps import require_batch, require_eta
from ..tweedie.parametrisations import Kind, convert
from ..tweedie.reverse import (
    bridge_step,
    log_euler_step,
    matched_bridge_step,
    noncentral_step,
    truncated_euler_step,
)
from .euler import euler_maruyama_step, heun_step
from .gddim import gddim_step

__all__ = ["METHODS", "Method", "sample"]

Network: TypeAlias = Callable[[Array, Array], Array]
Step: TypeAlias = Callable[[Namespace, Any, Array, Array, Array, Network, float, Source], Array]


@final
@dataclass(frozen=True, slots=True)
class Method:
    """How the loop calls a step: what the step wants, from which family, and the eta it can run."""

    wants: Kind | Literal["x0"]
    step: Step
    eta: float | None = None  # None: any eta >= 0
    reaches_zero: bool = False  # may s be 0?


METHODS: Mapping[str, Method] = {
    "euler_maruyama": Method(
        "score",
        lambda xp, p, x, t, s, f, eta, z: euler_maruyama_step.kernel(
            xp, p, x, t, s, f(x, t), eta, z.normal(x)
        ),
        reaches_zero=True,
    ),
    "heun": Method("score", lambda xp, p, x, t, s, f, eta, z: heun_step.kernel(xp, p, x, t, s, f), eta=0.0),
    "gddim": Method(
        "epsilon",
        lambda xp, p, x, t, s, f, eta, z: gddim_step.kernel(xp, p, x, t, s, f(x, t), eta, z.normal(x)),
        reaches_zero=True,
    ),
    "ddim": Method(
        "epsilon",
        lambda xp, p, x, t, s, f, eta, z: gddim_step.kernel(xp, p, x, t, s, f(x, t), 0.0, xp.zeros_like(x)),
        eta=0.0,
        reaches_zero=True,
    ),
    "log_euler": Method(
        "log",
        lambda xp, p, x, t, s, f, eta, z: log_euler_step.kernel(xp, p, x, t, s, f(x, t), eta, z.normal(x)),
        reaches_zero=True,
    ),
    "truncated_euler": Method(
        "count",
        lambda xp, p, x, t, s, f, eta, z: truncated_euler_step.kernel(
            xp, p, x, t, s, f(_positive(xp, x), t), eta, z.normal(x)
        ),
        reaches_zero=True,
    ),
    "noncentral": Method(
        "count",
        lambda xp, p, x, t, s, f, eta, z: noncentral_step.kernel(xp, p, x, t, s, f(x, t), z),
        eta=1.0,
    ),
    "matched_bridge": Method(
        "count",
        lambda xp, p, x, t, s, f, eta, z: matched_bridge_step.kernel(xp, p, x, t, s, f(x, t), z),
        eta=1.0,
    ),
    "bridge": Method(
        "x0", lambda xp, p, x, t, s, f, eta, z: bridge_step.kernel(xp, p, x, t, s, f(x, t), z), eta=1.0
    ),
}


def sample(
    process: AbstractProcess,
    score: Network,
    grid: Sequence[float],
    eta: float,
    rng: Rng,
    method: str,
    *,
    start: Array,
    kind: Kind | Literal["x0"] = "score",
    callback: Callable[[Mapping[str, Any]], None] | None = None,
    disable: bool | None = None,
) -> Array:
    r"""Runs a reverse sampler from noise down to data.

    Arguments:
        process: The forward process.
        score: The network: a function of the state, with shape :math:`(B, *)`, and of the noise time, an
            array without axes; it returns an array with the shape of the state.
        grid: Noise times :math:`T = t_0 > t_1 > \dots > t_N \ge 0`, Python floats.
        eta: The stochasticity of the reverse family, >= 0; 0 is the probability flow.
        rng: A numpy or torch generator or an integer seed.
        method: ``euler_maruyama``, ``heun`` (eta = 0), ``gddim``, ``ddim`` (eta = 0); for GBM also
            ``log_euler``; for BESQ and CIR ``noncentral``, ``matched_bridge``, ``bridge`` (eta = 1) and the
            baseline ``truncated_euler``.
        start: The state at :math:`t_0`, with shape :math:`(B, *)`.
        kind: What ``score`` returns: a parametrisation, or ``"x0"`` for the method ``bridge`` (a posterior
            draw makes it exact, a posterior mean does not converge for BESQ and CIR).  Counts below 0 are
            taken as 0.
        callback: Called after every step with a dictionary of ``i``, ``t``, ``s``, ``x``.
        disable: No progress bar; by default there is one on a terminal only.

    Returns:
        The state at :math:`t_N`, with the shape of ``start``.

    Raises:
        UnmetHypothesis: A grid that does not decrease, a method that cannot run this eta, an empty batch,
            or a start outside of the state space.
        FloatingPointError: The result is not finite.

    Example:
        >>> from driftproof.theory.processes import VE
        >>> import numpy as np
        >>> still = sample(VE(), lambda x, t: 0.0 * x, [1.0, 0.5, 0.0], 0.0, 0, "ddim", start=np.ones(3))
        >>> still.tolist()
        [1.0, 1.0, 1.0]
    """
    chosen = _method(method, eta)
    times = _grid(grid, chosen, method)
    xp, down, (x,) = boundary("sample", start=start)
    require_batch("sample", x)
    require(xp, "sample", "start", x, process.support)
    noise = source(rng, like=x)
    network = _converted(xp, process, score, kind, chosen.wants)

    def clock(t: float) -> Array:
        return xp.asarray(t, dtype=x.dtype, device=device(x))

    for i, (t, s) in enumerate(_progress(list(pairwise(times)), method, disable)):
        x = chosen.step(xp, process, x, clock(t), clock(s), network, eta, noise)
        if callback is not None:
            callback({"i": i, "t": t, "s": s, "x": x})
    if process.support == ">= 0":
        x = _positive(xp, x)  # full truncation ends on the half-line
    if not bool(xp.all(xp.isfinite(x))):
        lost = int(xp.sum(xp.astype(~xp.isfinite(x), xp.int64)))
        raise FloatingPointError(
            f"sample: {lost} of {math.prod(x.shape)} values are not finite after {method}"
        )
    return down(x)


def _method(method: str, eta: float) -> Method:
    if method not in METHODS:
        raise UnmetHypothesis("sample", f"method is one of {', '.join(METHODS)}", f"method = {method!r}")
    require_eta("sample", eta)
    chosen = METHODS[method]
    if chosen.eta is not None and eta != chosen.eta:
        raise UnmetHypothesis("sample", f"eta = {chosen.eta:g} for method {method}", f"eta = {eta!r}")
    return chosen


def _grid(grid: Sequence[float], chosen: Method, method: str) -> list[float]:
    times = [float(t) for t in grid]
    if len(times) < 2 or not all(s < t for t, s in pairwise(times)):
        raise UnmetHypothesis("sample", "grid decreases, with two times or more", f"grid = {times!r}")
    if not math.isfinite(times[0]) or times[-1] < 0.0 or (times[-1] == 0.0 and not chosen.reaches_zero):
        end = ">= 0" if chosen.reaches_zero else "> 0"
        hypothesis = f"grid is finite and ends {end} for method {method}"
        raise UnmetHypothesis("sample", hypothesis, f"from {times[0]!r} to {times[-1]!r}")
    return times


def _converted(
    xp: Namespace,
    process: AbstractProcess,
    score: Network,
    kind: Kind | Literal["x0"],
    wants: Kind | Literal["x0"],
) -> Network:
    if kind == wants and wants != "count":
        return score
    if kind == "x0" or wants == "x0":
        raise UnmetHypothesis("sample", f"kind = {wants!r} for this method", f"kind = {kind!r}")

    def network(x: Array, t: Array) -> Array:
        output = convert.kernel(xp, process, x, t, score(x, t), kind, wants)
        return _positive(xp, output) if wants == "count" else output

    return network


def _positive(xp: Namespace, x: Array) -> Array:
    return xp.where(x < 0, xp.zeros_like(x), x)  # NaN stays NaN


def _progress(
    steps: list[tuple[float, float]], method: str, disable: bool | None
) -> Iterable[tuple[float, float]]:
    if disable or (disable is None and not sys.stderr.isatty()):
        return steps
    from rich.console import Console
    from rich.progress import track

    return track(steps, description=method, console=Console(stderr=True), transient=True)
