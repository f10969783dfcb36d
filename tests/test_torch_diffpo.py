"""Masked language models trained on rollouts: gradients by enumeration, paths, exact to resume."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("transformers")

from torch import Tensor, nn

from driftproof import UnmetHypothesis
from driftproof.backends.torch.diffpo import (
    Method,
    Settings,
    ThresholdHead,
    Trainer,
    roll_out,
)
from driftproof.backends.torch.diffpo.losses import surrogate
from driftproof.backends.torch.diffpo.rollouts import Rollout, accepted
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.stop import TrainingInterrupted
from driftproof.theory.diffpo import (
    EntropyBound,
    TabularDenoiser,
    elbo,
    mean_field,
    output_law,
    path,
    threshold_gradient,
)

SIZE, LENGTH, EIGHTHS = 2, 2, 8
# Laws in eighths, at every state: with noise on a grid of eighths, all rollouts together are their law.
PARTS = np.random.default_rng(2).integers(1, EIGHTHS, size=((SIZE + 1) ** LENGTH, LENGTH))
TABLE = np.log(np.stack([PARTS, EIGHTHS - PARTS], axis=-1) / EIGHTHS)
EVERY = list(itertools.product(range(SIZE), repeat=LENGTH))
REWARD = torch.tensor([1.0, -0.5, 0.25, 2.0], dtype=torch.float64)


class Table(nn.Module):
    """A denoiser with free logits, padding and all."""

    mask_token, vocabulary = SIZE, SIZE

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.tensor(TABLE))

    def logits(self, z: Tensor, attention_mask: Tensor) -> Tensor:
        powers = (SIZE + 1) ** torch.arange(LENGTH - 1, -1, -1)
        return self.table[(z[:, :LENGTH] * powers).sum(dim=1)]


class Every:
    """All rollouts of two tokens: a prompt without a token, and rewards by the sequence."""

    def draw(self, generator: Any, count: int) -> tuple[Tensor, Tensor]:
        z = torch.full((count, LENGTH), SIZE)
        return z, torch.ones_like(z)

    def reward(self, z: Tensor, x: Tensor) -> Tensor:
        return REWARD[2 * x[:, 0] + x[:, 1]]


def grid() -> Tensor:
    """Every pair of uniform numbers in the middle of eighths, (64, 2)."""
    middle = (torch.arange(EIGHTHS, dtype=torch.float64) + 0.5) / EIGHTHS
    return torch.cartesian_prod(middle, middle)


def trainer_of(method: Method, rows: int = 64, **settings: Any) -> Trainer:
    plan = Plan(max_steps=6, train_batch_size=rows, learning_rate=0.01, max_grad_norm=1e9, save_steps=2)
    chosen = {"thresholds": (0.0, 9.0), "samples": rows, **settings}
    return Trainer(Table(), Every(), Settings(method, **chosen), plan)


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


# -- runs


def test_samples_must_divide_the_rows() -> None:
    with pytest.raises(UnmetHypothesis, match="samples divides the rows of a step"):
        trainer_of(Method("trace"), samples=7)


def test_a_temperature_needs_weights_by_the_rollout() -> None:
    with pytest.raises(UnmetHypothesis, match="temperature = 1, for a loss that does not weigh"):
        trainer_of(Method("trace"), temperature=0.5)
    trainer_of(Method("diffpo"), temperature=0.5)
    trainer_of(Method("trace", trains="sampler"), temperature=0.5)


def test_another_task_or_model_is_another_run(tmp_path: Path) -> None:
    def trainer(trains: Any = "model", reward: str = "sum", shift: float = 0.0, size: int = SIZE) -> Trainer:
        found = trainer_of(Method("diffpo", trains=trains), 16, samples=4)
        found.task.description = lambda: {"reward": reward}
        found.model.vocabulary = size
        with torch.no_grad():
            found.model.table += shift
        return found

    trainer().run(tmp_path / "model.safetensors")
    trainer("sampler").run(tmp_path / "sampler.safetensors")
    trainer().run(tmp_path / "model.safetensors")  # the same resumes
    trainer("sampler").run(tmp_path / "sampler.safetensors")
    with pytest.raises(ValueError, match=r"another configuration \(task.reward: 'sum' there"):
        trainer(reward="product").run(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"another configuration \(model: "):
        trainer(size=1).run(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"another configuration \(weights: "):
        trainer("sampler", shift=1.0).run(tmp_path / "sampler.safetensors")


def test_padding_says_nothing_of_a_threshold() -> None:
    head = ThresholdHead((0.0, 1.0, 2.0), 4)
    nn.init.normal_(head.said.weight)
    z, attention = torch.tensor([[1, 2, 3], [1, 2, 0]]), torch.tensor([[1, 1, 0], [1, 1, 0]])
    torch.testing.assert_close(*head(z, attention))
    z[0, 2] = -100  # as others write padding
    torch.testing.assert_close(*head(z, attention))
    assert head.choose(z, attention, torch.tensor([0.0, 0.999999])).tolist() == [0, 2]


@pytest.mark.parametrize("trains", ["model", "joint"])
def test_a_run_that_was_stopped_is_the_run_that_was_not(tmp_path: Path, trains: Any) -> None:
    method, settings = Method("diffpo", trains=trains), {"samples": 4, "iterations": 2, "cost": 0.1}
    whole = trainer_of(method, 16, **settings)
    whole.run(tmp_path / "whole.safetensors")
    stopped = trainer_of(method, 16, **settings)
    drawn, asked = stopped.task.draw, []

    def draw(generator: Any, count: int) -> tuple[Tensor, Tensor]:
        asked.append(count)
        if len(asked) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return drawn(generator, count)

    stopped.task.draw = draw  # type: ignore[method-assign]
    with pytest.raises(TrainingInterrupted):
        stopped.run(tmp_path / "stopped.safetensors")
    again = trainer_of(method, 16, **settings)
    again.run(tmp_path / "stopped.safetensors")
    assert len(again.rows) == 6
    assert torch.equal(torch.stack(again.rows), torch.stack(whole.rows))
    for name, value in whole.parts.state_dict().items():
        assert torch.equal(value, again.parts.state_dict()[name]), name
    other = trainer_of(Method("diffpo", trains=trains, cap=3.0), 16, **settings)
    with pytest.raises(ValueError, match="another configuration"):
        other.run(tmp_path / "stopped.safetensors")


SECONDS = pytest.mark.slow(ci=True)


@pytest.mark.parametrize(
    "loss",
    [
        "diffpo",
        *(
            pytest.param(name, marks=SECONDS)
            for name in ("trace", "diffu_grpo", "wd1", "gdpo", "coupled_grpo")
        ),
    ],
)
def test_the_reward_rises(loss: Any) -> None:
    """A table in a few steps, for every loss; mean field is the policy where all is revealed at once, and there alone."""
    thresholds = (9.0, 10.0) if loss in ("diffu_grpo", "wd1") else (0.0, 9.0)
    plan = Plan(
        max_steps=60, train_batch_size=64, learning_rate=0.05, lr_scheduler_type="constant_with_warmup"
    )
    settings = Settings(Method(loss), thresholds, samples=16)
    trainer = Trainer(Table(), Every(), settings, plan)
    trainer.run()
    rewards = trainer.column("reward")
    assert np.mean(rewards[-5:]) > np.mean(rewards[:5]) + 0.5, rewards


def test_a_prompt_that_masks_nothing_is_told() -> None:
    trainer = trainer_of(Method("trace"), 16, samples=4)
    trainer.task.draw = lambda generator, count: (  # type: ignore[method-assign]
        torch.zeros(count, LENGTH, dtype=torch.long),
        torch.ones(count, LENGTH, dtype=torch.long),
    )
    with pytest.raises(UnmetHypothesis, match="every prompt masks a position"):
        trainer.run()
