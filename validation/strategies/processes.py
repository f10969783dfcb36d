"""Forward processes with parameters at and around the places where their behaviour changes."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, AbstractProcess, Flow
from driftproof.theory.processes.clock import Clock, Identity, LinearClock

from .numbers import dimensions, positive

__all__ = ["besq", "cir", "flow", "gbm", "processes", "ve", "vp"]


def processes() -> SearchStrategy[AbstractProcess]:
    """Any process of the library.

    Example:
        >>> from hypothesis import find
        >>> find(processes(), lambda process: process == Flow())
        Flow()
    """
    return st.one_of(vp(), ve(), flow(), gbm(), besq(), cir())


def vp() -> SearchStrategy[VP]:
    """Variance-preserving processes: slow, fast, constant and decreasing schedules.

    Example:
        >>> from hypothesis import find
        >>> find(vp(), lambda process: process == VP(1.0, 1.0, 1.0))
        VP(beta_min=1.0, beta_max=1.0, T=1.0)
    """
    return st.builds(VP, positive(1e-3, 10.0), positive(1e-3, 30.0), positive(0.1, 10.0))


def ve() -> SearchStrategy[VE]:
    """Variance-exploding processes, growth from 1.01 to 10,000.

    Example:
        >>> from hypothesis import find
        >>> find(ve(), lambda process: process == VE(0.01, 0.02, 1.0))
        VE(sigma_min=0.01, sigma_max=0.02, T=1.0)
    """
    growth = positive(1.01, 1e4, edges=(2.0,))
    return st.builds(
        lambda low, ratio, T: VE(low, low * ratio, T),
        positive(1e-3, 1.0, edges=(0.01,)),
        growth,
        positive(0.1, 10.0),
    )


def flow() -> SearchStrategy[Flow]:
    """The linear flow; its times are below 1.

    Example:
        >>> from hypothesis import find
        >>> find(flow(), lambda process: True)
        Flow()
    """
    return st.builds(Flow)


def gbm() -> SearchStrategy[GBM]:
    """Geometric Brownian motions: martingales, driftless logarithms, decay and growth.

    Example:
        >>> from hypothesis import find
        >>> find(gbm(), lambda process: process == GBM(0.5, 1.0))
        GBM(mu=0.5, sigma=1.0, clock=Identity())
    """
    sigma = positive(1e-2, 3.0)
    rate = st.just(0.0) | positive(1e-3, 3.0) | positive(1e-3, 3.0).map(lambda mu: -mu)
    free = st.builds(GBM, rate, sigma, _clocks())
    driftless = st.builds(lambda s, clock: GBM(0.5 * s**2, s, clock), sigma, _clocks())
    return free | driftless


def besq() -> SearchStrategy[BESQ]:
    """Squared Bessel processes, dimensions below 1 included.

    Example:
        >>> from hypothesis import find
        >>> find(besq(), lambda process: process == BESQ(1.0))
        BESQ(delta=1.0, clock=Identity())
    """
    return st.builds(BESQ, dimensions(), _clocks())


def cir(*, feller: bool | None = None) -> SearchStrategy[CIR]:
    """CIR processes; ``feller`` True or False keeps or violates 2 kappa theta >= sigma^2.

    The dimension delta = 4 kappa theta / sigma^2 is what is drawn, so that its edges are met (up to the
    rounding of theta).

    Example:
        >>> from hypothesis import find
        >>> find(cir(feller=False), lambda process: process == CIR(1.0, 0.25, 1.0))
        CIR(kappa=1.0, theta=0.25, sigma=1.0, clock=Identity())
    """
    delta = dimensions()
    if feller is not None:
        delta = dimensions(2.0001, 60.0) if feller else dimensions(0.05, 1.9999)
    return st.builds(
        lambda kappa, d, sigma, clock: CIR(kappa, 0.25 * d * sigma**2 / kappa, sigma, clock),
        positive(1e-2, 10.0),
        delta,
        positive(0.05, 5.0),
        _clocks(),
    )


def _clocks() -> SearchStrategy[Clock]:
    linear = st.builds(LinearClock, positive(0.1, 2.0), positive(0.1, 20.0), st.just(1.0))
    return st.just(Identity()) | linear
