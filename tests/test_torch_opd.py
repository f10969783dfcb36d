"""Distillation losses on torch: the chunked forms against the naive ones, and against enumeration."""

import math

import pytest
import torch

from driftproof import UnmetHypothesis
from driftproof.backends.torch.opd import full_vocabulary_loss, linear_log_probs, linear_opd_loss, opd_loss
from driftproof.theory import divergences, opd

NAMES = ["reverse_kl", "forward_kl", "jsd", "tv", "alpha(0.5)", "normalized_gjsd(0.1)", "skew_kl(0.2)"]


def problem(dtype=torch.float64, tokens=7, vocabulary=13, width=4):
    g = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)
    mask = torch.ones(1, tokens)
    mask[0, 2] = 0
    return draw(1, tokens, width), draw(vocabulary, width), draw(1, tokens, 3), draw(vocabulary, 3), mask


@pytest.mark.parametrize("chunk", [13, 40, 10**6])
@pytest.mark.parametrize("name", NAMES)
def test_chunked_divergence_equals_the_naive_form(name, chunk):
    hidden, weight, teacher_hidden, teacher_weight, mask = problem()
    bias = torch.linspace(-1, 1, 13, dtype=torch.float64)
    grads, values = [], []
    for chunked in (True, False):
        h, w, b = (x.clone().requires_grad_() for x in (hidden, weight, bias))
        if chunked:
            loss = linear_opd_loss(
                h,
                w,
                teacher_hidden,
                teacher_weight,
                mask,
                divergence=name,
                temperature=0.7,
                bias=b,
                chunk_elements=chunk,
            )
        else:
            teacher = teacher_hidden @ teacher_weight.T
            loss = full_vocabulary_loss(h @ w.T + b, teacher, mask, divergence=name, temperature=0.7)
        values.append(loss.detach())
        grads.append(torch.autograd.grad(3.0 * loss, (h, w, b)))
    torch.testing.assert_close(values[0], values[1], rtol=1e-12, atol=1e-14)
    for ours, naive in zip(*grads, strict=True):
        torch.testing.assert_close(ours, naive, rtol=1e-10, atol=1e-13)


def test_chunked_log_probs_pass_gradcheck_and_match():
    hidden, weight, *_ = problem()
    tokens = torch.tensor([[0, 12, 3, 3, 5, 1, 9]])
    table = torch.log_softmax(hidden @ weight.T / 0.7, -1)
    ours = linear_log_probs(hidden, weight, tokens, temperature=0.7, chunk_elements=30)
    torch.testing.assert_close(ours, table.gather(-1, tokens[..., None])[..., 0], rtol=1e-12, atol=1e-13)
    call = lambda h, w: linear_log_probs(h, w, tokens, temperature=0.7, chunk_elements=30)
    assert torch.autograd.gradcheck(call, (hidden.requires_grad_(), weight.requires_grad_()))


