r"""f-divergences: the table of generators, the centred advantage, and the limits of the generalised JSD."""

from __future__ import annotations

import mpmath as mp
import numpy as np
from hypothesis import strategies as st

from driftproof.theory.divergences import (
    FDivergence,
    alpha,
    get,
    gjsd,
    names,
    normalized_gjsd,
    skew_kl,
    skew_rkl,
)
from driftproof.validation import boundary, claim, exact, figure, grid, property, rows
from driftproof.validation.mutants import wrong

from . import textbook

__all__ = ["Advantage", "Generators", "NormalizedJensenShannon", "Swap"]

DELTAS = (-6.0, -1.3, -1e-6, 0.0, 1e-6, 0.4, 2.0, 6.0)


@claim(
    "OPD-DIV-1",
    "Generators, derivatives and advantages in the log-ratio",
    r"f, \; f', \; f'', \; A_c(u) = u f'(u) - f(u) - f'(1) \quad \mathrm{at} \; u = e^\delta",
    covers=[get, names, FDivergence.f, FDivergence.df, FDivergence.d2f, FDivergence.advantage],
    hypotheses=[r"u > 0", r"f \; \mathrm{convex}, \; f(1) = 0"],
)
class Generators:
    # Near u = 1 the functions are of order delta^2 = 1e-12: below 1e-3 the error is absolute.
    @exact(1e-12, scale=1e-3, over=rows("name, printed", textbook.GENERATORS.items()))
    def derivatives_at_sixty_digits(get, f, df, d2f, advantage, name, printed):
        found = get(name)
        with mp.workdps(60):
            lean = mp.diff(printed, mp.mpf(1), h=mp.mpf(10) ** -20)
            for delta in DELTAS:
                u = float(np.exp(delta))
                exact_u = mp.mpf(u)
                step = exact_u * mp.mpf(10) ** -15
                first, second = mp.diff(printed, exact_u, h=step), mp.diff(printed, exact_u, 2, h=step)
                yield f"f, delta = {delta:g}", f(found, u), printed(exact_u)
                yield f"f', delta = {delta:g}", df(found, u), first
                yield f"f'', delta = {delta:g}", d2f(found, u), second
                log_u = float(mp.log(exact_u))
                want = exact_u * first - printed(exact_u) - lean
                yield f"A_c, delta = {delta:g}", advantage(found, log_u), want

    @exact(0.0)
    def names_are_those_of_the_table(names):
        """Each once, and no other; and total variation, which has no second derivative to be in it."""
        families = {"tv", *(name.partition("(")[0] for name in textbook.GENERATORS)}
        return float(sorted(name.partition("(")[0] for name in names()) == sorted(families)), 1.0

    refuses = [(ValueError, get, name) for name in ("kl", "gjsd(0)", "gjsd(1)", "alpha(inf)", "skew_kl(2)")]

    @figure
    def advantages(get, advantage):
        "The centred advantage of the divergences: all are 0 at u = 1 and rise with the ratio."
        from matplotlib.figure import Figure

        picture = Figure(figsize=(6.4, 3.4))
        axes = picture.add_subplot()
        delta = np.linspace(-3.0, 2.0, 400)
        for name in ("reverse_kl", "forward_kl", "jsd", "hellinger", "tv", "skew_kl(0.2)", "le_cam"):
            axes.plot(delta, advantage(get(name), delta), label=name)
        axes.axhline(0.0, color="0.6", linewidth=0.8)
        axes.set(xlabel="log q/p", ylabel="advantage", ylim=(-2.2, 3.0))
        axes.legend(fontsize=8)
        return picture

    mutants = {
        "no f'(1)": {FDivergence.advantage: FDivergence.plus_advantage},
        "f' of the swapped divergence": wrong(FDivergence.df, self=lambda self: self.swap()),
        "stop-gradient advantage": {FDivergence.advantage: FDivergence.stop_gradient_advantage},
        "f'' of the swapped divergence": wrong(FDivergence.d2f, self=lambda self: self.swap()),
        "f of another scale": wrong(FDivergence.f, lambda value: 1.01 * value),
        "names without the families": wrong(names, lambda value: tuple(n for n in value if "(" not in n)),
        "the reverse for every name": wrong(get, name=lambda name: "reverse_kl"),
    }


