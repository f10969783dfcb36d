r"""The logarithm of the gamma function: the one special function that every namespace already has.

Symbols:
    x: any shape, x > 0; results have its shape.

References:
    | NIST Digital Library of Mathematical Functions, §5.2(i), https://dlmf.nist.gov/5.2
"""

from __future__ import annotations

import array_api_compat
import numpy as np
import scipy.special

from driftproof._namespace import Array, Namespace, public

__all__ = ["digamma", "gammaln"]


@public(x="> 0")
def gammaln(xp: Namespace, x: Array) -> Array:
    r"""Logarithm of the gamma function.

    .. math:: \log\Gamma(x) = \log\int_0^\infty t^{x-1} e^{-t}\,dt

    Arguments:
        x: Symbols of the module.

    Claims: SPECIAL-GAMMA-1

    Example:
        >>> float(gammaln(5.0)) == __import__("math").log(24.0)
        True
    """
    return _native(xp, "gammaln", x)


@public(x="> 0")
def digamma(xp: Namespace, x: Array) -> Array:
    r"""Logarithmic derivative of the gamma function.

    .. math:: \psi(x) = \Gamma'(x)/\Gamma(x)

    Arguments:
        x: Symbols of the module.

    Claims: SPECIAL-GAMMA-1

    Example:
        >>> round(float(digamma(1.0)), 12)  # minus the Euler-Mascheroni constant
        -0.577215664902
    """
    return _native(xp, "digamma", x)


def _native(xp: Namespace, name: str, x: Array) -> Array:
    # No name of the standard computes it: the one place of this package where namespaces differ.
    if hasattr(xp, "special"):  # torch, with derivatives
        return getattr(xp.special, name)(x)
    if array_api_compat.is_jax_namespace(xp):
        from jax.scipy import special

        return getattr(special, name)(x)
    return xp.asarray(
        getattr(scipy.special, name)(np.asarray(x)), dtype=x.dtype, device=array_api_compat.device(x)
    )
