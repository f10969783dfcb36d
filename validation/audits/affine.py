r"""The exact affine probe: the law of a sampler's result, without a sample.

With Gaussian data and the exact model every published step is affine in the state and in its noise, so the
whole run is

.. math:: x_0 = c + a\,u + \sum_i b_i z_i, \qquad u, z_i \sim N(0, 1)\ \text{independent},

for a start :math:`x_T = \mu_T + \sqrt{\Sigma_T}\,u` at the marginal of the scheduler's own forward process.
Coordinates of one array get :math:`(u, z) = 0`, one one-hot vector each, and a few dense vectors; then

.. math:: \mathbb E x_0 = c, \qquad \operatorname{Var} x_0 = a^2 + \sum_i b_i^2

are read off, and the dense vectors test superposition: a step that clips or adapts is seen, not averaged.

Several data laws run side by side, one of them a point mass.  On the point mass most schemes are exact at every
step, whatever their order: what they miss there is no discretisation error but a grid, a schedule or a noise
level that is not the one at which the model is evaluated next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from driftproof._namespace import UnmetHypothesis

from .labels import Clock
from .models import Model
from .twins import led, network

__all__ = ["DATA", "LAWS", "POINT", "Draw", "EndOfGrid", "Law", "Path", "Sampler", "beside", "propagate"]

Vector: TypeAlias = NDArray[np.float64]
Draw: TypeAlias = Callable[[object], Vector]  # the standard normal that belongs to a key; None is a new one


class Law(NamedTuple):
    """Gaussian data, N(mean, variance) in each coordinate."""

    mean: float
    variance: float

    @property
    def std(self) -> float:
        return math.sqrt(self.variance)


# Neither centred nor of unit variance, which many errors leave alone; a point mass; and what is wider than a unit.
DATA: Final = Law(0.8, 0.25)
LAWS: Final = (DATA, Law(0.8, 0.0), Law(-0.5, 1.44))
POINT: Final = 1  # its index

# Dense vectors of (u, z); they reach out to three standard deviations, where steps clip.
_DENSE = 3


class EndOfGrid(Exception):
    """Raised by a sampler that has ended: its last time was no call, or there is no further call."""


class Sampler(Protocol):
    """Somebody's sampler, one call at a time, over arrays of shape (K,)."""

    @property
    def rounding(self) -> float:
        """Errors below this are roundings of its tables."""
        ...

    @property
    def stepwise(self) -> bool:
        """Whether each call is a step of its own: then levels fall from call to call, and a run can begin at any."""
        ...

    def begin(self, steps: int, start: int = 0) -> int:
        """Prepare a run of ``steps`` steps from call ``start`` on; returns how many calls a whole one has at most."""
        ...

    def first(self) -> tuple[float, float]:
        """(alpha, sigma) of the state that a run is given."""
        ...

    def opened(self, x: Vector, draw: Draw) -> Vector:
        """The state at which the model is called first, where a run is given x."""
        ...

    def levels(self, call: int) -> tuple[float, float]:
        """The forward process, (alpha, sigma), where the model is called; raises EndOfGrid where it is not any more."""
        ...

    def step(self, call: int, output: Vector, x: Vector, draw: Draw) -> Vector:
        """The state after the call, given the model's output at ``x``."""
        ...

    def blur(self, call: int) -> float:
        """How far, relatively, the level of a call may be from that of its state: the rounding of a label."""
        ...

    def label(self, call: int) -> float:
        """The timestep that a network is given; NaN where it is given the level itself."""
        ...

    def clock(self, alpha: Vector, sigma: Vector) -> Clock | None:
        """The right labels of these levels of a run; None where there is no table of the training."""
        ...

    def in_double_precision(self) -> Sampler | None:
        """The same with its tables in double precision; None where it is no different."""
        ...

    def reinterpreted(self) -> Iterator[tuple[str, Sampler]]:
        """The same at the noise levels of its own table, once for each process that these may belong to."""
        ...