def _families() -> st.SearchStrategy[FDivergence]:
    fixed = st.sampled_from([name for name in names() if "(" not in name]).map(get)
    unit = st.floats(1e-9, 1.0 - 1e-9)
    families = [st.floats(-3.0, 3.0).map(alpha), unit.map(gjsd), unit.map(normalized_gjsd)]
    return st.one_of(fixed, *families, unit.map(skew_kl), unit.map(skew_rkl))


ANY, WIDE, NEAR = _families(), st.floats(-20.0, 20.0), st.floats(-5.0, 5.0)


@claim(
    "OPD-DIV-2",
    "The centred advantage is monotone and free of the representation",
    r"""A_c(1) = 0, \qquad A_c'(u) = u f''(u) \geq 0, \qquad A_{f + b(u-1)} = A_f, \qquad
        A_c(u) = \int_1^u v f''(v)\,dv""",
    covers=[FDivergence.advantage],
    hypotheses=[r"f \; \mathrm{convex}"],
)
class Advantage:
    @property(0.0, examples=200, false_alarm=0.0)
    def zero_at_one_sign_and_order(advantage, f=ANY, delta=WIDE, more=st.floats(0.0, 5.0)):
        here, there = float(advantage(f, delta)), float(advantage(f, delta + more))
        slack = 8 * np.finfo(float).eps * (abs(here) + abs(there))
        yield "A_c(1)", float(advantage(f, 0.0)), 0.0
        yield "sign", here * delta >= 0.0, True
        yield "order", there >= here - slack, True

    @property(1e-13, examples=50, false_alarm=0.0)
    def a_linear_term_changes_nothing(advantage, f=ANY, b=st.floats(-3.0, 3.0), delta=NEAR):
        return advantage(f.tilt(b), delta), advantage(f, delta)

    @exact(1e-11, over=grid(rows("f, printed", textbook.divergences), delta=(-2.0, 1.5)))
    def integral_of_the_curvature(advantage, f, printed, delta):
        with mp.workdps(30):
            curvature = lambda v: mp.diff(printed, v, 2, h=v * mp.mpf(10) ** -8)
            want = mp.quad(lambda v: v * curvature(v), [1, mp.exp(delta)])
        return advantage(f, delta), want

    mutants = {
        "u f' - f": FDivergence.plus_advantage,
        "-f": FDivergence.stop_gradient_advantage,
        "of the swapped divergence": wrong(FDivergence.advantage, self=lambda self: self.swap()),
    }


@claim(
    "OPD-DIV-3",
    "Swapping the laws",
    r"D_f(q \Vert p) = D_{f^\star}(p \Vert q), \qquad f^\star(u) = u\,f(1/u)",
    covers=[FDivergence.swap],
    hypotheses=[r"p, q > 0"],
)
class Swap:
    @exact(
        1e-12, over=grid(rows("f, printed", textbook.divergences), rows("student, teacher", textbook.PAIRS))
    )
    def exchanged_laws(swap, f, printed, student, teacher):
        p, q = (np.exp(textbook.log_softmax(z)) for z in (student, teacher))
        with mp.workdps(40):
            want = textbook.pair_divergence(printed, student, teacher)
        return np.sum(q * swap(f).f(p / q)), want

    @exact(1e-9, over=rows("name", textbook.GENERATORS))
    def its_parts_are_of_one_function(swap, name):
        return textbook.of_one_function(swap(get(name)), np.asarray([-1.1, -0.4, 0.3, 0.9]))

    @exact(
        1e-12,
        over=rows(
            "one, other",
            [("reverse_kl", "forward_kl"), ("forward_kl", "reverse_kl"), ("jsd", "jsd"), ("tv", "tv")],
        ),
    )
    def the_two_kullback_leibler_divergences(swap, one, other):
        delta = np.linspace(-3.0, 3.0, 7)
        return swap(get(one)).advantage(delta), get(other).advantage(delta)

    mutants = {
        "not swapped": lambda f: f,
        "with a linear term and a constant": lambda f: f.tilt(0.3),
        "clipped": wrong(FDivergence.swap, lambda value: value.clip(0.7, 1.4)),
    }


