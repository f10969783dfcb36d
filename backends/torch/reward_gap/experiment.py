"""Runs of a recipe: the Gaussian model over seeds beside its exact optimum, or a pipeline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from numpy.typing import NDArray
from torch import Tensor, nn

from driftproof.backends.torch.kit.changes import Change
from driftproof.backends.torch.kit.intervals import student_interval
from driftproof.backends.torch.rl.gaussian import vp_sampler
from driftproof.backends.torch.rl.held_out import held_out_rewards
from driftproof.backends.torch.rl.history import Log
from driftproof.backends.torch.rl.rewards import make_reward
from driftproof.backends.torch.rl.sampler import Sampler
from driftproof.backends.torch.rl.task import Task
from driftproof.backends.torch.rl.trainer import RolloutTrainer
from driftproof.theory.processes import VP
from driftproof.theory.reward_gap import DDPOToy, Tuned

from .config import Recipe, ScalarModel
from .gaussian import Exact, GaussianDenoiser, gaussian_task
from .methods import DDPO, MixGRPO

__all__ = [
    "GaussianOutcome",
    "PipelineOutcome",
    "pipeline_trainer",
    "run_gaussian",
    "run_pipeline",
    "trainer_of",
]


@final
@dataclass(frozen=True, slots=True)
class GaussianOutcome:
    """Runs of several seeds on the Gaussian model.

    Arguments:
        recipe: The recipe that was run.
        logs: One log for each seed.
        exact: The exact objective.
        windows: The windows that the trainer goes through.
        optimum: Where its expected update vanishes: theta and kappa.
        continuous: The optimum of infinitely many steps; None where there is none (beta = 0).
    """

    recipe: Recipe
    logs: tuple[Log, ...]
    exact: Exact
    windows: tuple[tuple[int, ...], ...]
    optimum: tuple[float, float]
    continuous: Tuned | None

    @property
    def model(self) -> ScalarModel:
        """The model of the recipe."""
        assert self.recipe.gaussian is not None  # checked by run_gaussian
        return self.recipe.gaussian

    def ends(self) -> NDArray[np.float64]:
        """The mean of theta and kappa over the tail of each run, shape (seeds, 2)."""
        keep = max(1, round(self.model.tail * self.recipe.budget.epochs))
        return np.array(
            [[np.mean(log.column(name)[-keep:]) for name in ("theta", "kappa")] for log in self.logs]
        )

    def interval(self, level: float) -> list[tuple[float, float]]:
        """Mean and half-width of Student's interval over seeds, for theta and kappa; nan for one seed."""
        mean, half = student_interval(self.ends(), level)
        return list(zip(mean.tolist(), half.tolist(), strict=True))


@final
@dataclass(frozen=True, slots=True)
class PipelineOutcome:
    """One run on a pipeline.

    Arguments:
        recipe: The recipe that was run.
        log: The history of the run.
        change: The change of the reward from held-out starts, without noise.
    """

    recipe: Recipe
    log: Log
    change: Change


def trainer_of(
    recipe: Recipe,
    denoiser: nn.Module,
    sampler: Sampler,
    task: Task,
    accelerator: Accelerator,
    title: str,
    seed: int,
) -> RolloutTrainer[Tensor]:
    """The trainer of the recipe's method."""
    budget = replace(recipe.budget, seed=seed)
    method = DDPO(budget) if recipe.method == "ddpo" else MixGRPO(budget, recipe.window)
    return RolloutTrainer(method, denoiser, sampler, task, accelerator=accelerator, title=title)


def run_gaussian(recipe: Recipe, folder: Path, accelerator: Accelerator) -> GaussianOutcome:
    """Train one Gaussian model for each seed, and find the optimum that the theory gives."""
    model = recipe.gaussian
    assert model is not None  # chosen by the caller
    logs = []
    for seed in recipe.seeds:
        sampler = vp_sampler(model.decay, model.levels, recipe.sampling)
        denoiser = GaussianDenoiser(model, sampler.scheduler.alphas_cumprod)
        task = gaussian_task(model, denoiser)
        trainer = trainer_of(recipe, denoiser, sampler, task, accelerator, f"gaussian {seed}", seed)
        place = folder / f"gaussian-{recipe.method}-{seed}.safetensors"
        logs.append(trainer.train(place, config=_fingerprint(recipe)))
    sampler = vp_sampler(model.decay, model.levels, recipe.sampling)
    denoiser = GaussianDenoiser(model, sampler.scheduler.alphas_cumprod)
    exact = Exact(model, sampler, denoiser, recipe.budget.beta, recipe.budget.kl)
    n = sampler.n_steps
    windows = {tuple(range(n))}
    if recipe.method == "mixgrpo":
        every = recipe.window.every
        windows = {tuple(recipe.window.steps(n, i * every)) for i in range(n)}
    optimum = exact.optimum(sorted(windows))
    continuous = None
    if recipe.budget.beta > 0.0:
        process = VP(model.decay, model.decay, 1.0)
        toy = DDPOToy(process, 0.0, model.variance, target=model.target, beta=recipe.budget.beta)
        continuous = toy.tuned(recipe.sampling.eta)
    return GaussianOutcome(recipe, tuple(logs), exact, tuple(sorted(windows)), optimum, continuous)


def pipeline_trainer(recipe: Recipe, accelerator: Accelerator) -> tuple[RolloutTrainer[Tensor], nn.Module]:
    """The trainer of a pipeline, and the network whose adapter it trains."""
    from driftproof.backends.torch.rl.policies import load_policy

    assert recipe.pipeline is not None  # chosen by the caller
    reward, seed = make_reward(recipe.reward, accelerator.device), recipe.budget.seed
    policy = load_policy(recipe.pipeline, recipe.sampling, reward, accelerator.device, seed)
    parts = policy.denoiser, policy.sampler, policy.task
    return trainer_of(recipe, *parts, accelerator, recipe.method, seed), policy.network


def run_pipeline(recipe: Recipe, folder: Path, accelerator: Accelerator) -> PipelineOutcome:
    """Train the adapter of a pipeline; it is left in ``folder/lora``."""
    from driftproof.backends.torch.pretrained.loader import prompts_of
    from driftproof.backends.torch.pretrained.lora import save_adapter

    model = recipe.pipeline
    assert model is not None  # chosen by the caller
    prompts_of(model)  # a missing file is reported before anything is loaded
    trainer, network = pipeline_trainer(recipe, accelerator)
    place = folder / f"{model.kind}-{recipe.method}.safetensors"
    before = held_out_rewards(
        trainer, recipe.budget.pairs
    )  # train() alone takes up the weights of a checkpoint
    log = trainer.train(place, config=_fingerprint(recipe))
    after = held_out_rewards(trainer, recipe.budget.pairs)
    if accelerator.is_main_process:
        save_adapter(network, folder / "lora")
    what = f"{recipe.title}: reward without noise from {len(before)} held-out starts"
    return PipelineOutcome(recipe, log, Change.paired(what, before, after))


def _fingerprint(recipe: Recipe) -> dict[str, object]:
    """The recipe's part of a checkpoint's metadata."""
    return {name: getattr(recipe, name) for name in ("sampling", "gaussian", "pipeline", "reward")}
