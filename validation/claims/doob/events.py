r"""Events under normal laws and mixtures: against slices of the plane and many digits."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np

from driftproof.theory.doob import (
    Ball,
    Box,
    Complement,
    Orthant,
    Slab,
    Union,
    event_log_probability,
    half_space,
)
from driftproof.theory.laws import Gaussian, GaussianMixture
from driftproof.validation import boundary, claim, exact
from driftproof.validation.mutants import wrong

from .textbook import interval_of, normal_cdf, slices

__all__ = ["Complements", "Events", "Unions"]

MEAN, COV = [0.3, -0.2], [[1.5, 0.6], [0.6, 0.8]]
LAW = Gaussian(MEAN, COV)
APART = Gaussian(MEAN, [[1.5, 0.0], [0.0, 0.8]])
ROUND = Gaussian(MEAN, [[0.7, 0.0], [0.0, 0.7]])
INF = math.inf


def _circle(centre, radius):
    def ends(x):
        square = radius**2 - (x - centre[0]) ** 2
        return [(centre[1] - math.sqrt(square), centre[1] + math.sqrt(square))] if square > 0 else []

    return ends


@claim(
    "DOOB-EVENT-1",
    "Half-spaces, slabs, quadrants, boxes and balls under normal laws",
    r"""P(X \in A), \qquad X \sim N(m, C)""",
    covers=[event_log_probability, half_space, Slab, Orthant, Box, Ball],
    hypotheses=[r"\mathrm{boxes:}\; C \;\mathrm{diagonal}", r"\mathrm{balls:}\; C = c I"],
)
class Events:
    @exact(1e-11)
    def slices_of_the_plane(event_log_probability, half_space, Slab, Orthant, Box, Ball):
        cases = {
            "half-space": (half_space([1.0, 2.0], 0.5), LAW, lambda x: [(0.5 * (0.5 - x), INF)], ()),
            "half-space, below": (
                half_space([1.0, 2.0], 0.5, below=True),
                LAW,
                lambda x: [(-INF, 0.5 * (0.5 - x))],
                (),
            ),
            "slab": (Slab([1.0, -1.0], -0.5, 0.25), LAW, lambda x: [(x - 0.25, x + 0.5)], ()),
            "quadrant": (
                Orthant([[1.0, 0.0], [1.0, 1.0]], [0.4, 0.1]),
                LAW,
                lambda x: [(0.1 - x, INF)] if x > 0.4 else [],
                (0.4,),
            ),
            "box": (
                Box([-0.5, -1.0], [1.0, 0.3]),
                APART,
                lambda x: [(-1.0, 0.3)] if -0.5 < x < 1.0 else [],
                (-0.5, 1.0),
            ),
        }
        for name, (event, law, ends, breaks) in cases.items():
            yield name, np.exp(event_log_probability(law, event)), slices(law.mean, law.cov, ends, breaks)

    @exact(1e-6)
    def a_disc(event_log_probability, Ball):
        """Slices of a circle end like a root, and Gauss's rule is worth six digits there."""
        want = slices(ROUND.mean, ROUND.cov, _circle([1.0, 0.0], 1.2), (-0.2, 2.2))
        return np.exp(event_log_probability(ROUND, Ball([1.0, 0.0], 1.2))), want

    @exact(5e-14)
    def as_far_as_1e_300(event_log_probability, half_space, Slab, Orthant, Box):
        unit = Gaussian([0.0, 0.0], np.eye(2))
        yield (
            "half-space",
            event_log_probability(unit, half_space([3.0, 4.0], 185.0)),
            interval_of(37.0, INF)[0],
        )
        yield "slab", event_log_probability(unit, Slab([1.0, 0.0], 37.0, 37.1)), interval_of(37.0, 37.1)[0]
        quadrant = Orthant([[1.0, 0.0], [0.0, 2.0]], [26.0, 52.0])
        yield "quadrant", event_log_probability(unit, quadrant), 2.0 * interval_of(26.0, INF)[0]
        box = Box([26.0, -INF], [27.0, -26.0])
        yield "box", event_log_probability(unit, box), interval_of(26.0, 27.0)[0] + interval_of(26.0, INF)[0]

    @exact(1e-13)
    def sums_of_days_and_units(event_log_probability, half_space):
        """The last k of d independent days; and the length of a normal is a matter of units."""
        law = Gaussian(np.full(10, 0.1), 0.25 * np.eye(10))
        days = np.asarray([0.0] * 7 + [1.0] * 3)
        want = interval_of((2.0 - 0.3) / math.sqrt(0.75), INF)[0]
        yield "sum", event_log_probability(law, half_space(days, 2.0)), want
        yield "units", event_log_probability(law, half_space(1e3 * days, 2e3)), want

    @exact(1e-13)
    def mixtures(event_log_probability, half_space):
        law = GaussianMixture([0.25, 0.75], [[-2.0], [1.0]], [[[0.25]], [[1.0]]])
        want = 0.25 * normal_cdf(-7) + 0.75 * normal_cdf(mp.mpf("-0.5"))
        return event_log_probability(law, half_space([1.0], 1.5)), float(mp.log(want))

    @exact(1e-2)
    def what_they_contain(event_log_probability, Slab, Orthant, Box, Ball):
        """A sum over a lattice: 10 of edge, a density of 0.23, and half a cell of 0.01 are worth 0.01."""
        axis = np.arange(-4.0, 4.0, 0.01) + 0.0017
        x = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
        density = np.exp(np.asarray(ROUND.log_prob(x))) * 1e-4
        for event in (
            Slab([1.0, 0.5], -0.5, 0.25),
            Orthant([[1.0, 0.0], [1.0, 1.0]], [0.4, 0.1]),
            Box([-0.5, -1.0], [1.0, 0.3]),
            Ball([1.0, 0.0], 1.2),
        ):
            found = float(np.sum(density * event.contains(x)))
            yield type(event).__name__, found, np.exp(event_log_probability(ROUND, event))

    @boundary(1e-2)
    def a_quadrant_is_no_product(event_log_probability, Orthant, half_space):
        both = event_log_probability(LAW, Orthant(np.eye(2), [0.5, 0.5]))
        each = [event_log_probability(LAW, half_space(n, 0.5)) for n in np.eye(2)]
        return np.exp(both), np.exp(each[0] + each[1])

    # No interior; no direction; a law under which there is no closed form; another space.
    refuses = [
        (Slab, [1.0], 1.0, 1.0),
        (Slab, [0.0, 0.0], 0.0, 1.0),
        (half_space, [1.0], INF),
        (Box, [0.0, 1.0], [1.0, 1.0]),
        (Ball, [0.0], 0.0),
        (Orthant, [[1.0, 0.0]], [0.0]),
        (event_log_probability, LAW, Box([0.0, 0.0], [1.0, 1.0])),
        (event_log_probability, APART, Ball([0.0, 0.0], 1.0)),
        (event_log_probability, LAW, Slab([1.0], 0.0, 1.0)),
        (event_log_probability, Gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 0.0]]), Slab([0.0, 1.0], 0.0, 1.0)),
    ]

    mutants = {
        "the other half": wrong(half_space, below=lambda below: not below),
        "normal of length one": wrong(
            half_space, normal=lambda normal: np.asarray(normal) / np.linalg.norm(normal)
        ),
        "levels swapped": wrong(Orthant, levels=lambda levels: np.asarray(levels)[::-1]),
        "box about 0": wrong(Box, low=lambda high: -np.asarray(high)),
        "diameter": wrong(Ball, radius=lambda radius: 2.0 * radius),
        "slab with one end": wrong(Slab, high=lambda: INF),
        "probability, not its logarithm": wrong(event_log_probability, lambda value: np.exp(value)),
    }