@claim(
    "OPD-GJSD-1",
    "The generalised Jensen-Shannon divergence, made continuous",
    r"""\frac{\mathrm{gJSD}_\beta}{\beta(1-\beta)} \to KL(q \Vert p) \;(\beta \to 0), \quad
        \to KL(p \Vert q) \;(\beta \to 1), \qquad \mathrm{gJSD}_\beta \to 0 \;\; \mathrm{at\;both\;ends}""",
    covers=[normalized_gjsd, gjsd],
    hypotheses=[r"0 \leq \beta \leq 1"],
)
class NormalizedJensenShannon:
    @exact(0.0)
    def the_ends_are_the_two_divergences(normalized_gjsd):
        delta = np.linspace(-4.0, 4.0, 9)
        yield "beta = 0", normalized_gjsd(0.0).advantage(delta), get("forward_kl").advantage(delta)
        yield "beta = 1", normalized_gjsd(1.0).advantage(delta), get("reverse_kl").advantage(delta)

    @exact(1e-9)
    def its_ends_are_the_limits_of_its_values(normalized_gjsd, gjsd):
        for beta in (0.2, 0.7):
            for f in (normalized_gjsd(beta), gjsd(beta)):
                yield f"{f.name} at 0", f.at_zero, f.f(1e-14)
                yield f"{f.name} at infinity", f.slope_at_infinity, f.f(1e14) / 1e14
                yield from textbook.of_one_function(f, np.asarray([-1.1, 0.3, 0.9]))

    @exact(1e-12)
    def first_order_expansion_at_the_ends(normalized_gjsd):
        """log(1 + b v)/b = v - b v^2/2 + O(b^2): the next term is below 1e-13 at b = 1e-8, |v| <= 6."""
        delta, b = np.linspace(-2.0, 1.8, 9), 1e-8
        v = np.expm1(delta)
        yield "beta = 1e-8", normalized_gjsd(b).advantage(delta), v - b * v**2 / 2
        w = np.expm1(-delta)
        yield "beta = 1 - 1e-8", normalized_gjsd(1 - b).advantage(delta), delta + b * w + b * delta

    @exact(1e-13, over=grid(beta=(1e-6, 0.1, 0.5, 0.9, 1 - 1e-6)))
    def it_is_the_raw_form_over_its_factor(normalized_gjsd, gjsd, beta):
        delta = np.linspace(-4.0, 4.0, 9)
        return normalized_gjsd(beta).advantage(delta), gjsd(beta).advantage(delta) / (beta * (1 - beta))

    @boundary(0.5)
    def the_raw_form_vanishes_instead(gjsd):
        """Without the factor, beta = 1e-6 is no forward KL: its advantage at log q/p = 2 is 6e-6, not 6.4."""
        return gjsd(1e-6).advantage(2.0), get("forward_kl").advantage(2.0)

    mutants = {
        "beta and 1 - beta swapped": wrong(normalized_gjsd, beta=lambda beta: 1.0 - beta),
        "divided by beta alone": {normalized_gjsd: lambda beta: gjsd(min(max(beta, 1e-9), 1 - 1e-9))},
        "clamped to 1e-3": wrong(normalized_gjsd, beta=lambda beta: min(max(beta, 1e-3), 1 - 1e-3)),
        "another share, raw": wrong(gjsd, beta=lambda beta: 0.99 * beta),
    }
