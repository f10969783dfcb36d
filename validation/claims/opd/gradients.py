r"""The exact gradient, the stop-gradient bias, and the divergence that the stop-gradient descends."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import mpmath as mp
import numpy as np
import sympy as sp

from driftproof.theory.divergences import FDivergence, alpha, get
from driftproof.theory.opd import (
    bias,
    divergence,
    logit_gradient,
    stop_gradient_logit_gradient,
)
from driftproof.validation import Thing, boundary, claim, exact, raises, symbolic
from driftproof.validation.mutants import altered, arguments, outcome, wrong

from . import textbook
from .textbook import PAIRS, log_softmax

__all__ = [
    "ExactGradient",
    "Proportional",
    "UnbiasedOnlyForLogarithms",
]


def _pairs() -> Iterator[tuple[Any, Any, Any, Any]]:
    for student, teacher in PAIRS:
        yield student, teacher, log_softmax(student), log_softmax(teacher)


def _swapped_laws(kernel: Any, xp: Any, logp: Any, logq: Any, f: Any) -> Any:
    return kernel(xp, logq, logp, f)


def _uncentred(kernel: Any, xp: Any, logp: Any, logq: Any, f: Any) -> Any:
    return -xp.exp(logp) * f.centred(xp, logq - logp)


@claim(
    "OPD-BIAS-1",
    "The exact gradient, and what the stop-gradient leaves out",
    r"""\partial_{z_a} D_f = -p_a (A_c(u_a) - E_p A_c), \qquad
        g^{sg}_a = p_a (f(u_a) - E_p f), \qquad
        g^{sg}_a - \partial_{z_a} D_f = p_a (u_a f'(u_a) - E_p[u f'(u)])""",
    covers=[divergence, logit_gradient, stop_gradient_logit_gradient, bias],
    hypotheses=[
        r"p = \mathrm{softmax}(z)",
        r"q > 0 \; \mathrm{where} \; p > 0 \; \mathrm{if} \; f(0) = \infty",
    ],
)
class ExactGradient:
    @exact(1e-12)
    def differences_of_the_printed_divergence(divergence, logit_gradient):
        for f, printed in textbook.divergences():
            for student, teacher, logp, logq in _pairs():
                with mp.workdps(60):
                    want = textbook.pair_divergence(printed, student, teacher)
                    slopes = textbook.gradient(partial(_printed, printed, teacher), student)
                yield f"{f.name}, value", divergence(logp, logq, f), want
                yield f"{f.name}, gradient", logit_gradient(logp, logq, f), slopes

    @exact(1e-12)
    def differences_with_the_reward_frozen(logit_gradient, stop_gradient_logit_gradient, bias):
        for f, printed in textbook.divergences():
            for student, teacher, logp, logq in _pairs():
                with mp.workdps(60):
                    p = [mp.exp(mp.mpf(z)) for z in student]
                    q = [mp.exp(mp.mpf(z)) for z in teacher]
                    ratios = [(b / mp.fsum(q)) / (a / mp.fsum(p)) for a, b in zip(p, q, strict=True)]
                    rewards = [printed(u) for u in ratios]
                    slopes = textbook.gradient(partial(_expected, rewards), student)
                label = f"{f.name}, stop-gradient"
                yield label, stop_gradient_logit_gradient(logp, logq, f), slopes
                yield (
                    f"{label} bias",
                    bias(logp, logq, f),
                    [s - g for s, g in zip(slopes, logit_gradient(logp, logq, f), strict=True)],
                )

    @boundary()
    def an_excluded_token_is_an_error(logit_gradient):
        half, one = np.log([0.5, 0.5]), np.asarray([0.0, -np.inf])
        return raises(ValueError, logit_gradient, half, one, get("reverse_kl"))

    mutants = {
        "stop-gradient called exact": {logit_gradient: stop_gradient_logit_gradient},
        "sign": wrong(logit_gradient, lambda value: -value),
        "no baseline": {logit_gradient: altered(logit_gradient, _uncentred)},
        "laws swapped": {divergence: altered(divergence, _swapped_laws)},
        "half of the bias": wrong(bias, lambda value: value / 2),
    }


def _printed(f: textbook.Function, teacher: Any, logits: Any) -> Any:
    return textbook.pair_divergence(f, logits, teacher)


def _expected(rewards: Any, logits: Any) -> Any:
    weights = [mp.exp(z) for z in logits]
    return mp.fsum(w * r for w, r in zip(weights, rewards, strict=True)) / mp.fsum(weights)


def _relative_bias(f: FDivergence, stopped: Any = stop_gradient_logit_gradient) -> list[float]:
    """|g_sg - gradient| / |gradient| on each pair."""
    result = []
    for _, _, logp, logq in _pairs():
        exact_gradient = logit_gradient(logp, logq, f)
        difference = stopped(logp, logq, f) - exact_gradient
        result.append(float(np.linalg.norm(difference) / np.linalg.norm(exact_gradient)))
    return result


@claim(
    "OPD-BIAS-2",
    paper="opd",
    title="Unbiased for logarithms only, in exactly that representation",
    statement=r"""g^{sg} = \nabla D_f \;\; \mathrm{for\;all} \; (p, q) \quad\Longleftrightarrow\quad
        u f'(u) = \mathrm{const} \quad\Longleftrightarrow\quad f = -c \log u""",
    hypotheses=[r"f \; \mathrm{convex}, \; f(1) = 0"],
    vouches=[stop_gradient_logit_gradient],
)
class UnbiasedOnlyForLogarithms:
    thing = stop_gradient_logit_gradient

    @exact(tolerance=1e-13)
    def reverse_kl_is_unbiased(thing: Thing) -> Iterator[Any]:
        for _, _, logp, logq in _pairs():
            f = get("reverse_kl")
            yield "reverse KL", thing(logp, logq, f), logit_gradient(logp, logq, f)

    @symbolic()
    def only_logarithms_have_a_constant_product(thing: Thing) -> Any:
        """Solve u f'(u) = -c with f(1) = 0."""
        u, c = sp.symbols("u c", positive=True)
        f = sp.Function("f")
        solution = sp.dsolve(u * f(u).diff(u) + c, f(u), ics={f(1): 0})
        return solution.rhs + c * sp.log(u)

    @boundary(tolerance=1e-3)
    def every_other_generator_is_biased(thing: Thing) -> Iterator[Any]:
        for f, _ in textbook.divergences():
            if f.name != "reverse_kl":
                yield f.name, max(_relative_bias(f, thing)), 0.0

    @boundary(tolerance=1e-2)
    def the_same_divergence_in_another_representation_is_biased(thing: Thing) -> Iterator[Any]:
        """k3 = u - 1 - log u is reverse KL too; its stop-gradient adds minus the gradient of forward KL."""
        for b in (1.0, -0.5):
            yield f"b = {b}", max(_relative_bias(get("reverse_kl").tilt(b), thing)), 0.0

    @exact(tolerance=1e-12)
    def the_bias_of_a_linear_term(thing: Thing) -> Iterator[Any]:
        """-log u + (u - 1): the stop-gradient is grad KL(p|q) - grad KL(q|p)."""
        for _, _, logp, logq in _pairs():
            reverse, forward = (logit_gradient(logp, logq, get(k)) for k in ("reverse_kl", "forward_kl"))
            yield "k3", thing(logp, logq, get("reverse_kl").tilt(1.0)), reverse - forward

    mutants: ClassVar[dict[str, Thing]] = {
        "sign": outcome(stop_gradient_logit_gradient, lambda g: -g),
        "exact gradient instead": logit_gradient,
        "laws swapped": arguments(stop_gradient_logit_gradient, lambda p, q, f: (q, p, f)),
    }