@final
@dataclass(frozen=True)
class Path:
    """The exact laws along one run.

    Arguments:
        start: (alpha, sigma) of the state that the run was given.
        mean, std: Mean and standard deviation of the state before each call and at the end, shape (calls + 1, laws).
        gain: The factor of each call on a deviation of the state of the point mass, shape (calls,).
        alpha, sigma: The forward process that the model was evaluated at, shape (calls,).
        labels: The timesteps that a network would be given, shape (calls,).
        blur: How far, relatively, the levels may be from those of the states, shape (calls,).
        clock: The right labels of these levels; None where there is no table of the training.
        defect: The largest failure of superposition, in units of the data.
        last_move: The largest change that the last call made.
        draws: How many standard normals were drawn.
        aims: Where each step without its noise leads, in the same terms, shape (calls, 2); empty unless asked.
    """

    start: tuple[float, float]
    mean: Vector
    std: Vector
    gain: Vector
    alpha: Vector
    sigma: Vector
    labels: Vector
    blur: Vector
    clock: Clock | None
    defect: float
    last_move: float
    draws: int
    aims: Vector

    @property
    def finite(self) -> bool:
        """Whether every state is a number."""
        return bool(np.all(np.isfinite(self.mean)) and np.all(np.isfinite(self.std)))

    @property
    def errors(self) -> Vector:
        """Errors of the terminal mean and standard deviation, shape (laws, 2)."""
        wanted = np.array([(law.mean, law.std) for law in LAWS])
        return np.stack([self.mean[-1], self.std[-1]], axis=1) - wanted

    @property
    def error(self) -> float:
        """The error of the terminal law of ``DATA``, of mean and deviation."""
        return float(np.hypot(*self.errors[0]))

    @property
    def point(self) -> Vector:
        """The level (alpha, sigma) at which the point mass is, before each call and at the end, (calls + 1, 2)."""
        return np.stack([self.mean[:, POINT] / LAWS[POINT].mean, self.std[:, POINT]], axis=1)


def propagate(
    sampler: Sampler,
    steps: int,
    model: Model,
    *,
    draws: int | None = None,
    own: bool = False,
    aims: bool = False,
    told: Clock | None = None,
) -> Path:
    """Run the probe on all of ``LAWS``.

    Arguments:
        sampler: The sampler; each run begins it anew.
        steps: The number of steps that it is asked for.
        model: The exact model, in the parametrisation that the sampler expects.
        draws: How many normals are expected, 0 for none; a run that draws more is repeated.
        own: Tell the model the noise level that the state of a point mass has, not the sampler's.
        aims: Find where each step without its noise leads.
        told: The model believes the label of each call, read by this clock.

    Raises:
        UnmetHypothesis: The noise level rises along the grid, or a level is not a number.
    """
    return _runs(sampler, steps, (model,), draws, own, aims, told)[0]


def beside(
    sampler: Sampler, steps: int, several: Sequence[Model], draws: int | None = None
) -> dict[Model, Path]:
    """One run for several models of a noise level, with a state for each; what is no number may cut it short."""
    return dict(zip(several, _runs(sampler, steps, several, draws), strict=True))


def _runs(
    sampler: Sampler,
    steps: int,
    several: Sequence[Model],
    draws: int | None,
    own: bool = False,
    aims: bool = False,
    told: Clock | None = None,
) -> list[Path]:
    capacity = 2 * steps + 2 if draws is None else draws
    while True:
        paths = _run(sampler, steps, capacity, several, own, aims, told)
        if paths[0].draws <= capacity:
            return paths
        capacity = paths[0].draws


