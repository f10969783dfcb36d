"""A verifiable task that needs no download: sums of two numbers, at once or in steps, with a tokenizer trained on the spot."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, final

import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis

__all__ = ["IN_STEPS", "Arithmetic", "tokenizer"]

DIGITS = "0123456789"


@final
@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Prompts ``12+34=`` and answers ``046`` followed by the end of the sequence, all of fixed width.

    In steps, the digits of the second number are added one after the other, the highest first: the answer to
    ``47+85=`` is ``127+5=132``.

    Arguments:
        digits: Digits of each number, 1 to 3; their sum has one more.
        held_out: Share of all pairs that is kept from training, in (0, 1).
        steps: Whether the answer shows its steps.

    Example:
        >>> task = Arithmetic(digits=2)
        >>> task.prompt_length, task.answer_length
        (6, 4)
        >>> Arithmetic(digits=2, steps=True).answer_length
        10
    """

    digits: int = 2
    held_out: float = 0.2
    steps: bool = False

    def __post_init__(self) -> None:
        if self.digits not in (1, 2, 3):
            raise UnmetHypothesis("Arithmetic", "digits in 1, 2, 3", f"digits = {self.digits}")
        if not 0.0 < self.held_out < 1.0:
            raise UnmetHypothesis("Arithmetic", "held_out in (0, 1)", f"held_out = {self.held_out}")

    @property
    def prompt_length(self) -> int:
        """Tokens of a prompt."""
        return 2 * self.digits + 2

    @property
    def answer_length(self) -> int:
        """Tokens of an answer with its end."""
        # A step is a sum so far, "+", the digits that are left, "=".
        return self.digits + 2 + sum(self.digits + 3 + left for left in self._left)

    @property
    def _left(self) -> range:
        """The digits of the second number that are left after each step."""
        return range(self.digits - 1, 0, -1) if self.steps else range(0)

    def pairs(self, part: str) -> Tensor:
        """All pairs of numbers of a part, ``train`` or ``held_out``, shape (N, 2); split once and for all."""
        if part not in ("train", "held_out"):
            raise UnmetHypothesis("Arithmetic.pairs", "part is train or held_out", repr(part))
        size = 10**self.digits
        order = torch.randperm(size * size, generator=torch.Generator().manual_seed(0))
        cut = int(self.held_out * size * size)
        chosen = order[:cut] if part == "held_out" else order[cut:]
        return torch.stack([chosen // size, chosen % size], dim=1)

    def encode(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids of prompts, shape (N, P), and of answers, shape (N, A).

        Example:
            >>> prompts, answers = Arithmetic(digits=1).encode(torch.tensor([[4, 8]]))
            >>> tokenizer().decode(prompts[0]), tokenizer().decode(answers[0])
            ('4+8=', '12<eos>')
        """
        table = tokenizer().get_vocab()
        digit = torch.tensor([table[d] for d in DIGITS])

        def symbol(token: str) -> Tensor:
            return torch.full((pairs.shape[0], 1), table[token])

        def spell(numbers: Tensor, width: int) -> Tensor:
            return digit[numbers[:, None] // 10 ** torch.arange(width - 1, -1, -1) % 10]

        left, right = pairs[:, 0], pairs[:, 1]
        prompts = [spell(left, self.digits), symbol("+"), spell(right, self.digits), symbol("=")]
        answers = []
        for count in self._left:
            rest = right % 10**count
            answers += [
                spell(left + right - rest, self.digits + 1),
                symbol("+"),
                spell(rest, count),
                symbol("="),
            ]
        answers += [spell(left + right, self.digits + 1), symbol("<eos>")]
        return torch.cat(prompts, dim=1), torch.cat(answers, dim=1)

    def right(self, tokens: Tensor, answers: Tensor) -> Tensor:
        """Whether completions (N, A) end with the sum, whatever the steps before it; shape (N,)."""
        last = self.digits + 2
        return (tokens[:, -last:] == answers[:, -last:]).all(dim=1)


IN_STEPS: Final = Arithmetic(digits=2, steps=True)  # what qwen3-teacher and qwen3-student are trained on


@cache
def tokenizer() -> Any:
    """A tokenizer of single characters, trained here, of the class that models are published with."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    characters = Tokenizer(models.WordLevel(unk_token="<unk>"))
    characters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    characters.decoder = decoders.Fuse()
    special = ["<pad>", "<eos>", "<unk>"]
    characters.train_from_iterator([f"{DIGITS}+="], trainers.WordLevelTrainer(special_tokens=special))
    return PreTrainedTokenizerFast(
        tokenizer_object=characters,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
    )
