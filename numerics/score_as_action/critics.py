r"""Critics in continuous time: which errors to make small, and which not.

Along a path of the policy :math:`M_t = V(X_t, t) - \int \text{cost}` is a martingale, and this alone makes V
right.  With the TD errors :math:`\delta_k = V_{k+1} - V_k - \text{cost}_k` the methods are

=============== ====================================================== ==============================
martingale loss :math:`\tfrac12 E\sum_k (G_k - V_k)^2\,\Delta_k`       least squares to the return
CTD(lambda)     :math:`E\sum_k e_k\,\delta_k = 0`                      e: an eligibility trace
LSTD            the same, solved                                       linear critics
squared TD      :math:`E\sum_k \delta_k^2`                             **wrong**: the flattest V
=============== ====================================================== ==============================

Shapes that do not match raise :class:`UnmetHypothesis`.

Symbols:
    cost: Running costs of the steps (B, N).
    dt: Lengths of the steps (N,), > 0.
    errors: TD errors (B, N).
    traces: Eligibility traces (B, N, p).

References:
    | Policy evaluation and temporal-difference learning in continuous time and space: a martingale
      approach (Jia, Zhou, 2022), sections 3 and 4, https://arxiv.org/abs/2108.06655
"""

from __future__ import annotations

from typing import Any

from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds, public
from driftproof.numerics._checks import require_batch

__all__ = [
    "ctd_direction",
    "eligibility",
    "lstd",
    "martingale_loss",
    "martingale_regression",
    "mean_square_td",
    "returns_to_go",
    "td_errors",
]


def _shapes(subject: str, **wanted: str) -> Any:
    """The check that arrays have the shapes of words over B, N, M = N + 1 and p, and are not empty."""

    def check(xp: Namespace, **given: Any) -> None:
        sizes: dict[str, int] = {}
        for name, word in wanted.items():
            shape = tuple(given[name].shape)
            good = len(shape) == len(word)
            for letter, size in zip(word, shape, strict=False):
                steps = size - 1 if letter == "M" else size
                good = good and sizes.setdefault("N" if letter == "M" else letter, steps) == steps
            if not good:
                expected = ", ".join(f"{k} ({', '.join(w.replace('M', '1'))})" for k, w in wanted.items())
                expected = expected.replace("1", "N + 1")
                got = ", ".join(f"{k} {tuple(given[k].shape)}" for k in wanted)
                raise UnmetHypothesis(subject, expected, got)
            require_batch(subject, given[name])

    return check


@public(wide=True, check=_shapes("returns_to_go", reward="B", cost="BN"), reward="finite", cost="finite")
def returns_to_go(xp: Namespace, reward: Array, cost: Array) -> Array:
    r"""Returns to go: the reward less the costs that are still to come, at every time of the grid.

    .. math:: G_k = r(x_N) - \sum_{j \ge k} \text{cost}_j

    Arguments:
        reward: Terminal rewards (B,).
        cost: Symbols of the module.

    Returns:
        Array (B, N + 1); the last column is the reward.

    Claims: SCORE-ACTION-CRITIC-1

    Example:
        >>> returns_to_go([5.0], [[1.0, 2.0]]).tolist()
        [[2.0, 3.0, 5.0]]
    """
    ahead = xp.flip(xp.cumulative_sum(xp.flip(cost, axis=1), axis=1), axis=1)
    return xp.concat([reward[:, None] - ahead, reward[:, None]], axis=1)


@public(wide=True, check=_shapes("td_errors", values="BM", cost="BN"), values="finite", cost="finite")
def td_errors(xp: Namespace, values: Array, cost: Array) -> Array:
    r"""Increments of the would-be martingale.

    .. math:: \delta_k = V(x_{k+1}, t_{k+1}) - V(x_k, t_k) - \text{cost}_k

    Arguments:
        values: Values along the paths (B, N + 1); the last column is the terminal reward.
        cost: Symbols of the module.

    Returns:
        Array (B, N).

    Claims: SCORE-ACTION-CRITIC-1

    Example:
        >>> td_errors([[1.0, 4.0]], [[1.0]]).tolist()
        [[2.0]]
    """
    return values[:, 1:] - values[:, :-1] - cost


