"""Masked language models of transformers behind the trainer's protocol: padding, chunks, refusals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
transformers = pytest.importorskip("transformers")

from torch import Tensor, nn

from driftproof import UnmetHypothesis
from driftproof.backends.torch.diffpo import (
    MaskedLM,
    Method,
    Settings,
    Trainer,
    models,
    require_same_law,
    roll_out,
    rollouts,
    token_log_probs,
)
from driftproof.backends.torch.kit.plan import Plan
from driftproof.numerics.diffpo import categorical


def bert(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=9, max_position_embeddings=24, **sizes, **options)
    return transformers.BertForMaskedLM(config).eval()


def modern_bert() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    options = {"pad_token_id": 0, "attn_implementation": "eager", "reference_compile": False}
    config = transformers.ModernBertConfig(vocab_size=9, max_position_embeddings=24, **sizes, **options)
    return transformers.ModernBertForMaskedLM(config).eval()


def roberta() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.RobertaConfig(vocab_size=10, max_position_embeddings=28, pad_token_id=9, **sizes)
    return transformers.RobertaForMaskedLM(config).eval()


NETWORKS = [bert, modern_bert, roberta]


class Deaf(nn.Module):
    """A network that does not hear its attention mask."""

    mask_token, vocabulary = 8, 8

    def __init__(self) -> None:
        super().__init__()
        self.network = bert()

    def logits(self, z: Tensor, attention_mask: Tensor) -> Tensor:
        return self.network(input_ids=z).logits[..., :8]


CANVASES = torch.tensor([[8, 3, 8, 1, 8, 8], [0, 8, 8, 8, 2, 5]])


@pytest.mark.parametrize("made", NETWORKS)
def test_padded_and_unpadded_rows_have_the_same_law(made: Any) -> None:
    model = MaskedLM(made(), mask_token=8, vocabulary=8)
    noise = torch.rand(2, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    attention = torch.ones(2, 9, dtype=torch.long)
    attention[:, 6:] = 0
    padded = torch.cat([CANVASES, torch.full((2, 3), 8)], dim=1)  # padding that looks like masks
    require_same_law(model, padded, attention)
    long = roll_out(model, padded, attention, torch.tensor([0.0, 3.0]), noise)
    short = roll_out(model, CANVASES, attention[:, :6], torch.tensor([0.0, 3.0]), noise[:, :6])
    assert torch.equal(long.x[:, :6], short.x)
    assert torch.equal(long.step[:, :6], short.step)
    assert not long.completion[:, 6:].any()
    np.testing.assert_allclose(long.log_probs[:, :6], short.log_probs, atol=1e-5)


def test_models_that_do_not_hear_the_mask_are_refused() -> None:
    class Padded:
        def draw(self, generator: Any, count: int) -> tuple[Tensor, Tensor]:
            attention = torch.ones_like(CANVASES)
            attention[1, 4:] = 0
            return CANVASES, attention

        def reward(self, z: Tensor, x: Tensor) -> Tensor:
            return x.double().mean(dim=1)

    plan = Plan(max_steps=1, train_batch_size=4, learning_rate=0.1)
    trainer = Trainer(Deaf(), Padded(), Settings(Method("diffpo"), (0.0, 9.0), samples=2), plan)
    with pytest.raises(UnmetHypothesis, match="padded and unpadded rows have the same logits"):
        trainer.run()


@pytest.mark.parametrize("made", [bert, modern_bert])
def test_padding_on_the_left_is_refused_where_it_moves_the_positions(made: Any) -> None:
    attention = torch.ones_like(CANVASES)
    attention[0, :2] = 0
    model = MaskedLM(made(), mask_token=8, vocabulary=8)
    if made is modern_bert:  # it knows distances alone
        require_same_law(model, CANVASES, attention)
    else:
        with pytest.raises(UnmetHypothesis, match="padded and unpadded rows have the same logits"):
            require_same_law(model, CANVASES, attention)


@pytest.mark.parametrize("made", NETWORKS)
def test_chunks_of_masked_positions_are_the_logits(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, attention = MaskedLM(made(), mask_token=8, vocabulary=8), torch.ones_like(CANVASES)
    tokens, where = (CANVASES + 1) % 8, CANVASES == 8
    want = torch.log_softmax(model.logits(CANVASES, attention), -1).gather(-1, tokens[..., None])[..., 0]
    want = torch.where(where, want, 0.0)
    slope = torch.autograd.grad(want.sum(), model.network.base_model.parameters(), allow_unused=True)
    monkeypatch.setattr(models, "CHUNK_ELEMENTS", 24)  # three positions
    held: list[int] = []
    names = [name for name in ("cls", "lm_head", "decoder") if hasattr(model.network, name)]
    last = getattr(model.network, names[0])
    last.register_forward_hook(lambda module, given, found: held.append(found.shape[:-1].numel()))
    found = token_log_probs(model, CANVASES, attention, tokens, where)
    assert held == [3, 3, 1]
    torch.testing.assert_close(found, want, atol=1e-6, rtol=0.0)
    ours = torch.autograd.grad(found.sum(), model.network.base_model.parameters(), allow_unused=True)
    for one, other in zip(ours, slope, strict=True):
        if other is not None:
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_nothing_masked_is_scored_0() -> None:
    model, z = MaskedLM(bert(), mask_token=8, vocabulary=8), torch.zeros(2, 3, dtype=torch.long)
    found = token_log_probs(model, z, torch.ones_like(z), z, torch.zeros_like(z, dtype=torch.bool))
    assert found.tolist() == [[0.0] * 3] * 2


def test_what_is_no_masked_model_is_told() -> None:
    with pytest.raises(UnmetHypothesis, match="the mask's token is none that is revealed"):
        MaskedLM(bert(), mask_token=3, vocabulary=8)
    with pytest.raises(UnmetHypothesis, match="a head that is called cls, lm_head, or head and decoder"):
        MaskedLM(nn.Linear(2, 2), mask_token=8, vocabulary=8)


def test_draws_are_double_at_a_chunk_of_accepted_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    model, attention = MaskedLM(bert(), mask_token=8, vocabulary=8), torch.ones_like(CANVASES)
    noise = torch.rand(2, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    gamma = torch.full((2,), 99.0)
    whole = roll_out(model, CANVASES, attention, gamma, noise)
    held: list[tuple[int, Any]] = []

    def kernel(xp: Any, log_p: Tensor, uniform: Tensor) -> Tensor:
        held.append((len(log_p), log_p.dtype))
        return categorical.kernel(xp, log_p, uniform)

    monkeypatch.setattr(rollouts, "CHUNK_ELEMENTS", 24)  # three positions
    monkeypatch.setattr(rollouts, "categorical", SimpleNamespace(kernel=kernel))
    again = roll_out(model, CANVASES, attention, gamma, noise)
    assert held == [(3, torch.float64), (3, torch.float64), (1, torch.float64)]
    assert torch.equal(whole.x, again.x)
    assert torch.equal(whole.log_probs, again.log_probs)
