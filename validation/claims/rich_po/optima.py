r"""The optimum: the tilt, its regression from any pairs, what edits leave of it, and proxies optimised too far."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from driftproof.numerics.rich_po import fit_pairs
from driftproof.theory.laws import Gaussian, kl
from driftproof.theory.rewards import Linear, Quadratic, tilted
from driftproof.theory.rich_po import captured_gain, gold_gain, implicit_reward, optimal_value, peak_penalty
from driftproof.validation import boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

from .textbook import COV, REWARD, expit, normal_grid

__all__ = ["AnyPairs", "Edits", "Proxy", "Tilt"]

MEAN = np.asarray([0.3, -0.2])
LAW = Gaussian(MEAN, COV)
BENT = Quadratic([0.5, 0.2], [[0.6, 0.1], [0.1, 0.9]])
REWARDS = (Linear(REWARD), BENT, Quadratic([0.4, -0.3], [[-0.2, 0.0], [0.0, 0.3]]))
POINTS = np.asarray([[0.0, 0.0], [1.0, -2.0], [-3.0, 0.7]])


@claim(
    "RICH-PO-TILT-1",
    "The tilted law carries the reward as its log-ratio, and its value is a log-moment",
    r"""p^* \propto p\,e^{r/\beta}: \qquad \beta\log\frac{p^*(x)}{p(x)} = r(x) - J^*, \qquad
        J^* = \beta\log E_p\,e^{r/\beta} = E_{p^*} r - \beta\,KL(p^* \Vert p)""",
    covers=[tilted, implicit_reward, optimal_value],
    hypotheses=[r"I + CQ/\beta \succ 0"],
)
class Tilt:
    @exact(1e-12, over=grid(reward=REWARDS, beta=(0.5, 1.0, 7.0)))
    def the_reward_comes_back(tilted, implicit_reward, reward, beta):
        """Up to a constant, which the moment below gives."""
        got = implicit_reward(tilted(LAW, reward, beta), LAW, beta, POINTS)
        want = reward.value(POINTS)
        return got - got[0], want - want[0]

    @exact(1e-11, over=grid(reward=REWARDS, beta=(0.7, 1.0, 7.0)))
    def the_constant_by_quadrature(optimal_value, implicit_reward, reward, beta):
        x, weights = normal_grid(COV, step=0.2, reach=14.0)
        moment = beta * math.log(float(weights @ np.exp(reward.value(MEAN + x) / beta)))
        yield "log-moment", optimal_value(LAW, reward, beta), moment
        best = tilted(LAW, reward, beta)
        yield "reward less penalty", moment, reward.expectation(best) - beta * kl(best, LAW)
        yield "log-ratio", implicit_reward(best, LAW, beta, POINTS), reward.value(POINTS) - moment

    @exact(1e-14)
    def a_law_on_a_line(optimal_value):
        flat = Gaussian([1.0, 0.0], [[1.0, 0.0], [0.0, 0.0]])
        return optimal_value(flat, Quadratic([0.0, 3.0], [[0.0, 0.0], [0.0, 2.0]]), 1.0), 0.0

    refuses = [
        (optimal_value, LAW, Quadratic([0.0, 0.0], [[-9.0, 0.0], [0.0, 0.0]]), 1.0),
        (optimal_value, LAW, BENT, 0.0),
        (implicit_reward, LAW, LAW, -1.0, POINTS),
    ]

    mutants = {
        "half of the pull": wrong(tilted, beta=lambda beta: 2.0 * beta),
        "reference over policy": wrong(implicit_reward, lambda value: -value),
        "log-ratio without beta": wrong(implicit_reward, lambda value, beta: value / (2.0 * beta)),
        "reward of the optimum, unpenalised": wrong(
            optimal_value, lambda law, reward, beta: reward.expectation(tilted(law, reward, beta))
        ),
        "reward at the mean": wrong(optimal_value, lambda law, reward: reward.value(law.mean)),
    }


def _pair_laws():
    rng = np.random.default_rng(3)
    yield "three pairs", np.asarray([[1.0, 0.0], [0.5, 2.0], [-3.0, 1.0]]), np.asarray([1.0, 2.0, 0.3])
    yield "skewed, all ahead", np.abs(rng.normal(size=(40, 2))) + 0.1, rng.uniform(0.1, 3.0, size=40)
    x, weights = normal_grid(2.0 * COV, step=0.8, reach=5.0)
    yield "random pairs", x, weights
    yield "large gaps alone", x[np.abs(x @ REWARD) > 2.0], weights[np.abs(x @ REWARD) > 2.0]


@claim(
    "RICH-PO-DPO-1",
    "Curation cannot move the optimum of DPO, as long as the pairs span the space",
    r"""P(x_w \succ x_l) = \sigma(w^\top\Delta) \;\Longrightarrow\; \theta = w
        \;\; \mathrm{for\;every\;law\;of}\;\Delta\;\mathrm{of\;full\;rank}, \qquad \mu - \mu_0 = S_0 w/\beta""",
    covers=[fit_pairs],
    hypotheses=[r"\mathrm{span}\,\Delta = R^d", r"\mathrm{Bradley-Terry\;labels}"],
)
class AnyPairs:
    @exact(1e-11)
    def every_law_of_pairs(fit_pairs):
        for label, delta, weights in _pair_laws():
            theta = fit_pairs(delta, expit(delta @ REWARD), weights)
            yield label, theta, REWARD
            shift = tilted(LAW, Linear(REWARD), 2.0).mean - MEAN
            yield f"{label}, the tilt", COV @ theta / 2.0, shift

    @exact(1e-6)
    def wins_that_no_reward_explains(fit_pairs):
        """There the weights count: against an optimiser that knows nothing of the structure."""
        for label, delta, weights in _pair_laws():
            wins = 0.5 + 0.45 * np.sin(1.0 + 3.0 * np.arange(len(delta)))
            share = weights / weights.sum()

            def loss(theta, delta=delta, wins=wins, share=share):
                h = delta @ theta
                value = share @ (np.logaddexp(0.0, -h) + (1.0 - wins) * h)
                return value, (share * (expit(h) - wins)) @ delta

            best = minimize(loss, np.zeros(2), jac=True, tol=1e-13)
            yield label, fit_pairs(delta, wins, weights), best.x

    @boundary(0.05)
    def pairs_in_a_line_do_not_span(fit_pairs):
        delta = np.asarray([[1.0, 0.0], [2.0, 0.0]])
        return fit_pairs(delta, expit(delta @ REWARD)), REWARD

    # What some direction separates has no optimum; no pair differs; wins are probabilities.
    refuses = [
        (fit_pairs, [[1.0, 0.0], [2.0, 1.0]], [1.0, 1.0]),
        (fit_pairs, [[0.0, 0.0]], [0.5]),
        (fit_pairs, [[1.0, 0.0]], [1.5]),
        (fit_pairs, [[1.0, 0.0]], [0.5, 0.5]),
    ]

    mutants = {
        "losers for winners": wrong(fit_pairs, wins=lambda wins: 1.0 - np.asarray(wins)),
        "weights forgotten": wrong(fit_pairs, weights=lambda: None),
        "one image for the difference": wrong(fit_pairs, lambda value: 0.5 * value),
        "least squares": wrong(
            fit_pairs,
            lambda differences, wins: np.linalg.lstsq(
                np.asarray(differences), 4.0 * (np.asarray(wins) - 0.5), rcond=None
            )[0],
        ),
    }


@claim(
    "RICH-PO-EDITS-1",
    "Edits capture exactly the projected gain",
    r"""\theta_\infty = P_E w, \qquad \frac{w^\top(\mu_\infty - \mu_0)}{w^\top(\mu^* - \mu_0)} = \frac{w^\top S_0 P_E w}{w^\top S_0 w}""",
    covers=[captured_gain, fit_pairs],
    hypotheses=[r"\Delta \in E", r"\theta_0 = 0", r"\mathrm{Bradley-Terry\;labels}"],
)
class Edits:
    @exact(1e-8, over=grid(seed=(0, 1, 2)))
    def gradient_descent_from_zero(captured_gain, fit_pairs, seed):
        rng = np.random.default_rng(seed)
        root = rng.normal(size=(3, 3))
        cov, w = root @ root.T + np.eye(3), rng.normal(size=3)
        directions = np.linalg.qr(rng.normal(size=(3, 2)))[0] @ [[1.0, 0.4], [0.0, 1.0]]
        delta = np.asarray([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 1.0]]) @ directions.T
        wins, theta = expit(delta @ w), np.zeros(3)
        length = 4.0 * len(delta) / np.linalg.eigvalsh(delta.T @ delta).max()
        for _ in range(1_000):
            theta = theta + length / len(delta) * delta.T @ (wins - expit(delta @ theta))
        yield "share", captured_gain(cov, w, directions), w @ cov @ theta / (w @ cov @ w)
        yield "coefficient", fit_pairs(delta, wins), theta

    @exact(1e-13)
    def everything_and_nothing(captured_gain):
        yield "all directions", captured_gain(COV, REWARD, np.asarray([[1.0, 3.0], [0.0, 1.0]])), 1.0
        yield "the reward alone", captured_gain(COV, REWARD, REWARD[:, None]), 1.0
        yield "beside the reward", captured_gain(COV, REWARD, np.asarray([[0.9], [0.7]])), 0.0

    @exact(0.0)
    def an_edit_may_lower_the_reward(captured_gain):
        """Correlations of the reference move what the editor does not touch."""
        cov, edit = np.asarray([[1.0, -0.9], [-0.9, 1.0]]), np.asarray([[1.0], [0.0]])
        return captured_gain(cov, np.asarray([0.5, 1.0]), edit) < 0.0, True

    refuses = [
        (captured_gain, COV, REWARD, [[1.0, 2.0], [1.0, 2.0]]),
        (captured_gain, COV, REWARD, [[1.0], [0.0], [0.0]]),
    ]

    mutants = {
        "cosine of the reward": wrong(
            captured_gain,
            lambda w, directions: (
                np.sum((np.linalg.qr(np.asarray(directions))[0].T @ np.asarray(w)) ** 2)
                / (np.asarray(w) @ np.asarray(w))
            ),
        ),
        "projected in the metric of the reference": wrong(
            captured_gain,
            lambda cov, w, directions: _metric_share(*map(np.asarray, (cov, w, directions))),
        ),
        "coefficient doubled": wrong(fit_pairs, lambda value: 2.0 * value),
    }


def _metric_share(cov, w, e):
    part = e @ np.linalg.solve(e.T @ cov @ e, e.T @ cov @ w)
    return (w @ cov @ part) / (w @ cov @ w)


PROXY = np.asarray([1.1, 0.2])


@claim(
    "RICH-PO-PROXY-1",
    "Over-optimisation: the gold reward against the divergence, and where it peaks",
    r"""R - R_0 = A\,d - B\,d^2, \quad d = \sqrt{KL}, \quad A = \frac{\sqrt2\,w^\top S_0 v}{\sqrt{v^\top S_0 v}}, \;
        B = \frac{k\,v^\top S_0^2 v}{v^\top S_0 v}; \qquad \beta^* = k\,\frac{v^\top S_0^2 v}{w^\top S_0 v}""",
    covers=[gold_gain, peak_penalty],
    hypotheses=[r"R(x) = w^\top x - \tfrac k2|x - \mu_0|^2", r"w^\top S_0 v > 0"],
)
class Proxy:
    @exact(1e-12, over=grid(beta=(0.1, 0.7, 5.0), curvature=(0.0, 0.8)))
    def along_the_path_of_tilts(gold_gain, beta, curvature):
        """The policy by completing squares, the divergence by its formula, the gold reward by its moments."""
        policy = tilted(LAW, Linear(PROXY), beta)
        gold = Quadratic(REWARD + curvature * MEAN, curvature * np.eye(2))
        got = gold_gain(kl(policy, LAW), REWARD, PROXY, COV, curvature)
        return got, gold.expectation(policy) - gold.expectation(LAW)

    @exact(1e-6)
    def the_peak_by_search(peak_penalty):
        curvature = 0.4
        gold = Quadratic(REWARD + curvature * MEAN, curvature * np.eye(2))

        def loss(log_beta):
            return -float(gold.expectation(tilted(LAW, Linear(PROXY), math.exp(log_beta))))

        found = minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded", options={"xatol": 1e-10})
        return peak_penalty(REWARD, PROXY, COV, curvature), math.exp(found.x)

    # A proxy along which the gold reward falls has no peak.
    refuses = [
        (peak_penalty, REWARD, -PROXY, COV, 0.4),
        (gold_gain, -1.0, REWARD, PROXY, COV, 0.4),
        (gold_gain, 1.0, REWARD, [1.0], COV, 0.4),
    ]

    mutants = {
        "distance, not its root": wrong(gold_gain, kl=lambda kl: kl * kl),
        "proxy for gold": wrong(gold_gain, w=lambda proxy: proxy),
        "curvature of the proxy's size": wrong(
            gold_gain, curvature=lambda xp, curvature, proxy: curvature * float(xp.sum(proxy * proxy))
        ),
        "covariance once": wrong(peak_penalty, lambda value, xp, cov: value / xp.linalg.trace(cov)),
        "peak of the proxy": wrong(peak_penalty, w=lambda proxy: proxy),
    }
