"""A whole sampler as the probe sees it: a function that calls the model by itself, at times of its own.

It is stopped at each call of the model.  The state there is what it hands over, and the noise level of that state is
what the levels of the training say of the time that it hands over with it: the sampler is not asked.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from driftproof._namespace import UnmetHypothesis
from driftproof.theory.processes import AbstractGaussianProcess

from .adapters import SINGLE
from .affine import Draw, EndOfGrid, Vector
from .levels import Levels, clock_of
from .suspended import Suspended

__all__ = ["Run", "RunSampler", "Start", "is_run"]

# ``run(model, x, n)``, over torch tensors: the state at the data, from the state x in n steps.
Run: TypeAlias = Callable[[Callable[..., Any], Any, int], Any]
# The level of x: (alpha, sigma), for each n or for all; or the time that it belongs to.
Start: TypeAlias = float | tuple[float, float] | Callable[[int], tuple[float, float]]

_DOUBLE: Final = 1e-10
# More calls than this are no run of some steps.
_MOST: Final = 1_000_000
# What a number in double precision loses where a run has it in single precision.
_UNCHANGED: Final = 1e-6


@final
class RunSampler:
    """A function ``run(model, x, n)`` that calls ``model(x, t)``.

    Arguments:
        run: The function; x is a tensor of shape (1, ..., 1, K) in double precision, and so is what it returns.
        levels: (alpha, sigma) of the state with which the model is called at time t, by the training.
        start: The level of x; that of the first call unless given.
        rank: The number of dimensions of x.

    Raises:
        UnmetHypothesis: The model is called with another shape, or at several times at once; x is changed before the
            first call and start is not given; levels are not numbers.
    """

    stepwise: Final = False

    def __init__(
        self,
        run: Run,
        levels: Levels | AbstractGaussianProcess,
        start: Start | None = None,
        *,
        rank: int = 4,
    ) -> None:
        self._function, self._rank, self._start = run, rank, start
        self._levels = clock_of(levels)
        self._starts: dict[int, tuple[float, float]] = {}
        self._steps = 0
        self._run: Suspended | None = None
        self._asked: tuple[Any, Any] | None = None
        self._single = False
        self._given = 0

    def begin(self, steps: int, start: int = 0) -> int:
        if start:
            raise UnmetHypothesis("audit", "a run begins at its first call", f"call {start + 1}")
        self.close()
        self._steps = steps
        return _MOST

    def first(self) -> tuple[float, float]:
        if self._steps not in self._starts:
            self._starts[self._steps] = self._stated() if self._start is not None else self._seen()
        return self._starts[self._steps]

    def opened(self, x: Vector, draw: Draw) -> Vector:
        after = self._go(x, draw)
        if self._start is None and not np.allclose(after, x, rtol=_UNCHANGED, atol=_UNCHANGED):
            raise UnmetHypothesis(
                "audit",
                "start is given where a run changes its state before the first call of the model",
                f"a change by {float(np.max(np.abs(after - x))):.3g}",
            )
        return after

    def levels(self, call: int) -> tuple[float, float]:
        if self._asked is None:
            raise EndOfGrid
        return self._at(self._time())

    def step(self, call: int, output: Vector, x: Vector, draw: Draw) -> Vector:
        import torch

        if self._asked is None:
            raise EndOfGrid
        state = self._asked[0]
        answer = torch.from_numpy(np.array(output)).reshape(state.shape).to(state.dtype)
        return self._resumed(answer)

    def blur(self, call: int) -> float:
        if self._asked is None or not _whole(self._asked[1]):
            return 0.0
        time = self._time()
        alpha, sigma = self._at(time)
        sides = [self._at(max(time + side, 0.0)) for side in (-1.0, 1.0)]
        off = max(max(abs(a - alpha), abs(s - sigma)) for a, s in sides)
        return off / math.hypot(alpha, sigma)

    def label(self, call: int) -> float:
        return math.nan

    def clock(self, alpha: Vector, sigma: Vector) -> None:
        return None

    def in_double_precision(self) -> None:
        return None

    def reinterpreted(self) -> Iterator[tuple[str, RunSampler]]:
        yield from ()

    @property
    def rounding(self) -> float:
        return SINGLE if self._single else _DOUBLE

    def close(self) -> None:
        """End a run that has not ended."""
        if self._run is not None:
            self._run.close()
        self._run, self._asked = None, None

    def __deepcopy__(self, memo: Any) -> RunSampler:
        raise RuntimeError("a run cannot be copied in the middle of a call")

    def _go(self, x: Vector, draw: Draw) -> Vector:
        """Begin the run with the state x, whose draws are answered."""
        import torch

        from .noise import intercepted

        self.close()
        given = torch.from_numpy(np.array(x)).reshape(*[1] * (self._rank - 1), -1)
        self._given = given.numel()
        seeds = torch.Generator()  # by default every run draws the same seeds, and none twice

        def run(ask: Callable[..., Any]) -> Any:
            def model(x: Any, t: Any, *more: Any, **options: Any) -> Any:
                return ask(x, t)

            with intercepted(draw, given.numel(), seeds):
                return self._function(model, given, self._steps)

        self._run = Suspended(run)
        return self._resumed(None)

    def _resumed(self, answer: Any) -> Vector:
        """The state at the next call of the model, or at the end."""
        assert self._run is not None
        first = answer is None
        self._asked = self._run.resume(answer)
        if self._asked is None and first:
            raise UnmetHypothesis("audit", "run(model, x, n) calls the model", "it returned without a call")
        if self._asked is None:
            return self._values(self._run.returned, "returns")
        return self._values(self._asked[0], "calls the model with")

    def _values(self, state: Any, said: str) -> Vector:
        import torch

        wanted = f"run {said} a real tensor with the coordinates of its state"
        if not isinstance(state, torch.Tensor) or not state.is_floating_point():
            raise UnmetHypothesis("audit", wanted, str(getattr(state, "dtype", type(state).__name__)))
        if state.numel() != self._given:
            raise UnmetHypothesis(
                "audit", wanted, f"shape {tuple(state.shape)} for {self._given} coordinates"
            )
        self._single = self._single or state.dtype != torch.float64
        values: NDArray[np.float64] = state.detach().double().reshape(-1).cpu().numpy().copy()
        return values

    def _time(self) -> float:
        assert self._asked is not None
        time = self._asked[1]
        try:
            times = np.asarray(getattr(time, "detach", lambda: time)(), dtype=np.float64).reshape(-1)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UnmetHypothesis("audit", _ONE_TIME, type(time).__name__) from error
        if not len(times) or not np.all(times == times[0]):
            raise UnmetHypothesis("audit", _ONE_TIME, f"{time}")
        # What is exact in single precision may be a number of it, and then levels are no more exact than that.
        self._single = self._single or "float32" in str(getattr(time, "dtype", ""))
        return float(times[0])

    def _at(self, time: float) -> tuple[float, float]:
        try:
            alpha, sigma = (float(each) for each in self._levels(time))
        except (TypeError, ValueError) as error:
            raise UnmetHypothesis("audit", _TWO, f"{error} at t = {time}") from error
        if not (math.isfinite(alpha) and math.isfinite(sigma) and sigma >= 0.0):
            raise UnmetHypothesis("audit", _TWO, f"({alpha}, {sigma}) at t = {time}")
        return alpha, sigma

    def _stated(self) -> tuple[float, float]:
        start = self._start
        if callable(start):
            start = start(self._steps)
        if isinstance(start, tuple):
            return float(start[0]), float(start[1])
        assert start is not None
        return self._at(float(start))

    def _seen(self) -> tuple[float, float]:
        """The level of the first call, in a run that is then ended."""
        self._go(np.zeros(2), lambda key: np.zeros(2))
        found = self._at(self._time())
        self.close()
        return found


_ONE_TIME: Final = "model(x, t) is called at one time t, a number"
_TWO: Final = "levels(t) is (alpha, sigma), two numbers, sigma >= 0"


def _whole(time: Any) -> bool:
    """Whether a time is a tensor of integers: a label, which may be rounded, and by which nothing is known better."""
    dtype = getattr(time, "dtype", None)
    return dtype is not None and not getattr(dtype, "is_floating_point", True)


def is_run(thing: Any) -> bool:
    """Whether it is a function of three, ``run(model, x, n)``.

    Example:
        >>> is_run(lambda model, x, n: x), is_run(lambda logp, teacher_logp: logp)
        (True, False)
    """
    if not callable(thing):
        return False
    try:
        inspect.signature(thing).bind(None, None, 1)
    except (TypeError, ValueError):
        return False
    return True
