r"""Ridge regression towards a source: exactly when transfer hurts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from hypothesis import strategies as st

from driftproof.numerics.transfer import ridge_towards
from driftproof.theory.transfer import optimal_penalty, ridge_risk, worst_penalty
from driftproof.validation import Thing, boundary, claim, drawn, exact, figure, property, raises
from driftproof.validation.mutants import altered, arguments, outcome

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
    paper="transfer",
    title="Ridge towards a source beats both ends at its best penalty",
    statement=r"""R(\lambda) = \frac{v + \lambda^2 D^2}{(1+\lambda)^2}, \qquad
        \min_\lambda R = R(v/D^2) = \frac{vD^2}{v+D^2} < \min(v, D^2)""",
    hypotheses=[r"\lambda > 0", r"X^\top X = mI"],
    vouches=[ridge_risk, optimal_penalty, ridge_towards],
)
class RidgeRisk:
    thing = (ridge_risk, optimal_penalty, ridge_towards)

    @exact(tolerance=1e-11, scale=0.0)
    def probed_with_one_hot_noise(thing: Thing) -> Iterator[Any]:
        for penalty in (0.01, 0.5, 1.0, 7.0):
            for m, d in ((6, 1), (9, 4)):
                risk, v, mismatch = _probed(thing[2], penalty, m, d, 0.7)
                yield f"penalty {penalty}, d = {d}", thing[0](penalty, v, mismatch), risk

    @property(tolerance=1e-12, examples=60, false_alarm=0.0)
    def the_least_risk(
        thing: Thing, v: float = drawn(SIZES), mismatch: float = drawn(SIZES)
    ) -> Iterator[Any]:
        best = thing[1](v, mismatch)
        least = v * mismatch / (v + mismatch)
        yield "value", thing[0](best, v, mismatch) / least, 1.0
        around = [
            float(thing[0](best * factor, v, mismatch)) >= least * (1 - 1e-12)
            for factor in (0.5, 0.99, 1.01, 2.0)
        ]
        yield "minimum", around, [True] * 4

    @boundary()
    def a_penalty_is_positive(thing: Thing) -> Iterator[Any]:
        for penalty in (0.0, -1.0):
            yield raises(ValueError, thing[0], penalty, 1.0, 1.0)
            yield raises(ValueError, thing[2], [[1.0]], [1.0], [0.0], penalty)

    mutants = {
        "bias not squared": (
            altered(ridge_risk, lambda kernel, xp, lam, v, d2: (v + lam * d2) / (1.0 + lam) ** 2),
            optimal_penalty,
            ridge_towards,
        ),
        "penalty inverted": (ridge_risk, outcome(optimal_penalty, lambda best: 1.0 / best), ridge_towards),
        "towards zero": (
            ridge_risk,
            optimal_penalty,
            arguments(ridge_towards, lambda x, y, source, penalty: (x, y, 0.0 * source, penalty)),
        ),
        "penalty not divided by m": (
            ridge_risk,
            optimal_penalty,
            arguments(ridge_towards, lambda x, y, source, penalty: (x, y, source, penalty / x.shape[0])),
        ),
    }


@claim(
    "TRANSFER-NEGATIVE-1",
    paper="transfer",
    title="Negative transfer: the exact condition",
    statement=r"""R(\lambda) > R(0) \iff D^2 > v \;\mathrm{and}\; \lambda > \frac{2v}{D^2 - v}; \qquad
        R(\infty) > R(0) \iff D^2 > v""",
    hypotheses=[r"\lambda > 0"],
    vouches=[worst_penalty, ridge_risk],
)
class NegativeTransfer:
    thing = (worst_penalty, ridge_risk)

    @property(tolerance=0.0, examples=100, false_alarm=0.0)
    def on_either_side_of_the_threshold(
        thing: Thing,
        v: float = drawn(SIZES),
        mismatch: float = drawn(SIZES),
        factor: float = drawn(st.floats(1.001, 50.0)),
    ) -> Iterator[Any]:
        threshold = float(thing[0](v, mismatch))
        yield "only where the mismatch exceeds the variance", np.isfinite(threshold), mismatch > v
        if np.isfinite(threshold):
            if mismatch < v * 1.0001:
                return  # the difference of the risks is below rounding
            yield "above", float(thing[1](threshold * factor, v, mismatch)) > v, True
            yield "below", float(thing[1](threshold / factor, v, mismatch)) < v, True
        else:
            yield "never", float(thing[1](factor * 1e3, v, mismatch)) <= v * (1 + 1e-15), True

    @exact(tolerance=1e-13)
    def the_risks_meet_at_the_threshold(thing: Thing) -> Iterator[Any]:
        for v, mismatch in ((1.0, 3.0), (0.2, 0.9), (2.0, 2.5)):
            yield f"v = {v}, D^2 = {mismatch}", thing[1](thing[0](v, mismatch), v, mismatch) / v, 1.0

    @boundary(tolerance=0.05)
    def the_best_penalty_is_never_negative_transfer(thing: Thing) -> Iterator[Any]:
        """With the best penalty the risk is below that of direct learning, however bad the source is."""
        for mismatch in (0.1, 1.0, 10.0):
            yield f"D^2 = {mismatch}", thing[1](1.0 / mismatch, 1.0, mismatch), 1.0

    @figure
    def negative_transfer(thing: Thing) -> Any:
        """Risk of ridge regression towards a source over the risk v of direct least squares, for several
        mismatches.  Above 1 transfer hurts: never if the mismatch is below v, else beyond the marked penalty."""
        from matplotlib.figure import Figure

        drawn_figure = Figure()
        axis = drawn_figure.subplots()
        penalties = np.geomspace(1e-2, 1e2, 200)
        for mismatch in (0.25, 1.0, 2.0, 4.0):
            (line,) = axis.semilogx(
                penalties, thing[1](penalties, 1.0, mismatch), label=f"D² = {mismatch:g} v"
            )
            worst = float(thing[0](1.0, mismatch))
            if np.isfinite(worst):
                axis.plot([worst], [1.0], "o", color=line.get_color(), markersize=4)
        axis.axhline(1.0, color="grey", linewidth=0.7)
        axis.set_ylim(0.0, 3.0)
        axis.set_xlabel("penalty λ")
        axis.set_ylabel("risk / v")
        axis.legend(frameon=False)
        return drawn_figure

    mutants = {
        "half of the threshold": (outcome(worst_penalty, lambda worst: 0.5 * worst), ridge_risk),
        "best penalty called worst": (
            altered(worst_penalty, lambda kernel, xp, v, d2: 1.0 / kernel(xp, v, d2)),
            ridge_risk,
        ),
        "roles swapped": (arguments(worst_penalty, lambda v, mismatch: (mismatch, v)), ridge_risk),
    }
