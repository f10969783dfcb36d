"""Audits of other people's code, by exact numbers and without knowing what is inside.

A loss is compared with the gradients of named objectives over an enumerated vocabulary.  A sampler is run on
Gaussian data with the exact model, and its terminal law is read off.  A verdict names the version, the
hypothesis and the number; it never says that somebody is wrong.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ...theory.processes import AbstractGaussianProcess
from ..missing import lacking
from .interface import check
from .losses import PAIRS, Finding, Kind, identify, kind_of, objectives
from .rows import Report, Row
from .samplers import STEPS
from .schedulers import audit_scheduler, audit_step, is_scheduler, is_step

__all__ = ["Report", "Row", "audit", "audit_target", "versions"]


def audit(
    thing: Any,
    *,
    kind: Kind | None = None,
    documented: str | None = None,
    quote: str = "",
    off_policy: bool = False,
    steps: Sequence[int] = STEPS,
    prediction: str | None = None,
    step_options: Mapping[str, Any] | None = None,
    process: AbstractGaussianProcess | None = None,
    grid: Callable[[int], Sequence[float]] | None = None,
    fast: bool = False,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    reproduction: str | None = None,
) -> Row:
    """What a loss descends, or what a sampler converges to.

    Arguments:
        thing: A loss, a scheduler or a step function.

            A loss is one of ``f(student_logits, teacher_logits)`` (the whole vocabulary, (1, 1, V)
            tensors), ``f(logp, teacher_logp[, behaviour_logp])`` (one sampled token, (1, 1) tensors) and
            ``f(student_logits, teacher_logits, tokens)`` (one sampled token, gathered by the loss).  It
            returns a tensor, which is summed.

            A scheduler has ``set_timesteps(n)``, ``timesteps``, ``step(model_output, timestep, sample)``
            and its forward process, ``add_noise(original_samples, noise, timesteps)`` or
            ``scale_noise(sample, timestep, noise)``, over torch tensors.  It is copied before each run.

            A step function is ``step(model_output, t, s, sample, noise)``, from noise time t down to s,
            over NumPy arrays of shape (K,) and Python floats.
        kind: ``"logits"``, ``"logp"`` or ``"token"``, where the parameters of a loss do not tell.
        documented: The objective that the loss is said to descend: ``"reverse_kl"``, ``"gjsd(0.3)"``, ...
        quote: The sentence that says so.
        off_policy: Sample the tokens from another policy than the student.
        steps: The step counts of a sampler.
        prediction: What its model returns: ``"epsilon"``, ``"v_prediction"``, ``"sample"`` or
            ``"flow_prediction"``.  A scheduler is asked for its ``prediction_type``; where it states none the
            usual one of its process is tried.  Where it does not converge with that denoiser, another exact model
            that fits is looked for, and the verdict says that it depends on it.
        step_options: Further keyword arguments of a scheduler's ``step``.
        process: The forward process of a step function; :class:`~driftproof.theory.processes.VP` unless given.
        grid: Its noise times for n steps, n + 1 of them; equally spaced down to 0 unless given.
        fast: Leave out what confirms a verdict: longer runs, a mixture as data.
        name, options, reproduction: What the row says of the object; found where possible.

    Returns:
        The row: with ``matches``, ``error`` and ``agrees`` for a loss, with ``mean_error``, ``std_error``,
        ``order``, ``floor`` and ``severity`` for a sampler.  A sampler that returns NaN gets a verdict.

    Raises:
        UnmetHypothesis: The signature cannot be told, the gradient is not finite, the scheduler lacks
            something, its step changes the shape, its noise level rises along the grid.

    Example:
        >>> row = audit(lambda logp, teacher_logp: logp - teacher_logp, documented="reverse_kl")
        >>> row.verdict
        'descends nothing: the gradient is 0; documented: reverse KL(p||q)'
        >>> from driftproof.numerics.samplers import ddim_step
        >>> from driftproof.theory.processes import VP
        >>> row = audit(lambda model_output, t, s, sample, noise: ddim_step(VP(), sample, t, s, model_output))
        >>> row.severity, round(row.order)
        ('converges', 1)
    """
    named: dict[str, Any] = {"name": name, "options": options, "reproduction": reproduction, "steps": steps}
    sampler = is_scheduler(thing) or is_step(thing)
    if sampler and (documented or kind or quote or off_policy):
        raise ValueError(
            "audit: documented, kind, quote and off_policy are for losses, and this is a sampler"
        )
    if is_scheduler(thing):
        if inspect.isclass(thing):
            check(thing, step_options or ())  # before its own errors, which say less
            thing = thing()
        return audit_scheduler(thing, step_options=step_options, prediction=prediction, fast=fast, **named)
    if is_step(thing):
        return audit_step(thing, process=process, grid=grid, prediction=prediction, fast=fast, **named)
    if not callable(thing):
        raise TypeError(f"audit: expected a loss, a scheduler or a step function, got {type(thing).__name__}")
    kind = kind or kind_of(thing)
    finding = identify(thing, kind, off_policy=off_policy, also=(documented,) if documented else ())
    agrees, said = _against(finding, documented)
    where = name or f"{thing.__module__}.{getattr(thing, '__qualname__', type(thing).__name__)}"
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


def audit_target(
    target: str,
    *,
    kind: Kind | None = None,
    documented: str | None = None,
    only: Sequence[str] = (),
    fast: bool = False,
    tell: Callable[[Row], None] | None = None,
) -> Report:
    """Audit an installed library, or ``MODULE:OBJECT``: a loss, a scheduler, a class of these, or a step.

    The command line's, which has its process to itself: modules beside the user become importable, and while all
    options of a class are tried its warnings are silenced.  :func:`audit` changes nothing outside of itself.

    Arguments:
        target: ``"trl"``, ``"diffusers"`` or ``"MODULE:OBJECT"``.  For a class of schedulers all of its
            options are tried, as for those of diffusers.
        kind, documented: As in :func:`audit`, for a loss.
        only: Names of classes of a library.
        fast: As in :func:`audit`, for samplers.
        tell: Is told each row of a class as it comes.

    Raises:
        ValueError: The library is not installed.
        LookupError: There is no such target, module or object.

    Example:
        >>> report = audit_target("driftproof.theory.special:mills")
        Traceback (most recent call last):
            ...
        driftproof.UnmetHypothesis: audit: hypothesis the loss is f(student_logits, ...
    """
    if target == "trl":
        return _installed("trl").report()
    if target == "diffusers":
        _installed("diffusers")
        if documented or kind:
            raise ValueError("audit: --documented and --kind are for losses, and diffusers are samplers")
        return importlib.import_module(f"{__name__}.running").library(only, fast=fast)[0]
    module, colon, path = target.partition(":")
    if not colon:
        raise LookupError(f"audit: there is no target {target!r}; there are diffusers, trl and MODULE:OBJECT")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # modules beside the user, as with python -m
    try:
        found: Any = importlib.import_module(module)
        for attribute in path.split("."):
            found = getattr(found, attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise LookupError(f"audit: {target}: {error}") from error
    used = versions(module.partition(".")[0], "torch")
    if inspect.isclass(found) and is_scheduler(found):
        from .diffusers import quiet, rows

        if documented or kind:
            raise ValueError(f"audit: --documented and --kind are for losses, and {target} is a sampler")
        with quiet(module.partition(".")[0]):
            every = rows(found, f"{module}.{path}", fast=fast, tell=tell)
            return Report(target=target, versions=used, rows=every)
    row = audit(found, kind=kind, documented=documented, fast=fast, name=f"{module}.{path}")
    return Report(target=target, versions=used, rows=(row,))


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
        raise ValueError(f"audit: {lacking(error.name or library)}") from error
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
