"""Special functions."""

from tests.parity.rows import mesh, row

Z = (0.0, 1e-12, 1e-3, 0.5, 2.0, 17.3, 24.0, 59.0, 713.0, 1e5, 1e10)
ORDERS = (-0.95, -0.5, 0.0, 0.5, 3.0, 60.0, 1000.0)
REAL = (-1e8, -1e3, -38.0, -5.0, -0.5, 0.0, 0.3, 4.0, 8.0, 37.0)
POSITIVE = (1e-8, 1e-3, 0.5, 1.0, 1.5, 2.0, 7.3, 40.0, 1e5)
HALF = (0.0, 1e-6, 0.5, 3.0, 40.0, 700.0, 1e4)
KUMMER = ((0.3, 0.6), (1.3, 2.2), (5.0, 1.0), (0.5, 30.0), (200.0, 3.0), (0.4, 900.0))

bessel = [*(mesh({"nu": nu}, z=Z) for nu in ORDERS), mesh(nu=ORDERS, z=Z)]
kummer = [mesh({"a": a, "b": b}, x=HALF) for a, b in KUMMER]

ROWS = {
    "theory.special.bessel.log_iv": row(bessel),
    "theory.special.bessel.log_ive": row(bessel),
    "theory.special.bessel.log_ive_parts": row(
        bessel, single=False, reason="the split, not the sum, depends on the precision"
    ),
    "theory.special.bessel.bessel_ratio": row(bessel),
    "theory.special.bessel.bessel_quotient": row(bessel),
    "theory.special.gamma.gammaln": row([mesh(x=POSITIVE)]),
    "theory.special.gamma.digamma": row(
        [mesh(x=POSITIVE)],
        absolute=4.0,
        reason="the algorithms of scipy and torch lose what cancels near the zero at 1.46",
    ),
    "theory.special.hypergeometric.log_hyp1f1": row(kummer),
    "theory.special.hypergeometric.hyp1f1_ratio": row(kummer),
    "theory.special.normal.log_ndtr": row([mesh(z=REAL)]),
    "theory.special.normal.mills": row([mesh(z=REAL)]),
}
