"""The numbers on which verdicts turn, in one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

__all__ = ["HELD", "Thresholds"]


@final
@dataclass(frozen=True)
class Thresholds:
    """Each field says what passes it."""

    # What is affine: failure of superposition, in units of the data.
    affine: float = 1e-3
    # What falls: the error, as a power of the number of steps; slower than this, it does not.
    falls: float = 0.25
    # What has stopped: a relative change over twice as many steps.
    stopped: float = 0.1
    # What diverges: an error that does not fall; a smaller one stays away.
    diverges: float = 1e-2
    # What is believed to be right: the error of a trial; and that of a better model, as a part of the other's.
    believed: float = 0.1
    better: float = 0.3
    # What is an order: the local slopes of a monotone tail agree within this, at this many counts.
    agree: float = 0.5
    tail: int = 3
    # What is an order lost: half of one, at this many counts that show it.
    lost: float = 0.5
    shown: int = 4
    # What the last step explains: an error of this many times its loss.
    jump: float = 2.0
    # What is a floor's news where state and model disagree: an error of this many floors is not.
    explains: float = 20.0
    # Where a run ends too early: the noise that is left on a point mass.
    ends: float = 5e-3
    # What is consistent in the limit only: the error of a mean, in units of the data, from this many steps on.
    limit: float = 2e-3
    limit_from: int = 8
    # What is wrong at one count: this many times the error of either neighbour, and this much more.
    spike: float = 2.0
    spike_least: float = 0.01
    # Where state and model part: a relative distance of the point mass to the level of the call.
    gap: float = 1e-4
    # What is no discretisation whether or not it falls: such a distance at the largest count.
    far: float = 0.1
    # What parts at few calls: a gap of this size, and any gap at this part of the calls only, from this many calls on.
    alone: float = 1e-2
    few: float = 0.25
    few_from: int = 8
    # How far sigma may be from the curve of a process, of the way that it is from the model's; and rounding.
    chance: float = 0.02
    rounded: float = 1e-7
    # What of a discrepancy falls as a discretisation does: faster than this power.
    discretises: float = 0.5
    # A wrong label: off by so many training steps, more than a rounding, and by so much of its level.
    label: float = 1.0
    label_level: float = 0.02
    # Whose belief matters: the error that it adds, with this many times the error without it.
    label_error: float = 0.01
    label_times: float = 2.0


HELD: Final = Thresholds()
