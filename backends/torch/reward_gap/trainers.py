"""DDPO, and MixGRPO with Flow-GRPO, from a pipeline of diffusers: see :mod:`.rl.pipeline_trainer`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, final

from driftproof.backends.torch.rl.arguments import RolloutConfig
from driftproof.backends.torch.rl.pipeline_trainer import Adapted, PipelineTrainer
from driftproof.backends.torch.rl.trainer import RolloutTrainer
from driftproof.numerics.reward_gap import Window

from .config import Budget
from .methods import DDPO, AbstractPolicyGradient, MixGRPO

__all__ = ["DDPOConfig", "DDPOTrainer", "MixGRPOConfig", "MixGRPOTrainer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyGradientConfig(RolloutConfig):
    """The arguments that the two share.

    Arguments: those of :class:`.rl.arguments.RolloutConfig`, those of their names in :class:`.config.Budget`, and
        num_eval_images: Images that measure the reward with stochasticity, and as many without, before and after the
            training; 0 measures nothing.
        eval_steps: Steps between two further measurements; 0 makes none.
    """

    clip_range: float = 1e-4
    ratio: Literal["sum", "mean"] = "mean"
    advantage_clip: float = 5.0
    scale_rewards: bool = True
    beta: float = 0.0
    kl: Literal["loss", "path"] = "loss"
    num_eval_images: int = 0
    eval_steps: int = 0

    def policy_budget(self, processes: int) -> Budget:
        """The budget of the method."""
        every = -(-self.eval_steps // self.steps_per_rollout(processes))
        found = self.budget(Budget, processes)
        return replace(found, pairs=self.num_eval_images, evaluate_every=every)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DDPOConfig(PolicyGradientConfig):
    """The arguments of :class:`DDPOTrainer`, those of :class:`PolicyGradientConfig` and two of its advantages.

    Arguments: those of its base, and
        decay, min_count: Weight that past rewards of a prompt keep, and its rewards before its own statistics are used.
    """

    decay: float = 1.0
    min_count: int = 16


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MixGRPOConfig(PolicyGradientConfig):
    """The arguments of :class:`MixGRPOTrainer`, those of :class:`PolicyGradientConfig` and two of its groups.

    Arguments: those of its base, and
        baseline: The images that an image is compared with: the ``others`` of its prompt, or the whole ``group``.
        window: The steps that are stochastic; all of them unless given, which is Flow-GRPO.
    """

    num_generations: int = 8
    num_inference_steps: int = 25
    baseline: Literal["others", "group"] = "others"
    window: Window = field(default_factory=Window)


def _rollouts(method: AbstractPolicyGradient, adapted: Adapted, args: RolloutConfig) -> RolloutTrainer[Any]:
    sampler = adapted.sampler(args)
    denoiser, title = adapted.denoiser(sampler), method.name
    return RolloutTrainer(
        method, denoiser, sampler, adapted.task, accelerator=adapted.accelerator, title=title
    )


@final
class DDPOTrainer(PipelineTrainer[DDPOConfig]):
    """Trains the adapter of a pipeline by :class:`.methods.DDPO`."""

    def make(self, adapted: Adapted) -> RolloutTrainer[Any]:
        budget = self.args.policy_budget(self.accelerator.num_processes)
        return _rollouts(DDPO(budget), adapted, self.args)


@final
class MixGRPOTrainer(PipelineTrainer[MixGRPOConfig]):
    """Trains the adapter of a pipeline by :class:`.methods.MixGRPO`."""

    def make(self, adapted: Adapted) -> RolloutTrainer[Any]:
        budget = self.args.policy_budget(self.accelerator.num_processes)
        return _rollouts(MixGRPO(budget, self.args.window), adapted, self.args)
