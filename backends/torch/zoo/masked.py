r"""``masked-lm``: a ``BertForMaskedLM`` that fills in Sudoku, trained with the bound of masked diffusion,

.. math:: \ell = \frac{1}{k} \sum_{i \text{ empty}} -\log p_\theta(x_i \mid \text{the other cells}), \qquad k \sim U\{1, \dots, 16\},

the mean over the k empty cells, which are as likely as any other k: 16 times it bounds the negative log-likelihood.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, final

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import validated
from driftproof.backends.torch.kit.supervised import train
from driftproof.backends.torch.pretrained.models import read_masked
from driftproof.backends.torch.pretrained.sudoku import CELLS, EMPTY, UNITS, grids, puzzles, solved

from .maker import Maker, Training
from .scores import Score, share

__all__ = ["MAKER", "MaskedRecipe", "greedy", "one_shot"]

CLUES: Final = 5
PUZZLES: Final = 500
GUESS: Final = "an allowed digit, drawn at random, in one empty cell after the other"


@final
@validated(frozen=True, slots=True)
class MaskedRecipe:
    """Settings.

    Arguments:
        title: A title of the model.
        layers, heads, width: Sizes of the transformer.
        plan: The budget.
    """

    title: str
    layers: PositiveInt
    heads: PositiveInt
    width: PositiveInt
    plan: Plan


def _network(recipe: MaskedRecipe) -> nn.Module:
    from transformers import BertConfig, BertForMaskedLM

    network: nn.Module = BertForMaskedLM(
        BertConfig(
            vocab_size=EMPTY + 1,
            hidden_size=recipe.width,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            intermediate_size=4 * recipe.width,
            max_position_embeddings=CELLS,
            type_vocab_size=1,
            pad_token_id=None,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )
    return network


def _train(recipe: MaskedRecipe, checkpoints: Path) -> Training:
    seen, _ = grids()

    def draw(generator: torch.Generator, batch: int) -> tuple[Tensor, Tensor]:
        cells = seen[torch.randint(len(seen), (batch,), generator=generator)]
        empty = torch.randint(1, CELLS + 1, (batch, 1), generator=generator)
        order = torch.rand(batch, CELLS, generator=generator).argsort(dim=1).argsort(dim=1)
        return cells, torch.where(order < empty, EMPTY, cells)

    def loss(network: Any, cells: Tensor, given: Tensor) -> Tensor:
        logits = network(input_ids=given).logits[..., :EMPTY]
        error = nn.functional.cross_entropy(logits.transpose(1, 2), cells, reduction="none")
        empty = given == EMPTY
        return ((error * empty).sum(dim=1) / empty.sum(dim=1)).mean()

    torch.manual_seed(recipe.plan.seed)
    done = train(_network(recipe), draw, loss, recipe.plan, checkpoint=checkpoints / "masked")
    return Training({".": done.model}, done.losses.tolist())


@torch.no_grad()
def greedy(network: Any, given: Tensor) -> Tensor:
    """Fill in the most probable digit of the surest cell, one cell after the other."""
    cells = given.clone()
    rows = torch.arange(len(cells))
    while bool((cells == EMPTY).any()):
        p = network(input_ids=cells).logits[..., :EMPTY].softmax(dim=-1)
        sure, digit = p.max(dim=-1)
        place = torch.where(cells == EMPTY, sure, -1.0).argmax(dim=1)
        cells[rows, place] = torch.where(cells[rows, place] == EMPTY, digit[rows, place], cells[rows, place])
    return cells


@torch.no_grad()
def one_shot(network: Any, given: Tensor) -> Tensor:
    """Fill in the most probable digit of every cell at once."""
    digit = network(input_ids=given).logits[..., :EMPTY].argmax(dim=-1)
    return torch.where(given == EMPTY, digit, given)


def _guessed(given: Tensor, generator: torch.Generator) -> Tensor:
    """A baseline that knows the rules and does not look ahead; a cell without an allowed digit takes any."""
    cells = given.clone()
    beside = torch.zeros(CELLS, CELLS, dtype=torch.bool)
    for unit in UNITS:
        for i in unit:
            beside[i, list(unit)] = True
    for i in range(CELLS):
        near = torch.where(beside[i], cells, EMPTY)
        allowed = torch.stack([~(near == d).any(dim=1) for d in range(4)], dim=1).float()
        weights = torch.where(allowed.any(dim=1, keepdim=True), allowed, 1.0)
        drawn = torch.multinomial(weights, 1, generator=generator)[:, 0]
        cells[:, i] = torch.where(cells[:, i] == EMPTY, drawn, cells[:, i])
    return cells


def _evaluate(folder: Path) -> list[Score]:
    network, generator = read_masked(folder), torch.Generator().manual_seed(0)
    given = puzzles(CLUES, PUZZLES, generator)
    missed = float((~solved(_guessed(given, generator))).double().mean())
    scores = []
    for name, fill, factor in (("the surest cell first", greedy, 4.0), ("all cells at once", one_shot, 0.0)):
        hits = share((~solved(fill(network, given))).double().numpy())
        what = f"of {PUZZLES} puzzles of unseen grids with {CLUES} clues, not solved, {name}"
        scores.append(Score(what, *hits, missed, GUESS, factor))
    return scores


MAKER = Maker(
    Recipes("zoo", MaskedRecipe, ()),
    _train,
    _evaluate,
    "240 of the 288 Sudoku grids of 4 x 4, generated",
    "Weights: Apache-2.0, as the package. Trained on generated data.",
)
