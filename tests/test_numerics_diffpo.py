"""Masked diffusion from samples: rollouts, allocation, estimators and losses where users stand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftproof import UnmetHypothesis
from driftproof.numerics import diffpo as masked
from driftproof.theory.diffpo import (
    Blocks,
    ConsistentDenoiser,
    EntropyBound,
    LeftToRight,
    Path,
    PolyaDenoiser,
    Prompted,
    RandomOrder,
    TabularDenoiser,
    path,
)

torch = pytest.importorskip("torch")


# -- rollouts


def test_a_seed_is_a_sample() -> None:
    urn = PolyaDenoiser(0.7, 1.2, 20)
    first, second = (masked.rollout(urn, RandomOrder(3), 6, seed) for seed in (5, np.random.default_rng(5)))
    np.testing.assert_array_equal(first.x, second.x)
    assert not np.array_equal(first.x, masked.rollout(urn, RandomOrder(3), 6, 6).x)
    assert first.evaluations.tolist() == [7] * 6
    with pytest.raises(TypeError, match="numpy Generator or an int"):
        masked.rollout(urn, RandomOrder(), 2, torch.Generator())


def test_rollouts_of_a_torch_denoiser_are_those_of_numpy() -> None:
    logits = np.random.default_rng(1).normal(size=(27, 3, 2))
    for sampler in (RandomOrder(), EntropyBound(0.6), Blocks(LeftToRight(), 2)):
        here = masked.rollout(TabularDenoiser(logits), sampler, 30, 2)
        there = masked.rollout(TabularDenoiser(torch.tensor(logits, requires_grad=True)), sampler, 30, 2)
        np.testing.assert_array_equal(here.x, there.x)
        np.testing.assert_array_equal(here.step, there.step)
        np.testing.assert_allclose(here.log_probs, there.log_probs, atol=1e-12)


def test_what_a_rollout_records_is_its_path() -> None:
    model = Prompted(
        ConsistentDenoiser(np.log(np.random.default_rng(2).dirichlet(np.ones(81)).reshape((3,) * 4))), (1,)
    )
    found = masked.rollout(model, EntropyBound(0.8), 40, 0)
    want = path(model, EntropyBound(0.8), found.x)
    np.testing.assert_array_equal(found.step, want.step)
    np.testing.assert_allclose(found.log_probs, want.log_probs, atol=1e-13)
    assert (found.log_choices == 0.0).all()


@given(st.floats(0.0, 1.0, exclude_max=True), st.lists(st.floats(-40.0, 5.0), min_size=1, max_size=6))
def test_draws_are_tokens_with_mass(u: float, logits: list[float]) -> None:
    token = int(masked.categorical([logits], [u])[0])
    below = np.cumsum(np.exp(np.asarray(logits) - max(logits)))
    assert 0 <= token < len(logits)
    assert (below[token - 1] if token else 0.0) <= u * below[-1]


def test_tokens_beyond_half_precision_are_whole() -> None:
    logits = torch.zeros((1, 1000), dtype=torch.bfloat16)
    logits[0, 777] = 60.0
    assert masked.categorical(logits, torch.tensor([0.5], dtype=torch.bfloat16)).tolist() == [777.0]


# -- allocation


@given(st.integers(1, 300), st.data())
def test_no_token_is_lost_and_no_evaluation_in_vain(length: int, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, length))
    growth = data.draw(st.floats(1e-3, 1e3) | st.sampled_from([1.0, 2.0, 1e300, 1e-300]))
    counts = masked.allocate(length, steps, growth)
    assert len(counts) == steps and sum(counts) == length and min(counts) >= 1


@given(st.integers(1, 2000), st.floats(0.0, 1.0))
def test_masked_counts_are_within_one_of_the_level(length: int, level: float) -> None:
    count = masked.masked_count(length, level)
    assert 0 <= count <= length
    assert -1e-9 * length <= count - length * level < 1.0 + 1e-9 * length


def test_half_an_integer_is_where_a_batch_is_not_uniform() -> None:
    for length, batch in ((6, 4), (5, 3), (8, 16)):
        for j, law in enumerate(masked.systematic_counts(length, batch)):
            half = (2 * j * length) % (2 * batch) == batch
            assert (len(set(law)) == 1) != half


# -- certainty


def test_certainty_keeps_the_order_where_probabilities_are_all_one() -> None:
    gaps = np.asarray([40.0, 45.0, 700.0, 38.0])
    logits = np.stack([gaps, np.zeros(4)], axis=-1)
    assert np.argsort(-masked.certainty(logits)).tolist() == [2, 1, 0, 3]
    single = masked.certainty(torch.tensor(logits, dtype=torch.bfloat16))
    assert single.dtype == torch.float32
    assert torch.argsort(-single)[0] in (2,)


@pytest.mark.parametrize("by", ["confidence", "margin", "entropy"])
def test_excluded_tokens_do_not_disturb(by: str) -> None:
    logits = np.asarray([[1.0, 0.2, -np.inf], [0.0, -np.inf, -np.inf]])
    np.testing.assert_allclose(
        masked.certainty(logits, by)[0], masked.certainty(logits[:1, :2], by)[0], atol=1e-15
    )
    assert masked.certainty(logits, by)[1] == {"confidence": 0.0, "margin": 1.0, "entropy": 0.0}[by]


# -- losses


def batch(dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(3)
    old = -rng.exponential(size=(4, 5))
    given = {
        "log_p": old + 0.1 * rng.normal(size=(4, 5)),
        "log_old": old,
        "log_behaviour": old + 0.3 * rng.normal(size=(4, 5)),
        "advantages": rng.normal(size=4),
        "mask": (np.arange(5) < np.asarray([[5], [1], [3], [4]])).astype(float),
    }
    return {name: torch.tensor(value, dtype=dtype) for name, value in given.items()}


@pytest.mark.parametrize("name", ["diffu_grpo_loss", "diffpo_loss"])
def test_padding_has_no_gradient_whatever_stands_in_it(name: str) -> None:
    given = batch()
    if name == "diffu_grpo_loss":
        del given["log_behaviour"]
    loss = getattr(masked, name)
    clean = given["log_p"].clone().requires_grad_()
    (want,) = torch.autograd.grad(loss(**{**given, "log_p": clean}), clean)
    padded = given["mask"] == 0.0
    wild = {
        k: torch.where(padded, -math.inf, v) if v.ndim == 2 and k != "mask" else v for k, v in given.items()
    }
    wild["log_p"].requires_grad_()
    (gradient,) = torch.autograd.grad(loss(**wild), wild["log_p"])
    torch.testing.assert_close(gradient, want)
    assert (gradient[padded] == 0.0).all()
    assert gradient[~padded].abs().max() > 0.0


def test_nothing_flows_through_what_is_data() -> None:
    """On-policy, with the old log-probabilities detached, the gradient is that of REINFORCE."""
    given = batch()
    log_p = given["log_old"].clone().requires_grad_()
    loss = masked.diffu_grpo_loss(log_p, log_p.detach(), given["advantages"], given["mask"])
    (gradient,) = torch.autograd.grad(loss, log_p)
    want = -given["advantages"][:, None] * given["mask"] / given["mask"].sum()
    torch.testing.assert_close(gradient, want)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_of_half_precision_are_single(dtype: torch.dtype) -> None:
    low, exact = batch(dtype), batch()
    assert masked.diffpo_loss(**low).dtype == torch.float32
    assert masked.diffpo_loss(**low).item() == pytest.approx(masked.diffpo_loss(**exact).item(), abs=0.05)


def test_a_far_behaviour_is_capped_without_overflow() -> None:
    given = {k: v.numpy() for k, v in batch().items()}
    far = {**given, "log_behaviour": given["log_behaviour"] - 5000.0}
    near = {**given, "log_behaviour": given["log_behaviour"] - 50.0}
    assert float(masked.diffpo_loss(**far)) == pytest.approx(float(masked.diffpo_loss(**near)), rel=1e-14)


def test_far_ratios_are_clipped_without_overflow() -> None:
    """An advantage of 0 teaches nothing however far the ratio is, and what is clipped has no gradient."""
    assert float(masked.diffu_grpo_loss([[-1.0]], [[-1000.0]], [0.0], [[1.0]])) == 0.0
    log_p = torch.tensor([[-1.0, -1.0]], requires_grad=True)
    loss = masked.diffu_grpo_loss(
        log_p, torch.tensor([[-100.0, -1.0]]), torch.tensor([1.0]), torch.ones(1, 2)
    )
    loss.backward()
    assert log_p.grad.tolist() == [[0.0, -0.5]]


def test_a_group_of_equal_rewards_teaches_nothing() -> None:
    for baseline in ("group_mean", "leave_one_out"):
        for standardise in (False, True):
            found = masked.group_advantages([[0.3, 0.3, 0.3]], baseline, standardise)
            np.testing.assert_allclose(found, 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: masked.allocate(3, 4), "1 <= steps <= L"),
        (lambda: masked.masked_count(0, 0.5), "length >= 1"),
        (lambda: masked.quantised_gumbel_law([0.5, 0.6], 8), "sums to 1"),
        (lambda: masked.rollout(PolyaDenoiser(1.0, 1.0, 3), RandomOrder(), 0, 0), "n >= 1"),
        (lambda: masked.count_estimate([[-1.0]], [[0.0]], [[1.0]]), "hides a token"),
        (lambda: masked.time_estimate([[-1.0, -2.0]], [[1.0]], [0.5]), "one shape"),
        (lambda: masked.sampler_loss([[-1.0]], [[1.0]]), "one number for each sequence"),
        (lambda: masked.diffpo_loss([[0.0]], [[0.0]], [[0.0]], [1.0], [[0.0]]), "every sequence has a token"),
    ],
)
def test_errors_name_the_hypothesis(call, says: str) -> None:
    with pytest.raises(UnmetHypothesis) as error:
        call()
    assert says in str(error.value)


def test_rollouts_and_paths_have_one_shape():
    x, step, logs = np.zeros((2, 3), dtype=np.int64), np.ones((2, 3), dtype=np.int64), np.zeros((2, 3))
    assert masked.Rollouts(x, step, logs, np.zeros(2)).evaluations.tolist() == [1, 1]
    for wrong in (
        (x[:, :2], step, logs, np.zeros(2)),
        (x, step[0], logs, np.zeros(2)),
        (x, step, logs, np.zeros(3)),
    ):
        with pytest.raises(UnmetHypothesis, match="log_choices"):
            masked.Rollouts(*wrong)
    with pytest.raises(UnmetHypothesis, match="step and log_probs"):
        Path(step, logs[:, :2])
