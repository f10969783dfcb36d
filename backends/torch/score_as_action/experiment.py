"""Runs of a recipe: each actor and seed on the Gaussian model beside its exact optimum, or on a pipeline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import nn

from driftproof.backends.torch.kit.changes import Change
from driftproof.backends.torch.kit.intervals import student_interval
from driftproof.backends.torch.rl.gaussian import GaussianModel
from driftproof.backends.torch.rl.held_out import held_out_rewards
from driftproof.backends.torch.rl.history import Log
from driftproof.backends.torch.rl.rewards import make_reward
from driftproof.theory.processes import VP
from driftproof.theory.score_as_action import terminal_law

from .config import Actor, Budget, Recipe
from .critics import QuadraticCritic
from .gaussian import Exact, Floats, Moments, gaussian_parts
from .trainer import ActorCriticTrainer, network_critic

__all__ = ["GaussianOutcome", "PipelineOutcome", "pipeline_trainer", "run_gaussian", "run_pipeline"]


@final
@dataclass(frozen=True, slots=True)
class GaussianOutcome:
    """Runs on the Gaussian model.

    Arguments:
        recipe: The recipe that was run.
        before: The pre-trained policy.
        optimum: The best policy of these N steps.
        continuous: Mean and covariance at the optimum of infinitely many steps.
        ends: For each actor what every seed ended with.
        logs: For each actor the log of every seed.
        measured: For each actor the objective on fresh trajectories: mean and standard error, seeds together.
    """

    recipe: Recipe
    before: Moments
    optimum: Moments
    continuous: tuple[Floats, Floats]
    ends: Mapping[str, tuple[Moments, ...]]
    logs: Mapping[str, tuple[Log, ...]]
    measured: Mapping[str, tuple[float, float]]

    def interval(self, actor: str, level: float) -> tuple[Floats, Floats]:
        """Mean and half-width over seeds of the numbers of :func:`numbers`, jointly at this level (Bonferroni)."""
        found = np.asarray([numbers(end) for end in self.ends[actor]])
        return student_interval(found, level, together=found.shape[1])

    def inside(self, actor: str, level: float) -> bool:
        """Whether the optimum lies in the interval, in every number."""
        mean, half = self.interval(actor, level)
        return bool(np.all(np.abs(mean - numbers(self.optimum)) <= half))


def numbers(moments: Moments) -> Floats:
    """Means, and covariances on and above the diagonal."""
    return np.concatenate([moments.mean, moments.cov[np.triu_indices(len(moments.mean))]])


@final
@dataclass(frozen=True, slots=True)
class PipelineOutcome:
    """Runs on a pipeline: for each actor a log, and the change of the reward from held-out starts, without noise."""

    recipe: Recipe
    logs: Mapping[str, Log]
    changes: tuple[Change, ...]


def run_gaussian(recipe: Recipe, folder: Path, accelerator: Accelerator) -> GaussianOutcome:
    """Train every actor with every seed, and find the optimum that the theory gives."""
    model = recipe.gaussian
    assert model is not None  # chosen by the caller
    denoiser, sampler, _ = gaussian_parts(model, recipe.sampling)
    exact = Exact(model, sampler, recipe.budget.beta)
    before, optimum = exact.of(denoiser), exact.optimum()
    ends: dict[str, tuple[Moments, ...]] = {}
    logs: dict[str, tuple[Log, ...]] = {}
    measured: dict[str, tuple[float, float]] = {}
    for actor in recipe.actors:
        runs = [_gaussian_run(recipe, model, actor, seed, folder, accelerator) for seed in recipe.seeds]
        ends[actor], logs[actor] = tuple(run[0] for run in runs), tuple(run[1] for run in runs)
        draws = torch.cat([run[2] for run in runs])
        measured[actor] = float(draws.mean()), float(draws.std()) / math.sqrt(len(draws))
    law = terminal_law(VP(model.decay, model.decay, 1.0), model.data, model.reward, recipe.budget.beta)
    return GaussianOutcome(recipe, before, optimum, (law.mean, law.cov), ends, logs, measured)


def _gaussian_run(
    recipe: Recipe, model: GaussianModel, actor: Actor, seed: int, folder: Path, accelerator: Accelerator
) -> tuple[Moments, Log, torch.Tensor]:
    denoiser, sampler, task = gaussian_parts(model, recipe.sampling)
    budget = _budget(actor, recipe, seed)
    critic = QuadraticCritic(len(model.mean), sampler.n_steps, recipe.critic.memory)
    trainer = ActorCriticTrainer(
        denoiser,
        critic,
        sampler,
        task,
        budget,
        actor,
        accelerator=accelerator,
        title=f"gaussian, {actor} {seed}",
    )
    log = trainer.train(folder / f"gaussian-{actor}-{seed}.safetensors", config=_fingerprint(recipe))
    exact = Exact(model, sampler, budget.beta)
    return exact.of(denoiser), log, trainer.actor_critic.evaluate(trainer, recipe.evaluation)


def pipeline_trainer(
    recipe: Recipe, actor: Actor, accelerator: Accelerator
) -> tuple[ActorCriticTrainer, nn.Module]:
    """The trainer of a pipeline with an actor, and the network whose adapter it trains."""
    from driftproof.backends.torch.rl.policies import load_policy

    assert recipe.pipeline is not None  # chosen by the caller
    device, seed = accelerator.device, recipe.budget.seed
    policy = load_policy(recipe.pipeline, recipe.sampling, make_reward(recipe.reward, device), device, seed)
    trainer = ActorCriticTrainer(
        policy.denoiser,
        network_critic(recipe.critic, policy.sampler, policy.task, seed, device),
        policy.sampler,
        policy.task,
        _budget(actor, recipe, seed),
        actor,
        accelerator=accelerator,
        title=actor,
    )
    return trainer, policy.network


def run_pipeline(recipe: Recipe, folder: Path, accelerator: Accelerator) -> PipelineOutcome:
    """Train the adapter of a pipeline with every actor; adapters are left in ``folder/lora-<actor>``."""
    from driftproof.backends.torch.pretrained.lora import save_adapter

    model = recipe.pipeline
    assert model is not None  # chosen by the caller
    logs: dict[str, Log] = {}
    changes = []
    for actor in recipe.actors:
        trainer, network = pipeline_trainer(recipe, actor, accelerator)
        before = held_out_rewards(
            trainer, recipe.held_out
        )  # train() alone takes up the weights of a checkpoint
        logs[actor] = trainer.train(folder / f"{model.kind}-{actor}.safetensors", config=_fingerprint(recipe))
        if accelerator.is_main_process:
            save_adapter(network, folder / f"lora-{actor}")
        what = f"{recipe.title}: {actor}: reward without noise from {len(before)} held-out starts"
        changes.append(Change.paired(what, before, held_out_rewards(trainer, recipe.held_out)))
    return PipelineOutcome(recipe, logs, tuple(changes))


def _budget(actor: Actor, recipe: Recipe, seed: int) -> Budget:
    """Several passes are for the clipped ratio alone."""
    passes = recipe.budget.num_iterations if actor == "ppo" else 1
    return replace(recipe.budget, seed=seed, num_iterations=passes)


def _fingerprint(recipe: Recipe) -> dict[str, object]:
    """The recipe's part of a checkpoint's metadata."""
    parts = ("sampling", "gaussian", "pipeline", "reward")
    return {name: getattr(recipe, name) for name in parts}
