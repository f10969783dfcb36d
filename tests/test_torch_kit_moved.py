"""The share of weights that a step moves, against a count of all of them."""

from __future__ import annotations

import warnings

import pytest

torch = pytest.importorskip("torch")

from driftproof.backends.torch.kit.moved import Moved, RoundingWarning


def stepped(dtype: torch.dtype, rate: float, steps: int = 1) -> tuple[float | None, float]:
    """The share that is logged of one step of SGD, and that of all weights."""
    draw = torch.Generator().manual_seed(0)
    shapes = ((300, 500), (7,), (64, 64))
    weights = [torch.nn.Parameter(torch.randn(s, generator=draw).to(dtype)) for s in shapes]
    frozen = torch.nn.Parameter(torch.ones(10, dtype=dtype), requires_grad=False)
    moved, optimizer = Moved([*weights, frozen]), torch.optim.SGD(weights, lr=rate)
    before = [w.detach().clone() for w in weights]
    for _ in range(steps):
        for w in weights:
            w.grad = torch.randn(w.shape, generator=draw).to(dtype)
        moved.before(rate)
        optimizer.step()
        moved.after()
    changed = sum(int((w != old).sum()) for w, old in zip(weights, before, strict=True))
    return moved.share(), changed / sum(w.numel() for w in weights)


@pytest.mark.parametrize("rate", [1e-3, 1e-2])
def test_the_share_of_the_sample_is_that_of_all(rate: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoundingWarning)
        share, whole = stepped(torch.bfloat16, rate)
    assert share is not None and 0.0 < whole < 1.0
    # A share of at least 2^15 weights: four standard errors of a half.
    assert share == pytest.approx(whole, abs=4 * 0.5 * 2.0**-7.5)


def test_small_steps_in_half_precision_are_told() -> None:
    with pytest.warns(RoundingWarning, match="of the weights: in bfloat16"):
        assert stepped(torch.bfloat16, 1e-6)[0] < 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert stepped(torch.float32, 1e-6)[0] > 0.5


def test_weights_without_gradient_are_no_news() -> None:
    moved = Moved([torch.nn.Parameter(torch.ones(3))])
    moved.before(0.1)
    moved.after()
    assert moved.share() is None


def test_nothing_is_counted_twice() -> None:
    weight = torch.nn.Parameter(torch.ones(4))
    weight.grad = torch.tensor([0.0, 1.0, 1.0, 1.0])
    moved = Moved([weight])
    moved.before(0.1)
    torch.optim.SGD([weight], lr=0.1).step()
    moved.after()
    assert moved.share() == 1.0, "a weight without a gradient is not asked to move"
    assert moved.share() is None


def test_a_warm_up_that_begins_with_nothing_is_no_rounding() -> None:
    weight = torch.nn.Parameter(torch.ones(4))
    weight.grad = torch.ones(4)
    moved = Moved([weight])
    moved.before(0.0)
    moved.after()
    assert moved.share() is None
