"""Masked diffusion: shapes, precisions and gradients of exact laws, and what is refused."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftproof import UnmetHypothesis
from driftproof.theory import diffpo
from driftproof.theory.diffpo import (
    Blocks,
    Confidence,
    ConsistentDenoiser,
    EntropyBound,
    LeftToRight,
    PolyaDenoiser,
    Prompted,
    RandomOrder,
    Ranked,
    TabularDenoiser,
)

torch = pytest.importorskip("torch")

SAMPLERS = [
    RandomOrder(),
    RandomOrder(2),
    LeftToRight(),
    EntropyBound(0.7),
    Confidence(0.7),
    Ranked("margin"),
    Blocks(RandomOrder(), 2),
]


def table(seed: int, length: int = 3, size: int = 2, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).normal(size=((size + 1) ** length, length, size))


# -- laws


@pytest.mark.slow(ci=True)
@given(
    st.integers(0, 2**31),
    st.sampled_from([(1, 3), (2, 1), (3, 2), (2, 3)]),
    st.sampled_from(SAMPLERS),
    st.floats(0.0, 30.0),
)
def test_what_is_sampled_is_a_law(seed: int, shape: tuple[int, int], sampler: Any, scale: float) -> None:
    length, size = shape
    denoiser = TabularDenoiser(table(seed, length, size, scale))
    law = diffpo.output_law(denoiser, sampler)
    assert law.shape == (size**length,)
    assert math.fsum(np.exp(law)) == pytest.approx(1.0, abs=1e-12)
    if sampler.state_determined:
        assert math.fsum(diffpo.nfe_law(denoiser, sampler)) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.slow(ci=True)
@given(st.integers(0, 2**31), st.floats(0.0, 20.0))
def test_the_bound_is_below_the_likelihood_and_above_no_order(seed: int, scale: float) -> None:
    denoiser = TabularDenoiser(table(seed, 3, 2, scale))
    every = list(itertools.product((0, 1), repeat=3))
    exact, below = diffpo.log_likelihood(denoiser, RandomOrder(), every), diffpo.elbo(denoiser, every)
    assert np.all(below <= exact + 1e-11 * (1.0 + np.abs(exact)))
    for form in ("time", "count"):
        np.testing.assert_allclose(diffpo.elbo(denoiser, every, form), below, rtol=1e-11)


def test_batches_of_every_shape() -> None:
    denoiser, x = TabularDenoiser(table(1)), np.asarray([[[0, 1, 1], [1, 1, 0]]])
    for function in (
        lambda x: diffpo.log_likelihood(denoiser, RandomOrder(), x),
        lambda x: diffpo.path_log_likelihood(denoiser, LeftToRight(), x),
        lambda x: diffpo.elbo(denoiser, x),
        lambda x: diffpo.elbo(denoiser, x, "time"),
        lambda x: diffpo.mean_field(denoiser, x),
        lambda x: diffpo.two_mean_field(denoiser, EntropyBound(0.5), x, 1),
    ):
        whole = function(x)
        assert whole.shape == (1, 2)
        assert float(function([1, 1, 0])) == pytest.approx(float(whole[0, 1]), rel=1e-14)
        assert function(torch.tensor(x)).shape == (1, 2)
    assert diffpo.mask_moments(denoiser, x)[0].shape == (1, 2, 3)
    assert diffpo.path(denoiser, LeftToRight(2), x).step.tolist() == [[[1, 1, 2], [1, 1, 2]]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_denoiser_on_torch_gives_tensors_of_its_precision_with_gradients(dtype: str) -> None:
    logits = torch.tensor(table(2), dtype=getattr(torch, dtype), requires_grad=True)
    here, there = TabularDenoiser(table(2)), TabularDenoiser(logits)
    for sampler in SAMPLERS:
        law = diffpo.output_law(there, sampler)
        assert law.dtype == logits.dtype
        tolerance = 1e-13 if dtype == "float64" else 2e-5
        np.testing.assert_allclose(law.detach(), diffpo.output_law(here, sampler), rtol=tolerance)
        (gradient,) = torch.autograd.grad((torch.exp(law) * torch.arange(8.0, dtype=law.dtype)).sum(), logits)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 1e-4
        # A shift of all logits of a position changes nothing.
        assert gradient.sum(-1).abs().max() < (1e-14 if dtype == "float64" else 1e-5)


def test_gradients_at_tokens_without_probability() -> None:
    values = table(3)
    values[:, 1, 0] = -np.inf
    logits = torch.tensor(values, requires_grad=True)
    value = diffpo.log_likelihood(TabularDenoiser(logits), RandomOrder(), [0, 1, 1])
    value.backward()
    finite = torch.isfinite(logits)
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad[finite]).all()
    never = diffpo.log_likelihood(TabularDenoiser(values), RandomOrder(), [0, 0, 1])
    assert never == -np.inf


def test_the_gradient_of_a_joint_law_is_that_of_its_logarithm() -> None:
    z = torch.tensor(np.random.default_rng(0).normal(size=8), requires_grad=True)
    joint = torch.log_softmax(z, -1).reshape(2, 2, 2)
    for value in (
        diffpo.log_likelihood(ConsistentDenoiser(joint), RandomOrder(), [1, 0, 1]),
        diffpo.elbo(ConsistentDenoiser(joint), [1, 0, 1]),
    ):
        (gradient,) = torch.autograd.grad(value, z, retain_graph=True)
        want = -torch.softmax(z, -1)
        want[5] += 1.0
        torch.testing.assert_close(gradient, want, atol=1e-13, rtol=0.0)


@dataclass(frozen=True)
class Half:
    """A network that answers in bfloat16."""

    length: int = 3
    vocabulary: int = 4

    def log_probs(self, z: Any) -> Any:
        logits = (
            torch.linspace(-1.0, 1.0, 4).repeat(*z.shape, 1)
            * torch.tensor(1.0 + (z != 4).sum(-1))[..., None, None]
        )
        return torch.log_softmax(logits, -1).to(torch.bfloat16)


def test_half_precision_is_summed_in_single() -> None:
    x = [[0, 1, 3], [3, 3, 3]]
    for value in (
        diffpo.log_likelihood(Half(), RandomOrder(), x),
        diffpo.path_log_likelihood(Half(), EntropyBound(1.0), x),
        diffpo.elbo(Half(), x, "count"),
        diffpo.mean_field(Half(), x),
    ):
        assert value.dtype == torch.float32
        assert torch.isfinite(value).all()


def test_no_sequences_have_no_likelihoods() -> None:
    none, denoiser = np.zeros((0, 3), dtype=int), TabularDenoiser(table(1))
    assert diffpo.log_likelihood(denoiser, RandomOrder(), none).shape == (0,)
    assert diffpo.path_log_likelihood(denoiser, EntropyBound(0.5), none).shape == (0,)
    assert diffpo.elbo(denoiser, none, "time").shape == (0,)
    assert diffpo.mean_field(denoiser, none).shape == (0,)


@pytest.mark.slow
def test_sixteen_tokens_are_enumerated() -> None:
    urn, x = PolyaDenoiser(1.0, 2.0, 16), [1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 1]
    assert float(diffpo.log_likelihood(urn, RandomOrder(), x)) == pytest.approx(urn.log_prob(7), rel=1e-12)
    assert float(diffpo.elbo(urn, x)) == pytest.approx(urn.log_prob(7), rel=1e-12)


def test_an_urn_at_its_edges() -> None:
    one = PolyaDenoiser(1e-6, 1.0, 1)
    assert one.nfe_law(0.0).tolist() == [0.0, 1.0]
    assert math.exp(one.log_prob(1)) == pytest.approx(1e-6 / (1.0 + 1e-6), rel=1e-9)
    long = PolyaDenoiser(1e6, 1e6, 32)  # nearly fair and independent: no information
    assert long.divergence(0) < 1e-3
    assert long.nfe_law(1e9)[1] == pytest.approx(1.0, rel=1e-12)
    assert long.information(0) == 0.0


def test_a_prompt_is_never_masked() -> None:
    seen = []

    @dataclass(frozen=True)
    class Watching:
        length: int = 4
        vocabulary: int = 2

        def log_probs(self, z: Any) -> Any:
            seen.append(z)
            return np.full((*z.shape, 2), -math.log(2.0))

    diffpo.output_law(Prompted(Watching(), (1, 0)), LeftToRight())
    assert seen and all((z[..., :2] == [1, 0]).all() for z in seen)


# -- samplers


@given(st.integers(0, 2**31), st.floats(0.0, 5.0))
def test_an_entropy_bound_takes_more_with_more_to_spend(seed: int, gamma: float) -> None:
    log_p = np.log(np.random.default_rng(seed).dirichlet(np.ones(3), size=(4, 6)))
    hidden = np.random.default_rng(seed + 1).random((4, 6)) < 0.7
    hidden[:, 0] = True
    small, large = (EntropyBound(g).moves(log_p, hidden)[0][:, 0] for g in (gamma, gamma + 0.5))
    assert np.all(small <= large)
    assert np.all(large <= hidden)
    assert np.all(small.any(axis=-1))


def test_ties_go_to_the_left() -> None:
    fair, hidden = np.full((1, 4, 2), -math.log(2.0)), np.asarray([[False, True, True, True]])
    for sampler in (
        EntropyBound(0.0),
        Confidence(0.9),
        *(Ranked(by) for by in ("confidence", "margin", "entropy")),
    ):
        assert sampler.moves(fair, hidden)[0][0, 0].tolist() == [False, True, False, False]


# -- what is refused


@dataclass(frozen=True)
class Wrong:
    """A denoiser that is none, or a sampler that is none."""

    mass: float = 0.5
    extra: int = 0
    length: int = 3
    vocabulary: int = 2

    def log_probs(self, z: Any) -> Any:
        return np.full((*z.shape, 2 + self.extra), math.log(self.mass))


@dataclass(frozen=True)
class BadSampler:
    kind: str
    state_determined: bool = False

    def moves(self, log_p: Any, hidden: Any) -> Any:
        none, log_g = np.zeros((len(hidden), 1, hidden.shape[1]), dtype=bool), np.zeros((len(hidden), 1))
        if self.kind == "nothing":
            return none, log_g
        if self.kind == "all":
            return ~none, log_g
        return hidden[:, None], log_g - 1.0


URN = PolyaDenoiser(1.0, 1.0, 3)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: diffpo.mean_field(Wrong(0.4), [0, 1, 1]), "the probabilities of the denoiser sum to 1"),
        (lambda: diffpo.log_likelihood(Wrong(0.7), RandomOrder(), [0, 1, 1]), "a sum of 1.4"),
        (lambda: diffpo.elbo(Wrong(extra=1), [0, 1, 1]), "log-probabilities of shape"),
        (lambda: diffpo.log_likelihood(URN, BadSampler("nothing"), [0, 1, 1]), "every step reveals a token"),
        (lambda: diffpo.log_likelihood(URN, BadSampler("all"), [0, 1, 1]), "only masked positions"),
        (lambda: diffpo.log_likelihood(URN, BadSampler("chance"), [0, 1, 1]), "chances of the sets sum to 1"),
        (
            lambda: diffpo.path(URN, Confidence(0.9, at_least_one=False), [0, 1, 1]),
            "every step reveals a token",
        ),
        (lambda: diffpo.mean_field(URN, [0, 1]), "x has shape (..., 3)"),
        (lambda: diffpo.mean_field(URN, [0, 1, 2]), "tokens 0, ..., 1"),
        (lambda: diffpo.mean_field(URN, [0, -1, 1]), "numbers from -1"),
        (lambda: diffpo.elbo(PolyaDenoiser(1.0, 1.0, 17), [0] * 17), "L <= 16"),
        (
            lambda: diffpo.output_law(PolyaDenoiser(1.0, 1.0, 21), LeftToRight()),
            "all sequences can be listed",
        ),
        (lambda: Prompted(URN, (0, 1, 1, 0)), "leaves one to generate"),
        (lambda: Prompted(URN, ()), "the prompt has a token"),
        (lambda: Prompted(URN, (2,)), "the prompt holds tokens"),
        (lambda: RandomOrder(0), "at least one position"),
        (lambda: Blocks(RandomOrder(), 0), "at least one position"),
        (lambda: EntropyBound(-1.0), "gamma >= 0"),
        (lambda: Confidence(1.5), "threshold in [0, 1]"),
        (lambda: Ranked("luck"), "one of"),  # type: ignore[arg-type]
        (lambda: PolyaDenoiser(0.0, 1.0, 3), "a > 0"),
        (lambda: PolyaDenoiser(1.0, 1.0, 0), "length >= 1"),
        (lambda: diffpo.quadrature_elbo([-1.0], 0), "nodes >= 1"),
        (lambda: diffpo.time_moments([-1.0], [1.0], 0.0), "least in (0, 1)"),
        (lambda: diffpo.group_gradient([0.0, 1.0], [1.0, 2.0], 1), "at least 2"),
        (lambda: diffpo.surrogate_bound(-1e-9), "kl >= 0"),
        (lambda: diffpo.discrete_ddim_law([-0.7, -0.7], 0), "steps >= 1"),
        (lambda: diffpo.reverse_corruption([1.0, 0.0], [1.0, 0.0], 0.0, 0.0, [0.5, 0.5]), "survival_s > 0"),
    ],
)
def test_errors_name_the_hypothesis(call: Any, says: str) -> None:
    with pytest.raises(UnmetHypothesis) as error:
        call()
    assert says in str(error.value)


@pytest.mark.parametrize("x", [[0.0, 1.0, 1.0], [True, False, True], "011", [[0, 1, 1], [0]], None])
def test_tokens_are_integers(x: Any) -> None:
    with pytest.raises(TypeError, match="mean_field: expected"):
        diffpo.mean_field(URN, x)


def test_what_is_no_denoiser_is_no_denoiser() -> None:
    with pytest.raises(TypeError, match="expected Denoiser for denoiser"):
        diffpo.mean_field(table(0), [0, 1, 1])  # type: ignore[arg-type]
