r"""The conventions of the library, each a claim: time, noise, parametrisations, randomness, types, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np

from driftproof._namespace import UnmetHypothesis
from driftproof._random import source
from driftproof.theory.laws import Discrete, Gamma, LogNormal, NoncentralChi2, Normal
from driftproof.theory.laws.elementwise import ElementwiseLaw
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, AbstractProcess, Flow
from driftproof.theory.processes.base import diffusion, drift, reverse_drift
from driftproof.theory.processes.gaussian import AbstractGaussianProcess
from driftproof.theory.tweedie import posterior_mean, posterior_weights
from driftproof.validation import claim, exact, grid, parity, rows
from driftproof.validation.mutants import wrong
from driftproof.validation.symbols import unchecked

__all__ = ["ErrorsNameTheHypothesis", "Eta", "LinearFlow", "NoiseTime"]
__all__ += ["Parametrisations", "SeedsReproduce", "SquaredDiffusion"]

PROCESSES: tuple[AbstractProcess, ...] = (
    VP(0.1, 20.0, 1.0),
    VE(0.01, 50.0, 1.0),
    Flow(),
    GBM(0.3, 0.5),
    BESQ(1.5),
    CIR(0.7, 1.2, 0.9),
)
EACH = rows("label, process", ((type(process).__name__, process) for process in PROCESSES))


@claim(
    "CONVENTION-TIME-1",
    "Time is noise time",
    r"t = 0 \text{ is the data}: \quad X_t \to X_0 \text{ as } t \to 0, \; \mathrm{Var}[X_t \mid X_0] \text{ grows}",
    covers=[AbstractProcess.transition],
)
class NoiseTime:
    @exact(1e-10, over=EACH)
    def data_at_zero(transition, process):
        """At t = 1e-12 the mean has moved by the drift, at most 20 t, and the variance is a t."""
        law = transition(process, 1.5, 1e-12)
        yield "mean", law.mean, 1.5
        yield "variance", law.variance, 0.0

    @exact(0.0, over=EACH)
    def noise_grows(transition, process):
        """Relative to the signal that is left: the squared mean."""
        laws = [transition(process, 1.5, t) for t in (0.01, 0.1, 0.5, 0.9)]
        noise = [float(law.variance) / float(law.mean) ** 2 for law in laws]
        return np.diff(noise) > 0, [True] * 3

    mutants = {
        "data at t = 1": wrong(AbstractProcess.transition, t=lambda t: 1.0 - t),
        "starts late": wrong(AbstractProcess.transition, t=lambda t: 1e-3 + t),
    }


@claim(
    "CONVENTION-DIFFUSION-1",
    "Diffusion means the squared coefficient",
    r"dX = b\,dt + \sqrt{a}\,dB: \quad \texttt{drift} = b, \; \texttt{diffusion} = a",
    covers=[drift, diffusion],
)
class SquaredDiffusion:
    @exact(1e-6, over=EACH)
    def moments_over_a_short_time(drift, diffusion, process):
        """Over h = 2^-28, at its middle: the error is h times rates below 100, and a mean is rounded at 2^-24 h."""
        h, x0 = 2.0**-28, 1.5
        law = process.transition(x0, h)
        yield "mean", (float(law.mean) - x0) / h, drift(process, x0, h / 2)
        yield "variance", float(law.variance) / (h * float(diffusion(process, x0, h / 2))), 1.0

    mutants = {
        "coefficient for its square": wrong(diffusion, lambda value, xp: xp.sqrt(value)),
        "half the square, a generator's": wrong(diffusion, lambda value: value / 2),
        "drift of the reverse": wrong(drift, lambda value: -value),
    }


@claim(
    "CONVENTION-ETA-1",
    "Eta is the stochasticity of the reverse",
    r"""
        \eta = 0: \text{ probability flow, } -b + \tfrac12 (a s + a'); \qquad
        \eta = 1: \text{ Anderson's reversal, } -b + a s + a'""",
    covers=[reverse_drift],
)
class Eta:
    @exact(1e-14)
    def written_out(reverse_drift):
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
            yield f"{name}, eta = 0", reverse_drift(process, x, t, s, 0.0), flow
            yield f"{name}, eta = 1", reverse_drift(process, x, t, s, 1.0), anderson

    mutants = {
        "1 - eta": wrong(reverse_drift, eta=lambda eta: 1.0 - eta),
        "drift in forward time": wrong(reverse_drift, lambda value: -value),
    }


@claim(
    "CONVENTION-FLOW-1",
    "Gaussian noise and the linear flow",
    r"""x_t = \alpha(t)\,x_0 + \sigma(t)\,z; \qquad
        \text{linear flow: } x_t = (1-t)\,x_0 + t z, \; \frac{dx}{dt} = E[Z - X_0 \mid X_t = x]""",
    covers=[AbstractProcess.reverse_drift, AbstractGaussianProcess.alpha, AbstractGaussianProcess.sigma],
)
class LinearFlow:
    """In noise time dx/dt is the probability flow with the other sign."""

    @exact(1e-13, over=grid(t=(0.1, 0.5, 0.9), x=(-0.5, 1.0)))
    def velocity_by_finite_sums(reverse_drift, x, t):
        """Fewer than 64 roundings, divided by t (1 - t) >= 0.09."""
        data = Discrete([-1.0, 0.25, 3.0], [0.25, 0.5, 0.25])
        mean = float(posterior_weights(Flow(), data, x, t) @ data.atoms)
        score = float(Flow().marginal(data, t).score(x))
        return -reverse_drift(Flow(), x, t, score, eta=0.0), (x - (1.0 - t) * mean) / t - mean

    @exact(1e-15)
    def levels(alpha, sigma):
        """Up to the squaring of sigma."""
        for t in (0.0, 0.25, 0.5):
            yield f"flow, t = {t}", [alpha(Flow(), t), sigma(Flow(), t)], [1.0 - t, t]
        for process in (VP(), VE(), Flow()):
            law = process.transition(2.0, 0.5)
            want = [2.0 * alpha(process, 0.5), sigma(process, 0.5) ** 2]
            yield type(process).__name__, [law.mean, law.variance], want

    mutants = {
        "noise at t = 0": wrong(AbstractProcess.reverse_drift, t=lambda t: 1.0 - t),
        "towards the data": wrong(AbstractProcess.reverse_drift, lambda value: -value),
        "drift of Anderson": wrong(AbstractProcess.reverse_drift, eta=lambda: 1.0),
        "level of the signal at the data": wrong(AbstractGaussianProcess.alpha, t=lambda t: 0.5 * t),
        "variance for the level": wrong(AbstractGaussianProcess.sigma, lambda value: value**2),
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
        "variance for scale": wrong(Normal, scale=lambda scale: scale**0.5),
        "rate for scale": wrong(Gamma, scale=lambda scale: 1.0 / scale),
        "root of the noncentrality": wrong(NoncentralChi2, nc=lambda nc: nc**2),
        "median for its logarithm": wrong(LogNormal, loc=lambda loc: np.exp(loc)),
    }


@claim(
    "CONVENTION-RNG-1",
    "Randomness is data",
    r"\text{The same integer and parameters give the same draws, in every namespace; global state is never used}",
    covers=[ElementwiseLaw.sample, source],
)
class SeedsReproduce:
    @exact(0.0, over=rows("law", (Normal(0.5, 2.0), Gamma(1.5, 2.0), NoncentralChi2(0.5, 2.0, 1.0))))
    def same_seed_same_draws(sample, source, law):
        yield "source", sample(law, (8,), source(7)), sample(law, (8,), 7)
        yield "generator", sample(law, (8,), np.random.default_rng(7)), sample(law, (8,), 7)
        yield "other seed", float(np.any(sample(law, (8,), 7) != sample(law, (8,), 8))), 1.0

    @exact(0.0)
    def global_state_is_untouched(sample):
        before = np.random.get_state(legacy=False)["state"]  # noqa: NPY002  # it is what must not change
        sample(Normal(0.0, 1.0), (8,), 7)
        after = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
        yield "position", after["pos"], before["pos"]
        yield "key", after["key"].astype(float), before["key"].astype(float)

    @parity(
        over=rows("kind, parameters", ((Normal, (0.5, 2.0)), (LogNormal, (0.1, 0.5)), (Gamma, (1.5, 2.0))))
    )
    def torch_sees_the_same_numbers(sample, kind, parameters):
        import torch

        tensors = [torch.tensor(p, dtype=torch.float64) for p in parameters]
        return sample(kind(*tensors), (8,), 7), sample(kind(*parameters), (8,), 7)

    refuses = [(TypeError, ElementwiseLaw.sample, Normal(0.0, 1.0), (8,), None)]

    mutants = {
        "global generator": {
            ElementwiseLaw.sample: lambda law, shape, rng: np.random.normal(law.mean, 1.0, shape)  # noqa: NPY002
        },
        "seed ignored": wrong(ElementwiseLaw.sample, rng=lambda: 0),
        "seed shifted by what was drawn": wrong(
            ElementwiseLaw.sample, rng=lambda rng: 8 if rng == 7 else rng
        ),
        "another source": wrong(source, rng=lambda rng: rng + 1),
    }


def refused(error: type[Exception], call: Callable[[], Any]) -> str:
    """What the library says when it refuses; nothing where it does not."""
    try:
        call()
    except error as said:
        return str(said)
    return ""


@claim(
    "CONVENTION-ERRORS-1",
    "Errors name the hypothesis",
    r"\text{Where a hypothesis fails the call is refused before any work, and the error says which}",
    covers=[UnmetHypothesis, CIR, BESQ, CIR.require_feller, posterior_mean],
)
class ErrorsNameTheHypothesis:
    @exact(0.0)
    def says_which(UnmetHypothesis, CIR, BESQ, require_feller, posterior_mean):
        wanted: dict[str, Callable[[], Any]] = {
            "CIR: unmet hypothesis: kappa > 0 (kappa = -1.0)": lambda: CIR(kappa=-1.0, theta=1.0, sigma=1.0),
            "BESQ: unmet hypothesis: delta > 0 (delta = 0.0)": lambda: BESQ(delta=0.0),
            "unmet hypothesis: x has no NaN (1 NaN in shape ())": lambda: posterior_mean(
                Flow(), float("nan"), 0.5, 0.0
            ),
            "unmet hypothesis: t > 0 (t = 0.0)": lambda: posterior_mean(Flow(), 1.0, 0.0, 0.0),
            "unmet hypothesis: Feller condition 2 kappa theta >= sigma^2 (0.08 < 1)": lambda: require_feller(
                CIR(kappa=0.4, theta=0.1, sigma=1.0), "Lamperti scheme"
            ),
        }
        for message, call in wanted.items():
            yield message, float(message in refused(UnmetHypothesis, call)), 1.0
        fine = refused(UnmetHypothesis, lambda: posterior_mean(Flow(), 1.0, 0.5, -2.0))
        yield "nothing is refused where they hold", float(fine == ""), 1.0

    mutants = {
        "parameters unchecked": {CIR: lambda **values: unchecked(CIR, **values)},
        "zero dimension accepted": {BESQ: lambda delta: unchecked(BESQ, delta=delta)},
        "NaN passed on": wrong(posterior_mean, lambda value: value),
        "Feller condition unchecked": {CIR.require_feller: lambda process, subject: None},
    }
