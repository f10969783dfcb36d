"""Actors and critics on the Gaussian model and on a small pipeline: what their tests share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

from driftproof.backends.torch.pretrained.config import Lora, PipelineModel
from driftproof.backends.torch.rl.gaussian import GaussianModel
from driftproof.backends.torch.rl.policies import load_policy
from driftproof.backends.torch.rl.rewards import JPEGReward
from driftproof.backends.torch.rl.sampler import Sampling
from driftproof.backends.torch.score_as_action.config import (
    Budget,
    CriticChoice,
)
from driftproof.backends.torch.score_as_action.critics import NetworkCritic, QuadraticCritic
from driftproof.backends.torch.score_as_action.gaussian import Exact, gaussian_parts
from driftproof.backends.torch.score_as_action.trainer import ActorCriticTrainer

MODEL, BETA = GaussianModel(), 0.5
BUDGET = Budget(
    epochs=4,
    prompts=64,
    per_device_train_batch_size=4096,
    per_device_rollout_batch_size=4096,
    learning_rate=3e-2,
    beta=BETA,
    max_grad_norm=1e9,
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trainer_of(actor, budget=BUDGET, steps=4, eta=1.0, reward=None, **options):
    denoiser, sampler, task = gaussian_parts(MODEL, Sampling(steps, eta))
    task = replace(task, reward=reward or task.reward)
    critic = QuadraticCritic(2, steps, 0.9)
    return ActorCriticTrainer(denoiser, critic, sampler, task, budget, actor, **options), denoiser, sampler


def small_policy(**changes):
    given = {"lora": Lora(2, 2, ("to_q", "to_v")), "side": 16, "prompts": ("cat", "dog"), **changes}
    model = PipelineModel(kind="stable_diffusion", **given)
    return load_policy(model, Sampling(4), JPEGReward(), torch.device("cpu"))


def network_of(policy, **choice):
    times = policy.sampler.timesteps.double() / 1000.0
    given = {"width": 4, "steps": 3, "batch": 16, **choice}
    return NetworkCritic(CriticChoice(**given), policy.task.shape[0], 8, times)


def give_exact_values(critic, denoiser, sampler):
    """Backward recursion of V_k = w . phi for the affine policy, by regression on a few exact points."""
    exact = Exact(MODEL, sampler, BETA)
    steps, base = exact._steps(denoiser), exact._steps(gaussian_parts(MODEL, Sampling(sampler.n_steps))[0])
    reward = MODEL.reward
    points = torch.as_tensor(np.random.default_rng(0).normal(size=(40, 2)))

    def after(x):
        return np.asarray(reward.value(x))

    tail = np.asarray(reward.Q) * -1.0
    for k in reversed(range(sampler.n_steps)):
        (slope, shift, std), (slope0, shift0, _) = steps[k], base[k]
        mean, mean0 = (points.numpy() @ a.T + b for a, b in ((slope, shift), (slope0, shift0)))
        # E V(m + std z) = V(m) + std^2 tr V'' / 2 for a quadratic V.
        cost = BETA * np.sum((mean - mean0) ** 2, axis=1) / (2 * std**2)
        values = after(mean) + 0.5 * std**2 * np.trace(tail) - cost
        phi = critic._features(points)
        w = torch.linalg.lstsq(phi, torch.as_tensor(values)[:, None]).solution[:, 0]
        critic.weights[k] = w
        tail = np.array([[2 * w[3], w[4]], [w[4], 2 * w[5]]])

        def after(x, w=w):
            return (critic._features(torch.as_tensor(x)) @ w).numpy()
