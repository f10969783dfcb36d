r"""Handwritten digits: a small classifier, and two attributes that can be measured on any image of one stroke.

.. math::
    \text{thickness} = \frac{2 \sum p}{\sum |\nabla p|}, \qquad
    \text{slant} = \frac{-\sum p\,(x - \bar x)(y - \bar y)}{\sum p\,(y - \bar y)^2},

twice the area over the length of the outline, and the shear that sets the digit upright: positive to the right.
Images have shape (B, C, H, W) and values in [0, 1], ink bright; more channels than one are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

import torch
from torch import Tensor, nn

__all__ = [
    "CLASSES",
    "SLANTS",
    "SLANT_LIMITS",
    "THICKNESSES",
    "THICKNESS_LIMITS",
    "DigitClassifier",
    "caption",
    "level",
    "slant",
    "thickness",
]

CLASSES: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
THICKNESSES: Final = ("thin", "medium", "thick")
SLANTS: Final = ("slanted left", "upright", "slanted right")
# The terciles of the 4,500 images that the models are trained on, rounded.
THICKNESS_LIMITS: Final = (1.75, 2.15)
SLANT_LIMITS: Final = (0.02, 0.26)

SIDE: Final = 28
_TINY: Final = 1e-6  # of the outline of an empty image


@final
class DigitClassifier(nn.Module):
    """Three convolutions, 64 features, ten classes.

    Images of 32 x 32 lose the border that the other models add to MNIST's 28 x 28.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((1, 32), (32, 64), (64, 64)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 3 * 3, 64))
        self.head = nn.Linear(64, len(CLASSES))

    def features(self, images: Tensor) -> Tensor:
        """The 64 features that distances are measured in, with shape (B, 64), before their last nonlinearity."""
        border = (images.shape[-1] - SIDE) // 2
        grey = images.mean(dim=1, keepdim=True)
        inner = grey[..., border : border + SIDE, border : border + SIDE]
        features: Tensor = self.body(2.0 * inner - 1.0)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Logits, with shape (B, 10)."""
        logits: Tensor = self.head(torch.relu(self.features(images)))
        return logits


def thickness(images: Tensor) -> Tensor:
    """The mean width of the stroke in pixels, with shape (B,); 0 of an empty image.

    Example:
        >>> bar = torch.zeros(1, 1, 28, 28)
        >>> bar[..., 2:26, 12:15] = 1.0
        >>> round(float(thickness(bar)), 2)
        2.67
    """
    grey = images.mean(dim=1)
    across = torch.nn.functional.pad(grey, (0, 1)) - torch.nn.functional.pad(grey, (1, 0))
    down = torch.nn.functional.pad(grey, (0, 0, 0, 1)) - torch.nn.functional.pad(grey, (0, 0, 1, 0))
    outline = across.abs().sum(dim=(1, 2)) + down.abs().sum(dim=(1, 2))
    return 2.0 * grey.sum(dim=(1, 2)) / (outline + _TINY)


def slant(images: Tensor) -> Tensor:
    """The shear of the stroke, with shape (B,): 0 upright, positive to the right; 0 of an empty image.

    Example:
        >>> diagonal = torch.eye(28).flip(1)[None, None]
        >>> round(float(slant(diagonal)), 3)
        1.0
    """
    grey = images.mean(dim=1)
    rows = torch.arange(grey.shape[1], device=grey.device, dtype=grey.dtype)[None, :, None]
    columns = torch.arange(grey.shape[2], device=grey.device, dtype=grey.dtype)[None, None, :]
    mass = grey.sum(dim=(1, 2), keepdim=True) + _TINY
    y = rows - (grey * rows).sum(dim=(1, 2), keepdim=True) / mass
    x = columns - (grey * columns).sum(dim=(1, 2), keepdim=True) / mass
    return -(grey * x * y).sum(dim=(1, 2)) / ((grey * y * y).sum(dim=(1, 2)) + _TINY)


def level(values: Tensor, limits: Sequence[float]) -> Tensor:
    """0, 1 or 2: below the limits, between them, above."""
    return torch.bucketize(values, torch.tensor(limits, dtype=values.dtype, device=values.device))


def caption(digit: int, thick: int, slanted: int) -> str:
    """The caption of a digit for ``mnist-sd``.

    Example:
        >>> caption(7, 2, 0)
        'a thick seven, slanted left'
    """
    return f"a {THICKNESSES[thick]} {CLASSES[digit]}, {SLANTS[slanted]}"
