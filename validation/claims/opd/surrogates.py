r"""What the stop-gradient descends instead: surrogates, the estimators k1, k2, k3, and the collapse."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import mpmath as mp
import numpy as np

from driftproof.numerics.opd import gradient_flow
from driftproof.theory.divergences import FDivergence, get
from driftproof.theory.opd import (
    divergence,
    k_estimator,
    logit_gradient,
    pathwise_logit_gradient,
    stop_gradient_logit_gradient,
    surrogate,
)
from driftproof.validation import boundary, claim, exact, figure, grid, rows
from driftproof.validation.mutants import wrong

from . import textbook
from .textbook import PAIRS, log_softmax

__all__ = ["Collapse", "Surrogate", "ThreeEstimators"]


LAWS = rows("student, teacher", PAIRS)


@claim(
    "OPD-SURROGATE-1",
    "What the stop-gradient descends",
    r"""g^{sg}(f) = \nabla D_F, \qquad F(u) = -u \int_1^u \frac{f(v)}{v^2}\,dv, \qquad
        F''(u) = -\frac{f'(u)}{u}: \quad \mathrm{a\;divergence\;iff}\; f \;\mathrm{is\;non\text{-}increasing}""",
    covers=[surrogate],
    hypotheses=[r"f \; \mathrm{convex}, \; f(1) = 0"],
)
class Surrogate:
    @exact(1e-11)
    def its_exact_gradient_is_the_stop_gradient(surrogate):
        """The value of F by its integral, differentiated; not through its stated advantage."""
        step = 1e-2
        for f, _ in textbook.divergences():
            made = surrogate(f)
            for delta in (-1.5, 0.4, 1.2):
                # Sixth-order differences of F in delta: right to about 1e-12.
                weights = ((3, 1 / 60), (2, -3 / 20), (1, 3 / 4))
                u = float(np.exp(delta))
                rise = sum(
                    w * float(made.f(np.exp(delta + k * step)) - made.f(np.exp(delta - k * step)))
                    for k, w in weights
                )
                yield f"{f.name}, u F' - F", rise / step - float(made.f(u)), -float(f.f(u))

    @exact(1e-12)
    def integral_in_closed_form_and_by_quadrature(surrogate):
        with mp.workdps(30):
            for f, printed in textbook.divergences():
                for where in (-2.0, 1.5):
                    end = mp.exp(where)
                    want = -end * mp.quad(lambda v, g=printed: g(v) / v**2, [1, end])
                    yield f.name, surrogate(f).f(np.exp(where)), want
        delta = np.asarray([-1.0, 0.5, 2.0])
        yield "forward KL", surrogate(get("forward_kl")).f(np.exp(delta)), -0.5 * np.exp(delta) * delta**2
        yield "reverse KL", surrogate(get("reverse_kl")).f(np.exp(delta)), np.expm1(delta) - delta

    @exact(1e-9, over=grid(name=("forward_kl", "jsd", "skew_kl(0.2)")))
    def its_parts_are_of_one_function(surrogate, name):
        return textbook.of_one_function(surrogate(get(name)), np.asarray([-0.9, 0.4]))

    @exact(0.0, over=rows("name", textbook.GENERATORS))
    def which_surrogates_are_divergences(surrogate, name):
        return surrogate(get(name)).convex, name in {"reverse_kl", "skew_rkl(0.2)"}

    @exact(1e-12)
    def curvature_at_the_solution(surrogate):
        """F''(1) = -f'(1): negative for forward KL (p = q is unstable), zero for JSD (no signal)."""
        yield "forward KL", surrogate(get("forward_kl")).d2f(1.0), -1.0
        yield "JSD", surrogate(get("jsd")).d2f(1.0), 0.0
        yield "Pearson", surrogate(get("pearson")).d2f(1.0), 0.0
        yield "reverse KL", surrogate(get("reverse_kl")).d2f(1.0), 1.0

    mutants = {
        "f itself": lambda f: f,
        "swapped": wrong(surrogate, f=lambda f: f.swap()),
        "lean added": wrong(surrogate, f=lambda f: f.tilt(0.2)),
    }


