r"""Two domains that packages ship: handwritten digits with a shift, and diabetes patients of the two sexes.

Digits (8x8, ``scikit-learn``): the target images are rotated, their grey levels changed,
:math:`x \mapsto b + cx`, or some classes are missing.  No image is in two parts.
Diabetes (``scikit-learn``, 442 patients): the source is one sex, the target the other; nine features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import rotate
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.schema import DISTINCT, validated

__all__ = ["Domains", "Shift", "Table", "diabetes", "digits", "few_shot_rows"]


@final
@validated(frozen=True, slots=True)
class Shift:
    """The change of the target images.

    Arguments:
        name: For tables and figures.
        angle: Rotation in degrees.
        contrast, brightness: Grey levels in [0, 1] become ``brightness + contrast * x``; contrast is not 0.
        classes: The digits that the target has; none named means all.
    """

    name: str
    angle: float = 0.0
    contrast: float = 1.0
    brightness: float = 0.0
    classes: Annotated[tuple[Annotated[int, Field(ge=0, le=9)], ...], DISTINCT] = ()

    def __post_init__(self) -> None:
        if self.contrast == 0.0:
            hypothesis = "contrast is not 0, as a constant image has no class"
            raise UnmetHypothesis("Shift", hypothesis, f"contrast = {self.contrast}")

    def __call__(self, images: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shifted images, shape (n, 8, 8)."""
        turned = rotate(images, self.angle, axes=(1, 2), reshape=False, order=1) if self.angle else images
        result: NDArray[np.float64] = self.brightness + self.contrast * turned
        return result


@final
@dataclass(frozen=True, eq=False)
class Domains:
    """Source rows for training; target rows to draw few shots from, and to test on."""

    source: tuple[Tensor, Tensor]
    pool: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def digits(shift: Shift, seed: int) -> Domains:
    """Digits, split anew by each seed: half source, 28 % pool, 22 % test."""
    from sklearn.datasets import load_digits

    rows, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(rows))
    images, labels = rows[order].reshape(-1, 8, 8) / 16.0, labels[order]
    parts = []
    for low, high, moved in ((0, 900, False), (900, 1400, True), (1400, len(rows), True)):
        part, classes = images[low:high], labels[low:high]
        if moved:
            part = shift(part)
            if shift.classes:
                kept = np.isin(classes, shift.classes)
                part, classes = part[kept], classes[kept]
        parts.append(
            (torch.tensor(part, dtype=torch.float32)[:, None], torch.tensor(classes, dtype=torch.long))
        )
    return Domains(*parts)


def few_shot_rows(labels: Tensor, shots: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``shots`` rows of every class that there is.

    Raises:
        UnmetHypothesis: A class has fewer rows, or ``shots`` is below 1.
    """
    if shots < 1:
        raise UnmetHypothesis("few_shot_rows", "shots >= 1", f"shots = {shots}")
    host, chosen = labels.cpu().numpy(), []
    for label in np.unique(host):
        rows = np.flatnonzero(host == label)
        if rows.size < shots:
            got = f"class {label} has {rows.size}"
            raise UnmetHypothesis("few_shot_rows", f"every class has {shots} rows in the pool", got)
        chosen.append(rng.choice(rows, shots, replace=False))
    return np.concatenate(chosen)


@final
@dataclass(frozen=True, eq=False)
class Table:
    """Rows of two domains: features and a response, standardised by the source."""

    source: tuple[NDArray[Any], NDArray[Any]]
    pool: tuple[NDArray[Any], NDArray[Any]]
    test: tuple[NDArray[Any], NDArray[Any]]


def diabetes(seed: int, test_rows: int = 90) -> Table:
    """Disease progression of diabetes patients: source those whose sex is coded 1, target those coded 2."""
    from sklearn.datasets import load_diabetes

    rows, response = load_diabetes(return_X_y=True, scaled=False)
    target_rows = rows[:, 1] == 2.0
    features = np.delete(rows, 1, axis=1)
    x, y = features[~target_rows], response[~target_rows]
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    level, scale = y.mean(), y.std()
    target, answer = (features[target_rows] - mean) / deviation, (response[target_rows] - level) / scale
    order = np.random.default_rng(seed).permutation(len(target))
    held, kept = order[:test_rows], order[test_rows:]
    source = ((x - mean) / deviation, (y - level) / scale)
    return Table(source, (target[kept], answer[kept]), (target[held], answer[held]))
