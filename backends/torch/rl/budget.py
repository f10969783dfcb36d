"""What every trainer of rollouts runs with."""

from __future__ import annotations

from dataclasses import field

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from driftproof.backends.torch.kit.identity import HOW, LENGTH
from driftproof.backends.torch.kit.schema import validated

__all__ = ["RolloutBudget"]


@validated(frozen=True, slots=True)
class RolloutBudget:
    """Rollouts, and the updates that they are used for; a method adds its own numbers.

    Arguments:
        epochs: Rollouts, > 0.
        prompts: Prompts of a rollout over all processes together, > 0.
        num_generations: Samples of each prompt, > 0.
        updates: Optimizer steps of a pass, over disjoint parts of the rollout; one of them is exactly on
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
    updates: PositiveInt = 1
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
