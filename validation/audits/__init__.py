"""Audits of other people's code, by exact numbers and without knowing what is inside.

A loss is compared with the gradients of named objectives, each a finite sum.  A sampler, a step or the whole of one, is
run on Gaussian data with the exact model, and its terminal law is read off.  A verdict names the version, the
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

from driftproof._namespace import UnmetHypothesis
from driftproof.theory.processes import AbstractGaussianProcess
from driftproof.validation.missing import lacking

from .forms import Form
from .interface import check
from .levels import Levels
from .libraries import LIBRARIES
from .loss_rows import audit_loss
from .pipelines import is_pipeline
from .rows import Report, Row
from .runs import Start, is_run
from .samplers import STEPS
from .schedulers import audit_scheduler, audit_step, is_scheduler, is_step
from .whole import audit_pipeline, audit_run

__all__ = ["Report", "Row", "audit", "audit_target", "versions"]


def audit(
    thing: Any,
    *,
    form: Form | None = None,
    documented: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    quote: str = "",
    off_policy: bool = False,
    steps: Sequence[int] = STEPS,
    prediction: str | None = None,
    step_options: Mapping[str, Any] | None = None,
    process: AbstractGaussianProcess | None = None,
    grid: Callable[[int], Sequence[float]] | None = None,
    levels: Levels | AbstractGaussianProcess | None = None,
    start: Start | None = None,
    order: int = 1,
    fast: bool = False,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    reproduction: str | None = None,
) -> Row:
    """The objective that a loss descends, or the law that a sampler converges to.

    Arguments:
        thing: A loss, a scheduler, a step function, a whole sampler or a pipeline.

            A loss, a function or an ``nn.Module``, returns a tensor, which is summed.  It is one of
            ``f(student_logits, teacher_logits)``, ``f(logp, teacher_logp[, behaviour_logp])``,
            ``f(student_logits, teacher_logits, tokens)``, ``f(policy_chosen_logps, policy_rejected_logps, ...)``,
            ``f(logp, old_logp, advantages, ...)`` and ``f(logits, labels, ...)``: see
            :mod:`~driftproof.validation.audits.forms`.

            A scheduler has ``set_timesteps(n)``, ``timesteps``, ``step(model_output, timestep, sample)``
            and its forward process, ``add_noise(original_samples, noise, timesteps)`` or
            ``scale_noise(sample, timestep, noise)``, over torch tensors.  It is copied before each run.  One whose
            ``step`` goes from tokens to tokens needs no forward process: see :func:`~.discrete.audit_discrete`.

            A step function is ``step(model_output, t, s, sample, noise)``, from noise time t down to s,
            over NumPy arrays of shape (K,) and Python floats.

            A whole sampler is ``run(model, x, n)``, over torch tensors of shape (1, 1, 1, K) in double precision: it
            calls ``model(x, t)`` as often and at such times as it likes, and returns the state after n steps.  It is
            recognised by ``levels``, which it needs.

            A pipeline is one of diffusers, which takes ``latents``; its network is replaced by the exact one.
        form: ``"logits"``, ``"logp"``, ``"sampled"``, ``"preference"``, ``"policy"`` or ``"tokens"``, where the
            parameters of a loss do not say.
        documented: The objective that the loss is said to descend: ``"reverse_kl"``, ``"gjsd(0.3)"``,
            ``"dpo(beta=0.1)"``, ``"dpo"`` (at any beta), ``"sft/mean"``, ...
        arguments: Further keyword arguments of a loss, or of the call of a pipeline.
        quote: The sentence that says so.
        off_policy: Sample the tokens from another policy than the student.
        steps: The step counts of a sampler.
        prediction: The output of its model: ``"epsilon"``, ``"v_prediction"``, ``"sample"`` or
            ``"flow_prediction"``.  A scheduler is asked for its ``prediction_type``; where it states none the
            usual one of its process is tried.  Where it does not converge with that denoiser, another exact model
            that fits is looked for, and the verdict says that it depends on it.
        step_options: Further keyword arguments of a scheduler's ``step``.
        process: The forward process of a step function; :class:`~driftproof.theory.processes.VP` unless given.
        grid: Its noise times for n steps, n + 1 of them; equally spaced down to 0 unless given.
        levels: For a whole sampler, (alpha, sigma) of the state with which the model is called at t: what the training
            says, as a function of a float or a Gaussian process.  :mod:`~driftproof.validation.audits.levels` has the
            usual ones.  A pipeline has those of its scheduler's training unless given.
        start: For a whole sampler, the level of x, where it changes x before the first call: (alpha, sigma), a function
            of n that returns them, or a time.
        order: For a whole sampler, the order that it states.
        fast: Leave out what confirms a verdict: longer runs, a mixture as data, the middle of runs at 999 and 1000
            steps.
        name, options, reproduction: The row's words for the object; found where possible.

    Returns:
        The row: with ``matches``, ``error`` and ``agrees`` for a loss, with ``mean_error``, ``std_error``,
        ``order``, ``floor`` and ``severity`` for a sampler.  A sampler that returns NaN gets a verdict.

    Raises:
        UnmetHypothesis: The signature is not recognised, the gradient is not finite, the scheduler lacks
            something, its step changes the shape, its noise level rises along the grid.

    Example:
        >>> row = audit(lambda logp, teacher_logp: logp - teacher_logp, documented="reverse_kl")
        >>> row.verdict
        'descends nothing: the gradient is 0; its value is reverse KL(p||q); documented: reverse KL(p||q)'
        >>> from driftproof.numerics.samplers import ddim_step
        >>> from driftproof.theory.processes import VP
        >>> row = audit(lambda model_output, t, s, sample, noise: ddim_step(VP(), sample, t, s, model_output))
        >>> str(row.severity), round(row.order)
        ('converges', 1)
        >>> def euler(model, x, n):
        ...     for i in range(n, 0, -1):
        ...         x = x - model(x, i / n) / n
        ...     return x
        >>> from driftproof.validation.audits.levels import rectified
        >>> row = audit(euler, levels=rectified, steps=(5, 10, 20), fast=True)
        >>> str(row.severity), row.options
        ('converges', {'prediction': 'flow_prediction'})
    """
    named: dict[str, Any] = {"name": name, "options": options, "reproduction": reproduction, "steps": steps}
    pipeline, run = is_pipeline(thing), levels is not None
    sampler = pipeline or run or is_scheduler(thing) or is_step(thing)
    if sampler and (documented or form or quote or off_policy):
        raise ValueError(
            "audit: documented, form, quote and off_policy are for losses, and this is a sampler"
        )
    if pipeline:
        return audit_pipeline(
            thing, levels=levels, arguments=arguments, prediction=prediction, fast=fast, **named
        )
    if levels is not None:
        if not is_run(thing):
            raise UnmetHypothesis("audit", "a whole sampler is run(model, x, n)", f"{thing!r}")
        return audit_run(thing, levels, start, prediction=prediction, order=order, fast=fast, **named)
    if is_scheduler(thing):
        from . import discrete  # which is over torch

        if discrete.is_discrete(thing):
            made = thing() if inspect.isclass(thing) else thing
            if steps is STEPS:
                named["steps"] = discrete.STEPS
            return discrete.audit_discrete(made, step_options=step_options, **named)
    if is_scheduler(thing):
        if inspect.isclass(thing):
            check(thing, step_options or ())  # before its own errors, which say less
            thing = thing()
        return audit_scheduler(thing, step_options=step_options, prediction=prediction, fast=fast, **named)
    if is_step(thing):
        return audit_step(thing, process=process, grid=grid, prediction=prediction, fast=fast, **named)
    if not callable(thing):
        raise TypeError(f"audit: expected a loss, a scheduler or a step function, got {type(thing).__name__}")
    return audit_loss(
        thing,
        form=form,
        documented=documented,
        quote=quote,
        off_policy=off_policy,
        arguments=arguments,
        name=name,
        options=options,
        reproduction=reproduction,
    )


def audit_target(
    target: str,
    *,
    form: Form | None = None,
    documented: str | None = None,
    only: Sequence[str] = (),
    fast: bool = False,
    tell: Callable[[Row], None] | None = None,
) -> Report:
    """Audit an installed library, or ``MODULE:OBJECT``: a loss, a scheduler, a class of these, or a step.

    The command line's, which has its process to itself: modules beside the user become importable, and while all
    options of a class are tried its warnings are silenced.  :func:`audit` changes nothing outside of itself.

    Arguments:
        target: ``"trl"``, ``"diffusers"``, one of ``libraries.LIBRARIES`` or ``"MODULE:OBJECT"``.  For a class of schedulers all of its
            options are tried, as for those of diffusers.
        form, documented: As in :func:`audit`, for a loss.
        only: Names of classes of a library.
        fast: As in :func:`audit`, for samplers.
        tell: Called with each row of a class as it comes.

    Raises:
        ValueError: The library is not installed.
        LookupError: There is no such target, module or object.

    Example:
        >>> report = audit_target("driftproof.theory.special:mills")
        Traceback (most recent call last):
            ...
        driftproof.UnmetHypothesis: audit: unmet hypothesis: the parameters of the loss tell its form ...
    """
    if target == "trl":
        return _installed("trl").report()
    if target in ("diffusers", *LIBRARIES):
        if target == "diffusers":
            _installed(target)
        if documented or form:
            raise ValueError(f"audit: --documented and --form are for losses, and {target} has samplers")
        return importlib.import_module(f"{__name__}.running").library(only, target=target, fast=fast)[0]
    module, colon, path = target.partition(":")
    if not colon:
        known = ", ".join(("diffusers", "trl", *LIBRARIES))
        raise LookupError(f"audit: there is no target {target!r}; there are {known} and MODULE:OBJECT")
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

        if documented or form:
            raise ValueError(f"audit: --documented and --form are for losses, and {target} is a sampler")
        with quiet(module.partition(".")[0]):
            every = rows(found, f"{module}.{path}", fast=fast, tell=tell)
            return Report(target=target, versions=used, rows=every)
    row = audit(found, form=form, documented=documented, fast=fast, name=f"{module}.{path}")
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
