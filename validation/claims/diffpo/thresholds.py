r"""A threshold that is learned: the exact gradient, and what groups make of it."""

from __future__ import annotations

import itertools
import math

import numpy as np

from driftproof.theory.diffpo import group_gradient, threshold_gradient
from driftproof.validation import boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

from . import textbook as book

__all__ = ["Thresholds"]

CASES = ((np.asarray([0.3, -1.0, 0.5]), np.asarray([1.0, 2.5, -0.4])), (np.zeros(2), np.asarray([0.0, 1.0])))


def _expected(logits: book.Floats, values: book.Floats, size: int, scale: str) -> book.Floats:
    """Every group, draw by draw."""
    p, total = book.softmax(logits), np.zeros(len(logits))
    for group in itertools.product(range(len(p)), repeat=size):
        q = values[list(group)]
        gap = q - q.mean()
        if scale == "leave_one_out":
            gap = np.asarray([v - (q.sum() - v) / (size - 1) for v in q])
        elif scale == "std":
            deviation = q.std(ddof=1)
            gap = gap / (deviation + 1e-4) if deviation > 0 else gap
        direction = sum(a * (np.eye(len(p))[g] - p) for a, g in zip(gap, group, strict=True)) / size
        total += math.prod(p[g] for g in group) * direction
    return total


@claim(
    "DIFFPO-THRESHOLD-1",
    "The gradient for a learned threshold: groups with their own mean keep (G - 1)/G of it, standardised ones turn it",
    r"""\partial_{\phi_g} J = \pi_g (Q_g - J), \qquad E\,\hat g_{mean} = \frac{G-1}{G} \nabla J, \qquad
        E\,\hat g_{others} = \nabla J, \qquad E\,\hat g_{std} \not\parallel \nabla J""",
    covers=[threshold_gradient, group_gradient],
)
class Thresholds:
    @exact(1e-10)
    def differences_of_the_expected_value(threshold_gradient):
        for logits, values in CASES:
            want = book.finite_differences(lambda z, v=values: math.fsum(book.softmax(z) * v), logits)
            yield f"{len(logits)} thresholds", threshold_gradient(logits, values), want

    @exact(1e-14, over=grid(size=(2, 3, 5), scale=("none", "leave_one_out", "std")))
    def every_group(group_gradient, size, scale):
        for logits, values in CASES:
            found = group_gradient(logits, values, size, scale)
            yield f"{len(logits)} thresholds", found, _expected(logits, values, size, scale)

    @exact(1e-14, over=grid(size=(2, 6)))
    def the_factor(threshold_gradient, group_gradient, size):
        for logits, values in CASES:
            want = threshold_gradient(logits, values)
            yield "group mean", group_gradient(logits, values, size), (size - 1.0) / size * want
            yield "mean of the others", group_gradient(logits, values, size, "leave_one_out"), want

    @exact(1e-14)
    def equal_values_have_no_gradient(threshold_gradient, group_gradient):
        yield "exact", threshold_gradient([0.3, 1.0], [2.0, 2.0]), [0.0, 0.0]
        yield "standardised", group_gradient([0.3, 1.0], [2.0, 2.0], 3, "std"), [0.0, 0.0]

    @boundary(0.1)
    def standardised_is_another_direction(threshold_gradient, group_gradient):
        """Coordinate by coordinate the factor is another one."""
        logits, values = CASES[0]
        factors = group_gradient(logits, values, 6, "std") / threshold_gradient(logits, values)
        return factors[:1], factors[1:2]

    refuses = [
        (group_gradient, [0.0, 0.0], [1.0, 2.0], 1),
        (group_gradient, np.zeros(30), np.zeros(30), 12),
        (threshold_gradient, [0.0, 0.0], [1.0]),
    ]

    mutants = {
        "uncentred": wrong(
            threshold_gradient, lambda logits, values: book.softmax(np.asarray(logits)) * np.asarray(values)
        ),
        "descent": wrong(threshold_gradient, lambda value: -value),
        "unbiased": wrong(
            group_gradient,
            lambda value, size, scale: value * size / (size - 1.0) if scale == "none" else value,
        ),
        "sum over the group": wrong(group_gradient, lambda value, size: value * size),
        "deviation with G": wrong(
            group_gradient,
            lambda value, size, scale: value * (size / (size - 1.0)) ** 0.5 if scale == "std" else value,
        ),
    }
