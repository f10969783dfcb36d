"""Where what is taken ends: every row is taken at the last value inside, and refused at the first one outside.

A refusal that is tried at an extreme only does not notice a bound that has moved by one, ``>`` for ``>=``, or an
``or`` that has become an ``and``: each bound has a row of its own, with all else as it should be. Masked tokens and preferences.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from driftproof.numerics import diffpo, rich_po
from driftproof.theory import diffpo as masked
from driftproof.theory import rich_po as tilts
from driftproof.theory.laws import Gaussian
from tests.refusals import ABOVE_1, BELOW_1, INF, NAN, TINY, Row, faults, zeros


def table() -> masked.TabularDenoiser:
    return masked.TabularDenoiser(np.asarray([[[0.1 * i, 0.5], [-0.3, 0.2 * i]] for i in range(9)]))


def of_diffpo() -> Iterator[Row]:
    two, hidden = np.asarray([-0.5, -1.0]), np.asarray([1.0, 0.0])
    yield "steps of allocate", lambda k: diffpo.allocate(3, k), [1, 3], [0, 4]
    yield "length of masked_count", lambda n: diffpo.masked_count(n, 0.5), [1], [0]
    yield "lengths", lambda n: diffpo.systematic_counts(n, 2), [1], [0]
    yield "batch", lambda n: diffpo.systematic_counts(2, n), [1], [0]
    yield "tokens", diffpo.certainty, [zeros(2), zeros(3, 2)], [zeros(1), zeros(2, 1), np.asarray(0.0)]
    yield "bits", lambda b: diffpo.tied_gap(1.0, b), [1], [0]
    yield (
        "mask",
        lambda m: diffpo.time_estimate(two, m, 0.5),
        [hidden, zeros(2)],
        [[1.0, 0.5], [BELOW_1, 0.0], [1.0, -1.0], [1.0]],
    )
    yield (
        "hidden",
        lambda m: diffpo.count_estimate(two, m, [1.0, 0.0]),
        [[1.0, 1.0]],
        [[0.0, 1.0], [0.0, 0.0]],
    )
    yield "real", lambda r: diffpo.count_estimate(two, [1.0, 1.0], r), [hidden], [[0.5, 0.5], [1.0, 2.0]]
    yield (
        "masks",
        lambda shape: diffpo.semi_deterministic_estimate(zeros(*shape), np.ones(shape)),
        [(1, 2)],
        [(2,)],
    )
    yield "tau", lambda t: diffpo.two_times_log_probs(two, two, [0.0, 1.0], t), [0], [-1]
    law = diffpo.quantised_gumbel_law
    yield "sum", lambda s: law([0.5, 0.5 + s], 4), [0.9e-6, -0.9e-6], [1.1e-6, -1.1e-6]
    yield "probability", lambda p: law([p, 1.0 - p], 4), [1e-9], [0.0, NAN]
    yield "laws", lambda p: law(p, 4), [[0.5, 0.5]], [[[0.5, 0.5]]]
    yield "bits of a law", lambda b: law([0.5, 0.5], b), [1], [0, 21]
    yield "offset", lambda o: law([0.5, 0.5], 4, o), [0.0, BELOW_1], [-TINY, 1.0]
    mask = np.asarray([[1.0, 0.0]])
    loss = diffpo.diffpo_loss
    yield (
        "tokens of a loss",
        lambda m: loss(zeros(1, 2), zeros(1, 2), zeros(1, 2), [1.0], m),
        [mask],
        [zeros(1, 2), 0.5 * mask, np.ones((2, 2))],
    )
    yield (
        "batch of a loss",
        lambda a: loss(zeros(1, 2), zeros(1, 2), zeros(1, 2), a, mask),
        [[1.0]],
        [1.0, [1.0, 2.0], [[1.0]]],
    )
    yield (
        "behaviour",
        lambda b: loss(zeros(1, 2), zeros(1, 2), b, [1.0], mask),
        [zeros(1, 2)],
        [zeros(1, 1), zeros(2)],
    )
    yield (
        "beta",
        lambda b: diffpo.diffu_grpo_loss(zeros(1, 2), zeros(1, 2), [1.0], mask, 0.5, b),
        [0.0],
        [TINY],
    )
    yield "sequences", lambda a: diffpo.wd1_loss(zeros(2), a), [zeros(2)], [zeros(3), zeros(1), zeros(2, 1)]
    yield (
        "choices",
        lambda c: diffpo.joint_loss(zeros(1, 2), zeros(1, 2), zeros(1, 2), c, [1.0], mask),
        [zeros(1)],
        [zeros(2), zeros(1, 1)],
    )
    yield "group", diffpo.group_advantages, [zeros(2), zeros(3, 2)], [zeros(1), zeros(2, 1), np.asarray(0.0)]
    yield "tokens a step", lambda k: diffpo.low_confidence_rollout(table(), 2, 0, k), [1], [0]
    yield "rollouts", lambda n: diffpo.low_confidence_rollout(table(), n, 0), [1], [0]
    yield "n of rollout", lambda n: diffpo.rollout(table(), masked.RandomOrder(), n, 0), [1], [0]


def of_masked() -> Iterator[Row]:
    half, where = np.asarray([0.5, 0.5]), np.asarray([1.0, 0.0])
    yield (
        "survival_t",
        lambda t: masked.reverse_corruption(where, half, 0.5, t, half),
        [0.0, 0.5],
        [math.nextafter(0.5, 1.0)],
    )
    yield "survival_s", lambda s: masked.reverse_corruption(where, half, s, 0.0, half), [1e-300, 1.0], [0.0]
    yield (
        "sum",
        lambda e: masked.reverse_corruption(where, half + np.asarray([0.0, e]), 0.5, 0.25, half),
        [0.049, -0.049],
        [0.051, -0.051],
    )
    yield (
        "laws",
        lambda w: masked.reverse_corruption(where, w, 0.5, 0.25, half),
        [half],
        [zeros(3) + 1.0 / 3.0, 1.0],
    )
    yield (
        "tables",
        lambda s: masked.TabularDenoiser(zeros(*s)),
        [(9, 2, 2), (2, 1, 1)],
        [(8, 2, 2), (9, 2), (1, 0, 2), (1, 1, 0)],
    )
    yield (
        "logits",
        lambda v: masked.TabularDenoiser(np.asarray([[[v, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]]])),
        [-INF, 1e300],
        [INF, NAN],
    )
    yield (
        "joint law",
        masked.ConsistentDenoiser,
        [np.log(np.full((2, 2), 0.25))],
        [np.log(np.full((2, 3), 1 / 6)), np.asarray(0.0)],
    )
    yield (
        "mass",
        lambda e: masked.ConsistentDenoiser(np.log(np.asarray([0.5, 0.5 + e]))),
        [1e-8, -1e-8],
        [2e-8, -2e-8],
    )
    yield "prompt", lambda p: masked.Prompted(table(), p), [(0,), (1,)], [(), (0, 1), (2,), (-1,)]
    yield "nodes", lambda n: masked.quadrature_elbo(np.asarray([-1.0, -2.0]), n), [1], [0]
    yield "length", lambda n: masked.independent_evaluations(n, 0.5, 0.1), [1], [0]
    yield "length of an urn", lambda n: masked.PolyaDenoiser(1.0, 2.0, n), [1], [0]
    urn = masked.PolyaDenoiser(1.0, 2.0, 3)
    yield "ones", urn.log_prob, [0, 3], [-1, 4]
    yield "gamma", urn.nfe_law, [0.0, INF], [-TINY, NAN]
    for make in (
        masked.low_confidence_law,
        lambda d, k: masked.RandomOrder(k),
        lambda d, k: masked.LeftToRight(k),
        lambda d, k: masked.Ranked("margin", k),
    ):
        yield "tokens", lambda k, make=make: make(table(), k), [1], [0]  # type: ignore[misc]
    yield "steps", lambda k: masked.renoising_law(table(), 0.5, k), [1], [0]
    yield "steps of DDIM", lambda k: masked.discrete_ddim_law(np.log(half), k), [1], [0]
    yield "end", lambda k: masked.text_law(table(), masked.RandomOrder(), k), [0, 1], [-1, 2]
    yield (
        "text",
        lambda x: masked.mean_field(table(), x),
        [[0, 1], [[0, 1], [1, 1]]],
        [[0, 2], [-1, 0], [0], [0, 1, 1]],
    )
    yield "tau", lambda t: masked.two_mean_field(table(), masked.Ranked(), [0, 1], t), [0], [-1]
    yield "arms", lambda v: masked.threshold_gradient(zeros(3), v), [zeros(3)], [zeros(2), zeros(1, 3)]
    yield "group", lambda n: masked.group_gradient(zeros(2), np.ones(2), n), [2], [1]
    for name in ("draws", "masks"):
        yield name, lambda n, name=name: masked.count_moments(-np.ones(2), np.ones(2), **{name: n}), [1], [0]  # type: ignore[misc]
    yield (
        "moments",
        lambda v: masked.time_moments(-np.ones(2), v),
        [np.ones(2)],
        [np.ones(3), np.ones((1, 2))],
    )


def of_rich_po() -> Iterator[Row]:
    cov, w = np.asarray([[2.0, 0.5], [0.5, 1.0]]), np.asarray([0.7, -0.5])
    yield "draws", lambda n: rich_po.best_of_pairs(cov, w, n), [2, 1000], [1, 1001]
    yield "energy", lambda v: rich_po.best_of_pairs(cov, v, 2), [w, 1e-100 * w], [zeros(2)]
    yield "flips", lambda f: rich_po.random_pairs(cov, w, f), [0.0, 0.5], [-TINY, math.nextafter(0.5, 1.0)]
    edit = Gaussian(np.asarray([1.0, 0.5]), 0.1 * np.eye(2))
    yield "w", lambda v: rich_po.edited_pairs(edit, v), [w], [w[:1], np.ones(3)]
    pairs = rich_po.random_pairs(cov, w)
    yield "space", lambda c: rich_po.signal_to_noise(pairs, c), [cov], [np.eye(3), np.ones((2, 1))]
    losses = {
        "dpo": lambda a, b: rich_po.dpo_loss(a, b, 0.1),
        "orpo": lambda a, b: rich_po.orpo_loss(a, b, 0.1),
    }
    for name, loss in losses.items():
        yield name, lambda v, loss=loss: loss(v, -np.ones(2)), [-np.ones(2)], [-np.ones(1), -np.ones((1, 2))]  # type: ignore[misc]
    yield (
        "log-probability",
        lambda p: rich_po.log_odds_ratio_loss(np.asarray([-1.0, p]), -np.ones(2)),
        [-1e-300],
        [0.0, TINY],
    )
    x = np.ones((2, 3))
    yield "prediction", lambda v: rich_po.denoising_ratio(v, x, x), [x], [np.ones((2, 2)), np.ones(3)]
    yield "margin", lambda m: rich_po.dspo_loss(x, x, x, np.asarray(m), 0.1), [[1.0, 1.0]], [[1.0], [1.0] * 3]
    differences = np.asarray([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    yield "wins", lambda p: rich_po.fit_pairs(differences, [0.5, p, 0.5]), [0.4], [-TINY, ABOVE_1, NAN]
    yield "outcomes", lambda p: rich_po.fit_pairs(differences, p), [[0.5] * 3], [[0.5] * 2, [[0.5] * 3]]
    yield "differences", lambda d: rich_po.fit_pairs(d, [0.5] * 3), [differences], [zeros(3, 2)]

    def editing(attributes: Any, flips: float = 0.0) -> Any:
        return rich_po.EditingPipeline(w, np.asarray(attributes), 0.5, np.eye(2), np.eye(2))

    yield (
        "attributes",
        editing,
        [np.eye(2), [[1.0], [0.0]]],
        [zeros(2, 0), np.ones((2, 3)), np.ones(2), np.ones((2, 2)), np.eye(3)],
    )
    yield "dimension", lambda n: tilts.summed_beta(0.1, n), [1], [0]
    gain = tilts.captured_gain
    yield (
        "directions",
        lambda b: gain(cov, w, b),
        [np.eye(2), np.ones((2, 1))],
        [zeros(2, 0), np.ones((2, 3)), np.ones(2), np.ones((2, 2))],
    )
    yield "reward", lambda v: gain(cov, v, np.eye(2)), [w], [zeros(2), np.ones(3), 1.0]
    yield (
        "aligned",
        lambda p: tilts.peak_penalty(w, p, cov, 0.5),
        [w],
        [-w, np.asarray([0.5, 1.15 / 0.15 * 0.5])],
    )
    yield "times", lambda s: tilts.drawn_time_scale(1.0, s), [[1.0]], [1.0]


@pytest.mark.parametrize("rows", [of_diffpo, of_masked, of_rich_po], ids=lambda rows: rows.__name__)
def test_bounds_are_where_they_are_said_to_be(rows: Any) -> None:
    found = faults(rows())
    assert not found, "\n".join(found)
