"""Which arguments a loss takes: read from the names of its parameters, or said by the caller.

========== ================================================== =====================================
form       parameters                                         what is differentiated
========== ================================================== =====================================
logits     student_logits, teacher_logits                     the student's logits (..., V)
logp       logp, teacher_logp[, behaviour_logp]               the same, through one sampled token
sampled    student_logits, teacher_logits, tokens             the same, gathered by the loss
preference chosen, rejected[, ref_chosen, ref_rejected, ...]  log-probabilities of both answers
policy     logp, old_logp, advantages[, ref_logp][, mask]     log-probabilities of the tokens
tokens     logits, labels[, weights][, mask]                  the logits (B, T, V)
========== ================================================== =====================================

Names are matched by their parts (``policy_chosen_logps`` is ``chosen``).  What fits two forms, or none, is
refused: an audit of the wrong question is worse than none.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final, get_args

from driftproof._namespace import UnmetHypothesis

__all__ = ["FORMS", "Call", "Form", "bound", "form_of"]

Form: TypeAlias = Literal["logits", "logp", "sampled", "preference", "policy", "tokens"]
FORMS: tuple[Form, ...] = get_args(Form)

# The roles of each form, and the names that they go by: the first pattern that is found decides.
_NAMES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "logits": (("teacher", r"teacher|ref.*logit|target_logit"), ("student", r"logit")),
    "logp": (
        ("behaviour", r"behavio|old|sampling"),
        ("teacher", r"(teacher|ref|target).*log_?p|log_?q"),
        ("student", r"log_?p"),
    ),
    "sampled": (
        ("teacher", r"teacher|ref.*logit|target_logit"),
        ("tokens", r"token|label|action|_ids"),
        ("student", r"logit"),
    ),
    "preference": (
        ("ref_kl", r"ref.*kl|kl.*ref"),
        ("kl_logp", r"kl.*log_?p"),
        ("kl", r"(^|_)kl($|_)|^z0$"),
        ("chosen_mask", r"(chosen|win).*mask"),
        ("rejected_mask", r"(reject|los).*mask"),
        ("chosen_length", r"(chosen|win).*len"),
        ("rejected_length", r"(reject|los).*len"),
        ("ref_chosen", r"ref.*(chosen|win|_w$)|(chosen|win).*ref"),
        ("ref_rejected", r"ref.*(reject|los|_l$)|(reject|los).*ref"),
        ("chosen", r"chosen|winner|_w$"),
        ("rejected", r"reject|loser|_l$"),
    ),
    "policy": (
        ("advantages", r"advantage|^adv"),
        ("mask", r"mask"),
        ("ref", r"ref"),
        ("old", r"old|behavio|sampling"),
        ("logp", r"log_?p"),
    ),
    "tokens": (
        ("count", r"^num_items|num_tokens"),
        ("mask", r"mask"),
        ("weights", r"weight|reward|advantage|^adv"),
        ("labels", r"label|^targets?$|^y$|_ids$"),
        ("logits", r"logit"),
    ),
}
# By position, where a form is said and the names mean nothing; one order for each number of arguments.
_ORDERS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "logits": (("student", "teacher"),),
    "logp": (("student", "teacher"), ("student", "teacher", "behaviour")),
    "sampled": (("student", "teacher", "tokens"),),
    "preference": (("chosen", "rejected"), ("chosen", "rejected", "ref_chosen", "ref_rejected")),
    "policy": (("logp", "old", "advantages"), ("logp", "old", "advantages", "ref", "mask")),
    "tokens": (("logits", "labels"),),
}
# The roles without which names do not make a form.
_MARKS: Mapping[str, set[str]] = {
    "logits": {"student", "teacher"},
    "logp": {"student", "teacher"},
    "sampled": {"student", "teacher", "tokens"},
    "preference": {"chosen", "rejected"},
    "policy": {"logp", "advantages"},
    "tokens": {"logits", "labels"},
}


@final
@dataclass(frozen=True)
class Call:
    """A loss with its arguments in their roles.

    Arguments:
        loss: The callable, the caller's own arguments already bound.
        form: Its form.
        roles: The roles of its arguments, in order of their names.
        names: The names, where the roles are passed by keyword; empty where by position.
    """

    loss: Callable[..., Any]
    form: Form
    roles: tuple[str, ...]
    names: tuple[str, ...] = ()

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """The result of the loss, as a tensor; of a tuple, a mapping or an output with ``.loss``, that loss."""
        given = [values[role] for role in self.roles]
        if self.names:
            return _tensor(self.loss(**dict(zip(self.names, given, strict=True))))
        return _tensor(self.loss(*given))


def form_of(loss: Callable[..., Any]) -> Form:
    """The form of a loss, read from the names of its parameters.

    Raises:
        UnmetHypothesis: The names fit no form, or several.

    Example:
        >>> form_of(lambda logp, teacher_logp: logp - teacher_logp)
        'logp'
        >>> form_of(lambda policy_chosen_logps, policy_rejected_logps, beta=0.1: 0.0)
        'preference'
    """
    names = [each.name for each in _required(loss)]
    fits = [form for form in FORMS if _roles(names, form)]
    if len(fits) == 1:
        return fits[0]
    raise UnmetHypothesis(
        "audit",
        "the parameters of the loss tell its form (f(student_logits, teacher_logits), f(logp, teacher_logp), "
        "f(policy_chosen_logps, policy_rejected_logps, ...), f(logp, old_logp, advantages, ...), "
        "f(logits, labels)); otherwise say form=" + ", ".join(map(repr, FORMS)),
        f"parameters ({', '.join(names)}), which fit {' and '.join(fits) or 'none'}",
    )


def bound(loss: Any, form: Form | None = None, arguments: Mapping[str, Any] | None = None) -> Call:
    """The loss, ready to be called by roles.

    Arguments:
        loss: A function, an object that can be called, or an ``nn.Module``.
        form: Its form; read from the names unless given.
        arguments: Further keyword arguments, passed at every call.

    Raises:
        UnmetHypothesis: The form is not known, or a parameter has no role in it.
    """
    if arguments:
        loss = functools.partial(loss, **arguments)
    form = form or form_of(loss)
    if form not in FORMS:
        raise ValueError(f"audit: expected a form among {', '.join(FORMS)}, got {form!r}")
    required = _required(loss)
    names = [each.name for each in required]
    roles = _roles(names, form)
    if roles:
        keyword = any(each.kind is each.KEYWORD_ONLY for each in required)
        return Call(loss, form, roles, tuple(names) if keyword else ())
    orders = {len(order): order for order in _ORDERS[form]}
    if not names and _takes_any(loss):
        return Call(loss, form, _ORDERS[form][0])
    if len(names) in orders:
        return Call(loss, form, orders[len(names)])
    raise UnmetHypothesis(
        "audit",
        f"each required parameter of a loss of form {form} is one of {', '.join(r for r, _ in _NAMES[form])}",
        f"parameters ({', '.join(names)})",
    )


def _roles(names: Sequence[str], form: str) -> tuple[str, ...]:
    """The role of each name; nothing unless every name has one of its own and together they make the form."""
    found = [_role(name, form) for name in names]
    roles = tuple(role for role in found if role)
    needed = _MARKS[form]
    if len(roles) < len(names) or len(set(roles)) < len(roles) or not needed <= set(roles):
        return ()
    return roles


def _role(name: str, form: str) -> str:
    return next((role for role, pattern in _NAMES[form] if re.search(pattern, name.lower())), "")


def _required(loss: Callable[..., Any]) -> list[inspect.Parameter]:
    """Parameters without a default; of an ``nn.Module``, of its ``forward``."""
    target = getattr(loss, "forward", loss)
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each for each in parameters if each.default is each.empty and each.kind not in variadic]


def _takes_any(loss: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(getattr(loss, "forward", loss)).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(each.kind is each.VAR_POSITIONAL for each in parameters)


def _tensor(out: Any) -> Any:
    import torch

    if isinstance(out, torch.Tensor):
        return out
    if isinstance(out, Mapping) and "loss" in out:
        return _tensor(out["loss"])
    if isinstance(getattr(out, "loss", None), torch.Tensor):
        return out.loss
    if isinstance(out, tuple | list) and out:
        return _tensor(out[0])
    raise TypeError(f"audit: expected a loss that returns a tensor, got {type(out).__name__}")
