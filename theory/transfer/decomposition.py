r"""The error of transfer: transport, source and mismatch.

With :math:`f_T = f_S \circ S_0 + \Delta`, :math:`(S_0)_\# P_T = P_S` and :math:`\hat f = \hat f_S \circ \hat S`,

.. math::
    \|\hat f - f_T\|_{L^2(P_T)} \le [\hat f_S]_h\, \|\hat S - S_0\|_{L^2(P_T)}^h
        + \|\hat f_S - f_S\|_{L^2(P_S)} + \|\Delta\|_{L^2(P_T)}, \qquad 0 < h \le 1

The first step is the triangle inequality through :math:`\hat f_S \circ S_0`; the map carries the second norm from
:math:`P_T` to :math:`P_S`; Jensen's inequality gives :math:`E|\hat S - S_0|^{2h} \le (E|\hat S - S_0|^2)^h`.
More target samples shrink the first term only.

Where labels are transported too, :math:`f_T = g \circ f_S \circ S_0 + \Delta` and
:math:`\hat f = \hat g \circ \hat f_S \circ \hat S`, one more step through :math:`\hat g \circ f_S \circ S_0` gives

.. math::
    \|\hat f - f_T\| \le \mathrm{Lip}(\hat g)\,\big([\hat f_S]_h\, \|\hat S - S_0\|^h + \|\hat f_S - f_S\|\big)
        + \|\hat g - g\|_{L^2((f_S)_\# P_S)} + \|\Delta\|

References:
    | Sample complexity of transfer learning: an optimal transport approach (Cao, Guo, Tang & Wang, 2026),
      https://arxiv.org/abs/2605.20545 (derived here)
"""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public

__all__ = ["error_bound"]


def _require_holder(xp: Namespace, holder: float, **_: Array) -> None:
    if not 0.0 < holder <= 1.0:
        raise UnmetHypothesis("error_bound", "0 < h <= 1", f"h = {holder!r}")


@public(
    wide=True,
    map_error=">= 0",
    source_error=">= 0",
    mismatch=">= 0",
    constant=">= 0",
    output=">= 0",
    output_error=">= 0",
    check=_require_holder,
)
def error_bound(
    xp: Namespace,
    map_error: Array,
    source_error: Array,
    mismatch: Array,
    constant: Array,
    holder: float = 1.0,
    output: float | Array = 1.0,
    output_error: float | Array = 0.0,
) -> Array:
    r"""The bound on the :math:`L^2(P_T)` error of transfer.

    .. math:: \mathrm{Lip}(\hat g)\,\big([\hat f_S]_h\, \|\hat S - S_0\|^h + \|\hat f_S - f_S\|\big)
        + \|\hat g - g\| + \|\Delta\|

    Arguments:
        map_error: :math:`\|\hat S - S_0\|_{L^2(P_T)}`, >= 0, whatever :math:`\hat S` was estimated from:
            n samples of the source law cost what m of the target do (:func:`gaussian_map_risk`).
        source_error: :math:`\|\hat f_S - f_S\|_{L^2(P_S)}`, >= 0.
        mismatch: :math:`\|\Delta\|_{L^2(P_T)}`, >= 0: the floor that no number of target samples removes.
        constant: Hölder constant :math:`[\hat f_S]_h` of the estimated source model, >= 0.
        holder: Hölder exponent h in (0, 1]; 1 is Lipschitz.
        output: Lipschitz constant :math:`\mathrm{Lip}(\hat g)` of the estimated output map, >= 0; 1 where labels
            stay as they are.
        output_error: :math:`\|\hat g - g\|` under the law of :math:`f_S(X_S)`, >= 0.

    Returns:
        The bound, elementwise.

    Raises:
        UnmetHypothesis: h outside of (0, 1]: a function that is smoother is Lipschitz on a bounded set.

    Claims: TRANSFER-ERROR-1, TRANSFER-HOLDER-1, TRANSFER-OUTPUT-1

    Example:
        >>> float(error_bound(0.25, 0.5, 0.0, 2.0, holder=0.5))
        1.5
        >>> float(error_bound(0.25, 0.5, 0.0, 2.0, holder=0.5, output=3.0, output_error=1.0))
        5.5
    """
    return output * (constant * map_error**holder + source_error) + output_error + mismatch
