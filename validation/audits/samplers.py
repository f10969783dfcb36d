r"""What a sampler converges to, how fast, and what keeps it away: verdicts from exact laws.

Each run starts at the exact marginal of the scheduler's own forward process, so that nothing is blamed on
the prior, and ends at N(a, b^2); the distance to the data N(m, v) is :math:`W_2 = |(a - m,\ b - \sqrt v)|`.
On the point mass the run ends at :math:`\alpha_e m` with deviation :math:`\sigma_e`: the noise level at
which it really stops, hence the floor in closed form,

.. math:: W_2\big(N(\alpha_e m,\ \alpha_e^2 v + \sigma_e^2),\ N(m, v)\big).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias, final

import numpy as np

from ..._namespace import UnmetHypothesis
from .affine import Path, Sampler, propagate
from .models import Model, models

__all__ = ["MEAN", "SEVERITIES", "STEPS", "VARIANCE", "Finding", "Severity", "find"]

Severity: TypeAlias = Literal["nan", "diverges", "floor", "mismatch", "slow", "converges", "unsupported"]
SEVERITIES: Final[tuple[Severity, ...]] = (
    "nan",
    "diverges",
    "floor",
    "mismatch",
    "slow",
    "converges",
    "unsupported",
)

# The data: neither centred nor of unit variance, which many errors leave alone.
MEAN: Final = 0.8
VARIANCE: Final = 0.25
STEPS: Final = (5, 10, 20, 40, 80)

# Tables of noise levels are often held in single precision: less than this is not an error.
_SINGLE = 1e-5
# Failure of superposition, in units of the data, from which on a step is not affine.
_AFFINE = 1e-3
# Relative distance between where the point mass is and where the model is called.
_GAP = 1e-4
# An error that falls slower than this power of the number of steps does not fall.
_FLAT = 0.25
# Half an order lost is an order lost.
_SLOW = 0.5
# Other models are tried at the largest step count up to this one.
_TRIAL = 20
# Another model than the documented one is believed where its error is small, and this much smaller.
_BELIEVED, _BETTER = 0.1, 0.3
# Where a call draws more normals than this, a path of the noise is being refined: few steps suffice.
_TREE, _TREE_STEPS = 8, 20


@final
@dataclass(frozen=True)
class Finding:
    """What was found.

    Arguments:
        severity: The class of the verdict, worst first in ``SEVERITIES``.
        text: The verdict in one line.
        reason: The numbers behind it.
        steps: The step counts that ran.
        mean_error, std_error: Errors of the terminal law at these.
        order: Observed order; None where nothing converges.
        floor: The error that remains in the limit; None where there is none.
        model: The exact model that was used.
        affine: Whether superposition holds; where not, nothing else is settled.
        draws: Normals drawn at the largest step count.
    """

    severity: Severity
    text: str
    reason: str
    steps: tuple[int, ...]
    mean_error: tuple[float, ...]
    std_error: tuple[float, ...]
    order: float | None
    floor: float | None
    model: Model
    affine: bool
    draws: int


def find(
    sampler: Sampler,
    documented: Model | None,
    *,
    unit: float = 1.0,
    stated_order: int = 1,
    steps: Sequence[int] = STEPS,
    search: bool = True,
    likely: Model | None = None,
) -> Finding:
    """Audit one sampler.

    Arguments:
        sampler: The sampler.
        documented: The model that it says it takes; None where it does not say.
        unit: The unit of the data, for models that are looked for.
        stated_order: The order that it states.
        steps: Step counts; those that the sampler refuses are left out.
        search: Look for another exact model where the documented one does not converge.
        likely: Try this one first.

    Raises:
        UnmetHypothesis: Grid, shape or draws cannot be audited.
        ValueError: No step count is accepted; what the sampler said.
    """
    first = None if documented is None else _judge(sampler, documented, stated_order, steps)
    if first is not None and (not search or not first.affine or first.severity != "diverges"):
        return first
    counts = first.steps if first else tuple(_paths(sampler, Model(), steps))
    most = _TRIAL if first else 2 * _TRIAL  # with nothing stated the choice is final
    trial = max(count for count in counts if count <= max(most, counts[0]))
    errors: dict[Model, float] = {}
    for model in (likely, *models(unit)) if likely else models(unit):
        path = propagate(sampler, trial, model, mean=MEAN, variance=VARIANCE)
        errors[model] = _distance(path) if path.finite and path.defect <= _AFFINE else math.inf
        if model == likely and errors[model] < _BELIEVED:
            break
    best = min(errors, key=errors.__getitem__)
    if first is None:
        if errors[best] > _BELIEVED and math.inf in errors.values():
            best = next(model for model, error in errors.items() if error == math.inf)
        found = _judge(sampler, best, stated_order, counts)
        return _with(found, f"no prediction type is stated; of the exact models {best} fits best")
    before = math.hypot(first.mean_error[-1], first.std_error[-1])
    if best == documented or not errors[best] < min(_BELIEVED, _BETTER * before):
        return first
    found = _judge(sampler, best, stated_order, counts)
    if found.severity == "diverges":
        return first
    note = f"stated is {documented}, which leaves an error of {before:.2g}"
    return _with(found, note, f"; reads the output as {best}")


def _judge(sampler: Sampler, model: Model, stated_order: int, steps: Sequence[int]) -> Finding:
    paths = _paths(sampler, model, steps)
    counts, last = tuple(paths), paths[max(paths)]
    means = tuple(float(path.mean[-1]) - MEAN for path in paths.values())
    stds = tuple(float(path.std[-1]) - math.sqrt(VARIANCE) for path in paths.values())
    affine = not last.finite or all(path.defect <= _AFFINE for path in paths.values())
    severity, text, order, floor = _verdict(paths, stated_order)
    return Finding(
        severity,
        text,
        _numbers(paths, model),
        counts,
        means,
        stds,
        order,
        floor,
        model,
        affine,
        last.draws,
    )


def _paths(sampler: Sampler, model: Model, steps: Sequence[int]) -> dict[int, Path]:
    """The runs at the step counts that the sampler accepts."""
    found: dict[int, Path] = {}
    refusal: Exception | None = None
    ratio = 0.0
    for count in sorted(steps):
        try:
            path = propagate(
                sampler,
                count,
                model,
                mean=MEAN,
                variance=VARIANCE,
                draws=math.ceil(1.3 * ratio * count) or None,
            )
        except UnmetHypothesis:
            raise
        except (ValueError, AssertionError) as error:  # a count that it does not take
            refusal = error
            continue
        found[count] = path
        ratio = path.draws / count
        if not path.finite or (ratio > _TREE and count >= _TREE_STEPS):
            break
    if not found:
        raise refusal or UnmetHypothesis("audit", "at least one step count", "none")
    return found


def _verdict(paths: dict[int, Path], stated_order: int) -> tuple[Severity, str, float | None, float | None]:
    counts = tuple(paths)
    last = paths[counts[-1]]
    if not last.finite:
        call = int(np.argmin(np.isfinite(last.mean) & np.isfinite(last.std)))
        return "nan", f"NaN after call {call} of {counts[-1]} steps", None, None
    errors = [_distance(path) for path in paths.values()]
    floors = [_floor(path) for path in paths.values()]
    steady = _SINGLE < floors[-1] < _BELIEVED and (len(floors) < 2 or floors[-1] > 0.7 * floors[-2])
    floor = floors[-1] if steady else None
    order = _order(counts, [_above(path, steady) for path in paths.values()])
    at = f"{errors[-1]:.2g} at {counts[-1]} steps"
    cause = _cause(paths)
    if max(errors) <= _SINGLE:
        return "converges", f"exact: {max(errors):.0e} at every step count", None, None
    falls = order is not None and order > _FLAT
    if not falls and errors[-1] > _SINGLE and not (steady and errors[-1] < 1.5 * floors[-1]):
        severity: Severity = "diverges" if errors[-1] > 1e-2 else "floor"
        text = "does not converge" if severity == "diverges" else "stays away"
        return severity, f"{text}: error {at}{cause}", order, errors[-1]
    if floor is not None:
        return "floor", f"floor {floor:.2g}, error {at}{cause}", order, floor
    shown = "" if order is None else f", order {order:.1f}"
    if _disagrees(paths):
        return "mismatch", f"state and model disagree: error {at}{shown}{cause}", order, None
    if order is not None and order < stated_order - _SLOW:
        return "slow", f"order {order:.1f} where {stated_order} is stated: error {at}{cause}", order, None
    return "converges", f"converges{shown}: error {at}{cause}", order, None


def _distance(path: Path) -> float:
    return math.hypot(float(path.mean[-1]) - MEAN, float(path.std[-1]) - math.sqrt(VARIANCE))


def _end(path: Path) -> tuple[float, float]:
    """Mean and deviation of the law that the terminal noise level alone explains."""
    alpha, sigma = float(path.point_mean[-1]) / MEAN, float(path.point_std[-1])
    return alpha * MEAN, math.hypot(alpha * math.sqrt(VARIANCE), sigma)


def _floor(path: Path) -> float:
    mean, std = _end(path)
    return math.hypot(mean - MEAN, std - math.sqrt(VARIANCE))


def _above(path: Path, steady: bool) -> float:
    """The error without its floor."""
    mean, std = _end(path) if steady else (MEAN, math.sqrt(VARIANCE))
    return math.hypot(float(path.mean[-1]) - mean, float(path.std[-1]) - std)


def _order(counts: Sequence[int], errors: Sequence[float]) -> float | None:
    """The slope over the last two doublings above rounding, of the largest error from each count on.

    An error that changes its sign on the way down is small at one count by chance.
    """
    envelope = [max(errors[i:]) for i in range(len(errors))]
    kept = [(n, e) for n, e in zip(counts, envelope, strict=True) if e > _SINGLE]
    if len(kept) < 2:
        return None
    (n, e), (n_last, e_last) = kept[-min(3, len(kept))], kept[-1]
    return math.log(e / e_last) / math.log(n_last / n)


def _disagrees(paths: dict[int, Path]) -> bool:
    """Whether a point mass is somewhere else than the model is told; a call that does nothing is only a waste."""
    return any(_gap(path) for path in paths.values()) or _floor(paths[max(paths)]) > _SINGLE


def _cause(paths: dict[int, Path]) -> str:
    """Why a consistent scheme would not do this, from the point mass; empty where it is consistent."""
    parts = []
    last = paths[max(paths)]
    alpha, sigma = float(last.point_mean[-1]) / MEAN, float(last.point_std[-1])
    gap = next((found for path in paths.values() if (found := _gap(path))), "")
    if gap:
        parts.append(gap)
    if _floor(last) > _SINGLE:
        parts.append(f"ends at alpha = {alpha:.4g}, sigma = {sigma:.3g} instead of 1, 0")
    if last.last_move <= 1e-12:
        parts.append("the last call does nothing")
    return "".join(f"; {part}" for part in parts)


def _gap(path: Path) -> str:
    """The first call at another noise level than the state's, on the point mass."""
    with np.errstate(all="ignore"):
        alpha, sigma = path.point_mean[: len(path.alpha)] / MEAN, path.point_std[: len(path.alpha)]
        size = np.hypot(path.alpha, path.sigma)
        gaps = np.maximum(np.abs(alpha - path.alpha), np.abs(sigma - path.sigma)) / size
        ratio = float(np.max(path.sigma / path.alpha))
    # Tables in single precision determine the data from a state of this noise no better than this.
    wrong = np.flatnonzero(gaps > max(_GAP, 5e-7 * min(ratio, 1e5)))
    if not len(wrong):
        return ""
    i = int(wrong[0])
    grids = " (another time of the same forward process: the grids differ)" if _on_curve(path, i) else ""
    return (
        f"after call {i} of {len(path.alpha)} a point mass is at alpha = {alpha[i]:.4g}, sigma = {sigma[i]:.4g}"
        f"{grids}, and the model is called at {path.alpha[i]:.4g}, {path.sigma[i]:.4g}"
    )


