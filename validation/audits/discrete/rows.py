"""Rows of samplers of tokens: one object, or every setting of a class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from driftproof.validation.audits.diffusers import Choice, choices, sorted_rows
from driftproof.validation.audits.interface import parameters
from driftproof.validation.audits.rows import Row
from driftproof.validation.audits.severity import Severity

from .branches import Unlisted
from .laws import Sampler, sampled_law
from .texts import INDEPENDENT, ONE, TEXTS
from .verdicts import EXACT, Verdict, judged

__all__ = ["STEPS", "audit_discrete", "discrete_rows"]

STEPS: Final = (1, 2, 4)
MASK: Final = 3  # beyond the vocabulary of every text


def audit_discrete(
    scheduler: Any,
    *,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    step_options: Mapping[str, Any] | None = None,
    steps: Sequence[int] = STEPS,
    reproduction: str | None = None,
) -> Row:
    """Audit an object whose ``step`` goes from tokens to tokens, by listing all that it can draw.

    Arguments:
        scheduler: With ``set_timesteps(n)``, ``timesteps`` and ``step(model_output, timestep, sample)``, which takes
            logits (1, L, V) and a canvas (1, L).
        name, options, reproduction: The row's words for it.
        step_options: Further keyword arguments of ``step``; with ``mask_token_id`` the canvas is masked at first.
        steps: Numbers of steps, in increasing order.

    Returns:
        The row; ``laws`` has total variations, ``floor`` the last of two independent tokens.
    """
    where = name or f"{type(scheduler).__module__}.{type(scheduler).__qualname__}"
    chosen = dict(step_options or {})
    said = {**(options or {}), **{f"step({key})": value for key, value in chosen.items()}}
    found, remark = _found(Sampler(scheduler, chosen), steps)
    return Row(
        object=where,
        options=said,
        verdict=found.text + remark,
        reason=_reason(found, steps),
        reproduction=reproduction or _lines(where, options or {}, chosen),
        steps=tuple(steps),
        severity=found.severity,
        floor=found.floor,
        laws={text: {"total_variation": each} for text, each in found.distances.items()},
        confirmed=True,
    )


def discrete_rows(
    cls: type[Any], name: str, steps: Sequence[int] = STEPS, *, tell: Callable[[Row], None] | None = None
) -> tuple[Row, ...]:
    """All settings of a class, worst first.

    Beside the defaults: one option changed at a time, real numbers to 1, and all real numbers at 1; each with a masked
    canvas, too, where ``step`` takes ``mask_token_id``.  What changes no law has no row.
    """
    found = []
    for each in _settings(cls, name, steps):
        found.append(each)
        if tell is not None:
            tell(each)
    return sorted_rows(found)


def _settings(cls: type[Any], name: str, steps: Sequence[int]) -> Iterator[Row]:
    masked = "mask_token_id" in parameters(cls.step)
    singles = [*choices(cls), *_ones(cls)]
    free = Choice()
    for single in _ones(cls):
        free = free | single
    for base in (Choice(), Choice(step={"mask_token_id": MASK})) if masked else (Choice(),):
        best = _row(cls, name, base | free, steps)
        first = _mended(_row(cls, name, base, steps), free, best)
        yield first
        if first.severity == Severity.UNSUPPORTED:
            continue
        seen = [first.laws]
        for choice in [*(base | single for single in singles), base | free]:
            found = best if choice == base | free else _row(cls, name, choice, steps)
            if found.laws in seen and found.laws:
                continue
            seen.append(found.laws)
            yield _mended(found, free, best)


def _ones(cls: type[Any]) -> Iterator[Choice]:
    """Every real option at 1: temperatures, thresholds and bounds."""
    for name, each in parameters(cls.__init__).items():
        if isinstance(each.default, float) and each.default != 1.0:
            yield Choice(init={name: 1.0})
    for name, each in parameters(cls.step).items():
        if isinstance(each.default, float) and each.default != 1.0:
            yield Choice(step={name: 1.0})


def _row(cls: type[Any], name: str, choice: Choice, steps: Sequence[int]) -> Row:
    try:
        return audit_discrete(
            cls(**choice.init), name=name, options=choice.init, step_options=choice.step, steps=steps
        )
    except Exception as error:  # noqa: BLE001  # whatever another library raises is why
        why = str(error) if isinstance(error, Unlisted) else f"{type(error).__name__}: {error}"
        why = " ".join(why.split())[:200]
        return Row(
            object=name,
            options=choice.options,
            verdict=f"not supported, because {why}",
            reason=why,
            reproduction=_lines(name, choice.init, choice.step),
            severity=Severity.UNSUPPORTED,
        )


def _mended(found: Row, free: Choice, best: Row) -> Row:
    """A row; where every real number at 1 mends it, that is said."""
    bad = found.severity in (Severity.DIVERGES, Severity.FLOOR, Severity.UNEVEN)
    if not bad or found is best or (best.floor is None or best.floor > EXACT):
        return found
    return replace(found, verdict=f"{found.verdict}; not so with {free}")


def _found(sampler: Sampler, steps: Sequence[int]) -> tuple[Verdict, str]:
    """The verdict; in the order of timesteps with which more is right."""
    pending = _noise_is_moved(sampler)
    given = _judged(replace(sampler, pending=pending), steps)
    _, times = sampler.started(INDEPENDENT, max(steps))
    if given.severity == Severity.CONVERGES or times == times[::-1]:
        return given, ""
    other = _judged(replace(sampler, pending=pending, reversed=True), steps)
    if (other.exact, other.severity.rank) <= (given.exact, given.severity.rank):
        return given, ""
    return other, f"; with its timesteps in the opposite order, for in the order that it sets, {given.text}"


def _judged(sampler: Sampler, steps: Sequence[int]) -> Verdict:
    laws = {text.name: [sampled_law(sampler, text, n) for n in steps] for text in TEXTS}
    return judged(laws, list(steps), sampler.mask is not None)


def _noise_is_moved(sampler: Sampler) -> bool:
    """Whether noise that is left open gives the same law as noise that is listed, for one token in two steps."""
    try:
        left = sampled_law(replace(sampler, pending=True), ONE, 2)
    except Unlisted:
        raise
    except Exception:  # noqa: BLE001  # it looked at it
        return False
    return bool(abs(left - sampled_law(sampler, ONE, 2)).max() <= 1e-12)


def _reason(found: Verdict, steps: Sequence[int]) -> str:
    parts = [f"{name}: {', '.join(f'{d:.3g}' for d in each)}" for name, each in found.distances.items()]
    counts = ", ".join(str(n) for n in steps)
    return f"Total variation from the law of the model at {counts} steps, by listing all draws: {'; '.join(parts)}."


def _lines(where: str, init: Mapping[str, Any], step: Mapping[str, Any]) -> str:
    module, _, attribute = where.rpartition(".")
    made = ", ".join(f"{key}={value!r}" for key, value in init.items())
    more = f", step_options={dict(step)!r}" if step else ""
    return "\n".join(
        (
            f"from {module} import {attribute}",
            "from driftproof.validation import audit",
            f"row = audit({attribute}({made}){more})",
            "print(row.verdict, row.steps, row.laws)",
        )
    )
