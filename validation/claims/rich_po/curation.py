r"""Curation policies: moments by grids, the gain by enumeration, and the pipeline's draws against its law."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.integrate import dblquad, quad
from scipy.special import ndtr

from driftproof.numerics.montecarlo import gaussian_test, mean_test
from driftproof.numerics.rich_po import (
    EditingPipeline,
    PairMoments,
    best_of_pairs,
    edited_pairs,
    one_step_gain,
    random_pairs,
    signal_to_noise,
)
from driftproof.theory.laws import Gaussian
from driftproof.validation import Statistic, claim, exact, grid, statistical
from driftproof.validation.mutants import wrong

from .textbook import COV, REWARD, average, expit, normal_grid

__all__ = ["EditedPairMoments", "OneStepGain", "Pipeline", "PolicyMoments"]


def _moments(pairs):
    yield "mean", pairs.mean
    yield "covariance", pairs.cov
    yield "kept", np.asarray(pairs.kept)


def _compared(pairs, mean, second, kept=1.0):
    wanted = (mean, second - np.outer(mean, mean), np.asarray(kept))
    for (label, got), want in zip(_moments(pairs), wanted, strict=True):
        yield label, got, want


@claim(
    "RICH-PO-CURATION-1",
    "Random pairs and the best and worst of k draws: mean and covariance of the labelled difference",
    r"""g = (1 - 2\epsilon)\,\kappa\,S_0w, \; K = 2S_0 - gg^\top; \qquad
        g = \frac{ER_k}{\sqrt G}S_0w, \; K = 2S_0 + \frac{\mathrm{Var}R_k - 2}G S_0ww^\top S_0""",
    covers=[random_pairs, best_of_pairs],
)
class PolicyMoments:
    @exact(1e-12, over=grid(size=(0.3, 1.5), flips=(0.0, 0.2)))
    def labelled_grid(random_pairs, size, flips):
        delta, weights = normal_grid(2.0 * COV)
        w = size * REWARD
        sign = (1.0 - 2.0 * flips) * (2.0 * expit(delta @ w) - 1.0)
        second = (delta * weights[:, None]).T @ delta
        yield from _compared(random_pairs(COV, w, flips), (weights * sign) @ delta, second)

    @exact(1e-7, over=grid(count=(2, 3, 6)))
    def order_statistics(best_of_pairs, count):
        """E R and E R^2 from the distribution function, and what is orthogonal to the reward from two draws."""
        mean = quad(lambda x: 1.0 - ndtr(x) ** count - ndtr(-x) ** count, -10.0, 10.0, epsabs=1e-11)[0]

        def below(y, x):
            return 1.0 - ndtr(y) ** count - ndtr(-x) ** count + max(ndtr(y) - ndtr(x), 0.0) ** count

        square = 2.0 * dblquad(below, -9.0, 9.0, lambda x: x, 9.0, epsabs=1e-8)[0]
        ahead = COV @ REWARD / math.sqrt(REWARD @ COV @ REWARD)
        second = square * np.outer(ahead, ahead) + 2.0 * (COV - np.outer(ahead, ahead))
        yield from _compared(best_of_pairs(COV, REWARD, count), mean * ahead, second)

    @exact(1e-12)
    def two_draws_in_closed_form(best_of_pairs):
        got = best_of_pairs(np.asarray([[4.0]]), np.asarray([-3.0]), 2)
        yield "mean", got.mean, [-4.0 / math.sqrt(math.pi)]
        yield "covariance", got.cov, [[8.0 - 16.0 / math.pi]]

    @exact(1e-9)
    def many_draws(best_of_pairs):
        """E R of 1000, from the integral over the distribution function."""
        want = quad(lambda x: 1.0 - ndtr(x) ** 1000 - ndtr(-x) ** 1000, -10.0, 10.0, epsabs=1e-12, limit=200)[
            0
        ]
        return best_of_pairs(np.asarray([[1.0]]), np.asarray([1.0]), 1000).mean, [want]

    refuses = [
        (random_pairs, COV, REWARD, 0.6),
        (random_pairs, [[1.0, 1.0], [1.0, 1.0]], REWARD),
        (best_of_pairs, COV, REWARD, 1),
        (best_of_pairs, COV, [0.0, 0.0], 3),
    ]

    mutants = {
        "one image's covariance": wrong(random_pairs, lambda value: PairMoments(value.mean, 0.5 * value.cov)),
        "flips once": wrong(random_pairs, flips=lambda flips: 0.5 * flips),
        "labels for sure": wrong(random_pairs, lambda cov, w: best_of_pairs(cov, w, 2)),
        "best less mean": wrong(best_of_pairs, lambda value: PairMoments(0.5 * value.mean, value.cov)),
        "one draw less": wrong(best_of_pairs, count=lambda count: max(2, count - 1) if count > 2 else 3),
    }


EDIT = Gaussian([0.8, 0.5], [[0.6, -0.2], [-0.2, 0.3]])
STRICT = Gaussian([0.8, 0.5], [[0.0, 0.0], [0.0, 0.0]])


@claim(
    "RICH-PO-CURATION-2",
    "Edits by decree, relabelled and filtered: mean and covariance of the labelled difference",
    r"""g = \delta; \qquad g = (1-2\epsilon)\big[\delta E\tanh\tfrac u2 + \tfrac12DwE\,\mathrm{sech}^2\tfrac u2\big]; \qquad
        g = \delta + \frac{(1-2\epsilon)E\sigma'(u)}{\epsilon + (1-2\epsilon)E\sigma(u)}Dw""",
    covers=[edited_pairs],
)
class EditedPairMoments:
    @exact(
        1e-12, over=grid(labels=("decreed", "relabelled", "filtered"), flips=(0.0, 0.15), size=(0.5, -1.5))
    )
    def labelled_grid(edited_pairs, labels, flips, size):
        xi, weights = normal_grid(EDIT.cov)
        delta, w = EDIT.mean + xi, size * REWARD
        wins = flips + (1.0 - 2.0 * flips) * expit(delta @ w)
        sign, kept = np.ones(len(delta)), 1.0
        if labels == "relabelled":
            sign = 2.0 * wins - 1.0
        if labels == "filtered":
            kept = float(weights @ wins)
            weights = weights * wins / kept
        second = (delta * weights[:, None]).T @ delta
        yield from _compared(edited_pairs(EDIT, w, labels, flips), (weights * sign) @ delta, second, kept)

    @exact(1e-14)
    def an_editor_without_noise(edited_pairs):
        u = float(REWARD @ STRICT.mean)
        got = edited_pairs(STRICT, REWARD, "relabelled")
        yield "mean", got.mean, math.tanh(0.5 * u) * STRICT.mean
        yield "filtered", edited_pairs(STRICT, REWARD, "filtered").cov, np.zeros((2, 2))

    refuses = [
        (edited_pairs, EDIT, [1.0]),
        (edited_pairs, EDIT, REWARD, "relabelled", 0.7),
        (edited_pairs, EDIT, REWARD, "kept"),
    ]

    mutants = {
        "every edit wins": wrong(edited_pairs, labels=lambda: "decreed"),
        "flips once": wrong(edited_pairs, flips=lambda flips: 0.5 * flips),
        "the reward's sign": wrong(edited_pairs, w=lambda w: -np.asarray(w)),
        "editor without noise": wrong(edited_pairs, edit=lambda edit: Gaussian(edit.mean, 1e-9 * edit.cov)),
        "nothing is dropped": wrong(edited_pairs, lambda value: PairMoments(value.mean, value.cov)),
    }