@claim(
    "DOOB-EVENT-2",
    "What an event leaves out, without cancellation",
    r"""P(A^c) = 1 - P(A), \qquad 1 - \prod_i p_i = \sum_i (1 - p_i) \prod_{j < i} p_j""",
    covers=[Complement, event_log_probability],
)
class Complements:
    @exact(1e-13)
    def both_sum_to_one(Complement, event_log_probability):
        for event, law in (
            (Slab([1.0, 2.0], -0.5, 1.0), LAW),
            (half_space([1.0, 2.0], 0.5), LAW),
            (Orthant([[1.0, 0.0], [1.0, 1.0]], [0.4, 0.1]), LAW),
            (Box([-0.5, -1.0], [1.0, 0.3]), APART),
            (Ball([1.0, 0.0], 1.2), ROUND),
            (Union([half_space([1.0, 0.0], 1.0), half_space([0.0, 1.0], 0.5)]), LAW),
        ):
            parts = [float(np.exp(event_log_probability(law, each))) for each in (event, Complement(event))]
            yield type(event).__name__, sum(parts), 1.0

    @exact(1e-12)
    def where_one_minus_p_is_lost(Complement, event_log_probability):
        unit = Gaussian([0.0, 0.0], np.eye(2))
        tail = [float(normal_cdf(-v)) for v in (12.0, 15.0, 20.0)]
        box = Box([-12.0, -20.0], [15.0, INF])
        # P of a union of independent tails, to first order in numbers below 1e-32.
        yield "box", event_log_probability(unit, Complement(box)), math.log(tail[0] + tail[1] + tail[2])
        slab = Slab([0.0, 1.0], -12.0, 15.0)
        yield "slab", event_log_probability(unit, Complement(slab)), math.log(tail[0] + tail[1])
        quadrant = Orthant(np.eye(2), [-12.0, -15.0])
        yield "quadrant", event_log_probability(unit, Complement(quadrant)), math.log(tail[0] + tail[1])
        ball = Ball([0.0, 0.0], 30.0)
        yield "ball", event_log_probability(unit, Complement(ball)), -450.0

    mutants = {
        "the event itself": wrong(Complement, lambda event: event),
        "one end of it": wrong(
            Complement,
            lambda value, event: (
                half_space(event.normal, event.low, below=True) if type(event) is Slab else value
            ),
        ),
        "1 - P": wrong(
            event_log_probability,
            lambda value, data, event: (
                np.log1p(-np.exp(event_log_probability(data, event.event)))
                if type(event) is Complement
                else value
            ),
        ),
    }


