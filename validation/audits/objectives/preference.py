r"""Objectives of preference optimisation, in the log-probabilities of a chosen and a rejected answer.

With :math:`u_w = \log\pi(y_w) - \log\pi_{ref}(y_w)`, :math:`u_l` alike and :math:`h = u_w - u_l`,

.. math::
    \text{DPO} &= -\log\sigma(\beta h), & \text{IPO} &= (h - \tfrac{1}{2\tau})^2, &
    \text{hinge} &= (1 - \beta h)_+ \\
    \text{KTO} &= 1 - \sigma(\pm\beta (u - z_0)), & \text{SimPO} &= -\log\sigma(\beta(\bar l_w - \bar l_l) - \gamma), &
    \text{ORPO} &= -\bar l_w - \lambda \log\sigma\big(\mathrm{logit}\, e^{\bar l_w} - \mathrm{logit}\, e^{\bar l_l}\big)

Those of :mod:`driftproof.numerics.rich_po` are its kernels on torch; the others are written here alone.

A loss over tokens (B, T) with masks is asked for the sum of an answer's log-probabilities and for their mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from driftproof.numerics.rich_po import (
    dpo_loss,
    hinge_loss,
    ipo_loss,
    kto_loss,
    log_odds_ratio_loss,
    orpo_loss,
    robust_dpo_loss,
    simpo_loss,
    slic_loss,
    sppo_loss,
)
from driftproof.theory.special.elementary import softplus

from .base import Family, Free, Inputs, Objective, everywhere

__all__ = ["families", "fixed"]

_BETA = Free(1e-4, 100.0, (0.1, 1.0, 5.0))
_TAU = Free(1e-3, 100.0, (0.1, 0.5))
_GAMMA = Free(-20.0, 20.0, (0.5,))
_WEIGHT = Free(1e-4, 100.0, (0.1, 1.0))
_SMOOTHING = Free(1e-6, 0.499, (0.1,))
# How tokens make an answer, and those whose papers average: whatever else is named.
_TOKENS = {
    "sum": ", of summed log-probabilities",
    "mean": ", of mean log-probabilities per token",
    "padded": ", of log-probabilities summed and divided by all positions, the masked ones too",
}
_AVERAGED = ("simpo", "odds_ratio", "orpo")

Margin = Callable[..., Any]


def _on_torch(loss: Any, **renamed: str) -> Margin:
    """The kernel of a loss on torch, with the names that the audit has for its parameters."""

    def margin(w: Any, l: Any, **parameters: float) -> Any:
        import array_api_compat.torch as xp

        return loss.kernel(xp, w, l, **{renamed.get(name, name): x for name, x in parameters.items()})

    return margin


def fixed(roles: tuple[str, ...]) -> Iterator[Objective]:
    """Nothing at all, and the likelihood of the chosen answer."""
    yield Objective(
        "zero", "nothing: the gradient is 0", lambda x: everywhere(0.0 * _answer(x, "chosen", "sum"))
    )
    for how in _hows(roles):
        name, said = _named("likelihood", how)
        yield Objective(name, f"-log pi(chosen){said}", partial(_negative, how=how))
    if "chosen_mask" in roles:
        text = "-log pi of the tokens of the chosen answers"
        yield Objective("token_likelihood", text, lambda x: (-x["chosen"], x["chosen_mask"]))


def families(roles: tuple[str, ...]) -> Iterator[Family]:
    """Those that the roles allow: with a reference, with a KL term, or without either."""
    for how in _hows(roles):
        for name, text, loss, free in _without_reference():
            spelt, said = _named(name, how)
            yield Family(spelt, text + said, partial(_free, loss=loss, how=how), free, kinked="hinge" in name)
        if "ref_chosen" not in roles:
            continue
        for name, text, loss, free in _with_reference():
            spelt, said = _named(name, how)
            yield Family(
                spelt, text + said, partial(_referred, loss=loss, how=how), free, kinked=name == "hinge"
            )
        spelt, said = _named("kto", how)
        text = "KTO with beta = {beta:.6g}"
        yield Family(spelt, text + said, partial(_kto, how=how), {"beta": _BETA})
        text += ", the rejected weighing {undesirable:.6g}"
        weighted = {"beta": _BETA, "undesirable": Free(1e-3, 100.0, (1.0, 0.5))}
        yield Family(spelt, text + said, partial(_kto, how=how), weighted)


def _hows(roles: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_TOKENS) if "chosen_mask" in roles or "chosen_length" in roles else ("",)


def _named(name: str, how: str) -> tuple[str, str]:
    """The name of an objective of tokens, and what its text says of them; plain where that is its paper's way."""
    if how in ("", "mean" if name in _AVERAGED else "sum"):
        return name, ""
    return f"{how}_{name}", _TOKENS[how]


