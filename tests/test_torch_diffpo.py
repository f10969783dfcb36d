"""Masked language models trained on rollouts: gradients by enumeration, and paths."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("transformers")

from torch import Tensor

from driftproof.backends.torch.diffpo import (
    Method,
    Trainer,
    roll_out,
)
from driftproof.backends.torch.diffpo.losses import surrogate
from driftproof.backends.torch.diffpo.rollouts import Rollout, accepted
from driftproof.theory.diffpo import (
    EntropyBound,
    TabularDenoiser,
    elbo,
    mean_field,
    output_law,
    path,
    threshold_gradient,
)
from tests.diffpo_table import LENGTH, REWARD, SIZE, TABLE, Every, Table, grid, trainer_of

EVERY = list(itertools.product(range(SIZE), repeat=LENGTH))


def gradient(
    method: Method, thresholds: tuple[float, ...] = (0.0,), cost: float = 0.0
) -> tuple[Trainer, Any]:
    """The trainer's own loss on all rollouts, backward, and the rollouts."""
    trainer = trainer_of(method, 64 * len(thresholds), cost=cost)
    noise = grid().repeat(len(thresholds), 1)
    index = torch.arange(len(thresholds)).repeat_interleave(64)
    gamma = torch.tensor(thresholds, dtype=torch.float64)[index]
    z, attention = Every().draw(None, len(noise))
    rollout = roll_out(trainer.model, z, attention, gamma, noise)
    rewards = Every().reward(z, rollout.x) - cost * rollout.evaluations
    value, _ = trainer.losses(rollout, index, rewards, torch.Generator().manual_seed(0))()
    value.backward()
    return trainer, rollout


def exact(function: Any) -> Tensor:
    """The gradient of a function of a table, by autograd through theory."""
    table = torch.tensor(TABLE, requires_grad=True)
    function(TabularDenoiser(table)).backward()
    return table.grad


# -- gradients


def test_rollouts_on_a_grid_are_the_law() -> None:
    _, rollout = gradient(Method("trace"))
    counts = np.bincount((2 * rollout.x[:, 0] + rollout.x[:, 1]).numpy(), minlength=4) / 64
    np.testing.assert_allclose(
        counts, np.exp(output_law(TabularDenoiser(TABLE), EntropyBound(0.0))), atol=1e-15
    )


def test_the_gradient_of_traces_is_the_gradient_of_the_reward() -> None:
    """One token an evaluation: of all 64 rollouts, each with the others as baseline, G/(G - 1) of it."""
    trainer, _ = gradient(Method("trace"))

    def reward(model: Any) -> Tensor:
        return (output_law(model, EntropyBound(0.0)).exp() * REWARD).sum()

    want = -exact(reward) / LENGTH * 64.0 / 63.0
    np.testing.assert_allclose(trainer.model.table.grad, want, atol=1e-14)
    assert float(want.abs().max()) > 0.01


def test_the_gradient_of_mean_field_is_that_of_its_likelihood() -> None:
    trainer, _ = gradient(Method("diffu_grpo"))
    law = np.exp(output_law(TabularDenoiser(TABLE), EntropyBound(0.0)))
    advantage = torch.tensor(law * (REWARD.numpy() - law @ REWARD.numpy()))
    want = exact(lambda model: (advantage * mean_field(model, EVERY)).sum()) * -64.0 / 63.0 / LENGTH
    np.testing.assert_allclose(trainer.model.table.grad, want, atol=1e-14)


def test_mean_field_trains_no_state_but_the_first() -> None:
    trainer, rollout = gradient(Method("diffu_grpo"))
    slope = trainer.model.table.grad.abs().sum(dim=(1, 2))
    assert (slope > 0.0).nonzero().tolist() == [[(SIZE + 1) ** LENGTH - 1]]
    assert rollout.evaluations.tolist() == [2] * 64  # though every rollout draws from another one, too


def test_weighted_likelihood_by_hand() -> None:
    trainer, rollout = gradient(Method("wd1"))
    rewards = Every().reward(rollout.z, rollout.x)
    a = (rewards - rewards.mean()) * 64.0 / 63.0
    weight = torch.softmax(-a, 0) - torch.softmax(a, 0)
    want = exact(lambda model: (weight * mean_field(model, rollout.x)).sum())
    np.testing.assert_allclose(trainer.model.table.grad, want, atol=1e-14)


