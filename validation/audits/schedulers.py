"""One sampler in, one row out: schedulers with ``set_timesteps`` and ``step``, and plain step functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from driftproof._namespace import UnmetHypothesis
from driftproof.numerics.samplers.parametrization import DIFFUSERS
from driftproof.theory.processes import VP, AbstractGaussianProcess

from .adapters import SchedulerSampler
from .findings import Finding
from .interface import option, parameters
from .models import Model
from .rows import Row
from .samplers import STEPS, audit_sampler
from .steps import StepSampler

__all__ = [
    "STEP_PARAMETERS",
    "asked",
    "audit_scheduler",
    "audit_step",
    "examine",
    "is_scheduler",
    "is_step",
    "lines",
    "row",
    "stated_order",
]

STEP_PARAMETERS: Final = ("model_output", "t", "s", "sample", "noise")


def is_scheduler(thing: Any) -> bool:
    """Whether it has ``set_timesteps`` and ``step``, or one of them: then what is missing is said."""
    return hasattr(thing, "set_timesteps") or (hasattr(thing, "step") and not callable(thing))


def is_step(thing: Any) -> bool:
    """Whether it is a function ``step(model_output, t, s, sample, noise)``.

    Example:
        >>> is_step(lambda model_output, t, s, sample, noise: sample)
        True
    """
    if not callable(thing):
        return False
    try:
        return tuple(parameters(thing))[:5] == STEP_PARAMETERS
    except (TypeError, ValueError):
        return False


def audit_scheduler(
    scheduler: Any,
    *,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    step_options: Mapping[str, Any] | None = None,
    prediction: str | None = None,
    steps: Sequence[int] = STEPS,
    fast: bool = False,
    reproduction: str | None = None,
) -> Row:
    """Audit an object with ``set_timesteps``, ``timesteps``, ``step`` and a forward process.

    Raises:
        UnmetHypothesis: It lacks one of these, its step changes the shape, its noise level rises.
    """
    found = examine(
        scheduler, step_options=step_options, prediction=prediction, steps=steps, confirm=not fast
    )
    where = name or f"{type(scheduler).__module__}.{type(scheduler).__qualname__}"
    own = _chosen(scheduler) if options is None else options
    said = {**own, **{f"step({key})": value for key, value in (step_options or {}).items()}}
    made = "".join(f", {key}={value!r}" for key, value in own.items()).removeprefix(", ")
    chosen = ", ".join(f"{key!r}: {_written(value)}" for key, value in (step_options or {}).items())
    more = f", step_options={{{chosen}}}" if chosen else ""
    more += f", prediction={prediction!r}" if prediction else ""
    imports = "import torch; " if "torch." in more else ""
    return row(found, where, said, reproduction or imports + lines(where, f"({made}){more}"))


def _written(value: Any) -> str:
    """A value as an expression; a generator, whose state does not matter here, as a new one."""
    import torch

    return "torch.Generator()" if isinstance(value, torch.Generator) else repr(value)


def _chosen(scheduler: Any) -> dict[str, Any]:
    """The options of a configured object that are not the defaults of its class."""
    config = getattr(scheduler, "config", None)
    if not isinstance(config, Mapping):
        return {}
    defaults = parameters(type(scheduler).__init__)
    return {
        name: config[name]
        for name, each in defaults.items()
        if name in config and repr(config[name]) != repr(each.default)
    }


def examine(
    scheduler: Any,
    *,
    step_options: Mapping[str, Any] | None = None,
    prediction: str | None = None,
    steps: Sequence[int] = STEPS,
    search: bool = True,
    confirm: bool = True,
    settled: bool = True,
    whole: bool = True,
    trial: bool = False,
) -> Finding:
    """The finding behind :func:`audit_scheduler`.

    Arguments:
        search: Try other exact models where the stated one does not converge.
        confirm: Run what looks good, too, at more steps and with other data.
        settled: Run a Monte Carlo where a step is not affine.
        whole, trial: As in :func:`~driftproof.validation.audits.samplers.audit_sampler`.
    """
    sampler = SchedulerSampler(scheduler, step_options)
    return audit_sampler(
        sampler,
        _documented(option(scheduler, "prediction_type")) if prediction is None else asked(prediction),
        unit=sampler.unit,
        stated_order=stated_order(scheduler, step_options or {}),
        steps=steps,
        search=search and prediction is None,
        confirm=confirm,
        settled=settled,
        whole=whole,
        trial=trial,
    )


def audit_step(
    function: Callable[..., Any],
    *,
    process: AbstractGaussianProcess | None = None,
    grid: Callable[[int], Sequence[float]] | None = None,
    prediction: str | None = None,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    steps: Sequence[int] = STEPS,
    fast: bool = False,
    reproduction: str | None = None,
) -> Row:
    """Audit a function ``step(model_output, t, s, sample, noise)`` over NumPy arrays and noise times t > s.

    Raises:
        UnmetHypothesis: The step changes the shape, or the grid rises.
    """
    process = process or VP()
    sampler = StepSampler(function, process, grid)
    found = audit_sampler(
        sampler, asked(prediction or "epsilon"), steps=steps, search=False, confirm=not fast
    )
    where = name or f"{function.__module__}.{getattr(function, '__qualname__', type(function).__name__)}"
    said = {**(options or {}), "process": type(process).__name__, "prediction": str(found.model)}
    return row(found, where, said, reproduction or lines(where))


def row(found: Finding, name: str, options: Mapping[str, Any], reproduction: str) -> Row:
    """A finding as a row of the report; JSON has no NaN: there the errors are left out."""
    finite = bool(np.all(np.isfinite([*found.mean_error, *found.std_error])))
    return Row(
        object=name,
        options=dict(options),
        verdict=found.text,
        reason=found.reason,
        reproduction=reproduction,
        mean_error=found.mean_error if finite else None,
        std_error=found.std_error if finite else None,
        order=found.order,
        floor=found.floor,
        steps=found.steps,
        severity=found.severity,
        affine=found.affine,
        order_interval=found.order_interval,
        laws=found.laws if finite else {},
        refused=found.refused,
        label_error=found.label_error,
        confirmed=found.confirmed,
    )


def stated_order(scheduler: Any, chosen: Mapping[str, Any]) -> int:
    """The largest order that a scheduler states: among its options, as ``order``, or as an option of step.

    Arguments:
        scheduler: The scheduler.
        chosen: The options of step that are not at their defaults.
    """
    config = getattr(scheduler, "config", None)
    options = {**config} if isinstance(config, Mapping) else {}
    asked = {name: each.default for name, each in parameters(scheduler.step).items()} | {**chosen}
    found = [
        value
        for name, value in (*options.items(), *asked.items(), ("order", getattr(scheduler, "order", 1)))
        if "order" in name and isinstance(value, int) and not isinstance(value, bool)
    ]
    return max([1, *found])


def _documented(stated: Any) -> Model | None:
    return Model(stated) if stated in DIFFUSERS else None


def asked(prediction: str) -> Model:
    """The denoiser of a stated prediction.

    Raises:
        UnmetHypothesis: There is no such prediction.
    """
    found = _documented(prediction)
    if found is None:
        raise UnmetHypothesis("audit", f"prediction is one of {', '.join(DIFFUSERS)}", repr(prediction))
    return found


def lines(where: str, call: str = "") -> str:
    """The reproduction of an audit of an object, by its import path and what stands behind its name."""
    module, _, attribute = where.rpartition(".")
    return "\n".join(
        (
            f"from {module} import {attribute}",
            "from driftproof.validation import audit",
            f"row = audit({attribute}{call})",
            "print(row.verdict, row.mean_error, row.std_error)",
        )
    )
