r"""Ridge regression towards a source: the simplest transfer of a model."""

from __future__ import annotations

import math

from array_api_compat import device

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public

__all__ = ["ridge_towards"]


def _require_regular(xp: Namespace, x: Array, y: Array, source_beta: Array, penalty: float) -> None:
    if not 0.0 < penalty < math.inf:
        raise UnmetHypothesis("ridge_towards", "penalty > 0 and finite", f"penalty = {penalty!r}")
    shapes = tuple(tuple(value.shape) for value in (x, y, source_beta))
    if (
        len(shapes[0]) != 2
        or 0 in shapes[0]
        or len(shapes[1]) not in (1, 2)
        or shapes[1][:1] != shapes[0][:1]
        or shapes[2] != (*shapes[0][1:], *shapes[1][1:])
    ):
        got = f"shapes {', '.join(map(str, shapes))}"
        raise UnmetHypothesis("ridge_towards", "x (m, d), y (m,) or (m, k), source_beta (d,) or (d, k)", got)


@public(check=_require_regular)
def ridge_towards(xp: Namespace, x: Array, y: Array, source_beta: Array, penalty: float) -> Array:
    r"""Ridge regression towards a source coefficient.

    .. math:: \hat\beta = \beta_S + (X^\top X/m + \lambda I)^{-1} X^\top (y - X\beta_S)/m

    Arguments:
        x: Design X, shape (m, d); any m >= 1.
        y: Labels, shape (m,) or (m, k).
        source_beta: :math:`\beta_S`, shape (d,) or (d, k).
        penalty: :math:`\lambda > 0`.

    Returns:
        :math:`\hat\beta`, in the shape of ``source_beta``.

    Raises:
        UnmetHypothesis: :math:`\lambda \le 0`: with m < d nothing is left to invert; or shapes that do not match.

    Claims: TRANSFER-RIDGE-1

    Example:
        >>> ridge_towards([[1.0], [1.0]], [4.0, 4.0], [0.0], 1.0).tolist()
        [2.0]
    """
    m, d = x.shape
    gram = xp.matrix_transpose(x) @ x / float(m) + penalty * xp.eye(d, dtype=x.dtype, device=device(x))
    slope = xp.matrix_transpose(x) @ (y - x @ source_beta) / float(m)
    columns = slope if slope.ndim == 2 else slope[:, None]
    return source_beta + xp.reshape(xp.linalg.solve(gram, columns), source_beta.shape)
