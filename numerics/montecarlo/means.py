r"""Tests of means and variances whose tails hold at one in a hundred million.

A false-alarm rate of :math:`10^{-8}` lies 5.7 standard deviations out, where the central limit theorem
says nothing: for exponential draws Student's test at that level alarms 5,000 times too often at n = 40 and
17 times at n = 1000.  Without any assumption there is no test at all (Bahadur and Savage, 1956), so each
test names its own:

``"variance"``
    :math:`\operatorname{Var} X\le sd^2`, any law.  Catoni's bounded influence function :math:`\phi`,
    :math:`|\phi(u)| = \log(1+|u|+u^2/2)`, makes

    .. math:: E_\pm = \exp\Big(\pm\sum_i\phi(\lambda(x_i-\mu)) - \tfrac12 n\lambda^2 sd^2\Big),\qquad
              \mathbb E\,E_\pm\le 1,

    so :math:`p = 2/(E_+ + E_-)` is valid at every n by Markov's inequality.
``"gaussian"``
    Exact z (``sd`` given) or t.
``"symmetric"``
    X symmetric about its mean, no moment needed:
    :math:`P(|\sum d_i|\ge x\sqrt{\sum d_i^2})\le 2e^{-x^2/2}` at every n.
``"bounded"``
    X in ``support``: :math:`p = 2\exp(-n\,\mathrm{kl}(\bar u, m))` after scaling to [0, 1].
``"asymptotic"``
    Student's t times its Cramér factor with the estimated skewness,
    :math:`\exp(|t|^3|\hat\gamma|/(3\sqrt n))`; needs a fourth moment and :math:`n\gg t^4` (about 1,000
    at :math:`10^{-8}`), and rejects nothing below :math:`n = 6\hat\gamma^2\log(1/\alpha)`.

Symbols:
    x: Draws, shape (n,).
    power: Detection probability behind ``detectable``.
    alpha: False-alarm rate.

References:
    | The nonexistence of certain statistical procedures in nonparametric problems (Bahadur, Savage, 1956)
    | Challenging the empirical mean and empirical variance (Catoni, 2012), https://arxiv.org/abs/1009.2048
    | Student's t-test under symmetry conditions (Efron, 1969)
    | Probability inequalities for sums of bounded random variables (Hoeffding, 1963), theorem 1
    | Limit theorems for self-normalized large deviation (Wang, 2005), Cramér factor of Student's ratio
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
from scipy.optimize import brentq
from scipy.special import rel_entr
from scipy.stats import chi2, norm
from scipy.stats import t as student

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis

from .power import detectable_effect
from .verdict import POWER, Floats, Verdict, as_level, as_samples

__all__ = ["Assumption", "mean_test", "two_sample_mean_test", "variance_test"]

Assumption: TypeAlias = Literal["variance", "gaussian", "symmetric", "bounded", "asymptotic"]


@arrays()
def mean_test(
    x: Array,
    mean: float,
    alpha: float,
    sd: float | None = None,
    *,
    assume: Assumption | None = None,
    support: tuple[float, float] | None = None,
    power: float = POWER,
) -> Verdict:
    """Test that independent draws of one law have a given mean.

    Arguments:
        x: Draws, shape (n,), any namespace.
        mean: The hypothesis.
        alpha: False-alarm rate, in (0, 1).
        sd: The standard deviation that the hypothesis states (an upper bound will do), > 0.
        assume: See the module; by default ``"bounded"`` where ``support`` is given, ``"variance"``
            where ``sd`` is, ``"asymptotic"`` otherwise.
        support: ``(low, high)`` with every draw inside, for ``"bounded"``.
        power: Symbols of the module.

    Returns:
        The verdict; effects are in the unit of x.  ``detectable`` is guaranteed for ``"variance"``,
        ``"bounded"`` and ``"gaussian"`` with ``sd``; elsewhere it uses the sample's spread.

    Raises:
        UnmetHypothesis: An argument out of its range, draws outside ``support``, what ``assume`` needs
            is not given.

    Claims: STATISTICS-MEAN-1, STATISTICS-MEAN-2

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).exponential(size=10_000)
        >>> mean_test(x, 1.0, alpha=1e-8, sd=1.0).rejects
        False
        >>> mean_test(x, 0.9, alpha=1e-8, sd=1.0).rejects
        True
    """
    (draws,) = as_samples("mean_test", x=x)
    return _mean_test("mean", draws, float(mean), alpha, sd, assume, support, power)


@arrays()
def two_sample_mean_test(
    x: Array,
    y: Array,
    alpha: float,
    sd: float | None = None,
    *,
    assume: Assumption = "symmetric",
    power: float = POWER,
) -> Verdict:
    """Test that two independent samples of equal size have the same mean.

    The test is that of the pair differences: under the hypothesis that both have the same *law* they
    are symmetric, so that the default holds at every n without a moment; ``"gaussian"`` is exact for
    Gaussian samples of any two variances.

    Arguments:
        x, alpha, power: Symbols of the module.
        y: Draws, shape (n,).
        sd: Standard deviation of a difference x - y, for ``"variance"`` and ``"gaussian"``.
        assume: The assumption on x - y; see the module.

    Raises:
        UnmetHypothesis: Samples of different sizes; otherwise as :func:`mean_test`.

    Claims: STATISTICS-MEAN-1

    Example:
        >>> import numpy as np
        >>> x, y = np.random.default_rng(0).standard_cauchy((2, 1000))
        >>> two_sample_mean_test(x, y, alpha=1e-8).rejects
        False
    """
    first, second = as_samples("two_sample_mean_test", x=x, y=y)
    _same_size("two_sample_mean_test", first, second)
    return _mean_test("difference of means", first - second, 0.0, alpha, sd, assume, None, power)


@arrays()
def variance_test(
    x: Array,
    variance: float,
    alpha: float,
    *,
    mean: float | None = None,
    kurtosis: float | None = None,
    power: float = POWER,
) -> Verdict:
    r"""Test that draws have a given variance.

    Gaussian draws (``kurtosis=None``): exactly :math:`\sum(x-\bar x)^2/\sigma^2\sim\chi^2_{n-1}`, which
    is wrong at every n for any other law.  With the mean and the kurtosis
    :math:`E(X-\mu)^4/\sigma^4` of another law: the ``"variance"`` test of :math:`(X-\mu)^2`, valid at
    every n.

    Arguments:
        x, alpha, power: Symbols of the module.
        variance: The hypothesis, > 0.
        mean: The known mean; needed with ``kurtosis``.
        kurtosis: Fourth standardised moment (3 for a Gaussian), >= 1.

    Returns:
        The verdict; effects are relative: estimated variance over ``variance``, minus 1.

    Raises:
        UnmetHypothesis: An argument out of its range; ``kurtosis`` without ``mean``.

    Claims: STATISTICS-MEAN-2

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=10_000)
        >>> variance_test(x, 1.0, alpha=1e-8).rejects, variance_test(x, 1.2, alpha=1e-8).rejects
        (False, True)
    """
    (draws,) = as_samples("variance_test", x=x)
    as_level("variance_test", "alpha", alpha)
    as_level("variance_test", "power", power)
    if not (variance > 0 and math.isfinite(variance)):
        raise UnmetHypothesis("variance_test", "variance > 0", f"variance = {variance}")
    if kurtosis is not None:
        if mean is None:
            raise UnmetHypothesis("variance_test", "mean is known where kurtosis is", "mean = None")
        if not kurtosis >= 1:
            raise UnmetHypothesis("variance_test", "kurtosis >= 1", f"kurtosis = {kurtosis}")
        spread = max(math.sqrt(kurtosis - 1), 1e-150)  # 0 for a two-point law: (X - mu)^2 is constant
        square = (draws - mean) ** 2 / variance - 1
        return _mean_test("variance", square, 0.0, alpha, spread, "variance", None, power, unit="relative")
    n = draws.size
    squares = float(np.sum((draws - (draws.mean() if mean is None else mean)) ** 2))
    dof = n - 1 if mean is None else n
    ratio = squares / variance
    p = 2 * min(chi2.sf(ratio, dof), chi2.cdf(ratio, dof))
    # The scale c with P(c chi2 > upper critical value) = power.
    detectable = chi2.isf(alpha / 2, dof) / chi2.isf(power, dof) - 1
    return Verdict(
        "variance",
        min(1.0, float(p)),
        ratio / dof - 1,
        float(detectable),
        "relative",
        n,
        alpha,
        power,
        "exact",
    )


def _mean_test(
    name: str,
    x: Floats,
    mean: float,
    alpha: float,
    sd: float | None,
    assume: Assumption | None,
    support: tuple[float, float] | None,
    power: float,
    unit: str = "(unit of x)",
) -> Verdict:
    as_level("mean_test", "alpha", alpha)
    as_level("mean_test", "power", power)
    if not math.isfinite(mean):
        raise UnmetHypothesis("mean_test", "mean is finite", f"mean = {mean}")
    if sd is not None and not (sd > 0 and math.isfinite(sd)):
        raise UnmetHypothesis("mean_test", "sd > 0", f"sd = {sd}")
    if assume is None:
        assume = "bounded" if support is not None else "variance" if sd is not None else "asymptotic"
    match assume:
        case "variance" if sd is not None:
            p, detectable, validity = *_catoni(x - mean, sd, alpha, power), f"bound: sd <= {sd:.6g}"
        case "gaussian":
            p, detectable = _gaussian(x - mean, sd, alpha, power)
            validity = "exact for Gaussian draws"
        case "symmetric":
            p, detectable = _self_normalised(x - mean, alpha, power)
            validity = "bound for symmetric draws"
        case "bounded" if support is not None:
            p, detectable = _bounded(x, mean, support, alpha, power)
            validity = f"bound: support [{support[0]:.6g}, {support[1]:.6g}]"
        case "asymptotic":
            p, detectable = _cramer(x - mean, alpha, power)
            validity = "asymptotic, skewness corrected"
        case _:
            needs = {"variance": "sd is given", "bounded": "support is given"}
            known = "assume is variance, gaussian, symmetric, bounded or asymptotic"
            raise UnmetHypothesis("mean_test", needs.get(assume, known), f"assume = {assume!r}")
    effect = float(x.mean()) - mean
    return Verdict(name, min(1.0, p), effect, detectable, unit, x.size, alpha, power, validity)


def _catoni(d: Floats, sd: float, alpha: float, power: float) -> tuple[float, float]:
    n = d.size
    false_alarm, miss = math.log(2 / alpha), -math.log1p(-power)
    # This lambda makes the guaranteed detectable effect, about 2 sd sqrt((L + B) / n), smallest.
    lam_sd = math.sqrt((false_alarm + miss) / n)
    u = d * (lam_sd / sd)
    total = float(np.sum(np.sign(u) * np.log1p(np.abs(u) + u * u / 2)))
    log_e = np.logaddexp(total, -total) - n * lam_sd**2 / 2 - math.log(2)
    # Under a shift Delta: E exp(-phi) <= 1 - l Delta + l^2 (sd^2 + Delta^2) / 2; solve for enough of it.
    level = math.exp(-(lam_sd**2) / 2 - (false_alarm + miss) / n)
    discriminant = 1 - 2 * (1 + lam_sd**2 / 2 - level)
    detectable = math.inf if discriminant < 0 else sd / lam_sd * (1 - math.sqrt(discriminant))
    return math.exp(min(0.0, -float(log_e))), detectable


def _gaussian(d: Floats, sd: float | None, alpha: float, power: float) -> tuple[float, float]:
    n = d.size
    if sd is not None:
        z = abs(float(d.mean())) * math.sqrt(n) / sd
        return 2 * float(norm.sf(z)), detectable_effect(n, alpha, power, sd)
    spread = float(d.std(ddof=1)) / math.sqrt(n)
    t = _ratio(abs(float(d.mean())), spread)
    return 2 * float(student.sf(t, n - 1)), spread * float(student.isf(alpha / 2, n - 1) + norm.ppf(power))


def _self_normalised(d: Floats, alpha: float, power: float) -> tuple[float, float]:
    n = d.size
    scale = float(np.max(np.abs(d))) or 1.0  # heavy tails: squares may overflow
    x = _ratio(abs(float(np.sum(d / scale))), float(np.sqrt(np.sum((d / scale) ** 2))))
    # x -> sqrt(n) Delta / sqrt(sd^2 + Delta^2) plus a standard normal.
    r = (math.sqrt(2 * math.log(2 / alpha)) + float(norm.ppf(power))) / math.sqrt(n)
    detectable = math.inf if r >= 1 else scale * float(np.std(d / scale)) * r / math.sqrt(1 - r * r)
    return 2 * math.exp(-x * x / 2), detectable


def _bounded(
    x: Floats, mean: float, support: tuple[float, float], alpha: float, power: float
) -> tuple[float, float]:
    low, high = support
    if not (low < high and low <= mean <= high):
        raise UnmetHypothesis("mean_test", "low <= mean <= high, low < high", f"{support}, mean = {mean}")
    if x.min() < low or x.max() > high:
        raise UnmetHypothesis("mean_test", f"draws lie in {support}", f"[{x.min()}, {x.max()}]")
    n, width = x.size, high - low
    u, m = float(np.mean((x - low) / width)), (mean - low) / width
    divergence = float(rel_entr(u, m) + rel_entr(1 - u, 1 - m))
    miss = -math.log1p(-power)
    detectable = width * (math.sqrt(math.log(2 / alpha) / (2 * n)) + math.sqrt(miss / (2 * n)))
    return 2 * math.exp(-n * divergence), detectable


def _cramer(d: Floats, alpha: float, power: float) -> tuple[float, float]:
    n = d.size
    sd = float(d.std(ddof=1))
    skewness = abs(float(np.mean(((d - d.mean()) / (sd or 1.0)) ** 3)))
    # Past sqrt(n) / skewness the corrected tail would rise again; a larger t is no weaker evidence.
    last = math.sqrt(n) / max(skewness, 1e-300)

    def log_p(t: float) -> float:
        z = min(t, last)
        tail = float(student.logsf(z, n - 1)) if z < math.inf else -math.inf
        return math.log(2) + tail + skewness * z**3 / (3 * math.sqrt(n)) if tail > -math.inf else tail

    p = math.exp(min(0.0, log_p(_ratio(abs(float(d.mean())) * math.sqrt(n), sd))))
    top = min(last, 40.0)  # no level in use lies beyond 40 standard deviations
    if log_p(top) > math.log(alpha):
        return p, math.inf
    critical = float(brentq(lambda z: log_p(z) - math.log(alpha), 0.0, top))
    return p, (critical + float(norm.ppf(power))) * sd / math.sqrt(n)


def _ratio(numerator: float, denominator: float) -> float:
    # Constant draws: on the hypothesis (0 / 0) nothing speaks against it, off it everything does.
    if denominator > 0:
        return numerator / denominator
    return 0.0 if numerator == 0 else math.inf


def _same_size(subject: str, x: Floats, y: Floats) -> None:
    if x.shape != y.shape:
        raise UnmetHypothesis(subject, "both samples have the same size", f"{x.shape} and {y.shape}")
