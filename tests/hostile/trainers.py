"""Every trainer in small, by name: ``TRAINERS[name](path, length)`` trains, and resumes from ``path``.

Each imports what it needs when it runs: the loop alone costs no import of diffusers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.supervised import train

Changes = Mapping[str, Any]
PLAN = {"train_batch_size": 8, "learning_rate": 0.05, "warmup_steps": 2, "seed": 3, "save_steps": 1}
POLICY = {
    "prompts": 8,
    "per_device_train_batch_size": 64,
    "per_device_rollout_batch_size": 64,
    "learning_rate": 0.01,
    "seed": 3,
    "pairs": 8,
    "steps_per_generation": 2,
}
ACTOR = {
    "prompts": 8,
    "per_device_train_batch_size": 64,
    "per_device_rollout_batch_size": 64,
    "learning_rate": 0.01,
    "seed": 3,
    "beta": 0.5,
}
MATCHING = {"lam": 0.9, "chosen": 2}


def paced(call: Callable[..., Any], pause: float) -> Callable[..., Any]:
    def slower(*arguments: Any) -> Any:
        time.sleep(pause)
        return call(*arguments)

    return slower if pause else call


def loop(path: Path, length: int, changes: Changes = {}, pause: float = 0.0, **config: object) -> Any:  # noqa: B006
    """A small network with dropout, by the loop of the supervised trainings."""

    def draw(generator: torch.Generator, batch: int) -> list[torch.Tensor]:
        x = torch.randn(batch, 3, generator=generator)
        return [x, torch.sin(x).sum(1, keepdim=True)]

    def loss(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return ((model(x) - y) ** 2).mean()

    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = torch.nn.Linear(3, 8), torch.nn.SiLU(), torch.nn.Dropout(0.1), torch.nn.Linear(8, 1)
    plan = Plan(**{"max_steps": length, **PLAN, **changes})
    done = train(
        torch.nn.Sequential(*layers),
        paced(draw, pause),
        loss,
        plan,
        checkpoint=path,
        config=config,
        accelerator=cpu(),
    )
    return done.model.state_dict(), done.losses


def policy(method: str) -> Callable[..., Any]:
    """DDPO and MixGRPO on the Gaussian model."""

    def run(path: Path, length: int, changes: Changes = {}, pause: float = 0.0, **config: object) -> Any:  # noqa: B006
        from driftproof.backends.torch.reward_gap.config import Budget, ScalarModel
        from driftproof.backends.torch.reward_gap.gaussian import GaussianDenoiser, gaussian_task
        from driftproof.backends.torch.reward_gap.methods import DDPO, MixGRPO
        from driftproof.backends.torch.rl.gaussian import vp_sampler
        from driftproof.backends.torch.rl.sampler import Sampling
        from driftproof.backends.torch.rl.trainer import RolloutTrainer
        from driftproof.numerics.reward_gap import Window

        window = config.pop("window", Window(size=2, every=1))
        model = ScalarModel()
        sampling = Sampling(steps=4, eta=float(config.pop("eta", 1.0)))  # type: ignore[arg-type]
        sampler = vp_sampler(model.decay, model.levels, sampling)
        denoiser = GaussianDenoiser(model, sampler.scheduler.alphas_cumprod)
        task = gaussian_task(model, denoiser)
        group = {"num_generations": 4} if method == "mixgrpo" else {}
        budget = Budget(**{"epochs": length, **POLICY, **group, **changes})
        options = {"accelerator": cpu()}
        if method == "mixgrpo":
            trainer: Any = RolloutTrainer(MixGRPO(budget, window), denoiser, sampler, task, **options)
        else:
            trainer = RolloutTrainer(DDPO(budget), denoiser, sampler, task, **options)
        trainer._epoch = paced(trainer._epoch, pause)
        log = trainer.train(path, config)
        return dict(denoiser.named_parameters()), torch.tensor(log.column("reward"))

    return run


def actor(kind: str) -> Callable[..., Any]:
    """An actor with its critic on the Gaussian model."""

    def run(path: Path, length: int, changes: Changes = {}, pause: float = 0.0, **config: object) -> Any:  # noqa: B006
        from driftproof.backends.torch.rl.gaussian import GaussianModel
        from driftproof.backends.torch.rl.sampler import Sampling
        from driftproof.backends.torch.score_as_action.config import Budget
        from driftproof.backends.torch.score_as_action.critics import QuadraticCritic
        from driftproof.backends.torch.score_as_action.gaussian import gaussian_parts
        from driftproof.backends.torch.score_as_action.trainer import ActorCriticTrainer

        memory = float(config.pop("memory", 0.9))  # type: ignore[arg-type]
        denoiser, sampler, task = gaussian_parts(GaussianModel(), Sampling(3))
        budget = Budget(**{"epochs": length, **ACTOR, **changes})
        trainer = ActorCriticTrainer(
            denoiser,
            QuadraticCritic(2, 3, memory),
            sampler,
            task,
            budget,
            kind,  # type: ignore[arg-type]
            accelerator=cpu(),
        )
        trainer._epoch = paced(trainer._epoch, pause)  # type: ignore[method-assign]
        log = trainer.train(path, config)
        return dict(denoiser.named_parameters()), torch.tensor(log.column("reward"))

    return run


def adjoint(path: Path, length: int, changes: Changes = {}, pause: float = 0.0, **config: object) -> Any:  # noqa: B006
    """Adjoint matching of a Gaussian flow."""
    from driftproof.backends.torch.adjoint.config import Matching
    from driftproof.backends.torch.adjoint.experiment import gaussian_problem
    from driftproof.backends.torch.adjoint.flows import AffineFlow
    from driftproof.backends.torch.adjoint.rewards import closed_form
    from driftproof.backends.torch.adjoint.trainer import FlowTrainer
    from driftproof.backends.torch.rl.gaussian import GaussianModel
    from driftproof.backends.torch.rl.task import Task

    model = GaussianModel((1.3, -0.2), ((0.49, 0.2), (0.2, 1.1)), (0.8, 0.1), ((1.7, -0.3), (-0.3, 0.4)))
    problem, reward, times = gaussian_problem(model, 3)
    flow = AffineFlow(problem, times)
    matching = Matching(**{**MATCHING, **config.pop("matching", {})})  # type: ignore[dict-item]
    plan = Plan(**{"max_steps": length, **PLAN, **changes})
    task = Task((2,), closed_form(reward), dtype=torch.float64)
    trainer = FlowTrainer(
        flow, task, times, matching, plan, checkpoint=path, config=config, accelerator=cpu()
    )
    trainer.trainer._epoch = paced(trainer.trainer._epoch, pause)  # type: ignore[method-assign]
    tuned = trainer.train()
    return dict(enumerate(flow.trainable())), tuned.log


def dpo(path: Path, length: int, changes: Changes = {}, pause: float = 0.0, **config: object) -> Any:  # noqa: B006
    """Diffusion-DPO of a Gaussian denoiser."""
    from driftproof.backends.torch import rich_po

    law = rich_po.GaussianPairs((0.3, -0.2), ((1.3, 0.4), (0.4, 0.5)), (0.7, -0.9), (0.95, 0.6))
    denoiser, objective = rich_po.ShiftedGaussian(law), rich_po.Objective(float(config.pop("beta", 0.7)))  # type: ignore[arg-type]
    trainer = rich_po.PreferenceTrainer(
        denoiser,
        rich_po.GaussianSource(law),
        denoiser.noising,
        objective,
        Plan(**{"max_steps": length, **PLAN, **changes}),
        checkpoint=path,
        config=config,
        accelerator=cpu(),
    )
    trainer.advance = paced(trainer.advance, pause)  # type: ignore[method-assign]
    losses = [row["loss"] for row in trainer.train()]
    return dict(denoiser.named_parameters()), torch.tensor(losses, dtype=torch.float64)


def cpu() -> Accelerator:
    """Made anew where it is used: tests of other libraries reset the state that all accelerators share."""
    return Accelerator(cpu=True)


TRAINERS: dict[str, Callable[..., Any]] = {
    "loop": loop,
    "ddpo": policy("ddpo"),
    "mixgrpo": policy("mixgrpo"),
    "pathwise": actor("pathwise"),
    "ppo": actor("ppo"),
    "adjoint": adjoint,
    "dpo": dpo,
}
