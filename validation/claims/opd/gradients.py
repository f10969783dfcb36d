r"""The exact gradient, the stop-gradient bias, and the divergence that the stop-gradient descends."""

from __future__ import annotations

from functools import cache
from typing import Any

import mpmath as mp
import numpy as np
import sympy as sp

from driftproof.theory.divergences import FDivergence, alpha, from_expression, get
from driftproof.theory.opd import (
    bias,
    divergence,
    logit_gradient,
    stop_gradient_logit_gradient,
)
from driftproof.validation import boundary, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from . import textbook
from .textbook import PAIRS, log_softmax

__all__ = [
    "ExactGradient",
    "Proportional",
    "UnbiasedOnlyForLogarithms",
]


LAWS = rows("student, teacher", PAIRS)
EVERY = grid(rows("f, printed", textbook.divergences), LAWS)


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
    @exact(1e-12, over=EVERY)
    def differences_of_the_printed_divergence(divergence, logit_gradient, f, printed, student, teacher):
        logp, logq = log_softmax(student), log_softmax(teacher)
        with mp.workdps(60):
            want = textbook.pair_divergence(printed, student, teacher)
            slopes = textbook.gradient(lambda z: textbook.pair_divergence(printed, z, teacher), student)
        yield "value", divergence(logp, logq, f), want
        yield "gradient", logit_gradient(logp, logq, f), slopes

    @exact(1e-12, over=EVERY)
    def differences_with_the_reward_frozen(
        logit_gradient, stop_gradient_logit_gradient, bias, f, printed, student, teacher
    ):
        logp, logq = log_softmax(student), log_softmax(teacher)
        with mp.workdps(60):
            p = [mp.exp(mp.mpf(z)) for z in student]
            q = [mp.exp(mp.mpf(z)) for z in teacher]
            ratios = [(b / mp.fsum(q)) / (a / mp.fsum(p)) for a, b in zip(p, q, strict=True)]
            rewards = [printed(u) for u in ratios]
            slopes = textbook.gradient(lambda z: _expected(rewards, z), student)
        yield "stop-gradient", stop_gradient_logit_gradient(logp, logq, f), slopes
        want = [s - g for s, g in zip(slopes, logit_gradient(logp, logq, f), strict=True)]
        yield "bias", bias(logp, logq, f), want

    # The teacher excludes a token of the student.
    refuses = [(logit_gradient, np.log([0.5, 0.5]), np.asarray([0.0, -np.inf]), get("reverse_kl"))]

    mutants = {
        "stop-gradient called exact": {logit_gradient: stop_gradient_logit_gradient},
        "sign": wrong(logit_gradient, lambda value: -value),
        "no baseline": wrong(
            logit_gradient, lambda xp, logp, logq, f: -xp.exp(logp) * f.centred(xp, logq - logp)
        ),
        "laws swapped": wrong(divergence, logp=lambda logq: logq, logq=lambda logp: logp),
        "half of the bias": wrong(bias, lambda value: value / 2),
    }


def _expected(rewards: Any, logits: Any) -> Any:
    weights = [mp.exp(z) for z in logits]
    return mp.fsum(w * r for w, r in zip(weights, rewards, strict=True)) / mp.fsum(weights)


def _largest_bias(stopped: Any, f: FDivergence) -> float:
    """max |g_sg - gradient| / |gradient| over the pairs."""
    found = []
    for logp, logq in textbook.pairs():
        exact_gradient = logit_gradient(logp, logq, f)
        difference = stopped(logp, logq, f) - exact_gradient
        found.append(float(np.linalg.norm(difference) / np.linalg.norm(exact_gradient)))
    return max(found)


@cache
def _solution(a: float, k: float) -> FDivergence:
    """The generator with u f' = a f + k and f(1) = 0, solved with symbols in place of a and k."""
    u, power, constant = sp.symbols("u a k", positive=True)
    f = sp.Function("f")
    rest = u * f(u).diff(u) - (power * f(u) if a else 0) - constant
    solution = sp.dsolve(rest, f(u), ics={f(1): 0}).rhs
    return from_expression(solution.subs({power: a, constant: k}))


