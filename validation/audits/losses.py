r"""Which objective does a loss descend?  Its expected gradient is a finite sum, and so is every objective's.

The gradient of a loss, in double precision and over all tokens, is compared with those of named objectives
(:mod:`.objectives`), up to one factor.  Whatever fits is confirmed elsewhere: other vocabularies, batches,
lengths, masks, confident laws.  Nothing is known of the loss but what it returns: its rounding is the
difference to the same operations in double precision, and its randomness is what it draws.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftproof._namespace import UnmetHypothesis

from .arithmetic import coarsest
from .fitting import CONFIRMED, Candidate, direction, fitted, fixed_fits, reduced
from .forms import Call, Form, bound, form_of
from .loss_findings import Finding
from .measuring import Precision, Run, measured, slope
from .objectives import Family, Objective, catalogue, families, meant
from .objectives.divergences import values
from .points import PAIRS, Pair, Point, confirming, first
from .uncertain import drawing, within_rounding

__all__ = ["PAIRS", "Finding", "Form", "Objective", "Pair", "form_of", "identify", "objectives"]

Vector = NDArray[np.float64]

# A gradient below this is none.
_NOTHING = 1e-12
# Differences of order four leave this much of a slope.
_SLOPE = 1e-6


def objectives() -> tuple[Objective, ...]:
    """The catalogue of distillation: exact gradients first, then what estimators descend instead.

    Example:
        >>> objectives()[0].name, objectives()[1].name, objectives()[2].name
        ('zero', 'reverse_kl', 'forward_kl')
    """
    return catalogue("logits")


def identify(
    loss: Callable[..., Any],
    form: Form | None = None,
    *,
    off_policy: bool = False,
    dtype: Precision = "float64",
    also: Sequence[str] = (),
    arguments: Mapping[str, Any] | None = None,
) -> Finding:
    """Compare the expected gradient of a loss with every objective of its form.

    Arguments:
        loss: A function, an object that can be called, or an ``nn.Module`` (which is copied).  What it returns
            is summed.
        form: Its form, where the names of its parameters do not tell: see :mod:`.forms`.
        off_policy: Tokens come from another policy than the student's.
        dtype: Precision of the tensors that it is given.
        also: Further objectives to compare with, as :func:`~.objectives.meant` reads them.
        arguments: Keyword arguments of the loss.

    Raises:
        UnmetHypothesis: The form is not known, or the gradient is not finite.

    Example:
        >>> identify(lambda logp, teacher_logp: 0.5 * (logp - teacher_logp) ** 2).matches[0]
        'reverse_kl'
    """
    learnable = 0
    if hasattr(loss, "parameters") and hasattr(loss, "forward"):
        loss = copy.deepcopy(loss)
        learnable = sum(each.numel() for each in loss.parameters() if each.requires_grad)
    call = bound(loss, form, arguments)
    roles = call.roles
    points = first(call.form, roles)
    options: dict[str, Any] = {"off_policy": off_policy, "dtype": dtype}
    own = [measured(call, point, double=False, **options) for point in points]
    again = measured(call, points[0], double=False, **options)
    runs = _raised(call, points, off_policy) or own
    gradient = np.concatenate([run.gradient for run in runs])
    if not np.all(np.isfinite(gradient)):
        raise UnmetHypothesis("audit", "the gradient of the loss is finite", f"{gradient}")
    asked = [meant(name, call.form, roles) for name in also]
    drawn = sorted({name for run in own for name in run.seen.draws})
    if drawn or not np.array_equal(again.gradient, own[0].gradient):
        found = drawing(call, points, off_policy, [each for objectives, _, _ in asked for each in objectives])
        found = replace(found, draws=tuple(drawn) or ("a generator of its own, or its own history",))
    elif runs is own and any(run.seen.coarsest != "float64" for run in own):
        found = within_rounding(call.form, roles, gradient, own)
    else:
        found = _exact(call, points, runs, own, asked, off_policy)
    return replace(found, learnable=learnable)


def _raised(call: Call, points: Sequence[Point], off_policy: bool) -> list[Run]:
    """The same operations in double precision; nothing where some code of the loss refuses that."""
    try:
        return [measured(call, point, double=True, off_policy=off_policy) for point in points]
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, NotImplementedError):
        return []


def _exact(
    call: Call, points: list[Point], runs: list[Run], own: list[Run], asked: Sequence[Any], off_policy: bool
) -> Finding:
    gradient = np.concatenate([run.gradient for run in runs])
    size = float(np.max(np.abs(gradient)))
    fits = fixed_fits(gradient, call.form, call.roles, [each for those, _, _ in asked for each in those])
    nearest = min(fits, key=lambda fit: fit.error)
    searches = _searches(call, asked) if size > _NOTHING else []
    while True:
        holding = [fit for fit in fits if fit.holds and fit.objective.name != "zero"]
        if size <= _NOTHING:
            holding = [fit for fit in fits if fit.objective.name == "zero"]
        candidates = [each for fit in holding for each in reduced(fit, gradient, call.form, call.roles)]
        found, confirmed, failed, skipped = _confirm(call, candidates, off_policy)
        if found or not searches:
            break
        fits += fitted(gradient, searches.pop(0), call.form, call.roles)
    found.sort(key=lambda each: each.rank)
    chosen = found[0] if found else None
    names = [each.objective.name for each in found if each.rank == found[0].rank]
    if chosen is not None:
        nearest = next(fit for fit in fits if fit.objective is chosen.objective)
    own_gradient = np.concatenate([run.gradient for run in own])
    scale = chosen.scale if chosen else nearest.scale
    factor = scale if chosen is None else chosen.scale
    target, values_there = direction(nearest.objective, points, chosen.reduction if chosen else "sum")
    length = float(np.linalg.norm(gradient) * np.linalg.norm(target))
    return Finding(
        form=call.form,
        roles=call.roles,
        matches=tuple(dict.fromkeys(names)),
        scale=scale,
        reduction=chosen.reduction if chosen and len(confirmed) > 0 else "",
        error=float(np.max(np.abs(own_gradient - factor * target))),
        nearest=nearest.objective.name,
        said=nearest.objective.text,
        cosine=float(gradient @ target) / length if length > 0.0 else 0.0,
        rivals=(),
        value=runs[0].value,
        described=_described(call, points, runs, factor * values_there, off_policy),
        dtype=own[0].dtype,
        coarsest=coarsest(run.seen for run in own),
        rounding=float(np.max(np.abs(own_gradient - gradient))) / size if size > 0.0 else 0.0,
        tolerance=CONFIRMED * size,
        confirmed=tuple(confirmed),
        failed=failed,
        skipped=tuple(skipped),
    )


def _searches(call: Call, asked: Sequence[Any]) -> list[Sequence[Family]]:
    """Which families are fitted where nothing fixed is confirmed: those asked for, then all."""
    wanted = [family for _, those, _ in asked for family in those]
    every = list(families(call.form, call.roles))
    return [wanted, every] if wanted else [every]


def _confirm(
    call: Call, found: list[Candidate], off_policy: bool
) -> tuple[list[Candidate], list[str], str, list[str]]:
    """The candidates that hold elsewhere, where they do, where not, and where the loss cannot be called."""
    confirmed: list[str] = []
    skipped: list[str] = []
    for point in confirming(call.form, call.roles) if found else ():
        try:
            run = measured(call, point, double=True, off_policy=off_policy)
        except (RuntimeError, TypeError, ValueError, LookupError, AssertionError, NotImplementedError):
            skipped.append(point.name)
            continue
        if not run.finite:
            return [], confirmed, f"on {point.name} its gradient is not finite", skipped
        size = float(np.max(np.abs(run.gradient)))
        errors = {id(each): _error(each, point, run) for each in found}
        left = [each for each in found if errors[id(each)] <= CONFIRMED * size + _NOTHING]
        if not left:
            return [], confirmed, _elsewhere(found[0], point, run), skipped
        found = left
        confirmed.append(point.name)
    return found, confirmed, "", skipped


def _error(candidate: Candidate, point: Point, run: Run) -> float:
    of, _ = direction(candidate.objective, [point], candidate.reduction)
    return float(np.max(np.abs(run.gradient - candidate.scale * of)))


def _elsewhere(candidate: Candidate, point: Point, run: Run) -> str:
    """The part that fails at a point: the factor, or the direction."""
    of, _ = direction(candidate.objective, [point])
    square = float(of @ of)
    scale = float(run.gradient @ of) / square if square > 0.0 else 0.0
    if square > 0.0 and np.max(np.abs(run.gradient - scale * of)) <= CONFIRMED * np.max(np.abs(run.gradient)):
        return (
            f"{candidate.objective.text} at the first points, and {scale:.6g} times its sum on {point.name}: "
            "by no reduction that has a name"
        )
    return f"{candidate.objective.text} at the first points, but not on {point.name}"


def _described(call: Call, points: list[Point], runs: list[Run], expected: Vector, off_policy: bool) -> str:
    """What the value is, where the gradient is not its gradient; empty where it is."""
    value = np.asarray([run.value for run in runs])
    scale = float(np.max(np.abs(value)))
    if np.max(np.abs(value - expected)) <= CONFIRMED * scale + _NOTHING:
        return ""
    if call.form == "policy" or all(
        _differentiates(call, point, run, off_policy) for point, run in zip(points, runs, strict=True)
    ):
        return ""
    if call.form in ("logits", "logp", "sampled"):
        directions = ("stop_gradient", "pathwise")  # these are named for their gradients
        known = [each for each in catalogue(call.form) if not each.name.startswith(directions)]
        for each in (*known, *values()):
            _, of = direction(each, points)
            square = float(of @ of)
            factor = float(value @ of) / square if square > 0.0 else 0.0
            if factor != 0.0 and np.max(np.abs(value - factor * of)) <= CONFIRMED * scale:
                return each.text if abs(factor - 1.0) < 1e-8 else f"{factor:.6g} times {each.text}"
    return "not what it descends: something is detached"


def _differentiates(call: Call, point: Point, run: Run, off_policy: bool) -> bool:
    """Whether the gradient is that of the value, along one direction."""
    towards = np.cos(np.arange(1.0, len(run.gradient) + 1.0) ** 2)
    found = slope(call, point, towards, off_policy=off_policy)
    length = float(np.linalg.norm(run.gradient) * np.linalg.norm(towards))
    return abs(found - float(run.gradient @ towards)) <= _SLOPE * max(length, abs(found)) + 1e-9
