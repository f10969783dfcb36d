"""Images of digits judged: distances in the features of ``mnist-classifier``, and agreement with the request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from torch import Tensor

from driftproof.backends.torch.pretrained.digits import DigitClassifier
from driftproof.backends.torch.pretrained.models import digit_features, zoo
from driftproof.backends.torch.score_models.feature_distances import DISTANCES, distances

from .data import Digits, digits
from .scores import Score, share

__all__ = ["as_asked", "near_the_data"]

# What a model that is trained beats, and by how much.
NOISE: Final = "pixels drawn from a Gaussian with the mean and covariance of the training images"
CLOSER: Final = {"Fréchet distance": 10.0, "kernel distance": 8.0}


@torch.no_grad()
def near_the_data(images: Tensor, seen_as: Callable[[Tensor], Tensor] | None = None) -> list[Score]:
    """The distances of up to 500 images from those held out, whose features have a mean variance of 1.

    Arguments:
        images: In [0, 1], with shape (n, 1, 32, 32).
        seen_as: From images to the model's view of them, where that is not all; real images are judged by it, too.
    """
    classifier: DigitClassifier = zoo("mnist-classifier")
    if seen_as is None:
        held, real = (digit_features(part).double().numpy() for part in ("held_out", "train"))
    else:
        shown = (digits()[1].images, digits()[0].images[::9])
        held, real = (classifier.features(seen_as(part)).double().numpy() for part in shown)
    rng = np.random.default_rng(0)
    unit = np.sqrt(held.var(axis=0).mean())  # the scale of features is an accident of the training
    held, real = held / unit, real / unit
    found = distances(classifier.features(images).double().numpy() / unit, real, held, rng)
    noise = _gaussian_images(len(images))
    trivial = classifier.features(noise if seen_as is None else seen_as(noise)).double().numpy() / unit
    scores = []
    for name, standing in found.items():
        value, half = standing.distance.value, standing.distance.half_width
        baseline = DISTANCES[name](trivial, held)
        what = f"{name} of {len(images)} samples from 500 images held out"
        floor = standing.floor.value
        scores.append(Score(what, value, value - half, value + half, baseline, NOISE, CLOSER[name], floor))
    return scores


@torch.no_grad()
def as_asked(images: Tensor, wanted: Digits, *, attributes: bool) -> list[Score]:
    """How many images are of the requested class, and have the requested attributes."""
    got = Digits.of(images, zoo("mnist-classifier")(images).argmax(dim=1))
    count = f"{len(images)} samples"
    scores = [_hits(f"of the class asked for, {count}", got.labels == wanted.labels, 0.1, 8.0)]
    if attributes:
        for name, hits in (
            ("thickness", got.thick == wanted.thick),
            ("slant", got.slanted == wanted.slanted),
        ):
            scores.append(_hits(f"of the {name} asked for, {count}", hits, 1.0 / 3.0, 2.25))
    return scores


def _hits(name: str, hits: Tensor, chance: float, factor: float) -> Score:
    return Score(name, *share(hits.double().numpy()), chance, "a guess", factor, higher=True)


def _gaussian_images(count: int) -> Tensor:
    """Images that know the first two moments of the pixels and nothing else."""
    seen = digits()[0].images.flatten(1).double().numpy()
    rng = np.random.default_rng(0)
    mean, centred = seen.mean(axis=0), seen - seen.mean(axis=0)
    # A random combination of centred images has exactly their covariance.
    draws = mean + rng.standard_normal((count, len(seen))) @ centred / np.sqrt(len(seen))
    return torch.tensor(draws.clip(0.0, 1.0), dtype=torch.float32).reshape(-1, 1, 32, 32)
