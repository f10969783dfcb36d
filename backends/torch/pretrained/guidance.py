r"""Classifier-free guidance of any network: both halves as one batch.

.. math:: o = o_\varnothing + w\,(o_c - o_\varnothing),

left out at w = 1, where the conditional model runs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis

__all__ = ["Condition", "Predict", "guided"]

# Named tensors with a row for each row of the state.
Condition: TypeAlias = Mapping[str, Tensor]
Predict: TypeAlias = Callable[[Tensor, Tensor, Condition], Tensor]


def guided(
    predict: Predict, x: Tensor, t: Tensor, condition: Condition, weight: float, negatives: Mapping[str, str]
) -> Tensor:
    """The guided output, in the precision of the state.

    Arguments:
        predict: The conditional model.
        x: The states, with shape (B, *).
        t: Its times, with shape (B,).
        condition: Named tensors with B rows.
        weight: The weight w.
        negatives: The conditions that the model takes, each with the name of its negative.

    Raises:
        UnmetHypothesis: A guidance other than 1 without the negative conditions.

    Example:
        >>> x, t = torch.zeros(1, 1), torch.zeros(1)
        >>> rows = {"prompt": torch.tensor([[3.0]]), "negative": torch.tensor([[1.0]])}
        >>> guided(lambda x, t, c: x + c["prompt"], x, t, rows, 2.0, {"prompt": "negative"}).tolist()
        [[5.0]]
    """
    given = {name: condition[name] for name in negatives}
    if weight == 1.0:
        return predict(x, t, given).to(x.dtype)
    missing = [none for none in negatives.values() if none not in condition]
    if missing:
        got = f"guidance = {weight!r} without {', '.join(missing)}"
        raise UnmetHypothesis("guidance", "negative conditions, for a guidance other than 1", got)
    both = {name: torch.cat([condition[none], given[name]]) for name, none in negatives.items()}
    without, conditional = predict(torch.cat([x, x]), torch.cat([t, t]), both).to(x.dtype).chunk(2)
    return without + weight * (conditional - without)