def test_capped_weights_of_two_times_by_hand() -> None:
    """Every token at its state, weighed by what the rollout recorded."""
    method = Method("diffpo", cap=1.1, clip=0.2)
    trainer, rollout = gradient(method)
    tau = (torch.rand(64, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2.0).floor()
    rewards = Every().reward(rollout.z, rollout.x)
    a = (rewards - rewards.mean()) * 64.0 / 63.0
    model, total = Table(), torch.zeros(())
    laws = lambda z: torch.log_softmax(model.logits(z, torch.ones_like(z)), -1)
    for b, i in itertools.product(range(64), range(LENGTH)):
        late = bool(rollout.step[b, i] > tau[b])
        z = torch.where((rollout.step[b] <= tau[b]) & late, rollout.x[b], SIZE)[None]
        log_p = laws(z)[0, i, rollout.x[b, i]]
        weight = (log_p.detach() - rollout.log_probs[b, i]).exp().clamp(max=1.1)
        total = total - a[b] * weight * log_p / LENGTH / 64.0
    total.backward()
    np.testing.assert_allclose(trainer.model.table.grad, model.table.grad, atol=1e-14)


def test_the_gradient_of_thresholds_is_that_of_their_rewards() -> None:
    trainer, rollout = gradient(Method("diffpo", trains="joint"), (0.0, 9.0), cost=0.1)
    values = []
    for gamma, evaluations in ((0.0, 2), (9.0, 1)):
        law = np.exp(output_law(TabularDenoiser(TABLE), EntropyBound(gamma)))
        values.append(float(law @ REWARD.numpy()) - 0.1 * evaluations)
    want = -threshold_gradient([0.0, 0.0], values) * 128.0 / 127.0
    np.testing.assert_allclose(trainer.head.bias.grad, want, atol=1e-6)
    # The prompt is two masks, whose mean says what one of them says.
    np.testing.assert_allclose(trainer.head.said.weight.grad[SIZE], want, atol=1e-6)
    assert rollout.evaluations.tolist() == [2] * 64 + [1] * 64


def test_masks_of_coupled_and_of_quadrature_are_complements_and_draws() -> None:
    """What is scored, by the laws of the table at the states that were drawn."""
    _, rollout = gradient(Method("trace"))
    for loss, count in (("coupled_grpo", 2), ("gdpo", 2)):
        seen: list[Tensor] = []

        class Watched(Table):
            def logits(self, z: Tensor, attention_mask: Tensor, seen: list[Tensor] = seen) -> Tensor:
                seen.append(z == SIZE)
                return super().logits(z, attention_mask)

        scored = surrogate(Method(loss), rollout, SIZE, torch.Generator().manual_seed(1))
        first, again = scored(Watched()), scored(Watched())
        assert len(seen) == 2 * count
        assert torch.equal(first, again)  # the same masks in every pass
        if loss == "coupled_grpo":
            assert torch.equal(seen[0], ~seen[1])
        assert first.shape == ((64, 2) if loss == "coupled_grpo" else (64,))
        assert bool(torch.isfinite(first).all())


def test_the_mean_of_quadrature_over_its_draws_is_the_lower_bound() -> None:
    """One sequence, 20000 draws of its masks: two nodes are exact for two tokens."""
    _, rollout = gradient(Method("trace"))
    row = (rollout.x == 1).all(dim=1).nonzero()[:1, 0].repeat(20000)
    parts = {name: getattr(rollout, name)[row] for name in ("z", "attention", "x", "step", "log_probs")}
    scored = surrogate(Method("gdpo"), Rollout(**parts), SIZE, torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = scored(Table())
    want = float(elbo(TabularDenoiser(TABLE), (1, 1)))
    assert float(found.std()) > 0.01
    assert abs(float(found.mean()) - want) < 6.0 * float(found.std()) / 20000**0.5


# -- rollouts


def test_accepted_positions_are_those_of_theory() -> None:
    rng = np.random.default_rng(0)
    log_p = np.log(rng.dirichlet([0.4] * 5, size=(200, 7)))
    log_p[:, 3] = log_p[:, 1]  # ties go to the left
    hidden = rng.random((200, 7)) < 0.7
    hidden[:, 0] |= ~hidden.any(axis=1)
    entropy = torch.tensor(-(np.exp(log_p) * log_p).sum(-1))
    for gamma in (0.0, 0.3, 1.5, 99.0):
        want = EntropyBound(gamma).moves(log_p, hidden)[0][:, 0]
        found = accepted(entropy, torch.tensor(hidden), torch.full((200,), gamma))
        np.testing.assert_array_equal(found.numpy(), want)


def test_the_recorded_log_probabilities_are_those_of_the_path() -> None:
    _, rollout = gradient(Method("trace"), (0.0, 9.0))
    for half, gamma in ((slice(64), 0.0), (slice(64, 128), 9.0)):
        want = path(TabularDenoiser(TABLE), EntropyBound(gamma), rollout.x[half])
        np.testing.assert_allclose(rollout.log_probs[half], want.log_probs, atol=1e-14)
        np.testing.assert_array_equal(rollout.step[half], want.step)


def test_temperature_is_of_the_draws() -> None:
    z, attention = Every().draw(None, 64)
    cold = roll_out(Table(), z, attention, torch.zeros(64), grid(), temperature=1e-3)
    assert len(set(map(tuple, cold.x.tolist()))) == 1
    np.testing.assert_allclose(cold.log_probs, 0.0, atol=1e-9)


def test_a_logit_that_is_nan_is_no_certainty() -> None:
    model, (z, attention) = Table(), Every().draw(None, 64)
    with torch.no_grad():
        model.table[0] = float("nan")  # where nothing is masked: never asked for
    roll_out(model, z, attention, torch.zeros(64), grid())
    with torch.no_grad():
        model.table[-1, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="a logit is NaN"):
        roll_out(model, z, attention, torch.zeros(64), grid())
