r"""Curves and baselines that a gain is made of: how many samples each way needs, and a direct fit by hand."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq

from driftproof.numerics.transfer import CurveFit, direct, transfer_gain
from driftproof.validation import claim, exact, grid, rounding, rows
from driftproof.validation.mutants import wrong

SHRINKAGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


def curve(exponent, constant, floor):
    return CurveFit(exponent, constant, floor, (exponent, exponent), (floor, floor), 0, True, 0.95)


SLOW, FAST = (0.4, 3.0, 0.0), (1.3, 0.5, 0.2)


@claim(
    "TRANSFER-GAIN-1",
    "The gain of transfer is the ratio of the sample sizes at which both curves reach a risk",
    r"\frac{m_{direct}(\varepsilon)}{m_{transfer}(\varepsilon)}, \qquad "
    r"\varepsilon = r_\infty + C\,m(\varepsilon)^{-\beta}",
    covers=[transfer_gain],
    hypotheses=[r"\varepsilon > \min r_\infty"],
)
class Gain:
    @exact(1e-10, over=grid(first=(SLOW, FAST, (1.0, 8.0, 0.1)), risk=(0.21, 0.5, 4.0)))
    def roots_of_the_curves(transfer_gain, first, risk):
        """Each size by bisection in its logarithm, without the inverse of the power."""

        def size(exponent, constant, floor):
            return math.exp(
                brentq(lambda u: floor + constant * math.exp(-exponent * u) - risk, -60.0, 60.0, xtol=1e-13)
            )

        return transfer_gain(curve(*first), curve(*FAST), risk), size(*first) / size(*FAST)

    @exact(
        0.0,
        over=rows(
            "first, second, risk, gain",
            (
                (SLOW, FAST, 0.2, 0.0),  # at the floor of transfer, which it never reaches
                (FAST, SLOW, 0.2, math.inf),
                (FAST, (1.0, 0.0, 0.1), 0.2, math.inf),  # a curve that is flat reaches it with no sample
            ),
        ),
    )
    def at_and_below_a_floor(transfer_gain, first, second, risk, gain):
        found = transfer_gain(curve(*first), curve(*second), risk)
        return float(found == gain), 1.0

    refuses = [
        (transfer_gain, curve(*FAST), curve(*FAST), 0.2),
        (transfer_gain, curve(*SLOW), curve(*FAST), 0.0),
    ]

    mutants = {
        "upside down": wrong(transfer_gain, lambda value: 1.0 / value if value else math.inf),
        "the risks at one size": wrong(
            transfer_gain, lambda direct, transfer, risk: direct(10.0) / transfer(10.0)
        ),
        "without the floors": wrong(
            transfer_gain,
            lambda direct, transfer, risk: (
                (direct.constant / risk) ** (1.0 / direct.exponent)
                / (transfer.constant / risk) ** (1.0 / transfer.exponent)
            ),
        ),
    }


@claim(
    "TRANSFER-BASELINE-1",
    "Direct learning standardises the features, and its linear baseline is ridge by leave-one-out errors",
    r"\hat y(x) = \bar y + \sum_j \hat w_j\,\frac{x_j - \bar x_j}{s_j}, \qquad "
    r"\hat w = \arg\min_w \Vert y - \bar y - Zw\Vert^2 + \lambda\Vert w\Vert^2",
    covers=[direct],
    hypotheses=[r"\lambda\;\mathrm{of\;the\;least\;leave\!-\!one\!-\!out\;error}"],
)
class Direct:
    # Older scikit-learn solves 14 equations for the samples' weights: traces of 14 * 3 beside the least shrinkage.
    @exact(rounding(14**2, condition=14 * 3 / min(SHRINKAGES)), over=grid(seed=(0, 1), noise=(0.1, 3.0)))
    def ridge_by_hand(direct, seed, noise):
        """Each sample left out in turn for every shrinkage; features of unequal units and means."""
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(14, 3)) * [0.01, 1.0, 50.0] + [3.0, 0.0, -200.0]
        y = x @ [40.0, -1.0, 0.02] + 5.0 + noise * rng.normal(size=14)
        new = rng.normal(size=(5, 3)) * [0.02, 2.0, 90.0]
        z, unseen = (x - x.mean(axis=0)) / x.std(axis=0), (new - x.mean(axis=0)) / x.std(axis=0)

        def fitted(z, y, shrinkage):
            centre = z.mean(axis=0)
            c = z - centre
            w = np.linalg.solve(c.T @ c + shrinkage * np.eye(3), c.T @ (y - y.mean()))
            return lambda v: y.mean() + (v - centre) @ w

        def error(shrinkage):
            rest = [np.arange(14) != i for i in range(14)]
            return sum(
                float(fitted(z[keep], y[keep], shrinkage)(z[~keep])[0] - y[~keep][0]) ** 2 for keep in rest
            )

        best = min(SHRINKAGES, key=error)
        return direct("linear", x, y).predict(new), fitted(z, y, best)(unseen)

    @exact(1e-12)
    def neighbours_by_hand(direct):
        """The mean label of the round(sqrt(m)) nearest, by distances in units of each feature's deviation."""
        rng = np.random.default_rng(2)
        x, y = rng.normal(size=(11, 2)) * [1.0, 300.0], rng.normal(size=11)
        new = rng.normal(size=(4, 2)) * [1.0, 300.0]
        away = (((new[:, None] - x[None]) / x.std(axis=0)) ** 2).sum(axis=-1)
        return direct("nearest neighbours", x, y).predict(new), y[np.argsort(away, axis=1)[:, :3]].mean(
            axis=1
        )

    refuses = [
        (direct, "linear", [[0.0, 1.0], [1.0, 1.0]], [0.0, 1.0]),
        (direct, "linear", [[0.0], [1.0], [2.0]], [0.0, 1.0]),
        (direct, "linear", [[0.0]], [0.0]),
    ]

    mutants = {
        "features in their own units": wrong(direct, lambda name, x, y: _unscaled(name, x, y)),
        "labels without their mean": wrong(direct, lambda name, x, y: direct(name, x, y - np.mean(y))),
        "one sample fewer": wrong(direct, lambda name, x, y: direct(name, x[:-1], y[:-1])),
    }


def _unscaled(name, x, y):
    """The estimator alone, without the standardisation before it."""
    return direct(name, x, y)[1].fit(x, y)
