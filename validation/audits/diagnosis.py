"""From measurements to a diagnosis: what converges, how fast, and what contradicts it.  Data again; no words.

Every observation carries the severity that it means; the worst is the verdict's.  So nothing converges that
something else speaks against.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np

from .affine import DATA, LAWS, POINT, Path
from .causes import (
    above,
    alone,
    end_law,
    falling,
    floor_of,
    gap,
    jumps_to_data,
    largest_gaps,
    last_jump,
    other_grid,
    parted,
)
from .measure import Measurement
from .orders import Order, order_of, slopes_of, stopped
from .severity import Severity
from .thresholds import HELD

__all__ = ["Diagnosis", "Note", "diagnose"]


@final
@dataclass(frozen=True)
class Note:
    """One observation: its kind, which :mod:`~driftproof.validation.audits.words` puts into words, and its numbers."""

    kind: str
    severity: Severity = Severity.CONVERGES
    values: Mapping[str, float | int | str] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Diagnosis:
    """The findings, worst observation first; those on long runs only come last.

    Arguments:
        notes: The observations.
        steps: The step counts.
        mean_error, std_error: Errors of the terminal law at these, of the data ``DATA``.
        order: The order of convergence; None where nothing converges or no tail is monotone.
        floor: The error that remains in the limit; None where there is none.
        affine: Whether superposition holds; where not, nothing else is settled.
        measurement: The measurement that it rests on.
    """

    notes: tuple[Note, ...]
    steps: tuple[int, ...]
    mean_error: tuple[float, ...]
    std_error: tuple[float, ...]
    order: Order | None
    floor: float | None
    affine: bool
    measurement: Measurement

    @property
    def severity(self) -> Severity:
        """The worst of its notes."""
        return min((note.severity for note in self.notes), key=lambda each: each.rank)

    @property
    def error(self) -> float:
        """The error at the last step count."""
        return math.hypot(self.mean_error[-1], self.std_error[-1])


def diagnose(made: Measurement, stated_order: int = 1) -> Diagnosis:
    """The diagnosis of a measurement, for a sampler that states this order."""
    paths = made.paths
    order, floor, notes = None, None, _not_numbers(made)
    if all(path.finite for path in made.paths.values()):
        order, floor, trend = _trend(made, stated_order)
        notes += [trend, *_contradictions(made, trend)]
    # What holds at usual step counts comes first.
    notes.sort(key=lambda note: (note.severity is Severity.LONG, note.severity.rank))
    errors = [path.errors[0] for path in paths.values()]
    return Diagnosis(
        tuple(notes), tuple(paths), tuple(float(e[0]) for e in errors), tuple(float(e[1]) for e in errors),
        order, floor, made.affine, made,
    )  # fmt: skip


def _not_numbers(made: Measurement) -> list[Note]:
    runs = {**made.paths, **made.small}
    broken = [(n, path) for n, path in runs.items() if not path.finite]
    found = []
    if broken:
        count, path = broken[0]
        call = int(np.argmin(np.all(np.isfinite(path.mean) & np.isfinite(path.std), axis=1)))
        blind = bool(call) and path.alpha[call - 1] == 0.0
        where = sorted({n for n, _ in broken})
        values: dict[str, float | int | str] = {
            "call": call,
            "steps": count,
            "counts": _listed(where),
            "some": len(where) < len(runs),
        }
        found.append(Note("nan where alpha = 0" if blind else "nan", Severity.NAN, values))
    for count, after in made.long.items():
        if after is not None:
            found.append(Note("nan in a long run", Severity.LONG, {"call": after, "steps": count}))
    return found


def _trend(made: Measurement, stated_order: int) -> tuple[Order | None, float | None, Note]:
    """Whether the error falls, and what is left of it."""
    paths, last = made.paths, made.last
    counts = tuple(paths)
    errors = {n: path.error for n, path in paths.items()}
    floors = {n: floor_of(path) for n, path in paths.items()}
    end = errors[counts[-1]]
    seen = max(made.rounding, 1e-9)
    steady = floors[counts[-1]] > seen and stopped(floors) and floors[counts[-1]] < HELD.believed
    level = floors[counts[-1]] if steady else None
    values: dict[str, float | int | str] = {"error": end, "steps": counts[-1]}
    if max(path.error for path in made.finite.values()) <= seen:
        return None, None, Note("exact", values={"error": max(errors.values())})
    jumps = jumps_to_data(paths)
    left = {n: above(path, steady, jumps) for n, path in paths.items()}
    order = order_of(left, 3.0 * seen)
    if jumps and (order is None or order.value is None):
        # What the last step loses is known to first order: errors below all of it may show none.
        order = order_of(left, max(3.0 * seen, last_jump(last)))
    slopes = slopes_of({n: float(np.linalg.norm(e)) for n, e in left.items()}, seen)
    lost = max(seen, HELD.jump * last_jump(last))
    level_off = len(errors) > 2 and stopped(errors)  # though it fell before
    falls = bool(slopes) and slopes[0] > HELD.falls and not level_off
    stays = steady and end < 1.5 * floors[counts[-1]]
    if not falls and end > lost and not stays:
        if other_grid(made.causes):
            return None, end, Note("mismatch, does not fall", Severity.MISMATCH, values)
        kind, severity = ("diverges", Severity.DIVERGES) if end > HELD.diverges else ("stays", Severity.FLOOR)
        return None, end, Note(kind, severity, values)
    parted = any(gap(path) for path in made.causes.values()) and _disagrees(made.causes)
    said = end < HELD.explains * (level or 0.0) or not parted
    if level is not None and said and (level > made.rounding and max(1e-5, made.rounding) < level):
        return order, level, Note("floor", Severity.FLOOR, {**values, "floor": level})
    if order is not None and _is_slow(order, left, stated_order, lost, end):
        found = Note("slow", Severity.SLOW, {**values, "order": order.high, "stated": stated_order})
        return order, level, found
    if end <= lost and order is not None and order.high < stated_order - HELD.lost:
        values |= {"jump": last_jump(last)}
    return order, level, Note("converges", values=values)


def _is_slow(
    order: Order, left: Mapping[int, np.ndarray], stated_order: int, lost: float, end: float
) -> bool:
    """Whether an order is lost: over enough counts that show it, settled, and not what the last step loses."""
    shown = [n for n, e in left.items() if np.linalg.norm(e) > lost]
    settled = order.value is not None and order.high < stated_order - HELD.lost
    return settled and len(shown) >= HELD.shown and end < HELD.believed


def _contradictions(made: Measurement, trend: Note) -> list[Note]:
    """The notes against a good verdict, or those that explain a bad one."""
    found = []
    causes = made.causes
    last = causes[max(causes)]
    seen = next((values for path in causes.values() if (values := gap(path))), {})
    if trend.kind in ("converges", "slow") and _disagrees(causes):
        values = {"error": made.last.error, "steps": max(made.paths)}
        found.append(Note("mismatch", Severity.MISMATCH, values))
    if seen:  # a discretisation leaves little of it at the largest count
        far = largest_gaps(causes).get(max(causes), 0.0) > HELD.far
        bad = Severity.MISMATCH if far else Severity.CONVERGES
        found.append(Note("grids differ" if other_grid(causes) else "gap", bad, seen))
    every = made.by_steps
    at = next(((n, calls) for n, path in every.items() if (calls := alone(path))), None)
    if at is not None:
        values = {"steps": at[0], "count": len(at[1]), "call": at[1][0]}
        found.append(Note("alone", Severity.MISMATCH, values))
    found += _parted(every)
    found += [
        *_limit(made, trend),  # before the end of a run, which falls as the rest of a discretisation does
        *_end(made, last),
        *_labels(made),
        *_uneven(made),
        *_other_laws(made, trend),
    ]
    if last.last_move <= 1e-12:
        found.append(Note("idle"))
    if made.rounded:
        count, worst = max(made.rounded.items(), key=lambda item: abs(float(item[1].errors[0, 0])))
        off, where = abs(float(worst.errors[0, 0])), _listed(sorted(made.rounded))
        found.append(Note("rounded", values={"counts": where, "steps": count, "mean": off}))
    if made.refused:
        count, why = next(iter(made.refused.items()))
        found.append(
            Note("refused", values={"counts": _listed(sorted(made.refused)), "count": count, "why": why})
        )
    return found


def _parted(every: Mapping[int, Path]) -> list[Note]:
    """A count at which the state leaves the levels of its calls, though with fewer steps it does not."""
    for n, size in parted(every).items():
        fewer = min(m for m in every if m > 1 and m not in largest_gaps(every))
        return [Note("parted", Severity.UNEVEN, {"steps": n, "gap": size, "fewer": fewer})]
    return []


def _end(made: Measurement, last: Path) -> list[Note]:
    """A run that ends before the data, and does so with more steps too."""
    alpha, sigma = (float(each) for each in last.point[-1])
    ends = {n: path.point[-1] for n, path in made.paths.items()}
    off = {n: float(max(abs(level[0] - 1.0), level[1])) for n, level in ends.items()}
    values = {"alpha": alpha, "sigma": sigma}
    if off[max(off)] <= HELD.ends:
        explained = floor_of(last) > max(made.rounding, 1e-5)
        return [Note("ends", values=values)] if explained else []
    kept = {n: size for n, size in off.items() if size > HELD.ends}
    if not (len(kept) > 1 and falling(kept)):
        return [Note("ends", Severity.FLOOR, values)]
    # Methods of high order are of a low one on a point mass, and data with a spread do not end at that level.
    reached = made.last.error > 0.5 * floor_of(last)
    return [Note("ends", Severity.LIMIT if reached else Severity.CONVERGES, values)]


def _labels(made: Measurement) -> list[Note]:
    """Labels that are not those of the levels."""
    if not made.labels:
        return []
    count, worst = max(made.labels.items(), key=lambda item: abs(item[1].steps))
    values: dict[str, float | int | str] = {
        "off": abs(worst.steps), "level": abs(worst.level), "steps": count, "call": worst.call + 1,
        "label": worst.label, "ratio": worst.ratio,
    }  # fmt: skip
    before = after = 0.0
    if made.believed is not None:
        at, path = made.believed
        before, after = made.paths[at].error, path.error
        values |= {"believed": after, "at": at}
    adds = made.believed is not None and (
        not math.isfinite(after) or (after > HELD.label_times * before and after - before > HELD.label_error)
    )
    wrong = abs(worst.steps) > HELD.label and abs(worst.level) > HELD.label_level
    if wrong or adds:
        return [Note("labels", Severity.MISLABELLED, values)]
    largest = max(each.largest for each in made.labels.values())
    return [Note("labels rounded", values={**values, "level": largest})] if largest > HELD.label_level else []


def _uneven(made: Measurement) -> list[Note]:
    """A count at which a run is wrong, between two at which it is not.

    An error that passes through zero is small beside one that is not: so it must be away from both neighbours by more
    than the error changes there, from each to the next but one on its other side (every other count may be wrong).
    """
    found = [(n, path.errors[0]) for n, path in made.finite.items()]
    for i in range(1, len(found) - 1):
        (m, before), (n, error), (k, after) = found[i - 1 : i + 2]
        beside = max(float(np.linalg.norm(e)) for e in (before, after))
        size = float(np.linalg.norm(error))
        if m < 3 or size <= HELD.spike * beside or size - beside <= HELD.spike_least:
            continue
        further = [
            (found[j][1], near) for j, near in ((i - 3, before), (i + 3, after)) if 0 <= j < len(found)
        ]
        moves = max(float(np.linalg.norm(e - near)) for e, near in ((before, after), *further))
        if size - beside > HELD.spike * moves:
            values = {"steps": n, "error": size, "before": m, "after": k, "beside": beside}
            return [Note("uneven", Severity.UNEVEN, values)]
    return []


def _other_laws(made: Measurement, trend: Note) -> list[Note]:
    """Data on which the error does not fall, though on the first law it does, and is small.

    What a steady end level explains is a floor of these data too, and is reported as one.
    """
    found: list[Note] = []
    if trend.severity.at_least(Severity.MISMATCH) or made.last.error > HELD.believed:
        return found
    for i, law in enumerate(LAWS):
        if i in (0, POINT):
            continue
        errors = {}
        for n, path in made.paths.items():
            mean, std = end_law(path, law) if trend.kind == "floor" else (law.mean, law.std)
            errors[n] = math.hypot(path.mean[-1, i] - mean, path.std[-1, i] - std) / law.std
        end, least = errors[max(errors)], 2.0 * HELD.jump * last_jump(made.last, law) / law.std
        slopes = slopes_of(errors, made.rounding)
        falls = bool(slopes) and slopes[0] > HELD.falls
        if end > max(HELD.diverges, least) and len(errors) > 1 and not falls:
            values = {
                "mean": law.mean,
                "variance": law.variance,
                "error": end * law.std,
                "steps": max(errors),
            }
            found.append(Note("other data", Severity.DIVERGES, values))
    return found


def _limit(made: Measurement, trend: Note) -> list[Note]:
    """A mean that is right in the limit only."""
    errors = {n: abs(float(path.errors[POINT, 0])) for n, path in made.finite.items() if n >= HELD.limit_from}
    if not errors or trend.severity.at_least(Severity.LIMIT):
        return []
    count = max(errors, key=errors.__getitem__)
    if errors[count] <= HELD.limit * max(1.0, abs(DATA.mean)) or errors[count] <= 10.0 * made.rounding:
        return []
    return [Note("limit", Severity.LIMIT, {"mean": errors[count], "steps": count})]


def _disagrees(paths: Mapping[int, Path]) -> bool:
    """Whether a point mass is somewhere else than the label says, and stays so with more steps.

    A call that does nothing is only a waste.
    """
    if other_grid(paths):
        return True
    gaps = largest_gaps(paths)
    ends = {count: found for count, path in paths.items() if (found := floor_of(path)) > 1e-5}
    last = max(paths)
    return any(last in sizes and not falling(sizes) for sizes in (gaps, ends))


def _listed(counts: list[int]) -> str:
    shown = ", ".join(map(str, counts[:4]))
    return shown + (f" and {len(counts) - 4} more" if len(counts) > 4 else "")
