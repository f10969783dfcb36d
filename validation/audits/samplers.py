r"""What a sampler converges to, how fast, and what keeps it away: verdicts from exact laws.

Each run starts at the exact marginal of the scheduler's own forward process, so that nothing is blamed on
the prior, and its error is the distance of the terminal law to the data.  What looks bad at the step counts
asked for is run again at twice and four times the largest: a slow start is not said to be the limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from ..._namespace import UnmetHypothesis
from .affine import Path, Sampler, propagate
from .causes import (
    MEAN,
    SINGLE,
    VARIANCE,
    above,
    describe,
    disagrees,
    distance,
    floor,
    gap,
    last_jump,
    other_grid,
)
from .findings import SEVERITIES, Finding, Severity
from .models import Model, models

__all__ = ["MEAN", "SEVERITIES", "STEPS", "VARIANCE", "Finding", "Severity", "find"]

STEPS: Final = (5, 10, 20, 40, 80)

# Failure of superposition, in units of the data, from which on a step is not affine.
_AFFINE = 1e-3
# An error that falls slower than this power of the number of steps does not fall.
_FLAT = 0.25
# The part of a length that twice as many steps leave, at least, where it does not shrink; half is left else.
_SHRINKS = 0.75
# Half an order lost is an order lost, where this many step counts show it.
_SLOW, _SHOWN = 0.5, 4
# A slope that still rises by this much from one doubling to the next is no order yet.
_RISES = 0.05
# A floor is no news where state and model disagree and the error is this many times larger.
_EXPLAINS = 20.0
# An error of this many times what the last step loses is that.
_JUMP = 2.0
# Other models are tried at the largest step count up to this one.
_TRIAL = 20
# Another model than the documented one is believed where its error is small, and this much smaller.
_BELIEVED, _BETTER = 0.1, 0.3
# Where a call draws more normals than this, a path of the noise is being refined: few steps suffice.
_TREE, _TREE_STEPS = 8, 20


# What it means that a network fits whatever the scalings around it are.
_ANY_NETWORK: Final = (
    "no prediction type is stated, and no exact model fits as well as the F with which c_skip x + c_out F, both "
    "read from the step, is the flow down to the level that its noise leads up from; that there is such a network "
    "is settled, not that a trained one is it"
)


def find(
    sampler: Sampler,
    documented: Model | None,
    *,
    unit: float = 1.0,
    stated_order: int = 1,
    steps: Sequence[int] = STEPS,
    search: bool = True,
    likely: Model | None = None,
    confirm: bool = True,
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
        confirm: Run what looks bad at more steps.

    Raises:
        UnmetHypothesis: Grid, shape or draws cannot be audited.
        ValueError: No step count is accepted; what the sampler said.
    """
    found, note, said = _chosen(sampler, documented, unit, stated_order, steps, search, likely)
    if not confirm or not found.affine or not _open(found):
        return _with(found, note, said)
    most = max(found.steps)
    found = _judge(sampler, found.model, stated_order, (*found.steps, 2 * most, 4 * most))
    if found.severity in ("diverges", "mismatch"):
        found = _restated(sampler, found) or _own_level(sampler, found)
    return _with(found, note, said)


def _restated(sampler: Sampler, found: Finding) -> Finding | None:
    """Say so where start and model at the noise levels of the sampler's own table leave little of the error.

    Its steps are then right for another process than the one that it states.
    """
    count = max(found.steps)
    left: dict[str, float] = {}
    for process, other in sampler.restated():
        try:
            path = propagate(other, count, found.model, mean=MEAN, variance=VARIANCE)
        except UnmetHypothesis:  # these levels rise, or are none of that process
            continue
        left[process] = distance(path) if path.finite else math.inf
    best = min(left, key=left.__getitem__, default="")
    if not best or not left[best] < _BETTER * found.error:
        return None
    text = "state and model disagree" + found.text[found.text.index(": error") :]
    said = (
        f"; its steps are those of {best} with its sigmas, another process than the stated one: "
        f"{left[best]:.2g} with start and model of that process"
    )
    return replace(found, severity="mismatch", text=text + said, floor=None)


def _open(found: Finding) -> bool:
    """Whether more steps may change the verdict: it is bad, and the end of the run does not explain it."""
    explained = found.severity == "floor" and found.floor is not None and found.floor < found.error
    return found.severity not in ("nan", "converges") and not explained


