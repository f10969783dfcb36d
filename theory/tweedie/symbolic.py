r"""Derivations that are identities between expressions, for sympy to settle.

Each function returns expressions that vanish identically; the evidence of the claims simplifies them.
Nothing here is evaluated in floating point.
"""

from __future__ import annotations

import sympy as sp

__all__ = [
    "bessel_eigenfunction",
    "gbm_dilation",
    "gbm_log_moments",
    "reverse_family",
    "second_order_formula",
]


def reverse_family(eta_power: int = 2) -> sp.Expr:
    r"""The Fokker-Planck equation of the reverse family is that of the forward process, run backwards.

    .. math:: -(\tilde b\,p)' + \tfrac{\eta^2}{2} (a p)'' = (b\,p)' - \tfrac12 (a p)'',
        \qquad \tilde b = -b + \tfrac{1+\eta^2}{2}(a s + a')

    Arguments:
        eta_power: The power of eta in the drift: 2 in the theorem, anything else is a mutant.
    """
    x, eta = sp.symbols("x eta", positive=True)
    p, a, b = (sp.Function(name)(x) for name in ("p", "a", "b"))
    score = sp.diff(p, x) / p
    drift = -b + (1 + eta**eta_power) / 2 * (a * score + sp.diff(a, x))
    reverse = -sp.diff(drift * p, x) + eta**2 / 2 * sp.diff(a * p, x, 2)
    return sp.expand(sp.simplify(reverse - sp.diff(b * p, x) + sp.diff(a * p, x, 2) / 2))


def bessel_eigenfunction() -> sp.Expr:
    r"""The tilted transition density of BESQ is an eigenfunction of a first- and second-order operator.

    .. math:: L\,\phi = \frac{x_0}{4t^2}\,\phi, \quad L = x\,\partial^2 + (\nu+1)\,\partial, \quad
        \phi(x) = \sum_{j \ge 0} \frac{(x x_0 / 4t^2)^j}{j!\,(\nu+1)_j}
        \;\propto\; x^{-\nu}\,e^{x/2t}\,p_t(x \mid x_0)

    Checked term by term: L maps the j-th term of the series to x_0/4t^2 times the (j-1)-th.
    """
    x, x0, t, nu = sp.symbols("x x_0 t nu", positive=True)
    j = sp.symbols("j", integer=True, positive=True)
    w = x * x0 / (4 * t**2)
    ratio = j * (nu + j)  # term(j-1) / term(j) times w
    term = w**j
    image = x * sp.diff(term, x, 2) + (nu + 1) * sp.diff(term, x)
    return sp.simplify(image - x0 / (4 * t**2) * ratio * w ** (j - 1))


def second_order_formula(gap: int = 4) -> sp.Expr:
    r"""The posterior mean under BESQ noise, expanded from :math:`4t^2\,(L G)/G`, :math:`G = x^{-\nu} e^{x/2t} p`.

    .. math:: \frac{4t^2}{G} \big(x G'' + (\nu+1) G'\big)
        = x + (4-\delta)t + \big[4tx + 2t^2(4-\delta)\big] s + 4t^2 x (s^2 + s')

    Arguments:
        gap: The number 4 in 4 - delta: anything else is a mutant.
    """
    x, t, delta = sp.symbols("x t delta", positive=True)
    p = sp.Function("p")(x)
    nu = delta / 2 - 1
    tilted = x**-nu * sp.exp(x / (2 * t)) * p
    direct = 4 * t**2 * (x * sp.diff(tilted, x, 2) + (nu + 1) * sp.diff(tilted, x)) / tilted
    s = sp.diff(p, x) / p
    formula = (
        x
        + (gap - delta) * t
        + (4 * t * x + 2 * t**2 * (gap - delta)) * s
        + 4 * t**2 * x * (s**2 + sp.diff(s, x))
    )
    return sp.simplify(sp.expand(sp.simplify(direct) - formula))


def gbm_dilation() -> sp.Expr:
    r"""A power of the data times the transition density is a dilated transition density.

    .. math:: x_0^k\,p_t(x \mid x_0) = x^k e^{-km + k^2v/2 + kv}\,p_t(x e^{kv} \mid x_0)

    Integrated over the data this is the dilation formula for the posterior moments.
    """
    x, x0, v = sp.symbols("x x_0 v", positive=True)
    m, k = sp.symbols("m k", real=True)
    left = k * sp.log(x0) - sp.log(x) - (sp.log(x) - sp.log(x0) - m) ** 2 / (2 * v)
    dilated = -sp.log(x) - k * v - (sp.log(x) + k * v - sp.log(x0) - m) ** 2 / (2 * v)
    right = k * sp.log(x) - k * m + k**2 * v / 2 + k * v + dilated
    return sp.simplify(sp.expand(left - right))


def gbm_log_moments() -> tuple[sp.Expr, sp.Expr]:
    r"""The first two derivatives of the transition density, as moments of log X_0.

    .. math:: v\,\Big(1 + \frac{x\,\partial_x p}{p}\Big) = \log x_0 + m - \log x, \qquad
        v^2 \Big(\frac{(x\partial_x)^2 (x p)}{x p}\Big) = (\log x_0 + m - \log x)^2 - v

    The left sides are linear in p up to the common factor, so they average over the posterior.
    """
    x, x0, v = sp.symbols("x x_0 v", positive=True)
    m = sp.symbols("m", real=True)
    residual = sp.log(x0) + m - sp.log(x)
    p = sp.exp(-(residual**2) / (2 * v)) / x
    first = v * (1 + x * sp.diff(p, x) / p) - residual
    log_derivative = x * sp.diff(x * sp.diff(x * p, x), x) / (x * p)
    second = v**2 * log_derivative - (residual**2 - v)
    return sp.simplify(first), sp.simplify(second)
