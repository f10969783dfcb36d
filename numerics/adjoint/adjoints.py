r"""Adjoints along a trajectory, through a ``vjp`` callable.

With :math:`h_k = t_k - t_{k+1}` and :math:`a_N = -\nabla r(x_N)`,

.. math:: \text{lean:} \quad & a_k = a_{k+1} - h_k\,(\partial_x v_k)^\top a_{k+1} \\
    \text{full:} \quad & a_k = a_{k+1} - h_k\,(\partial_x v_k)^\top a_{k+1}
        - h_k\,(\partial_x u_k)^\top \big(a_{k+1} - \lambda \nabla L(u_k)\big)

The lean adjoint is the costate of the problem, and on the Euler grid it is the *exact* derivative of the
discrete problem: no error of discretisation is left.  The full one is the gradient of the value of the
current policy; at the optimum the two agree.  ``rule="heun"`` integrates the lean adjoint of the flow in
continuous time to second order instead, for comparison with the limit.

The control of step k follows from :math:`a_{k+1}`, the adjoint *after* the step: :func:`adjoints` gives
them in this order, one for each step, so that no index is left to be mistaken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias

import array_api_compat

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, public, refuse_flags
from driftproof.theory.adjoint.truncation import MODES, Truncation

from .trajectories import Trajectory

__all__ = ["Rule", "Vjp", "adjoint_step", "adjoints", "full_adjoints"]

# vjp(x, t, a): transposed Jacobian of the velocity at (x, t), applied to a covector a like x.
Vjp: TypeAlias = Callable[[Array, float, Array], Array]
Rule: TypeAlias = Literal["discrete", "heun"]


@public
def adjoint_step(xp: Namespace, a: Array, pulled: Array, h: float) -> Array:
    r"""The adjoint before a step, from the one after it.

    .. math:: a_k = a_{k+1} - h_k\,(\partial_x v_k)^\top a_{k+1}

    Arguments:
        a: Adjoint :math:`a_{k+1}`, any shape.
        pulled: :math:`(\partial_x v_k)^\top a_{k+1}`, of the same shape.
        h: Length of the step, > 0.

    Claims: ADJOINT-STEP-1

    Example:
        >>> adjoint_step([1.0, 2.0], [4.0, 0.0], 0.25).tolist()
        [0.0, 2.0]
    """
    return a - h * pulled


@arrays()
def adjoints(
    trajectory: Trajectory,
    gradient: Array,
    vjp: Vjp,
    *,
    last: int | None = None,
    mode: Truncation = "train",
    rule: Rule = "discrete",
) -> list[Array | None]:
    """The lean adjoints after every step: entry k is the one that the control of step k answers to.

    Arguments:
        trajectory: States under the current policy.
        gradient: Gradient of the reward at the end, shape (B, *).
        vjp: The vector-Jacobian product of the velocity *without* control.
        last: K, the number of steps at the end whose adjoints are exact; None for all.  It takes K - 1
            products with a Jacobian.
        mode: Before those: ``"train"`` has no control (None), ``"frozen"`` repeats the earliest
            adjoint; ``"identity"`` takes no products at all and gives the gradient itself at the last K steps.
        rule: ``"discrete"``, or ``"heun"`` for the adjoint of continuous time.

    Raises:
        UnmetHypothesis: K outside of 1..N, a gradient or a product of another shape, an unknown mode or rule,
            or adjoints that do not stay finite.

    Claims: ADJOINT-DISCRETE-1, ADJOINT-TRUNCATION-1

    Example:
        >>> import numpy as np
        >>> from driftproof.numerics.adjoint import rollout
        >>> path = rollout(lambda x, t: x, np.asarray([[4.0]]), [1.0, 0.5, 0.0])
        >>> [float(a[0, 0]) for a in adjoints(path, np.asarray([[1.0]]), lambda x, t, a: a)]
        [-0.5, -1.0]
    """
    steps, exact = trajectory.steps, _exact_steps(trajectory, gradient, last)
    for name, value, words in (("mode", mode, MODES), ("rule", rule, ("discrete", "heun"))):
        if value not in words:
            raise UnmetHypothesis("adjoints", f"{name} is one of {', '.join(words)}", f"{name} = {value!r}")
    after: list[Array | None] = [None] * len(steps)
    a = -1.0 * gradient
    for k in reversed(range(len(steps) - exact, len(steps))):
        after[k] = a
        if mode != "identity" and k > len(steps) - exact:
            a = _before(trajectory, partial(_pulled, vjp), k, a, rule)
    _require_finite(a)
    if mode == "frozen":
        after[: len(steps) - exact] = [a] * (len(steps) - exact)
    return after


@arrays()
def full_adjoints(
    trajectory: Trajectory,
    gradient: Array,
    vjp: Vjp,
    control_vjp: Vjp,
    excess: Callable[[int, Array], Array],
) -> list[Array]:
    r"""The adjoints of the value of the current policy, after every step.

    Arguments:
        trajectory, gradient, vjp: As for :func:`adjoints`.
        control_vjp: The vector-Jacobian product of the control u.
        excess: ``excess(k, a)`` gives :math:`a - \lambda\nabla L(u_k)`, what the control of step k leaves.

    Claims: ADJOINT-ITERATION-2
    """
    steps = trajectory.steps
    _exact_steps(trajectory, gradient, None)
    after, a = [], -1.0 * gradient
    for k in reversed(range(len(steps))):
        after.append(a)
        x, t = trajectory.states[k], trajectory.times[k]
        a = a - steps[k] * (_pulled(vjp, x, t, a) + _pulled(control_vjp, x, t, excess(k, a)))
    _require_finite(a)
    return after[::-1]


def _pulled(vjp: Vjp, x: Array, t: float, a: Array) -> Array:
    """vjp(x, t, a), which has the shape of the state: another one would be broadcast without a word."""
    pulled = vjp(x, t, a)
    if tuple(pulled.shape) != tuple(x.shape):
        got = f"{tuple(pulled.shape)} for states {tuple(x.shape)}"
        raise UnmetHypothesis("adjoints", "vjp gives the shape of the state", got)
    return pulled


def _require_finite(a: Array) -> None:
    """Raise unless the earliest adjoint is finite: what is not finite anywhere ends up there."""
    xp = array_api_compat.array_namespace(a)
    if not holds(xp.all(xp.isfinite(a))):
        raise UnmetHypothesis("adjoints", "adjoints stay finite", "NaN or infinity")


def _before(trajectory: Trajectory, vjp: Vjp, k: int, a: Array, rule: Rule) -> Array:
    h, t = trajectory.steps[k], trajectory.times
    if rule == "discrete":
        return a - h * vjp(trajectory.states[k], t[k], a)
    end = vjp(trajectory.states[k + 1], t[k + 1], a)
    return a - 0.5 * h * (end + vjp(trajectory.states[k], t[k], a - h * end))


def _exact_steps(trajectory: Trajectory, gradient: Array, last: int | None) -> int:
    count = len(trajectory.steps)
    if tuple(gradient.shape) != tuple(trajectory.end.shape):
        got = f"{tuple(gradient.shape)} for states {tuple(trajectory.end.shape)}"
        raise UnmetHypothesis("adjoints", "the gradient has the shape of the state", got)
    refuse_flags("adjoints", last=last)
    exact = count if last is None else last
    if not 1 <= exact <= count:
        raise UnmetHypothesis("adjoints", f"last in 1..{count}", f"last = {last}")
    return exact
