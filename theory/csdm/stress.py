r"""Stress tests with an exact answer: linear-Gaussian factors.

.. math:: r = B f + e, \qquad f \sim N(0, \Sigma_f), \quad e \sim N(0, \Psi).

Given that some factors take stressed values g, the returns are Gaussian again, and every quantile of a
portfolio is a formula: what a generative model conditioned on the stress must reproduce.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from array_api_compat import device
from scipy.special import ndtri

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, boundary, checked, require
from driftproof.theory.laws import Gaussian
from driftproof.theory.laws.gaussian import check_psd, require_single

__all__ = ["FactorModel", "expected_shortfall", "value_at_risk"]


@final
@dataclass(frozen=True, eq=False)
@checked
class FactorModel:
    r"""Returns that are linear in Gaussian factors.

    Arguments:
        loadings: The matrix B, with shape (n, k).
        factor_cov: The covariance of the factors, with shape (k, k).
        residual_cov: The covariance of the residuals, with shape (n, n).

    Raises:
        UnmetHypothesis: Shapes do not match, or a covariance is not positive semi-definite.

    Claims: CSDM-STRESS-1

    Example:
        >>> model = FactorModel([[1.0, 1.0]], [[1.0, 0.5], [0.5, 1.0]], [[0.25]])
        >>> model.returns().cov.tolist()
        [[3.25]]
        >>> law = model.stressed([0], [-2.0])
        >>> law.mean.tolist(), law.cov.tolist()
        ([-3.0], [[1.0]])
    """

    loadings: Array
    factor_cov: Array
    residual_cov: Array
    _half: Any = field(init=False, repr=False, default=None)  # of the laws that it makes, where that came

    def __post_init__(self) -> None:
        given = {
            "loadings": self.loadings,
            "factor_cov": self.factor_cov,
            "residual_cov": self.residual_cov,
        }
        xp, down, (loadings, factors, residuals) = boundary("FactorModel", **given)
        n, k = loadings.shape if loadings.ndim == 2 else (0, 0)
        if factors.shape != (k, k) or residuals.shape != (n, n) or n * k == 0:
            got = ", ".join(
                f"{name} {tuple(v.shape)}"
                for name, v in zip(given, (loadings, factors, residuals), strict=True)
            )
            raise UnmetHypothesis("FactorModel", "loadings (n, k), covariances (k, k) and (n, n)", got)
        for name, value in zip(given, (loadings, factors, residuals), strict=True):
            require(xp, "FactorModel", name, value, "finite")
        check_psd(xp, "FactorModel", factors)
        check_psd(xp, "FactorModel", residuals)
        for name, value in zip(given, (loadings, factors, residuals), strict=True):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_half", down.half)

    def returns(self) -> Gaussian:
        r"""The law of the returns without stress, :math:`N(0, B \Sigma_f B^\top + \Psi)`."""
        xp, _, (b, cov, residuals) = self._arrays()
        return Gaussian(xp.zeros_like(b[:, 0]), b @ cov @ xp.matrix_transpose(b) + residuals).remember(
            self._half
        )

    def stressed(self, index: Sequence[int], values: Array) -> Gaussian:
        r"""The law of the returns given that some factors take these values.

        .. math:: N\Big(B\,\Sigma_{fg}\Sigma_{gg}^{-1} g,\;\;
            B\,(\Sigma_f - \Sigma_{fg}\Sigma_{gg}^{-1}\Sigma_{gf})\,B^\top + \Psi\Big)

        Arguments:
            index: Which factors are stressed, distinct.
            values: Their values g, with shape (len(index),).

        Returns:
            The conditional law on R^n.

        Raises:
            UnmetHypothesis: An index out of range or given twice; stressed factors whose covariance is singular, a
                factor of zero variance among them.
        """
        picked = [operator.index(i) for i in index]
        xp, down, (b, cov, residuals, g) = self._arrays(values)
        if len(set(picked)) < len(picked) or not all(0 <= i < cov.shape[0] for i in picked) or not picked:
            raise UnmetHypothesis(
                "FactorModel.stressed", "distinct factors of the model", f"index = {picked}"
            )
        if tuple(g.shape) != (len(picked),):
            got = f"values {tuple(g.shape)}"
            raise UnmetHypothesis("FactorModel.stressed", f"one value for each of {len(picked)}", got)
        rows = xp.asarray(picked, device=device(cov))
        among = xp.take(xp.take(cov, rows, axis=0), rows, axis=1)
        self._require_regular(among, picked)
        gain = xp.matrix_transpose(xp.linalg.solve(among, xp.take(cov, rows, axis=0)))  # (k, g)
        left = cov - gain @ xp.take(cov, rows, axis=0)
        spread = b @ left @ xp.matrix_transpose(b) + residuals
        made = Gaussian(b @ (gain @ g[:, None])[:, 0], 0.5 * (spread + xp.matrix_transpose(spread)))
        return made.remember(down.half if self._half is None else self._half)

    def _arrays(self, values: Array | None = None) -> tuple[Namespace, Any, tuple[Array, ...]]:
        given = {} if values is None else {"values": values}
        return boundary(
            "FactorModel",
            loadings=self.loadings,
            factor_cov=self.factor_cov,
            residual_cov=self.residual_cov,
            **given,
        )

    @staticmethod
    def _require_regular(among: Array, picked: Sequence[int]) -> None:
        host = np.asarray(among)
        for position, factor in enumerate(picked):
            if not host[position, position] > 0.0:
                got = f"the variance of factor {factor} is {float(host[position, position])!r}"
                raise UnmetHypothesis("FactorModel.stressed", "stressed factors vary", got)
        values = np.linalg.eigvalsh(host)
        if values[0] <= len(picked) * np.finfo(host.dtype).eps * values[-1]:
            got = f"eigenvalues in [{values[0]:.3g}, {values[-1]:.3g}]"
            raise UnmetHypothesis("FactorModel.stressed", "the stressed factors are independent", got)


@arrays()
def value_at_risk(law: Gaussian, weights: Array, level: float, noise: float = 0.0) -> float:
    r"""The loss that a portfolio exceeds with probability 1 - level.

    .. math:: \mathrm{VaR} = -w^\top \mu + z_{level} \sqrt{w^\top \Sigma w + \sigma^2 |w|^2}

    Arguments:
        law: Law of the returns on R^n.
        weights: The portfolio w, with shape (n,).
        level: In (0, 1), for instance 0.95.
        noise: White noise of this level in the returns (what decoding leaves), >= 0.

    Returns:
        The value at risk; positive for a loss.

    Raises:
        UnmetHypothesis: A level out of range, noise < 0, or shapes that do not match.

    Claims: CSDM-STRESS-1

    Example:
        >>> round(value_at_risk(Gaussian([0.0], [[4.0]]), [1.0], 0.975), 6)
        3.919928
    """
    mean, deviation = _portfolio("value_at_risk", law, weights, level, noise)
    return -mean + float(ndtri(level)) * deviation


@arrays()
def expected_shortfall(law: Gaussian, weights: Array, level: float, noise: float = 0.0) -> float:
    r"""The mean loss beyond the value at risk.

    .. math:: \mathrm{ES} = -w^\top \mu + \frac{\varphi(z_{level})}{1 - level} \sqrt{w^\top \Sigma w + \sigma^2 |w|^2}

    Arguments:
        law, weights, level, noise: As in :func:`value_at_risk`.

    Returns:
        The expected shortfall; positive for a loss.

    Raises:
        UnmetHypothesis: As in :func:`value_at_risk`.

    Claims: CSDM-STRESS-1

    Example:
        >>> round(expected_shortfall(Gaussian([0.0], [[1.0]]), [1.0], 0.5), 6)
        0.797885
    """
    mean, deviation = _portfolio("expected_shortfall", law, weights, level, noise)
    z = float(ndtri(level))
    return -mean + math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi) / (1.0 - level) * deviation


def _portfolio(
    subject: str, law: Gaussian, weights: Array, level: float, noise: float
) -> tuple[float, float]:
    if not 0.0 < level < 1.0:
        raise UnmetHypothesis(subject, "0 < level < 1", f"level = {level!r}")
    if not 0.0 <= noise < math.inf:
        raise UnmetHypothesis(subject, "noise >= 0", f"noise = {noise!r}")
    require_single(subject, law)
    xp, _, (mean, cov, w) = boundary(subject, mean=law.mean, cov=law.cov, weights=weights)
    if w.shape != mean.shape:
        raise UnmetHypothesis(subject, "a weight for each return", f"{tuple(w.shape)}, {tuple(mean.shape)}")
    require(xp, subject, "mean", mean, "finite")
    require(xp, subject, "weights", w, "finite")
    variance = float(xp.sum(w * (cov @ w[:, None])[:, 0])) + noise * noise * float(xp.sum(w * w))
    return float(xp.sum(w * mean)), math.sqrt(max(variance, 0.0))
