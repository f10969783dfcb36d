r"""Objectives of distillation: divergences of the student's and the teacher's law on a vocabulary.

.. math:: D_f(q \| p), \qquad D_f(q_{T_q} \| p_{T_p}), \quad p_T = \mathrm{softmax}(z / T), \qquad
    T^2\, KL(q_T \| p_T) \;\text{(Hinton)}

and the directions that estimators descend instead: a stop-gradient over f, or f differentiated inside of the
expectation only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from driftproof.theory import opd
from driftproof.theory.divergences import FDivergence, alpha, get, gjsd, skew_kl, skew_rkl

from .base import Family, Free, Inputs, Objective, everywhere
from .truncated import truncations

__all__ = ["divergence", "families", "fixed", "values"]

_NAMED = {
    "reverse_kl": "reverse KL(p||q)",
    "forward_kl": "forward KL(q||p)",
    "jsd": "the Jensen-Shannon divergence",
    "tv": "total variation",
    "jeffreys": "the Jeffreys divergence",
    "pearson": "the Pearson divergence",
    "neyman": "the Neyman divergence",
    "hellinger": "the squared Hellinger distance",
    "le_cam": "the Le Cam divergence",
}
# Weights of gJSD that are compared before any fit: the usual ones, and both ends.
_BETAS = (0.5, 0.1, 0.25, 0.75, 0.9, 1e-6, 1.0 - 1e-6)
_TEMPERATURE = Free(0.05, 50.0, (0.5, 2.0, 4.0))
_SHARE = Free(1e-9, 1.0 - 1e-9, (0.1, 0.5, 0.9))


def fixed() -> Iterator[Objective]:
    """Objectives without parameters to fit: exact gradients first, then what estimators descend instead."""
    yield Objective("zero", "nothing: the gradient is 0", lambda x: everywhere(0.0 * x["student"].sum(-1)))
    exact = [(name, text, get(name)) for name, text in _NAMED.items()]
    exact += [(f"gjsd({beta!r})", f"gJSD with beta = {beta!r}", gjsd(beta)) for beta in _BETAS]
    exact += [(f"alpha({a:g})", f"the alpha-divergence, a = {a:g}", alpha(a)) for a in (-2.0, 0.5, 3.0)]
    for name, text, f in exact:
        yield Objective(name, text, partial(divergence, f=f))
    for name, text, f in [*exact[: len(_NAMED)], *((k, k, opd.k_estimator(k)) for k in ("k2", "k3"))]:
        reward = f"the stop-gradient direction of {text}, biased for it"
        inside = f"{text} differentiated inside of the expectation only, biased for it"
        yield Objective(f"stop_gradient({name})", reward, partial(_stopped, f=f))
        yield Objective(f"pathwise({name})", inside, partial(_inside, f=f))
    yield from truncations()


def values() -> Iterator[Objective]:
    """The estimators: expected values beside the objectives."""
    for k in ("k2", "k3"):
        yield Objective(k, f"the expected {k}", partial(divergence, f=opd.k_estimator(k)))


def families() -> Iterator[Family]:
    """Families whose parameters are fitted."""
    for name in ("forward_kl", "reverse_kl", "jsd"):
        text = f"{_NAMED[name]} of both laws at temperature {{temperature:.6g}}"
        yield Family(name, text, partial(_tempered, f=get(name)), {"temperature": _TEMPERATURE})
    text = "Hinton's loss: T^2 times forward KL(q||p) of both laws at temperature T = {temperature:.6g}"
    yield Family("hinton", text, _hinton, {"temperature": _TEMPERATURE})
    text = "gJSD with beta = {beta:.6g}"
    yield Family("gjsd", text, partial(_made, make=gjsd, by="beta"), {"beta": _SHARE})
    text = "gJSD with the weights of its two terms swapped, beta = {beta:.6g}"
    yield Family("gjsd_swapped_weights", text, _swapped, {"beta": _SHARE})
    text = "KL(q||m) of the skewed student m = {lam:.6g} q + (1 - {lam:.6g}) p"
    yield Family("skew_kl", text, partial(_made, make=skew_kl, by="lam"), {"lam": _SHARE})
    text = "KL(p||m) of the skewed teacher m = (1 - {lam:.6g}) p + {lam:.6g} q"
    yield Family("skew_rkl", text, partial(_made, make=skew_rkl, by="lam"), {"lam": _SHARE})
    text = "forward KL(q||p), the teacher smoothed by epsilon = {smoothing:.6g}"
    yield Family("forward_kl", text, _smoothed, {"smoothing": Free(1e-9, 1.0 - 1e-9, (0.1, 0.5))})
    text = "the alpha-divergence, a = {a:.6g}"
    yield Family("alpha", text, partial(_made, make=alpha, by="a"), {"a": Free(-8.0, 8.0, (-1.5, 0.4, 1.5))})
    for name in ("forward_kl", "reverse_kl"):
        text = (
            f"{_NAMED[name]}, the student at temperature {{student_temperature:.6g}} and the teacher at "
            "{teacher_temperature:.6g}"
        )
        free = {"student_temperature": _TEMPERATURE, "teacher_temperature": _TEMPERATURE}
        yield Family(name, text, partial(_two_tempered, f=get(name)), free)


def _laws(x: Inputs) -> tuple[Any, Any]:
    return x["student"].log_softmax(-1), x["teacher"].log_softmax(-1)


def divergence(x: Inputs, f: FDivergence) -> tuple[Any, Any]:
    """D_f of the laws of the logits."""
    return everywhere(opd.divergence(*_laws(x), f))


def _ratio(x: Inputs, f: FDivergence) -> tuple[Any, Any]:
    """p, and f at q/p."""
    import array_api_compat.torch as xp

    logp, logq = _laws(x)
    return logp.exp(), f.value(xp, logq - logp)


def _stopped(x: Inputs, f: FDivergence) -> tuple[Any, Any]:
    p, reward = _ratio(x, f)
    return everywhere((p * reward.detach()).sum(-1))


def _inside(x: Inputs, f: FDivergence) -> tuple[Any, Any]:
    p, reward = _ratio(x, f)
    return everywhere((p.detach() * reward).sum(-1))


def _two_tempered(
    x: Inputs, f: FDivergence, student_temperature: float, teacher_temperature: float
) -> tuple[Any, Any]:
    cooled: Mapping[str, Any] = {
        "student": x["student"] / student_temperature,
        "teacher": x["teacher"] / teacher_temperature,
    }
    return divergence(cooled, f)


def _tempered(x: Inputs, f: FDivergence, temperature: float) -> tuple[Any, Any]:
    return _two_tempered(x, f, temperature, temperature)


def _hinton(x: Inputs, temperature: float) -> tuple[Any, Any]:
    terms, mask = _tempered(x, get("forward_kl"), temperature)
    return temperature**2 * terms, mask


def _made(x: Inputs, make: Callable[[float], FDivergence], by: str, **parameter: float) -> tuple[Any, Any]:
    return divergence(x, make(parameter[by]))


def _swapped(x: Inputs, beta: float) -> tuple[Any, Any]:
    p, q = x["student"].softmax(-1), x["teacher"].softmax(-1)
    log_m = (beta * q + (1.0 - beta) * p).log()
    logp, logq = _laws(x)
    return everywhere(((1.0 - beta) * q * (logq - log_m) + beta * p * (logp - log_m)).sum(-1))


def _smoothed(x: Inputs, smoothing: float) -> tuple[Any, Any]:
    logp, logq = _laws(x)
    q = (1.0 - smoothing) * logq.exp() + smoothing / logq.shape[-1]
    return everywhere((q * (q.log() - logp)).sum(-1))
