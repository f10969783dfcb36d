"""Claims on the coupling bound: in general, with equality, and for Gaussian mixtures."""

from __future__ import annotations

import math
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np

from driftproof.numerics.samplers import euler_maruyama_step
from driftproof.theory.laws import GaussianMixture, Normal, wasserstein2
from driftproof.theory.processes import VE, VP, Flow
from driftproof.theory.reward_gap import (
    mixture_contraction,
    mixture_monotonicity,
    terminal_moments,
    w2_bound,
)
from driftproof.validation import bound, boundary, claim, exact, figure, grid, rows
from driftproof.validation.mutants import wrong

from .textbook import CASES, Floats, arrival, schedule

SCHEDULES = (VP(0.1, 8.0, 1.0), VE(0.3, 9.0, 1.0))
ETAS = (0.0, 0.5, 1.0, 2.0)


def gaussian(process: Any, variance: float = 0.49) -> Any:
    """Monotonicity of the score of one Gaussian."""
    of = schedule(process)
    return lambda t: np.asarray([1.0 / of.total(variance, u) for u in t])


def ripple(t: Any) -> Any:
    """A positive error of the score."""
    return 0.3 + 0.2 * np.cos(5.0 * t)


def shifted(t: Any) -> Any:
    """The error of the score of a flow whose data mean is off by 1."""
    of = schedule(Flow())
    return np.asarray([of.alpha(u) / of.total(0.49, u) for u in t])


@claim(
    "REWARD-GAP-BOUND-1",
    "The coupling bound: an equality for means, and not far off elsewhere",
    r"""
    W_2(\mathcal L(Y_0^\eta), p_0) \le \Phi_\eta(0, T)\,W_2(\pi, p_T)
        + \int_0^T \tfrac{1+\eta^2}2\,g^2\,\Phi_\eta(0, t)\,\varepsilon_t\,dt, \qquad
    \Phi_\eta(0, t) = \alpha_t^{-1} e^{-\frac{1+\eta^2}2 \int_0^t g^2 \ell}
    """,
    covers=[w2_bound],
    hypotheses=[
        r"\langle u, \nabla \hat s\,u\rangle \le -\ell_t |u|^2",
        r"\|\hat s - s\|_{L^2(p_t)} \le \varepsilon_t",
    ],
)
class Coupling:
    """No dissipativity of the forward drift is asked for, and the integral of g^2 l may be negative."""

    @exact(
        1e-8,
        over=grid(
            rows("process", SCHEDULES),
            rows("eta", ETAS),
            rows("off, error", ((0.7, None), (0.0, ripple), (0.7, ripple))),
        ),
    )
    def equality_for_means(w2_bound, process, eta, off, error):
        # The same covariance and an error that is a constant in space: all the distance is in the mean.
        of = schedule(process)
        start = (of.alpha(1.0) * 0.6 + off, of.total(0.49, 1.0))
        m, v = arrival(process, 0.6, 0.49, eta, 1.0, 0.0, start, error=error)
        want = wasserstein2(Normal(m, v**0.5), Normal(0.6, 0.7))
        return w2_bound(process, eta, off, gaussian(process), error), want

    @bound(
        tight=0.9,
        slack=1e-9,
        over=grid(
            rows("process", SCHEDULES), rows("m, v", ((0.8, 0.49), (0.0, 2.0), (1.3, 0.1))), rows("eta", ETAS)
        ),
    )
    def mismatch_of_the_prior(w2_bound, process, m, v, eta):
        of = schedule(process)
        prior = 1.0 if isinstance(process, VP) else of.noise(1.0)
        start = math.hypot(of.alpha(1.0) * m, prior**0.5 - of.total(v, 1.0) ** 0.5)
        mean, spread = terminal_moments(process, m, v, eta)
        found = wasserstein2(Normal(mean, spread**0.5), Normal(m, v**0.5))
        return found, w2_bound(process, eta, start, gaussian(process, v))

    @bound(tight=0.3, slack=1e-9, over=grid(process=SCHEDULES, eta=ETAS))
    def gap_of_a_reward_of_slope_one(w2_bound, process, eta):
        """The gap between ODE and SDE is at most the slope times the two bounds together."""
        of = schedule(process)
        prior = 1.0 if isinstance(process, VP) else of.noise(1.0)
        start = math.hypot(of.alpha(1.0) * 0.8, prior**0.5 - of.total(0.49, 1.0) ** 0.5)
        ode, sde = (terminal_moments(process, 0.8, 0.49, e)[0] for e in (0.0, eta))
        limit = sum(w2_bound(process, e, start, gaussian(process)) for e in (0.0, eta))
        return abs(float(ode - sde)), limit

    @exact(1e-13, over=grid(eta=ETAS))
    def flows_start_from_the_right_law(w2_bound, eta):
        return w2_bound(Flow(), eta, 0.0, gaussian(Flow()), shifted), 1.0

    refuses = [
        (w2_bound, Flow(), 1.0, 0.1, gaussian(Flow())),
        (w2_bound, VP(), 1.0, -0.1, gaussian(VP())),
        (w2_bound, VP(), -1.0, 0.1, gaussian(VP())),
    ]

    mutants = {
        "half of the pull": wrong(
            w2_bound, monotonicity=lambda monotonicity: lambda t: 0.5 * monotonicity(t)
        ),
        "always the ODE": wrong(w2_bound, eta=lambda: 0.0),
        "squared distance": wrong(w2_bound, start=lambda start: start**2),
        "error counted twice": wrong(
            w2_bound, score_error=lambda score_error: score_error and (lambda t: 2.0 * score_error(t))
        ),
    }


