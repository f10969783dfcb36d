"""What every trainer of rollouts runs with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.identity import HOW, LENGTH
from driftproof.backends.torch.kit.schema import validated

__all__ = ["RolloutBudget", "require_one_model"]


@validated(frozen=True, slots=True)
class RolloutBudget:
    """Rollouts, and the updates that they are used for; a method adds its own numbers.

    Arguments:
        epochs: Rollouts, > 0.
        prompts: Prompts of a rollout over all processes together, > 0.
        num_generations: Samples of each prompt, > 0.
        steps_per_generation: Optimizer steps of a pass, over disjoint parts of the rollout; one of them is exactly on
            policy, later ones rely on the clipped ratio.
        num_iterations: Times that a rollout is gone through.
        per_device_train_batch_size: The largest number of rows, each one step of one sample, that the model is given
            at a time with a gradient.
        per_device_rollout_batch_size: The same without: rollouts keep nothing for a backward pass.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        max_grad_norm: Largest norm of the gradient.
        seed: The seed of everything.
        save_every: Epochs between two checkpoints.
    """

    epochs: PositiveInt = field(metadata=LENGTH)
    prompts: PositiveInt
    num_generations: PositiveInt = 1
    steps_per_generation: PositiveInt = 1
    num_iterations: PositiveInt = 1
    per_device_train_batch_size: PositiveInt = field(default=8, metadata=HOW)
    per_device_rollout_batch_size: PositiveInt = field(default=32, metadata=HOW)
    learning_rate: PositiveFloat = 3e-4
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat = 1.0
    seed: NonNegativeInt = 0
    save_every: PositiveInt = field(default=1, metadata=HOW)

    @property
    def rows(self) -> int:
        """Trajectories of a rollout, over all processes together."""
        return self.prompts * self.num_generations

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch: constant, unless a method says otherwise."""
        return self.learning_rate


def require_one_model(
    subject: str, gaussian: object, pipeline: object, seeds: Sequence[int], budget: RolloutBudget
) -> None:
    """Raise unless a recipe has one of the two models, and says in one place where its draws come from.

    Raises:
        UnmetHypothesis: None or both; ``budget.seed`` beside the ``seeds`` of the Gaussian model, or those for a
            pipeline.
    """
    if (gaussian is None) == (pipeline is None):
        raise UnmetHypothesis(subject, "a table [gaussian] or [pipeline]", "none or both")
    got = f"budget.seed = {budget.seed}, seeds = {list(seeds)}"
    if gaussian is not None and budget.seed:
        hypothesis = "budget.seed is not set, for the runs of [gaussian] have the seeds of seeds = [...]"
        raise UnmetHypothesis(subject, hypothesis, got)
    if pipeline is not None and tuple(seeds) != (0,):
        raise UnmetHypothesis(subject, "seeds is not set, for [pipeline] has one run, of budget.seed", got)