def _chosen(
    sampler: Sampler,
    documented: Model | None,
    unit: float,
    stated_order: int,
    steps: Sequence[int],
    search: bool,
    likely: Model | None,
) -> tuple[Finding, str, str]:
    """The finding with the model that fits, a note on that, and what the verdict says of it."""
    first = None if documented is None else _judge(sampler, documented, stated_order, steps)
    if documented is not None and first is not None:
        if not search or not first.affine or first.severity == "converges":
            return first, "", ""
        before = first.error
        note = f"stated is {documented}, which leaves an error of {before:.2g}"
        length = _leap(sampler, documented, first.steps) if first.draws and first.severity != "nan" else 0.0
        if length > 0.0:
            leaping = replace(documented, function="consistency" if math.isinf(length) else "trajectory")
            found = _judge(sampler, leaping, stated_order, steps)
            if found.error < _BETTER * before:
                note += "; its steps lead far below the next noise level however many there are"
                return found, note, f"; reads the output as {leaping}"
        if first.severity != "diverges":
            return first, "", ""
    counts = first.steps if first else tuple(_paths(sampler, Model(), steps))
    most = _TRIAL if first else 2 * _TRIAL  # with nothing stated the choice is final
    trial = max(count for count in counts if count <= max(most, counts[0]))
    errors: dict[Model, float] = {}
    for model in (likely, *models(unit)) if likely else models(unit):
        path = propagate(sampler, trial, model, mean=MEAN, variance=VARIANCE)
        errors[model] = distance(path) if path.finite and path.defect <= _AFFINE else math.inf
        if model == likely and errors[model] < _BELIEVED:
            break
    best = min(errors, key=errors.__getitem__)
    if first is None and best.function == "consistency" and errors[best] < math.inf:
        network = Model("network", function="trajectory")
        path = propagate(sampler, trial, network, mean=MEAN, variance=VARIANCE)
        if path.finite and distance(path) < _BETTER * errors[best]:
            return (
                _judge(sampler, network, stated_order, counts),
                _ANY_NETWORK,
                f"; reads the output as {network}",
            )
    if first is None:
        if errors[best] > _BELIEVED and math.inf in errors.values():
            best = next(model for model, error in errors.items() if error == math.inf)
        found = _judge(sampler, best, stated_order, counts)
        said = "" if found.severity == "converges" else f"; no prediction type is stated, {best} fits best"
        return found, f"no prediction type is stated; of the exact models {best} fits best", said
    if best == documented or not errors[best] < min(_BELIEVED, _BETTER * before):
        return first, "", ""
    found = _judge(sampler, best, stated_order, counts)
    if found.severity == "diverges":
        return first, "", ""
    return found, note, f"; reads the output as {best}"


def _leap(sampler: Sampler, model: Model, counts: Sequence[int]) -> float:
    """How far below the noise level a step without its noise leads, in log(sigma / alpha); 0 where more steps shorten it.

    Where they do not the denoiser is not what makes it right: a jump of that length wants the flow's own.
    """
    lengths = []
    half = [count for count in counts if 2 * count <= counts[-1]]
    for count in (*half[-1:], counts[-1]):
        path = propagate(sampler, count, model, mean=MEAN, variance=VARIANCE, aims=True)
        middle = len(path.alpha) // 2
        (alpha, sigma), aim = (path.alpha[middle], path.sigma[middle]), path.aims[middle]
        if not (sigma > 0.0 and alpha > 0.0 and aim[0] > 0.0):
            return 0.0
        lengths.append(math.log(sigma / alpha * aim[0] / aim[1]) if aim[1] > SINGLE else math.inf)
    stays = len(lengths) > 1 and (math.isinf(lengths[1]) or lengths[1] > _SHRINKS * lengths[0] > 0.0)
    return lengths[1] if stays else 0.0


def _own_level(sampler: Sampler, found: Finding) -> Finding:
    """Say so where the model, told the noise level that the state has, leaves little of the error."""
    count = max(found.steps)
    path = propagate(sampler, count, found.model, mean=MEAN, variance=VARIANCE, own=True)
    if not path.finite or distance(path) > _BETTER * found.error:
        return found
    text = "state and model disagree" + found.text[found.text.index(": error") :]
    said = f"; {distance(path):.2g} with the model at the noise level that the state has"
    return replace(found, severity="mismatch", text=text + said, floor=None)


def _judge(sampler: Sampler, model: Model, stated_order: int, steps: Sequence[int]) -> Finding:
    paths = _paths(sampler, model, steps)
    counts, last = tuple(paths), paths[max(paths)]
    means = tuple(float(path.mean[-1]) - MEAN for path in paths.values())
    stds = tuple(float(path.std[-1]) - math.sqrt(VARIANCE) for path in paths.values())
    affine = not last.finite or all(path.defect <= _AFFINE for path in paths.values())
    exact = _widened(sampler, model, paths)
    severity, text, order, level = _verdict(paths, exact or paths, stated_order)
    numbers = _numbers(paths, model)
    if exact:
        numbers += "; in double precision the point mass is where the model is called"
    return Finding(
        severity, text, numbers, counts, means, stds, order, level, model, affine, last.draws
    )  # fmt: skip


