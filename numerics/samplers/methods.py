"""The table of methods: which parametrisation a step wants, which eta it can run, and how to call it.

A method is one function of a step.  It returns the mean and the standard deviation of the next state where that is
Gaussian, so that the loop draws it and knows its density; otherwise it draws the state itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

from driftproof._namespace import Array, Namespace, UnmetHypothesis, checked
from driftproof._random import Source
from driftproof.theory.processes import AbstractGaussianProcess, Flow

from .deis import deis_2, deis_3
from .dpm_solver import dpm_solver_1, dpm_solver_2, dpm_solver_3
from .dpm_solver_pp import dpm_solver_pp_2s, sde_dpm_solver_pp_2m_moments
from .euler import euler_maruyama_moments, heun_step
from .gddim import gddim_step
from .parametrization import Parametrization, data_and_noise
from .reverse import (
    bridge_step,
    log_euler_step,
    matched_bridge_step,
    noncentral_step,
    truncated_euler_step,
)
from .transitions import (
    ddim_moments,
    flow_sde_moments,
    gddim_moments,
    predicted_moments,
    require_real_root,
)

__all__ = ["METHODS", "Method", "Network", "Past", "Returned", "Step"]

Network: TypeAlias = Callable[[Array, Array], Array]
Past: TypeAlias = Sequence[tuple[Array, Array]]  # (time, prediction), newest first
Returned: TypeAlias = Parametrization | Literal["posterior_draw"]
Step: TypeAlias = Callable[
    [Namespace, Any, Array, Array, Array, Network, float, Past, Source], tuple[Array, Array] | Array
]


@final
@dataclass(frozen=True, slots=True)
@checked
class Method:
    """How the loop makes a step.

    Arguments:
        wants: The parametrisation that the step takes.
        step: A function of (xp, process, x, t, s, network, eta, past, noise): the mean and the standard deviation of
            the next state, or the state itself.
        eta: The only eta that it can run; None: any eta >= 0.
        reaches_zero: Whether s may be 0.
        memory: How many predictions the loop makes and keeps for it, the one at t among them; with 0 ``past`` is
            empty, and the step calls the network itself.
    """

    wants: Returned
    step: Step
    eta: float | None = None
    reaches_zero: bool = False
    memory: int = 0


def _levels(xp: Namespace, p: Any, t: Array, s: Array) -> tuple[Array, Array, Array, Array]:
    (alpha_t, sigma_t), (alpha_s, sigma_s) = p.alpha_sigma(xp, t), p.alpha_sigma(xp, s)
    return alpha_t, sigma_t, alpha_s, sigma_s


def _deterministic(xp: Namespace, mean: Array, s: Array) -> tuple[Array, Array]:
    """The moments of a step without noise."""
    return mean, xp.zeros_like(s)


def _gddim(
    xp: Namespace, p: Any, x: Array, t: Array, s: Array, f: Network, eta: float, past: Past, z: Source
) -> tuple[Array, Array] | Array:
    if isinstance(p, AbstractGaussianProcess):
        return gddim_moments.kernel(xp, x, f(x, t), *_levels(xp, p, t, s), eta)
    noise = z.normal(x) if eta > 0 else xp.zeros_like(x)
    return gddim_step.kernel(xp, p, x, t, s, f(x, t), eta, noise)


def _song_ddim(
    xp: Namespace, p: Any, x: Array, t: Array, s: Array, f: Network, eta: float, *_: Any
) -> tuple[Array, Array]:
    """It refuses an eta that leaves no real variance at these levels."""
    names, levels = ("alpha_t", "sigma_t", "alpha_s", "sigma_s"), _levels(xp, p, t, s)
    require_real_root(xp, eta=eta, **dict(zip(names, levels, strict=True)))
    return ddim_moments.kernel(xp, x, f(x, t), *levels, eta)


def _flow_sde(
    xp: Namespace, p: Any, x: Array, t: Array, s: Array, f: Network, eta: float, *_: Any
) -> tuple[Array, Array]:
    if not isinstance(p, Flow):
        raise UnmetHypothesis("sample", "the process is Flow for method flow_sde", type(p).__name__)
    return flow_sde_moments.kernel(xp, x, f(x, t), t, s, 2.0**0.5 * eta)


def _dpm_solver_pp(
    xp: Namespace, p: Any, x: Array, t: Array, s: Array, f: Network, eta: float, past: Past, *_: Any
) -> tuple[Array, Array]:
    """The first step holds the prediction."""
    (_, x0), *before = past
    if before:
        return sde_dpm_solver_pp_2m_moments.kernel(xp, p, x, t, s, x0, *before[0], eta)
    alpha, sigma = p.alpha_sigma(xp, t)
    eps = data_and_noise.kernel(xp, x, x0, alpha, sigma, "sample")[1]
    return predicted_moments.kernel(xp, x0, eps, *_levels(xp, p, t, s), eta)


def _deis_2(
    xp: Namespace, p: Any, x: Array, t: Array, s: Array, f: Network, eta: float, past: Past, *_: Any
) -> tuple[Array, Array]:
    """The first step is one of DDIM."""
    (_, eps), *before = past
    if before:
        return _deterministic(xp, deis_2.kernel(xp, p, x, t, s, eps, *before[0]), s)
    return _deterministic(xp, dpm_solver_1.kernel(xp, p, x, t, s, eps), s)


def _deis_3(
    xp: Namespace, p: Any, x: Array, t: Array, s: Array, f: Network, eta: float, past: Past, z: Source
) -> tuple[Array, Array]:
    """The first two steps are single steps of order 3: a start of lower order would be the order of the run."""
    (_, eps), *before = past
    if len(before) >= 2:
        return _deterministic(xp, deis_3.kernel(xp, p, x, t, s, eps, *before[0], *before[1]), s)
    if bool(s > 0):
        return _deterministic(xp, dpm_solver_3.kernel(xp, p, x, t, s, f), s)
    return _deis_2(xp, p, x, t, s, f, eta, past, z)


METHODS: Mapping[str, Method] = {
    "euler_maruyama": Method(
        "score",
        lambda xp, p, x, t, s, f, eta, *_: euler_maruyama_moments.kernel(xp, p, x, t, s, f(x, t), eta),
        reaches_zero=True,
    ),
    "heun": Method(
        "score",
        lambda xp, p, x, t, s, f, *_: _deterministic(xp, heun_step.kernel(xp, p, x, t, s, f), s),
        eta=0.0,
    ),
    "gddim": Method("epsilon", _gddim, reaches_zero=True),
    "ddim": Method("epsilon", _gddim, eta=0.0, reaches_zero=True),
    "song_ddim": Method("epsilon", _song_ddim, reaches_zero=True),
    "dpm_solver_1": Method(
        "epsilon",
        lambda xp, p, x, t, s, f, *_: _deterministic(xp, dpm_solver_1.kernel(xp, p, x, t, s, f(x, t)), s),
        eta=0.0,
        reaches_zero=True,
    ),
    "dpm_solver_2": Method(
        "epsilon",
        lambda xp, p, x, t, s, f, *_: _deterministic(xp, dpm_solver_2.kernel(xp, p, x, t, s, f), s),
        eta=0.0,
    ),
    "dpm_solver_3": Method(
        "epsilon",
        lambda xp, p, x, t, s, f, *_: _deterministic(xp, dpm_solver_3.kernel(xp, p, x, t, s, f), s),
        eta=0.0,
    ),
    "dpm_solver_pp_2s": Method(
        "sample",
        lambda xp, p, x, t, s, f, *_: _deterministic(xp, dpm_solver_pp_2s.kernel(xp, p, x, t, s, f), s),
        eta=0.0,
    ),
    "dpm_solver_pp_2m": Method("sample", _dpm_solver_pp, eta=0.0, reaches_zero=True, memory=2),
    "sde_dpm_solver_pp_2m": Method("sample", _dpm_solver_pp, reaches_zero=True, memory=2),
    "deis_2": Method("epsilon", _deis_2, eta=0.0, reaches_zero=True, memory=2),
    "deis_3": Method("epsilon", _deis_3, eta=0.0, reaches_zero=True, memory=3),
    "flow_sde": Method("flow_prediction", _flow_sde, reaches_zero=True),
    "log_euler": Method(
        "log_score",
        lambda xp, p, x, t, s, f, eta, past, z: log_euler_step.kernel(
            xp, p, x, t, s, f(x, t), eta, z.normal(x)
        ),
        reaches_zero=True,
    ),
    "truncated_euler": Method(
        "count",
        lambda xp, p, x, t, s, f, eta, past, z: truncated_euler_step.kernel(
            xp, p, x, t, s, f(_positive(xp, x), t), eta, z.normal(x)
        ),
        reaches_zero=True,
    ),
    "noncentral": Method(
        "count",
        lambda xp, p, x, t, s, f, eta, past, z: noncentral_step.kernel(xp, p, x, t, s, f(x, t), z),
        eta=1.0,
    ),
    "matched_bridge": Method(
        "count",
        lambda xp, p, x, t, s, f, eta, past, z: matched_bridge_step.kernel(xp, p, x, t, s, f(x, t), z),
        eta=1.0,
    ),
    "bridge": Method(
        "posterior_draw",
        lambda xp, p, x, t, s, f, eta, past, z: bridge_step.kernel(xp, p, x, t, s, f(x, t), z),
        eta=1.0,
    ),
}


def _positive(xp: Namespace, x: Array) -> Array:
    return xp.where(x < 0, xp.zeros_like(x), x)  # NaN stays NaN
