"""The row of a loss: its finding beside what is documented of it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from .forms import Form
from .losses import Finding, identify
from .measuring import Precision
from .objectives import CONVENTIONS, Objective, meant
from .points import first
from .rows import Row

__all__ = ["audit_loss"]

# Rounding, and the resolution of a mean, beyond which nothing is called as documented.
_ROUNDED, _RESOLVED = 0.1, 0.05


def audit_loss(
    loss: Any,
    *,
    form: Form | None = None,
    documented: str | None = None,
    quote: str = "",
    off_policy: bool = False,
    dtype: Precision = "float64",
    arguments: Mapping[str, Any] | None = None,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    reproduction: str | None = None,
) -> Row:
    """The objective that a loss descends, and whether its documentation says so.

    Arguments:
        loss, form, off_policy, dtype, arguments: As in :func:`~.losses.identify`.
        documented: The objective that it is said to descend: ``"reverse_kl"``, ``"gjsd(0.3)"``,
            ``"hinton(temperature=2)"``, ``"dpo(beta=0.1)"``, ``"dpo"`` (any beta), ``"sft/mean"``.
        quote: The sentence that says so.
        name, options, reproduction: The row's words for the object.

    Raises:
        UnmetHypothesis: The form is not known, or the gradient is not finite.
        LookupError: No objective is called as documented.
        TypeError: The loss does not return a tensor.

    Example:
        >>> row = audit_loss(lambda logp, teacher_logp: 0.5 * (logp - teacher_logp) ** 2, documented="reverse_kl")
        >>> row.agrees, row.verdict
        (True, 'descends reverse KL(p||q); its value is the expected k2, as documented')
    """
    if inspect.isclass(loss):
        loss = loss()
    found = identify(
        loss,
        form,
        off_policy=off_policy,
        dtype=dtype,
        also=(documented,) if documented else (),
        arguments=arguments,
    )
    agrees, said = _against(found, documented)
    owner = loss if hasattr(loss, "__qualname__") else type(loss)
    where = name or f"{owner.__module__}.{owner.__qualname__}"
    return Row(
        object=where,
        options=dict(options or arguments or {}),
        verdict=found.text + said,
        reason=_reason(found, off_policy, quote, documented),
        reproduction=reproduction or _lines(where, found.form, documented),
        matches=found.matches,
        error=found.error,
        value=found.value,
        agrees=agrees,
    )


def _against(found: Finding, documented: str | None) -> tuple[bool | None, str]:
    """Whether it is as documented, None where that is not settled, and how the verdict ends."""
    if documented is None:
        return None, ""
    objectives, those, reduction = meant(documented, found.form, found.roles)
    said = f"; documented: {_text(documented, objectives, reduction)}"
    names = {each.name for each in objectives}
    named = any(
        each in names or each.startswith(tuple(f"{family.name}(" for family in those))
        for each in found.matches
    )
    if found.rivals:
        return None, said
    if found.random is not None:
        resolved = found.tolerance <= _RESOLVED * abs(found.random.mean).max()
        return (
            (True, ", as documented to that extent")
            if named and resolved
            else (None if named else False, said)
        )
    conventional = found.reduction == reduction if reduction else found.reduction in ("", *CONVENTIONS)
    if named and conventional and abs(found.scale - 1.0) < 1e-9 and found.rounding <= _ROUNDED:
        return True, ", as documented"
    return False, said


def _text(documented: str, objectives: Sequence[Objective], reduction: str) -> str:
    text = objectives[0].text if objectives else documented.partition("/")[0]
    return f"{text}, {reduction.replace('_', ' ')}" if reduction else text


def _reason(found: Finding, off_policy: bool, quote: str, documented: str | None) -> str:
    where = ", ".join(point.name for point in first(found.form, ()))
    parts = [f"expected gradient on {where}"]
    if found.form in ("logp", "sampled"):
        parts[0] += ", tokens from " + ("another policy" if off_policy else "the student")
    if found.confirmed:
        parts.append(f"confirmed on {', '.join(found.confirmed)}")
    if found.skipped:
        parts.append(f"cannot be called on {', '.join(found.skipped)}")
    if found.learnable:
        parts.append(f"{found.learnable} learnable numbers of its own, held where they are")
    inside = "" if found.coarsest == "float64" else f" and computes in {found.coarsest}"
    parts.append(f"the loss returns {found.dtype}{inside}; rounding {found.rounding:.1e} of the gradient")
    parts.append(f"error {found.error:.1e} against {found.nearest}, tolerance {found.tolerance:.1e}")
    parts.append(f"value on the first point {found.value:.6g}")
    if quote:
        objectives, _, reduction = meant(documented, found.form, found.roles) if documented else ((), (), "")
        read = f", read here as {_text(documented, objectives, reduction)}" if documented else ""
        parts.append(f"documentation: “{quote}”{read}")
    return "; ".join(parts)


def _lines(where: str, form: Form, documented: str | None) -> str:
    module, _, attribute = where.rpartition(".")
    return "\n".join(
        (
            "from driftproof.validation import audit",
            f"from {module} import {attribute}",
            f"row = audit({attribute}, form={form!r}, documented={documented!r})",
            "print(row.verdict, row.error)",
        )
    )
