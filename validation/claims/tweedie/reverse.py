r"""The forward equation of every process, and the family of processes that run it backwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn, final

import mpmath
import numpy as np
import sympy as sp
from mpmath import mpf

from driftproof._namespace import Array, Namespace
from driftproof.theory.laws import Discrete, Gamma, LogNormal, Normal
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, AbstractProcess, Flow
from driftproof.theory.processes.base import diffusion, drift, reverse_drift
from driftproof.theory.processes.clock import LinearClock
from driftproof.theory.processes.squared_bessel import AbstractSquaredBessel
from driftproof.theory.tweedie.symbolic import reverse_family
from driftproof.validation import Thing, claim, exact, figure, symbolic
from driftproof.validation.mutants import wrong
from driftproof.validation.symbols import SYMBOLS, on_symbols, rational, unchecked

from . import textbook
from .cases import ATOMS, BESQS, CIRS, GAUSSIANS, GBMS, WEIGHTS, measured
from .quadrature import half_line, line

__all__ = ["ForwardEquation", "ReverseFamily"]

ETAS = (0.0, 0.3, 1.0, 1.5)

X, X0, T, ETA = sp.symbols("x x_0 t eta", positive=True)
DELTA, KAPPA, THETA, SIGMA, LAPLACE = sp.symbols("delta kappa theta sigma lambda", positive=True)
FIRST, LAST, HORIZON = sp.symbols("beta_0 beta_1 T", positive=True)
MU = sp.symbols("mu", real=True)
S = sp.Function("s")(X)

CLOCK = unchecked(LinearClock, beta_min=FIRST, beta_max=LAST, T=HORIZON)
LOG_GAUSSIAN: dict[str, AbstractProcess] = {
    "VP": unchecked(VP, beta_min=FIRST, beta_max=LAST, T=HORIZON, _clock=CLOCK),
    "VE": VE(1.0, 2.0, 1.0),
    "Flow": Flow(),
    "GBM": unchecked(GBM, mu=MU, sigma=SIGMA, clock=CLOCK),
}
AFFINE: dict[str, Any] = {
    "BESQ": unchecked(BESQ, delta=DELTA, clock=CLOCK),
    "CIR": unchecked(CIR, kappa=KAPPA, theta=THETA, sigma=SIGMA, clock=CLOCK),
}


@claim(
    "TWEEDIE-PROCESS-1",
    "The transitions solve the equations of their processes",
    r"""
        \partial_t p = -\partial_x (b\,p) + \tfrac12 \partial_x^2 (a\,p), \qquad
        \text{and for BESQ and CIR, with } u(t, x_0) = E[e^{-\lambda X_t} \mid x_0]
        = (1+2\lambda\rho)^{-\delta/2}\,e^{-\lambda q x_0/(1+2\lambda\rho)}: \quad
        \partial_t u = b\,\partial_{x_0} u + \tfrac12 a\,\partial_{x_0}^2 u, \; u(0, x_0) = e^{-\lambda x_0}""",
    covers=[drift, diffusion, AbstractSquaredBessel.decay_rho],
    hypotheses=[r"\text{time-homogeneous up to a clock of linear rate}"],
)
class ForwardEquation:
    """Drift, squared diffusion and transition are three pieces of code: the equation joins them."""

    @symbolic()
    def fokker_planck(drift, diffusion):
        def residual(process: Any) -> Any:
            b, a = (on_symbols(part, process, X, T) for part in (drift, diffusion))
            parameters = process.transition_parameters(SYMBOLS, X0, T)
            log_p = rational(process.family.log_density(SYMBOLS, X, *parameters))
            s, a1 = sp.diff(log_p, X), sp.diff(a, X)
            flux = -sp.diff(b, X) - b * s
            spread = sp.diff(a1, X) / 2 + a1 * s + a * (sp.diff(s, X) + s**2) / 2
            return sp.diff(log_p, T) - flux - spread

        return {name: residual(process) for name, process in LOG_GAUSSIAN.items()}

    @symbolic()
    def backward_equation_of_the_laplace_transform(drift, diffusion, decay_rho):
        """The transform of the noncentral chi-square law itself is evidence of TWEEDIE-LAW-1."""

        def residual(process: Any) -> Any:
            b, a = (on_symbols(part, process, X0, T) for part in (drift, diffusion))
            decay, rho = rational(decay_rho(process, SYMBOLS, T))
            spread = 1 + 2 * LAPLACE * rho
            log_u = -rational(process.delta) / 2 * sp.log(spread) - LAPLACE * decay * X0 / spread
            slope = sp.diff(log_u, X0)
            return sp.diff(log_u, T) - b * slope - a * slope**2 / 2

        return {name: residual(process) for name, process in AFFINE.items()}

    @symbolic()
    def starts_at_the_data(decay_rho):
        zero = sp.Integer(0)
        scales = {name: rational(decay_rho(process, SYMBOLS, zero)) for name, process in AFFINE.items()}
        return {name: decay - 1 + rho for name, (decay, rho) in scales.items()}

    mutants = {
        "sign of the drift": wrong(drift, lambda value: -value),
        "coefficient for its square": wrong(diffusion, lambda value, xp: xp.sqrt(value)),
        "half the diffusion": wrong(diffusion, lambda value: value / 2),
        "without the rate of the clock": wrong(drift, t=lambda t: 0 * t),
    }


@final
class AnyDiffusion(AbstractProcess):
    """A diffusion whose coefficients are unknown functions: what holds for it holds for all."""

    def coefficients(self, xp: Namespace, x: Array, t: Array) -> tuple[Array, Array, Array]:
        b, a = (sp.Function(name)(x) for name in ("b", "a"))
        return b, a, sp.diff(a, x)

    def transition_parameters(self, xp: Namespace, x0: Array, t: Array) -> NoReturn:
        raise NotImplementedError

    def step_parameters(self, xp: Namespace, x: Array, s: Array, t: Array) -> NoReturn:
        raise NotImplementedError

    def marginal(self, data_law: Any, t: Array) -> NoReturn:
        raise NotImplementedError

    def bridge(self, x0: Array, xt: Array, s: Array, t: Array) -> NoReturn:
        raise NotImplementedError


@final
@dataclass(frozen=True, eq=False)
class Weak:
    r"""The reverse equation against a test function, at one time.

    .. math:: \int p_t \Big(\tilde b\,\varphi' + \tfrac{\eta^2}2 a\,\varphi''\Big) dx = -\frac{d}{dt} E\varphi(X_t)
    """

    label: str
    process: AbstractProcess
    t: float
    x: Any
    mass: Any  # p_t times the weights of the quadrature
    score: Any
    first: Any  # derivatives of the test function
    second: Any
    rate: float  # d/dt of its mean, from the closed form

    def sides(self, reverse_drift: Thing, eta: float) -> tuple[str, Any, Any]:
        pull = self.mass * reverse_drift(self.process, self.x, self.t, self.score, eta) * self.first
        spread = self.mass * (eta * eta / 2.0 * self.process.diffusion(self.x, self.t)) * self.second
        size = max(1.0, float(np.sum(np.abs(pull)) + np.sum(np.abs(spread))))
        return measured(f"{self.label}, eta = {eta}", np.sum(pull) + np.sum(spread), -self.rate, size)


@claim(
    "TWEEDIE-ETA-1",
    "Every member of the reverse family keeps the marginals",
    r"""
        dY = \Big[-b + \tfrac{1+\eta^2}2 (a\,s + a')\Big]\,d\tau + \eta\sqrt a\,dB, \quad Y_0 \sim p_T
        \;\Rightarrow\; Y_\tau \sim p_{T-\tau} \quad \text{for every } \eta \ge 0""",
    covers=[reverse_drift, reverse_family],
    hypotheses=[r"\eta \geq 0", r"p_t > 0 \text{ solves the forward equation}"],
)
class ReverseFamily:
    r"""By algebra for every diffusion; for each process, data and eta in {0, 0.3, 1, 1.5} by quadrature,
    against test functions that determine a law: cosines, powers, exponentials."""

    @symbolic()
    def fokker_planck_for_any_coefficients(reverse_drift):
        """The reverse equation in tau is the forward equation in t, with the opposite sign."""
        p, a, b = (sp.Function(name)(X) for name in ("p", "a", "b"))
        reversed_drift = on_symbols(reverse_drift, AnyDiffusion(), X, T, sp.diff(p, X) / p, ETA)
        backwards = -sp.diff(reversed_drift * p, X) + ETA**2 / 2 * sp.diff(a * p, X, 2)
        forwards = -sp.diff(b * p, X) + sp.diff(a * p, X, 2) / 2
        return sp.expand(backwards + forwards)

    @symbolic()
    def coefficients_of_each_process(reverse_drift):
        """The derivative a' that each process states is the derivative of its a."""

        def sides(process: Any) -> tuple[Any, Any]:
            b, a = (on_symbols(part, process, X, T) for part in (drift, diffusion))
            want = -b + (1 + ETA**2) / 2 * (a * S + sp.diff(a, X))
            return on_symbols(reverse_drift, process, X, T, S, ETA), want

        return {name: sides(process) for name, process in {**LOG_GAUSSIAN, **AFFINE}.items()}

    @symbolic()
    def derivation(reverse_family):
        return reverse_family()

    @exact(1e-12)
    def against_test_functions(reverse_drift):
        """The rounding of 800 nodes, relative to the terms that are added up."""
        for weak in _weak_equations():
            for eta in ETAS:
                yield weak.sides(reverse_drift, eta)

    refuses = [(reverse_drift, Flow(), 1.0, 0.5, 0.0, -1.0)]

    @figure
    def drifts(reverse_drift):
        """The reverse drift of CIR noise for four eta, with the exact score of three atoms at t = 0.3: more
        noise needs more pull, and at 0 the drift is eta^2 kappa theta: the process keeps its dimension."""
        from matplotlib.figure import Figure

        process, t, x = CIR(1.0, 1.0, 1.0), 0.3, np.linspace(1e-3, 5.0, 400)
        score = process.marginal(Discrete(ATOMS, WEIGHTS), t).score(x)
        drawn = Figure()
        axes = drawn.subplots()
        for eta in ETAS:
            axes.plot(x, reverse_drift(process, x, t, score, eta), label=f"η = {eta:g}")
        axes.axhline(0.0, linewidth=0.5, color="grey")
        axes.set(xlabel="state", ylabel="reverse drift", ylim=(-12.0, 12.0))
        axes.legend(frameon=False)
        return drawn

    mutants = {
        "eta for its square": wrong(reverse_drift, eta=lambda eta: eta**0.5),
        "without a'": wrong(
            reverse_drift,
            lambda value, xp, process, x, t, eta: (
                value - (1 + eta * eta) * process.coefficients(xp, x, t)[2] / 2
            ),
        ),
        "always Anderson's": wrong(reverse_drift, eta=lambda eta: 1.0 + 0 * eta),
        "forward drift kept": wrong(
            reverse_drift, lambda value, xp, process, x, t: value + 2 * process.coefficients(xp, x, t)[0]
        ),
    }


@cache
def _weak_equations() -> tuple[Weak, ...]:
    return tuple(_listed())


def _listed() -> Iterator[Weak]:
    for gaussian in GAUSSIANS:
        for data, atoms, spread in ((Normal(-1.0, 2.0), {-1.0: 1.0}, 2.0), _discrete((-1.0, 0.25, 3.0))):
            marginal = gaussian.marginal(data, 0.4)
            rule = line(float(marginal.mean), float(marginal.variance) ** 0.5, step=1 / 64)
            for omega in (0.4, 1.5):
                test = (lambda x, k=omega: -k * np.sin(k * x), lambda x, k=omega: -k * k * np.cos(k * x))
                yield _weak(gaussian, data, 0.4, rule, test, _cosine(gaussian, atoms, spread, omega))
    for gbm in GBMS:
        for data, atoms, spread in (
            (LogNormal(0.2, 0.5), {0.2: 1.0}, 0.5),
            _discrete((0.5, 1.25, 3.0), np.log),
        ):
            u, w = line(0.4, 0.8, step=1 / 64)
            for k in (-0.5, 1.5):
                test = (lambda x, k=k: k * x ** (k - 1), lambda x, k=k: k * (k - 1) * x ** (k - 2))
                yield _weak(gbm, data, 0.4, (np.exp(u), w * np.exp(u)), test, _power(gbm, atoms, spread, k))
    for bessel in (*BESQS, *CIRS):
        for data, atoms, scale in ((Gamma(0.5 * bessel.delta, 0.8), {0.0: 1.0}, 0.8), _discrete(ATOMS)):
            for k in (0.5, 2.0):
                test = (lambda x, k=k: -k * np.exp(-k * x), lambda x, k=k: k * k * np.exp(-k * x))
                rule = half_line(largest=200.0)
                yield _weak(bessel, data, 0.4, rule, test, _laplace(bessel, atoms, scale, k))


def _weak(process: Any, data: Any, t: float, rule: Any, test: Any, mean: Callable[[Any], Any]) -> Weak:
    x, w = rule
    marginal = process.marginal(data, t)
    mass = w * np.exp(marginal.log_prob(x))
    rate = float(mpmath.diff(mean, mpf(t)))
    label = f"{process}, {type(data).__name__}"
    return Weak(label, process, t, x, mass, marginal.score(x), test[0](x), test[1](x), rate)


def _discrete(atoms: tuple[float, ...], place: Any = float) -> tuple[Any, dict[float, float], float]:
    """Atoms as data, as weights by place, and without a spread of their own."""
    return Discrete(atoms, WEIGHTS), {float(place(a)): w for a, w in zip(atoms, WEIGHTS, strict=True)}, 0.0


def _cosine(process: Any, atoms: dict[float, float], spread: float, k: float) -> Callable[[Any], Any]:
    def mean(t: Any) -> Any:
        alpha, variance = textbook.levels(process, t)
        total = (alpha * spread) ** 2 + variance
        return sum(w * mpmath.cos(k * alpha * a) for a, w in atoms.items()) * mpmath.exp(-k * k * total / 2)

    return mean


def _power(process: Any, atoms: dict[float, float], spread: float, k: float) -> Callable[[Any], Any]:
    def mean(t: Any) -> Any:
        shift, variance = textbook.levels(process, t)
        growth = mpmath.exp(k * shift + k * k * (mpf(spread) ** 2 + variance) / 2)
        return sum(w * mpmath.exp(k * a) for a, w in atoms.items()) * growth

    return mean


def _laplace(process: Any, atoms: dict[float, float], scale: float, k: float) -> Callable[[Any], Any]:
    """Gamma data of shape delta/2 for a positive scale, the atoms otherwise."""

    def mean(t: Any) -> Any:
        nu, decay, rho = textbook.scales(process, t)
        spread = 1 + k * (decay * scale + 2 * rho)
        parts = sum(w * mpmath.exp(-k * decay * a / (1 + 2 * k * rho)) for a, w in atoms.items())
        return spread ** -(nu + 1) * parts

    return mean
