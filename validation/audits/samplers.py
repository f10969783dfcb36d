"""Which model a sampler is judged with, and what confirms the verdict.

The ordinary denoiser of the stated prediction, or of the usual one, comes first.  Where that fails another exact
model may fit; then the verdict depends on it, and says what the denoiser leaves.  Good and bad verdicts are run again
at twice and four times the largest count, with a mixture as data, and at 999 and 1000 steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from driftproof._namespace import UnmetHypothesis

from .affine import DATA, Path, Sampler, beside, propagate
from .diagnosis import Diagnosis, Note, diagnose
from .findings import Finding
from .measure import SMALL, STEPS, Measurement, extended, measure, walked
from .mixtures import alarmed, monte_carlo_verdict
from .models import Model, models
from .severity import Severity
from .thresholds import HELD
from .words import finding, sentence

__all__ = ["STEPS", "audit_sampler"]

# A length that shrinks with the step is halved by twice as many steps; one that keeps more than this does not shrink.
_SHRINKS: Final = 0.75
# Other models are tried at the largest step count up to this one.
_TRIAL: Final = 20
# The note where a network fits whatever the scalings around it are.
_ANY_NETWORK: Final = (
    "the scheduler states no prediction type; its steps fit a network F used as c_skip x + c_out F, both read from "
    "the step, which is the flow down to the level that its noise leads up from; whether a trained network has that "
    "form cannot be seen from the scheduler"
)


def audit_sampler(
    sampler: Sampler,
    documented: Model | None,
    *,
    unit: float = 1.0,
    stated_order: int = 1,
    steps: Sequence[int] = STEPS,
    search: bool = True,
    confirm: bool = True,
    settled: bool = True,
    whole: bool = True,
    trial: bool = False,
) -> Finding:
    """Audit one sampler: by the affine probe, and by Monte Carlo where a step is not affine.

    Arguments:
        sampler: The sampler.
        documented: The model that it says it takes; None where it does not say.
        unit: The unit of the data, for models that are looked for.
        stated_order: The order that it states.
        steps: Step counts; those that the sampler refuses are left out.
        search: Look for another exact model where the documented one does not converge.
        confirm: Run what looks good, too, at more steps and with other data.
        settled: Run a Monte Carlo where a step is not affine.
        whole: Make every call of the runs at 999 and 1000 steps; without it, or without ``confirm``, those at the
            ends, and what is no number in the middle of such a run alone is not seen.
        trial: Only these step counts, and nothing that confirms.

    Raises:
        UnmetHypothesis: Grid, shape or draws cannot be audited.
        ValueError: No step count is accepted; what the sampler said.
    """
    found = _probed(sampler, documented, unit, stated_order, steps, search, confirm, whole, trial)
    if found.affine or not settled:
        return found
    return monte_carlo_verdict(sampler, found.model, unit=unit, search=search, why=_why(sampler, found))


def _why(sampler: Sampler, found: Finding) -> str:
    """Why superposition fails: two runs with the same noise are not the same, or no step is affine."""
    first, second = (propagate(sampler, min(found.steps), found.model) for _ in range(2))
    same = np.array_equal(first.mean, second.mean) and np.array_equal(first.std, second.std)
    return "not affine" if same else "random beyond the noise that is given"


def _probed(
    sampler: Sampler,
    documented: Model | None,
    unit: float,
    stated_order: int,
    steps: Sequence[int],
    search: bool,
    confirm: bool,
    whole: bool,
    trial: bool,
) -> Finding:
    """The finding of the affine probe."""
    ordinary = documented or _usual(sampler, steps)
    small = () if trial else SMALL
    first = diagnose(measure(sampler, ordinary, steps, small), stated_order)
    other, note = _another(sampler, first, documented, unit, stated_order, small) if search else (None, "")
    if other is None and documented is None and search and first.severity.at_least(Severity.MISMATCH):
        note = f"no prediction type is stated, and no exact model fits better than {ordinary}"
    found = other or first
    if not trial:
        found = _confirmed(sampler, found, stated_order, confirm, whole)
    if other is None:
        return _noted(finding(found, confirm), note)
    return _depends(found, first, documented, note, confirm)


def _confirmed(
    sampler: Sampler, found: Diagnosis, stated_order: int, confirm: bool, whole: bool
) -> Diagnosis:
    """The diagnosis with what confirms it, and with what explains a bad one."""
    if not found.affine:
        return found
    made = found.measurement
    if found.severity is not Severity.NAN:
        most = max(found.steps)
        bad = found.severity.at_least(Severity.FLOOR) or found.severity is Severity.SLOW
        if confirm or bad:  # a good verdict needs one longer run, a bad one another order
            made = extended(sampler, made, (2 * most, 4 * most) if bad else (4 * most,))
            if not bad and _levels_off(
                made
            ):  # two counts do not tell a floor from an error that changes its sign
                made = extended(sampler, made, (2 * most,))
    made = walked(sampler, made, whole and confirm)
    found = diagnose(made, stated_order)
    if found.severity in (Severity.DIVERGES, Severity.MISMATCH):
        found = _restated(sampler, found) or _own_level(sampler, found) or found
    elif confirm and not found.severity.at_least(Severity.FLOOR) and _of_a_level(made.model):
        said = alarmed(sampler, made.model)
        if said:
            note = Note("mixture", Severity.DIVERGES, {"text": said})
            found = replace(found, notes=(note, *found.notes))
    return found


def _levels_off(made: Measurement) -> bool:
    """Whether the error at the largest count is that at the one before."""
    before, last = (path.error for path in list(made.paths.values())[-2:])
    return last > made.rounding and last > before / 2.0


def _of_a_level(model: Model) -> bool:
    """Whether it is known for a mixture too: a function of the state and its level."""
    return model.prediction != "network" and model.function != "trajectory"


def _usual(sampler: Sampler, steps: Sequence[int]) -> Model:
    """The prediction that is usual for its process: the flow where alpha + sigma = 1, and else the noise."""
    try:
        path = measure(sampler, Model(), (min(steps),), labels=False).last
    except UnmetHypothesis:
        raise
    except (ValueError, AssertionError):  # a count that it does not take
        path = measure(sampler, Model(), (max(steps),), labels=False).last
    flow = len(path.alpha) > 1 and bool(np.all(np.abs(path.alpha + path.sigma - 1.0) < 1e-6))
    return Model("flow_prediction" if flow else "epsilon")


def _another(
    sampler: Sampler,
    first: Diagnosis,
    documented: Model | None,
    unit: float,
    stated_order: int,
    small: Sequence[int],
) -> tuple[Diagnosis | None, str]:
    """The diagnosis with another model, where the ordinary one fails and this one does not, and a note on it."""
    made, before = first.measurement, first.error
    before = before if math.isfinite(before) else math.inf
    if not first.affine or not first.severity.at_least(Severity.FLOOR):
        return None, ""
    stated = (
        f"stated is {documented}"
        if documented
        else f"no prediction type is stated; the usual is {made.model}"
    )
    note = f"{stated}, which leaves an error of {before:.2g}"
    length = _jump_length(sampler, made.model, first.steps) if made.last.draws and made.last.finite else 0.0
    if length > 0.0:
        leaping = replace(made.model, function="consistency" if math.isinf(length) else "trajectory")
        found = diagnose(measure(sampler, leaping, first.steps, small), stated_order)
        if found.error < HELD.better * before:
            return found, note + "; its steps lead far below the next noise level however many there are"
    if documented is not None and first.severity not in (Severity.NAN, Severity.DIVERGES):
        return None, ""
    most = _TRIAL if documented else 2 * _TRIAL  # with nothing stated the choice is final
    trial = max(count for count in first.steps if count <= max(most, first.steps[0]))
    room = math.ceil(made.drawn * trial)
    errors = {
        model: _error(path) for model, path in beside(sampler, trial, tuple(models(unit)), room).items()
    }
    best = min(errors, key=errors.__getitem__)
    if documented is None and best.function == "consistency" and errors[best] < math.inf:
        network = Model("network", function="trajectory")
        path = propagate(sampler, trial, network)
        if _error(path) < HELD.better * errors[best]:
            return diagnose(measure(sampler, network, first.steps, small), stated_order), _ANY_NETWORK
    if best == made.model or not errors[best] < min(HELD.believed, HELD.better * before):
        return None, ""
    found = diagnose(measure(sampler, best, first.steps, small), stated_order)
    if found.severity in (Severity.DIVERGES, Severity.NAN):
        return None, ""
    return found, f"{note}; of the exact models {best} fits best"


def _error(path: Path) -> float:
    fits = path.finite and path.defect <= HELD.affine
    return path.error if fits else math.inf


def _depends(
    found: Diagnosis, first: Diagnosis, documented: Model | None, note: str, confirm: bool
) -> Finding:
    """A finding that holds with another model only, as conditional; another name of the denoiser is no condition."""
    made = finding(found, confirm)
    named = documented is None and made.model.function == "denoiser"
    severity = (
        made.severity if named else min(made.severity, Severity.CONDITIONAL, key=lambda each: each.rank)
    )
    std = first.std_error[-1] / DATA.std
    lost = f" (the std is {abs(std):.0%} {'low' if std < 0.0 else 'high'})" if abs(std) > 0.01 else ""
    text = (
        f"with {first.measurement.model}, {'as stated' if documented else 'as is usual'}: {sentence(first)}{lost}; "
        f"it needs {made.model}, with which: {made.text}; reads the output as {made.model}"
    )
    return _noted(replace(made, severity=severity, text=text), note)


def _noted(found: Finding, note: str) -> Finding:
    return replace(found, reason=f"{note}; {found.reason}") if note else found


def _jump_length(sampler: Sampler, model: Model, counts: Sequence[int]) -> float:
    """How far below the noise level a step without its noise leads, in log(sigma / alpha); 0 where more steps shorten it.

    Where they do not the denoiser is not what makes it right: a jump of that length wants the flow's own.
    """
    lengths = []
    half = [count for count in counts if 2 * count <= counts[-1]]
    for count in (*half[-1:], counts[-1]):
        path = propagate(sampler, count, model, aims=True)
        middle = len(path.alpha) // 2
        (alpha, sigma), aim = (path.alpha[middle], path.sigma[middle]), path.aims[middle]
        if not (sigma > 0.0 and alpha > 0.0 and aim[0] > 0.0):
            return 0.0
        lengths.append(math.log(sigma / alpha * aim[0] / aim[1]) if aim[1] > 1e-5 else math.inf)
    stays = len(lengths) > 1 and (math.isinf(lengths[1]) or lengths[1] > _SHRINKS * lengths[0] > 0.0)
    return lengths[1] if stays else 0.0


def _restated(sampler: Sampler, found: Diagnosis) -> Diagnosis | None:
    """Say so where start and model at other levels, of its own table or its labels, leave little of the error.

    Its steps are then right for another process than the one that it states.
    """
    count = max(found.steps)
    left: dict[str, float] = {}
    for process, other in sampler.reinterpreted():
        try:
            left[process] = _error(propagate(other, count, found.measurement.model))
        except UnmetHypothesis:  # these levels rise, or are none of that process
            continue
    best = min(left, key=left.__getitem__, default="")
    if not best or not left[best] < HELD.better * found.error:
        return None
    return _mismatched(found, Note("reinterpreted", values={"process": best, "left": left[best]}))


def _own_level(sampler: Sampler, found: Diagnosis) -> Diagnosis | None:
    """Say so where the model, told the noise level that the state has, leaves little of the error."""
    left = _error(propagate(sampler, max(found.steps), found.measurement.model, own=True))
    if not left <= HELD.better * found.error:
        return None
    return _mismatched(found, Note("own level", values={"left": left}))


def _mismatched(found: Diagnosis, why: Note) -> Diagnosis:
    """The finding with a disagreement in the place of no convergence, where that explains it."""
    kinds = {"diverges": "mismatch", "other data": ""}
    notes = [
        replace(note, kind=kinds.get(note.kind, note.kind), severity=Severity.MISMATCH)
        if note.severity is Severity.DIVERGES
        else note
        for note in found.notes
    ]
    return replace(found, notes=(*(note for note in notes if note.kind), why), floor=None)