def _two_points(shift):
    """A law of differences on three points: points, weights."""
    return np.asarray([[1.0, 0.5], [-0.7, 0.4], [0.3, -1.0]]) + shift, np.asarray([0.5, 0.2, 0.3])


@claim(
    "RICH-PO-CURATION-3",
    "What one step on n pairs is worth, for every policy on one scale",
    r"""\max_\eta \frac{E\,J(\eta\,\bar\Delta_n)}{w^\top S_0w/2\beta}
        = \frac{(w^\top g)^2}{w^\top S_0w\,\big[g^\top S_0^{-1}g + \tfrac1n\mathrm{tr}\,S_0^{-1}K\big]}, \qquad
        J(m) = w^\top m - \tfrac\beta2m^\top S_0^{-1}m""",
    covers=[one_step_gain, signal_to_noise],
    hypotheses=[r"w^\top g > 0"],
)
class OneStepGain:
    @exact(1e-12, over=grid(count=(1, 2, 3), beta=(0.3, 2.0)))
    def every_draw_of_n_pairs(one_step_gain, count, beta):
        points, weights = _two_points(np.asarray([0.4, -0.3]))
        w, precision = REWARD, np.linalg.inv(COV)
        linear = square = 0.0
        for drawn in itertools.product(range(3), repeat=count):
            chance, step = np.prod(weights[list(drawn)]), points[list(drawn)].mean(axis=0)
            linear += chance * (w @ step)
            square += chance * (step @ precision @ step)
        best = linear**2 / (2.0 * beta * square)  # of eta -> eta linear - beta eta^2 square / 2
        mean = weights @ points
        cov = (points * weights[:, None]).T @ points - np.outer(mean, mean)
        return one_step_gain(PairMoments(mean, cov), COV, w, count), best / (w @ COV @ w / (2.0 * beta))

    @exact(1e-12, over=grid(size=(0.2, 1.4)))
    def signal_of_random_pairs(signal_to_noise, size):
        """kappa^2 G / (2 d - kappa^2 G), with the slope of the labels at thirty digits; and its part in the gain."""
        w = size * REWARD
        energy = float(w @ COV @ w)
        signal = float(average("slope", math.sqrt(2.0 * energy))) ** 2 * energy
        ratio = signal_to_noise(random_pairs(COV, w), COV)
        yield "ratio", ratio, signal / (4.0 - signal)
        yield "gain", 1.0 / (1.0 + 1.0 / (50.0 * ratio)), one_step_gain(random_pairs(COV, w), COV, w, 50.0)

    @exact(1e-12)
    def signal_of_points(signal_to_noise):
        """In whitened coordinates: the squared mean over the sum of variances."""
        points, weights = _two_points(np.asarray([0.4, -0.3]))
        white = np.linalg.solve(np.linalg.cholesky(COV), points.T).T
        mean = weights @ points
        cov = (points * weights[:, None]).T @ points - np.outer(mean, mean)
        centre = weights @ white
        spread = float(weights @ np.sum((white - centre) ** 2, axis=1))
        return signal_to_noise(PairMoments(mean, cov), COV), centre @ centre / spread

    @exact(1e-13)
    def random_pairs_in_the_end_reach_all(one_step_gain):
        yield "all pairs there are", one_step_gain(random_pairs(COV, REWARD), COV, REWARD, math.inf), 1.0
        away = PairMoments(-COV @ REWARD, COV)
        yield "away from the reward", one_step_gain(away, COV, REWARD, 10.0), 0.0
        edits = PairMoments(np.asarray([1.0, 0.0]), np.zeros((2, 2)))
        cosine = REWARD[0] ** 2 / (REWARD @ COV @ REWARD) / np.linalg.inv(COV)[0, 0]
        yield "sharp edits point one way", one_step_gain(edits, COV, REWARD, 1.0), cosine

    refuses = [
        (one_step_gain, PairMoments([0.0, 0.0], [[0.0, 0.0], [0.0, 0.0]]), COV, REWARD, 1.0),
        (one_step_gain, PairMoments([1.0, 0.0], [[1.0, 0.0], [0.0, 1.0]]), COV, REWARD, 0.5),
    ]

    mutants = {
        "second moment for covariance": wrong(
            one_step_gain,
            pairs=lambda pairs: PairMoments(pairs.mean, pairs.cov + np.outer(pairs.mean, pairs.mean)),
        ),
        "no noise": wrong(one_step_gain, count=lambda: math.inf),
        "in the metric of the images": wrong(
            one_step_gain,
            cov=lambda cov: np.eye(len(np.asarray(cov))) * np.trace(np.asarray(cov)) / len(np.asarray(cov)),
        ),
        "amplitudes": wrong(signal_to_noise, lambda value: value**0.5),
        "per coordinate": wrong(signal_to_noise, lambda value, cov: value * len(np.asarray(cov))),
        "second moment for the noise": wrong(signal_to_noise, lambda value: value / (1.0 + value)),
        "cosine, not its square": wrong(one_step_gain, lambda value: value**0.5),
    }