def _on_curve(path: Path, i: int) -> bool:
    """Whether state i obeys the law alpha^2 + sigma^2 = 1 or alpha + sigma = 1 of its forward process."""
    alpha, sigma = path.point_mean[i] / MEAN, path.point_std[i]
    if np.all(np.abs(np.hypot(path.alpha, path.sigma) - 1.0) < 1e-6):
        return bool(abs(math.hypot(alpha, sigma) - 1.0) < _GAP)
    if np.all(np.abs(path.alpha + path.sigma - 1.0) < 1e-6):
        return bool(abs(alpha + sigma - 1.0) < _GAP)
    return path.draws == 0 and bool(np.all(path.alpha == 1.0)) and abs(alpha - 1.0) < _GAP


def _numbers(paths: dict[int, Path], model: Model) -> str:
    last = paths[max(paths)]
    return (
        f"data N({MEAN:g}, {VARIANCE:g}); exact model ({model}) where the scheduler says that its state is; "
        f"start at the exact marginal alpha = {last.alpha[0]:.4g}, sigma = {last.sigma[0]:.4g}; "
        f"{last.draws} normals drawn in {len(last.alpha)} calls; superposition holds to {last.defect:.0e}; "
        f"a point mass ends at alpha = {last.point_mean[-1] / MEAN:.6g}, sigma = {last.point_std[-1]:.3g}"
    )


def _with(found: Finding, note: str, said: str = "") -> Finding:
    return replace(found, reason=f"{note}; {found.reason}", text=found.text + said)