def _with_reference() -> Iterator[tuple[str, str, Margin, Mapping[str, Free]]]:
    beta, smoothed = {"beta": _BETA}, {"beta": _BETA, "smoothing": _SMOOTHING}
    yield "dpo", "DPO with beta = {beta:.6g}", _on_torch(dpo_loss), beta
    yield "ipo", "IPO with tau = {tau:.6g}", _on_torch(ipo_loss), {"tau": _TAU}
    yield "hinge", "the hinge loss with beta = {beta:.6g}", _on_torch(hinge_loss), beta
    text = "SPPO with beta = {beta:.6g}"
    yield "sppo", text, _on_torch(sppo_loss), beta
    text = "NCA with beta = {beta:.6g}"
    yield "nca", text, _nca, beta
    text = "BCO of a pair with beta = {beta:.6g}"
    yield "bco", text, lambda w, l, beta: _softplus(-beta * w) + _softplus(beta * l), beta
    text = "APO-zero with beta = {beta:.6g}"
    yield "apo_zero", text, lambda w, l, beta: 1.0 - (beta * w).sigmoid() + (beta * l).sigmoid(), beta
    text = "APO-down with beta = {beta:.6g}"
    yield "apo_down", text, lambda w, l, beta: (beta * w).sigmoid() + 1.0 - (beta * (w - l)).sigmoid(), beta
    text = "DPO over forward KL with beta = {beta:.6g}"
    yield "dpo_forward_kl", text, lambda w, l, beta: _softplus(-beta * ((-l).exp() - (-w).exp())), beta
    text = "DPO over Jensen-Shannon with beta = {beta:.6g}"
    yield "dpo_jsd", text, lambda w, l, beta: _softplus(-beta * (_softplus(-l) - _softplus(-w))), beta
    text = "DPO with beta = {beta:.6g} and labels smoothed by {smoothing:.6g}"
    yield "cdpo", text, _on_torch(dpo_loss), smoothed
    text = "robust DPO with beta = {beta:.6g}, {smoothing:.6g} of the labels flipped"
    yield "robust_dpo", text, _on_torch(robust_dpo_loss, smoothing="flips"), smoothed
    text = "EXO of a pair with beta = {beta:.6g}, smoothing {smoothing:.6g}"
    yield "exo", text, _exo, smoothed
    text = "DiscoPOP with beta = {beta:.6g}, tau = {tau:.6g}"
    yield "discopop", text, _discopop, {"beta": _BETA, "tau": Free(1e-3, 10.0, (0.05, 0.5))}