@claim(
    "OPD-BIAS-2",
    "Unbiased for logarithms only, in exactly that representation",
    r"""g^{sg} = \nabla D_f \;\; \mathrm{for\;all} \; (p, q) \quad\Longleftrightarrow\quad
        u f'(u) = \mathrm{const} \quad\Longleftrightarrow\quad f = -c \log u""",
    covers=[stop_gradient_logit_gradient],
    hypotheses=[r"f \; \mathrm{convex}, \; f(1) = 0"],
)
class UnbiasedOnlyForLogarithms:
    @exact(1e-13, over=LAWS)
    def reverse_kl_is_unbiased(stop_gradient_logit_gradient, student, teacher):
        """Its generator is the one solution of u f' = -1 with f(1) = 0."""
        logp, logq = log_softmax(student), log_softmax(teacher)
        want = logit_gradient(logp, logq, get("reverse_kl"))
        yield "reverse KL", stop_gradient_logit_gradient(logp, logq, get("reverse_kl")), want
        yield "u f' = -1", stop_gradient_logit_gradient(logp, logq, _solution(0.0, -1.0)), want

    @boundary(1e-3, over=rows("name", [name for name in textbook.GENERATORS if name != "reverse_kl"]))
    def every_other_generator_is_biased(stop_gradient_logit_gradient, name):
        return _largest_bias(stop_gradient_logit_gradient, get(name)), 0.0

    @boundary(1e-2, over=grid(b=(1.0, -0.5)))
    def the_same_divergence_in_another_representation_is_biased(stop_gradient_logit_gradient, b):
        """k3 = u - 1 - log u is reverse KL too; its stop-gradient adds minus the gradient of forward KL."""
        return _largest_bias(stop_gradient_logit_gradient, get("reverse_kl").tilt(b)), 0.0

    @exact(1e-12, over=LAWS)
    def the_bias_of_a_linear_term(stop_gradient_logit_gradient, student, teacher):
        """-log u + (u - 1): the stop-gradient is grad KL(p|q) - grad KL(q|p)."""
        logp, logq = log_softmax(student), log_softmax(teacher)
        reverse, forward = (logit_gradient(logp, logq, get(k)) for k in ("reverse_kl", "forward_kl"))
        return stop_gradient_logit_gradient(logp, logq, get("reverse_kl").tilt(1.0)), reverse - forward

    mutants = {
        "sign": wrong(stop_gradient_logit_gradient, lambda value: -value),
        "exact gradient instead": logit_gradient,
        "laws swapped": wrong(stop_gradient_logit_gradient, logp=lambda logq: logq, logq=lambda logp: logp),
    }


@claim(
    "OPD-BIAS-3",
    "Proportional for powers: twice too short, or uphill",
    r"""f = c(u^a - 1) \;\Longrightarrow\; \nabla D_f = (1 - a)\,g^{sg}:
        \quad a > 1 \; \mathrm{points\;uphill}""",
    covers=[stop_gradient_logit_gradient, alpha],
    hypotheses=[r"a \neq 0", r"c\,a(a-1) > 0"],
)
class Proportional:
    @exact(1e-11, over=grid(LAWS, a=(-2.0, -1.0, -0.5, 0.5, 2.0, 3.0)))
    def the_factor(stop_gradient_logit_gradient, alpha, student, teacher, a):
        """c (u^a - 1) with c = 1/(a(a-1)), so that it is convex: a tilt of the alpha family."""
        logp, logq = log_softmax(student), log_softmax(teacher)
        f = alpha(a).tilt(1.0 / (a - 1.0))
        return (1.0 - a) * stop_gradient_logit_gradient(logp, logq, f), logit_gradient(logp, logq, f)

    @exact(1e-11, over=grid(LAWS, rows("a, k", ((3.0, 1.0), (0.5, -1.0)))))
    def only_powers_and_logarithms(stop_gradient_logit_gradient, student, teacher, a, k):
        """f - u f' = (1 - a) f up to a constant: u f' = a f + k has the power solutions."""
        logp, logq, f = log_softmax(student), log_softmax(teacher), _solution(a, k)
        return (1.0 - a) * stop_gradient_logit_gradient(logp, logq, f), logit_gradient(logp, logq, f)

    mutants = {
        "sign": wrong(stop_gradient_logit_gradient, lambda value: -value),
        "exact gradient instead": {stop_gradient_logit_gradient: logit_gradient},
        "another representation": wrong(stop_gradient_logit_gradient, f=lambda f: f.tilt(0.5)),
        "another power of the family": wrong(alpha, a=lambda a: 1.01 * a),
    }
