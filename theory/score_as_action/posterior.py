r"""The data behind a noised point: Gaussian data and their mixtures under a Gaussian process.

.. math:: X_0 \mid X_t = x \sim \sum_k \gamma_k(x)\, N(M_k, C_k), \qquad
    M = m + K(x - \alpha m), \quad K = \alpha S \Sigma^{-1}, \quad C = \sigma^2 S \Sigma^{-1}, \quad
    \Sigma = \alpha^2 S + \sigma^2 I
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias, final

from array_api_compat import device

from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, refuse_flags, require
from driftproof.theory.laws import Gaussian, GaussianMixture
from driftproof.theory.laws.gaussian import check_regular, require_single
from driftproof.theory.processes import VE, VP, Flow
from driftproof.theory.processes.posterior import Posterior, matvec, require_states
from driftproof.theory.processes.posterior import posterior as data_posterior
from driftproof.theory.rewards import Quadratic, Reward

__all__ = [
    "Data",
    "Posterior",
    "Problem",
    "Process",
    "matvec",
    "posterior",
    "prior",
    "problem",
    "require_beta",
    "require_time",
]

Data: TypeAlias = Gaussian | GaussianMixture
Process: TypeAlias = VP | VE | Flow


@final
@dataclass(frozen=True, slots=True)
class Problem:
    """Data as a mixture and a reward as (c, Q), beside the points, in one namespace."""

    xp: Namespace
    down: Any
    weights: Array
    means: Array
    covs: Array
    c: Array
    curvature: Array
    points: tuple[Array, ...]


def require_time(xp: Namespace, subject: str, process: Process, t: Array) -> None:
    """Raise unless t <= T, and g(t) is finite: a flow has no finite noise at its end."""
    domain = f"in [0, {float(process.T)}{')' if isinstance(process, Flow) else ']'}"
    require(xp, subject, "t", t, domain)


def require_beta(subject: str, beta: float) -> None:
    """Raise unless beta is a finite number > 0."""
    refuse_flags(subject, beta=beta)
    if not 0.0 < beta < float("inf"):
        raise UnmetHypothesis(subject, "beta > 0", f"beta = {beta!r}")


def problem(subject: str, process: Any, data: Any, reward: Any, /, **points: Array) -> Problem:
    """Bring data, reward and points to one namespace, and check what they must be.

    Raises:
        UnmetHypothesis: No Gaussian process, data or reward of this kind; t outside of [0, T]; a covariance that is
            singular at the times t, or as it is where none are given.
    """
    if not isinstance(process, Process):
        raise UnmetHypothesis(subject, "the process is VP, VE or Flow", f"process {type(process).__name__}")
    if not isinstance(data, Gaussian | GaussianMixture):
        known = "the data law is Gaussian or GaussianMixture"
        raise UnmetHypothesis(subject, known, f"data law {type(data).__name__}")
    require_single(subject, data)
    if not isinstance(reward, Reward):
        raise UnmetHypothesis(subject, "the reward is Linear or Quadratic", f"reward {type(reward).__name__}")
    bent = {"Q": reward.Q} if isinstance(reward, Quadratic) else {}
    xp, down, values = boundary(subject, **points, **data.parameters, c=reward.c, **bent)
    here, rest = values[: len(points)], values[len(points) :]
    if "t" in points:
        t = here[list(points).index("t")]
        require(xp, subject, "t", t, f"in [0, {float(process.T)}]")
    if isinstance(data, Gaussian):
        mean, cov, c, *q = rest
        weights, means, covs = xp.ones_like(mean[:1]), mean[None, :], cov[None, :, :]
    else:
        weights, means, covs, c, *q = rest
    noised = covs
    if "t" in points:  # data on a plane have a density as soon as there is noise
        alpha, sigma = (v[..., None, None, None] for v in process.alpha_sigma(xp, t))
        noised = alpha**2 * covs + sigma**2 * xp.eye(covs.shape[-1], dtype=covs.dtype, device=device(covs))
    check_regular(xp, subject, noised)
    d = means.shape[-1]
    if "x" in points:
        require_states(subject, here[list(points).index("x")], here[list(points).index("t")], d)
    if c.shape != (d,):
        raise UnmetHypothesis(subject, f"a reward on R^{d}, like the data", f"c has shape {tuple(c.shape)}")
    curvature = q[0] if q else xp.zeros((d, d), dtype=c.dtype, device=device(c))
    return Problem(xp, down.like(data), weights, means, covs, c, curvature, here)


def posterior(xp: Namespace, process: Any, law: Problem, x: Array, t: Array) -> Posterior:
    """Kernel: the posterior of every component at x (..., d) and t (...)."""
    return data_posterior(xp, process, law.weights, law.means, law.covs, x, t)


def prior(process: Process, data: Data) -> Gaussian:
    """The law that samplers start from at T, in the namespace of the data: N(0, 1) for VP, else N(0, sigma_T^2)."""
    require_single("prior", data)
    mean = data.mean if isinstance(data, Gaussian) else data.means[0]
    xp, down, (mean, t) = boundary("prior", mean=mean, t=process.T)
    variance = 1.0 if isinstance(process, VP) else process.alpha_sigma(xp, t)[1] ** 2
    eye = xp.eye(mean.shape[-1], dtype=mean.dtype, device=device(mean))
    made: Gaussian = down.like(data)(Gaussian(0.0 * mean, variance * eye))
    return made
