"""Laws of scipy.stats as ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from driftproof._capabilities import arrays
from driftproof._namespace import UnmetHypothesis, refuse

from .base import AbstractLaw
from .discrete import Discrete
from .gamma import Gamma, NoncentralChi2
from .gaussian import Gaussian
from .normal import LogNormal, Normal

__all__ = ["from_scipy"]

_HALF_LINE: Mapping[str, Callable[..., AbstractLaw]] = {
    "lognorm": lambda s, scale: LogNormal(np.log(scale), s),
    "gamma": lambda a, scale: Gamma(a, scale),
    "expon": lambda scale: Gamma(1.0, scale),
    "chi2": lambda df, scale: Gamma(0.5 * df, 2.0 * scale),
    "ncx2": lambda df, nc, scale: NoncentralChi2(df, nc, scale),
}


@arrays("numpy", results="numpy")
def from_scipy(frozen: Any) -> AbstractLaw:
    r"""The law of a frozen distribution of scipy.stats.

    ``norm``, ``lognorm``, ``gamma``, ``expon``, ``chi2`` and ``ncx2`` (:math:`loc = 0` on the half-line),
    ``multivariate_normal`` and a table ``rv_discrete(values=...)``.  Ours are called ``log_prob`` for ``logpdf``,
    ``log_cdf`` for ``logcdf``, ``log_sf`` for ``logsf``, ``icdf`` for ``ppf`` and ``sample`` for ``rvs``.

    Arguments:
        frozen: The distribution with its parameters, numbers or arrays.

    Returns:
        The law; parameters are float64.

    Raises:
        UnmetHypothesis: Another distribution, or one on a half-line that does not begin at 0.

    Claims: SPECIAL-LAWS-3

    Example:
        >>> from scipy import stats
        >>> from_scipy(stats.norm(0.5, scale=2.0))
        Normal(loc=0.5, scale=2.0)
    """
    if hasattr(frozen, "xk") and hasattr(frozen, "pk"):
        return Discrete(_floats(frozen.xk), _floats(frozen.pk))
    if type(frozen).__name__ == "multivariate_normal_frozen":
        return Gaussian(np.atleast_1d(_floats(frozen.mean)), np.atleast_2d(_floats(frozen.cov)))
    family = getattr(getattr(frozen, "dist", None), "name", None)
    if family is None:
        refuse("from_scipy", "frozen", "a frozen distribution of scipy.stats", frozen)
    if family not in ("norm", *_HALF_LINE):
        known = f"the distribution is norm, {', '.join(_HALF_LINE)}, multivariate_normal or a table"
        raise UnmetHypothesis("from_scipy", known, f"distribution {family}")
    names = [*(frozen.dist.shapes or "").replace(",", " ").split(), "loc", "scale"]
    given = {"loc": 0.0, "scale": 1.0, **dict(zip(names, frozen.args, strict=False)), **frozen.kwds}
    made = {name: _floats(given[name]) for name in names}
    loc = made.pop("loc")
    if family == "norm":
        return Normal(loc, **made)
    if np.any(loc != 0.0):
        raise UnmetHypothesis("from_scipy", f"loc = 0 of {family}", f"loc = {loc!r}")
    return _HALF_LINE[family](**made)


def _floats(value: Any) -> Any:
    """A Python number as one; arrays in float64."""
    if isinstance(value, int | float):
        return float(value)
    return np.asarray(value, dtype=np.float64)
