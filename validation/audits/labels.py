r"""Timestep labels: the noise level that a network believes, against the one that a step uses.

A network is trained on a table: label t stands for :math:`\sigma_t/\alpha_t = \sqrt{(1-\bar\alpha_t)/\bar\alpha_t}`
with the table ``alphas_cumprod``, or, for a flow, for :math:`\sigma = t / T` with T training steps.  The table is what
the network knows, whatever the scheduler's own ``add_noise`` says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Clock", "Mislabelling", "clock", "mislabelling"]

Vector: TypeAlias = NDArray[np.float64]

_FLOW, _EDM = 1e-6, 1e-3  # roundings of alpha + sigma = 1 in single precision, and of log(sigma) / 4


@final
@dataclass(frozen=True, eq=False)
class Clock:
    """The noise-to-signal ratio of each label.

    Arguments:
        ratios: sigma / alpha at the labels 0, 1, ..., rising, shape (T,); None for a flow.
        trained: T, the number of training steps.

    Example:
        >>> Clock(None, 1000).seen(250.0, 0.75, 0.25)
        ((0.75, 0.25), 1.0)
    """

    ratios: Vector | None
    trained: int

    def seen(self, label: float, alpha: float, sigma: float) -> tuple[tuple[float, float], float]:
        """(alpha, sigma) that the network believes, and the factor on the state that it is shown at a level."""
        if self.ratios is None:
            believed = min(max(label / self.trained, 0.0), 1.0)
            return (1.0 - believed, believed), 1.0
        ratio = float(np.exp(np.interp(label, np.arange(len(self.ratios)), np.log(self.ratios))))
        length = math.hypot(1.0, ratio)
        return (1.0 / length, ratio / length), 1.0 / math.hypot(alpha, sigma)

    def off(self, labels: Vector, ratios: Vector) -> Vector:
        """How many training steps the labels are from these ratios, between two interpolations of the table."""
        if self.ratios is None:
            return np.asarray(labels - self.trained * ratios / (1.0 + ratios))
        table, places = self.ratios, np.arange(len(self.ratios))
        below = (ratios - table[0]) / (table[1] - table[0])  # past its ends the table goes on
        logs = np.log(np.maximum(ratios, 1e-30))
        above = len(table) - 1 + (logs - math.log(table[-1])) / math.log(table[-1] / table[-2])
        found = []
        for there, here in ((table, ratios), (np.log(table), logs)):
            inside = np.interp(here, there, places)
            found.append(np.where(ratios < table[0], below, np.where(ratios > table[-1], above, inside)))
        low, high = np.minimum(*found), np.maximum(*found)
        return np.asarray(labels - np.clip(labels, low, high))


@final
@dataclass(frozen=True)
class Mislabelling:
    """The call whose label is furthest from its level.

    Arguments:
        steps: How far, in training steps; negative where the label says less noise.
        level: The same of sigma / alpha, relatively.
        call, label, ratio: The call, its label, and the level that its step uses.
        largest: The largest such ``level`` of any call: near the data a part of a training step is a large one.
    """

    steps: float
    level: float
    call: int
    label: float
    ratio: float
    largest: float = 0.0


def clock(scheduler: Any, trained: Any, alpha: Vector, sigma: Vector, labels: Vector) -> Clock | None:
    """The clock of a scheduler's training; None where it has none, or says ``log(sigma) / 4`` as EDM does.

    Arguments:
        scheduler: The object.
        trained: Its ``num_train_timesteps``, if any.
        alpha, sigma: The levels of a run.
        labels: Its labels.
    """
    if not isinstance(trained, int) or trained < 2 or not np.all(np.isfinite(labels)):
        return None
    with np.errstate(all="ignore"):
        if np.all(np.abs(0.25 * np.log(sigma / alpha) - labels) < _EDM):
            return None
    table = getattr(scheduler, "alphas_cumprod", None)
    inner = alpha * sigma > 1e-3
    flow = bool(np.all(np.abs(alpha + sigma - 1.0) < _FLOW)) and (bool(np.any(inner)) or table is None)
    if flow:
        return Clock(None, trained)
    if table is None or len(table) != trained:
        return None
    kept = np.clip(np.asarray(table, dtype=np.float64), 1e-12, 1.0 - 1e-12)
    ratios = np.sqrt((1.0 - kept) / kept)
    return Clock(ratios, trained) if np.all(np.diff(ratios) > 0.0) else None


def mislabelling(found: Clock, labels: Vector, alpha: Vector, sigma: Vector) -> Mislabelling:
    """The worst label of a run."""
    with np.errstate(all="ignore"):
        ratios = np.where(alpha > 0.0, sigma / np.where(alpha > 0.0, alpha, 1.0), np.inf)
        off = found.off(labels, np.minimum(ratios, 1e12))
        off = np.where(np.isfinite(off) & (ratios < 1e6), off, 0.0)  # pure noise needs no label
        i = int(np.argmax(np.abs(off)))
        seen = [found.seen(*map(float, each))[0] for each in zip(labels, alpha, sigma, strict=True)]
        told, noise = np.array(seen).T
        known = (told > 0.0) & (ratios > 0.0) & (ratios < 1e6)
        relative = np.where(known, noise / (told * ratios) - 1.0, 0.0)
    largest = float(np.max(np.abs(relative)))
    return Mislabelling(float(off[i]), float(relative[i]), i, float(labels[i]), float(ratios[i]), largest)