@claim(
    "OPD-K-1",
    "k1, k2 and k3, as rewards and inside of the loss",
    r"""\mathrm{in\;reward:}\; k_1 \to \nabla KL(p\Vert q), \; k_3 \to \nabla KL(p\Vert q) - \nabla KL(q\Vert p);
        \quad \mathrm{in\;loss:}\; k_1 \to 0, \; k_2 \to \nabla KL(p\Vert q), \; k_3 \to \nabla KL(q\Vert p)""",
    covers=[k_estimator, stop_gradient_logit_gradient, pathwise_logit_gradient],
    hypotheses=[r"\mathrm{on\text{-}policy\;samples}"],
)
class ThreeEstimators:
    @exact(1e-12, over=LAWS)
    def the_table(k_estimator, stop_gradient_logit_gradient, pathwise_logit_gradient, student, teacher):
        logp, logq = log_softmax(student), log_softmax(teacher)
        with mp.workdps(60):
            reverse = textbook.gradient(lambda z: _kl(z, teacher), student)
            forward = textbook.gradient(lambda z: _kl(teacher, z), student)
        minus = [a - b for a, b in zip(reverse, forward, strict=True)]
        k1, k2, k3 = (k_estimator(k) for k in ("k1", "k2", "k3"))
        yield "k1 as a reward", stop_gradient_logit_gradient(logp, logq, k1), reverse
        yield "k3 as a reward", stop_gradient_logit_gradient(logp, logq, k3), minus
        yield "k1 in the loss", pathwise_logit_gradient(logp, logq, k1), np.zeros(4)
        yield "k2 in the loss", pathwise_logit_gradient(logp, logq, k2), reverse
        yield "k3 in the loss", pathwise_logit_gradient(logp, logq, k3), forward

    @exact(1e-9)
    def parts_of_k2(k_estimator):
        return textbook.of_one_function(k_estimator("k2"), np.asarray([-1.1, -0.4, 0.3, 0.9]))

    @exact(1e-12, over=grid(LAWS, k=("k1", "k3")))
    def values(k_estimator, student, teacher, k):
        with mp.workdps(40):
            want = _kl(student, teacher)
        return divergence(log_softmax(student), log_softmax(teacher), k_estimator(k)), want

    @boundary(1e-2)
    def k2_is_no_estimator_of_the_value_and_no_reward(k_estimator, stop_gradient_logit_gradient):
        """On the second pair KL is 2.1; the mean of k2 is another number, and its reward gradient too."""
        logp, logq = (log_softmax(z) for z in PAIRS[1])
        k2, kl = k_estimator("k2"), get("reverse_kl")
        yield "value", divergence(logp, logq, k2), divergence(logp, logq, kl)
        yield "reward", stop_gradient_logit_gradient(logp, logq, k2), logit_gradient(logp, logq, kl)

    mutants = {
        "k1 and k3 exchanged": wrong(k_estimator, name=lambda name: {"k1": "k3", "k3": "k1"}.get(name, name)),
        "reward and loss exchanged": {
            stop_gradient_logit_gradient: pathwise_logit_gradient,
            pathwise_logit_gradient: stop_gradient_logit_gradient,
        },
        "sign in the loss": wrong(pathwise_logit_gradient, lambda value: -value),
    }


def _kl(one: Any, other: Any) -> Any:
    return textbook.pair_divergence(lambda u: -mp.log(u), one, other)


def _flow(direction: Any, f: FDivergence, steps: int = 200) -> list[float]:
    """KL(p|q) along clipped gradient descent of a 20-token student: no sampling."""
    rng = np.random.default_rng(20)
    logits, logq = rng.normal(size=20), log_softmax(rng.normal(size=20))
    path = gradient_flow(logits, logq, f, direction, steps=steps)
    return [float(divergence(logp, logq, get("reverse_kl"))) for logp in path]


@claim(
    "OPD-COLLAPSE-1",
    "Why stop-gradient forward KL collapses and the exact gradient does not",
    r"""\dot z = -\nabla D_f: \; KL(p_t \Vert q) \downarrow 0; \qquad
        \dot z = -g^{sg}, \; f = u \log u: \; KL(p_t \Vert q) \uparrow""",
    covers=[logit_gradient, stop_gradient_logit_gradient, gradient_flow],
    hypotheses=[
        r"\mathrm{softmax\;of\;20\;tokens}, \; \mathrm{step}\;0.2, \; \mathrm{gradients\;clipped\;to\;norm\;}1"
    ],
)
class Collapse:
    @exact(0.0, over=grid(name=("reverse_kl", "forward_kl", "jsd", "hellinger", "skew_kl(0.2)")))
    def the_exact_gradient_descends(logit_gradient, name):
        path = _flow(logit_gradient, get(name))
        return all(b < a for a, b in pairwise(path)), True

    @exact(1e-12, over=grid(clip=(0.05, 10.0)))
    def three_steps_at_forty_digits(logit_gradient, gradient_flow, clip):
        """Both kinds of step, clipped and not, with the gradient by differences of KL(q | p)."""
        student, teacher = PAIRS[1]  # so far apart that their gradient is longer than 0.05
        logq = log_softmax(teacher)
        path = gradient_flow(
            student, logq, get("forward_kl"), logit_gradient, steps=3, rate=0.7, clip_norm=clip
        )
        z = [mp.mpf(float(a)) for a in student]
        with mp.workdps(60):
            for _ in range(3):
                g = textbook.gradient(lambda z: _kl(teacher, z), z)
                length = mp.sqrt(mp.fsum(a * a for a in g))
                z = [a - mp.mpf(0.7) * b / max(1, length / mp.mpf(clip)) for a, b in zip(z, g, strict=True)]
            total = mp.log(mp.fsum(mp.exp(a) for a in z))
            return path[-1], [float(a - total) for a in z]

    @exact(0.0, over=grid(name=("forward_kl", "jsd", "pearson")))
    def the_stop_gradient_of_forward_kl_climbs(stop_gradient_logit_gradient, name):
        path = _flow(stop_gradient_logit_gradient, get(name))
        return path[-1] > path[0], True

    @figure
    def paths(logit_gradient, stop_gradient_logit_gradient):
        "Exact expectations, no sampling: the stop-gradient drives forward KL and JSD students away."
        from matplotlib.figure import Figure

        picture = Figure(figsize=(6.4, 3.2))
        axes = picture.add_subplot()
        for name, color in (("forward_kl", "C0"), ("jsd", "C1"), ("reverse_kl", "C2")):
            axes.plot(_flow(logit_gradient, get(name)), color=color, label=f"{name}, exact")
            axes.plot(_flow(stop_gradient_logit_gradient, get(name)), color=color, linestyle="--")
        axes.set(xlabel="step", ylabel="KL(p | q)", yscale="log", title="solid: exact, dashed: stop-gradient")
        axes.legend(fontsize=8)
        return picture

    mutants = {
        "stop-gradient": {logit_gradient: stop_gradient_logit_gradient},
        "sign": wrong(logit_gradient, lambda value: -value),
        "a longer step of the flow": wrong(gradient_flow, rate=lambda rate: 1.01 * rate),
    }
