"""One whole sampler in, one row out: a function that calls the model by itself, and a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from driftproof.numerics.samplers.parametrization import DIFFUSERS
from driftproof.theory.processes import AbstractGaussianProcess

from .findings import Finding
from .interface import option
from .levels import Levels
from .models import Model
from .pipelines import pipeline_sampler
from .rows import Row
from .runs import Run, RunSampler, Start
from .samplers import STEPS, audit_sampler
from .schedulers import asked, lines, row, stated_order

__all__ = ["audit_pipeline", "audit_run"]


def audit_run(
    function: Run,
    levels: Levels | AbstractGaussianProcess,
    start: Start | None = None,
    *,
    prediction: str | None = None,
    order: int = 1,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    steps: Sequence[int] = STEPS,
    fast: bool = False,
    reproduction: str | None = None,
) -> Row:
    """Audit a function ``run(model, x, n)`` that calls ``model(x, t)`` by itself.

    Raises:
        UnmetHypothesis: See :class:`~driftproof.validation.audits.runs.RunSampler`.
    """
    sampler = RunSampler(function, levels, start)
    documented = None if prediction is None else asked(prediction)
    found = _found(sampler, documented, prediction is None, order, steps, fast)
    where = name or f"{function.__module__}.{getattr(function, '__qualname__', type(function).__name__)}"
    said = {**(options or {}), "prediction": str(found.model)}
    clock = getattr(levels, "__name__", repr(levels))
    return row(found, where, said, reproduction or lines(where, f", levels={clock}"))


def audit_pipeline(
    pipeline: Any,
    *,
    levels: Levels | AbstractGaussianProcess | None = None,
    arguments: Mapping[str, Any] | None = None,
    prediction: str | None = None,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    steps: Sequence[int] = STEPS,
    fast: bool = False,
    reproduction: str | None = None,
) -> Row:
    """Audit a pipeline of diffusers: the law of its latents, with the exact model in place of its network.

    Raises:
        UnmetHypothesis: It takes no latents, or guides: its network is called with several states at once.
    """
    scheduler = pipeline.scheduler
    flow = getattr(scheduler, "alphas_cumprod", None) is None
    stated = option(scheduler, "prediction_type", "flow_prediction" if flow else None)
    documented = asked(prediction) if prediction else Model(stated) if stated in DIFFUSERS else None
    sampler = pipeline_sampler(pipeline, levels, arguments)
    found = _found(sampler, documented, prediction is None, stated_order(scheduler, {}), steps, fast)
    where = name or f"{type(pipeline).__module__}.{type(pipeline).__qualname__}"
    said = {**(options or {}), "scheduler": type(scheduler).__name__, "prediction": str(found.model)}
    made = "from driftproof.validation import audit\nrow = audit(pipeline)  # yours\nprint(row.verdict)"
    return row(found, where, said, reproduction or made)


def _found(
    sampler: RunSampler,
    documented: Model | None,
    search: bool,
    order: int,
    steps: Sequence[int],
    fast: bool,
) -> Finding:
    try:
        return audit_sampler(
            sampler, documented, stated_order=order, steps=steps, search=search, confirm=not fast
        )
    finally:
        sampler.close()
