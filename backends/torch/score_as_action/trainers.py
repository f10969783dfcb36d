"""Score as action from a pipeline of diffusers: see :mod:`.rl.pipeline_trainer`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, final

from driftproof.backends.torch.rl.arguments import RolloutConfig
from driftproof.backends.torch.rl.pipeline_trainer import Adapted, PipelineTrainer
from driftproof.backends.torch.rl.trainer import RolloutTrainer

from .config import Actor, Budget, CriticChoice
from .trainer import ActorCriticTrainer, network_critic

__all__ = ["ScoreAsActionConfig", "ScoreAsActionTrainer"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreAsActionConfig(RolloutConfig):
    """The arguments of :class:`ScoreAsActionTrainer`.

    Arguments: those of :class:`.rl.arguments.RolloutConfig`, those of their names in :class:`.config.Budget`, and
        actor: ``pathwise`` (whose reward needs a gradient), ``advantage`` or ``ppo``.
        critic: The value function.
    """

    actor: Actor = "ppo"
    critic: CriticChoice = field(default_factory=CriticChoice)
    lr_scheduler_type: Literal["constant", "cosine"] = "constant"
    beta: float = 1e-2
    critic_warmup: int = 0
    clip_range: float = 0.2
    standardise: bool = True
    normalise: Literal["none", "prompt"] = "prompt"
    decay: float = 1.0
    min_count: int = 16


@final
class ScoreAsActionTrainer(PipelineTrainer[ScoreAsActionConfig]):
    """Trains the adapter of a pipeline by :class:`.trainer.ActorCritic`."""

    def make(self, adapted: Adapted) -> RolloutTrainer[Any]:
        args, accelerator, task = self.args, adapted.accelerator, adapted.task
        sampler = adapted.sampler(args)
        critic = network_critic(args.critic, sampler, task, args.seed, accelerator.device)
        budget = args.budget(Budget, accelerator.num_processes)
        return ActorCriticTrainer(
            adapted.denoiser(sampler),
            critic,
            sampler,
            task,
            budget,
            args.actor,
            accelerator=accelerator,
            title="score as action",
        )
