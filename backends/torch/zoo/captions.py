"""A ``CLIPTokenizer`` whose vocabulary is the words of the captions: each word is one token."""

from __future__ import annotations

from typing import Any, Final

from driftproof.backends.torch.pretrained.digits import CLASSES, SLANTS, THICKNESSES

__all__ = ["LENGTH", "tokenizer"]

LENGTH: Final = 8  # of the longest caption, its beginning and its end
START, END = "<|startoftext|>", "<|endoftext|>"
LAST: Final = "</w>"  # of a word


def tokenizer() -> Any:
    """The tokenizer; its merges build each word from the left."""
    from transformers import CLIPTokenizer

    words = dict.fromkeys(["a", ",", *THICKNESSES, *CLASSES, *(word for s in SLANTS for word in s.split())])
    spelled = [[*word[:-1], word[-1] + LAST] for word in words]
    tokens = dict.fromkeys([START, END, *(piece for pieces in spelled for piece in pieces)])
    merges: dict[tuple[str, str], None] = {}
    for head, *rest in spelled:
        for piece in rest:
            merges[head, piece] = None
            head += piece
            tokens[head] = None
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=list(merges), model_max_length=LENGTH)