def test_bfloat16_is_accumulated_in_single():
    hidden, weight, teacher_hidden, teacher_weight, mask = problem(torch.bfloat16, vocabulary=501, width=16)
    h, w = hidden.requires_grad_(), weight.requires_grad_()
    loss = linear_opd_loss(h, w, teacher_hidden, teacher_weight, mask, divergence="jsd")
    assert loss.dtype == torch.float32
    loss.backward()
    assert h.grad.dtype == w.grad.dtype == torch.bfloat16
    student = (hidden.detach() @ weight.detach().T).float()
    teacher = (teacher_hidden @ teacher_weight.T).float()
    want = full_vocabulary_loss(student, teacher, mask, divergence="jsd")
    torch.testing.assert_close(loss.detach(), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_expected_gradient_of_the_sampled_loss_is_exact(name):
    """One state, five tokens, each weighted by its probability: no sampling."""
    g = torch.Generator().manual_seed(1)
    logits = torch.randn(5, generator=g, dtype=torch.float64, requires_grad=True)
    logq = torch.log_softmax(torch.randn(5, generator=g, dtype=torch.float64), 0)
    f = divergences.get(name)
    logp = torch.log_softmax(logits, 0)
    expected = torch.zeros(5, dtype=torch.float64)
    for a in range(5):
        one = torch.ones(1, 1)
        loss = opd_loss(logp[a].reshape(1, 1), logq[a].reshape(1, 1), one, divergence=f, clip=None).loss
        (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
        expected += logp[a].exp().detach() * gradient
    torch.testing.assert_close(expected, opd.logit_gradient(logp.detach(), logq, f), rtol=1e-11, atol=1e-13)


def test_num_items_in_batch_makes_accumulation_exact():
    logp = torch.tensor([[-1.0, -2.0, -0.5], [-3.0, -1.0, -2.0]], requires_grad=True)
    teacher = torch.tensor([[-0.5, -2.5, -0.7], [-1.0, -1.5, -4.0]])
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    (whole,) = torch.autograd.grad(opd_loss(logp, teacher, mask).loss, logp)
    parts = torch.zeros_like(whole)
    for row in range(2):
        one = slice(row, row + 1)
        loss = opd_loss(logp[one], teacher[one], mask[one], num_items_in_batch=4).loss
        parts += torch.autograd.grad(loss, logp)[0]
    torch.testing.assert_close(parts, whole)


def test_bad_input():
    logp, mask = torch.zeros(1, 2, requires_grad=True), torch.ones(1, 2)
    with pytest.raises(UnmetHypothesis, match="behaviour_logp"):
        opd_loss(logp, torch.zeros(1, 2), mask, temperature=0.7)
    with pytest.raises(UnmetHypothesis, match="NaN"):
        opd_loss(logp, torch.full((1, 2), math.nan), mask)
    with pytest.raises(UnmetHypothesis, match="one shape"):
        opd_loss(logp, torch.zeros(1, 3), mask)
    hidden, weight, teacher_hidden, teacher_weight, keep = problem()
    with pytest.raises(UnmetHypothesis, match="vocabulary"):
        linear_opd_loss(hidden, weight, teacher_hidden, teacher_weight[:5], keep)
    with pytest.raises(UnmetHypothesis, match="temperature > 0"):
        linear_opd_loss(hidden, weight, teacher_hidden, teacher_weight, keep, temperature=0.0)
    with pytest.raises(UnmetHypothesis, match="one hidden state"):
        linear_opd_loss(hidden, weight, teacher_hidden[:, :3], teacher_weight, keep)


def test_a_rank_without_tokens_still_joins_the_backward_pass():
    logp = torch.zeros(1, 2, requires_grad=True)
    opd_loss(logp, torch.zeros(1, 2), torch.zeros(1, 2)).loss.backward()
    assert torch.equal(logp.grad, torch.zeros(1, 2))
    hidden, weight, teacher_hidden, teacher_weight, mask = problem()
    hidden.requires_grad_()
    linear_opd_loss(hidden, weight, teacher_hidden, teacher_weight, 0 * mask).backward()
    assert torch.equal(hidden.grad, torch.zeros_like(hidden))


def test_a_token_that_the_teacher_excludes_is_clipped_and_counted():
    logp = torch.tensor([[-1.0, -1.0]], requires_grad=True)
    result = opd_loss(logp, torch.tensor([[-math.inf, -1.0]]), torch.ones(1, 2), clip=6.0)
    result.loss.backward()
    assert float(result.metrics["clip_fraction"]) == 0.5
    assert torch.isfinite(logp.grad).all()
    with pytest.raises(UnmetHypothesis):
        opd_loss(logp, torch.tensor([[-math.inf, -1.0]]), torch.ones(1, 2), clip=None)


@pytest.mark.parametrize("form", [linear_log_probs, linear_opd_loss])
def test_a_frozen_head_gets_no_gradient_and_changes_none(form):
    hidden, weight, teacher_hidden, teacher_weight, mask = problem()
    others = {
        linear_log_probs: (torch.tensor([[0, 12, 3, 3, 5, 1, 9]]),),
        linear_opd_loss: (teacher_hidden, teacher_weight, mask),
    }[form]
    grads = []
    for frozen in (False, True):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_(not frozen)
        form(h, w, *others).sum().backward()
        assert (w.grad is None) is frozen
        grads.append(h.grad)
    assert torch.equal(*grads)


@pytest.mark.parametrize("mask", [[[-100, 5, 7]], [[0.5, 1.0, 1.0]], [[2, 1, 1]], [[-1, 1, 1]]])
def test_masks_of_other_values_are_refused(mask):
    mask = torch.tensor(mask)
    logp, logits = torch.full((1, 3), -1.0, requires_grad=True), torch.zeros(1, 3, 4)
    with pytest.raises(UnmetHypothesis, match="the mask holds zeros and ones"):
        opd_loss(logp, torch.full((1, 3), -2.0), mask)
    with pytest.raises(UnmetHypothesis, match="the mask holds zeros and ones"):
        full_vocabulary_loss(logits, logits, mask)
    with pytest.raises(UnmetHypothesis, match="the mask holds zeros and ones"):
        linear_opd_loss(logits, torch.eye(4), logits, torch.eye(4), mask)


def test_masks_of_every_type_are_the_same():
    logp, other = torch.tensor([[-1.0, -2.0, -0.5]]), torch.tensor([[-2.0, -1.0, -0.5]])
    kinds = (torch.bool, torch.int64, torch.uint8, torch.float32, torch.bfloat16)
    found = [opd_loss(logp, other, torch.tensor([[1, 0, 1]]).to(kind)).loss for kind in kinds]
    assert len({float(x) for x in found}) == 1


def test_shapes_that_would_broadcast_are_refused():
    logits = torch.zeros(2, 3, 4)
    with pytest.raises(UnmetHypothesis, match="one element for each token"):
        full_vocabulary_loss(logits, logits, torch.ones(2, 1))
    with pytest.raises(UnmetHypothesis, match="share a vocabulary"):
        full_vocabulary_loss(logits, torch.zeros(2, 3, 1), torch.ones(2, 3))
    with pytest.raises(UnmetHypothesis, match="one shape"):
        full_vocabulary_loss(logits, torch.zeros(1, 3, 4), torch.ones(2, 3))
    with pytest.raises(UnmetHypothesis, match="one element for each token"):
        opd_loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(2, 1))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_temperatures_are_positive(temperature):
    logits, keep = torch.zeros(1, 2, 3), torch.ones(1, 2)
    with pytest.raises(UnmetHypothesis, match="temperature > 0"):
        full_vocabulary_loss(logits, logits, keep, temperature=temperature)
    with pytest.raises(UnmetHypothesis, match="temperature > 0"):
        linear_log_probs(torch.zeros(2, 3), torch.zeros(4, 3), torch.tensor([0, 1]), temperature=temperature)
    with pytest.raises(UnmetHypothesis, match="temperature > 0"):
        opd_loss(keep, keep, keep, temperature=temperature, behaviour_logp=keep)


def test_a_teacher_that_excludes_a_token():
    """An infinite divergence has no gradient; a bounded one is that of the full form, also with a token nobody has."""
    s0 = torch.tensor([[[0.3, -0.2, 0.5, 0.1, -math.inf]]], dtype=torch.float64)
    t0 = torch.tensor([[[0.1, 0.4, -0.3, -math.inf, -math.inf]]], dtype=torch.float64)
    eye, keep = torch.eye(5, dtype=torch.float64), torch.ones(1, 1)
    bias, teacher_bias = (torch.where(x[0, 0].isinf(), -math.inf, 0.0) for x in (s0, t0))
    forms = {
        "full": lambda s, f: full_vocabulary_loss(s + bias, t0, keep, divergence=f),
        "linear": lambda s, f: linear_opd_loss(
            s, eye, t0.nan_to_num(neginf=0.0), eye, keep, divergence=f, bias=bias, teacher_bias=teacher_bias
        ),
    }
    for form in forms.values():
        with pytest.raises(UnmetHypothesis, match="the divergence is finite"):
            form(s0.nan_to_num(neginf=0.0), "reverse_kl")
    for name in ("jsd", "tv", "forward_kl", "hellinger"):
        grads, values = [], []
        for form in forms.values():
            s = s0.nan_to_num(neginf=0.0).requires_grad_()
            loss = form(s, name)
            loss.backward()
            values.append(float(loss.detach()))
            grads.append(s.grad)
        p, q = torch.softmax(s0[0, 0], 0), torch.softmax(t0[0, 0], 0)
        both = p > 0
        direct = {
            "tv": (p - q).abs().sum() / 2,
            "forward_kl": (q[:3] * (q[:3] / p[:3]).log()).sum(),
        }
        assert values[0] == pytest.approx(values[1], rel=1e-13)
        if name in direct:
            assert values[0] == pytest.approx(float(direct[name]), rel=1e-13)
        assert all(bool(g.isfinite().all()) and float(g[0, 0, 4]) == 0.0 for g in grads)
        torch.testing.assert_close(*grads, rtol=1e-11, atol=1e-13)
        assert both.sum() == 4


def test_entropy_beside_the_divergence():
    hidden, weight, teacher_hidden, teacher_weight, mask = problem()
    from driftproof.backends.torch.opd import linear_divergence

    _, found = linear_divergence(hidden, weight, teacher_hidden, teacher_weight, mask, chunk_elements=30)
    law = torch.distributions.Categorical(logits=(hidden @ weight.T)[mask > 0])
    torch.testing.assert_close(found, law.entropy().sum(), rtol=1e-13, atol=0.0)
