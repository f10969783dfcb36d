r"""The conventions of the library, each a claim: time, noise, parametrisations, randomness, types, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np

from driftproof._namespace import UnmetHypothesis
from driftproof._random import source
from driftproof.theory.laws import Discrete, Gamma, LogNormal, NoncentralChi2, Normal
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, AbstractProcess, Flow
from driftproof.theory.processes.base import diffusion, drift, reverse_drift
from driftproof.theory.processes.gaussian import AbstractGaussianProcess
from driftproof.theory.tweedie import posterior_mean, posterior_weights
from driftproof.validation import Thing, boundary, claim, exact, parity, raises
from driftproof.validation.evidence.base import Labelled
from driftproof.validation.mutants import altered, arguments, outcome
from driftproof.validation.symbols import unchecked

__all__ = ["ErrorsNameTheHypothesis", "Eta", "LinearFlow", "NoiseTime"]
__all__ += ["Parametrisations", "SeedsReproduce", "SquaredDiffusion"]

Labels = Iterator[Labelled]
PROCESSES: tuple[AbstractProcess, ...] = (
    VP(0.1, 20.0, 1.0),
    VE(0.01, 50.0, 1.0),
    Flow(),
    GBM(0.3, 0.5),
    BESQ(1.5),
    CIR(0.7, 1.2, 0.9),
)
COEFFICIENTS = (
    AbstractGaussianProcess.coefficients,
    VP.rates,
    VE.rates,
    Flow.rates,
    GBM.coefficients,
    BESQ.coefficients,
    CIR.coefficients,
)


def transition(process: AbstractProcess, x0: float, t: float) -> Any:
    """Law of X_t given X_0 = x0."""
    return process.transition(x0, t)


@claim(
    "CONVENTION-TIME-1",
    paper="conventions",
    title="Time is noise time",
    statement=r"t = 0 \text{ is the data}: \quad X_t \to X_0 \text{ as } t \to 0, \; \mathrm{Var}[X_t \mid X_0] \text{ grows}",
    vouches=[VP, VE, Flow, GBM, BESQ, CIR],
)
class NoiseTime:
    thing = transition

    @exact(tolerance=1e-10)
    def data_at_zero(thing: Thing) -> Labels:
        """At t = 1e-12 the mean has moved by the drift, at most 20 t, and the variance is a t."""
        for process in PROCESSES:
            law, name = thing(process, 1.5, 1e-12), type(process).__name__
            yield f"mean, {name}", law.mean, 1.5
            yield f"variance, {name}", law.variance, 0.0

    @exact(tolerance=0.0)
    def noise_grows(thing: Thing) -> Labels:
        """Relative to the signal that is left: the squared mean."""
        times = (0.01, 0.1, 0.5, 0.9)
        for process in PROCESSES:
            laws = [thing(process, 1.5, t) for t in times]
            noise = [float(law.variance) / float(law.mean) ** 2 for law in laws]
            yield type(process).__name__, np.diff(noise) > 0, [True] * (len(times) - 1)

    mutants = {
        "data at t = 1": lambda process, x0, t: process.transition(x0, 1.0 - t),
        "starts late": lambda process, x0, t: process.transition(x0, 1e-3 + t),
    }


@claim(
    "CONVENTION-DIFFUSION-1",
    paper="conventions",
    title="Diffusion means the squared coefficient",
    statement=r"dX = b\,dt + \sqrt{a}\,dB: \quad \texttt{drift} = b, \; \texttt{diffusion} = a",
    vouches=[drift, diffusion, *COEFFICIENTS],
)
class SquaredDiffusion:
    thing = (drift, diffusion)

    @exact(tolerance=1e-6)
    def moments_over_a_short_time(thing: Thing) -> Labels:
        """Over h = 2^-28, at its middle: the error is h times rates below 100, and a mean is rounded at 2^-24 h."""
        b, a = thing
        h, x0 = 2.0**-28, 1.5
        for process in PROCESSES:
            law, name = process.transition(x0, h), type(process).__name__
            yield f"mean, {name}", (float(law.mean) - x0) / h, b(process, x0, h / 2)
            yield f"variance, {name}", float(law.variance) / (h * float(a(process, x0, h / 2))), 1.0

    mutants = {
        "coefficient for its square": (
            drift,
            altered(diffusion, lambda kernel, xp, *p: xp.sqrt(kernel(xp, *p))),
        ),
        "half the square, a generator's": (drift, outcome(diffusion, lambda a: a / 2)),
        "drift of the reverse": (outcome(drift, lambda b: -b), diffusion),
    }


@claim(
    "CONVENTION-ETA-1",
    paper="conventions",
    title="Eta is the stochasticity of the reverse",
    statement=r"""
        \eta = 0: \text{ probability flow, } -b + \tfrac12 (a s + a'); \qquad
        \eta = 1: \text{ Anderson's reversal, } -b + a s + a'""",
    vouches=[reverse_drift, *COEFFICIENTS],
)
class Eta:
    @exact(tolerance=1e-14)
    def written_out(thing: Thing) -> Labels:
        x, t, s = 1.7, 0.25, -0.6
        beta, growth = 0.1 + 19.9 * t, 1e-4 * 2 * np.log(5e3) * 5e3 ** (2 * t)
        pairs = {
            "VP": (PROCESSES[0], beta * x / 2 + beta * s / 2, beta * x / 2 + beta * s),
            "VE": (PROCESSES[1], growth * s / 2, growth * s),
            "flow": (Flow(), (x + t * s) / (1 - t), (x + 2 * t * s) / (1 - t)),
            "GBM": (
                GBM(0.3, 0.5),
                -0.3 * x + 0.25 * x + 0.125 * x * x * s,
                -0.3 * x + 0.5 * x + 0.25 * x * x * s,
            ),
            "BESQ": (BESQ(1.5), 0.5 + 2 * x * s, 2.5 + 4 * x * s),
            "CIR": (
                CIR(0.7, 1.2, 0.9),
                -0.7 * (1.2 - x) + 0.405 * (x * s + 1),
                -0.7 * (1.2 - x) + 0.81 * (x * s + 1),
            ),
        }
        for name, (process, flow, anderson) in pairs.items():
            yield f"{name}, eta = 0", thing(process, x, t, s, 0.0), flow
            yield f"{name}, eta = 1", thing(process, x, t, s, 1.0), anderson

    mutants = {
        "1 - eta": arguments(reverse_drift, lambda p, x, t, s, eta: (p, x, t, s, 1.0 - eta)),
        "drift in forward time": outcome(reverse_drift, lambda b: -b),
    }


def velocity(x: float, t: float, score: float) -> Any:
    """dx/dt of the probability flow, in noise time."""
    return -Flow().reverse_drift(x, t, score, eta=0.0)


@claim(
    "CONVENTION-FLOW-1",
    paper="conventions",
    title="Gaussian noise and the linear flow",
    statement=r"""x_t = \alpha(t)\,x_0 + \sigma(t)\,z; \qquad
        \text{linear flow: } x_t = (1-t)\,x_0 + t z, \; \frac{dx}{dt} = E[Z - X_0 \mid X_t = x]""",
    vouches=[VP, VE, Flow],
)
class LinearFlow:
    thing = velocity

    @exact(tolerance=1e-13)
    def velocity_by_finite_sums(thing: Thing) -> Labels:
        """Fewer than 64 roundings, divided by t (1 - t) >= 0.09."""
        data = Discrete([-1.0, 0.25, 3.0], [0.25, 0.5, 0.25])
        for t in (0.1, 0.5, 0.9):
            for x in (-0.5, 1.0):
                mean = float(posterior_weights(Flow(), data, x, t) @ data.atoms)
                want = (x - (1.0 - t) * mean) / t - mean
                yield f"x = {x}, t = {t}", thing(x, t, float(Flow().marginal(data, t).score(x))), want

    @exact(tolerance=1e-15)
    def levels(thing: Thing) -> Labels:
        """Up to the squaring of sigma."""
        for t in (0.0, 0.25, 0.5):
            yield f"flow, t = {t}", [Flow().alpha(t), Flow().sigma(t)], [1.0 - t, t]
        for process in (VP(), VE(), Flow()):
            law, name = process.transition(2.0, 0.5), type(process).__name__
            yield name, [law.mean, law.variance], [2.0 * process.alpha(0.5), process.sigma(0.5) ** 2]

    mutants = {
        "noise at t = 0": lambda x, t, score: -Flow().reverse_drift(x, 1.0 - t, score, eta=0.0),
        "towards the data": lambda x, t, score: Flow().reverse_drift(x, t, score, eta=0.0),
        "drift of Anderson": lambda x, t, score: -Flow().reverse_drift(x, t, score, eta=1.0),
    }


@claim(
    "CONVENTION-LAWS-1",
    "Parameters of laws are those of scipy.stats",
    r"""
        N(\text{loc}, \text{scale}), \; e^{N(\text{loc}, \text{scale})}, \;
        \Gamma(\text{shape}, \text{scale}), \; \text{scale} \cdot \chi'^2_{\text{df}}(\text{nc}): \quad
        \text{scale is a standard deviation or a factor, never a variance or a rate}""",
    covers=[Normal, LogNormal, Gamma, NoncentralChi2],
)
class Parametrisations:
    @exact(1e-12)
    def moments_and_densities(Normal, LogNormal, Gamma, NoncentralChi2):
        """scipy's noncentral density is a series good to about 1e-13."""
        from scipy import stats

        pairs = {
            "normal": (Normal(0.5, 2.0), stats.norm(0.5, 2.0)),
            "lognormal": (LogNormal(0.5, 0.7), stats.lognorm(0.7, scale=np.exp(0.5))),
            "gamma": (Gamma(1.5, 2.0), stats.gamma(1.5, scale=2.0)),
            "noncentral": (NoncentralChi2(3.0, 2.0, 0.5), stats.ncx2(3.0, 2.0, scale=0.5)),
        }
        x = np.asarray([0.2, 1.0, 4.5])
        for name, (ours, theirs) in pairs.items():
            yield f"{name}: moments", [ours.mean, ours.variance], [theirs.mean(), theirs.var()]
            yield f"{name}: log-density", ours.log_prob(x), theirs.logpdf(x)

    @exact(1e-13)
    def scores_are_slopes_of_textbook_densities(Normal, LogNormal, Gamma, NoncentralChi2):
        x = np.asarray([0.2, 1.0, 4.5])

        def log_density(x: Any) -> Any:
            u = 2 * x  # df = 3, nc = 2, scale 1/2
            return -u / 2 + mpmath.log(u / 2) / 4 + mpmath.log(mpmath.besseli(0.5, mpmath.sqrt(2 * u)))

        yield "normal", Normal(0.5, 2.0).score(x), -(x - 0.5) / 4.0
        yield "lognormal", LogNormal(0.5, 0.7).score(x), -(1.0 + (np.log(x) - 0.5) / 0.49) / x
        yield "gamma", Gamma(1.5, 2.0).score(x), 0.5 / x - 0.5
        yield "noncentral", NoncentralChi2(3.0, 2.0, 0.5).score(x), [mpmath.diff(log_density, v) for v in x]

    mutants = {
        "variance for scale": {Normal: lambda m, v: Normal(m, v**0.5)},
        "rate for scale": {Gamma: lambda k, rate: Gamma(k, 1.0 / rate)},
        "root of the noncentrality": {NoncentralChi2: lambda df, nc, scale: NoncentralChi2(df, nc**2, scale)},
    }


def sample(law: Any, n: int, rng: Any) -> Any:
    """Draws of a law."""
    return law.sample((n,), rng)


@claim(
    "CONVENTION-RNG-1",
    paper="conventions",
    title="Randomness is data",
    statement=r"\text{The same integer and parameters give the same draws, in every namespace; global state is never used}",
    vouches=[source],
)
class SeedsReproduce:
    thing = sample

    @exact(tolerance=0.0)
    def same_seed_same_draws(thing: Thing) -> Labels:
        for law in (Normal(0.5, 2.0), Gamma(1.5, 2.0), NoncentralChi2(0.5, 2.0, 1.0)):
            name = type(law).__name__
            yield f"integer, {name}", thing(law, 8, 7), thing(law, 8, 7)
            yield f"generator, {name}", thing(law, 8, np.random.default_rng(7)), thing(law, 8, 7)
            yield f"other seed, {name}", float(np.any(thing(law, 8, 7) != thing(law, 8, 8))), 1.0

    @exact(tolerance=0.0)
    def global_state_is_untouched(thing: Thing) -> Labels:
        before = np.random.get_state(legacy=False)["state"]  # noqa: NPY002  # it is what must not change
        thing(Normal(0.0, 1.0), 8, 7)
        after = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
        yield "position", after["pos"], before["pos"]
        yield "key", after["key"].astype(float), before["key"].astype(float)

    @parity()
    def torch_sees_the_same_numbers(thing: Thing) -> Labels:
        import torch

        for kind, parameters in ((Normal, (0.5, 2.0)), (LogNormal, (0.1, 0.5)), (Gamma, (1.5, 2.0))):
            tensors = [torch.tensor(p, dtype=torch.float64) for p in parameters]
            yield kind.__name__, thing(kind(*tensors), 8, 7), thing(kind(*parameters), 8, 7)

    @boundary()
    def no_generator_is_refused(thing: Thing) -> Any:
        return [raises(TypeError, sample, Normal(0.0, 1.0), 8, None)]

    mutants = {
        "global generator": lambda law, n, rng: np.random.normal(law.mean, 1.0, n),  # noqa: NPY002
        "seed ignored": lambda law, n, rng: law.sample((n,), 0),
        "seed shifted by what was drawn": lambda law, n, rng: law.sample((n,), rng if rng != 7 else 8),
    }


def refused(call: Callable[[], Any]) -> str:
    """What the library says when it refuses; nothing where it does not."""
    try:
        call()
    except UnmetHypothesis as error:
        return str(error)
    return ""


@claim(
    "CONVENTION-ERRORS-1",
    paper="conventions",
    title="Errors name the hypothesis",
    statement=r"\text{Where a hypothesis fails the call is refused before any work, and the error says which}",
    vouches=[UnmetHypothesis, CIR.require_feller],
)
class ErrorsNameTheHypothesis:
    thing = SimpleNamespace(CIR=CIR, BESQ=BESQ, posterior_mean=posterior_mean)

    @exact(tolerance=0.0)
    def says_which(thing: Thing) -> Labels:
        wanted: dict[str, Callable[[], Any]] = {
            "CIR: unmet hypothesis: kappa > 0 (kappa = -1.0)": lambda: thing.CIR(
                kappa=-1.0, theta=1.0, sigma=1.0
            ),
            "BESQ: unmet hypothesis: delta > 0 (delta = 0.0)": lambda: thing.BESQ(delta=0.0),
            "unmet hypothesis: x has no NaN (1 NaN in shape ())": lambda: thing.posterior_mean(
                Flow(), float("nan"), 0.5, 0.0
            ),
            "unmet hypothesis: t > 0 (t = 0.0)": lambda: thing.posterior_mean(Flow(), 1.0, 0.0, 0.0),
            "unmet hypothesis: Feller condition 2 kappa theta >= sigma^2 (0.08 < 1)": lambda: thing.CIR(
                kappa=0.4, theta=0.1, sigma=1.0
            ).require_feller("Lamperti scheme"),
        }
        for message, call in wanted.items():
            yield message, float(message in refused(call)), 1.0

    mutants = {
        "parameters unchecked": SimpleNamespace(
            CIR=lambda **values: unchecked(CIR, **values), BESQ=BESQ, posterior_mean=posterior_mean
        ),
        "zero dimension accepted": SimpleNamespace(
            CIR=CIR, BESQ=lambda delta: unchecked(BESQ, delta=delta), posterior_mean=posterior_mean
        ),
        "NaN passed on": SimpleNamespace(
            CIR=CIR, BESQ=BESQ, posterior_mean=outcome(posterior_mean, lambda mean: mean)
        ),
    }
