r"""Objectives of supervised fine-tuning, in the logits of a sequence and its labels (-100 is none).

.. math::
    \text{SFT} = -\log p_y, \qquad \text{smoothed} = -(1 - \varepsilon) \log p_y - \tfrac{\varepsilon}{V} \sum_a \log p_a,
    \qquad \text{weighted} = -w \log p_y, \qquad \text{DFT} = -\bar p_y \log p_y

Logits at position i are scored against label i, or, shifted, against label i + 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from .base import Family, Free, Inputs, Objective

__all__ = ["families", "fixed"]

_IGNORED = -100
_SHIFTS = {False: ("", ""), True: ("shifted_", ", labels shifted by one")}

Score = Callable[..., Any]


def fixed(roles: tuple[str, ...]) -> Iterator[Objective]:
    """The objectives without a parameter."""
    yield Objective(
        "zero", "nothing: the gradient is 0", lambda x: _terms(x, lambda law, nll: 0.0 * nll, False)
    )
    for shifted, (prefix, said) in _SHIFTS.items():
        for name, text, score in (
            ("sft", "the cross-entropy of the labels", lambda law, nll: nll),
            ("dft", "DFT: the cross-entropy weighted by p(label), not differentiated", _dft),
            ("likelihood", "-p(label): the expected accuracy", lambda law, nll: -(-nll).exp()),
            ("unlikelihood", "-log(1 - p(label))", lambda law, nll: -(-(-nll).expm1()).log()),
        ):
            yield Objective(prefix + name, text + said, partial(_terms, score=score, shifted=shifted))
        if "weights" in roles:
            score = partial(_terms, score=lambda law, nll: nll, shifted=shifted, weighted=True)
            yield Objective(prefix + "weighted_sft", "the cross-entropy times the weights" + said, score)


def families(roles: tuple[str, ...]) -> Iterator[Family]:
    """Smoothed labels, the focal loss, a temperature, a penalty on log Z."""
    for shifted, (prefix, said) in _SHIFTS.items():
        for name, text, score, free in (
            (
                "sft",
                "smoothed by epsilon = {smoothing:.6g}",
                _smoothed,
                {"smoothing": Free(1e-9, 1.0, (0.1, 0.5))},
            ),
            (
                "sft",
                "at temperature {temperature:.6g}",
                _tempered,
                {"temperature": Free(0.05, 50.0, (0.5, 2.0))},
            ),
            (
                "focal",
                "times (1 - p)^gamma, gamma = {gamma:.6g}",
                _focal,
                {"gamma": Free(1e-3, 20.0, (1.0, 3.0))},
            ),
            ("z_loss", "plus {weight:.6g} log(Z)^2", _z_loss, {"weight": Free(1e-8, 100.0, (1e-4, 0.1))}),
        ):
            terms = partial(_terms, score=score, shifted=shifted)
            yield Family(prefix + name, f"the cross-entropy of the labels {text}{said}", terms, free)


def _dft(law: Any, nll: Any) -> Any:
    return (-nll).exp().detach() * nll


def _smoothed(law: Any, nll: Any, smoothing: float) -> Any:
    return (1.0 - smoothing) * nll - smoothing * law.log_softmax(-1).mean(-1)


def _tempered(law: Any, nll: Any, temperature: float) -> Any:
    scaled = law / temperature  # -log p_y = log Z - z_y, so z_y = log Z - nll
    return scaled.logsumexp(-1) - (law.logsumexp(-1) - nll) / temperature


def _focal(law: Any, nll: Any, gamma: float) -> Any:
    return (-(-nll).expm1()) ** gamma * nll


def _z_loss(law: Any, nll: Any, weight: float) -> Any:
    return nll + weight * law.logsumexp(-1) ** 2


def _terms(
    x: Inputs, score: Score, shifted: bool, weighted: bool = False, **parameters: float
) -> tuple[Any, Any]:
    logits, labels = (x["logits"][:, :-1], x["labels"][:, 1:]) if shifted else (x["logits"], x["labels"])
    mask = (labels != _IGNORED).to(logits.dtype)
    if "mask" in x:
        mask = mask * (x["mask"][:, 1:] if shifted else x["mask"]).to(logits.dtype)
    nll = -logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    terms = score(logits, nll, **parameters)
    if weighted:
        weights = x["weights"]
        weights = weights[..., None] if weights.ndim < x["labels"].ndim else weights
        terms = terms * (weights[:, 1:] if shifted and weights.shape[-1] > 1 else weights)
    return terms, mask
