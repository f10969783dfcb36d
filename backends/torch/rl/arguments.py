"""Arguments that all trainers of pipelines share, in the words of transformers, TRL, PEFT and diffusers."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, TypeVar

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.config_checks import require_each

from .budget import RolloutBudget

__all__ = ["PipelineConfig", "RolloutConfig"]

BudgetT = TypeVar("BudgetT", bound=RolloutBudget)
STEPS = 100  # where nothing is said


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """How the adapter of a pipeline is trained.

    Arguments:
        output_dir: Where ``checkpoint.safetensors`` and what trackers write goes.
        num_train_epochs, max_steps: One of them, > 0: how often each prompt of the task is drawn, on average; or
            optimizer steps.  Without both, 100 steps.
        per_device_train_batch_size: Images, each at one step of its trajectory, that the network is given at a time
            with a gradient, > 0.
        gradient_accumulation_steps: Such batches of images in an optimizer step, > 0; all steps of their trajectories
            are accumulated, too.
        per_device_rollout_batch_size: Images that the network is given at a time without a gradient, > 0.
        learning_rate, weight_decay: Settings of the optimizer.
        max_grad_norm: Largest norm of the gradient.
        lora_rank, lora_alpha, lora_target_modules: Settings of the adapter; without an alpha, it is the rank.
        num_inference_steps: Steps of a trajectory, > 0.
        guidance_scale: As in the pipeline, whose own it is by default.
        gradient_checkpointing: Recompute activations in backward passes.
        mixed_precision: ``no``, ``fp16`` or ``bf16``; by default what ``accelerate launch`` says.
        seed: The seed of everything random.
        save_steps: Steps between two checkpoints, and one is made at the end; 0 makes none.
        logging_steps: Steps between two logs, > 0.
        report_to: ``none``, names of accelerate's trackers (``tensorboard``, ``wandb``, ...), or trackers.
        run_name: For trackers.

    Raises:
        UnmetHypothesis: A number or a word out of its range.
    """

    output_dir: str = "trainer_output"
    num_train_epochs: int | None = None
    max_steps: int | None = None
    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    per_device_rollout_batch_size: int = 32
    learning_rate: float = 3e-4
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    lora_rank: int = 4
    lora_alpha: int | None = None
    lora_target_modules: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    num_inference_steps: int = 50
    guidance_scale: float | None = None
    gradient_checkpointing: bool = False
    mixed_precision: Literal["no", "fp16", "bf16"] | None = None
    seed: int = 0
    save_steps: int = 50
    logging_steps: int = 1
    report_to: Any = "none"
    run_name: str = ""

    def __post_init__(self) -> None:
        name = type(self).__name__
        counts = (
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            "per_device_rollout_batch_size",
            "lora_rank",
            "num_inference_steps",
            "logging_steps",
        )
        require_each(name, self, *((f"{count} >= 1", getattr(self, count) >= 1) for count in counts))
        require_each(
            name,
            self,
            (
                "mixed_precision is no, fp16 or bf16",
                self.mixed_precision in (None, "no", "fp16", "bf16"),
            ),
            (
                "lora_target_modules is a sequence of names",
                not isinstance(self.lora_target_modules, str),
            ),
            (
                "num_train_epochs or max_steps, and not both",
                self.num_train_epochs is None or self.max_steps is None,
            ),
            ("num_train_epochs >= 1", self.num_train_epochs is None or self.num_train_epochs >= 1),
            ("max_steps >= 1", self.max_steps is None or self.max_steps >= 1),
            ("save_steps >= 0", self.save_steps >= 0),
            ("seed >= 0", self.seed >= 0),
            ("learning_rate > 0", 0.0 < self.learning_rate < float("inf")),
        )

    @property
    def steps(self) -> int:
        """Optimizer steps in all, of arguments that are resolved."""
        return self.max_steps or STEPS

    def resolved(self, prompts: int, processes: int) -> Self:
        """These arguments with ``max_steps``, for a task of so many prompts."""
        if self.num_train_epochs is None:
            return replace(self, max_steps=self.steps)
        rollouts = -(-self.num_train_epochs * prompts // self.prompts_per_rollout(processes))
        steps = rollouts * self.steps_per_rollout(processes)
        return replace(self, num_train_epochs=None, max_steps=steps)

    def prompts_per_rollout(self, processes: int) -> int:
        """Prompts that a rollout draws."""
        return self.images_per_step(processes)

    def images_per_step(self, processes: int) -> int:
        """Images of an optimizer step, over all processes together."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps * processes

    def steps_per_rollout(self, processes: int) -> int:
        """Optimizer steps from one rollout to the next."""
        return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutConfig(PipelineConfig):
    """And how rollouts are made and used.

    Arguments: those of :class:`PipelineConfig`, and
        generation_batch_size: Images of a rollout over all processes; by default those of an optimizer step, which is
            then on policy.  A rollout of more gives several steps.
        num_generations: Images of each prompt in a rollout, >= 1.
        num_iterations: Times that a rollout is gone through, >= 1.
        eta: The stochasticity of the sampler, > 0.
        sampler: ``gddim``, or for flows ``flow_sde`` (Flow-GRPO's step, with a = sqrt(2) eta).
    """

    generation_batch_size: int | None = None
    num_generations: int = 1
    num_iterations: int = 1
    eta: float = 1.0
    sampler: Literal["gddim", "flow_sde"] = "gddim"

    def steps_per_rollout(self, processes: int) -> int:
        return self.images(processes) // self.images_per_step(processes) * self.num_iterations

    def prompts_per_rollout(self, processes: int) -> int:
        return self.images(processes) // self.num_generations

    def budget(self, kind: type[BudgetT], processes: int) -> BudgetT:
        """The budget of a method whose own numbers have the same names here, for so many processes."""
        counts = self.counts(processes)
        named = [f.name for f in fields(kind) if f.name not in counts and hasattr(self, f.name)]
        return kind(**counts, **{name: getattr(self, name) for name in named})

    def images(self, processes: int) -> int:
        """Images of a rollout, over all processes together.

        Raises:
            UnmetHypothesis: Images that cannot be dealt to optimizer steps or prompts.
        """
        name, per_step = type(self).__name__, self.images_per_step(processes)
        images = self.generation_batch_size or per_step
        if images % per_step:
            hypothesis = (
                "generation_batch_size is a multiple of the images of an optimizer step "
                "(per_device_train_batch_size x gradient_accumulation_steps x processes)"
            )
            raise UnmetHypothesis(name, hypothesis, f"{images}, {per_step} images of a step")
        if images % self.num_generations:
            got = f"num_generations = {self.num_generations}, {images} images"
            raise UnmetHypothesis(name, "num_generations divides the images of a rollout", got)
        return images

    def counts(self, processes: int) -> dict[str, int]:
        """What of a :class:`.budget.RolloutBudget` counts.

        Raises:
            UnmetHypothesis: As for :meth:`images`, and steps that use a part of a rollout.
        """
        steps = self.steps_per_rollout(processes)
        if self.steps % steps:
            hypothesis = "max_steps is a multiple of the steps of a rollout"
            raise UnmetHypothesis(type(self).__name__, hypothesis, f"max_steps = {self.steps}, {steps} steps")
        return {
            "epochs": self.steps // steps,
            "prompts": self.prompts_per_rollout(processes),
            "steps_per_generation": steps // self.num_iterations,
            "save_every": max(1, self.save_steps // steps),
        }
