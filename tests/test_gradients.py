"""The guard for gradients: what it lets pass, and what it says of a NaN."""

from __future__ import annotations

import numpy as np
import pytest

from driftproof import UnmetHypothesis, check_gradients
from driftproof.theory.laws import Gaussian, NoncentralChi2, wasserstein2

torch = pytest.importorskip("torch")


def hidden(x):
    """x log x where x > 0: the branch that is not taken has the derivative 0 times infinity."""
    return torch.where(x > 0, x * torch.log(x), 0.0)


def test_gradients_are_those_of_the_sum() -> None:
    x, y = torch.tensor([1.0, 2.0]), torch.tensor(3.0, dtype=torch.float64)
    first, second = check_gradients(lambda x, y, k: (3.0 * x, {"a": k * y * y}), x, y, 2)
    assert first.tolist() == [3.0, 3.0]
    assert float(second) == 12.0
    assert x.grad is None
    assert not x.requires_grad


def test_an_argument_without_influence_has_gradient_0() -> None:
    zero, one = check_gradients(lambda x, y: y, torch.ones(2), torch.ones(()))
    assert zero.tolist() == [0.0, 0.0]
    assert float(one) == 1.0
    (zero,) = check_gradients(lambda x: torch.ones(3), torch.ones(2))
    assert zero.tolist() == [0.0, 0.0]


def test_infinite_derivatives_are_no_fault() -> None:
    (slope,) = check_gradients(torch.sqrt, torch.zeros(1))
    assert slope.tolist() == [float("inf")]


def test_the_error_names_the_argument_the_index_and_the_line() -> None:
    with pytest.raises(UnmetHypothesis) as caught:
        check_gradients(lambda a, x: a * hidden(x), torch.ones(2, 2), torch.tensor([[4.0, 1.0], [0.0, 2.0]]))
    said = str(caught.value)
    assert "the gradient in argument 1 has no NaN" in said
    assert "1 NaN, the first at (1, 0) of shape (2, 2)" in said
    assert "the first is of mul in hidden, " in said
    assert "x * torch.log(x)" in said


def test_the_first_fault_is_named_not_what_follows_from_it() -> None:
    def chain(x):
        return torch.exp(torch.sin(hidden(x * 2.0)) + 1.0)

    with pytest.raises(UnmetHypothesis, match="the first is of mul in hidden"):
        check_gradients(chain, torch.zeros(1))


def test_a_value_that_is_nan_is_told_apart() -> None:
    with pytest.raises(UnmetHypothesis, match=r"the value has no NaN .1 NaN, the first at .1,"):
        check_gradients(lambda x: x * torch.log(x), torch.tensor([1.0, 0.0]))


def test_numbers_numpy_and_mixtures_are_refused() -> None:
    for arguments in ((1.0,), (np.ones(2),), (torch.ones(2, dtype=torch.int64),), ()):
        with pytest.raises(TypeError, match="expected an array of torch or jax"):
            check_gradients(lambda *x: x, *arguments)
    with pytest.raises(TypeError, match="arrays of torch or jax for the result"):
        check_gradients(lambda x: "a word", torch.ones(1))


def test_laws_pass_where_users_stand() -> None:
    at = torch.tensor([0.8, 3.0], dtype=torch.float64)
    x, nc = check_gradients(lambda x, nc: NoncentralChi2(2.0, nc, 1.0).log_prob(x), at, torch.zeros_like(at))
    assert nc.tolist() == pytest.approx([-0.5 + 0.8 / 4.0, -0.5 + 3.0 / 4.0], rel=1e-14)
    assert x.tolist() == pytest.approx([-0.5, -0.5], rel=1e-14)
    mean, eye = torch.zeros(2), torch.eye(2)
    check_gradients(lambda c: wasserstein2(Gaussian(mean, c), Gaussian(mean, eye)), eye)


def test_jax_differentiates_as_well() -> None:
    jax = pytest.importorskip("jax")
    x = jax.numpy.asarray([4.0, 1.0])
    (slope,) = check_gradients(jax.numpy.sqrt, x)
    assert slope.tolist() == [0.25, 0.5]
    with pytest.raises(
        UnmetHypothesis, match=r"the gradient in argument 0 has no NaN .1 NaN, the first at .1,"
    ):
        check_gradients(lambda x: jax.numpy.where(x > 0, x * jax.numpy.log(x), 0.0), x - 1.0 * (x == 1.0))
    with pytest.raises(TypeError, match="one namespace"):
        check_gradients(lambda x, y: x, x, torch.ones(2))
