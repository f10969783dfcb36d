r"""Objectives of policy gradients, in the log-probabilities of sampled tokens.

With the ratio :math:`r = \pi / \mu` (token by token, or the geometric mean of a sequence), an advantage A and
a reference q,

.. math::
    -\min\big(r A,\ \mathrm{clip}(r, 1 - \varepsilon_-, 1 + \varepsilon_+) A\big)
    + \beta\, k(\log\pi, \log q), \qquad
    k_1 = -\delta, \quad k_2 = \tfrac12 \delta^2, \quad k_3 = e^\delta - 1 - \delta, \quad
    \delta = \log q - \log\pi

The term k stands in the loss, in the loss times r, or in the reward (A - beta k_1, not differentiated).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from .base import Family, Free, Inputs, Objective

__all__ = ["families", "fixed"]

_CLIPS = (0.2, 0.1, 0.3, 0.05, 0.15, 0.25, 0.4, 0.5)
# Pairs of lower and upper ends that are in use: DAPO's, GSPO's.
_ASYMMETRIC = ((0.2, 0.28), (0.2, 0.3), (0.1, 0.2), (3e-4, 4e-4))
_COEFFICIENT = Free(1e-6, 100.0, (0.04, 1.0))
_KL = {
    "k1": "k1 in the loss",
    "k2": "k2 in the loss",
    "k3": "k3 in the loss",
    "k3_weighted": "k3 times the ratio in the loss",
    "k2_weighted": "k2 times the ratio in the loss",
    "k1_reward": "k1 in the reward",
}

Surrogate = Callable[[Any, Any, Any, Any], Any]


def fixed(roles: tuple[str, ...]) -> Iterator[Objective]:
    """Surrogates without a KL term."""
    yield Objective("zero", "nothing: the gradient is 0", lambda x: (0.0 * x["logp"], _mask(x)))
    for name, text, surrogate in _surrogates(roles):
        yield Objective(name, text, partial(_terms, surrogate=surrogate))


def families(roles: tuple[str, ...]) -> Iterator[Family]:
    """The same with a KL term, whose coefficient is fitted."""
    if "ref" not in roles:
        return
    for name, text, surrogate in _surrogates(roles):
        for kl, said in _KL.items():
            if kl.endswith("weighted") and "old" not in roles:
                continue
            yield Family(
                name=f"{name}+{kl}",
                text=f"{text}, plus {{beta:.6g}} times {said}",
                terms=partial(_terms, surrogate=surrogate, kl=kl),
                free={"beta": _COEFFICIENT},
            )
    for kl, said in _KL.items():
        if not kl.endswith("reward"):
            yield Family(
                kl,
                f"{{beta:.6g}} times {said}, and no reward",
                partial(_alone, kl=kl),
                {"beta": _COEFFICIENT},
            )


def _surrogates(roles: tuple[str, ...]) -> Iterator[tuple[str, str, Surrogate]]:
    yield "reinforce", "the policy gradient of -A log pi", lambda logp, ratio, a, _: -a * logp
    if "old" not in roles:
        return
    yield "importance", "the unclipped surrogate -r A", lambda logp, ratio, a, _: -a * ratio
    for low, high in [(clip, clip) for clip in _CLIPS] + list(_ASYMMETRIC):
        name = f"ppo(epsilon={low:g})" if low == high else f"ppo(low={low:g}, high={high:g})"
        text = f"the clipped surrogate of PPO, epsilon = {low:g}" + ("" if low == high else f" and {high:g}")
        yield name, text, partial(_clipped, low=low, high=high)
    for low, high in ((0.2, 0.2), (3e-4, 4e-4)):
        name, ends = f"gspo(low={low:g}, high={high:g})", f"epsilon = {low:g} and {high:g}"
        yield (
            name,
            f"the clipped surrogate of GSPO (one ratio a sequence), {ends}",
            partial(_sequence, low=low, high=high),
        )
    for high in (0.2, 0.28, 1.2, 1.28, 2.0, 5.0):
        text = f"CISPO: the policy gradient weighted by min(r, {high:g}), not differentiated"
        yield f"cispo(high={high:g})", text, partial(_cispo, high=high)


def _clipped(logp: Any, ratio: Any, a: Any, _: Any, low: float, high: float) -> Any:
    return -(ratio * a).minimum(ratio.clamp(1.0 - low, 1.0 + high) * a)


def _sequence(logp: Any, ratio: Any, a: Any, mask: Any, low: float, high: float) -> Any:
    mean = (ratio.log() * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True)
    return _clipped(logp, mean.exp().expand_as(ratio), a, mask, low, high)


def _cispo(logp: Any, ratio: Any, a: Any, _: Any, high: float) -> Any:
    return -ratio.clamp(max=high).detach() * a * logp


def _mask(x: Inputs) -> Any:
    import torch

    return x["mask"].to(x["logp"].dtype) if "mask" in x else torch.ones_like(x["logp"])


def _terms(x: Inputs, surrogate: Surrogate, kl: str = "", beta: float = 0.0) -> tuple[Any, Any]:
    logp, mask = x["logp"], _mask(x)
    a = x["advantages"] if x["advantages"].ndim == logp.ndim else x["advantages"][..., None]
    ratio = (logp - x["old"]).exp() if "old" in x else None
    if kl == "k1_reward":
        return surrogate(logp, ratio, a - beta * (logp - x["ref"]).detach(), mask), mask
    terms = surrogate(logp, ratio, a, mask)
    return terms + _kl(x, kl, ratio, beta), mask


def _alone(x: Inputs, kl: str, beta: float) -> tuple[Any, Any]:
    ratio = (x["logp"] - x["old"]).exp() if "old" in x else None
    return 0.0 * x["logp"] + _kl(x, kl, ratio, beta), _mask(x)


def _kl(x: Inputs, kl: str, ratio: Any, beta: float) -> Any:
    if not kl:
        return 0.0
    delta = x["ref"] - x["logp"]
    of = {"k1": -delta, "k2": 0.5 * delta**2, "k3": delta.expm1() - delta}[kl[:2]]
    return beta * (of * ratio if kl.endswith("weighted") else of)
