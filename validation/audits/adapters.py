"""Somebody's sampler as the probe sees it: schedulers of torch, and plain step functions.

Noise is data here too: while a scheduler runs, whatever torch would draw from a standard normal comes from
the probe instead.  A generator in a state that was seen before gives the same noise again, as it would.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from ..._namespace import UnmetHypothesis
from ...theory.processes import AbstractGaussianProcess
from .affine import Draw, EndOfGrid, Vector

__all__ = ["NEXT", "SchedulerSampler", "StepSampler", "check", "missing", "option", "parameters", "set_count"]

# Stands for the timestep of the next call as the value of an option of step; None after the last call.
NEXT = "next timestep"

_FORWARD = ("add_noise", "scale_noise")

# What a noise level sigma of a table may mean: the state that it belongs to, and (alpha, sigma) of that.
Reading: TypeAlias = Callable[[float], tuple[float, float]]
_READINGS: Final[Mapping[str, Reading]] = {
    "(1 - sigma) x_0 + sigma z": lambda sigma: (1.0 - sigma, sigma),
    "x_0 + sigma z": lambda sigma: (1.0, sigma),
    "(x_0 + sigma z) / sqrt(1 + sigma^2)": lambda sigma: (
        1.0 / math.hypot(1.0, sigma),
        sigma / math.hypot(1.0, sigma),
    ),
}

# Roundings of the scale of the model's input, relative: eight of them, where its tables are in single
# precision.  More would hide the noise level of a stage between two small ones.
_NARROW, _WIDE = 1e-6, 1e-9


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The named parameters of a function or bound method."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = inspect.signature(function).parameters
    return {name: each for name, each in found.items() if each.kind not in variadic and name != "self"}


def missing(scheduler: Any, given: Collection[str] = ()) -> tuple[str, ...]:
    """What a scheduler (or its class) lacks for the probe, in words; nothing where it can be probed.

    Arguments:
        scheduler: The object or its class.
        given: Arguments of ``step`` that the user gives.
    """
    lacks = []
    for method in ("set_timesteps", "step"):
        if not callable(getattr(scheduler, method, None)):
            lacks.append(f"it has no {method}")
    if not lacks:
        wanted = _required(scheduler.step) - {"model_output", "timestep", "sample", *given}
        if wanted:
            lacks.append(f"step needs {', '.join(sorted(wanted))}, and step_options does not give it")
        if not {"model_output", "timestep", "sample"} <= set(parameters(scheduler.step)):
            lacks.append("step does not take (model_output, timestep, sample)")
        wanted = _required(scheduler.set_timesteps)
        if "num_inference_steps" in parameters(scheduler.set_timesteps):
            wanted -= {"num_inference_steps"}
        elif len(wanted) == 1:  # the count under another name
            wanted = set()
        if wanted:
            lacks.append(f"set_timesteps needs {', '.join(sorted(wanted))}")
    forward = _forward_process(scheduler)
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


@final
class SchedulerSampler:
    """An object with ``set_timesteps(n)``, ``timesteps``, ``step`` and ``add_noise`` or ``scale_noise``.

    Arguments:
        scheduler: The object; it is copied before every run.
        options: Further keyword arguments of ``step``.
        wide: Widen its tensors in single precision once its grid is set.
        read: The noise levels are its ``sigmas``, read in this way, and not what its forward process makes.

    Raises:
        UnmetHypothesis: The object lacks one of these.
    """

    def __init__(
        self,
        scheduler: Any,
        options: Mapping[str, Any] | None = None,
        *,
        wide: bool = False,
        read: Reading | None = None,
    ) -> None:
        check(scheduler, options or ())
        self._original, self._options, self._wide = scheduler, dict(options or {}), wide
        self._read = read
        self._scheduler: Any = None
        self._prepared: dict[int, Any] = {}
        self._known: dict[tuple[int, int], tuple[float, float]] = {}  # add_noise, at steps and call
        self._seeds: Any = None
        self._steps = 0
        self._process: Any = None
        self._times: Any = ()
        self._square, self._scaled, self._ends = 1.0, False, False
        self.unit = float(option(scheduler, "sigma_data", 1.0))

    def begin(self, steps: int) -> int:
        import torch

        self._steps = steps
        if steps not in self._prepared:
            made = copy.deepcopy(self._original)
            set_count(made, steps)  # a count that it refuses is refused again the next time
            if self._wide:
                _widen(made)
            self._prepared[steps] = made
        self._scheduler = copy.deepcopy(self._prepared[steps])
        self._seeds = torch.Generator()  # by default every run draws the same seeds, and none twice
        self._process = _forward_process(self._scheduler)
        if not hasattr(self._scheduler, "timesteps"):
            raise UnmetHypothesis("audit", "set_timesteps(n) sets the attribute timesteps", "there is none")
        self._times = self._scheduler.timesteps
        if not isinstance(self._times, torch.Tensor):
            self._times = torch.as_tensor(np.asarray(self._times))
        # One time more than steps: the last may be the end of the grid and no call.
        self._ends = len(self._times) == steps + 1
        if hasattr(self._scheduler, "set_begin_index"):
            self._scheduler.set_begin_index(0)  # as pipelines do; repeated timesteps are told apart by it
        return len(self._times)

    def levels(self, call: int) -> tuple[float, float]:
        import torch

        if self._read is not None:
            return self._read(float(self._prepared[self._steps].sigmas[call]))
        if (self._steps, call) not in self._known:
            self._known[self._steps, call] = self._forward(call)
        alpha, sigma = self._known[self._steps, call]
        if not hasattr(self._scheduler, "scale_model_input"):
            return alpha, sigma
        # What the model sees is scaled to one size, c^2 (u^2 + sigma^2) = 1.  Where that is another noise
        # level than add_noise has, as between the stages of a step, the model is told the former.
        one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        scale = float(self._scheduler.scale_model_input(one, self._times[call]))
        if call == 0:  # single precision leaves little of u below a large sigma: the nearer of two
            self._square = min((1.0, self.unit**2), key=lambda square: abs(scale**-2 - sigma**2 - square))
            self._scaled = abs(scale**-2 - sigma**2 - self._square) <= 1e-2 + 1e-6 * sigma**2
        if alpha != 1.0:
            return alpha, sigma
        square = scale**-2 - self._square
        rounding = _WIDE if self._wide else _NARROW
        if not self._scaled or abs(square - sigma**2) <= rounding * (1.0 + sigma**2):
            return alpha, sigma
        return alpha, math.sqrt(max(square, 0.0))

    def step(self, call: int, output: Vector, x: Vector, draw: Draw) -> Vector:
        import torch

        from .noise import intercepted

        state = torch.from_numpy(np.array(x)).reshape(1, 1, 1, -1)
        made = torch.from_numpy(np.array(output)).reshape(1, 1, 1, -1)
        with intercepted(draw, state.numel(), self._seeds), torch.no_grad():
            options = {k: self._after(call) if v == NEXT else v for k, v in self._options.items()}
            result = self._stepped(call, {"model_output": made, "sample": state, **options})
        after = result.prev_sample if hasattr(result, "prev_sample") else result
        after = after[0] if isinstance(after, tuple) and after else after
        if not isinstance(after, torch.Tensor):
            hypothesis = "step returns the next state, first of a tuple or as prev_sample"
            raise UnmetHypothesis("audit", hypothesis, type(after).__name__)
        if after.shape != state.shape:
            got = f"{tuple(after.shape)} from {tuple(state.shape)}"
            raise UnmetHypothesis("audit", "step keeps the shape of the state", got)
        values: NDArray[np.float64] = after.double().reshape(-1).numpy()
        return values

    def widened(self) -> SchedulerSampler | None:
        if self._wide:
            return None
        return SchedulerSampler(self._original, self._options, wide=True, read=self._read)

    def restated(self) -> Iterator[tuple[str, SchedulerSampler]]:
        if self._read is None and self._prepared and all(map(_has_sigmas, self._prepared.values())):
            for said, read in _READINGS.items():
                yield said, SchedulerSampler(self._original, self._options, wide=self._wide, read=read)

    def _stepped(self, call: int, arguments: dict[str, Any]) -> Any:
        try:
            return self._scheduler.step(timestep=self._times[call], **arguments)
        except IndexError:  # one time for each element of the batch, then
            try:
                return self._scheduler.step(timestep=self._times[call : call + 1], **arguments)
            except IndexError as error:
                if self._ends and call == len(self._times) - 1:
                    raise EndOfGrid from error
                raise

    def _forward(self, call: int) -> tuple[float, float]:
        """What the forward process makes of data 1 and of noise 1."""
        import torch

        clean, noise = torch.tensor([[[[[1.0, 0.0]]]], [[[[0.0, 1.0]]]]], dtype=torch.float64).unbind()
        method, names = self._process
        noisy = method(**dict(zip(names, (clean, noise, self._times[call : call + 1]), strict=True)))
        return float(noisy[0, 0, 0, 0]), float(noisy[0, 0, 0, 1])

    def _after(self, call: int) -> Any:
        return self._times[call + 1] if call + 1 < len(self._times) else None


@final
class StepSampler:
    """A plain function ``step(model_output, t, s, sample, noise)`` between two noise times t > s.

    Arguments:
        function: The step, over NumPy arrays of shape (K,); times are Python floats.
        process: The forward process.
        grid: The noise times of a run of n steps, n + 1 of them; by default equally spaced down to 0.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        process: AbstractGaussianProcess,
        grid: Callable[[int], Sequence[float]] | None = None,
    ) -> None:
        if not isinstance(process, AbstractGaussianProcess):
            raise UnmetHypothesis("audit", "the process is Gaussian", f"process {type(process).__name__}")
        self._function, self._process, self._grid = function, process, grid or self._equal
        self._times: Sequence[float] = ()

    def begin(self, steps: int) -> int:
        self._times = [float(t) for t in self._grid(steps)]
        if len(self._times) != steps + 1:
            got = f"{len(self._times)} for {steps} steps"
            raise UnmetHypothesis("audit", "grid(n) has n + 1 noise times", got)
        for t, s in pairwise(self._times):
            if not t > s:
                raise UnmetHypothesis(
                    "audit", "the noise level falls from step to step", f"t = {t}, then {s}"
                )
        return len(self._times) - 1

    def levels(self, call: int) -> tuple[float, float]:
        alpha, sigma = self._process.alpha_sigma(np, np.asarray(self._times[call]))
        return float(alpha), float(sigma)

    def step(self, call: int, output: Vector, x: Vector, draw: Draw) -> Vector:
        t, s = self._times[call], self._times[call + 1]
        made = self._function(np.array(output), t, s, np.array(x), draw(None))  # it may write into these
        try:
            after = np.array(made, dtype=np.float64)
        except (TypeError, ValueError) as error:
            hypothesis = "step returns the next state, an array of numbers"
            raise UnmetHypothesis("audit", hypothesis, type(made).__name__) from error
        if after.shape != x.shape:
            got = f"{after.shape} from {x.shape}"
            raise UnmetHypothesis("audit", "step keeps the shape of the state", got)
        return after

    def widened(self) -> None:
        return None

    def restated(self) -> Iterator[tuple[str, StepSampler]]:
        yield from ()

    def _equal(self, steps: int) -> Sequence[float]:
        # A flow starts a little before its end, where the state says nothing about the data.
        start = float(getattr(self._process, "T", 1.0))
        if float(self._process.alpha_sigma(np, np.asarray(start))[0]) <= 0.0:
            start *= 0.999
        return [float(t) for t in np.linspace(start, 0.0, steps + 1)]


