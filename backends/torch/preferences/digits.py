"""The four roles for handwritten digits, by rules: thickness and slant are measured, and edits are those of image processing.

Their errors are real ones: a stroke that is thickened closes its loops, a sheared digit loses what leaves the image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample, max_pool2d

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.identity import digest_of
from driftproof.backends.torch.pretrained.digits import (
    CLASSES,
    SLANT_LIMITS,
    DigitClassifier,
    level,
    slant,
    thickness,
)

__all__ = ["DigitCritic", "DigitEditor", "DigitInstructor", "RewardRelabeler"]

WANTED_SLANT: Final = {"slanted left": -0.1, "upright": 0.14, "slanted right": 0.4}
_THICKNESS: Final = re.compile(r"stroke is ([\d.]+) pixels thick, ([\d.]+) are wanted")
_SLANT: Final = re.compile(r"slant is (-?[\d.]+), (-?[\d.]+) is wanted")
_NUMBER: Final = re.compile(r"(thicken|thin|shear).*by (-?[\d.]+)")


@final
class DigitCritic:
    """Measures the stroke, and says what differs from what is wanted.

    Arguments:
        thickness: The width of the stroke that is wanted, in pixels, > 0.
        attributes: Those that it judges, of ``thickness``, ``slant`` and ``class``; the last two are those of the prompt.
        classifier: Sees the class; for ``class``.
        tolerance: Differences that it does not mention, in pixels; a tenth of it for slants.

    Example:
        >>> bar = torch.zeros(1, 28, 28)
        >>> bar[:, 2:26, 12:15] = 1.0
        >>> DigitCritic(4.0).criticise(bar, "a thin one, upright")
        'the stroke is 2.67 pixels thick, 4.00 are wanted'
    """

    def __init__(
        self,
        thickness: float,
        attributes: Sequence[str] = ("thickness",),
        classifier: DigitClassifier | None = None,
        tolerance: float = 0.1,
    ) -> None:
        known = {"thickness", "slant", "class"}
        if not attributes or not set(attributes) <= known or ("class" in attributes and classifier is None):
            got = f"attributes = {tuple(attributes)}, classifier: {classifier is not None}"
            raise UnmetHypothesis(
                "DigitCritic", f"attributes of {sorted(known)}, and a classifier for class", got
            )
        if not thickness > 0.0 or not tolerance >= 0.0:
            got = f"thickness = {thickness!r}, tolerance = {tolerance!r}"
            raise UnmetHypothesis("DigitCritic", "thickness > 0 and tolerance >= 0", got)
        self.thickness, self.attributes, self.tolerance = thickness, tuple(attributes), tolerance
        self.classifier = classifier
        self.version = (
            f"digit critic 2, {', '.join(self.attributes)}, {thickness!r} pixels, tolerance {tolerance!r}"
        )
        if "class" in attributes:
            self.version += f", classifier {_weights(classifier)}"

    def criticise(self, image: Tensor, prompt: str) -> str:
        """The sentences, or that nothing is wrong."""
        said, found = [], image[None]
        if "class" in self.attributes and self.classifier is not None:
            wanted = next((name for name in CLASSES if name in prompt.split()), None)
            # A caption ends its class with a comma.
            wanted = wanted or next((name for name in CLASSES if f" {name}," in prompt), None)
            with torch.no_grad():
                seen = CLASSES[int(self.classifier(found).argmax(dim=1))]
            if wanted is not None and seen != wanted:
                said.append(f"this is a {seen}, not a {wanted}")
        if "thickness" in self.attributes:
            width = float(thickness(found))
            if abs(width - self.thickness) > self.tolerance:
                said.append(f"the stroke is {width:.2f} pixels thick, {self.thickness:.2f} are wanted")
        if "slant" in self.attributes:
            wanted_slant = next((v for name, v in WANTED_SLANT.items() if name in prompt), None)
            lean = slant(found)
            if wanted_slant is not None and int(level(lean, SLANT_LIMITS)) != int(
                level(torch.tensor([wanted_slant]), SLANT_LIMITS)
            ):
                said.append(f"the slant is {float(lean):.2f}, {wanted_slant:.2f} is wanted")
        return "; ".join(said) or "nothing is wrong"


@final
class DigitInstructor:
    """Turns what :class:`DigitCritic` measured into what :class:`DigitEditor` can do; a wrong class it cannot.

    Example:
        >>> DigitInstructor().instruct("the stroke is 2.00 pixels thick, 3.00 are wanted; the slant is 0.40, 0.14 is wanted", "")
        ['thicken the stroke by 1.00 pixels', 'shear by -0.26']
    """

    version = "digit instructor 1"

    def instruct(self, critique: str, prompt: str) -> list[str]:
        """An instruction for each sentence that says how much."""
        found = []
        if match := _THICKNESS.search(critique):
            more = float(match[2]) - float(match[1])
            found.append(f"{'thicken' if more > 0 else 'thin'} the stroke by {abs(more):.2f} pixels")
        if match := _SLANT.search(critique):
            found.append(f"shear by {float(match[2]) - float(match[1]):.2f}")
        return found


@final
class DigitEditor:
    """Dilates or erodes the stroke, and shears the digit.

    Arguments:
        step: The share of what is asked for that is done, in (0, 1].
        noise: Standard deviation of errors put on the pixels of the stroke: an editor is not exact.
        seed: The seed of these errors, which are a function of the image.
    """

    def __init__(self, step: float = 1.0, noise: float = 0.0, seed: int = 0) -> None:
        if not 0.0 < step <= 1.0 or not noise >= 0.0:
            raise UnmetHypothesis(
                "DigitEditor", "step in (0, 1] and noise >= 0", f"step = {step!r}, noise = {noise!r}"
            )
        self.step, self.noise, self.seed = step, noise, seed
        self.version = f"digit editor 1, step {step:g}, noise {noise:g}, seed {seed}"

    def edit(self, image: Tensor, instructions: Sequence[str], prompt: str) -> Tensor:
        """The edited image.

        Raises:
            ValueError: An instruction that it does not understand.
        """
        found = image[None]
        for instruction in instructions:
            if (match := _NUMBER.fullmatch(instruction.removesuffix(" pixels"))) is None:
                raise ValueError(
                    f"expected to thicken, to thin or to shear by a number, got {instruction!r:.80}"
                )
            amount = self.step * float(match[2])
            found = _sheared(found, amount) if match[1] == "shear" else _widened(found, amount, match[1])
        if self.noise:
            generator = torch.Generator().manual_seed(self.seed + int(1e6 * float(image.double().sum())))
            error = torch.randn(found.shape, generator=generator).to(found)
            found = found + self.noise * error * (found > 0.1)
        return found[0].clamp(0.0, 1.0)


@final
class RewardRelabeler:
    r"""Bradley and Terry with a reward: :math:`\sigma(r(a) - r(b))`.

    Arguments:
        reward: A function of images (B, C, H, W) and prompts.
        version: The version that is recorded.
    """

    def __init__(self, reward: Callable[[Tensor, Sequence[str]], Tensor], version: str) -> None:
        self.reward, self.version = reward, f"reward {version}"

    def prefer(self, prompt: str, first: Tensor, second: Tensor) -> float:
        """The probability that the first one wins."""
        rewards = self.reward(torch.stack([first, second]), [prompt, prompt]).double()
        return float(torch.sigmoid(rewards[0] - rewards[1]))


def _weights(classifier: object) -> str:
    """The identity of a classifier."""
    weights = classifier.state_dict() if isinstance(classifier, nn.Module) else {}
    parts = [weight.cpu().contiguous().numpy().tobytes() for weight in weights.values()]
    return f"{type(classifier).__name__} {digest_of(parts)}"


def _widened(image: Tensor, pixels: float, how: str) -> Tensor:
    """The stroke wider or narrower by so many pixels: whole steps of a 3 x 3 maximum are two pixels each."""
    sign, left = (1.0, pixels) if how == "thicken" else (-1.0, pixels)
    while left > 1e-9:
        share = min(1.0, 0.5 * left)
        grown = sign * max_pool2d(sign * image, 3, stride=1, padding=1)
        image = (1.0 - share) * image + share * grown
        left -= 2.0
    return image


def _sheared(image: Tensor, amount: float) -> Tensor:
    """Rows moved to the side, about the centre of mass, so that the slant changes by so much."""
    grey = image.mean(dim=(0, 1))
    rows = torch.arange(grey.shape[0], dtype=grey.dtype, device=grey.device)
    middle = float((grey.sum(dim=1) * rows).sum() / (grey.sum() + 1e-6))
    centre = (2.0 * middle + 1.0) / grey.shape[0] - 1.0
    matrix = torch.tensor([[[1.0, amount, -amount * centre], [0.0, 1.0, 0.0]]], dtype=image.dtype)
    grid = affine_grid(matrix.to(image.device), list(image.shape), align_corners=False)
    return grid_sample(image, grid, align_corners=False)
