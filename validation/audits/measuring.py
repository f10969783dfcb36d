r"""Measurements of a loss at a point: its value, its gradient, what it draws and how it rounds.

Over the whole vocabulary a loss is called once; for sampled tokens the expectation is a finite sum,

.. math:: g = \sum_a \mu_a\, \nabla_z \ell(\log p_a, \log q_a), \qquad a \sim \mu,

over all tokens, and over all tuples of them where there are several positions.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from .arithmetic import Seen, beside
from .forms import Call
from .objectives import differentiated
from .points import Point

__all__ = ["Precision", "Run", "Spread", "measured", "slope", "spread"]

Precision: TypeAlias = Literal["float64", "float32", "bfloat16", "float16"]
Vector: TypeAlias = NDArray[np.float64]

# Step of the differences that settle whether the gradient is that of the value, of order four.
_STEP = 1e-3


@final
@dataclass(frozen=True)
class Run:
    """One call, or the finite sum of calls.

    Arguments:
        value: The (expected) value.
        gradient: In the leaves of the point, end to end.
        dtype: The dtype of the loss.
        seen: The operations that it ran.
    """

    value: float
    gradient: Vector
    dtype: str
    seen: Seen

    @property
    def finite(self) -> bool:
        """Whether both are."""
        return bool(np.isfinite(self.value) and np.all(np.isfinite(self.gradient)))


@final
@dataclass(frozen=True)
class Spread:
    """A loss that draws: mean and standard deviation of its gradient, element by element, over some calls."""

    mean: Vector
    deviation: Vector
    value: float
    calls: int

    @property
    def error(self) -> Vector:
        """The standard error of the mean."""
        return self.deviation / np.sqrt(self.calls)


def measured(
    call: Call,
    point: Point,
    *,
    double: bool,
    off_policy: bool = False,
    dtype: Precision = "float64",
    seed: int = 0,
) -> Run:
    """Value and gradient at a point.

    Arguments:
        call: The loss.
        point: The inputs.
        double: Whether the arithmetic inside is raised to double precision, and the inputs with it.
        off_policy: Whether sampled tokens come from another policy than the student's.
        dtype: Precision of the inputs otherwise.
        seed: The seed of what the loss draws.
    """
    import torch

    made = torch.float64 if double else getattr(torch, dtype)
    leaves = {role: x.detach().to(made).requires_grad_() for role, x in point.leaves.items()}
    # Copies: a loss may write into what it is given.
    rest = {role: (x.to(made) if x.is_floating_point() else x).clone() for role, x in point.rest.items()}
    with torch.enable_grad(), beside(double, seed) as seen:
        total, returned = _total(call, leaves, rest, off_policy)
        gradient = differentiated(total, leaves)
    return Run(float(total.detach()), gradient, str(returned).removeprefix("torch."), seen)


def _total(
    call: Call, leaves: Mapping[str, Any], rest: Mapping[str, Any], off_policy: bool
) -> tuple[Any, Any]:
    """The expected value, and the type of what the loss returned."""
    import torch

    inputs = {**leaves, **rest}
    if call.form not in ("logp", "sampled"):
        out = call(inputs)
        return out.sum(), out.dtype
    logp, logq = inputs["student"].log_softmax(-1), inputs["teacher"].log_softmax(-1)
    mu = inputs["behaviour"] if off_policy else logp.detach()
    total, dtype = torch.zeros((), dtype=mu.dtype), None
    for drawn in itertools.product(range(logp.shape[-1]), repeat=logp[..., 0].numel()):
        tokens = torch.tensor(drawn).reshape(logp.shape[:-1])
        picked = {
            "student": logp.gather(-1, tokens[..., None])[..., 0],
            "teacher": logq.gather(-1, tokens[..., None])[..., 0],
            "behaviour": mu.gather(-1, tokens[..., None])[..., 0],
        }
        out = call({**inputs, "tokens": tokens} if call.form == "sampled" else picked)
        total = total + picked["behaviour"].sum().exp() * out.sum()
        dtype = out.dtype
    return total, dtype


def slope(call: Call, point: Point, direction: Vector, *, off_policy: bool = False) -> float:
    """The derivative of the value along a direction, by differences of order four in double precision."""
    import torch

    def at(step: float) -> float:
        moved, start = {}, 0
        for role, leaf in point.leaves.items():
            part = torch.tensor(direction[start : start + leaf.numel()], dtype=torch.float64)
            moved[role] = leaf + step * part.reshape(leaf.shape)
            start += leaf.numel()
        return measured(
            call, Point(point.name, moved, point.rest, point.vocabulary), double=True, off_policy=off_policy
        ).value

    near, far = at(_STEP) - at(-_STEP), at(2.0 * _STEP) - at(-2.0 * _STEP)
    return (8.0 * near - far) / (12.0 * _STEP)


def spread(call: Call, point: Point, calls: int, *, off_policy: bool = False) -> Spread:
    """Mean and deviation of the gradient of a loss that draws."""
    runs = [measured(call, point, double=True, off_policy=off_policy, seed=seed) for seed in range(calls)]
    gradients = np.stack([run.gradient for run in runs])
    return Spread(
        mean=gradients.mean(axis=0),
        deviation=gradients.std(axis=0, ddof=1),
        value=float(np.mean([run.value for run in runs])),
        calls=calls,
    )
