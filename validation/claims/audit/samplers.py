r"""The audit of samplers: the law of a run is exact, planted faults are named, and right samplers pass."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from driftproof.validation import claim, exact, grid, rows
from driftproof.validation.audits import Row, audit
from driftproof.validation.audits.adapters import SchedulerSampler
from driftproof.validation.audits.affine import LAWS, Path, propagate
from driftproof.validation.audits.labels import Clock
from driftproof.validation.audits.models import Model
from driftproof.validation.audits.orders import Order, order_of
from driftproof.validation.audits.planted import FAULTS, Drawn, Recipe, drawn
from driftproof.validation.audits.severity import Severity

__all__ = ["LawsOfRuns", "NamedFaults", "OrdersOfErrors"]

SEED: Final = 1468742109  # drawn by the system after thresholds and rules stood
COUNTS: Final = (5, 10, 20)
# Eight roundings in each of forty steps; data are read from a state with 1000 times as much noise.
ROUNDING: Final = 8 * 40 * 1000 * float(np.finfo(np.float64).eps)
MORE: Final = {"an order is lost": (5, 10, 20, 40)}  # counts that show it

# The severities that name a fault; where none stands, state, model and data part: a mismatch or worse.
NAMED: Final = {
    "wrong where the number of steps is odd": {Severity.UNEVEN},
    "labels are shifted": {Severity.MISLABELLED},
    "no number at one step count": {Severity.NAN, Severity.LONG},  # the latter at 999 and 1000
    "the last level is repeated": {Severity.FLOOR, Severity.MISMATCH},
    "the run ends early": {Severity.FLOOR, Severity.MISMATCH},
    "the mean is right in the limit only": {Severity.LIMIT},
    "an order is lost": {Severity.SLOW},
    "right at one step count only": {Severity.DIVERGES, Severity.MISMATCH, Severity.UNEVEN, Severity.LIMIT},
    "the output is read as another": {Severity.DIVERGES, Severity.MISMATCH, Severity.CONDITIONAL},
}
PARTED: Final = {Severity.DIVERGES, Severity.MISMATCH}
# The faults that leave the law of a run alone, or wrong at counts that nobody asked for, come first.
QUIET: Final = ("labels are shifted", "no number at one step count", "wrong where the number of steps is odd")


def _recipes(count: int) -> list[Recipe]:
    """Right samplers of the first order, whose law is a recursion of two numbers."""
    return [recipe for recipe in drawn(SEED, 4 * count, 0) if recipe.order == 1][:count]


def _recursion(recipe: Recipe, steps: int) -> NDArray[np.float64]:
    r"""Mean and variance by x' = A x + B + s w, of each law: no vectors, and no superposition."""
    sampler = Drawn(recipe)
    sampler.set_timesteps(steps)
    levels = [sampler._level(ratio) for ratio in sampler._levels]
    (alpha, sigma), found = levels[0], []
    for law in LAWS:
        mean, variance = alpha * law.mean, alpha**2 * law.variance + sigma**2
        for (a, s), (b, t) in pairwise(levels):
            noise = recipe.eta * t * np.sqrt(max(1.0 - (t * a / (b * s)) ** 2, 0.0))
            down = np.sqrt(t**2 - noise**2)
            gain = a * law.variance / (a**2 * law.variance + s**2)  # of x_0 given x
            slope = b * gain + down * (1.0 - a * gain) / s
            mean = b * law.mean + slope * (mean - a * law.mean)
            variance = slope**2 * variance + noise**2
        found += [mean, np.sqrt(variance)]
    return np.array(found)


def _end(path: Path) -> NDArray[np.float64]:
    return np.stack([path.mean[-1], path.std[-1]], axis=1).reshape(-1)


@claim(
    "AUDIT-LAW-1",
    "The law of a run is exact",
    r"""x_{k+1} = A_k x_k + B_k + s_k w_k \;\Longrightarrow\;
        \mathbb{E} x_n = c, \quad \operatorname{Var} x_n = a^2 + \sum_i b_i^2""",
    covers=[propagate],
    hypotheses=[r"the data are Gaussian", r"the step is affine in state and noise"],
)
class LawsOfRuns:
    """Means and deviations against a recursion of two numbers; samplers of three processes, four parametrisations."""

    @exact(ROUNDING, over=grid(rows("recipe", lambda: _recipes(12)), steps=(1, 7, 40)))
    def the_recursion_of_mean_and_variance(propagate, recipe, steps):
        path = propagate(SchedulerSampler(Drawn(recipe)), steps, Model(recipe.prediction))
        return _end(path), _recursion(recipe, steps)

    mutants = {
        "another prediction": lambda sampler, steps, model: propagate(sampler, steps, Model("sample")),
        "one step more": lambda sampler, steps, model: propagate(sampler, steps + 1, model),
        "noise left out": lambda sampler, steps, model: propagate(
            cast(SchedulerSampler, _Silent(sampler)), steps, model
        ),
        "a model of twice the noise": lambda sampler, steps, model: propagate(
            sampler, steps, model, told=cast(Clock, _Doubled())
        ),
    }


