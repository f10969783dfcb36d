"""A scheduler of torch as the probe sees it.

Noise is data here too: while a scheduler runs, whatever torch would draw from a standard normal comes from
the probe instead.  A generator in a state that was seen before gives the same noise again, as it would.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from driftproof._namespace import UnmetHypothesis

from .affine import Draw, EndOfGrid, Vector
from .interface import check, forward_process, option, parameters, takes_named
from .labels import Clock, clock

__all__ = ["NEXT", "SINGLE", "SchedulerSampler", "set_count"]

# Stands for the timestep of the next call as the value of an option of step; None after the last call.
NEXT = "next timestep"

_TABLE: Final = "its training table at its labels"

# Roundings of states and tables in single precision: errors below say nothing.
SINGLE: Final = 1e-5
_DOUBLE: Final = 1e-10

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

# A run of this many calls that draws nothing is of a sampler that draws nothing.
_SILENT: Final = 4

# Roundings of the scale of the model's input, relative: eight of them, where its tables are in single
# precision.  More would hide the noise level of a stage between two small ones.
_NARROW, _WIDE = 1e-6, 1e-9


@final
class SchedulerSampler:
    """An object with ``set_timesteps(n)``, ``timesteps``, ``step`` and ``add_noise`` or ``scale_noise``.

    Arguments:
        scheduler: The object; it is copied before every run.
        options: Further keyword arguments of ``step``.
        wide: Widen its tensors in single precision once its grid is set.
        read: The noise levels are its ``sigmas``, read in this way, and not what its forward process makes.
        table: The noise levels are those of its labels, by this clock.

    Raises:
        UnmetHypothesis: The object lacks one of these.
    """

    stepwise: Final = True

    def __init__(
        self,
        scheduler: Any,
        options: Mapping[str, Any] | None = None,
        *,
        wide: bool = False,
        read: Reading | None = None,
        table: Clock | None = None,
    ) -> None:
        check(scheduler, options or ())
        self._original, self._options, self._wide = scheduler, dict(options or {}), wide
        self._read, self._table = read, table
        self._scheduler: Any = None
        self._prepared: dict[int, Any] = {}
        self._known: dict[tuple[int, int], tuple[float, float]] = {}  # add_noise, at steps and call
        self._seeds: Any = None
        self._steps = 0
        self._process: Any = None
        self._times: Any = ()
        self._square, self._scaled, self._ends = 1.0, False, False
        self._clock: Clock | None = None
        takes = scheduler.step
        self._named = takes_named(takes) or bool(parameters(takes))
        self._drawn: int | None = None  # in the last run; None before the first
        self._ran, self._guarded = 0, True
        self._shown = -1  # the last call whose model input was scaled
        self.unit = float(option(scheduler, "sigma_data", 1.0))

    def __deepcopy__(self, memo: dict[int, Any]) -> SchedulerSampler:
        """Another at the same place of its run; what no step writes to is shared."""
        twin = copy.copy(self)
        twin._scheduler = copy.deepcopy(self._scheduler, memo)
        return twin

    def begin(self, steps: int, start: int = 0) -> int:
        import torch

        if self._drawn == 0 and self._ran >= _SILENT:
            self._guarded = False
        self._steps, self._drawn, self._ran, self._shown = steps, 0, 0, -1
        if steps not in self._prepared:
            made = copy.deepcopy(self._original)
            set_count(made, steps)  # a count that it refuses is refused again the next time
            if self._wide:
                _widen(made)
            self._prepared[steps] = made
        self._scheduler = copy.deepcopy(self._prepared[steps])
        self._seeds = torch.Generator()  # by default every run draws the same seeds, and none twice
        self._process = forward_process(self._scheduler)
        if not hasattr(self._scheduler, "timesteps"):
            raise UnmetHypothesis("audit", "set_timesteps(n) sets the attribute timesteps", "there is none")
        self._times = self._scheduler.timesteps
        if not isinstance(self._times, torch.Tensor):
            self._times = torch.as_tensor(np.asarray(self._times))
        # One time more than steps: the last may be the end of the grid and no call.
        self._ends = len(self._times) == steps + 1
        if hasattr(self._scheduler, "set_begin_index"):
            self._scheduler.set_begin_index(start)  # as pipelines do; it distinguishes repeated timesteps
        return len(self._times)

    def first(self) -> tuple[float, float]:
        return self.levels(0)

    def opened(self, x: Vector, draw: Draw) -> Vector:
        return x

    def levels(self, call: int) -> tuple[float, float]:
        if self._read is not None:
            return self._read(float(self._prepared[self._steps].sigmas[call]))
        if self._table is not None:
            (alpha, sigma), _ = self._table.seen(self.label(call), *self._forward_at(call))
            return alpha, sigma
        alpha, sigma = self._forward_at(call)
        if not hasattr(self._scheduler, "scale_model_input"):
            return alpha, sigma
        # What the model sees is scaled to one size, c^2 (u^2 + sigma^2) = 1.  Where that is another noise
        # level than add_noise has, as between the stages of a step, the label of the model is the former.
        scale = self._input_scale(call)
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

        self._ran = call + 1
        if self._shown != call and hasattr(self._scheduler, "scale_model_input"):
            self._input_scale(call)  # before each step, as it wants
        state = torch.from_numpy(np.array(x)).reshape(1, 1, 1, -1)
        made = torch.from_numpy(np.array(output)).reshape(1, 1, 1, -1)
        with self._answered(draw, state.numel()), torch.no_grad():
            options = {k: self._after(call) if v == NEXT else v for k, v in self._options.items()}
            result = self._stepped(call, made, state, options)
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

    def _input_scale(self, call: int) -> float:
        """The scheduler's factor on the input of the model at this call."""
        import torch

        one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        self._shown = call
        return float(self._scheduler.scale_model_input(one, self._times[call]))

    def _answered(self, draw: Draw, size: int) -> Any:
        """Its draws are the probe's; a whole run without any draws nothing, and needs no guard in the next ones."""
        from .noise import intercepted

        def counted(key: object) -> Vector:
            self._drawn = (self._drawn or 0) + 1
            return draw(key)

        return intercepted(counted, size, self._seeds) if self._guarded else nullcontext()

    def in_double_precision(self) -> SchedulerSampler | None:
        if self._wide:
            return None
        return SchedulerSampler(self._original, self._options, wide=True, read=self._read, table=self._table)

    def reinterpreted(self) -> Iterator[tuple[str, SchedulerSampler]]:
        if self._read is None and self._prepared and all(map(_has_sigmas, self._prepared.values())):
            for said, read in _READINGS.items():
                yield (
                    f"{said} with its sigmas",
                    SchedulerSampler(self._original, self._options, wide=self._wide, read=read),
                )
        if self._table is None and self._clock is not None:
            yield _TABLE, SchedulerSampler(self._original, self._options, wide=self._wide, table=self._clock)

    def blur(self, call: int) -> float:
        return 0.0

    def label(self, call: int) -> float:
        try:
            return float(self._times[call])
        except (TypeError, ValueError):  # no number
            return math.nan

    def clock(self, alpha: Vector, sigma: Vector) -> Clock | None:
        labels = np.array([self.label(call) for call in range(len(alpha))])
        trained = option(self._scheduler, "num_train_timesteps")
        self._clock = clock(self._scheduler, trained, alpha, sigma, labels)
        return self._clock

    @property
    def rounding(self) -> float:
        import torch

        def single(value: Any) -> bool:
            return isinstance(value, torch.Tensor) and value.dtype in (torch.float32, torch.float16)

        return SINGLE if any(map(single, vars(self._scheduler or self._original).values())) else _DOUBLE

    def _stepped(self, call: int, output: Any, state: Any, options: dict[str, Any]) -> Any:
        def stepped(time: Any) -> Any:
            if self._named:
                return self._scheduler.step(model_output=output, timestep=time, sample=state, **options)
            return self._scheduler.step(output, time, state)

        try:
            return stepped(self._times[call])
        except IndexError:  # one time for each element of the batch, then
            try:
                return stepped(self._times[call : call + 1])
            except IndexError as error:
                if self._ends and call == len(self._times) - 1:
                    raise EndOfGrid from error
                raise

    def _forward_at(self, call: int) -> tuple[float, float]:
        if (self._steps, call) not in self._known:
            self._known[self._steps, call] = self._forward(call)
        return self._known[self._steps, call]

    def _forward(self, call: int) -> tuple[float, float]:
        """The factors of data and of noise in the forward process."""
        import torch

        clean = torch.tensor([1.0, 0.0], dtype=torch.float64).reshape(1, 1, 1, 2)
        noise = clean.flip(-1)
        method, names = self._process
        noisy = method(**dict(zip(names, (clean, noise, self._times[call : call + 1]), strict=True)))
        alpha, sigma = noisy[0, 0, 0].tolist()
        return float(alpha), float(sigma)

    def _after(self, call: int) -> Any:
        return self._times[call + 1] if call + 1 < len(self._times) else None


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
