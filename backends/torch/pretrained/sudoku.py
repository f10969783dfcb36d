"""Sudoku of 4 x 4 cells: all 288 grids, which of them a model has seen, and what counts as solved.

A grid is a row of 16 tokens, the digits 1 to 4 as 0 to 3, row by row; token 4 is a cell that is empty, which
``masked-lm`` fills in.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations
from typing import Final

import torch
from torch import Tensor

__all__ = ["CELLS", "EMPTY", "UNITS", "grids", "puzzles", "solved"]

CELLS: Final = 16
EMPTY: Final = 4
UNSEEN: Final = 48  # grids that the model is not trained on

# Each row, column and box, as the places of its four cells.
UNITS: Final = (
    *(tuple(4 * i + j for j in range(4)) for i in range(4)),
    *(tuple(4 * i + j for i in range(4)) for j in range(4)),
    *(
        tuple(4 * (2 * a + i) + 2 * b + j for i in range(2) for j in range(2))
        for a in range(2)
        for b in range(2)
    ),
)


def solved(cells: Tensor) -> Tensor:
    """Whether every row, column and box holds each digit once, with shape (B,), of cells (B, 16).

    Example:
        >>> solved(torch.tensor([[0, 1, 2, 3, 2, 3, 0, 1, 1, 0, 3, 2, 3, 2, 1, 0], [0, 1, 2, 3] * 4])).tolist()
        [True, False]
    """
    units = cells[:, torch.tensor(UNITS, device=cells.device)]
    wanted = torch.arange(4, device=cells.device)
    return (units.sort(dim=-1).values == wanted).all(dim=(1, 2))


@cache
def grids() -> tuple[Tensor, Tensor]:
    """The 240 grids that ``masked-lm`` is trained on, and 48 that it is not, each with 16 columns.

    Example:
        >>> [len(part) for part in grids()]
        [240, 48]
    """
    rows = list(permutations(range(4)))
    first = [a + b for a in rows for b in rows if _fill_two_boxes(a, b)]
    pairs = torch.tensor([top + bottom for top in first for bottom in first])
    found = pairs[solved(pairs)]
    found = found[torch.randperm(len(found), generator=torch.Generator().manual_seed(0))]
    return found[UNSEEN:], found[:UNSEEN]


def _fill_two_boxes(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two rows fill two boxes."""
    return not (set(a[:2]) & set(b[:2])) and not (set(a[2:]) & set(b[2:]))


def puzzles(clues: int, count: int, generator: torch.Generator, *, seen: bool = False) -> Tensor:
    """Grids with all cells but ``clues`` of them empty, with shape (count, 16); some have several solutions."""
    chosen = grids()[0 if seen else 1]
    cells = chosen[torch.randint(len(chosen), (count,), generator=generator)]
    order = torch.rand(count, CELLS, generator=generator).argsort(dim=1).argsort(dim=1)
    return torch.where(order < clues, cells, EMPTY)
