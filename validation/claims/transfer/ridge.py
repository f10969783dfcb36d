r"""Ridge regression towards a source: exactly when transfer hurts."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from driftproof.numerics.transfer import ridge_towards
from driftproof.theory.transfer import optimal_penalty, ridge_risk, worst_penalty
from driftproof.validation import boundary, claim, exact, figure, grid, property, rows
from driftproof.validation.mutants import wrong

__all__ = ["NegativeTransfer", "RidgeRisk"]

SIZES = st.floats(1e-3, 1e3)


def _probed(estimator: Any, penalty: float, m: int, d: int, noise: float) -> tuple[float, float, float]:
    """Exact risk of an affine estimator: its value at no noise and at every one-hot noise."""
    rng = np.random.default_rng(d)
    x = np.linalg.qr(rng.standard_normal((m, d)))[0] * np.sqrt(m)  # X'X = m I
    beta, source = rng.standard_normal(d), rng.standard_normal(d)
    middle = estimator(x, x @ beta, source, penalty)
    columns = [estimator(x, x @ beta + e, source, penalty) - middle for e in np.eye(m)]
    risk = float(np.sum((middle - beta) ** 2) + noise**2 * np.sum(np.square(columns)))
    return risk, d * noise**2 / m, float(np.sum((beta - source) ** 2))


@claim(
    "TRANSFER-RIDGE-1",
    "Ridge towards a source beats both ends at its best penalty",
    r"""R(\lambda) = \frac{v + \lambda^2 D^2}{(1+\lambda)^2}, \qquad
        \min_\lambda R = R(v/D^2) = \frac{vD^2}{v+D^2} < \min(v, D^2)""",
    covers=[ridge_risk, optimal_penalty, ridge_towards],
    hypotheses=[r"\lambda > 0", r"X^\top X = mI"],
)
class RidgeRisk:
    @exact(
        1e-11, scale=0.0, over=grid(rows("penalty", (0.01, 0.5, 1.0, 7.0)), rows("m, d", ((6, 1), (9, 4))))
    )
    def probed_with_one_hot_noise(ridge_risk, ridge_towards, penalty, m, d):
        risk, v, mismatch = _probed(ridge_towards, penalty, m, d, 0.7)
        return ridge_risk(penalty, v, mismatch), risk

    @property(1e-12, examples=60, false_alarm=0.0)
    def the_least_risk(ridge_risk, optimal_penalty, v=SIZES, mismatch=SIZES):
        best = optimal_penalty(v, mismatch)
        least = v * mismatch / (v + mismatch)
        yield "value", ridge_risk(best, v, mismatch) / least, 1.0
        around = [
            float(ridge_risk(best * factor, v, mismatch)) >= least * (1 - 1e-12)
            for factor in (0.5, 0.99, 1.01, 2.0)
        ]
        yield "minimum", around, [True] * 4

    refuses = [
        call
        for penalty in (0.0, -1.0)
        for call in (
            (ridge_risk, penalty, 1.0, 1.0),
            (ridge_towards, [[1.0]], [1.0], [0.0], penalty),
        )
    ]

    mutants = {
        "bias not squared": wrong(
            ridge_risk,
            lambda penalty, variance, mismatch: (variance + penalty * mismatch) / (1.0 + penalty) ** 2,
        ),
        "penalty inverted": wrong(optimal_penalty, lambda value: 1.0 / value),
        "towards zero": wrong(ridge_towards, source_beta=lambda source_beta: 0.0 * source_beta),
        "penalty not divided by m": wrong(ridge_towards, penalty=lambda x, penalty: penalty / x.shape[0]),
    }


@claim(
    "TRANSFER-NEGATIVE-1",
    "Negative transfer: the exact condition",
    r"""R(\lambda) > R(0) \iff D^2 > v \;\mathrm{and}\; \lambda > \frac{2v}{D^2 - v}; \qquad
        R(\infty) > R(0) \iff D^2 > v""",
    covers=[worst_penalty, ridge_risk],
    hypotheses=[r"\lambda > 0"],
)
class NegativeTransfer:
    @property(0.0, examples=100, false_alarm=0.0)
    def on_either_side_of_the_threshold(
        worst_penalty, ridge_risk, v=SIZES, mismatch=SIZES, factor=st.floats(1.001, 50.0)
    ):
        threshold = float(worst_penalty(v, mismatch))
        yield "only where the mismatch exceeds the variance", np.isfinite(threshold), mismatch > v
        if np.isfinite(threshold):
            if mismatch < v * 1.0001:
                return  # the difference of the risks is below rounding
            yield "above", float(ridge_risk(threshold * factor, v, mismatch)) > v, True
            yield "below", float(ridge_risk(threshold / factor, v, mismatch)) < v, True
        else:
            yield "never", float(ridge_risk(factor * 1e3, v, mismatch)) <= v * (1 + 1e-15), True

    @exact(1e-13, over=rows("v, mismatch", ((1.0, 3.0), (0.2, 0.9), (2.0, 2.5))))
    def the_risks_meet_at_the_threshold(worst_penalty, ridge_risk, v, mismatch):
        return ridge_risk(worst_penalty(v, mismatch), v, mismatch) / v, 1.0

    @boundary(0.05, over=grid(mismatch=(0.1, 1.0, 10.0)))
    def the_best_penalty_is_never_negative_transfer(ridge_risk, mismatch):
        """With the best penalty the risk is below that of direct learning, however bad the source is."""
        return ridge_risk(1.0 / mismatch, 1.0, mismatch), 1.0

    @figure
    def negative_transfer(worst_penalty, ridge_risk):
        """Risk of ridge regression towards a source over the risk v of direct least squares, for several
        mismatches.  Above 1 transfer hurts: never if the mismatch is below v, else beyond the marked penalty."""
        from matplotlib.figure import Figure

        drawn_figure = Figure()
        axis = drawn_figure.subplots()
        penalties = np.geomspace(1e-2, 1e2, 200)
        for mismatch in (0.25, 1.0, 2.0, 4.0):
            (line,) = axis.semilogx(
                penalties, ridge_risk(penalties, 1.0, mismatch), label=f"D² = {mismatch:g} v"
            )
            worst = float(worst_penalty(1.0, mismatch))
            if np.isfinite(worst):
                axis.plot([worst], [1.0], "o", color=line.get_color(), markersize=4)
        axis.axhline(1.0, color="grey", linewidth=0.7)
        axis.set_ylim(0.0, 3.0)
        axis.set_xlabel("penalty λ")
        axis.set_ylabel("risk / v")
        axis.legend(frameon=False)
        return drawn_figure

    mutants = {
        "half of the threshold": wrong(worst_penalty, lambda value: 0.5 * value),
        "best penalty called worst": wrong(worst_penalty, lambda value: 1.0 / value),
        "roles swapped": wrong(
            worst_penalty, variance=lambda mismatch: mismatch, mismatch=lambda variance: variance
        ),
    }