def _widened(sampler: Sampler, model: Model, paths: dict[int, Path]) -> dict[int, Path]:
    """The same runs with tables in double precision, where these do not part from the model's levels."""
    seen = next((count for count, path in paths.items() if gap(path)), None)
    wide = sampler.widened()
    if seen is None or wide is None:
        return {}
    if gap(propagate(wide, seen, model, mean=MEAN, variance=VARIANCE)):
        return {}
    return {count: propagate(wide, count, model, mean=MEAN, variance=VARIANCE) for count in paths}


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


def _verdict(
    paths: dict[int, Path], exact: dict[int, Path], stated_order: int
) -> tuple[Severity, str, float | None, float | None]:
    """The verdict on the runs; ``exact`` are those that show the causes."""
    counts = tuple(paths)
    last = paths[counts[-1]]
    if not last.finite:
        call = int(np.argmin(np.isfinite(last.mean) & np.isfinite(last.std)))
        why = ", where alpha = 0" if call and last.alpha[call - 1] == 0.0 else ""
        return "nan", f"NaN after call {call} of {counts[-1]} steps{why}", None, None
    errors = [distance(path) for path in paths.values()]
    floors = [floor(path) for path in paths.values()]
    steady = SINGLE < floors[-1] < _BELIEVED and (len(floors) < 2 or floors[-1] > 0.7 * floors[-2])
    level = floors[-1] if steady else None
    lost = [max(SINGLE, _JUMP * last_jump(path)) for path in paths.values()]
    shown = [(count, above(path, steady)) for count, path in paths.items()]
    slopes = _slopes(shown)
    order = slopes[0] if slopes else None
    at = f"{errors[-1]:.2g} at {counts[-1]} steps"
    cause = describe(exact)
    parted = any(gap(path) for path in exact.values()) and disagrees(exact)
    if max(errors) <= SINGLE:
        return "converges", f"exact: {max(errors):.0e} at every step count", None, None
    falls = order is not None and order > _FLAT
    if not falls and errors[-1] > lost[-1] and not (steady and errors[-1] < 1.5 * floors[-1]):
        if other_grid(exact):
            return (
                "mismatch",
                f"state and model disagree: error {at}, which does not fall{cause}",
                order,
                errors[-1],
            )
        severity: Severity = "diverges" if errors[-1] > 1e-2 else "floor"
        text = "does not converge" if severity == "diverges" else "stays away"
        text += " at the noise levels that it states" if parted else ""
        return severity, f"{text}: error {at}{cause}", order, errors[-1]
    if level is not None and (errors[-1] < _EXPLAINS * level or not parted):
        return "floor", f"floor {level:.2g}, error {at}{cause}", order, level
    said = "" if order is None else f", order {order:.1f}"
    if disagrees(exact):
        return "mismatch", f"state and model disagree: error {at}{said}{cause}", order, None
    if order is not None and order < stated_order - _SLOW:
        open_ = [pair for pair, least in zip(shown, lost, strict=True) if pair[1] > least]
        settled = _slopes(open_)
        settled = settled if settled and settled[-1] - settled[0] < _RISES and errors[-1] < _BELIEVED else ()
        if len(open_) >= _SHOWN and settled and max(settled) < stated_order - _SLOW:
            return "slow", f"order {order:.1f} where {stated_order} is stated: error {at}{cause}", order, None
        if errors[-1] <= lost[-1]:
            cause += f"; the last step alone loses {last_jump(last):.2g}"
    return "converges", f"converges{said}: error {at}{cause}", order, None


def _slopes(errors: Sequence[tuple[int, float]]) -> tuple[float, ...]:
    """The slope over the last two doublings above rounding, and over the last, of the largest error from each count on.

    An error that changes its sign on the way down is small at one count by chance.
    """
    envelope = [(n, max(e for _, e in errors[i:])) for i, (n, _) in enumerate(errors)]
    kept = [(n, e) for n, e in envelope if e > SINGLE][-3:]
    n_last, e_last = kept[-1] if kept else (0, 0.0)
    return tuple(math.log(e / e_last) / math.log(n_last / n) for n, e in kept[:-1])


def _numbers(paths: dict[int, Path], model: Model) -> str:
    last = paths[max(paths)]
    return (
        f"data N({MEAN:g}, {VARIANCE:g}); exact model ({model}) where the scheduler says that its state is; "
        f"start at the exact marginal alpha = {last.alpha[0]:.4g}, sigma = {last.sigma[0]:.4g}; "
        f"{last.draws} normals drawn in {len(last.alpha)} calls; superposition holds to {last.defect:.0e}; "
        f"a point mass ends at alpha = {last.point_mean[-1] / MEAN:.6g}, sigma = {last.point_std[-1]:.3g}"
    )


def _with(found: Finding, note: str, said: str) -> Finding:
    if not note:
        return found
    return replace(found, reason=f"{note}; {found.reason}", text=found.text + said)
