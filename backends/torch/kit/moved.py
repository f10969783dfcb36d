"""How many weights a step moves: in bfloat16 a small step rounds to none.

A weight near 1 has neighbours 2^-8 apart in bfloat16.  An update of 1e-6 of it is lost, and the training looks as
if it ran: so every trainer logs the share of weights that a step moved, and warns below a half.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import final

import torch
from torch import Tensor

__all__ = ["Moved", "RoundingWarning"]

SAMPLE = 1 << 16  # weights that are looked at, evenly over all tensors
LEAST = 0.5


class RoundingWarning(UserWarning):
    """Most weights are the same after a step."""


@final
class Moved:
    """The share of weights with a gradient that steps have moved.

    Arguments:
        parameters: The parameters that the optimizer moves.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
        >>> weight.grad = torch.ones_like(weight)
        >>> moved = Moved([weight])
        >>> moved.before(1e-4)
        >>> torch.optim.SGD([weight], lr=1e-4).step()
        >>> moved.after()
        >>> moved.share()
        0.0
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        total = sum(p.numel() for p in self.parameters)
        self._stride = max(1, total // SAMPLE)
        self._kept: list[tuple[Tensor, Tensor, Tensor]] = []
        self._sums: Tensor | None = None
        self._warned = False

    def before(self, rate: float) -> None:
        """Called before a step with its learning rate; a warm-up begins with 0, which moves nothing by intent."""
        self._kept = [
            (p, self._sample(p.detach()).clone(), self._sample(p.grad) != 0)
            for p in self.parameters
            if p.grad is not None and rate != 0.0
        ]

    def after(self) -> None:
        """Called after the step; nothing is read from the device."""
        for p, old, wanted in self._kept:
            changed = (self._sample(p.detach()) != old) & wanted
            new = torch.stack([changed.sum(), wanted.sum()])
            self._sums = new if self._sums is None else self._sums + new.to(self._sums.device)
        self._kept = []

    def share(self) -> float | None:
        """The share since it was last read; None where no weight had a gradient.

        Warns:
            RoundingWarning: Once, below a half.
        """
        sums, self._sums = self._sums, None
        moved, wanted = (0, 0) if sums is None else sums.tolist()
        if not wanted:
            return None
        share = moved / wanted
        if share < LEAST and not self._warned:
            self._warned = True
            kinds = sorted({str(p.dtype).removeprefix("torch.") for p in self.parameters})
            warnings.warn(
                f"a step moves {share:.2%} of the weights: in {', '.join(kinds)} the rest of the updates round to "
                "nothing; train float32 weights (mixed precision computes in bfloat16 all the same), or raise the "
                "learning rate",
                RoundingWarning,
                stacklevel=2,
            )
        return share

    def _sample(self, tensor: Tensor) -> Tensor:
        local = tensor.to_local() if hasattr(tensor, "to_local") else tensor  # of a sharded weight, this part
        return local.reshape(-1)[:: self._stride]
