r"""Ridge regression towards a source: the simplest transfer of a model."""

from __future__ import annotations

import math

from ..._namespace import Array, Namespace, UnmetHypothesis, public

__all__ = ["ridge_towards"]


def _require_regular(xp: Namespace, x: Array, y: Array, source_beta: Array, penalty: float) -> None:
    if not 0.0 < penalty < math.inf:
        raise UnmetHypothesis("ridge_towards", "penalty > 0 and finite", f"penalty = {penalty!r}")


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
        UnmetHypothesis: :math:`\lambda \le 0`: with m < d nothing is left to invert.

    Claims: TRANSFER-RIDGE-1

    Example:
        >>> ridge_towards([[1.0], [1.0]], [4.0, 4.0], [0.0], 1.0).tolist()
        [2.0]
    """
    m, d = x.shape
    gram = xp.matrix_transpose(x) @ x / float(m) + penalty * xp.eye(d, dtype=x.dtype, device=x.device)
    slope = xp.matrix_transpose(x) @ (y - x @ source_beta) / float(m)
    columns = slope if slope.ndim == 2 else slope[:, None]
    return source_beta + xp.reshape(xp.linalg.solve(gram, columns), source_beta.shape)
