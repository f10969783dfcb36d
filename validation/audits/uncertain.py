"""Where nothing is exact: a loss that draws, and one whose arithmetic cannot be raised to double precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .arithmetic import coarsest
from .fitting import fixed_fits
from .forms import Call, Form
from .loss_findings import Finding
from .measuring import Run, Spread, spread
from .objectives import Objective
from .points import Point

__all__ = ["drawing", "within_rounding"]

Vector = NDArray[np.float64]

# Calls of a loss that draws, and standard errors within which a mean is not distinguished from an objective.
_CALLS, _ERRORS = 300, 5.0
# Where the arithmetic cannot be raised: multiples of its spacing that pass, and how much worse a rival is.
_SPACINGS, _CLEARLY = 16.0, 5.0


def drawing(call: Call, points: list[Point], off_policy: bool, asked: Sequence[Objective]) -> Finding:
    """A loss that draws: its mean beside the objectives, in standard errors."""
    calls = _CALLS // (5 if call.form in ("logp", "sampled") else 1)
    spreads = [spread(call, point, calls, off_policy=off_policy) for point in points]
    mean = np.concatenate([each.mean for each in spreads])
    deviation = np.concatenate([each.deviation for each in spreads])
    whole = Spread(mean, deviation, spreads[0].value, calls)
    size = float(np.max(np.abs(mean)))
    allowed = _ERRORS * whole.error + 1e-9 * size
    fits = [fit for fit in fixed_fits(mean, call.form, call.roles, asked) if fit.scale != 0.0]
    plain = {id(fit): float(np.max(np.abs(mean - fit.gradient) / allowed)) for fit in fits}
    nearest = min(fits, key=lambda fit: round(plain[id(fit)], 6))
    names = tuple(fit.objective.name for fit in fits if plain[id(fit)] <= 1.0)
    length = float(np.linalg.norm(mean) * np.linalg.norm(nearest.gradient))
    return Finding(
        form=call.form,
        roles=call.roles,
        matches=names,
        scale=1.0 if names else nearest.scale,
        reduction="",
        error=float(np.max(np.abs(mean - nearest.gradient))),
        nearest=nearest.objective.name,
        said=nearest.objective.text,
        cosine=float(mean @ nearest.gradient) / length if length > 0.0 else 0.0,
        rivals=(),
        value=whole.value,
        described="",
        dtype="float64",
        coarsest="float64",
        rounding=0.0,
        tolerance=float(np.max(allowed)),
        random=whole,
    )


def within_rounding(form: Form, roles: tuple[str, ...], gradient: Vector, own: list[Run]) -> Finding:
    """Where the arithmetic cannot be raised: what its own precision tells apart."""
    import torch

    lowest = coarsest(run.seen for run in own)
    size = float(np.max(np.abs(gradient)))
    limit = _SPACINGS * torch.finfo(getattr(torch, lowest)).eps
    fits = fixed_fits(gradient, form, roles)
    best = min(fits, key=lambda fit: fit.error)
    rivals = [fit for fit in fits if fit.error <= min(limit, _CLEARLY * best.error)]
    unlike = [
        fit
        for fit in rivals
        if np.max(np.abs(fit.scale * fit.gradient - best.scale * best.gradient)) > 1e-9 * size
    ]
    names = tuple(fit.objective.name for fit in rivals) if best.error <= limit and not unlike else ()
    length = float(np.linalg.norm(gradient) * np.linalg.norm(best.gradient))
    return Finding(
        form=form,
        roles=roles,
        matches=names,
        scale=best.scale,
        reduction="",
        error=best.error * size,
        nearest=best.objective.name,
        said=best.objective.text,
        cosine=float(gradient @ best.gradient) / length if length > 0.0 else 0.0,
        rivals=tuple(fit.objective.text for fit in [best, *unlike]) if unlike else (),
        value=own[0].value,
        described="",
        dtype=own[0].dtype,
        coarsest=lowest,
        rounding=0.0,
        tolerance=limit * size,
    )
