"""The chunked losses: the graph can be kept, nothing is made that is not wanted, and compiled is the same."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from driftproof.backends.torch.opd import full_vocabulary_loss, linear_log_probs, linear_opd_loss

TOKENS, WIDTH, VOCABULARY = 7, 5, 11


def heads() -> tuple[Any, Any, Any, Any]:
    generator = torch.Generator().manual_seed(3)
    made = [
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((1, TOKENS, WIDTH), (VOCABULARY, WIDTH), (1, TOKENS, WIDTH), (VOCABULARY, WIDTH))
    ]
    return made[0].requires_grad_(), made[1].requires_grad_(), made[2], made[3]


def test_a_second_backward_pass_gives_the_same_gradients() -> None:
    hidden, weight, teacher, teacher_weight = heads()
    loss = linear_opd_loss(hidden, weight, teacher, teacher_weight, torch.ones(1, TOKENS), divergence="jsd")
    first = torch.autograd.grad(3.0 * loss, (hidden, weight), retain_graph=True)
    second = torch.autograd.grad(3.0 * loss, (hidden, weight))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_without_gradients_the_value_is_the_same() -> None:
    hidden, weight, teacher, teacher_weight = heads()
    arguments = (hidden, weight, teacher, teacher_weight, torch.ones(1, TOKENS))
    with torch.no_grad():
        value = linear_opd_loss(*arguments, chunk_elements=2 * VOCABULARY)
    assert torch.equal(value, linear_opd_loss(*arguments, chunk_elements=2 * VOCABULARY).detach())


def test_a_frozen_head_costs_no_gradient() -> None:
    hidden, weight, teacher, teacher_weight = heads()
    arguments = (hidden, weight.detach(), teacher, teacher_weight, torch.ones(1, TOKENS))
    (ours,) = torch.autograd.grad(linear_opd_loss(*arguments), hidden)
    logits = hidden @ weight.detach().T, teacher @ teacher_weight.T
    (naive,) = torch.autograd.grad(full_vocabulary_loss(*logits, torch.ones(1, TOKENS)), hidden)
    torch.testing.assert_close(ours, naive, rtol=1e-12, atol=1e-15)


def test_log_probs_and_their_gradients_are_those_of_the_full_table() -> None:
    hidden, weight, _, _ = heads()
    tokens = torch.arange(TOKENS)[None] % VOCABULARY
    ours = linear_log_probs(hidden, weight, tokens, temperature=0.7, chunk_elements=2 * VOCABULARY)
    table = torch.log_softmax(hidden @ weight.T / 0.7, -1).gather(-1, tokens[..., None])[..., 0]
    torch.testing.assert_close(ours, table, rtol=1e-13, atol=1e-14)
    weights = torch.linspace(-1.0, 2.0, TOKENS, dtype=torch.float64)
    made, expected = (torch.autograd.grad((x * weights).sum(), (hidden, weight)) for x in (ours, table))
    for a, b in zip(made, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
def test_compiled_is_the_same() -> None:
    hidden, weight, teacher, teacher_weight = heads()
    arguments = (hidden, weight, teacher, teacher_weight, torch.ones(1, TOKENS))
    made = [
        torch.autograd.grad(linear_opd_loss(*arguments, divergence="jsd", compile=flag), (hidden, weight))
        for flag in (False, True)
    ]
    for a, b in zip(*made, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-15)
