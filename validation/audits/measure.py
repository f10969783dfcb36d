"""What is measured of one sampler with one model: numbers, and no opinion.

Each run starts at the exact marginal of its first level, so that nothing is blamed on the prior.  Step counts that a
sampler refuses are kept with what it said; small counts are run as well, and 999 and 1000 are walked without a law,
since what is not a number at one count only is seen at that count only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final, final

import numpy as np

from driftproof._namespace import UnmetHypothesis

from .affine import EndOfGrid, Path, Sampler, propagate
from .causes import alone, gap, largest_gaps, parted, rounded_times
from .labels import Mislabelling, mislabelling
from .models import Model
from .thresholds import HELD

__all__ = ["LONG", "SMALL", "STEPS", "Measurement", "extended", "measure", "walked"]

STEPS: Final = (5, 10, 20, 40, 80)
SMALL: Final = tuple(range(1, 17))
LONG: Final = (999, 1000)

# Where a call draws more normals than this, a path of the noise is being refined: few steps suffice.
_TREE, _TREE_STEPS = 8, 20
# Normals for which there is room, as a part of those that a run of fewer steps lets expect.
_SPARE: Final = 1.3
# Calls at either end of a long run, where all of them take too long.
_WINDOW: Final = 8
# A label this far from its level is worth a run with what the network believes, in training steps.
_ROUNDING: Final = 1e-3


@final
@dataclass(frozen=True)
class Measurement:
    """The runs of one sampler.

    Arguments:
        model: The exact model that was called.
        rounding: Errors below this are of single or double precision.
        stepwise: Whether each call is a step, at a level that the sampler itself states.
        paths: The runs at the counts asked for, and at longer ones.
        small: The runs at small counts.
        refused: Messages of the sampler at counts that it does not take.
        long: The call after which a long run is no number; None where there is none.
        rounded: Runs at counts that nobody asked for, where timesteps rounded to integers part state and level.
        wide: The runs with tables in double precision, where these alone part the state from the model's level.
        labels: The worst label of the run at each count; empty where no table of the training is known.
        believed: The last run asked for, with a model that believes the labels.
    """

    model: Model
    rounding: float
    stepwise: bool
    paths: Mapping[int, Path]
    small: Mapping[int, Path] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    long: Mapping[int, int | None] = field(default_factory=dict)
    rounded: Mapping[int, Path] = field(default_factory=dict)
    wide: Mapping[int, Path] = field(default_factory=dict)
    labels: Mapping[int, Mislabelling] = field(default_factory=dict)
    believed: tuple[int, Path] | None = None

    @property
    def last(self) -> Path:
        """The run at the largest count."""
        return self.paths[max(self.paths)]

    @property
    def affine(self) -> bool:
        """Whether superposition holds; what is not a number does not tell."""
        return not self.last.finite or all(path.defect <= HELD.affine for path in self.paths.values())

    @property
    def everything(self) -> dict[int, Path]:
        """All runs that have a law, by their counts."""
        return dict(sorted({**self.small, **self.paths}.items()))

    @property
    def finite(self) -> dict[int, Path]:
        """Those of them that are numbers."""
        return {n: path for n, path in self.everything.items() if path.finite}

    @property
    def by_steps(self) -> dict[int, Path]:
        """Those whose calls are steps; a call of several in a step leads from no level to the next by itself."""
        every = self.finite | dict(self.wide)
        return {n: path for n, path in every.items() if self.stepwise or 0 <= len(path.alpha) - n <= 1}

    @property
    def causes(self) -> dict[int, Path]:
        """The runs asked for, in double precision where that alone explains a gap."""
        return {n: self.wide.get(n, path) for n, path in self.paths.items()}

    @property
    def drawn(self) -> float:
        """How many normals a step draws."""
        return self.last.draws / max(self.paths)

    @property
    def tree(self) -> bool:
        """Whether a path of the noise is refined."""
        return self.drawn > _TREE


def measure(
    sampler: Sampler, model: Model, steps: Sequence[int], small: Sequence[int] = (), labels: bool = True
) -> Measurement:
    """Run the probe at all of these counts.

    Raises:
        UnmetHypothesis: Grid, shape or draws cannot be audited.
        ValueError: No step count is accepted; what the sampler said.
    """
    paths, refused = _runs(sampler, model, sorted(steps))
    if not paths:
        raise next(iter(refused.values()), None) or UnmetHypothesis("audit", "a step count", "none")
    reasons = {n: _said(why) for n, why in refused.items()}
    made = Measurement(model, sampler.rounding, sampler.stepwise, paths, refused=reasons)
    if made.tree:
        small = [count for count in small if count <= min(paths)]
    if small and made.affine:
        probes, refused = _runs(
            sampler, model, [n for n in small if n not in paths], every=True, drawn=made.drawn
        )
        reasons = {**made.refused, **{n: _said(why) for n, why in refused.items()}}
        at = {n for n in largest_gaps(probes) if rounded_times(probes[n], n)}
        kept = {n: path for n, path in probes.items() if n not in at}
        made = replace(made, small=kept, rounded={n: probes[n] for n in sorted(at)}, refused=reasons)
    if not made.affine:  # no law is read off these runs
        return made
    made = replace(made, wide=_widened(sampler, model, paths))
    made = replace(made, wide={**made.wide, **_widened_parts(sampler, made)})
    return _labelled(sampler, made) if labels else made


def extended(sampler: Sampler, made: Measurement, counts: Iterable[int]) -> Measurement:
    """The same with longer runs."""
    wanted = [n for n in counts if n not in made.paths]
    if made.tree:
        return made
    paths, refused = _runs(sampler, made.model, sorted(wanted), drawn=made.drawn)
    rounded = dict(made.rounded)
    for n in list(paths):
        clock = paths[n].clock
        if gap(paths[n]) and clock is not None and rounded_times(paths[n], n):
            rounded[n] = paths.pop(n)
            divisor = max(d for d in range(1, n) if clock.trained % d == 0)
            if divisor > max(made.paths):
                more, why_not = _runs(sampler, made.model, [divisor], drawn=made.drawn)
                paths, refused = paths | more, refused | why_not
    made = replace(made, rounded=rounded)
    if not paths:
        return made
    every = dict(sorted({**made.paths, **paths}.items()))
    reasons = {**made.refused, **{n: _said(why) for n, why in refused.items()}}
    wide = {**made.wide, **_widened(sampler, made.model, every)}
    longer = replace(made, paths=every, refused=reasons, wide=wide)
    return _labelled(sampler, longer, believed=made.believed)


def walked(sampler: Sampler, made: Measurement, whole: bool) -> Measurement:
    """The same with long runs, of which only some calls at both ends are made where not ``whole``.

    A run that cannot begin in the middle is made whole, or not at all.
    """
    if not sampler.stepwise and (made.tree or not whole):
        return made
    long: dict[int, int | None] = {}
    refused = dict(made.refused)
    for n in LONG:
        if n in refused:
            continue
        try:
            sampler.begin(n)
        except (ValueError, AssertionError) as error:
            if isinstance(error, UnmetHypothesis):
                raise
            refused[n] = _said(error)
            continue
        long[n] = _walk(sampler, n, whole and not made.tree)
    return replace(made, long=long, refused=refused)


def _walk(sampler: Sampler, steps: int, whole: bool) -> int | None:
    """The call after which a run without a law is no number; it says nothing of counts that are refused."""
    rng = np.random.default_rng(0)
    try:
        calls = sampler.begin(steps)
        parts = (
            [range(calls)]
            if whole or not sampler.stepwise
            else _windows([sampler.label(call) for call in range(calls)])
        )
        if (
            len(parts) > 1 and calls > steps + 1
        ):  # several calls a step: a run does not begin in the middle of one
            parts = parts[:1]
        for part in parts:
            if part.start:
                sampler.begin(steps, part.start)
            x = sampler.opened(rng.standard_normal(2), lambda key: rng.standard_normal(2))
            for call in part:
                with np.errstate(all="ignore"):
                    x = sampler.step(call, x / (1.0 + np.abs(x)), x, lambda key: rng.standard_normal(2))
                if not np.all(np.isfinite(x)):
                    return _walk(sampler, steps, True) if part.start else call + 1
                x = x / max(1.0, float(np.max(np.abs(x))))  # no law, and no overflow
    except EndOfGrid:
        return None
    except Exception:  # noqa: BLE001  # a count that it does not take
        return None
    return None


def _windows(labels: Sequence[float]) -> list[range]:
    """Some calls of a long run: at both ends, and where a label repeats, which a division by its step notices."""
    calls = len(labels)
    again = next((i for i, (t, s) in enumerate(pairwise(labels)) if t == s), 0)
    starts = sorted({0, max(again - 4, 0), max(calls - _WINDOW, 0)})
    return [range(start, min(start + _WINDOW, calls)) for start in starts]


def _runs(
    sampler: Sampler, model: Model, counts: Sequence[int], every: bool = False, drawn: float | None = None
) -> tuple[dict[int, Path], dict[int, Exception]]:
    """The runs at the counts that the sampler accepts, and what it raised at the others.

    A probe of ``every`` count keeps whatever is raised; else only a refusal is.  ``drawn`` normals a step are expected.
    """
    found: dict[int, Path] = {}
    refused: dict[int, Exception] = {}
    ratio = drawn
    for count in counts:
        try:
            expected = None if ratio is None else math.ceil(_SPARE * ratio * count)
            path = propagate(sampler, count, model, draws=expected)
        except Exception as error:
            refusal = isinstance(error, ValueError | AssertionError) and not isinstance(
                error, UnmetHypothesis
            )
            if not refusal and not every:
                raise
            refused[count] = error
            continue
        found[count] = path
        ratio = path.draws / count
        if not every and (not path.finite or (ratio > _TREE and count >= _TREE_STEPS)):
            break
    return found, refused


def _widened(sampler: Sampler, model: Model, paths: Mapping[int, Path]) -> dict[int, Path]:
    """The same runs with tables in double precision, where these do not part from the model's levels."""
    seen = next((count for count, path in paths.items() if path.finite and gap(path)), None)
    wide = sampler.in_double_precision()
    if seen is None or wide is None or gap(propagate(wide, seen, model, draws=paths[seen].draws)):
        return {}
    return {count: propagate(wide, count, model, draws=path.draws) for count, path in paths.items()}


def _widened_parts(sampler: Sampler, made: Measurement) -> dict[int, Path]:
    """Runs at small counts that state and level part at, in double precision, where this leaves no gap."""
    wide = sampler.in_double_precision()
    every = made.finite | dict(made.wide)
    apart = parted(every)
    at = [n for n in made.small if n in every and (n in apart or alone(every[n]))]
    if wide is None or not at:
        return {}
    return {n: path for n, path in _runs(wide, made.model, at, every=True)[0].items() if not gap(path)}


def _labelled(sampler: Sampler, made: Measurement, believed: tuple[int, Path] | None = None) -> Measurement:
    """The same with the labels of its runs, and a run that believes them."""
    found: dict[int, Mislabelling] = {}
    for count, path in made.everything.items():
        if path.clock is not None and path.finite:
            found[count] = mislabelling(path.clock, path.labels, path.alpha, path.sigma)
    count = max(made.paths)
    clock = made.last.clock
    if believed is None and clock is not None and count in found and abs(found[count].steps) > _ROUNDING:
        believed = count, propagate(sampler, count, made.model, draws=made.paths[count].draws, told=clock)
    return replace(made, labels=found, believed=believed)


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, ValueError | AssertionError) else f"{type(error).__name__}: {text}"
