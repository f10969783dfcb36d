"""Network forwards an image-step, counted where torch dispatches: a forward that is added to a trainer fails here.

An image-step is one step of one sample; what is counted is the rows that pass the first convolution of the network.
Guidance is 1, so that a call is one row; measurements, which are not training, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

from accelerate import Accelerator
from torch.utils._python_dispatch import TorchDispatchMode

from driftproof.backends.torch.adjoint import FlowTrainer, Matching
from driftproof.backends.torch.adjoint.models import prepared
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.reward_gap import config as policy_gradients
from driftproof.backends.torch.reward_gap.methods import DDPO, MixGRPO
from driftproof.backends.torch.rl.trainer import RolloutTrainer
from driftproof.backends.torch.score_as_action import ActorCriticTrainer, CriticChoice, NetworkCritic
from driftproof.backends.torch.score_as_action import config as actors
from driftproof.numerics.reward_gap import Window
from tests.small_pipelines import flow_model, policy

STEPS, ROWS = 4, 4


class Forwards(TorchDispatchMode):
    """Counts the rows that are convolved with one weight."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight, self.rows = weight.data_ptr(), 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten.convolution.default and args[1].data_ptr() == self.weight:
            self.rows += len(args[0])
        return function(*args, **(kwargs or {}))


@contextmanager
def counted(weight: torch.Tensor, most: float) -> Iterator[None]:
    """The forwards inside are this many an image-step."""
    with Forwards(weight) as found:
        yield
    assert found.rows / (STEPS * ROWS) == most


def test_a_forward_that_is_added_is_seen() -> None:
    pipe = policy("stable_diffusion", steps=STEPS, guidance=1.0)
    x, t = torch.zeros(ROWS, *pipe.task.shape), torch.full((ROWS,), 500)
    rows = pipe.task.condition(torch.zeros(ROWS, dtype=torch.long))
    for times in (1, 2):
        with counted(pipe.network.conv_in.weight, times / STEPS):
            for _ in range(times):
                pipe.denoiser(x, t, rows)


@pytest.mark.parametrize(
    ("options", "forwards"),
    [
        ({}, 2.0),  # the rollout, and the update
        ({"num_iterations": 2}, 3.0),
        ({"beta": 0.01, "kl": "loss"}, 3.0),  # and the reference, once
        ({"beta": 0.01, "kl": "path"}, 3.0),
    ],
)
def test_ddpo(options: dict[str, Any], forwards: float) -> None:
    pipe = policy("stable_diffusion", steps=STEPS, guidance=1.0)
    budget = policy_gradients.Budget(
        epochs=1,
        prompts=2,
        num_generations=2,
        per_device_train_batch_size=8,
        per_device_rollout_batch_size=8,
        pairs=2,
        **options,
    )
    trainer = RolloutTrainer(
        DDPO(budget), pipe.denoiser, pipe.sampler, pipe.task, accelerator=Accelerator(cpu=True)
    )
    noisy = len([std for std in pipe.sampler.stds(pipe.sampler.eta) if std > 0.0])
    # Steps without noise are sampled, and not learnt from.
    expected = (STEPS + (forwards - 1.0) * noisy) / STEPS
    with counted(pipe.network.conv_in.weight, expected):
        trainer._epoch(0)


@pytest.mark.parametrize(("beta", "forwards"), [(0.0, 1.5), (0.01, 2.0)])
def test_mixgrpo_learns_from_its_window(beta: float, forwards: float) -> None:
    """Two of four steps."""
    pipe = policy("stable_diffusion_3", steps=STEPS, guidance=1.0)
    budget = policy_gradients.Budget(
        epochs=1,
        prompts=2,
        num_generations=2,
        per_device_train_batch_size=8,
        per_device_rollout_batch_size=8,
        pairs=2,
        beta=beta,
    )
    trainer = RolloutTrainer(
        MixGRPO(budget, Window(2, every=1)),
        pipe.denoiser,
        pipe.sampler,
        pipe.task,
        accelerator=Accelerator(cpu=True),
    )
    with counted(pipe.network.pos_embed.proj.weight, forwards):
        trainer._epoch(0)


@pytest.mark.parametrize(("skip", "passes"), [("none", 1), ("constant", 1), ("none", 2)])
def test_score_as_action(skip: str, passes: int) -> None:
    """The rollout, the reference, and each pass; the reward of a denoised state takes the output of the rollout."""
    pipe = policy("stable_diffusion", steps=STEPS, guidance=1.0)
    budget = actors.Budget(
        epochs=1,
        prompts=2,
        num_generations=2,
        per_device_train_batch_size=8,
        per_device_rollout_batch_size=8,
        num_iterations=passes,
    )
    times = pipe.sampler.timesteps.double() / 1000.0
    critic = NetworkCritic(CriticChoice(width=4, steps=2, batch=8, skip=skip), pipe.task.shape[0], 8, times)
    trainer = ActorCriticTrainer(
        pipe.denoiser, critic, pipe.sampler, pipe.task, budget, "ppo", accelerator=Accelerator(cpu=True)
    )
    noisy = trainer.actor_critic.count
    with counted(pipe.network.conv_in.weight, (STEPS + (1 + passes) * noisy) / STEPS):
        trainer._epoch(0)


@pytest.mark.parametrize(
    ("options", "forwards"),
    [
        # The rollout, the products with Jacobians (none at the first step), the policy, and the base where no
        # product gave it: at the first step.
        ({}, (STEPS + (STEPS - 1) + STEPS + 1) / STEPS),
        ({"last": 2, "mode": "train"}, (STEPS + 1 + 2 + 1) / STEPS),
        ({"last": 2, "mode": "identity"}, (STEPS + 0 + 2 + 2) / STEPS),
    ],
)
def test_adjoint_matching(options: dict[str, Any], forwards: float) -> None:
    made = prepared(flow_model("sit"), STEPS, lambda images, _: images.flatten(1).sum(1), torch.device("cpu"))
    plan = Plan(max_steps=1, train_batch_size=ROWS, learning_rate=0.05)
    matching = Matching(0.1, **options)
    trainer = FlowTrainer(made.flow, made.task, made.times, matching, plan, accelerator=Accelerator(cpu=True))
    with counted(made.network.pos_embed.proj.weight, forwards):
        trainer.trainer._epoch(0)


def test_the_evaluation_of_adjoint_matching() -> None:
    """The rollout, the products with Jacobians, the policy, and the base at the first step."""
    made = prepared(flow_model("sit"), STEPS, lambda images, _: images.flatten(1).sum(1), torch.device("cpu"))
    trainer = FlowTrainer(
        made.flow,
        made.task,
        made.times,
        Matching(0.1),
        Plan(max_steps=1, train_batch_size=ROWS, learning_rate=0.05),
    )
    noise, rows = torch.zeros(ROWS, *made.task.shape), torch.zeros(ROWS, dtype=torch.long)
    with counted(made.network.pos_embed.proj.weight, (STEPS + (STEPS - 1) + STEPS + 1) / STEPS):
        trainer.evaluate(noise, rows)
