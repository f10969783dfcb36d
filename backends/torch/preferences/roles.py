"""The roles of the rich-feedback pipeline, and what one of them may say: protocols, so that any object serves.

Images are float32 in [0, 1] with shape (C, H, W).  A role that cannot do its work raises: whatever it raises is recorded
beside the pair, which then has no label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

__all__ = ["Critic", "Editor", "Instructor", "Relabeler"]


class Critic(Protocol):
    """Says in words what is wrong with an image."""

    version: str  # recorded beside every pair, of each role

    def criticise(self, image: Tensor, prompt: str) -> str:
        """The critique."""
        ...


class Instructor(Protocol):
    """Turns a critique into instructions that an editor can follow."""

    version: str

    def instruct(self, critique: str, prompt: str) -> Sequence[str]:
        """The instructions; none where there is nothing to be done."""
        ...


class Editor(Protocol):
    """Follows instructions."""

    version: str

    def edit(self, image: Tensor, instructions: Sequence[str], prompt: str) -> Tensor:
        """The edited image, of the same shape."""
        ...


class Relabeler(Protocol):
    """Says which of two images is better."""

    version: str

    def prefer(self, prompt: str, first: Tensor, second: Tensor) -> float:
        """The probability that the first one wins, in [0, 1]."""
        ...
