r"""Divergences over the k likeliest tokens K of the teacher or of the student.

.. math::
    \text{tail:} &\quad D\big((p_K, 1 - p(K)),\ (q_K, 1 - q(K))\big) \\
    \text{renormalised:} &\quad D\big(p_K / p(K),\ q_K / q(K)\big) \\
    \text{truncated:} &\quad \sum_{a \in K} p_a \log(p_a / q_a)

The first is a divergence of coarser laws, so it is at most the whole one; the last is none: it falls when mass
leaves K.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from .base import Inputs, Objective, everywhere

__all__ = ["truncations"]

_TEXTS = {
    "tail": "with the rest as one token",
    "renormalised": "renormalised, the rest left out",
    "truncated": "of the sum over these alone, which is no divergence",
}
_KINDS = {"reverse_kl": "reverse KL(p||q)", "forward_kl": "forward KL(q||p)", "jsd": "Jensen-Shannon"}


def truncations() -> Iterator[Objective]:
    """All that four tokens of five allow.

    Example:
        >>> next(truncations()).name
        'reverse_kl(top=1, of=teacher, rest=tail)'
    """
    for name, text in _KINDS.items():
        for of in ("teacher", "student"):
            for k in (1, 2, 3, 4):
                for rest, said in _TEXTS.items():
                    # A law on one token is no law to train on; and JSD is left out where it is no divergence.
                    if (k == 1 and rest == "renormalised") or (name == "jsd" and rest == "truncated"):
                        continue
                    yield Objective(
                        name=f"{name}(top={k}, of={of}, rest={rest})",
                        text=f"{text} over the top {k} of the {of}, {said}",
                        terms=partial(_top, kind=name, k=k, of=of, rest=rest),
                    )


def _top(x: Inputs, kind: str, k: int, of: str, rest: str) -> tuple[Any, Any]:
    import torch

    laws = {role: x[role].log_softmax(-1) for role in ("student", "teacher")}
    chosen = laws[of].topk(min(k, laws[of].shape[-1]), -1).indices
    kept = [law.gather(-1, chosen) for law in laws.values()]
    if rest == "renormalised":
        kept = [law.log_softmax(-1) for law in kept]
    if rest == "tail" and k < laws[of].shape[-1]:
        kept = [
            torch.cat([law, _rest(whole, chosen)], -1) for law, whole in zip(kept, laws.values(), strict=True)
        ]
    logp, logq = kept
    if kind == "reverse_kl":
        return everywhere((logp.exp() * (logp - logq)).sum(-1))
    if kind == "forward_kl":
        return everywhere((logq.exp() * (logq - logp)).sum(-1))
    log_m = ((logp.exp() + logq.exp()) / 2.0).log()
    return everywhere((logp.exp() * (logp - log_m) + logq.exp() * (logq - log_m)).sum(-1) / 2.0)


def _rest(law: Any, chosen: Any) -> Any:
    """The logarithm of the mass outside of the chosen tokens, summed and not subtracted from 1."""
    outside = law.scatter(-1, chosen, float("-inf"))
    return outside.logsumexp(-1, keepdim=True)
