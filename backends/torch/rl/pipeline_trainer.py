r"""From a pipeline of diffusers to a trainer, in five lines.

.. code-block:: python

    pipe = StableDiffusionPipeline.from_pretrained(folder)
    task = Task.from_pipeline(pipe, prompts, reward)
    trainer = DDPOTrainer(pipe, task, DDPOConfig(max_steps=200))
    trainer.train()
    trainer.save_pretrained("adapter")  # pipe.load_lora_weights("adapter") reads it

A trainer puts an adapter on the pipeline's own network, which is trained in place: ``pipe`` samples with it at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.callbacks import Callbacks, TrainerState, trackers_of
from driftproof.backends.torch.kit.checkpoint import previous_of
from driftproof.backends.torch.kit.stop import extending
from driftproof.backends.torch.pretrained.config import Kind, Lora
from driftproof.backends.torch.pretrained.loader import denoiser_of, set_steps
from driftproof.backends.torch.pretrained.lora import add_lora, remove_lora, save_adapter
from driftproof.backends.torch.pretrained.pipelines import (
    guidance_of,
    kind_of,
    network_of,
    unclipped,
    weights_digest,
)
from driftproof.backends.torch.schedulers import GDDIMScheduler

from .arguments import PipelineConfig, RolloutConfig
from .history import Log
from .sampler import Sampler
from .task import Task
from .trainer import RolloutTrainer

__all__ = ["Adapted", "PipelineTrainer"]

ConfigT = TypeVar("ConfigT", bound=PipelineConfig)


@final
@dataclass(frozen=True, slots=True)
class Adapted:
    """A pipeline with an adapter on its network.

    Arguments:
        kind: Its family.
        network: What is trained.
        scheduler_config: Of its own scheduler.
        guidance: The weight of guidance, 1 for none.
        task: What is to be sampled, with conditions where the network runs.
        accelerator: Devices, processes and precision.
    """

    kind: Kind
    network: nn.Module
    scheduler_config: Mapping[str, Any]
    guidance: float
    task: Task
    accelerator: Accelerator

    def sampler(self, args: RolloutConfig) -> Sampler:
        """The steps, on the noise schedule of the pipeline."""
        scheduler = GDDIMScheduler.from_config(unclipped(self.kind, self.scheduler_config))
        set_steps(scheduler, self.kind, args.num_inference_steps, self.task.shape)
        return Sampler(scheduler, args.eta, args.sampler)

    def denoiser(self, sampler: Sampler) -> nn.Module:
        """The network behind the protocol of samplers."""
        return denoiser_of(self.kind, self.network, self.guidance, sampler.prediction)


class PipelineTrainer(ABC, Generic[ConfigT]):
    """Trains the adapter of a pipeline by a method; the loop is that of :class:`.trainer.RolloutTrainer`.

    Arguments:
        pipe: A pipeline of diffusers, one of those in
            :data:`driftproof.backends.torch.pretrained.pipelines.CLASSES`.
        task: Of :meth:`.task.Task.from_pipeline`.
        args: The arguments.
        callbacks: Called as the training goes on, see :mod:`driftproof.backends.torch.kit.callbacks`.

    Raises:
        UnmetHypothesis: Another pipeline, one with an adapter, or what the method refuses.
        ModuleNotFoundError: A tracker that is not installed.
    """

    def __init__(self, pipe: Any, task: Task, args: ConfigT, callbacks: Sequence[Any] = ()) -> None:
        name = type(self).__name__
        kind = kind_of(pipe, name)
        network: Any = network_of(kind, pipe)
        if getattr(network, "peft_config", None):
            hypothesis = "the network has no adapter yet (fuse_lora and unload_lora_weights of the pipeline)"
            raise UnmetHypothesis(name, hypothesis, ", ".join(network.peft_config))
        trackers = trackers_of(args.report_to)
        options = {"log_with": trackers, "project_dir": args.output_dir} if trackers else {}
        self.accelerator = Accelerator(mixed_precision=args.mixed_precision, **options)
        args = args.resolved(len(task.prompts), self.accelerator.num_processes)
        self.args, self.network, device = args, network, self.accelerator.device
        conditions = {key: rows.to(device) for key, rows in task.conditions.items()}
        guidance = guidance_of(kind, pipe, args.guidance_scale)
        lora = Lora(args.lora_rank, args.lora_alpha or args.lora_rank, tuple(args.lora_target_modules))
        self._fingerprint = {
            "pipeline": {"kind": kind, "weights": weights_digest(network), "guidance": guidance},
            "lora": lora,
        }
        with torch.random.fork_rng([]):
            torch.manual_seed(args.seed)
            add_lora(network, lora.rank, lora.alpha, lora.targets)
        network.to(device).eval()
        if kind != "unconditional":  # whose states are pixels
            pipe.vae.to(device).eval().requires_grad_(False)
        if args.gradient_checkpointing:
            network.enable_gradient_checkpointing()
        config = pipe.scheduler.config
        self.task = replace(task, conditions=conditions)
        try:
            self.rollouts = self.make(Adapted(kind, network, config, guidance, self.task, self.accelerator))
        except Exception:  # the pipeline is as it was, for another try
            remove_lora(network)
            raise
        self._callbacks = Callbacks(
            callbacks,
            args,
            self.accelerator,
            network,
            unit=args.steps_per_rollout(self.accelerator.num_processes),
            logging_steps=args.logging_steps,
        )

    @abstractmethod
    def make(self, adapted: Adapted) -> RolloutTrainer[Any]:
        """The trainer of rollouts with the method."""

    @property
    def state(self) -> TrainerState:
        """Where the training stands."""
        return self._callbacks.state

    def train(self, resume_from_checkpoint: bool = False) -> Log:
        """Train to ``max_steps``, or until a callback asks to stop.

        Arguments:
            resume_from_checkpoint: Whether to go on from the checkpoint in ``output_dir``; more ``max_steps`` than it
                was made with make that run longer.

        Raises:
            FileExistsError: There is a checkpoint that the training would overwrite.
            FileNotFoundError: There is none to go on from.
            FloatingPointError: A reward or a gradient is not finite; raised before the update it would have spoiled.
            TrainingInterrupted: By a signal, after saving.
            OtherRun, CheckpointError, InUse, OSError: As in :func:`.kit.loop.run_steps`.
        """
        path = Path(self.args.output_dir) / "checkpoint.safetensors" if self.args.save_steps else None
        self._require_checkpoint(path, resume_from_checkpoint)
        with extending(resume_from_checkpoint):
            log = self.rollouts.train(path, self._fingerprint, self._callbacks)
        self.finish()
        return log

    def finish(self) -> None:
        """What follows the last step."""

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the adapter as ``load_lora_weights`` of the pipeline reads it."""
        if self.accelerator.is_main_process:
            save_adapter(self.network, Path(folder))

    @torch.no_grad()
    def images(self, prompts: Tensor, noise: Tensor) -> Tensor:
        """Images (B, 3, H, W) of the policy without stochasticity, in [0, 1].

        Arguments:
            prompts: The numbers of the prompts of the task, (B,).
            noise: The states that it begins with, (B, *shape).
        """
        rollouts = self.rollouts
        done = rollouts.sample(torch.Generator(), prompts, rollouts.sampler.deterministic, start=noise)
        return self.task.decode(done.end)

    def _require_checkpoint(self, path: Path | None, resume: bool) -> None:
        exists = path is not None and (path.exists() or previous_of(path).exists())
        if resume and not exists:
            where = "save_steps = 0 makes no checkpoint" if path is None else f"there is no {path}"
            raise FileNotFoundError(f"resume_from_checkpoint: {where}")
        if exists and not resume:
            raise FileExistsError(
                f"{path} is the checkpoint of another training: train(resume_from_checkpoint=True) goes on from it; "
                "another output_dir, or its removal, begins anew"
            )
