"""The objectives that losses are compared with: one file a family, each exact and differentiated by autograd.

* :mod:`divergences`, :mod:`truncated`: distillation over a vocabulary; top-k;
* :mod:`preference`: DPO, IPO, hinge, SLiC, KTO, SimPO, CPO, ORPO and further losses on pairs of answers;
* :mod:`policy`: PPO, GRPO, GSPO, CISPO, with KL terms in the loss and in the reward;
* :mod:`tokens`: supervised fine-tuning, plain, smoothed, weighted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

from driftproof._namespace import UnmetHypothesis
from driftproof.theory.divergences import get
from driftproof.validation.audits.forms import Form

from . import divergences, policy, preference, tokens
from .base import (
    CONVENTIONS,
    REDUCTIONS,
    Family,
    Free,
    Inputs,
    Objective,
    differentiated,
    written,
)

__all__ = [
    "CONVENTIONS",
    "REDUCTIONS",
    "Family",
    "Free",
    "Inputs",
    "Objective",
    "catalogue",
    "differentiated",
    "families",
    "meant",
    "reductions",
    "written",
]

_VOCABULARY = ("logits", "logp", "sampled")
_OTHERS = {"preference": preference, "policy": policy, "tokens": tokens}


@cache
def catalogue(form: Form, roles: tuple[str, ...] = ()) -> tuple[Objective, ...]:
    """The objectives of a form that have no parameter to fit.

    Example:
        >>> [each.name for each in catalogue("logits")[:3]]
        ['zero', 'reverse_kl', 'forward_kl']
    """
    if form in _VOCABULARY:
        return tuple(divergences.fixed())
    return (*_OTHERS[form].fixed(roles), *(each.at() for each in _all(form, roles) if not each.free))


def families(form: Form, roles: tuple[str, ...] = ()) -> tuple[Family, ...]:
    """The families of a form whose parameters are fitted."""
    return tuple(each for each in _all(form, roles) if each.free)


@cache
def _all(form: Form, roles: tuple[str, ...]) -> tuple[Family, ...]:
    return tuple(divergences.families() if form in _VOCABULARY else _OTHERS[form].families(roles))


def reductions(form: Form) -> tuple[str, ...]:
    """The reductions that differ for a form, conventional ones first."""
    if form in _VOCABULARY:
        return ("sum", "mean", "batch_mean", "element_mean", "vocabulary_mean")
    if form == "preference":
        return ("sum", "mean")
    return ("sum", "mean", "sequence_mean", "batch_mean", "padded_mean")


def meant(
    name: str, form: Form, roles: tuple[str, ...] = ()
) -> tuple[Sequence[Objective], Sequence[Family], str]:
    """The meaning of a documented name: objectives, families at any parameters, and a reduction or none.

    Arguments:
        name: ``forward_kl``, ``gjsd(0.3)``, ``forward_kl(temperature=2)``, ``dpo`` (any beta),
            ``dpo(beta=0.1)``, ``sft/mean``.
        form, roles: The form and the roles of the loss.

    Raises:
        LookupError: There is no such objective.

    Example:
        >>> [each.text for each in meant("gjsd(0.3)", "logits")[0]]
        ['gJSD with beta = 0.3']
        >>> [each.name for each in meant("dpo", "preference", ("ref_chosen",))[1]]
        ['dpo']
    """
    name, _, reduction = name.replace(" ", "").partition("/")
    if reduction and reduction not in REDUCTIONS:
        raise LookupError(f"audit: no reduction {reduction!r}; there are {', '.join(REDUCTIONS)}")
    known = [each for each in catalogue(form, roles) if each.name.replace(" ", "") == name]
    if known:
        return known, (), reduction
    spelt = [(each, each.name.replace(" ", "")) for each in families(form, roles)]
    if any(name == spelling for _, spelling in spelt):
        return (), [each for each, spelling in spelt if name == spelling], reduction
    for family, spelling in spelt:
        if name.startswith(spelling + "("):
            given = re.findall(r"(?:(\w+)=)?([-+.\deE]+)", name[len(spelling) :])
            parameters = {key or free: float(x) for (key, x), free in zip(given, family.free, strict=False)}
            if parameters.keys() == family.free.keys() and len(given) == len(parameters):
                return (family.at(**parameters),), (), reduction
    if form in _VOCABULARY:
        with suppress(UnmetHypothesis):
            f = get(name)
            return (Objective(name, name, lambda x: divergences.divergence(x, f)),), (), reduction
    named = [each.name for each in catalogue(form, roles)] + [each.name for each in families(form, roles)]
    there = dict.fromkeys(named)
    raise LookupError(f"audit: no objective {name!r} for a loss of form {form}; there are {', '.join(there)}")