@claim(
    "DOOB-UNION-1",
    "Unions by inclusion and exclusion",
    r"""P(\bigcup_i A_i) = \sum_S (-1)^{|S| + 1} P(\bigcap_S A_i)""",
    covers=[Union, event_log_probability],
    hypotheses=[r"\mathrm{intersections\;whose\;probability\;is\;known}"],
)
class Unions:
    @exact(1e-11)
    def slices_of_the_plane(Union, event_log_probability):
        cross = Union([half_space([1.0, 0.0], 0.8), half_space([1.0, 2.0], -0.5, below=True)])
        yield (
            "two half-spaces",
            np.exp(event_log_probability(LAW, cross)),
            slices(MEAN, COV, lambda x: [(-INF, INF)] if x > 0.8 else [(-INF, 0.5 * (-0.5 - x))], (0.8,)),
        )
        bands = Union(
            [
                Slab([2.0, 0.0], -3.0, 0.0),
                Slab([1.0, 0.0], -0.5, 0.4),
                half_space([-3.0, 0.0], -3.9, below=True),
            ]
        )
        yield (
            "bands that overlap",
            np.exp(event_log_probability(LAW, bands)),
            slices(MEAN, COV, lambda x: [(-INF, INF)] if -1.5 < x < 0.4 or x > 1.3 else [], (-1.5, 0.4, 1.3)),
        )
        boxes = Union([Box([-1.0, -1.0], [0.5, 0.5]), Box([0.0, 0.0], [1.0, 1.0])])

        def ends(x):
            first, second = -1.0 < x < 0.5, 0.0 < x < 1.0
            if first and second:
                return [(-1.0, 1.0)]
            return [(-1.0, 0.5)] * first + [(0.0, 1.0)] * second

        yield (
            "boxes",
            np.exp(event_log_probability(APART, boxes)),
            slices(MEAN, APART.cov, ends, (-1.0, 0.0, 0.5, 1.0)),
        )

    @exact(1e-13)
    def two_far_tails(Union, event_log_probability):
        unit = Gaussian([0.0], [[1.0]])
        both = Union([half_space([1.0], 37.0), half_space([1.0], -37.0, below=True)])
        return event_log_probability(unit, both), math.log(2.0) + interval_of(37.0, INF)[0]

    # Parts that cross, or are of two spaces, or are no union.
    refuses = [
        (Union, [Slab([1.0, 0.0], 0.0, 1.0), Slab([0.0, 1.0], 0.0, 1.0)]),
        (Union, [Slab([1.0], 0.0, 1.0), Slab([0.0, 1.0], 0.0, 1.0)]),
        (Union, [Slab([1.0], 0.0, 1.0)]),
        (Union, [Ball([0.0, 0.0], 1.0), Ball([1.0, 0.0], 1.0)]),
    ]

    mutants = {
        "first part alone": wrong(Union, lambda parts: parts[0]),
        "sum of the parts": wrong(
            event_log_probability,
            lambda value, data, event: np.log(
                sum(float(np.exp(event_log_probability(data, part))) for part in event.parts)
            ),
        ),
        "last part forgotten": wrong(
            Union, lambda value, parts: Union(parts[:-1]) if len(parts) > 2 else parts[0]
        ),
    }