def _run(
    sampler: Sampler,
    steps: int,
    capacity: int,
    several: Sequence[Model],
    own: bool,
    aims: bool,
    told: Clock | None,
) -> list[Path]:
    calls, width = sampler.begin(steps), 2 + capacity + _DENSE
    mean = np.repeat([law.mean for law in LAWS], width)
    variance = np.repeat([law.variance for law in LAWS], width)
    keys: dict[object, int] = {}
    blocks = len(LAWS) * len(several)

    def draw(key: object) -> Vector:
        index = keys.setdefault(object() if key is None else key, len(keys))
        return np.tile(_column(1 + index, width) if index < capacity else np.zeros(width), blocks)

    states, called, leads = [], [], []
    ratios, target, start, model = [math.inf], (1.0, 0.0), sampler.first(), several[0]
    random = np.tile(_column(0, width), len(LAWS))
    x = start[0] * mean + np.sqrt(start[0] ** 2 * variance + start[1] ** 2) * random
    x = sampler.opened(np.tile(x, len(several)), draw)
    states.append(x)
    parts = [slice(i * len(mean), (i + 1) * len(mean)) for i in range(len(several))]
    with np.errstate(all="ignore"):
        for call in range(calls):
            try:
                alpha, sigma = sampler.levels(call)
            except EndOfGrid:
                break
            # A stage may lie below the next level, where noise leads back up to it.
            ratios.append(_ratio(call, alpha, sigma, max(ratios[-2:]) if sampler.stepwise else math.inf))
            label, blur, where, scale = sampler.label(call), sampler.blur(call), (alpha, sigma), 1.0
            if own and call:
                point = x[POINT * width : (POINT + 1) * width]
                where = point[0] / LAWS[POINT].mean, float(np.linalg.norm(point[1:-_DENSE] - point[0]))
            elif told is not None:
                where, scale = told.seen(label, alpha, sigma)
            aim, asked = (1.0, 0.0), several
            try:
                if model.prediction == "network":
                    inner, target = network(sampler, call, calls, model, target)
                    aim, asked = target, (inner,)
                elif aims or model.function == "trajectory":
                    aim = led(sampler, call, model, *where)
                    leads.append(aim)
                output = np.empty_like(x)
                for each, part in zip(asked, parts, strict=True):
                    output[part] = each.output(scale * x[part], *where, mean, variance, aim)
                x = sampler.step(call, output, x, draw)
            except EndOfGrid:
                break
            states.append(x)
            called.append((alpha, sigma, label, blur))
            if not np.isfinite(x).all() and not any(np.isfinite(x[part]).all() for part in parts):
                break
    if not called:
        raise UnmetHypothesis("audit", "the scheduler has timesteps to call", f"{calls}")
    dense = np.stack([_column(index, width)[-_DENSE:] for index in range(1 + capacity)], axis=1)
    made = np.stack(states).reshape(len(states), len(several), len(LAWS), width)
    table = np.array(called)
    clock = sampler.clock(table[:, 0], table[:, 1])
    return [
        _path(start, made[:, i], table, clock, dense, len(keys), np.array(leads)) for i in range(len(several))
    ]


def _column(index: int, width: int) -> Vector:
    """Variable ``index`` of (u, z) in each coordinate: 0, a one-hot entry, and one to three deviations."""
    column = np.zeros(width)
    if index < width - 1 - _DENSE:
        column[1 + index] = 1.0
    rows = np.arange(_DENSE)
    column[-_DENSE:] = (1.0 + rows) * math.sqrt(2.0) * np.sin(1.0 + (2.0 + rows) * index + rows)
    return column


def _path(
    start: tuple[float, float],
    states: Vector,
    called: Vector,
    clock: Clock | None,
    dense: Vector,
    draws: int,
    leads: Vector,
) -> Path:
    with np.errstate(all="ignore"):
        response = states[..., 1:-_DENSE] - states[..., :1]
        predicted = states[-1, 0, 0] + dense @ response[-1, 0]
        carried = response[:, POINT, 0]
        return Path(
            start=start,
            mean=states[..., 0],
            std=np.linalg.norm(response, axis=-1),
            gain=carried[1:] / carried[:-1],
            alpha=called[:, 0],
            sigma=called[:, 1],
            labels=called[:, 2],
            blur=called[:, 3],
            clock=clock,
            defect=float(np.max(np.abs(states[-1, 0, -_DENSE:] - predicted))),
            last_move=float(np.max(np.abs(states[-1, :2] - states[-2, :2]))),
            draws=draws,
            aims=leads,
        )


def _ratio(call: int, alpha: float, sigma: float, before: float) -> float:
    """The noise-to-signal ratio of this call; raise where it rises above that before."""
    if not (math.isfinite(alpha) and math.isfinite(sigma)):
        got = f"alpha = {alpha}, sigma = {sigma} at call {call + 1}"
        raise UnmetHypothesis("audit", "the forward process of the scheduler is finite", got)
    ratio = abs(sigma / alpha) if alpha else math.inf
    if ratio > before * (1.0 + 1e-4):
        got = f"sigma / alpha rises from {before:.6g} to {ratio:.6g} at call {call + 1}"
        raise UnmetHypothesis("audit", "the noise level falls from step to step", got)
    return ratio
