r"""What a scheduler of diffusers makes of a grid that is given to it: measured, and known of no class.

A scheduler takes ``sigmas``, ``timesteps``, both or neither; it may want the last level in the list or append its own,
shift or respace what it is given, and round to the labels of its training.  So a grid is given in every way that its
signature has, and the outcome is read twice: the levels that its steps go through, and those that its labels stand for,
by the training table (:func:`levels_of_labels`).

Levels are :math:`\sigma/\alpha` of a model with a training table or of EDM's kind, and :math:`\sigma` of a flow,
which lies between 0 and 1.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
import torch

from driftproof.backends.torch.schedulers.levels import Floats, VPLevels

__all__ = [
    "PLAIN",
    "Kind",
    "Passed",
    "arguments",
    "best",
    "is_rounded",
    "kind_of_levels",
    "levels_of_labels",
    "set_grid",
    "tried",
]

Kind: TypeAlias = Literal["table", "flow", "edm"]

# Options that move the levels of a grid that is given; with these values they do not.
PLAIN: Final[Mapping[str, Any]] = {
    "shift": 1.0,
    "flow_shift": 1.0,
    "use_dynamic_shifting": False,
    "shift_terminal": None,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_lu_lambdas": False,
}

FORMS: Final[Mapping[str, Callable[[Floats], Any]]] = {
    "list": lambda given: given.tolist(),
    "array": lambda given: given,
    "tensor": lambda given: torch.as_tensor(given, dtype=torch.float32),
}


@final
@dataclass(frozen=True, slots=True, eq=False)
class Passed:
    """One way to give a grid to a scheduler, and what came out.

    Arguments:
        argument: ``sigmas`` or ``timesteps``.
        form: ``list``, ``array`` or ``tensor``: of what kind it was given.
        with_end: Whether the last level is in it.
        levels: The levels that its steps go through, (N + 1,); empty where the grid was refused.
        labelled: The levels that the network's labels stand for, before each step, (N,).
        reason: Why it was refused.
    """

    argument: str
    form: str
    with_end: bool
    levels: Floats
    labelled: Floats
    reason: str = ""

    def error(self, wanted: Floats) -> float:
        """The largest deviation, in the logarithm, of levels and labels from the wanted ones; at 0 infinite."""
        if self.levels.shape != wanted.shape or self.labelled.shape != wanted[:-1].shape:
            return math.inf
        return max(_apart(self.levels, wanted), _apart(self.labelled, wanted[:-1]))

    def labelled_error(self, wanted: Floats) -> float:
        """The largest deviation of the labels alone."""
        return _apart(self.labelled, wanted[:-1]) if self.labelled.shape == wanted[:-1].shape else math.inf


def kind_of_levels(scheduler: Any) -> Kind | None:
    """Which levels a scheduler has; None where its configuration does not say."""
    config = scheduler.config
    if config.get("use_flow_sigmas") or config.get("prediction_type") == "flow_prediction":
        return "flow"
    if config.get("sigma_data") is not None:
        return "edm"
    if getattr(scheduler, "alphas_cumprod", None) is not None:
        return "table"
    return "flow" if hasattr(scheduler, "scale_noise") or "shift" in config else None


def levels_of_labels(scheduler: Any, labels: Floats) -> Floats:
    """The levels that a network was trained with at the labels, between which the logarithm is linear."""
    match kind_of_levels(scheduler):
        case "flow":
            return labels / float(scheduler.config.get("num_train_timesteps", 1000))
        case "edm":
            return np.exp(4.0 * labels)  # c_noise = log(sigma) / 4
    table = np.asarray(scheduler.alphas_cumprod, dtype=np.float64)
    log = VPLevels(table, 1.0).log_ratio
    return np.exp(np.interp(labels, np.arange(log.size), log))


def tried(make: Callable[[], Any], levels: Sequence[float]) -> Iterator[Passed]:
    """Every way in which the scheduler takes a grid.

    Arguments:
        make: Makes the scheduler anew.
        levels: N + 1 levels that fall, of its kind.
    """
    names = inspect.signature(make().set_timesteps).parameters
    for argument in ("sigmas", "timesteps"):
        for with_end in (False, True) if argument in names else ():
            scheduler = make()
            given = arguments(scheduler, argument, with_end, levels)
            for form in FORMS:
                found = _set(make(), argument, form, given, with_end)
                if form == "list" or not found.reason:
                    yield found
                if not found.reason:
                    break


def best(make: Callable[[], Any], levels: Sequence[float]) -> Passed | None:
    """The way with the least error; None where the scheduler takes no grid."""
    wanted = np.asarray(levels, dtype=np.float64)
    return min(tried(make, levels), key=lambda way: (way.error(wanted), bool(way.reason)), default=None)


def arguments(scheduler: Any, argument: str, with_end: bool, levels: Sequence[float]) -> Floats:
    """The arguments of ``set_timesteps``: the levels, or their labels."""
    wanted = np.asarray(levels, dtype=np.float64)
    given = wanted if argument == "sigmas" else _labels(scheduler, wanted)
    if argument == "timesteps" and kind_of_levels(scheduler) == "table":
        given = np.round(given)  # most of these index by them
    return given if with_end else given[:-1]


def is_rounded(scheduler: Any, way: Passed, levels: Sequence[float], close: float) -> bool:
    """Whether the grid came out but for labels that are whole numbers.

    The steps go through the levels, or those of the nearest labels; the network's labels are less than one off.
    """
    wanted = np.asarray(levels, dtype=np.float64)
    if way.levels.shape != wanted.shape or way.labelled.shape != wanted[:-1].shape:
        return False
    exact = _labels(scheduler, wanted[:-1])
    nearest = np.append(levels_of_labels(scheduler, np.round(exact)), wanted[-1])
    off = np.abs(_labels(scheduler, way.labelled) - exact)
    return min(_apart(way.levels, wanted), _apart(way.levels, nearest)) <= close and bool((off < 1.001).all())


def set_grid(
    scheduler: Any, argument: str, form: str, given: Floats, device: Any = None, method: Any = None
) -> None:
    """Call ``set_timesteps``, or this method of the class, with a grid, and with its number of steps where that is wanted."""
    method = method or type(scheduler).set_timesteps
    needed = inspect.signature(method).parameters.get("num_inference_steps")
    options: dict[str, Any] = {argument: FORMS[form](given)}
    if device is not None:
        options["device"] = device
    if needed is not None and needed.default is inspect.Parameter.empty:
        options["num_inference_steps"] = len(given)
    method(scheduler, **options)


def _set(scheduler: Any, argument: str, form: str, given: Floats, with_end: bool) -> Passed:
    nothing = np.zeros(0)
    try:
        set_grid(scheduler, argument, form, given)
        levels, labelled = _read(scheduler)
    except Exception as error:  # noqa: BLE001  # of other people's code: whatever it raises is its answer
        said = str(error).partition("\n")[0] or type(error).__name__
        return Passed(argument, form, with_end, nothing, nothing, said)
    return Passed(argument, form, with_end, levels, labelled)


def _read(scheduler: Any) -> tuple[Floats, Floats]:
    """The levels of the steps and those of their labels, without what a method of two stages repeats."""
    labels = np.asarray(torch.as_tensor(scheduler.timesteps).double().cpu())
    labelled = levels_of_labels(scheduler, labels)
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is None:  # of labels alone: it ends at the data
        return np.append(labelled, 0.0), labelled
    levels = _once(np.asarray(torch.as_tensor(sigmas).double().cpu()))
    return levels, _once(labelled)


def _once(values: Floats) -> Floats:
    kept = [float(value) for value, following in pairwise([*values, math.nan]) if value != following]
    return np.asarray(kept)


def _labels(scheduler: Any, levels: Floats) -> Floats:
    """The labels of levels; 0 of the level 0."""
    match kind_of_levels(scheduler):
        case "flow":
            return levels * float(scheduler.config.get("num_train_timesteps", 1000))
        case "edm":
            return 0.25 * np.log(np.maximum(levels, 1e-12))
    if getattr(scheduler, "alphas_cumprod", None) is None:
        return levels
    table = VPLevels(np.asarray(scheduler.alphas_cumprod, dtype=np.float64), 1.0)
    return table.timesteps(np.maximum(levels, 1e-12))


def _apart(got: Floats, wanted: Floats) -> float:
    if (got[wanted == 0.0] != 0.0).any() or (got[wanted > 0.0] <= 0.0).any():
        return math.inf
    positive = wanted > 0.0
    return float(np.abs(np.log(got[positive] / wanted[positive])).max(initial=0.0))
