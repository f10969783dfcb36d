"""Recipes over a vocabulary: divergences, temperatures, mixtures, top-k, estimators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .base import Planted, number, pick

__all__ = ["distillation", "estimators", "mixture", "tempered", "top"]


def _reduce(how: str) -> Callable[[Any], Any]:
    """The reductions of distillation, for terms (B, T)."""
    if how == "sum":
        return lambda x: x.sum()
    return (lambda x: x.mean()) if how == "mean" else lambda x: x.sum() / x.shape[0]


def _kl(a: Any, b: Any) -> Any:
    """KL(a||b) of log-probabilities, over the last axis."""
    import torch.nn.functional as F

    return F.kl_div(b, a, log_target=True, reduction="none").sum(-1)


def distillation(rng: np.random.Generator) -> Iterator[Planted]:
    """Divergences of two laws, at temperature 1, in some precision."""
    import torch

    kind, how = pick(rng, ("forward_kl", "reverse_kl", "jsd")), pick(rng, ("sum", "mean", "batch_mean"))
    low = pick(rng, (torch.float64, torch.float32, torch.bfloat16))
    reduce = _reduce(how)

    def laws(z: Any, t: Any) -> tuple[Any, Any]:
        return z.to(low).double().log_softmax(-1), t.to(low).double().log_softmax(-1)

    def of(kind: str, a: Any, b: Any) -> Any:
        if kind == "forward_kl":
            return _kl(b, a)
        if kind == "reverse_kl":
            return _kl(a, b)
        m = torch.logaddexp(a, b) - np.log(2.0)
        return 0.5 * _kl(a, m) + 0.5 * _kl(b, m)

    def loss(error: str) -> Callable[..., Any]:
        def call(z: Any, t: Any) -> Any:
            a, b = laws(z, t)
            if error == "swapped arguments":
                other = {"forward_kl": "reverse_kl", "reverse_kl": "forward_kl", "jsd": "forward_kl"}[kind]
                return reduce(of(other, a, b))
            if error == "a stop-gradient":
                return reduce(of(kind, 0.5 * a + 0.5 * a.detach(), b) if kind == "forward_kl" else
                              (a.exp().detach() * (a - b)).sum(-1))  # fmt: skip
            if error == "logits not normalised":
                return reduce(of(kind, z.to(low).double(), b))
            if error == "a mean over the vocabulary":
                return reduce(of(kind, a, b)) / z.shape[-1]
            return factor * reduce(of(kind, a, b)) if error == "a factor" else reduce(of(kind, a, b))

        return call

    factor = pick(rng, (0.5, 2.0, -1.0, number(rng, 0.1, 10.0)))
    label = f"{kind}, {how}, {str(low)[6:]}"
    yield Planted(label, "logits", loss(""), f"{kind}/{how}", True)
    for error in (
        "swapped arguments",
        "a stop-gradient",
        "logits not normalised",
        "a mean over the vocabulary",
        "a factor",
    ):
        yield Planted(f"{label}: {error}", "logits", loss(error), kind, False)
    other = pick(rng, [x for x in ("sum", "mean", "batch_mean") if x != how])
    yield Planted(f"{label}: sum and mean mixed up", "logits", loss(""), f"{kind}/{other}", False)


def tempered(rng: np.random.Generator) -> Iterator[Planted]:
    """Hinton's loss."""
    temperature, power = number(rng, 1.2, 8.0), pick(rng, (0, 1, 3, -2))

    def loss(student: float, teacher: float, factor: float) -> Callable[..., Any]:
        return lambda z, t: factor * _kl((t / teacher).log_softmax(-1), (z / student).log_softmax(-1)).sum()

    said, label = f"hinton(temperature={temperature})", f"Hinton's loss at {temperature}"
    square = temperature**2
    yield Planted(label, "logits", loss(temperature, temperature, square), said, True)
    yield Planted(f"{label} without its factor", "logits", loss(temperature, temperature, 1.0),
                  f"forward_kl(temperature={temperature})", True)  # fmt: skip
    yield Planted(
        f"{label}: power {power}", "logits", loss(temperature, temperature, temperature**power), said, False
    )
    yield Planted(f"{label}: the teacher's forgotten", "logits", loss(temperature, 1.0, square), said, False)
    yield Planted(f"{label}: the student's forgotten", "logits", loss(1.0, temperature, square), said, False)
    yield Planted(f"{label}: inverted", "logits", loss(1 / temperature, 1 / temperature, square), said, False)