MIXTURES = ((0.49, 0.3), (0.49, 0.56), (1.0, 1.0))


@cache
def two_atoms(variance: float, radius: float) -> GaussianMixture:
    return GaussianMixture([0.5, 0.5], [[-radius], [radius]], [[[variance]], [[variance]]])


@cache
def coupled(process: Any, variance: float, radius: float, eta: float, late: float) -> Floats:
    """Distances at the data of pairs that start at distance 0.1 and share their noise, over 0.1."""
    of, rng = schedule(process), np.random.default_rng(0)
    x = np.linspace(-1.5, 1.5, 31) * of.total(variance + radius**2, late) ** 0.5
    pair = np.stack([x, x + 0.1])
    for t, s in pairwise(float(u) for u in np.linspace(late, 0.0, 401)):
        place, total = of.alpha(t) * radius, of.total(variance, t)
        score = -(pair - place * np.tanh(place * pair / total)) / total  # of two equal components
        noise = np.broadcast_to(rng.normal(size=x.shape), pair.shape)
        pair = euler_maruyama_step(process, pair, t, s, score, eta, noise)
    return np.abs(pair[1] - pair[0]) / 0.1


@claim(
    "REWARD-GAP-MIXTURE-1",
    "The coupling bound of a Gaussian mixture, in closed form",
    r"""
    \ell_t = \frac1{\Sigma_t} - \frac{\alpha_t^2 R^2}{\Sigma_t^2}, \qquad
    \Phi_\eta(0, t) = \frac{q_t^{(1+\eta^2)/2}}{\alpha_t}
        \exp\Big[\tfrac{1+\eta^2}2\,\tfrac{R^2}v\,(1 - q_t)\Big]
    """,
    covers=[mixture_contraction, mixture_monotonicity],
    hypotheses=[r"\text{common covariance } v I", r"\text{means in a ball of radius } R"],
)
class Mixtures:
    r"""Useful for R^2 up to about v; for R^2 = 6 v the bound is right and says nothing: it grows with eta,
    while the truth falls."""

    @exact(
        1e-12, over=grid(rows("process", SCHEDULES), rows("variance, radius", MIXTURES), rows("eta", ETAS))
    )
    def is_the_general_bound(mixture_contraction, mixture_monotonicity, process, variance, radius, eta):
        want = w2_bound(process, eta, 1.0, partial(mixture_monotonicity, process, variance, radius))
        return mixture_contraction(process, variance, radius, eta, 1.0), want

    @bound(
        tight=0.9999,
        slack=1e-6,
        over=grid(rows("process, late", CASES), rows("variance, radius", MIXTURES)),
    )
    def slopes_of_the_score(mixture_monotonicity, process, late, variance, radius):
        # 1 + Sigma s' is alpha^2 Cov(mean | x) / Sigma, and in the middle of two equal components all of
        # alpha^2 R^2 / Sigma. The slack is for differences of step 1e-5.
        x, h = np.linspace(-3.0, 3.0, 61), 1e-5
        for t in (0.05, 0.3, late):
            law = process.marginal(two_atoms(variance, radius), t)
            slope = (law.score((x + h)[:, None]) - law.score((x - h)[:, None]))[:, 0] / (2 * h)
            total = schedule(process).total(variance, t)
            limit = 1.0 - total * float(mixture_monotonicity(process, variance, radius, t))
            yield f"t = {t}", np.max(1.0 + total * slope), limit

    @bound(
        tight=0.8,
        slack=1e-3,
        over=grid(rows("process, late", CASES[:2]), rows("variance, radius", MIXTURES[:2]), eta=(0.0, 1.0)),
    )
    def coupled_pairs(mixture_contraction, process, late, variance, radius, eta):
        # On every path; the slack is for 400 Euler steps with coefficients frozen at their start.
        limit = float(mixture_contraction(process, variance, radius, eta, late))
        found = coupled(process, variance, radius, eta, late)
        return np.max(found), limit

    @exact(1e-12, over=grid(rows("process, late", CASES), eta=ETAS))
    def one_gaussian(mixture_contraction, process, late, eta):
        of = schedule(process)
        want = of.fraction(0.49, late) ** ((1 + eta**2) / 2) / of.alpha(late)
        return mixture_contraction(process, 0.49, 0.0, eta, late), want

    @exact(0.0, over=grid(rows("variance, radius", (*MIXTURES, (1.0, 4.0))), process=SCHEDULES))
    def when_noise_helps_the_bound(mixture_contraction, variance, radius, process):
        q = schedule(process).fraction(variance, 1.0)
        helps = q * math.exp(radius**2 / variance * (1 - q)) < 1.0
        falls = float(mixture_contraction(process, variance, radius, 1.0, 1.0)) < float(
            mixture_contraction(process, variance, radius, 0.0, 1.0)
        )
        return falls, helps

    @boundary(0.5)
    def far_apart_the_bound_says_nothing(mixture_contraction):
        """For R^2 = 6.25 v it grows with eta, while pairs come the closer the more noise they share."""
        process, etas = VP(0.1, 8.0, 1.0), (0.0, 0.5, 1.0, 2.0)
        found = [float(np.max(coupled(process, 0.49, 1.75, eta, 1.0))) for eta in etas]
        limits = [float(mixture_contraction(process, 0.49, 1.75, eta, 1.0)) for eta in etas]
        for eta, near, limit in zip(etas, found, limits, strict=True):
            yield f"eta = {eta}", near, limit
        for (near, more), (limit, later) in zip(pairwise(found), pairwise(limits), strict=True):
            yield "falls, and its bound grows", float(more < near and later > limit), 0.0

    @figure
    def contraction(mixture_contraction):
        """The factor of the bound against the stochasticity (VP, v = 1, components within R of the origin):
        near ones forget the prior the faster the more noise; for distant ones the bound grows."""
        from matplotlib.figure import Figure

        drawn, etas = Figure(), np.linspace(0.0, 2.5, 100)
        axes = drawn.subplots()
        for radius in (0.0, 1.0, 1.5, 2.0, 2.2):
            axes.semilogy(
                etas,
                [float(mixture_contraction(VP(0.1, 8.0, 1.0), 1.0, radius, float(eta), 1.0)) for eta in etas],
                label=f"R = {radius:g}",
            )
        axes.axhline(1.0, linewidth=0.5, color="grey")
        axes.set(xlabel="η", ylabel="contraction from T to 0", ylim=(1e-6, 1e3))
        axes.legend(frameon=False)
        return drawn

    mutants = {
        "as one Gaussian": wrong(mixture_contraction, radius=lambda radius: 0.0 * radius),
        "diameter for radius": wrong(mixture_contraction, radius=lambda radius: 2.0 * radius),
        "squared": wrong(mixture_contraction, lambda value: value**2),
        "a larger constant of the mixture": wrong(mixture_monotonicity, lambda value: 1.01 * value),
    }