MADE = EditingPipeline(
    REWARD,
    np.asarray([[1.0], [0.4]]),
    0.8,
    np.asarray([[0.5, 0.1], [0.1, 0.2]]),
    np.asarray([[0.3, 0.0], [0.0, 0.2]]),
)


def _drawn(pipeline, rng, n, labels="decreed", flips=0.0):
    images = Gaussian([0.0, 0.0], COV).sample((n,), rng)
    return pipeline.pairs(images, rng, labels, flips)


@claim(
    "RICH-PO-PIPELINE-1",
    "Doubles of critic, instructor, editor and relabeller make pairs of the law that they state",
    r"""\Delta \sim N\big(aPw,\; a^2PZP + X\big), \qquad P(\mathrm{edit\;wins}) = \epsilon + (1-2\epsilon)\,E\,\sigma(w^\top\Delta)""",
    covers=[EditingPipeline],
)
class Pipeline:
    @exact(1e-13)
    def by_hand(EditingPipeline):
        """One attribute a: P = a a' / |a|^2."""
        law = EditingPipeline(MADE.w, MADE.attributes, MADE.step, MADE.critic_cov, MADE.editor_cov).edit_law()
        a = MADE.attributes[:, 0] / np.linalg.norm(MADE.attributes[:, 0])
        yield "mean", law.mean, 0.8 * (a @ REWARD) * a
        yield "covariance", law.cov, 0.64 * (a @ MADE.critic_cov @ a) * np.outer(a, a) + MADE.editor_cov

    @statistical(miss=1e-12)  # the p-values of its mutants are 0 in double precision
    def edits_have_the_law(EditingPipeline, rng, alpha):
        made = EditingPipeline(MADE.w, MADE.attributes, MADE.step, MADE.critic_cov, MADE.editor_cov)
        pairs, law = _drawn(made, rng, 20_000), MADE.edit_law()
        test = gaussian_test(pairs.chosen - pairs.rejected, law.mean, law.cov, alpha)
        return Statistic(test.p_value, test.detectable, test.effect, test.n, "edits")

    @statistical(miss=1e-12, weight=2.0)  # whatever it could miss, the law of the edits has caught
    def labels_have_theirs(EditingPipeline, rng, alpha):
        made = EditingPipeline(MADE.w, MADE.attributes, MADE.step, MADE.critic_cov, MADE.editor_cov)
        for labels in ("relabelled", "filtered"):
            pairs = _drawn(made, rng, 40_000, labels, 0.1)
            want = edited_pairs(MADE.edit_law(), REWARD, labels, 0.1)
            gap = (pairs.chosen - pairs.rejected) @ REWARD
            sd = math.sqrt(REWARD @ want.cov @ REWARD)
            test = mean_test(gap, float(REWARD @ want.mean), alpha / 3.0, sd=sd)
            yield Statistic(test.p_value, test.detectable, test.effect, test.n, labels)
        kept = np.concatenate([np.ones(len(gap)), np.zeros(pairs.made - len(gap))])
        test = mean_test(kept, want.kept, alpha / 3.0, sd=math.sqrt(want.kept * (1.0 - want.kept)))
        yield Statistic(test.p_value, test.detectable, test.effect, test.n, "kept")

    refuses = [
        (EditingPipeline, REWARD, [[1.0, 2.0], [1.0, 2.0]], 1.0, COV, COV),
        (EditingPipeline, REWARD, [[1.0], [2.0]], 0.0, COV, COV),
        (EditingPipeline, REWARD, [[1.0], [2.0]], 1.0, -COV, COV),
    ]

    mutants = {
        "half a step": wrong(EditingPipeline, step=lambda step: 0.5 * step),
        "the critic reads another sign": wrong(EditingPipeline, w=lambda w: -w),
        "every attribute can be named": wrong(EditingPipeline, attributes=lambda: np.eye(2)),
        "a critic without error": wrong(EditingPipeline, critic_cov=lambda critic_cov: 0.0 * critic_cov),
        "an editor with twice the error": wrong(
            EditingPipeline, editor_cov=lambda editor_cov: 4.0 * editor_cov
        ),
    }
