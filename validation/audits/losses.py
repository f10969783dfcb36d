r"""Which objective does a loss descend?  Over a small vocabulary its expected gradient is a finite sum.

For a student :math:`p = \mathrm{softmax}(z)` and a teacher (or reference) q on five tokens,

.. math:: g = \nabla_z L(z, q) \quad\text{(full vocabulary)}, \qquad
    g = \sum_a \mu_a\, \nabla_z \ell(\log p_a, \log q_a) \quad\text{(sampled tokens, } a \sim \mu)

is compared with the exact gradients of the objectives that :mod:`driftproof.theory.opd` states.  Nothing
is sampled, and nothing is known of the loss but what it returns.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from ..._namespace import UnmetHypothesis
from ...theory import opd
from ...theory.divergences import FDivergence, alpha, get, gjsd

__all__ = ["PAIRS", "Finding", "Kind", "Objective", "Pair", "identify", "kind_of", "objectives"]

Kind = Literal["logits", "logp", "token"]
Vector = NDArray[np.float64]

# Weights of gJSD that are told apart: the usual ones, and both ends.
_BETAS = (0.5, 0.1, 0.25, 0.75, 0.9, 1e-6, 1.0 - 1e-6)
# Gradients closer than this, relatively, are one direction; multiples are compared more coarsely, because
# gJSD near its ends is a multiple of a KL divergence up to beta.
_SAME, _SAME_MULTIPLE = 1e-12, 1e-5
# A rival is ruled out when it fits this many times worse.
_CLEARLY = 5.0


@final
@dataclass(frozen=True)
class Pair:
    """A student p, a teacher q, and the policy mu that sampled the tokens where it is another."""

    p: tuple[float, ...]
    q: tuple[float, ...]
    mu: tuple[float, ...]


PAIRS = (
    Pair((0.30, 0.25, 0.20, 0.15, 0.10), (0.10, 0.30, 0.15, 0.05, 0.40), (0.20, 0.30, 0.10, 0.25, 0.15)),
    Pair((0.96, 0.010, 0.010, 0.015, 0.005), (0.02, 0.90, 0.03, 0.04, 0.01), (0.50, 0.20, 0.10, 0.10, 0.10)),
    Pair((0.21, 0.19, 0.22, 0.18, 0.20), (0.20, 0.20, 0.20, 0.19, 0.21), (0.10, 0.20, 0.40, 0.20, 0.10)),
)


@final
@dataclass(frozen=True)
class Objective:
    """A direction with a name: its gradient in the logits, over all pairs end to end."""

    name: str
    text: str
    gradient: Vector


@final
@dataclass(frozen=True)
class Finding:
    """What a loss descends.

    Arguments:
        matches: Names of the objectives that fit, empty where none does or where rounding hides which.
        scale: The loss descends ``scale`` times the objective; negative where it ascends.
        error: Largest absolute error of the gradient against the objective that fits, or fits best.
        nearest: The objective that fits best, whether or not it fits.
        cosine: Cosine between the gradient and the nearest objective's.
        rivals: Objectives that rounding does not tell apart from it.
        value: Expected value of the loss on the first pair.
        dtype: Precision of what the loss returned.
        tolerance: Largest error that passes.
        text: The finding in words.
    """

    matches: tuple[str, ...]
    scale: float
    error: float
    nearest: str
    cosine: float
    rivals: tuple[str, ...]
    value: float
    dtype: str
    tolerance: float
    text: str


@cache
def objectives() -> tuple[Objective, ...]:
    """The catalogue: exact gradients first, then what estimators descend instead.

    Example:
        >>> objectives()[0].name, objectives()[1].name, objectives()[2].name
        ('zero', 'reverse_kl', 'forward_kl')
    """
    named = {
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
    exact = [(name, text, get(name)) for name, text in named.items()]
    exact += [(f"gjsd({beta!r})", f"gJSD with beta = {beta!r}", gjsd(beta)) for beta in _BETAS]
    exact += [(f"alpha({a:g})", f"the alpha-divergence, a = {a:g}", alpha(a)) for a in (-2.0, 0.5, 3.0)]
    generators = [*exact[: len(named)], *((k, k, opd.k_estimator(k)) for k in ("k2", "k3"))]
    zeros = np.zeros(sum(len(pair.p) for pair in PAIRS))
    made = [Objective("zero", "nothing: the gradient is 0", zeros)]
    made += [Objective(name, text, _stacked(opd.logit_gradient, f)) for name, text, f in exact]
    for name, text, f in generators:
        reward = f"the stop-gradient direction of {text}, biased for it"
        inside = f"{text} differentiated inside of the expectation only, biased for it"
        made.append(
            Objective(f"stop_gradient({name})", reward, _stacked(opd.stop_gradient_logit_gradient, f))
        )
        made.append(Objective(f"pathwise({name})", inside, _stacked(opd.pathwise_logit_gradient, f)))
    return tuple(made)


def _stacked(gradient: Callable[..., Any], f: FDivergence) -> Vector:
    return np.concatenate([gradient(np.log(pair.p), np.log(pair.q), f) for pair in PAIRS])


def kind_of(loss: Callable[..., Any]) -> Kind:
    """Which of the accepted signatures a loss has, read from the names of its parameters.

    ``f(student_logits, teacher_logits)`` is a loss over the vocabulary, ``f(logp, teacher_logp)`` and
    ``f(logp, teacher_logp, behaviour_logp)`` one per sampled token, and
    ``f(student_logits, teacher_logits, tokens)`` one per sampled token that gathers by itself.

    Raises:
        UnmetHypothesis: The names do not tell.

    Example:
        >>> kind_of(lambda logp, teacher_logp: logp - teacher_logp)
        'logp'
    """
    names = _required(loss)
    if len(names) in (2, 3) and all("logit" in name for name in names[:2]):
        return "logits" if len(names) == 2 else "token"
    if len(names) in (2, 3) and all("logp" in name for name in names):
        return "logp"
    raise UnmetHypothesis(
        "audit",
        "the loss is f(student_logits, teacher_logits), f(logp, teacher_logp[, behaviour_logp]) or "
        "f(student_logits, teacher_logits, tokens); otherwise say kind='logits', 'logp' or 'token'",
        f"parameters ({', '.join(names)})",
    )


def _required(loss: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(loss).parameters.values()
    except (TypeError, ValueError):
        return []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [x.name for x in parameters if x.default is x.empty and x.kind in positional]


def identify(
    loss: Callable[..., Any],
    kind: Kind | None = None,
    *,
    off_policy: bool = False,
    dtype: Literal["float64", "float32"] = "float64",
    also: Sequence[str] = (),
) -> Finding:
    """Compare the expected gradient of a loss with every objective of the catalogue.

    Arguments:
        loss: The loss, with one of the signatures of :func:`kind_of`; tensors are (1, 1, V) logits or
            (1, 1) log-probabilities, and what it returns is summed.
        kind: The signature, where the names of the parameters do not tell.
        off_policy: Tokens come from another policy than the student's.
        dtype: Precision of the tensors.  The tolerance is 1e-10, or 1e-6 where the loss returns float32.
        also: Further divergences to compare with, by the names of :func:`driftproof.theory.divergences.get`.

    Example:
        >>> identify(lambda logp, teacher_logp: 0.5 * (logp - teacher_logp) ** 2).matches[0]
        'reverse_kl'
    """
    kind = kind or kind_of(loss)
    runs = [_expected(loss, kind, pair, off_policy, dtype) for pair in PAIRS]
    gradient = np.concatenate([run[1] for run in runs])
    if not np.all(np.isfinite(gradient)):
        raise UnmetHypothesis("audit", "the gradient of the loss is finite", f"{gradient}")
    returned = "float64" if all(run[2] == "float64" for run in runs) else runs[0][2]
    catalogue = objectives()
    known = {each.name for each in catalogue}
    further = [Objective(x, x, _stacked(opd.logit_gradient, get(x))) for x in also if x not in known]
    tolerance = 1e-10 if returned == "float64" else 1e-6
    return _compare(gradient, runs[0][0], returned, tolerance, [*catalogue, *further])


def _expected(
    loss: Callable[..., Any], kind: Kind, pair: Pair, off_policy: bool, dtype: str
) -> tuple[float, Vector, str]:
    """Value, gradient in the logits, and precision of the expected loss on one pair."""
    import torch

    made: Any = {"dtype": getattr(torch, dtype)}
    # Shifted, so that a loss that forgets to normalise is seen.
    logits = (torch.tensor(pair.p, **made).log() + 0.5).requires_grad_()
    teacher = torch.tensor(pair.q, **made).log() - 0.25
    if kind == "logits":
        out = loss(logits[None, None], teacher[None, None])
        return _differentiated(out.sum(), logits, str(out.dtype))
    mu = torch.tensor(pair.mu if off_policy else pair.p, **made)
    logp, logq, total = logits.log_softmax(0), teacher.log_softmax(0), torch.zeros((), **made)
    third = len(_required(loss)) == 3
    for token in range(len(pair.p)):
        if kind == "token":
            out = loss(logits[None, None], teacher[None, None], torch.tensor([[token]]))
        else:
            behaviour = (mu[token].log().reshape(1, 1),) if third else ()
            out = loss(logp[token].reshape(1, 1), logq[token].reshape(1, 1), *behaviour)
        total = total + mu[token] * out.sum()
    return _differentiated(total, logits, str(out.dtype))


def _differentiated(total: Any, logits: Any, dtype: str) -> tuple[float, Vector, str]:
    import torch

    gradient = torch.zeros_like(logits)
    if total.requires_grad:
        (found,) = torch.autograd.grad(total, logits, allow_unused=True)
        gradient = gradient if found is None else found
    return float(total.detach()), gradient.double().numpy(), dtype.removeprefix("torch.")


def _compare(
    gradient: Vector, value: float, dtype: str, tolerance: float, catalogue: Sequence[Objective]
) -> Finding:
    size = float(np.max(np.abs(gradient)))
    limit, same_within = tolerance * max(1.0, size), _SAME
    errors = [float(np.max(np.abs(gradient - each.gradient))) for each in catalogue]
    scales = [1.0] * len(catalogue)
    if min(errors) > limit:  # no objective as it stands: a multiple of one, then
        scales = [_projection(gradient, each.gradient) for each in catalogue]
        limit, same_within = tolerance * size, _SAME_MULTIPLE
    fitted = [c * each.gradient for c, each in zip(scales, catalogue, strict=True)]
    errors = [float(np.max(np.abs(gradient - direction))) for direction in fitted]
    best = int(np.argmin(errors))
    fitting = [i for i, error in enumerate(errors) if error <= limit]
    same = [i for i, one in enumerate(fitted) if _one_direction(one, fitted[best], same_within)]
    rivals = [i for i in fitting if i not in same and errors[i] < _CLEARLY * errors[best]]
    chosen, scale, error = catalogue[same[0]], scales[same[0]], errors[best]
    matches = tuple(catalogue[i].name for i in same) if fitting and not rivals else ()
    length = float(np.linalg.norm(gradient) * np.linalg.norm(chosen.gradient))
    cosine = float(gradient @ chosen.gradient) / length if length > 0.0 else 0.0
    return Finding(
        matches=matches,
        scale=scale,
        error=error,
        nearest=chosen.name,
        cosine=cosine,
        rivals=tuple(catalogue[i].name for i in rivals),
        value=value,
        dtype=dtype,
        tolerance=limit,
        text=_words(chosen, scale, bool(fitting), [catalogue[i].text for i in rivals], cosine, dtype),
    )


def _projection(gradient: Vector, direction: Vector) -> float:
    square = float(direction @ direction)
    return float(gradient @ direction) / square if square > 0.0 else 0.0


def _one_direction(a: Vector, b: Vector, within: float) -> bool:
    return bool(np.max(np.abs(a - b)) <= within * max(np.max(np.abs(a)), np.max(np.abs(b))))


def _words(
    chosen: Objective, scale: float, fits: bool, rivals: Sequence[str], cosine: float, dtype: str
) -> str:
    if rivals:
        return f"not settled: {dtype} does not tell {' from '.join([chosen.text, *rivals])}"
    if not fits:
        return f"descends no objective of the catalogue; nearest: {chosen.text} (cosine {cosine:.4f})"
    if chosen.name == "zero":
        return f"descends {chosen.text}"
    if math.isclose(scale, 1.0, rel_tol=1e-9):
        return f"descends {chosen.text}"
    return f"{'descends' if scale > 0.0 else 'ascends'} {abs(scale):.6g} times {chosen.text}"