def _without_reference() -> Iterator[tuple[str, str, Margin, Mapping[str, Free]]]:
    both = {"beta": _BETA, "gamma": _GAMMA}
    text = "SimPO with beta = {beta:.6g}, gamma = {gamma:.6g}"
    yield "simpo", text, _on_torch(simpo_loss), both
    text = "the preference term of CPO with beta = {beta:.6g}"
    yield "cpo", text, _on_torch(simpo_loss), {"beta": _BETA}
    text = "CPO with beta = {beta:.6g} and {weight:.6g} times -log pi(chosen)"
    free = {"beta": _BETA, "weight": _WEIGHT}
    yield "cpo", text, _on_torch(simpo_loss, weight="sft"), free
    text = "SLiC with margin {margin:.6g}"
    slic = {"margin": Free(1e-3, 100.0, (1.0, 3.0))}
    yield "slic", text, _on_torch(slic_loss), slic
    text = "SLiC with margin {margin:.6g} and {weight:.6g} times -log pi(chosen)"
    yield "slic", text, _on_torch(slic_loss, weight="sft"), {**slic, "weight": _WEIGHT}
    text = "the term of ORPO's odds ratio"
    yield "odds_ratio", text, _on_torch(log_odds_ratio_loss), {}
    text = "ORPO with lambda = {weight:.6g}"
    yield "orpo", text, _on_torch(orpo_loss), {"weight": _WEIGHT}
    text = "the hinge loss without a reference, beta = {beta:.6g}"
    yield "hinge_free", text, _on_torch(hinge_loss), {"beta": _BETA}
    text = "IPO without a reference, tau = {tau:.6g}"
    yield "ipo_free", text, _on_torch(ipo_loss), {"tau": _TAU}


def _softplus(x: Any) -> Any:
    """-log sigma(-x)."""
    import array_api_compat.torch as xp

    return softplus(xp, x)


def _nca(w: Any, l: Any, beta: float) -> Any:
    return _softplus(-beta * w) + 0.5 * _softplus(beta * w) + 0.5 * _softplus(beta * l)


def _exo(w: Any, l: Any, beta: float, smoothing: float) -> Any:
    h = beta * (w - l)
    agreed = h.sigmoid() * (-_softplus(-h) - math.log1p(-smoothing))
    return agreed + (-h).sigmoid() * (-_softplus(h) - math.log(smoothing))


def _discopop(w: Any, l: Any, beta: float, tau: float) -> Any:
    h = beta * (w - l)
    share = (h / tau).sigmoid()
    return _softplus(-h) * (1.0 - share) + (-h).exp() * share


def _answer(x: Inputs, role: str, how: str) -> Any:
    """The log-probability of an answer: given, or of its tokens summed or averaged."""
    logp = x[role]
    side = role.removeprefix("ref_")
    if logp.ndim == 1:
        if how == "mean":
            return logp / x[f"{side}_length"]
        return logp / x["width"] if how == "padded" else logp
    mask = x[f"{side}_mask"].to(logp.dtype)
    total = (logp * mask).sum(-1)
    if how == "mean":
        return total / mask.sum(-1)
    return total / mask.shape[-1] if how == "padded" else total


def _negative(x: Inputs, how: str) -> tuple[Any, Any]:
    return everywhere(-_answer(x, "chosen", how))


def _free(x: Inputs, loss: Margin, how: str, **parameters: float) -> tuple[Any, Any]:
    return everywhere(loss(_answer(x, "chosen", how), _answer(x, "rejected", how), **parameters))


def _ratios(x: Inputs, how: str) -> tuple[Any, Any]:
    won, lost = (_answer(x, role, how) - _answer(x, f"ref_{role}", how) for role in ("chosen", "rejected"))
    return won, lost


def _referred(x: Inputs, loss: Margin, how: str, **parameters: float) -> tuple[Any, Any]:
    return everywhere(loss(*_ratios(x, how), **parameters))


def _kto(x: Inputs, how: str, beta: float, undesirable: float = 1.0) -> tuple[Any, Any]:
    """Both answers are terms; the point of reference is a KL divergence that is not differentiated."""
    import array_api_compat.torch as xp
    import torch

    won, lost = _ratios(x, how)
    one = torch.ones_like(won)
    origin = x.get("kl", torch.zeros((), dtype=won.dtype))
    if "kl_logp" in x:
        origin = (x["kl_logp"] - x["ref_kl"]).mean().clamp(min=0.0)
    terms = [
        kto_loss.kernel(xp, ratio, sign * one, origin.detach(), beta)
        for ratio, sign in ((won, 1.0), (lost, -undesirable))
    ]
    return everywhere(torch.cat(terms))
