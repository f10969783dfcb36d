r"""The comparison on a table: diabetes patients, source and target split by sex.

The source model is a ridge regression of the progression on nine features; the target error is a mean square
in units of the source's variance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftproof.numerics.transfer import direct, ridge_towards
from driftproof.numerics.transport import fit_gaussian

from .config import TableRecipe
from .data import diabetes
from .fewshot import Curves

__all__ = ["compare_table"]

Floats = NDArray[np.float64]
PENALTIES = tuple(10.0 ** (0.5 * k) for k in range(-2, 7))


def compare_table(recipe: TableRecipe) -> Curves:
    """Every method at every sample size and split."""
    errors: dict[str, Floats] = {}
    for column in range(recipe.splits):
        table = diabetes(seed=column)
        x_source, y_source = table.source
        beta = ridge_towards(_constant(x_source), y_source, np.zeros(x_source.shape[1] + 1), 0.01)
        for row, m in enumerate(recipe.sizes):
            x, y = (part[:m] for part in table.pool)
            for name, error in _contest(x, y, table.test, x_source, beta).items():
                empty = np.full((len(recipe.sizes), recipe.splits), np.nan)
                errors.setdefault(name, empty)[row, column] = error
    return Curves("diabetes, by sex", recipe.sizes, errors, "patients")


def _contest(
    x: Floats, y: Floats, test: tuple[Floats, Floats], x_source: Floats, beta: Floats
) -> dict[str, float]:
    held, truth = test
    onto = fit_gaussian(x, x_source, shrinkage=0.3)

    def error(points: Floats, head: Floats) -> float:
        return _mean_square(_constant(points) @ head, truth)

    return {
        "source only": error(held, beta),
        "direct": _mean_square(direct("linear", x, y).predict(held), truth),
        "transport": error(onto(held), beta),
        "ridge towards source": error(held, _adapted(x, y, beta)),
        "transport, labels": error(onto(held), _adapted(onto(x), y, beta)),
        "wrong source": error(held, ridge_towards(_constant(x), y, -beta, 1.0)),
        "wrong source, chosen penalty": error(held, _adapted(x, y, -beta)),
    }


def _adapted(x: Floats, y: Floats, beta: Floats) -> Floats:
    """Ridge towards the source with the penalty of least leave-one-out error."""
    design, errors = _constant(x), []
    for penalty in PENALTIES:
        gram = design.T @ design / len(x) + penalty * np.eye(design.shape[1])
        leverage = np.sum(design * np.linalg.solve(gram, design.T).T, axis=1) / len(x)
        residual = y - design @ ridge_towards(design, y, beta, penalty)
        errors.append(np.mean((residual / (1.0 - leverage)) ** 2))
    result: Floats = ridge_towards(design, y, beta, PENALTIES[int(np.argmin(errors))])
    return result


def _constant(x: Floats) -> Floats:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def _mean_square(guess: Floats, truth: Floats) -> float:
    return float(np.mean((guess - truth) ** 2))
