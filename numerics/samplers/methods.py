"""The table of methods: which parametrisation a step wants, which eta it can run, and how to call it.

A row has a step, or the moments of one, from which the loop makes the step and its density.  A multistep
method sees the predictions before, newest first; where there are too few of them its row says how it starts.
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
from .transitions import ddim_moments, flow_sde_moments, gddim_moments, predicted_moments

__all__ = ["METHODS", "Method", "Moments", "Network", "Past", "Returned", "Step"]

Network: TypeAlias = Callable[[Array, Array], Array]
Past: TypeAlias = Sequence[tuple[Array, Array]]  # (time, prediction), newest first
Returned: TypeAlias = Parametrization | Literal["posterior_draw"]
Step: TypeAlias = Callable[[Namespace, Any, Array, Array, Array, Network, float, Source], Array]
Moments: TypeAlias = Callable[
    [Namespace, Any, Array, Array, Array, Array, float, Past, Network], tuple[Array, Array]
]


@final
@dataclass(frozen=True, slots=True)
@checked
class Method:
    """How the loop calls a step.

    Arguments:
        wants: The parametrisation that the step takes.
        step: Makes the next state; it calls the network itself.
        moments: Mean and standard deviation of the next state from the prediction at t; beside a step they
            serve Gaussian processes.
        eta: The only eta that it can run; None: any eta >= 0.
        reaches_zero: Whether s may be 0.
        memory: How many predictions before the one at t it uses.
    """

    wants: Returned
    step: Step | None = None
    moments: Moments | None = None
    eta: float | None = None
    reaches_zero: bool = False
    memory: int = 0

    def is_gaussian(self, process: Any) -> bool:
        """Whether the next state of this process has a mean and a standard deviation."""
        return self.moments is not None and (
            self.step is None or isinstance(process, AbstractGaussianProcess)
        )


def _levels(xp: Namespace, p: Any, t: Array, s: Array) -> tuple[Array, Array, Array, Array]:
    (alpha_t, sigma_t), (alpha_s, sigma_s) = p.alpha_sigma(xp, t), p.alpha_sigma(xp, s)
    return alpha_t, sigma_t, alpha_s, sigma_s


def _deterministic(xp: Namespace, mean: Array, s: Array) -> tuple[Array, Array]:
    """The moments of a step without noise."""
    return mean, xp.zeros_like(s)


def _ddim(xp: Namespace, p: Any, x: Array, t: Array, s: Array, eps: Array, *_: Any) -> tuple[Array, Array]:
    return gddim_moments.kernel(xp, x, eps, *_levels(xp, p, t, s), 0.0)


def _flow_sde(
    xp: Namespace, p: Any, x: Array, t: Array, s: Array, velocity: Array, eta: float, *_: Any
) -> tuple[Array, Array]:
    if not isinstance(p, Flow):
        raise UnmetHypothesis("sample", "the process is Flow for method flow_sde", type(p).__name__)
    return flow_sde_moments.kernel(xp, x, velocity, t, s, 2.0**0.5 * eta)


def _dpm_solver_pp(
    xp: Namespace, p: Any, x: Array, t: Array, s: Array, x0: Array, eta: float, past: Past, *_: Any
) -> tuple[Array, Array]:
    """The first step holds the prediction."""
    if past:
        return sde_dpm_solver_pp_2m_moments.kernel(xp, p, x, t, s, x0, *past[0], eta)
    alpha, sigma = p.alpha_sigma(xp, t)
    eps = data_and_noise.kernel(xp, x, x0, alpha, sigma, "sample")[1]
    return predicted_moments.kernel(xp, x0, eps, *_levels(xp, p, t, s), eta)


def _deis_2(
    xp: Namespace, p: Any, x: Array, t: Array, s: Array, eps: Array, eta: float, past: Past, *_: Any
) -> tuple[Array, Array]:
    """The first step is one of DDIM."""
    if past:
        return _deterministic(xp, deis_2.kernel(xp, p, x, t, s, eps, *past[0]), s)
    return _deterministic(xp, dpm_solver_1.kernel(xp, p, x, t, s, eps), s)


def _deis_3(
    xp: Namespace, p: Any, x: Array, t: Array, s: Array, eps: Array, eta: float, past: Past, f: Network
) -> tuple[Array, Array]:
    """The first two steps are single steps of order 3: a start of lower order would be the order of the run."""
    if len(past) >= 2:
        return _deterministic(xp, deis_3.kernel(xp, p, x, t, s, eps, *past[0], *past[1]), s)
    if bool(s > 0):
        return _deterministic(xp, dpm_solver_3.kernel(xp, p, x, t, s, f), s)
    return _deis_2(xp, p, x, t, s, eps, eta, past)


METHODS: Mapping[str, Method] = {
    "euler_maruyama": Method(
        "score",
        moments=lambda xp, p, x, t, s, score, eta, *_: euler_maruyama_moments.kernel(
            xp, p, x, t, s, score, eta
        ),
        reaches_zero=True,
    ),
    "heun": Method("score", lambda xp, p, x, t, s, f, eta, z: heun_step.kernel(xp, p, x, t, s, f), eta=0.0),
    "gddim": Method(
        "epsilon",
        lambda xp, p, x, t, s, f, eta, z: gddim_step.kernel(xp, p, x, t, s, f(x, t), eta, z.normal(x)),
        lambda xp, p, x, t, s, eps, eta, *_: gddim_moments.kernel(xp, x, eps, *_levels(xp, p, t, s), eta),
        reaches_zero=True,
    ),
    "ddim": Method(
        "epsilon",
        lambda xp, p, x, t, s, f, eta, z: gddim_step.kernel(xp, p, x, t, s, f(x, t), 0.0, xp.zeros_like(x)),
        _ddim,
        eta=0.0,
        reaches_zero=True,
    ),
    "song_ddim": Method(
        "epsilon",  # the public function: it refuses an eta that leaves no real variance at these levels
        moments=lambda xp, p, x, t, s, eps, eta, *_: ddim_moments(x, eps, *_levels(xp, p, t, s), eta),
        reaches_zero=True,
    ),
    "dpm_solver_1": Method(
        "epsilon",
        moments=lambda xp, p, x, t, s, eps, *_: _deterministic(
            xp, dpm_solver_1.kernel(xp, p, x, t, s, eps), s
        ),
        eta=0.0,
        reaches_zero=True,
    ),
    "dpm_solver_2": Method(
        "epsilon", lambda xp, p, x, t, s, f, eta, z: dpm_solver_2.kernel(xp, p, x, t, s, f), eta=0.0
    ),
    "dpm_solver_3": Method(
        "epsilon", lambda xp, p, x, t, s, f, eta, z: dpm_solver_3.kernel(xp, p, x, t, s, f), eta=0.0
    ),
    "dpm_solver_pp_2s": Method(
        "sample", lambda xp, p, x, t, s, f, eta, z: dpm_solver_pp_2s.kernel(xp, p, x, t, s, f), eta=0.0
    ),
    "dpm_solver_pp_2m": Method("sample", moments=_dpm_solver_pp, eta=0.0, reaches_zero=True, memory=1),
    "sde_dpm_solver_pp_2m": Method("sample", moments=_dpm_solver_pp, reaches_zero=True, memory=1),
    "deis_2": Method("epsilon", moments=_deis_2, eta=0.0, reaches_zero=True, memory=1),
    "deis_3": Method("epsilon", moments=_deis_3, eta=0.0, reaches_zero=True, memory=2),
    "flow_sde": Method("flow_prediction", moments=_flow_sde, reaches_zero=True),
    "log_euler": Method(
        "log_score",
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
        "posterior_draw",
        lambda xp, p, x, t, s, f, eta, z: bridge_step.kernel(xp, p, x, t, s, f(x, t), z),
        eta=1.0,
    ),
}


def _positive(xp: Namespace, x: Array) -> Array:
    return xp.where(x < 0, xp.zeros_like(x), x)  # NaN stays NaN
