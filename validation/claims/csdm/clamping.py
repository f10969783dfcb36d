r"""What a clamp takes from normal measurements, by quadrature and by transport."""

from __future__ import annotations

import math

import mpmath as mp
from scipy.integrate import quad
from scipy.special import ndtri

from driftproof.theory.csdm import clamping_loss
from driftproof.validation import claim, exact, grid, rows
from driftproof.validation.mutants import wrong

__all__ = ["Clamping"]

QUADRATURE = 1e-11  # the relative error that quad is asked for


@claim(
    "CSDM-CLAMP-1",
    "What clamping takes from normal measurements",
    r"""P(|Y| > c) = 2Q(\tau), \qquad
        \frac{W_2^2\big(Y, \mathrm{clip}(Y, -c, c)\big)}{E Y^2} = 2\big[(1+\tau^2)Q(\tau) - \tau\varphi(\tau)\big],
        \qquad \tau = \frac cs""",
    covers=[clamping_loss],
    hypotheses=[r"Y \sim N(0, s^2)"],
)
class Clamping:
    @exact(
        1e-12,
        scale=0.0,
        over=rows("limit, sd", ((1.0, 0.54), (0.0, 3.0), (2.0, 0.5), (0.1, 7.0), (8.0, 1.0))),
    )
    def integrals_of_the_tails(clamping_loss, limit, sd):
        with mp.workdps(40):
            tau = mp.mpf(limit) / mp.mpf(sd)
            cuts = [tau, tau + 1, tau + 4, tau + 12]
            share = 2 * mp.quad(mp.npdf, cuts)
            energy = 2 * mp.quad(lambda z: (z - tau) ** 2 * mp.npdf(z), cuts)
        return clamping_loss(limit, sd), [float(share), float(energy)]

    @exact(4.0 * QUADRATURE, scale=0.0, over=grid(tau=(0.0, 0.5, 1.0 / 0.54, 4.0)))
    def transport_between_quantiles(clamping_loss, tau):
        """The distance as an integral over ranks v, of which those below Q(tau) move, and their mirror images."""
        share = math.erfc(tau / math.sqrt(2.0))
        moved = lambda v: (-ndtri(v) - tau) ** 2
        energy = 2.0 * quad(moved, 0.0, 0.5 * share, epsabs=0.0, epsrel=QUADRATURE)[0]
        return clamping_loss(tau)[1], energy

    @exact(1e-13, scale=0.0)
    def units_do_not_matter(clamping_loss):
        for scale in (1e-6, 3.0, 1e200):
            yield f"times {scale:g}", clamping_loss(1.0 * scale, 0.54 * scale), clamping_loss(1.0, 0.54)
        yield "a clamp out of reach", clamping_loss(1e300, 1e-300), [0.0, 0.0]

    refuses = [
        (clamping_loss, *arguments)
        for arguments in ((-1.0, 1.0), (1.0, 0.0), (math.nan, 1.0), (1.0, math.inf))
    ]

    mutants = {
        "one side": wrong(clamping_loss, lambda value: tuple(0.5 * part for part in value)),
        "energy before less energy after": wrong(
            clamping_loss, lambda value, limit, sd: _lost(value, min(limit / sd, 40.0))
        ),
        "variance for deviation": wrong(clamping_loss, sd=lambda sd: sd * sd),
        "all that is beyond": wrong(
            clamping_loss, lambda value, limit, sd: _beyond(value[0], min(limit / sd, 40.0))
        ),
    }


def _lost(value: tuple[float, float], tau: float) -> tuple[float, float]:
    """1 - E clip^2/E Y^2: another quantity, as the parts are correlated."""
    share, energy = value
    crossed = 2.0 * tau * (math.exp(-0.5 * tau * tau) / math.sqrt(2.0 * math.pi) - 0.5 * tau * share)
    return share, energy + 2.0 * crossed


def _beyond(share: float, tau: float) -> tuple[float, float]:
    """E[Y^2; |Y| > c]: measurements set to 0 instead."""
    return share, share + 2.0 * tau * math.exp(-0.5 * tau * tau) / math.sqrt(2.0 * math.pi)