def set_count(scheduler: Any, steps: int) -> None:
    """Set the number of steps, whatever the parameter is called."""
    if "num_inference_steps" in parameters(scheduler.set_timesteps):
        scheduler.set_timesteps(num_inference_steps=steps)
    else:
        scheduler.set_timesteps(steps)


def _widen(scheduler: Any) -> None:
    """Hold every tensor of single precision in double, the times apart: these are what a user passes on."""
    import torch

    for name, value in vars(scheduler).items():
        if isinstance(value, torch.Tensor) and value.dtype == torch.float32 and name != "timesteps":
            setattr(scheduler, name, value.double())


def _has_sigmas(scheduler: Any) -> bool:
    """Whether it has one of its ``sigmas`` for each of its times."""
    sigmas: Any = getattr(scheduler, "sigmas", None)
    return hasattr(sigmas, "__len__") and len(sigmas) >= len(scheduler.timesteps)


def _required(function: Callable[..., Any]) -> set[str]:
    return {name for name, each in parameters(function).items() if each.default is each.empty}


def _forward_process(scheduler: Any) -> Any:
    """The forward process and the names of its data, noise and time; or what is wrong with it, in words."""
    for name in _FORWARD:
        method = getattr(scheduler, name, None)
        if not callable(method):
            continue
        found = parameters(method)
        noise = [each for each in found if "noise" in each]
        time = [each for each in found if "time" in each]
        data = [each for each in found if each not in (*noise, *time)]
        if (len(data), len(noise), len(time)) == (1, 1, 1):
            return method, (data[0], noise[0], time[0])
        return f"its {name}({', '.join(found)}) is no map of data, Gaussian noise and time"
    return None
