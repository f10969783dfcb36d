"""Claims on the parts of a policy gradient: advantages, the clipped surrogate, KL per step."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from driftproof.numerics.reward_gap import (
    clipped_surrogate,
    group_advantages,
    running_advantages,
    step_kl,
    update_statistics,
)
from driftproof.numerics.samplers import step_log_prob
from driftproof.validation import Thing, claim, exact, grid
from driftproof.validation.mutants import wrong

ARMS = np.asarray([0.5, 0.3, 0.2])  # probabilities of a softmax policy
REWARDS = np.asarray([1.0, -2.0, 0.7])
EXACT = ARMS * (REWARDS - ARMS @ REWARDS)  # d E r / d logits


def mean_gradient(advantages: Callable[[Any], Any], group: int, rewards: Any = REWARDS) -> Any:
    """Expectation of the mean over a group of advantage times score, over all of its outcomes."""
    total = np.zeros(3)
    for arms in product(range(3), repeat=group):
        scores = np.eye(3)[list(arms)] - ARMS
        total += np.prod(ARMS[list(arms)]) * advantages(rewards[list(arms)]) @ scores / group
    return total


@claim(
    "REWARD-GAP-ADVANTAGE-1",
    "The mean of the others is unbiased; that of the group shrinks the gradient",
    r"""
    E\,\frac1G\sum_i A_i \nabla\log\pi(a_i) = \nabla E\,r \;\text{ (others)}, \qquad
    \Big(1 - \frac1G\Big)\,\nabla E\,r \;\text{ (group)}
    """,
    covers=[group_advantages],
    hypotheses=[r"a_1, \dots, a_G \text{ independent}", r"G \ge 2", r"\text{no division by } s"],
)
class Advantages:
    """Every outcome of a group of a three-armed bandit is enumerated. Equal actions in place of independent
    ones have no gradient at all, and with the division by s the gradient no longer knows the unit of rewards."""

    @exact(1e-14, over=grid(group=(2, 3, 5)))
    def over_all_outcomes(group_advantages, group):
        others = mean_gradient(lambda r: group_advantages(r, "others", False), group)
        yield "others", others, EXACT
        whole = mean_gradient(lambda r: group_advantages(r, "group", False), group)
        yield "group", whole, EXACT * (1.0 - 1.0 / group)

    @exact(1e-13, over=grid(rewards=([1, 2, 6], [-3, 5, 5, 11])))
    def in_units_of_the_sample_deviation(group_advantages, rewards):
        n = len(rewards)
        mean = Fraction(sum(rewards), n)
        variance = sum((r - mean) ** 2 for r in rewards) / (n - 1)
        want = [float(r - mean) / math.sqrt(variance) for r in rewards]
        return group_advantages(np.asarray(rewards, dtype=float), "group", True), want

    @exact(1e-14)
    def the_hypotheses_are_needed(group_advantages):
        equal = sum(
            p * group_advantages(np.full(2, r), "others", False)[0]
            for p, r in zip(ARMS, REWARDS, strict=True)
        )
        yield "equal actions", equal, 0.0
        one, ten = (
            mean_gradient(lambda r: group_advantages(r, "others", True), 3, k * REWARDS) for k in (1.0, 10.0)
        )
        yield "rewards in tenths", ten, one

    refuses = [(group_advantages, np.ones((4, 1)))]

    mutants = {
        "baselines exchanged": wrong(
            group_advantages, baseline=lambda baseline: "group" if baseline == "others" else "others"
        ),
        "no baseline": wrong(
            group_advantages, lambda value, rewards, scale: value + (rewards if not scale else 0.0)
        ),
        "population deviation": wrong(
            group_advantages,
            lambda value, rewards, scale: (
                value * ((rewards.size / (rewards.size - 1.0)) ** 0.5 if scale else 1.0)
            ),
        ),
    }


def running(
    update: Thing, advantages: Thing, rewards: Any, history: Any, least: float = 2.0, scale: bool = False
) -> Any:
    """Advantages of a batch of one prompt after its history, batch by batch."""
    state = (np.zeros(1), np.zeros(1), np.zeros(1))
    for batch in (*history, rewards):
        state = update(*state, np.asarray(batch), np.ones((len(batch), 1)), 1.0)
    return advantages(rewards, np.ones((len(rewards), 1)), *state, least, scale)


HISTORY = ([0.4, -1.0], [3.0], [0.1, 0.1, 2.5])


@claim(
    "REWARD-GAP-ADVANTAGE-2",
    "Statistics that run on are those of all rewards seen, and leave the gradient unbiased",
    r"""
    A_i = r_i - \frac1{n-1}\sum_{j \ne i} r_j \;\text{ over all } n \text{ rewards seen}: \qquad
    E\,\frac1B\sum_i A_i\nabla\log\pi(a_i) = \nabla E\,r
    """,
    covers=[update_statistics, running_advantages],
    hypotheses=[r"\gamma = 1", r"\text{no division by } s", r"\text{the rewards before are given}"],
)
class RunningAdvantages:
    """The sums over all other rewards in rational arithmetic, and all outcomes of a batch of the bandit."""

    @exact(1e-14)
    def all_others(update_statistics, running_advantages):
        batch, pair = np.asarray([1.0, -2.0, 0.75, 4.5]), (update_statistics, running_advantages)
        seen = [Fraction(r) for b in (*HISTORY, batch) for r in b]
        total, n = sum(seen), len(seen)
        want = [float(Fraction(r) - (total - Fraction(r)) / (n - 1)) for r in batch]
        yield "advantages", running(*pair, batch, HISTORY), want
        variance = sum((r - total / n) ** 2 for r in seen) / (n - 1)
        scaled = [w / math.sqrt(variance) for w in want]
        yield "in deviations", running(*pair, batch, HISTORY, scale=True), scaled

    @exact(1e-14, over=grid(batch=(1, 3)))
    def over_all_outcomes(update_statistics, running_advantages, batch):
        given = lambda rewards: running(update_statistics, running_advantages, rewards, HISTORY)
        return mean_gradient(given, batch), EXACT

    mutants = {
        "the mean contains the reward": wrong(
            running_advantages, lambda value, count: value * (1.0 - 1.0 / count)
        ),
        "the history is forgotten": wrong(update_statistics, decay=lambda: 0.0),
        "the last batch counts twice": wrong(
            running_advantages,
            lambda rewards, members, count, mean, squares, least, scale: running_advantages(
                rewards,
                members,
                *update_statistics(count, mean, squares, rewards, members, 1.0),
                least,
                scale,
            ),
        ),
    }


@claim(
    "REWARD-GAP-SURROGATE-1",
    "The clipped surrogate is pessimistic, and its gradient ends where it says so",
    r"""
    L = u A - |A|\,\big(\mathrm{sgn}(A)(u - 1) - c\big)_+ \le u A, \qquad
    \partial_{\log u} L = u A\;1[\mathrm{sgn}(A)(u - 1) \le c]
    """,
    covers=[clipped_surrogate],
    hypotheses=[r"0 < c < 1", r"|\log u| \le 20"],
)
class Surrogate:
    """Without the hypothesis on u the surrogate stands still at exp(20) A for A < 0, and says so."""

    @exact(1e-14)
    def what_the_clip_takes_away(clipped_surrogate):
        log_u, a = (part.ravel() for part in np.meshgrid(np.linspace(-1.5, 1.5, 61), [-2.0, -0.3, 0.0, 1.7]))
        for clip in (1e-4, 0.2, 0.9):
            u = np.exp(log_u)
            over = np.maximum(np.sign(a) * (u - 1.0) - clip, 0.0)
            surrogate, clipped = clipped_surrogate(log_u - 0.7, 0.0 * a - 0.7, a, clip)
            yield f"value, c = {clip}", surrogate, u * a - np.abs(a) * over
            yield f"clipped, c = {clip}", clipped, np.where((over > 0.0) & (a != 0.0), 1.0, 0.0)

    @exact(1e-9)
    def its_slope(clipped_surrogate):
        # Central differences of step 1e-5, none across a corner: third derivatives below 10 leave 2e-10.
        log_u, h = np.asarray([-1.0, -0.3, 0.0, 0.1, 0.3, 1.0]), 1e-5
        for sign in (-1.0, 1.0):
            a = sign * 1.3 * np.ones_like(log_u)
            up, down = (clipped_surrogate(log_u + k * h, 0.0 * a, a, 0.2)[0] for k in (1.0, -1.0))
            free = sign * (np.exp(log_u) - 1.0) <= 0.2
            yield f"sign {sign:g}", (up - down) / (2.0 * h), np.where(free, np.exp(log_u) * a, 0.0)

    @exact(1e-14)
    def beyond_the_hypothesis(clipped_surrogate):
        surrogate, clipped = clipped_surrogate(np.asarray([25.0]), np.asarray([0.0]), np.asarray([-1.0]), 0.2)
        yield "stands still", surrogate / math.exp(20.0), [-1.0]
        yield "and says so", clipped, [1.0]

    refuses = [(clipped_surrogate, np.zeros(1), np.zeros(1), np.ones(1), 1.0)]

    mutants = {
        "the larger of both": wrong(
            clipped_surrogate,
            lambda value, logp, old_logp, advantage, clip: (
                -clipped_surrogate(logp, old_logp, -advantage, clip)[0],
                value[1],
            ),
        ),
        "ratio upside down": wrong(
            clipped_surrogate, logp=lambda old_logp: old_logp, old_logp=lambda logp: logp
        ),
        "twice the range": wrong(clipped_surrogate, clip=lambda clip: min(2.0 * clip, 0.99)),
        "never called clipped": wrong(
            clipped_surrogate, lambda value, advantage: (value[0], 0.0 * advantage)
        ),
    }


NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(6)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
# Two chains x' = gain x + offset + spread z from the same N(0, 1): three steps, one noise level a step.
CHAIN, OTHER = ((0.9, 0.2), (0.7, -0.1), (1.1, 0.3)), ((0.8, 0.0), (0.7, 0.4), (0.9, 0.3))
SPREADS = (0.5, 0.8, 0.3)


def path_law(chain: Any) -> tuple[Any, Any]:
    """Mean and covariance of (x_0, ..., x_3)."""
    mean, roots = np.zeros(4), np.zeros((4, 4))
    roots[0, 0] = 1.0
    for k, ((gain, offset), spread) in enumerate(zip(chain, SPREADS, strict=True)):
        mean[k + 1] = gain * mean[k] + offset
        roots[k + 1] = gain * roots[k]
        roots[k + 1, k + 1] = spread
    return mean, roots @ roots.T


@claim(
    "REWARD-GAP-KL-3",
    "The divergences of the steps add up to that of the paths",
    r"""
    KL(P \| Q) = \sum_k E_P\,\frac{|m_k - m'_k|^2}{2\varsigma_k^2}, \qquad
    \frac{|m - m'|^2}{2\varsigma^2} = E_p \log\frac{p}{q}
    """,
    covers=[step_kl],
    hypotheses=[r"\text{the same start, the same } \varsigma_k > 0"],
)
class StepKL:
    """Beside the sum stands the divergence of two Gaussian vectors, the states of both chains; beside one step
    the mean log-ratio of its densities, by Gauss-Hermite rules that are exact for it."""

    @exact(1e-13)
    def paths(step_kl):
        (m, cov), (other, other_cov) = path_law(CHAIN), path_law(OTHER)
        inverse = np.linalg.inv(other_cov)
        logs = np.linalg.slogdet(other_cov)[1] - np.linalg.slogdet(cov)[1]
        want = 0.5 * (np.trace(inverse @ cov) - 4.0 + (other - m) @ inverse @ (other - m) + logs)
        total = 0.0
        for k, spread in enumerate(SPREADS):
            x = (m[k] + cov[k, k] ** 0.5 * NODES)[:, None]
            means = [chain[k][0] * x + chain[k][1] for chain in (CHAIN, OTHER)]
            total += float(WEIGHTS @ step_kl(*means, np.asarray(spread)))
        yield "three steps", total, want

    @exact(1e-13)
    def mean_log_ratio(step_kl):
        mean, other, std = np.asarray([[0.3, -1.0]]), np.asarray([[-0.5, 0.4]]), np.asarray(0.7)
        z = np.stack([part.ravel() for part in np.meshgrid(NODES, NODES)], axis=1)
        x, like = mean + std * z, np.zeros_like(z)
        ratio = step_log_prob(x, mean + like, std) - step_log_prob(x, other + like, std)
        yield "two coordinates", step_kl(mean, other, std)[0], np.outer(WEIGHTS, WEIGHTS).ravel() @ ratio

    refuses = [(step_kl, np.ones((1, 2)), np.zeros((1, 2)), 0.0)]

    mutants = {
        "mean over coordinates": wrong(step_kl, lambda value, mean: value / math.prod(mean.shape[1:])),
        "without a half": wrong(step_kl, lambda value: 2.0 * value),
        "deviation for variance": wrong(step_kl, lambda value, std: std * value),
    }