@public(
    wide=True,
    check=_shapes("martingale_loss", values="BN", targets="BN", dt="N"),
    values="finite",
    targets="finite",
    dt="> 0",
)
def martingale_loss(xp: Namespace, values: Array, targets: Array, dt: Array) -> Array:
    r"""The martingale loss: squared distance to the return, weighted by time.

    .. math:: \frac12 \frac1B \sum_{ik} (G_{ik} - V_{ik})^2\,\Delta_k

    Arguments:
        values: Values at the start of the steps (B, N).
        targets: Returns to go from there (B, N).
        dt: Symbols of the module.

    Returns:
        Array of shape ().

    Claims: SCORE-ACTION-CRITIC-1

    Example:
        >>> float(martingale_loss([[1.0, 2.0]], [[3.0, 2.0]], [0.5, 0.25]))
        1.0
    """
    return 0.5 * xp.mean(xp.sum((targets - values) ** 2 * dt, axis=-1))


@public(wide=True, check=_shapes("mean_square_td", errors="BN"), errors="finite")
def mean_square_td(xp: Namespace, errors: Array) -> Array:
    r"""The squared TD error: a counterexample, kept to show what it does.

    .. math:: \frac1B\sum_{ik} \delta_{ik}^2 \;\longrightarrow\; E\int g^2\,|\nabla V|^2\,dt

    With small steps it is the quadratic variation of V; see
    :func:`driftproof.theory.score_as_action.mean_square_td_limit` for where it ends.

    Arguments:
        errors: Symbols of the module.

    Returns:
        Array of shape ().

    Claims: SCORE-ACTION-MSTD-1

    Example:
        >>> float(mean_square_td([[1.0, 2.0]]))
        5.0
    """
    return xp.mean(xp.sum(errors * errors, axis=-1))


def _check_eligibility(xp: Namespace, *, features: Array, dt: Array, lam: float) -> None:
    _shapes("eligibility", features="BNp", dt="N")(xp, features=features, dt=dt)
    if not 0.0 <= lam <= 1.0:
        raise UnmetHypothesis("eligibility", "lambda in [0, 1]", f"lam = {lam!r}")


@public(wide=True, check=_check_eligibility, features="finite", dt="> 0")
def eligibility(xp: Namespace, features: Array, dt: Array, lam: float = 0.0) -> Array:
    r"""Eligibility traces of CTD(lambda): test processes that know the past alone.

    .. math:: e_k = \lambda^{\Delta_{k-1}}\,e_{k-1} + \phi_k\,\Delta_k \quad (\lambda > 0), \qquad
        e_k = \phi_k \quad (\lambda = 0)

    lambda is per unit of noise time, so that traces do not depend on the grid; lambda = 1 remembers all.

    Arguments:
        features: Gradient of V in its parameters at the start of the steps, (B, N, p).
        dt: Symbols of the module.
        lam: lambda in [0, 1].

    Returns:
        Array (B, N, p).

    Raises:
        UnmetHypothesis: lambda outside of [0, 1], or shapes that do not match.

    Claims: SCORE-ACTION-CRITIC-1

    Example:
        >>> eligibility([[[1.0], [1.0]]], [1.0, 1.0], 0.5).tolist()
        [[[1.0], [1.5]]]
    """
    if lam == 0.0:
        return features
    trace, traces = xp.zeros_like(features[:, 0, :]), []
    for k in range(features.shape[1]):
        kept = lam ** dt[k - 1] if k else 0.0
        trace = kept * trace + features[:, k, :] * dt[k]
        traces.append(trace)
    return xp.stack(traces, axis=1)


@public(
    wide=True, check=_shapes("ctd_direction", traces="BNp", errors="BN"), traces="finite", errors="finite"
)
def ctd_direction(xp: Namespace, traces: Array, errors: Array) -> Array:
    r"""The direction of CTD: the moment that vanishes at the right value function.

    .. math:: \frac1B\sum_{ik} e_{ik}\,\delta_{ik}

    Arguments:
        traces, errors: Symbols of the module.

    Returns:
        Array (p,): what to add to the parameters, times a learning rate.

    Claims: SCORE-ACTION-CRITIC-1

    Example:
        >>> ctd_direction([[[1.0, 2.0]]], [[3.0]]).tolist()
        [3.0, 6.0]
    """
    return xp.mean(xp.sum(traces * errors[..., None], axis=1), axis=0)


