r"""Reverse samplers of the squared-Bessel family: which are exact, which converge, and which do not.

Every error here is computed, not sampled (:mod:`.operators`): three atoms of data, BESQ or CIR noise from
t = 1 down to 0.1, exact scores, geometric steps.  Steps of the library are tied to their laws by their
draws: with the same seed they must be draws of the law whose kernel is propagated.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import mpmath
import numpy as np

from driftproof.numerics.tweedie import bessel_mean_inverse, bridge_step, matched_bridge_step, matched_start
from driftproof.theory.processes import BESQ, CIR
from driftproof.theory.tweedie import conditional_count, posterior_weights
from driftproof.validation import Rate, Thing, bound, boundary, claim, exact, grid, rate, rows
from driftproof.validation.mutants import wrong

from . import operators
from .finite_volumes import Chain, cells
from .gauss import Floats
from .operators import DATA, END, START, bridge_kernel, count, errors, posterior, smooth

NOISES = (BESQ(0.8), CIR(1.0, 0.9, 2.0))
STATES = np.asarray([0.0, 1e-6, 0.02, 0.7, 3.0, 30.0])
HYPOTHESES = (r"\delta > 0", r"\text{the exact score}", r"Y_T \sim p_T")


def mean(process: Any, x: Floats, t: float, weights: Thing = posterior_weights) -> tuple[Any, Any]:
    """The posterior mean as if it were the data point."""
    return weights(process, DATA, x, t) @ DATA.atoms[:, None], np.ones((1, 1))


def mean_of_root(process: Any, x: Floats, t: float) -> tuple[Any, Any]:
    return (posterior_weights(process, DATA, x, t) @ np.sqrt(DATA.atoms[:, None])) ** 2, np.ones((1, 1))


def matched(start: Thing, process: Any, x: Floats, t: float) -> tuple[Any, Any]:
    """The data point of the predicted count."""
    return start(process, x, t, count(process, x, t))[:, None], np.ones((1, 1))


def arrivals(weights: Thing, process: Any, steps: int) -> tuple[Floats, Floats]:
    """Masses at the nodes after so many steps, and those of the exact law."""
    x, w = nodes = smooth(process)
    kernel = bridge_kernel(process, partial(posterior, weights=weights))
    return operators.run(process, kernel, steps, nodes), w * operators.exact(process, x, END)


@claim(
    "TWEEDIE-SAMPLER-1",
    "Posterior draws and exact bridges: no discretisation error",
    r"""
    \int p_t(x) \sum_k P(X_0 = a_k \mid X_t = x)\; p(X_s = y \mid X_0 = a_k, X_t = x)\,dx = p_s(y),
    \qquad 0 < s < t
    """,
    covers=[bridge_step, posterior_weights],
    hypotheses=HYPOTHESES,
)
class PosteriorBridge:
    @exact(1e-10, over=rows("process", NOISES))
    def one_step_reproduces_the_marginal(posterior_weights, process):
        return arrivals(posterior_weights, process, 1)

    @exact(1e-10, over=rows("process", NOISES))
    def five_steps_do_too(posterior_weights, process):
        return arrivals(posterior_weights, process, 5)

    @exact(1e-10, effort="full")
    def and_so_do_twelve(posterior_weights):
        return "BESQ", *arrivals(posterior_weights, NOISES[0], 12)

    @exact(1e-12, over=rows("process", (*NOISES, BESQ(2.0), BESQ(5.0))))
    def at_zero_an_atom_counts_by_the_chance_of_no_immigrants(posterior_weights, process):
        # Compared at the smallest normal number, where the logarithms are |nu| 708 and rounded to 2e-13.
        none = DATA.weights * np.exp(-0.5 * process.decay(0.8) * DATA.atoms / process.rho(0.8))
        return posterior_weights(process, DATA, np.zeros(1), 0.8)[0], none / np.sum(none)

    @exact(0.0, over=grid(process=NOISES, atom=DATA.atoms))
    def the_step_draws_from_the_bridge(bridge_step, process, atom):
        start = np.full_like(STATES, atom)
        drawn = bridge_step(process, STATES, 0.8, 0.3, start, 7)
        return drawn, process.bridge(start, STATES, 0.3, 0.8).sample((), 7)

    mutants = {
        "draws from the prior": wrong(
            posterior_weights, lambda value, data_law: data_law.weights + 0.0 * value
        ),
        "the likeliest data point": wrong(
            posterior_weights, lambda value: 1.0 * (value == np.max(value, axis=-1, keepdims=True))
        ),
        "probabilities in the wrong order": wrong(posterior_weights, lambda value: value[..., ::-1]),
        "ends swapped": wrong(bridge_step, x=lambda x0: x0, x0=lambda x: x),
    }


def placed(starts: Any) -> Thing:
    """Posterior probabilities, scaled so that the mean that they make is another data point."""

    def scaled(value: Any, process: Any, data_law: Any, x: Floats, t: float) -> Any:
        return value * starts(process, x, t)[0] / (value @ data_law.atoms[:, None])

    return wrong(posterior_weights, scaled)


@claim(
    "TWEEDIE-SAMPLER-2",
    "The plug-in bridge does not converge",
    r"""
    \hat x_0 = E[X_0 \mid X_t = y]: \qquad
    \lim_{N \to \infty} E f(Y_\varepsilon) = E f(\hat Y_\varepsilon) \ne E f(X_\varepsilon), \qquad
    d\hat Y = \Big(\delta + 4 \hat n - \frac{2 \hat Y}{t}\Big) d\tau + 2\sqrt{\hat Y}\,dB, \quad
    \hat n = \tfrac z2 R_\nu(z)\big|_{x_0 = \hat x_0} \ge n
    """,
    covers=[conditional_count, posterior_weights],
    hypotheses=[r"\delta > 0", r"X_0 \text{ is not constant}"],
)
class PlugInBridge:
    """The count is concave in the data point, so that the plug-in step immigrates too much: with the data of
    this claim the mean ends 0.19 too high, of 1.44, in the limit of infinitely many steps."""

    @exact(1e-7)
    def the_step_drifts_with_the_count_of_the_mean(conditional_count, posterior_weights):
        process, t, h = BESQ(2.4), 0.7, 1e-4
        x = np.asarray([0.05, 0.3, 1.0, 2.0, 4.0])
        start = mean(process, x, t, posterior_weights)[0][:, 0]
        coarse, fine = ((process.bridge(start, x, t - k, t).mean - x) / k for k in (h, 0.5 * h))
        n = conditional_count(process, mean(process, x, t)[0][:, 0], x, t)
        yield "drift", 2.0 * fine - coarse, process.delta + 4.0 * n - 2.0 * x / t

    @bound(tight=0.9, over=grid(process=NOISES, t=(0.1, 0.3, 1.0)))
    def counts_of_the_mean_are_too_large(conditional_count, posterior_weights, process, t):
        # Jensen, and strictly so where several data points are likely.
        x = np.asarray([0.05, 0.3, 1.0, 2.0, 4.0])
        start = mean(process, x, t, posterior_weights)[0][:, 0]
        return count(process, x, t, conditional_count), conditional_count(process, start, x, t)

    @boundary(0.1, over=rows("steps", (4, 8)))
    def errors_stay(posterior_weights, steps):
        process, starts = BESQ(2.4), partial(mean, weights=posterior_weights)
        return "mean", errors(process, bridge_kernel(process, starts), steps, smooth(process))[0], 0.0

    @exact(4e-3)
    def errors_tend_to_those_of_the_limit_process(conditional_count, posterior_weights):
        # Two Richardson steps in 1/N leave O(N^-3), below 3e-3 here; the chain is right to 2e-4.
        process = BESQ(2.4)
        kernel = bridge_kernel(process, partial(mean, weights=posterior_weights))
        e4, e8, e16 = (errors(process, kernel, n, smooth(process)) for n in (4, 8, 16))
        limit = (8.0 * e16 - 6.0 * e8 + e4) / 3.0
        yield "error of E X and of E exp(-X)", limit, limit_errors(conditional_count, process.delta)

    mutants = {
        "matched start": placed(partial(matched, matched_start)),
        "mean of the root, squared": placed(mean_of_root),
        "count of twice the data": wrong(conditional_count, x0=lambda x0: 2.0 * x0),
    }


@lru_cache
def limit_errors(conditional_count: Thing, delta: float) -> Floats:
    """Errors of the limit process of the plug-in bridge, by finite volumes."""
    process = BESQ(delta)
    centers, edges = cells(1e-9, 80.0, 400)

    def drift(x: Floats, t: float) -> Any:
        start = mean(process, x, t)[0][:, 0]
        return delta + 4.0 * conditional_count(process, start, x, t) - 2.0 * x / t

    start, end = (operators.exact(process, centers, t) * np.diff(edges) for t in (START, END))
    mass = Chain(process, drift, centers, edges).run(start / np.sum(start), START, END, 60)
    return np.stack([centers, np.exp(-centers)]) @ (mass - end / np.sum(end))


def frozen_start(matched_start: Thing, process: Any, x: Floats, t: float, n: Floats) -> Any:
    """The count that the matched bridge keeps: that of its data point."""
    start = matched_start(process, x, t, n)
    return lambda y, u: conditional_count(process, start, y, u)


@claim(
    "TWEEDIE-SAMPLER-3",
    "The count-matched bridge converges at order 1",
    r"""
    \tfrac z2 R_\nu(z)\big|_{x_0 = x_0^*} = n(x, t) \ \Rightarrow\
    N\,\big(E f(Y_\varepsilon) - E f(X_\varepsilon)\big) \to \log\frac T\varepsilon \int_\varepsilon^T
    t\,E\big[2\,(\bar L g)\,\partial_y v + 8\,X_t\,\partial_y g\,\partial_y^2 v\big]\,dt, \quad
    g = \bar n(x_0^*, \cdot) - n
    """,
    covers=[matched_start, bessel_mean_inverse, matched_bridge_step],
    hypotheses=[*HYPOTHESES, r"\text{geometric steps}"],
)
class MatchedBridge:
    @exact(1e-12, scale=0.0, over=grid(nu=(-0.99, -0.5, 0.0, 0.3, 4.0, 30.0)))
    def the_mean_is_inverted(bessel_mean_inverse, nu):
        """Means at fifty digits of given arguments; d log z / d log n lies between 1/2 and 1."""
        for z in (1e-6, 0.1, 1.0, 7.0, 60.0, 1e3):
            mean = mpmath.mpf(z) / 2 * mpmath.besseli(nu + mpmath.mpf(1), z) / mpmath.besseli(nu, z)
            yield f"z = {z:g}", bessel_mean_inverse(nu, float(mean)), z
        yield "no count", float(bessel_mean_inverse(nu, 0.0)) == 0.0, True

    @exact(
        1e-12,
        scale=0.0,
        over=grid(
            rows("process", (BESQ(0.1), *NOISES, BESQ(9.0))),
            rows("x, t", ((0.01, 0.5), (2.0, 0.05), (50.0, 3.0))),
        ),
    )
    def the_data_point_has_the_count(matched_start, process, x, t):
        n = np.asarray([1e-9, 0.01, 0.7, 5.0, 300.0, 1e6])
        state = np.full_like(n, x)
        return conditional_count(process, matched_start(process, state, t, n), state, t), n

    @exact(0.0, over=rows("process", NOISES))
    def the_step_draws_from_the_bridge(matched_start, matched_bridge_step, process):
        states = np.tile(STATES, 500)  # Poisson draws hide a shift of their rate: many of them do not
        n = np.tile(count(process, np.maximum(STATES, 1e-12), 0.8), 500)
        law = process.bridge(matched_start(process, states, 0.8, n), states, 0.3, 0.8)
        return matched_bridge_step(process, states, 0.8, 0.3, n, 7), law.sample((), 7)

    @rate()
    def error_has_order_one_and_the_constant_of_the_theory(matched_start):
        # The second term of the expansion in 1/N takes 0.05 off the order; Richardson takes it off the constant.
        process = BESQ(0.8)
        starts = partial(matched, matched_start)
        coarse, fine = (errors(process, bridge_kernel(process, starts), n, smooth(process)) for n in (8, 16))
        for k, constant in enumerate(operators.leading(process, partial(frozen_start, matched_start))):
            order = float(np.log2(coarse[k] / fine[k]))
            yield Rate([order], 1.0, 0.06, 2 * 16 * fine[k] - 8 * coarse[k], constant, 0.01)

    mutants = {
        "large-count inverse": wrong(
            matched_start,
            lambda process, x, t, n: (
                (2.0 * n * process.rho(t)) ** 2 / (process.decay(t) * np.where(x > 0, x, 1.0))
            ),
        ),
        "small-count inverse": wrong(
            matched_start,
            lambda process, x, t, n: (
                4.0
                * (process.nu + 1.0)
                * n
                * process.rho(t) ** 2
                / (process.decay(t) * np.where(x > 0, x, 1.0))
            ),
        ),
        "count doubled": wrong(matched_start, n=lambda n: 2.0 * n),
        "order off by one": wrong(bessel_mean_inverse, nu=lambda nu: nu + 1.0),
        "Amos's upper bound": wrong(
            bessel_mean_inverse,
            lambda nu, n: np.sqrt(
                2.0 * n * (nu + 0.5 + n + np.sqrt(n * n + (nu + 1.5) ** 2 + 2.0 * n * (nu + 0.5)))
            ),
        ),
        "one part in 10^9": wrong(bessel_mean_inverse, lambda value: (1.0 + 1e-9) * value),
        "a step too long": wrong(matched_bridge_step, lambda value: 1.01 * value),
    }
