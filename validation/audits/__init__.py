"""Audits of other people's code, by exact numbers and without knowing what is inside.

A loss is compared with the gradients of named objectives over an enumerated vocabulary.  A verdict names
the version, the hypothesis and the number; it never says that somebody is wrong.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .losses import PAIRS, Finding, Kind, identify, kind_of, objectives
from .rows import Report, Row

__all__ = ["Report", "Row", "audit", "audit_target", "versions"]


def audit(
    loss: Callable[..., Any],
    *,
    kind: Kind | None = None,
    documented: str | None = None,
    quote: str = "",
    off_policy: bool = False,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    reproduction: str | None = None,
) -> Row:
    """Which objective a loss descends: the expected gradient over five tokens, compared exactly.

    Arguments:
        loss: One of ``f(student_logits, teacher_logits)`` (the whole vocabulary, (1, 1, V) tensors),
            ``f(logp, teacher_logp[, behaviour_logp])`` (one sampled token, (1, 1) tensors) and
            ``f(student_logits, teacher_logits, tokens)`` (one sampled token, gathered by the loss).
            It returns a tensor, which is summed.
        kind: ``"logits"``, ``"logp"`` or ``"token"``, where the names of the parameters do not tell.
        documented: The objective that the loss is said to descend: ``"reverse_kl"``, ``"gjsd(0.3)"``, ...
        quote: The sentence that says so.
        off_policy: Sample the tokens from another policy than the student.
        name, options, reproduction: What the row says of the object; found where possible.

    Returns:
        The row, with ``matches``, ``error`` and ``agrees``.

    Raises:
        UnmetHypothesis: The signature cannot be told, or the gradient is not finite.
        ValueError: A scheduler or sampler was given; these cannot be audited yet.

    Example:
        >>> row = audit(lambda logp, teacher_logp: logp - teacher_logp, documented="reverse_kl")
        >>> row.verdict
        'descends nothing: the gradient is 0; documented: reverse KL(p||q)'
    """
    if hasattr(loss, "set_timesteps") or hasattr(loss, "step"):
        raise ValueError("audit: schedulers and samplers cannot be audited yet; losses can")
    if not callable(loss):
        raise TypeError(f"audit: expected a loss that can be called, got {type(loss).__name__}")
    kind = kind or kind_of(loss)
    finding = identify(loss, kind, off_policy=off_policy, also=(documented,) if documented else ())
    agrees, said = _against(finding, documented)
    where = name or f"{loss.__module__}.{getattr(loss, '__qualname__', type(loss).__name__)}"
    return Row(
        object=where,
        options=dict(options or {}),
        verdict=finding.text + said,
        reason=_reason(finding, kind, off_policy, quote, documented),
        reproduction=reproduction or _lines(where, kind, documented),
        matches=finding.matches,
        error=finding.error,
        value=finding.value,
        agrees=agrees,
    )


def audit_target(target: str, *, kind: Kind | None = None, documented: str | None = None) -> Report:
    """Audit an installed library, or the loss ``MODULE:OBJECT``.

    Raises:
        ValueError: The library is not installed, or cannot be audited yet.
        LookupError: There is no such target, module or object.

    Example:
        >>> audit_target("diffusers")
        Traceback (most recent call last):
            ...
        ValueError: audit: schedulers and samplers cannot be audited yet; trl and MODULE:OBJECT (a loss) can
    """
    if target == "trl":
        return _installed("trl").report()
    if target == "diffusers":
        raise ValueError(
            "audit: schedulers and samplers cannot be audited yet; trl and MODULE:OBJECT (a loss) can"
        )
    module, colon, path = target.partition(":")
    if not colon:
        raise LookupError(f"audit: there is no target {target!r}; there are trl and MODULE:OBJECT (a loss)")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # modules beside the user, as with python -m
    try:
        found: Any = importlib.import_module(module)
        for attribute in path.split("."):
            found = getattr(found, attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise LookupError(f"audit: {target}: {error}") from error
    row = audit(found, kind=kind, documented=documented, name=f"{module}.{path}")
    return Report(target=target, versions=versions(module.partition(".")[0], "torch"), rows=(row,))


def versions(*packages: str) -> dict[str, str]:
    """Versions of packages and of driftproof; what is no installed package is left out.

    Example:
        >>> sorted(versions("numpy"))
        ['driftproof', 'numpy']
    """
    found = {}
    for package in ("driftproof", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _installed(library: str) -> Any:
    try:
        importlib.import_module(library)
    except ModuleNotFoundError as error:
        raise ValueError(f"audit: {error.name} is not installed; pip install 'driftproof[hub]'") from error
    return importlib.import_module(f"{__name__}.{library}")


def _against(finding: Finding, documented: str | None) -> tuple[bool | None, str]:
    if documented is None:
        return None, ""
    if finding.rivals:
        return None, f"; documented: {_text(documented)}"
    if documented in finding.matches and abs(finding.scale - 1.0) < 1e-9:
        return True, ", as documented"
    return False, f"; documented: {_text(documented)}"


def _text(name: str) -> str:
    return next((each.text for each in objectives() if each.name == name), name)


def _reason(finding: Finding, kind: Kind, off_policy: bool, quote: str, documented: str | None) -> str:
    sampled = (
        "" if kind == "logits" else ", tokens from " + ("another policy" if off_policy else "the student")
    )
    said = f"; documentation: “{quote}”" if quote else ""
    if quote and documented:
        said += f", read here as {_text(documented)}"
    return (
        f"expected gradient on {len(PAIRS)} pairs (p student, q teacher or reference) over "
        f"{len(PAIRS[0].p)} tokens{sampled}; the loss returns {finding.dtype}; error {finding.error:.1e} "
        f"against {finding.nearest}, tolerance {finding.tolerance:.1e}; "
        f"value on the first pair {finding.value:.6g}{said}"
    )


def _lines(where: str, kind: Kind, documented: str | None) -> str:
    module, _, attribute = where.rpartition(".")
    return "\n".join(
        (
            "from driftproof.validation import audit",
            f"from {module} import {attribute}",
            f"row = audit({attribute}, kind={kind!r}, documented={documented!r})",
            "print(row.verdict, row.error)",
        )
    )
