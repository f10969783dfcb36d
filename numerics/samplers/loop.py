r"""The sampling loop: from a noised state down a grid of times, with any of the steps.

A step is a pure function and a method is a row of a table (:mod:`.methods`).  The loop owns what no step
should: the grid, the eta of every step, the conversion of the network output, the history of multistep
methods, the random source, the progress bar and the check that the result is finite.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

from array_api_compat import device

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, holds, require
from driftproof._random import Rng, source
from driftproof.numerics._checks import require_batch, require_eta
from driftproof.theory.processes import AbstractGaussianProcess, AbstractProcess

from .clocks import informative
from .conversion import converted
from .methods import METHODS, Method, Network, Returned
from .trajectory import Trajectory

__all__ = ["sample", "sample_trajectory"]

Etas = float | Sequence[float]


@arrays()
def sample(
    process: AbstractProcess,
    score: Network,
    grid: Sequence[float],
    eta: Etas,
    rng: Rng,
    method: str | Method,
    *,
    start: Array,
    kind: Returned = "score",
    callback: Callable[[Mapping[str, Any]], None] | None = None,
    disable: bool | None = None,
) -> Array:
    r"""Runs a reverse sampler from noise down to data.

    Arguments:
        process: The forward process.
        score: The network: a function of the state, with shape :math:`(B, *)`, and of the noise time, an
            array without axes; it returns an array with the shape of the state.
        grid: Noise times :math:`T = t_0 > t_1 > \dots > t_N \ge 0`, Python floats.
        eta: The stochasticity of the reverse family, >= 0; 0 is the probability flow.  One number, or one
            for each step (:func:`window`).
        rng: A numpy or torch generator or an integer seed.
        method: A row of :data:`METHODS` or its name.  ``euler_maruyama`` and ``gddim``, for any eta; for
            Gaussian processes also ``song_ddim``, ``sde_dpm_solver_pp_2m``, for Flow ``flow_sde``, and with
            eta = 0 ``ddim``, ``heun``, ``dpm_solver_1``, ``_2``, ``_3``, ``dpm_solver_pp_2s``, ``_2m``,
            ``deis_2``, ``deis_3``; for GBM ``log_euler``; for BESQ and CIR ``noncentral``,
            ``matched_bridge``, ``bridge`` (eta = 1) and the baseline ``truncated_euler``.
        start: The state at :math:`t_0`, with shape :math:`(B, *)`.
        kind: What ``score`` returns: a parametrization that the process has (:mod:`.parametrization`), or
            ``posterior_draw`` for the method ``bridge`` (draws of the data given x make it exact, their mean
            does not converge for BESQ and CIR).  Counts below 0 are
            taken as 0.
        callback: Called after every step with a dictionary of ``i``, ``t``, ``s``, ``eta``, ``x``, and
            ``mean`` and ``std``, None where the step has none.
        disable: No progress bar; by default there is one on a terminal only.

    Returns:
        The state at :math:`t_N`, with the shape of ``start``.

    Raises:
        UnmetHypothesis: A grid that does not decrease, a method that cannot run this eta, an empty batch,
            a start outside of the state space or beyond the horizon, pure noise (a flow at t = 1) with a method
            of the noise or the score, or a network that changes the shape.
        FloatingPointError: The result is not finite.

    Claims: REWARD-GAP-ORDER-1

    Example:
        >>> from driftproof.theory.processes import VE
        >>> import numpy as np
        >>> still = sample(VE(), lambda x, t: 0.0 * x, [1.0, 0.5, 0.0], 0.0, 0, "ddim", start=np.ones(3))
        >>> still.tolist()
        [1.0, 1.0, 1.0]
    """
    run = SamplerRun.create(process, score, grid, eta, method, start, kind)
    for i, seen in enumerate(_progress(run.steps(rng), len(run.etas), run.name, disable)):
        x = seen["x"]
        if callback is not None:
            callback({"i": i, **seen})
    return run.result(x)


@arrays()
def sample_trajectory(
    process: AbstractProcess,
    score: Network,
    grid: Sequence[float],
    eta: Etas,
    rng: Rng,
    method: str | Method,
    *,
    start: Array,
    kind: Returned = "score",
    disable: bool | None = None,
) -> Trajectory:
    r"""Runs a sampler and keeps every state with the moments it was drawn from.

    Arguments:
        process, score, grid, eta, rng, start, kind, disable: As for :func:`sample`.
        method: A method whose steps of this process are Gaussian.

    Returns:
        The trajectory, whose steps with noise have a log-density.

    Raises:
        UnmetHypothesis: As for :func:`sample`, and a method whose steps are not Gaussian.
        FloatingPointError: The result is not finite.

    Claims: REWARD-GAP-PATH-1

    Example:
        >>> from driftproof.theory.processes import VE
        >>> import numpy as np
        >>> path = sample_trajectory(VE(), lambda x, t: -x, [1.0, 0.5, 0.2], 1.0, 0, "gddim", start=np.ones(3))
        >>> path.states.shape, path.log_probs().shape
        ((3, 3), (2, 3))
    """
    run = SamplerRun.create(process, score, grid, eta, method, start, kind)
    seen = []
    for step in _progress(run.steps(rng), len(run.etas), run.name, disable):
        if step["std"] is None:
            got = f"method = {run.name!r}, process {type(process).__name__}"
            raise UnmetHypothesis("sample_trajectory", "the steps of the method are Gaussian", got)
        seen.append(step)
    run.result(seen[-1]["x"])
    xp, x = run.xp, run.start
    states = xp.stack([x, *(step["x"] for step in seen)])
    means = xp.stack([step["mean"] for step in seen])
    stds = xp.stack([step["std"] + xp.zeros_like(x) for step in seen])
    return Trajectory(tuple(run.times), run.etas, run.down(states), run.down(means), run.down(stds))


@final
@dataclass(frozen=True)
class SamplerRun:
    """A run whose arguments were checked."""

    process: AbstractProcess
    network: Network
    times: list[float]
    etas: tuple[float, ...]
    method: Method
    name: str
    xp: Namespace
    start: Array
    down: Callable[[Any], Any]

    @classmethod
    def create(
        cls,
        process: AbstractProcess,
        score: Network,
        grid: Sequence[float],
        eta: Etas,
        method: str | Method,
        start: Array,
        kind: Returned,
    ) -> SamplerRun:
        name = method if isinstance(method, str) else "the method"
        row = _method(method)
        times = _grid(grid, row, name)
        etas = _etas(eta, len(times) - 1, row, name)
        xp, down, (x,) = boundary("sample", start=start)
        require_batch("sample", x)
        require(xp, "sample", "start", x, process.support)
        _in_reach(xp, process, times[0], row, name)
        network = converted(xp, process, _shaped(score), kind, row.wants)
        return cls(process, network, times, etas, row, name, xp, x, down)

    def steps(self, rng: Rng) -> Iterator[dict[str, Any]]:
        """The run, a dictionary a step."""
        xp, x, noise = self.xp, self.start, source(rng, like=self.start)
        past: list[tuple[Array, Array]] = []
        memory = self.method.memory

        def clock(time: float) -> Array:
            return xp.asarray(time, dtype=x.dtype, device=device(x))

        for (time, after), eta in zip(pairwise(self.times), self.etas, strict=True):
            t, s = clock(time), clock(after)
            if memory:
                past = [(t, self.network(x, t)), *past][:memory]
            made = self.method.step(xp, self.process, x, t, s, self.network, eta, past, noise)
            mean = std = None
            if isinstance(made, tuple):
                mean, std = made
                made = mean + std * noise.normal(x) if eta > 0 else mean
            x = made
            yield {"t": time, "s": after, "eta": eta, "x": x, "mean": mean, "std": std}

    def result(self, x: Array) -> Array:
        """The last state, in the dtype that came."""
        xp = self.xp
        if self.process.support == ">= 0":
            x = xp.where(x < 0, xp.zeros_like(x), x)  # full truncation ends on the half-line
        if not holds(xp.all(xp.isfinite(x))):
            lost = int(xp.sum(xp.astype(~xp.isfinite(x), xp.int64)))
            raise FloatingPointError(
                f"sample: {lost} of {math.prod(x.shape)} values are not finite after {self.name}"
            )
        return self.down(x)


def _shaped(score: Network) -> Network:
    """The network, refused where its output would be broadcast against the state."""

    def network(x: Array, t: Array) -> Array:
        output = score(x, t)
        if tuple(output.shape) != tuple(x.shape):
            got = f"shape {tuple(output.shape)}, expected {tuple(x.shape)}"
            raise UnmetHypothesis("sample", "score returns the shape of the state", got)
        return output

    return network


def _method(method: str | Method) -> Method:
    if isinstance(method, Method):
        return method
    if method not in METHODS:
        raise UnmetHypothesis("sample", f"method is one of {', '.join(METHODS)}", f"method = {method!r}")
    return METHODS[method]


def _etas(eta: Etas, steps: int, method: Method, name: str) -> tuple[float, ...]:
    one = isinstance(eta, int | float) or getattr(eta, "ndim", 1) == 0
    etas = (float(eta),) * steps if one else tuple(float(value) for value in eta)  # type: ignore[arg-type, union-attr]
    if len(etas) != steps:
        raise UnmetHypothesis("sample", f"eta has {steps} values, one a step", f"{len(etas)} values")
    for value in etas:
        require_eta("sample", value)
        if method.eta is not None and value != method.eta:
            raise UnmetHypothesis("sample", f"eta = {method.eta:g} for method {name}", f"eta = {value!r}")
    return etas


def _grid(grid: Sequence[float], method: Method, name: str) -> list[float]:
    times = [float(t) for t in grid]
    if len(times) < 2 or not all(s < t for t, s in pairwise(times)):
        raise UnmetHypothesis("sample", "grid decreases, with two times or more", f"grid = {times!r}")
    if not math.isfinite(times[0]) or times[-1] < 0.0 or (times[-1] == 0.0 and not method.reaches_zero):
        end = ">= 0" if method.reaches_zero else "> 0"
        hypothesis = f"grid is finite and ends {end} for method {name}"
        raise UnmetHypothesis("sample", hypothesis, f"from {times[0]!r} to {times[-1]!r}")
    return times


def _in_reach(xp: Namespace, process: AbstractProcess, start: float, method: Method, name: str) -> None:
    """Raise where the run starts beyond the horizon, or at pure noise with a method of noise or score."""
    horizon = getattr(process, "T", math.inf)
    if start > horizon * (1.0 + 1e-9):
        raise UnmetHypothesis("sample", f"grid starts at most at T = {horizon:g}", f"{start!r}")
    if isinstance(process, AbstractGaussianProcess) and method.wants in ("epsilon", "score"):
        informative(xp, f"sample by {name}", process, xp.asarray(start, dtype=xp.float64))


def _progress(
    steps: Iterable[dict[str, Any]], total: int, method: str, disable: bool | None
) -> Iterable[dict[str, Any]]:
    if disable or (disable is None and not sys.stderr.isatty()):
        return steps
    from rich.console import Console
    from rich.progress import track

    return track(steps, description=method, total=total, console=Console(stderr=True), transient=True)