class _Silent:
    """A sampler whose draws are all 0."""

    def __init__(self, sampler: SchedulerSampler) -> None:
        self._sampler = sampler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)

    def step(self, call: int, output: Any, x: NDArray[np.float64], draw: Any) -> NDArray[np.float64]:
        return self._sampler.step(call, output, x, lambda key: np.zeros_like(x))


class _Doubled:
    """A clock that reads every level twice too noisy."""

    def seen(self, label: float, alpha: float, sigma: float) -> tuple[tuple[float, float], float]:
        return (alpha, 2.0 * sigma), 1.0


def _asked(audit: Any, sampler: Drawn) -> Row:
    """An audit as short as its fault allows: the middle of runs at 999 and 1000 steps is left out where it is fast."""
    fault = str(sampler.recipe.fault)
    return audit(sampler, steps=MORE.get(fault, COUNTS), fast=fault != "no number at one step count")


@claim(
    "AUDIT-SAMPLER-1",
    "Planted faults are named, and right samplers pass",
    r"""\text{verdict}(S) = \text{converges} \iff S \text{ has no fault}, \qquad
        S \sim \text{processes} \times \text{grids} \times \text{parametrisations} \times \text{faults}""",
    covers=[audit],
    hypotheses=["the fault is above the size that it is drawn with"],
)
class NamedFaults:
    """One sampler for each fault, and right ones, of a seed that was drawn after thresholds and rules stood."""

    @exact(0.0, over=rows("recipe", lambda: drawn(SEED, 3, 0)))
    def right_samplers_pass(audit, recipe):
        severity = _asked(audit, Drawn(recipe)).severity
        yield f"{recipe}: {severity}", float(severity == Severity.CONVERGES), 1.0

    @exact(0.0)
    def faults_are_named(audit):
        for recipe in sorted(drawn(SEED, 0, len(FAULTS)), key=lambda made: made.fault not in QUIET):
            severity = _asked(audit, Drawn(recipe)).severity
            named = NAMED.get(str(recipe.fault), PARTED)
            yield f"{recipe.fault}: {severity}", float(severity in named), 1.0

    mutants = {
        "good until the end": lambda sampler, **options: _by_the_last_error(audit(sampler, **options)),
        "labels are believed": lambda sampler, **options: audit(_without_a_table(sampler), **options),
        "everything is a fault": lambda sampler, **options: replace(
            audit(sampler, **options), severity=Severity.DIVERGES
        ),
    }


def _by_the_last_error(row: Row) -> Row:
    """The verdict of one error at one step count."""
    small = max(abs((row.mean_error or (1.0,))[-1]), abs((row.std_error or (1.0,))[-1])) < 0.02
    return replace(row, severity=Severity.CONVERGES if small else Severity.DIVERGES)


def _without_a_table(sampler: Drawn) -> Drawn:
    """The same without what its labels could be compared with."""
    del sampler.num_train_timesteps
    if hasattr(sampler, "alphas_cumprod"):
        sampler.alphas_cumprod = sampler.alphas_cumprod[:1]
    return sampler


def _series(error: Any) -> dict[int, NDArray[np.float64]]:
    return {n: np.array([error(n)]) for n in (5, 10, 20, 40, 80)}


@claim(
    "AUDIT-ORDER-1",
    "Orders are read from a monotone tail",
    r"""e_n = C n^{-p} \Rightarrow \text{order} = p; \qquad
        e_n = C n^{-p} - c, \; c \ne 0 \Rightarrow \text{no order}""",
    covers=[order_of],
    hypotheses=[r"c is above rounding"],
)
class OrdersOfErrors:
    """Powers, powers above rounding, and errors that pass through zero, which look like a high order."""

    @exact(1e-12)
    def powers(order_of):
        for order in (0.5, 1.0, 2.0, 4.0):
            found = order_of(_series(lambda n, p=order: 3.0 * n**-p), 1e-12)
            yield f"order {order:g}", np.array([found.low, found.high, _value(found)]), np.full(3, order)
        yield "above rounding", _value(order_of(_series(lambda n: max(n**-4.0, 1e-7)), 1e-6)), 4.0

    @exact(0.0)
    def errors_that_change_their_sign(order_of):
        for zero in (15.0, 30.0, 50.0, 60.0):
            found = order_of(_series(lambda n, z=zero: 1.0 / n - 1.0 / z), 1e-12)
            yield f"zero at {zero:g} steps", float(_value(found) > 0.0), 0.0
        signs = {5: 1.0, 10: -1.0, 20: 1.0, 40: -1.0, 80: 1.0}
        found = order_of(_series(lambda n: signs[n] / n), 1e-12)
        yield "alternating", float(_value(found) > 0.0), 0.0

    mutants = {
        "signs are not looked at": lambda errors, rounding: order_of(
            {n: abs(e) for n, e in errors.items()}, rounding
        ),
        "rounding is not looked at": lambda errors, rounding: order_of(errors, 0.0),
        "two counts will do": lambda errors, rounding: _of_two(errors),
    }


def _value(found: Order | None) -> float:
    """The order, or 0 for none."""
    return 0.0 if found is None or found.value is None else found.value


def _of_two(errors: dict[int, NDArray[np.float64]]) -> Order:
    (m, before), (n, after) = list(errors.items())[-2:]
    slope = float(np.log(abs(before[0]) / abs(after[0])) / np.log(n / m))
    return Order(slope, slope, slope)
