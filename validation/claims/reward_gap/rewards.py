"""Claims on rewards, the laws that they tilt, the gaps of d-dimensional data, and their rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from driftproof.theory.laws import Gaussian, GaussianMixture
from driftproof.theory.processes import VE, VP, Flow
from driftproof.theory.reward_gap import leading_gaps, reward_gap, terminal_law, terminal_moments
from driftproof.theory.rewards import Linear, Quadratic, tilted
from driftproof.validation import Rate, boundary, claim, exact, figure, grid, rate, rows
from driftproof.validation.mutants import wrong

from .scores import exploding
from .textbook import Floats, integral, schedule

C = np.asarray([0.7, -1.2])
Q = np.asarray([[1.5, 0.4], [0.4, -0.3]])
DATA = Gaussian([0.8, -0.5], [[0.9, 0.35], [0.35, 0.4]])
MIXTURE = GaussianMixture(
    [0.3, 0.7], [[1.0, 0.0], [-0.5, 2.0]], [[[0.5, 0.1], [0.1, 0.3]], [[0.2, 0.0], [0.0, 1.0]]]
)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(12)


@claim(
    "REWARD-GAP-REWARD-1",
    "Linear and quadratic rewards: slopes and expectations",
    r"""
    r(x) = c \cdot x - \tfrac12 x^\top Q x: \quad \nabla r = c - Q x, \qquad
    E\,r(X) = c \cdot m - \tfrac12 (m^\top Q m + \mathrm{tr}\,Q C)
    """,
    covers=[Quadratic, Linear],
    hypotheses=[r"Q = Q^\top"],
)
class Rewards:
    @exact(1e-12)
    def expectation_by_quadrature(Quadratic, Linear):
        # Gauss-Hermite rules of order 12 are exact for polynomials of the second degree.
        reward = Quadratic(C, Q)
        z = np.stack(np.meshgrid(NODES, NODES), axis=-1)
        w = np.outer(WEIGHTS, WEIGHTS) / (2.0 * math.pi)
        parts = zip(MIXTURE.weights, MIXTURE.means, MIXTURE.covs, strict=True)
        want = sum(p * np.sum(w * value(m + z @ np.linalg.cholesky(c).T)) for p, m, c in parts)
        yield "mixture", reward.expectation(MIXTURE), want
        x = DATA.mean + z @ np.linalg.cholesky(DATA.cov).T
        yield "Gaussian", reward.expectation(DATA), np.sum(w * reward.value(x))
        yield "linear", Linear(C).expectation(DATA), np.sum(w * Linear(C).value(x))

    @exact(1e-9)
    def gradient_by_differences(Quadratic, Linear):
        # Central differences of a quadratic are exact up to rounding.
        x = np.asarray([[0.3, -2.0], [1.0, 0.5]])
        for reward in (Quadratic(C, Q), Linear(C)):
            steps = [(reward.value(x + e) - reward.value(x - e)) / 2e-3 for e in 1e-3 * np.eye(2)]
            yield f"{type(reward).__name__}", reward.gradient(x), np.stack(steps, axis=-1)
        yield "value", Quadratic(C, Q).value(x), value(x)

    refuses = [(Quadratic, C, np.asarray([[1.0, 1.0], [0.0, 1.0]])), (Quadratic, C, np.eye(3))]

    mutants = {
        "without the half": wrong(Quadratic, Q=lambda Q: 2.0 * Q),
        "curvature of the wrong sign": wrong(Quadratic, Q=lambda Q: -Q),
        "expectation at the mean": wrong(
            Quadratic,
            lambda value: SimpleNamespace(
                value=value.value,
                gradient=value.gradient,
                expectation=lambda law: value.value(law.mean),
            ),
        ),
    }


def value(x: Floats) -> Floats:
    """The quadratic reward, coordinate by coordinate."""
    a, b = x[..., 0], x[..., 1]
    bent = Q[0, 0] * a * a + 2.0 * Q[0, 1] * a * b + Q[1, 1] * b * b
    return np.asarray(C[0] * a + C[1] * b - 0.5 * bent)


def tilted_power(k: int, c: float, q: float, beta: float) -> Callable[[float], float]:
    """A power of x times the density of N(0.3, 0.6), up to a constant, tilted by a reward."""
    return lambda x: x**k * math.exp(-((x - 0.3) ** 2) / 1.2 + (c * x - q * x * x / 2) / beta)


@claim(
    "REWARD-GAP-TILT-1",
    "The optimum of reward with a KL penalty",
    r"""
    p^* \propto p\,e^{r/\beta} = N(m^*, P^{*-1}), \qquad P^* = C^{-1} + Q/\beta, \quad
    P^* m^* = C^{-1} m + c/\beta
    """,
    covers=[tilted],
    hypotheses=[r"\beta > 0", r"C^{-1} + Q/\beta \succ 0"],
)
class Tilt:
    @exact(1e-12, over=rows("c, q, beta", ((0.8, 1.5, 0.4), (0.8, -0.3, 1.0), (-2.0, 0.0, 0.5))))
    def moments_by_quadrature(tilted, c, q, beta):
        best = tilted(Gaussian([0.3], [[0.6]]), Quadratic([c], [[q]]), beta)
        powers = [integral(tilted_power(k, c, q, beta), -15.0, 15.0) for k in range(3)]
        first, second = powers[1] / powers[0], powers[2] / powers[0]
        yield "mean", best.mean[0], first
        yield "variance", best.cov[0, 0], second - first**2

    @exact(1e-12, over=grid(reward=(Quadratic(C, Q), Linear(C)), beta=(0.5, 2.0)))
    def its_score_is_the_score_plus_the_slope(tilted, reward, beta):
        x = np.asarray([[0.3, -2.0], [1.0, 0.5], [0.0, 0.0]])
        return tilted(DATA, reward, beta).score(x), DATA.score(x) + reward.gradient(x) / beta

    refuses = [(tilted, DATA, Quadratic(C, -10.0 * np.eye(2)), 1.0), (tilted, DATA, Linear(C), 0.0)]

    @exact(1e-13)
    def a_law_on_a_line_is_tilted_along_it(tilted):
        """N(m, a a^T) is m + a Z, and the reward a quadratic function of Z."""
        a, m = np.asarray([1.0, 2.0]), np.asarray([0.5, -0.3])
        for q in (np.zeros((2, 2)), np.asarray([[1.0, 0.2], [0.2, 0.5]])):
            reward, beta = Quadratic(C, q) if q.any() else Linear(C), 0.7
            found = tilted(Gaussian(m, np.outer(a, a)), reward, beta)
            spread = 1.0 / (1.0 + a @ q @ a / beta)
            yield "mean", found.mean, m + a * spread * (a @ (np.asarray(C) - q @ m)) / beta
            yield "covariance", found.cov, spread * np.outer(a, a)

    mutants = {
        "beta squared": wrong(tilted, beta=lambda beta: beta**2),
        "against the reward": wrong(
            tilted,
            reward=lambda reward: (
                Linear(-reward.c) if isinstance(reward, Linear) else Quadratic(-reward.c, reward.Q)
            ),
        ),
        "old covariance": wrong(tilted, lambda value, law: Gaussian(value.mean, law.cov)),
    }


@cache
def arrival(process: Any, eta: float, kappa: float) -> tuple[Floats, Floats]:
    """Mean and covariance of the samples for DATA, by the matrix equations in the given coordinates."""
    of, half = schedule(process), (1 + eta * eta) / 2

    def equations(tau: float, y: Floats) -> Floats:
        t = process.T - tau
        m, v = y[:2], y[2:].reshape(2, 2)
        pull = half * of.g2(t) * kappa * np.linalg.inv(of.alpha(t) ** 2 * DATA.cov + of.noise(t) * np.eye(2))
        dm = -of.f(t) * m - pull @ (m - of.alpha(t) * DATA.mean)
        drift = -of.f(t) * np.eye(2) - pull
        dv = drift @ v + v @ drift.T + eta**2 * of.g2(t) * np.eye(2)
        return np.concatenate([dm, dv.reshape(-1)])

    prior = 1.0 if isinstance(process, VP) else of.noise(process.T)
    start = np.concatenate([np.zeros(2), (prior * np.eye(2)).reshape(-1)])
    y = solve_ivp(equations, (0.0, process.T), start, method="DOP853", rtol=1e-11, atol=1e-13).y[:, -1]
    return y[:2], y[2:].reshape(2, 2)


SCHEDULES = (VP(0.1, 3.0, 1.0), VE(0.3, 2.0, 1.0))


@claim(
    "REWARD-GAP-LAW-1",
    "The gap between SDE and ODE of Gaussian data on R^d",
    r"""
    \mathrm{gap}(\eta) = E\,r(Y_0^0) - E\,r(Y_0^\eta), \qquad
    Y_0 \sim N\big(U\,E(U^\top m),\; U\,\mathrm{diag}(Var)\,U^\top\big), \quad
    C = U\,\mathrm{diag}(v)\,U^\top
    """,
    covers=[reward_gap, terminal_law],
    hypotheses=[r"r \text{ linear or quadratic}", r"Y_T \sim N(0, V_p I)"],
)
class Gap:
    @exact(
        1e-9,
        over=grid(
            process=SCHEDULES, kappa=(1.0, 1.2), reward=(Linear(C), Quadratic(C, Q)), eta=(0.5, 1.0, 2.0)
        ),
    )
    def matrix_equations(reward_gap, process, kappa, reward, eta):
        ode, sde = (arrival(process, e, kappa) for e in (0.0, eta))
        spread = np.sum(Q * (ode[1] - sde[1])) if isinstance(reward, Quadratic) else 0.0
        want = reward.value(ode[0]) - reward.value(sde[0]) - 0.5 * spread
        return reward_gap(process, DATA, reward, eta, 0.0, None, kappa), want

    @exact(1e-9, over=grid(process=SCHEDULES))
    def laws(terminal_law, process):
        law = terminal_law(process, DATA, 0.5, None, 1.2)
        mean, cov = arrival(process, 0.5, 1.2)
        yield "mean", law.mean, mean
        yield "covariance", law.cov, cov

    @exact(1e-12)
    def none_where_there_is_no_mismatch(reward_gap):
        for eta in (0.3, 1.0, 2.0):
            yield "flow", reward_gap(Flow(), DATA, Quadratic(C, Q), eta), 0.0
            yield "same eta", reward_gap(SCHEDULES[0], DATA, Quadratic(C, Q), eta, eta), 0.0
        yield "found", reward_gap(SCHEDULES[0], DATA, Linear(C), 1.0) == 0.0, False

    @figure
    def gaps(reward_gap):
        """Size of the gap of the linear reward against the horizon: VE with noise variance T loses like
        one over the root of T, VP exponentially. Dotted: leading terms."""
        from matplotlib.figure import Figure

        data, reward, horizons = Gaussian([1.0], [[0.49]]), Linear([1.0]), np.logspace(0, 4, 40)
        drawn = Figure(figsize=(6.4, 3.2))
        left, right = drawn.subplots(1, 2)
        for eta in (0.5, 1.0, 2.0):
            exploded = [abs(float(reward_gap(exploding(h), data, reward, eta))) for h in horizons]
            left.loglog(horizons, exploded, label=f"η = {eta:g}")
            spent = np.linspace(0.5, 12.0, 40)
            kept = [abs(float(reward_gap(VP(b, b, 1.0), data, reward, eta))) for b in spent]
            right.semilogy(spent, kept)
        left.loglog(horizons, 0.7 / np.sqrt(horizons), "k:")
        right.semilogy(spent, 0.7 * np.exp(-spent / 2), "k:")
        left.set(xlabel="noise variance at T", ylabel="|gap|", title="VE")
        right.set(xlabel="integral of β", title="VP")
        left.legend(frameon=False)
        return drawn

    mutants = {
        "SDE less ODE": wrong(reward_gap, lambda value: -value),
        "kappa ignored": wrong(reward_gap, kappa=lambda: 1.0),
        "gap at the mean": wrong(
            reward_gap, reward=lambda reward, data: Linear(reward.gradient(0.0 * data.mean))
        ),
        "coordinates taken as independent": wrong(
            reward_gap, data=lambda data: Gaussian(data.mean, np.diag(np.diag(data.cov)))
        ),
    }


@claim(
    "REWARD-GAP-RATE-1",
    "Rates of the gap with their constants",
    r"""
    \Delta E \sim -m \sqrt v\,\frac{\alpha_T}{\sigma_T}, \quad
    \Delta Var \sim v (k - v) \frac{\alpha_T^2}{\sigma_T^2} \;\;\forall \eta > 0: \qquad
    \text{VE: } T^{-1/2},\, T^{-1}; \quad \text{VP: } e^{-\frac12\int\beta},\, e^{-\int\beta}
    """,
    covers=[leading_gaps],
    hypotheses=[r"\hat s = s", r"\eta > 0", r"\text{VE: } \sigma_T^2 = T,\, k = 0; \text{ VP: } k = 1"],
)
class Rates:
    """Local orders between horizons a factor 4 apart (VE) and integrals of beta log 4 apart (VP)."""

    @rate()
    def exploding_variance(leading_gaps):
        # The next term is smaller by q^(eta^2/2), with q = 5e-8: 2e-4 for eta = 1.
        for eta in (1.0, 1.5, 2.0):
            far = [0.25e7, 1e7]
            found = [gap(exploding(h), eta) for h in far]
            leading = [float(part) for part in leading_gaps(exploding(far[1]), 0.8, 0.49)]
            for k, order in enumerate((0.5, 1.0)):
                local = math.log(found[0][k] / found[1][k]) / math.log(far[1] / far[0])
                scale = far[1] ** order
                yield Rate([local], order, 2e-3, found[1][k] * scale, leading[k] * scale, 2e-3)

    @rate()
    def preserved_variance(leading_gaps):
        for eta in (1.0, 1.5, 2.0):
            spent = [16.0 - math.log(4.0), 16.0]
            found = [gap(VP(b, b, 1.0), eta) for b in spent]
            leading = [float(part) for part in leading_gaps(VP(spent[1], spent[1], 1.0), 0.8, 0.49)]
            for k, order in enumerate((0.5, 1.0)):
                local = math.log(found[0][k] / found[1][k]) / (spent[1] - spent[0])
                scale = math.exp(order * spent[1])
                yield Rate([local], order, 2e-3, found[1][k] * scale, leading[k] * scale, 2e-3)

    @exact(0.0)
    def the_gap_grows_with_eta_and_settles(leading_gaps):
        """And its limit is the error of the ODE itself: the SDE has none left."""
        process = exploding(100.0)
        gaps = [gap(process, eta)[0] for eta in (0.0, 0.3, 0.7, 1.0, 1.5, 2.0)]
        yield "grows", all(a > b for a, b in pairwise(gaps)), True
        error = float(terminal_moments(process, 0.8, 0.49, 0.0)[0]) - 0.8
        yield "bounded by the ODE's error", gaps[-1] > error, True
        yield (
            "leading term within its square",
            abs(error - float(leading_gaps(process, 0.8, 0.49)[0])) < 1e-2,
            True,
        )

    @boundary()
    def at_eta_zero_there_is_no_gap(leading_gaps):
        process = exploding(100.0)
        yield "means", gap(process, 0.0)[0], float(leading_gaps(process, 0.8, 0.49)[0])

    mutants = {
        "deviation for variance": wrong(leading_gaps, lambda value: (value[0] * 0.49**0.5, value[1])),
        "sign of the gap of variances": wrong(leading_gaps, lambda value: (value[0], -value[1])),
        "signal for its root": wrong(leading_gaps, lambda value: (value[0] ** 2, value[1])),
        "without the mean": wrong(leading_gaps, mean=lambda: 1.0),
    }


def gap(process: Any, eta: float) -> tuple[float, float]:
    """Gaps of mean and variance of data with mean 0.8 and variance 0.49."""
    ode, sde = (terminal_moments(process, 0.8, 0.49, e) for e in (0.0, eta))
    return float(ode[0] - sde[0]), float(ode[1] - sde[1])
