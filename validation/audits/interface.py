"""The arguments and results of a scheduler, read from its signatures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from driftproof._namespace import UnmetHypothesis

__all__ = ["check", "forward_process", "missing", "option", "parameters", "takes_named"]

_STEP = ("model_output", "timestep", "sample")
# The names of data, noise and time, where a forward process takes whatever it is given.
_FORWARD: Final = {
    "add_noise": ("original_samples", "noise", "timesteps"),
    "scale_noise": ("sample", "noise", "timestep"),
}


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The named parameters of a function or bound method."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = inspect.signature(function).parameters
    return {name: each for name, each in found.items() if each.kind not in variadic and name != "self"}


def takes_named(function: Callable[..., Any], kind: Any = inspect.Parameter.VAR_KEYWORD) -> bool:
    """Whether it takes whatever it is given by name, as ``step(self, *args, **kwargs)`` does."""
    return any(each.kind == kind for each in inspect.signature(function).parameters.values())


def _takes_any(function: Callable[..., Any]) -> bool:
    return takes_named(function) or (
        not parameters(function) and takes_named(function, inspect.Parameter.VAR_POSITIONAL)
    )


def missing(scheduler: Any, given: Collection[str] = ()) -> tuple[str, ...]:
    """The parts that a scheduler (or its class) lacks for the probe, in words; empty where it can be probed.

    Arguments:
        scheduler: The object or its class.
        given: Arguments of ``step`` that the user gives.
    """
    lacks = []
    for method in ("set_timesteps", "step"):
        if not callable(getattr(scheduler, method, None)):
            lacks.append(f"it has no {method}")
    if not lacks:
        wanted = _required(scheduler.step) - {*_STEP, *given}
        if wanted:
            lacks.append(f"step needs {', '.join(sorted(wanted))}, and step_options does not give it")
        if not set(_STEP) <= set(parameters(scheduler.step)) and not _takes_any(scheduler.step):
            lacks.append("step does not take (model_output, timestep, sample)")
        wanted = _required(scheduler.set_timesteps)
        if "num_inference_steps" in parameters(scheduler.set_timesteps):
            wanted -= {"num_inference_steps"}
        elif len(wanted) == 1:  # the count under another name
            wanted = set()
        if wanted:
            lacks.append(f"set_timesteps needs {', '.join(sorted(wanted))}")
    forward = forward_process(scheduler)
    if forward is None:
        lacks.append("it states no forward process: neither add_noise nor scale_noise")
    elif isinstance(forward, str):
        lacks.append(forward)
    return tuple(lacks)


def check(scheduler: Any, given: Collection[str] = ()) -> None:
    """Raise UnmetHypothesis where a scheduler (or its class) lacks something for the probe."""
    lacks = missing(scheduler, given)
    if lacks:
        raise UnmetHypothesis(
            "audit", "a scheduler with set_timesteps, step(model_output, timestep, sample) and "
            "add_noise(original_samples, noise, timesteps)", "; ".join(lacks)
        )  # fmt: skip


def option(scheduler: Any, name: str, default: Any = None) -> Any:
    """An option of a scheduler: of its ``config`` where it has one, or an attribute."""
    config = getattr(scheduler, "config", None)
    found = config.get(name) if isinstance(config, Mapping) else None
    return getattr(scheduler, name, default) if found is None else found


def _required(function: Callable[..., Any]) -> set[str]:
    return {name for name, each in parameters(function).items() if each.default is each.empty}


def forward_process(scheduler: Any) -> Any:
    """The forward process and the names of its data, noise and time; or what is wrong with it, in words."""
    for name, usual in _FORWARD.items():
        method = getattr(scheduler, name, None)
        if not callable(method):
            continue
        if not parameters(method) and takes_named(method):
            return method, usual
        found = parameters(method)
        noise = [each for each in found if "noise" in each]
        time = [each for each in found if "time" in each]
        data = [each for each in found if each not in (*noise, *time)]
        if (len(data), len(noise), len(time)) == (1, 1, 1):
            return method, (data[0], noise[0], time[0])
        return f"its {name}({', '.join(found)}) is no map of data, Gaussian noise and time"
    return None
