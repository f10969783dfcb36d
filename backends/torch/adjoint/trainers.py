"""Adjoint matching from a pipeline of diffusers: see :mod:`.rl.pipeline_trainer`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, final

import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.pretrained.config import DIFFUSIONS
from driftproof.backends.torch.pretrained.denoisers import Velocity
from driftproof.backends.torch.pretrained.loader import denoiser_of, noise_times
from driftproof.backends.torch.rl.arguments import PipelineConfig
from driftproof.backends.torch.rl.pipeline_trainer import Adapted, PipelineTrainer
from driftproof.backends.torch.rl.trainer import RolloutTrainer

from .config import Matching
from .flows import NetworkFlow
from .trainer import FlowTrainer

__all__ = ["AdjointMatchingConfig", "AdjointMatchingTrainer"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AdjointMatchingConfig(PipelineConfig):
    """The arguments of :class:`AdjointMatchingTrainer`; every optimizer step has a rollout of its own.

    Arguments: those of :class:`.rl.arguments.PipelineConfig`, and
        matching: Targets; their guidance acts where the pipeline is guided.
        lr_scheduler_type: After the warm-up: ``constant_with_warmup``, or ``cosine`` down to 0.
        warmup_steps: Warm-up of the learning rate.
        ema_decay: Decay of the average of the weights that the training ends with, in [0, 1).
    """

    num_inference_steps: int = 20
    learning_rate: float = 1e-4
    matching: Matching = field(default_factory=lambda: Matching(lam=1.0, guidance="rollout"))
    lr_scheduler_type: Literal["constant_with_warmup", "cosine"] = "constant_with_warmup"
    warmup_steps: int = 0
    ema_decay: float = 0.99

    def plan(self, processes: int) -> Plan:
        """The plan of the method.

        Raises:
            UnmetHypothesis: weight_decay, which Adam of this method has not; or what a plan refuses.
        """
        if self.weight_decay:
            raise UnmetHypothesis(
                type(self).__name__, "weight_decay = 0", f"weight_decay = {self.weight_decay}"
            )
        return Plan(
            max_steps=self.steps,
            train_batch_size=self.images_per_step(processes),
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            max_grad_norm=self.max_grad_norm,
            ema_decay=self.ema_decay,
            seed=self.seed,
            save_steps=self.save_steps or self.steps,
            lr_scheduler_type=self.lr_scheduler_type,
        )


@final
class AdjointMatchingTrainer(PipelineTrainer[AdjointMatchingConfig]):
    """Trains the adapter of a flow's pipeline by :class:`.method.AdjointMatching`; its reward needs a gradient."""

    def make(self, adapted: Adapted) -> RolloutTrainer[Any]:
        kind, args, guidance = adapted.kind, self.args, adapted.guidance
        if kind in DIFFUSIONS:
            raise UnmetHypothesis("AdjointMatchingTrainer", "the pipeline is a flow", f"kind = {kind!r}")

        def velocity(guidance: float) -> Velocity:
            return Velocity(denoiser_of(kind, adapted.network, guidance))

        # A distilled model takes its guidance as an input, and has one velocity.
        distilled, guided = kind == "flux", None
        if guidance != 1.0 and not distilled:
            guided = velocity(guidance)
        flow = NetworkFlow(
            velocity(guidance if distilled else 1.0),
            guided,
            at_once=args.per_device_train_batch_size,
            sampled_at_once=args.per_device_rollout_batch_size,
        )
        matching = args.matching if guided else replace(args.matching, guidance="none")
        times = noise_times(adapted.scheduler_config, kind, args.num_inference_steps, adapted.task.shape)
        plan = args.plan(adapted.accelerator.num_processes)
        self.flow = FlowTrainer(flow, adapted.task, times, matching, plan, accelerator=adapted.accelerator)
        self.flow.trainer.title = "adjoint matching"
        return self.flow.trainer

    def finish(self) -> None:
        self.flow.average()

    @torch.no_grad()
    def images(self, prompts: Tensor, noise: Tensor) -> Tensor:
        return self.task.decode(self.flow.sample(noise, prompts))
