"""Steps that are not affine: a Gaussian mixture inside of every clipping range, and Monte Carlo.

The exact model of a mixture is known too, but the law of the result is not: it is sampled, and two tests
with a stated false-alarm rate compare its mean and its variance with those of the data.  In one dimension the
probability flow from the same start is known and ends at exact draws of the data.  Differences to it make errors
visible that are far below the spread of the draws, where the sampler draws no noise.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np
from scipy.special import expit, ndtr

from driftproof.numerics.montecarlo import mean_test, variance_test

from .affine import EndOfGrid, Sampler, Vector
from .findings import Finding
from .models import Model, models
from .severity import Severity

__all__ = ["ALPHA", "PATHS", "alarmed", "monte_carlo_verdict"]

# Two narrow modes well inside of [-1, 1], where clipping leaves the data alone.
_WEIGHTS = np.array([0.3, 0.7])
_MEANS = np.array([-0.6, 0.5])
_SD: Final = 0.05

_ODDS: Final = math.log(_WEIGHTS[1] / _WEIGHTS[0])
_MEAN = float(_WEIGHTS @ _MEANS)
_VARIANCE = float(_WEIGHTS @ (_MEANS - _MEAN) ** 2) + _SD**2
_FOURTH = float(_WEIGHTS @ ((_MEANS - _MEAN) ** 4 + 6.0 * (_MEANS - _MEAN) ** 2 * _SD**2 + 3.0 * _SD**4))

_GRID = np.linspace(-1.0, 1.0, 2001)
_QUANTILES = ndtr((_GRID[:, None] - _MEANS) / _SD) @ _WEIGHTS

PATHS: Final = 80_000
_SEARCH: Final = 20_000  # for the choice of a model
STEPS: Final = (10, 40)
MORE: Final = 160  # where it looks bad at these
# False-alarm rate of one test; fifty rows of two tests at the last step count spend 1e-6.
ALPHA: Final = 1e-8

# What is left at the last step count where an error falls, as a fraction of the first.
_FALLS = 0.7
_LARGE = 0.02
_SETTLED: Final = "settled by Gaussian mixture and Monte Carlo: "


def monte_carlo_verdict(
    sampler: Sampler,
    model: Model,
    *,
    unit: float = 1.0,
    search: bool = True,
    why: str = "not affine",
    seed: int = 0,
) -> Finding:
    """Compare the law of the result with the data's, by Monte Carlo.

    Arguments:
        sampler: The sampler.
        model: The model, in the sampler's parametrisation.
        unit: The unit of the data, for models that are looked for.
        search: Look for another exact model where this one does not converge.
        why: Why the affine probe does not settle it.
        seed: The seed of the start and of all noise.
    """
    first = _judge(sampler, model, why, seed)
    if not search or first.severity is not Severity.DIVERGES:
        return first
    errors = {other: _distance(_run(sampler, STEPS[-1], other, seed, _SEARCH)[0]) for other in models(unit)}
    best = min(errors, key=errors.__getitem__)
    if best == model:
        return first
    found = _judge(sampler, best, why, seed)
    if found.severity is Severity.DIVERGES:
        return first
    severity = min(found.severity, Severity.CONDITIONAL, key=lambda each: each.rank)
    text = (
        f"with {model}: {first.text}; it needs {best}, with which: {found.text}; reads the output as {best}"
    )
    return replace(found, severity=severity, text=text)


def alarmed(sampler: Sampler, model: Model, seed: int = 0) -> str:
    """The evidence against a sampler whose steps are affine, with the mixture as data; empty where nothing does."""
    found = _judge(sampler, model, "", seed, _SEARCH)
    bad = found.severity in (Severity.DIVERGES, Severity.NAN)
    return found.text.removeprefix(f": {_SETTLED}") if bad else ""


def _judge(sampler: Sampler, model: Model, why: str, seed: int, paths: int = PATHS) -> Finding:
    means: list[float] = []
    stds: list[float] = []
    severity, text = Severity.CONVERGES, ""
    for i, count in enumerate((*STEPS, MORE)):
        try:
            x, flow = _run(sampler, count, model, seed, paths)
        except (ValueError, AssertionError):  # a count that it does not take
            if count == MORE:
                break
            raise
        if not np.all(np.isfinite(x)):
            return _finding(
                Severity.NAN, f"NaN at {count} steps", model, why, (count,), (math.nan,), (math.nan,)
            )
        alarm, mean, std, seen = _compared(x, flow)
        means.append(mean)
        stds.append(std)
        if i == 0:
            continue
        before, error = _errors(means, stds)[-2:]
        severity, text = Severity.CONVERGES, f"no error at {count} steps"
        if alarm:
            falls = error < _FALLS * before
            bad = Severity.DIVERGES if error > _LARGE else Severity.FLOOR
            severity = Severity.CONVERGES if falls else bad
            said = "the error falls to" if falls else "does not converge: error"
            text = f"{said} {error:.2g} at {count} steps"
        text += f"; {seen:.2g} would have been seen, at a false-alarm rate of {ALPHA:.0e} a test"
        if severity is not Severity.DIVERGES:  # else more steps may be all that it wants
            break
    steps = (*STEPS, MORE)[: len(means)]
    return _finding(severity, text, model, why, steps, tuple(means), tuple(stds))


def _compared(x: Vector, flow: Vector) -> tuple[bool, float, float, float]:
    """Whether mean or variance is not the data's, the errors of mean and deviation, and what would have been seen.

    Each is tested twice, at half the rate: by the draws alone, which needs no more than the data's moments, and by
    their differences to the exact flow's, whose moments the data has: these hardly vary where no noise is drawn.
    """
    half, sd = ALPHA / 2.0, math.sqrt(_VARIANCE)
    squares = (x - _MEAN) ** 2
    parted, spread = x - flow, squares - (flow - _MEAN) ** 2
    plain = (
        mean_test(x, _MEAN, half, sd=sd),
        variance_test(x, _VARIANCE, half, mean=_MEAN, kurtosis=_FOURTH / _VARIANCE**2),
    )
    paired = mean_test(parted, 0.0, half), mean_test(spread, 0.0, half)
    # An error of the variance, as one of the deviation, in linear approximation.
    seen = (
        min(plain[0].detectable, paired[0].detectable),
        min(plain[1].detectable * _VARIANCE, paired[1].detectable) / (2.0 * sd),
    )
    shift = float(np.mean(min(parted, x - _MEAN, key=np.std)))
    variance = _VARIANCE + float(np.mean(min(spread, squares - _VARIANCE, key=np.std))) - shift**2
    return (
        any(test.rejects for test in (*plain, *paired)),
        shift,
        math.sqrt(max(variance, 0.0)) - sd,
        max(seen),
    )


def _errors(means: list[float], stds: list[float]) -> list[float]:
    return [math.hypot(*pair) for pair in zip(means, stds, strict=True)]


def _distance(x: Vector) -> float:
    distance = math.hypot(float(x.mean()) - _MEAN, float(x.std()) - math.sqrt(_VARIANCE))
    return distance if math.isfinite(distance) else math.inf


def _finding(
    severity: Severity,
    text: str,
    model: Model,
    why: str,
    steps: tuple[int, ...],
    means: tuple[float, ...],
    stds: tuple[float, ...],
) -> Finding:
    reason = (
        f"{why}, so the probe does not settle it; data 0.3 N(-0.6, {_SD}^2) + 0.7 N(0.5, {_SD}^2), "
        f"exact model ({model}), {PATHS} paths, tests of mean and variance at {ALPHA:.0e} each, half of it for the "
        "draws and half for their differences to the exact flow's (asymptotic, skewness corrected)"
    )
    said = f"{why}: {_SETTLED}{text}"
    return Finding(severity, said, reason, steps, means, stds, model, affine=False, draws=0)


def _run(sampler: Sampler, steps: int, model: Model, seed: int, paths: int = PATHS) -> tuple[Vector, Vector]:
    """Where a run ends, and where the exact flow ends from the same start."""
    rng = np.random.default_rng(seed)
    noise: dict[object, Vector] = {}

    def draw(key: object) -> Vector:
        if key is None:
            return rng.standard_normal(paths)
        if key not in noise:
            noise[key] = rng.standard_normal(paths)
        return noise[key]

    calls = sampler.begin(steps)
    alpha, sigma = sampler.first()
    x0 = rng.choice(_MEANS, p=_WEIGHTS, size=paths) + _SD * rng.standard_normal(paths)
    x = alpha * x0 + sigma * rng.standard_normal(paths)
    flow = _flow(x, alpha, sigma)
    x = sampler.opened(x, draw)
    for call in range(calls):
        with np.errstate(all="ignore"):
            try:
                alpha, sigma = sampler.levels(call)
                x = sampler.step(call, _output(model, x, alpha, sigma), x, draw)
            except EndOfGrid:
                break
        if not np.all(np.isfinite(x)):
            break
    return x, flow


def _flow(x: Vector, alpha: float, sigma: float) -> Vector:
    """Where the exact flow leads x at the data: in one dimension it keeps quantiles."""
    level = ndtr((x[:, None] - alpha * _MEANS) / math.hypot(alpha * _SD, sigma)) @ _WEIGHTS
    found: Vector = np.interp(level, _QUANTILES, _GRID)
    return found


def _output(model: Model, x: Vector, alpha: float, sigma: float) -> Vector:
    """The output of the exact model of the mixture at x."""
    if model.function == "consistency":
        x0 = _flow(x, alpha, sigma)
        return model.of(x0, (x - alpha * x0) / sigma if sigma else np.zeros_like(x), alpha, sigma)
    total = alpha**2 * _SD**2 + sigma**2
    apart, middle = _MEANS[1] - _MEANS[0], _MEANS.mean()
    upper = expit(_ODDS + alpha * apart / total * (x - alpha * middle))  # the law of the mode, given x
    mode = _MEANS[0] + apart * upper
    x0 = mode + alpha * _SD**2 / total * (x - alpha * mode)
    return model.of(x0, sigma / total * (x - alpha * mode), alpha, sigma)