def mixture(rng: np.random.Generator) -> Iterator[Planted]:
    """The generalised Jensen-Shannon divergence, and its two weights."""
    beta = float(f"{rng.uniform(0.05, 0.45):.2g}")

    def loss(share: float, weight: float) -> Callable[..., Any]:
        def call(z: Any, t: Any) -> Any:
            p, q = z.softmax(-1), t.softmax(-1)
            m = (share * q + (1.0 - share) * p).log()
            return (weight * _kl(q.log(), m) + (1.0 - weight) * _kl(p.log(), m)).sum()

        return call

    said, label = f"gjsd({beta})", f"gJSD({beta})"
    yield Planted(label, "logits", loss(beta, beta), said, True)
    yield Planted(f"{label}: weights swapped", "logits", loss(beta, 1.0 - beta), said, False)
    yield Planted(f"{label}: beta swapped", "logits", loss(1.0 - beta, 1.0 - beta), said, False)
    yield Planted(f"{label}: equal weights", "logits", loss(beta, 0.5), said, False)


def top(rng: np.random.Generator) -> Iterator[Planted]:
    """Top-k, with its tail or without."""
    import torch

    k, of = int(rng.integers(2, 4)), pick(rng, ("teacher", "student"))
    kind = pick(rng, ("reverse_kl", "forward_kl"))

    def loss(rest: str, of: str, k: int) -> Callable[..., Any]:
        def call(z: Any, t: Any) -> Any:
            a, b = z.log_softmax(-1), t.log_softmax(-1)
            index = (b if of == "teacher" else a).topk(k).indices
            a, b = a.gather(-1, index), b.gather(-1, index)
            if rest == "tail":
                a, b = (torch.cat([x, torch.log1p(-x.exp().sum(-1, keepdim=True))], -1) for x in (a, b))
            elif rest == "renormalised":
                a, b = (x - x.logsumexp(-1, keepdim=True) for x in (a, b))
            return (_kl(a, b) if kind == "reverse_kl" else _kl(b, a)).sum()

        return call

    said, label = f"{kind}(top={k}, of={of}, rest=tail)", f"top {k} of the {of}, {kind}"
    yield Planted(label, "logits", loss("tail", of, k), said, True)
    yield Planted(
        f"{label}, renormalised",
        "logits",
        loss("renormalised", of, k),
        said.replace("tail", "renormalised"),
        True,
    )
    yield Planted(f"{label}: the tail dropped", "logits", loss("", of, k), said, False)
    yield Planted(f"{label}: renormalised for a tail", "logits", loss("renormalised", of, k), said, False)
    yield Planted(f"{label}: one token more", "logits", loss("tail", of, k + 1), said, False)
    other = "student" if of == "teacher" else "teacher"
    yield Planted(f"{label}: of the {other}", "logits", loss("tail", other, k), said, False)


def estimators(rng: np.random.Generator) -> Iterator[Planted]:
    """Losses of one sampled token."""
    c = number(rng, 0.1, 5.0)
    yield Planted("k2", "logp", lambda a, b: 0.5 * (a - b) ** 2, "reverse_kl", True)
    yield Planted("k1 in the reward", "logp", lambda a, b: (a - b).detach() * a, "reverse_kl", True)
    yield Planted("k3", "logp", lambda a, b: (b - a).exp() - 1 - (b - a), "forward_kl", True)
    yield Planted("k1 in the loss", "logp", lambda a, b: a - b, "reverse_kl", False)
    yield Planted("k3 for reverse KL", "logp", lambda a, b: (b - a).exp() - 1 - (b - a), "reverse_kl", False)
    yield Planted(
        "k3 with its arguments swapped", "logp", lambda a, b: (a - b).exp() - 1 - (a - b), "forward_kl", False
    )
    yield Planted(f"k2 times {c}", "logp", lambda a, b: c * (a - b) ** 2, "reverse_kl", c == 0.5)
    yield Planted("the reward's sign", "logp", lambda a, b: (b - a).detach() * a, "reverse_kl", False)
    yield Planted(
        "k3 in the reward",
        "logp",
        lambda a, b: ((b - a).exp() - 1 - (b - a)).detach() * a,
        "forward_kl",
        False,
    )
