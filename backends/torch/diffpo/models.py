r"""Masked language models for a trainer: ``logits(z, attention_mask)``, and log-probabilities at some positions.

A state z has the mask's token where nothing is revealed, and anything at padding, which the attention mask leaves out.
Models that ignore the mask are refused: their padded rows have another law than the same rows alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast, final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from driftproof._namespace import UnmetHypothesis

__all__ = ["CHUNK_ELEMENTS", "MaskedLM", "MaskedModel", "require_same_law", "token_log_probs"]

CHUNK_ELEMENTS = 1 << 24  # of logits that are held at once: 64 MiB in single precision


class MaskedModel(Protocol):
    """A denoiser of canvases.

    Attributes:
        mask_token: The token of a masked position.
        vocabulary: Tokens 0, ..., V - 1 that can be revealed.
    """

    mask_token: int
    vocabulary: int

    def logits(self, z: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of shape (B, L, V), for integers z and a mask of ones and zeros, both (B, L)."""
        ...


@final
class MaskedLM(nn.Module):
    """A masked language model of transformers whose mask comes after all tokens that can be revealed.

    RoBERTa, ModernBERT, the zoo's BERT and what is shaped like them; the mask of ``bert-base-uncased`` is among its tokens.

    ``forward`` gives log-probabilities of given tokens at given positions, and holds the logits of a chunk of those alone.

    Arguments:
        network: ``network(input_ids, attention_mask).logits``.
        mask_token: The mask token of its tokenizer.
        vocabulary: How many of its first tokens can be revealed; all but the mask where that is the last one.

    Raises:
        UnmetHypothesis: The mask's token is among those that can be revealed.
    """

    def __init__(self, network: nn.Module, mask_token: int, vocabulary: int) -> None:
        super().__init__()
        if mask_token < vocabulary:
            got = f"mask_token = {mask_token}, vocabulary = {vocabulary}"
            raise UnmetHypothesis("MaskedLM", "the mask's token is none that is revealed", got)
        self.network, self.mask_token, self.vocabulary = network, mask_token, vocabulary
        _head(network)  # there is one

    def logits(self, z: Tensor, attention_mask: Tensor) -> Tensor:
        """See :class:`MaskedModel`."""
        found: Tensor = self.network(input_ids=z, attention_mask=attention_mask).logits
        return found[..., : self.vocabulary]

    def forward(self, z: Tensor, attention_mask: Tensor, tokens: Tensor, where: Tensor) -> Tensor:
        """Log-probabilities of tokens at the positions of ``where``, and 0 elsewhere, shape (B, L)."""
        backbone: Any = cast(Any, self.network).base_model
        head = _head(self.network)
        hidden = backbone(input_ids=z, attention_mask=attention_mask).last_hidden_state
        states, wanted = hidden[where], tokens[where]
        rows = max(1, CHUNK_ELEMENTS // self.vocabulary)

        def scored(some: Tensor, chosen: Tensor) -> Tensor:
            return _picked(head(some)[..., : self.vocabulary], chosen)

        parts = [
            checkpoint(scored, states[i : i + rows], wanted[i : i + rows], use_reentrant=False)
            for i in range(0, len(states), rows)
        ]
        found = torch.zeros(z.shape, dtype=torch.float32, device=z.device)
        return found.masked_scatter(where, torch.cat(parts)) if parts else found


def token_log_probs(model: Any, z: Tensor, attention_mask: Tensor, tokens: Tensor, where: Tensor) -> Tensor:
    """Log-probabilities of tokens at some positions, 0 elsewhere, shape (B, L), with a gradient.

    Arguments:
        model: A :class:`MaskedModel`; a module whose ``forward`` does it is called.
        z, attention_mask, tokens: Shape (B, L).
        where: Booleans of shape (B, L).
    """
    if isinstance(model, nn.Module) and _forwards(model):
        return cast(Tensor, model(z, attention_mask, tokens, where))
    found = _picked(model.logits(z, attention_mask), torch.where(where, tokens, 0))
    return torch.where(where, found, torch.zeros_like(found))


@torch.no_grad()
def require_same_law(model: MaskedModel, z: Tensor, attention: Tensor) -> None:
    """Compare the logits of the row with most padding with those of the same row without it.

    Arguments:
        model: The model.
        z, attention: Canvases and their attention masks, shape (B, L), with padding where it will be.

    Raises:
        UnmetHypothesis: The logits differ by more than rounding: the model looks at padding.
    """
    i = int((attention > 0).sum(dim=1).argmin())
    real, row = attention[i] > 0, z[i : i + 1]
    alone = model.logits(row[:, real], torch.ones_like(row[:, real])).float()
    found = model.logits(row, attention[i : i + 1]).float()[:, real]
    spread = (alone - alone.mean(-1, keepdim=True)).square().mean().sqrt().clamp(min=1e-30)
    off = float((found - alone).abs().max() / spread)
    if not off <= 1e-3:
        got = f"logits differ by {off:.2g} of their spread"
        raise UnmetHypothesis("diffpo", "padded and unpadded rows have the same logits", got)


def _picked(logits: Tensor, tokens: Tensor) -> Tensor:
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return torch.log_softmax(wide, dim=-1).gather(-1, tokens[..., None])[..., 0]


def _forwards(model: nn.Module) -> bool:
    return type(model).forward is not nn.Module.forward


def _head(network: Any) -> Callable[[Tensor], Tensor]:
    """From the last hidden state to logits."""
    for names in (("cls",), ("lm_head",), ("head", "decoder")):
        parts = [getattr(network, name, None) for name in names]
        if all(isinstance(part, nn.Module) for part in parts):

            def head(states: Tensor, parts: Any = tuple(parts)) -> Tensor:
                for part in parts:
                    states = part(states)
                return states

            return head
    raise UnmetHypothesis(
        "MaskedLM", "a head that is called cls, lm_head, or head and decoder", type(network).__name__
    )