def _power(a: float) -> FDivergence:
    """c (u^a - 1) with c = 1/(a(a-1)) so that it is convex: a tilt of the alpha family."""
    return alpha(a).tilt(1.0 / (a - 1.0))


@claim(
    "OPD-BIAS-3",
    paper="opd",
    title="Proportional for powers: twice too short, or uphill",
    statement=r"""f = c(u^a - 1) \;\Longrightarrow\; \nabla D_f = (1 - a)\,g^{sg}:
        \quad a > 1 \; \mathrm{points\;uphill}""",
    hypotheses=[r"a \neq 0", r"c\,a(a-1) > 0"],
    vouches=[stop_gradient_logit_gradient, alpha],
)
class Proportional:
    thing = stop_gradient_logit_gradient

    @exact(tolerance=1e-11)
    def the_factor(thing: Thing) -> Iterator[Any]:
        for a in (-2.0, -1.0, -0.5, 0.5, 2.0, 3.0):
            for _, _, logp, logq in _pairs():
                f = _power(a)
                yield f"a = {a}", (1.0 - a) * thing(logp, logq, f), logit_gradient(logp, logq, f)

    @symbolic()
    def only_powers_and_logarithms(thing: Thing) -> Any:
        """f - u f' = (1 - a) f up to a constant: u f' = a f + k has the power solutions."""
        u, k = sp.symbols("u k", positive=True)
        a = sp.Symbol("a", positive=True)
        f = sp.Function("f")
        solution = sp.dsolve(u * f(u).diff(u) - a * f(u) - k, f(u), ics={f(1): 0}).rhs
        return sp.simplify(sp.expand(solution - k / a * (u**a - 1), force=True))

    mutants: ClassVar[dict[str, Thing]] = {
        "sign": outcome(stop_gradient_logit_gradient, lambda g: -g),
        "exact gradient instead": logit_gradient,
        "another representation": arguments(
            stop_gradient_logit_gradient, lambda p, q, f: (p, q, f.tilt(0.5))
        ),
    }