def _check_lstd(xp: Namespace, *, traces: Array, features: Array, errors: Array) -> None:
    _shapes("lstd", traces="BNp", features="BMp", errors="BN")(
        xp, traces=traces, features=features, errors=errors
    )
    end = xp.max(xp.abs(features[:, -1, :]))
    if not holds(end <= 1e-6 * xp.max(xp.abs(features))):
        got = f"up to {float(end):.3g} there"
        raise UnmetHypothesis("lstd", "features vanish at the end of the paths", got)
    _require_regular(xp, "lstd", _lstd_system(xp, traces, features))


def _check_regression(xp: Namespace, *, features: Array, targets: Array, dt: Array) -> None:
    _shapes("martingale_regression", features="BNp", targets="BN", dt="N")(
        xp, features=features, targets=targets, dt=dt
    )
    system = xp.mean(xp.matrix_transpose(features * dt[:, None]) @ features, axis=0)
    _require_regular(xp, "martingale_regression", system)


def _require_regular(xp: Namespace, subject: str, system: Array) -> None:
    values = xp.linalg.svdvals(system)
    least, most = xp.min(values), xp.max(values)
    if not holds(least > system.shape[0] * float(xp.finfo(system.dtype).eps) * most):
        got = f"singular values in [{float(least):.3g}, {float(most):.3g}]"
        raise UnmetHypothesis(subject, "features are linearly independent on the paths", got)


def _lstd_system(xp: Namespace, traces: Array, features: Array) -> Array:
    change = features[:, 1:, :] - features[:, :-1, :]
    return -xp.mean(xp.matrix_transpose(traces) @ change, axis=0)


@public(wide=True, check=_check_lstd, traces="finite", features="finite", errors="finite")
def lstd(xp: Namespace, traces: Array, features: Array, errors: Array) -> Array:
    r"""The linear critic that CTD converges to, solved at once.

    .. math:: \sum_k e_k\,\big(\delta_k^h + (\phi_{k+1} - \phi_k)\cdot w\big) = 0, \qquad V = h + \phi\cdot w

    Arguments:
        traces: Symbols of the module.
        features: Features along the paths (B, N + 1, p), zero in the last column: V is the reward there.
        errors: TD errors of the given part h (B, N), costs included.

    Returns:
        The parameters w (p,).

    Raises:
        UnmetHypothesis: Shapes that do not match, features that do not end at zero, or a singular system.

    Claims: SCORE-ACTION-CRITIC-1

    Example:
        >>> lstd([[[1.0]]], [[[2.0], [0.0]]], [[3.0]]).tolist()
        [1.5]
    """
    system = _lstd_system(xp, traces, features)
    return xp.linalg.solve(system, ctd_direction.kernel(xp, traces, errors)[:, None])[:, 0]


@public(wide=True, check=_check_regression, features="finite", targets="finite", dt="> 0")
def martingale_regression(xp: Namespace, features: Array, targets: Array, dt: Array) -> Array:
    r"""The linear critic of least martingale loss.

    .. math:: w = \arg\min_w \sum_{ik} (G_{ik} - h_{ik} - \phi_{ik}\cdot w)^2\,\Delta_k

    Arguments:
        features: Features at the start of the steps (B, N, p).
        targets: Returns to go less the given part h (B, N).
        dt: Symbols of the module.

    Returns:
        The parameters w (p,).

    Raises:
        UnmetHypothesis: Shapes that do not match, or a singular system.

    Claims: SCORE-ACTION-CRITIC-1

    Example:
        >>> martingale_regression([[[1.0]], [[2.0]]], [[2.0], [4.0]], [0.5]).tolist()
        [2.0]
    """
    weighted = xp.matrix_transpose(features * dt[:, None])
    system = xp.mean(weighted @ features, axis=0)
    moment = xp.mean(weighted @ targets[..., None], axis=0)
    return xp.linalg.solve(system, moment)[:, 0]
