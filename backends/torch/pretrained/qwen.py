"""Small models of the class ``Qwen3ForCausalLM``."""

from __future__ import annotations

from typing import cast, final

import torch
from pydantic import PositiveInt
from torch import nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.schema import validated

from .arithmetic import tokenizer

__all__ = ["ModelSize", "small_qwen"]


@final
@validated(frozen=True, slots=True)
class ModelSize:
    """The configuration of a small Qwen3 model."""

    width: PositiveInt
    layers: PositiveInt
    heads: PositiveInt = 2

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):  # rotary pairs
            got = f"width = {self.width}, heads = {self.heads}"
            raise UnmetHypothesis("ModelSize", "each head has an even width", got)


def small_qwen(size: ModelSize, seed: int) -> nn.Module:
    """A Qwen3 model of a small configuration with random weights, for the tokens of :mod:`.arithmetic`."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    vocabulary = tokenizer()
    config = Qwen3Config(
        vocab_size=len(vocabulary),
        hidden_size=size.width,
        intermediate_size=2 * size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        head_dim=size.width // size.heads,
        pad_token_id=vocabulary.pad_token_id,
        eos_token_id=vocabulary.eos_token_id,
        bos_token_id=None,
        use_cache=False,
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return cast(nn.Module, Qwen3ForCausalLM(config))
