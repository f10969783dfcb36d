"""A diagnosis in words: one template for each kind of observation, and nothing decided here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .affine import DATA, LAWS, POINT
from .diagnosis import Diagnosis, Note
from .findings import Finding
from .measure import Measurement
from .orders import Order

__all__ = ["finding", "numbers", "sentence"]

_ERROR: Final = "error {error:.2g} at {steps} steps"
_WORDS: Final[Mapping[str, str]] = {
    "nan": "NaN after call {call} of {steps} steps",
    "nan in a long run": "NaN after call {call} of {steps} steps",
    "nan where alpha = 0": "NaN after call {call} of {steps} steps, where alpha = 0",
    "exact": "exact: {error:.0e} at every step count",
    "diverges": f"does not converge: {_ERROR}",
    "stays": f"stays away: {_ERROR}",
    "mismatch": f"state and model disagree: {_ERROR}",
    "mismatch, does not fall": f"state and model disagree: {_ERROR}, which does not fall",
    "floor": f"floor {{floor:.2g}}, {_ERROR}",
    "slow": f"order {{order:.1f}} where {{stated}} is stated: {_ERROR}",
    "converges": f"converges{{order}}: {_ERROR}",
    "gap": "after call {call} of {calls} a point mass is at alpha = {alpha:.4g}, sigma = {sigma:.4g}, and the model "
    "is called at {told_alpha:.4g}, {told_sigma:.4g}",
    "grids differ": "after call {call} of {calls} a point mass is at alpha = {alpha:.4g}, sigma = {sigma:.4g} (another "
    "time of the same forward process: the grids differ), and the model is called at {told_alpha:.4g}, "
    "{told_sigma:.4g}",
    "alone": "at {steps} steps {count} of the calls, the first after call {call}, lead a point mass elsewhere than to "
    "the next level, and the others do not",
    "ends": "ends at alpha = {alpha:.4g}, sigma = {sigma:.3g} instead of 1, 0",
    "labels": "labels are up to {off:.3g} training steps from their levels: at call {call} of {steps} steps a network "
    "is told t = {label:.6g}, and sigma / alpha, which is {ratio:.4g}, is {level:.0%} off that",
    "labels rounded": "labels are rounded: sigma / alpha is up to {level:.0%} off what a network is told",
    "uneven": "wrong at {steps} steps: error {error:.2g}, where {before} and {after} steps leave at most {beside:.2g}",
    "parted": "at {steps} steps a point mass is {gap:.2g} away from the levels of the calls, and at {fewer} it is not",
    "rounded": "timesteps at {counts} steps are rounded to integers, and the step is not: the mean is {mean:.1e} off "
    "at {steps} steps",
    "other data": "does not converge for data N({mean:g}, {variance:g}): error {error:.2g} at {steps} steps",
    "limit": "consistent in the limit only: the mean is {mean:.1e} off at {steps} steps",
    "idle": "the last call does nothing",
    "refused": "refuses {counts} steps",
    "reinterpreted": "its steps are those of {process}, another process than the stated one: {left:.2g} with start and "
    "model of that process",
    "own level": "{left:.2g} with the model at the noise level that the state has",
    "mixture": "with a mixture as data {text}",
}


def sentence(found: Diagnosis) -> str:
    """The verdict in one line: what it turns on first."""
    said: list[str] = []
    for note in found.notes:
        values: dict[str, Any] = {
            **note.values,
            "order": _order(found.order) if note.kind == "converges" else note.values.get("order"),
        }
        text = _WORDS[note.kind].format(**values)
        if said and note.kind == "converges":
            text = "else the error falls to {error:.2g} at {steps} steps".format(**values)
        said.append(text + _more(note))
    return "; ".join(said)


def finding(found: Diagnosis, confirmed: bool = False) -> Finding:
    """A diagnosis as a finding."""
    made = found.measurement
    worst = max(made.labels.values(), key=lambda each: abs(each.steps), default=None)
    return Finding(
        severity=found.severity,
        text=sentence(found),
        reason=numbers(made),
        steps=found.steps,
        mean_error=found.mean_error,
        std_error=found.std_error,
        model=made.model,
        affine=found.affine,
        draws=made.last.draws,
        order=found.order and found.order.value,
        order_interval=(found.order.low, found.order.high) if found.order else None,
        floor=found.floor,
        laws=_laws(made),
        refused=dict(made.refused),
        label_error=None if worst is None else abs(worst.steps),
        confirmed=confirmed,
    )


def numbers(made: Measurement) -> str:
    """The numbers behind a verdict."""
    last = made.last
    alpha, sigma = last.point[-1]
    who = "the scheduler says" if made.stepwise else "the levels of its times say"
    said = (
        f"data N({DATA.mean:g}, {DATA.variance:g}); exact model ({made.model}) where {who} that its state "
        f"is; start at the exact marginal alpha = {last.start[0]:.4g}, sigma = {last.start[1]:.4g}; {last.draws} normals "
        f"drawn in {len(last.alpha)} calls; superposition holds to {last.defect:.0e}; a point mass ends at "
        f"alpha = {alpha:.6g}, sigma = {sigma:.3g}"
    )
    if made.wide:
        said += "; in double precision the point mass is where the model is called"
    if made.labels:
        off = max(abs(each.steps) for each in made.labels.values())
        said += f"; labels are within {off:.2g} training steps of their levels, by the table of the training"
    elif made.stepwise:
        said += "; no table of the training is known, so that labels are not compared"
    for count, why in list(made.refused.items())[:2]:
        said += f"; {count} steps are refused: {why}"
    return said


def _order(order: Order | None) -> str:
    if order is None or order.value is None:
        return ""
    return f", order {order.value:.1f} ({order.low:.2f} to {order.high:.2f})"


def _more(note: Note) -> str:
    values = note.values
    if values.get("some"):
        return f" (NaN at {values['counts']} steps, and not at others)"
    if note.kind == "converges" and "jump" in values:
        return f"; the last step alone loses {values['jump']:.2g}"
    if note.kind.startswith("labels") and "believed" in values:
        return f"; believing its labels it leaves {values['believed']:.2g} at {values['at']} steps"
    return ""


def _laws(made: Measurement) -> dict[str, dict[str, tuple[float, ...]]]:
    found: dict[str, Any] = {}
    for i, law in enumerate(LAWS[1:], 1):
        name = f"the point {law.mean:g}" if i == POINT else f"N({law.mean:g}, {law.variance:g})"
        errors = [path.errors[i] for path in made.paths.values()]
        found[name] = {
            "mean_error": tuple(float(e[0]) for e in errors), "std_error": tuple(float(e[1]) for e in errors)
        }  # fmt: skip
    return found
