"""What every trainer of rollouts runs with."""

from __future__ import annotations

from dataclasses import dataclass, field

from driftproof.backends.torch.kit.identity import HOW, LENGTH

__all__ = ["RolloutBudget"]


@dataclass(frozen=True, slots=True)
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

    epochs: int = field(metadata=LENGTH)
    prompts: int
    num_generations: int = 1
    updates: int = 1
    num_iterations: int = 1
    per_device_train_batch_size: int = field(default=8, metadata=HOW)
    per_device_rollout_batch_size: int = field(default=32, metadata=HOW)
    learning_rate: float = 3e-4
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    seed: int = 0
    save_every: int = field(default=1, metadata=HOW)

    @property
    def rows(self) -> int:
        """Trajectories of a rollout, over all processes together."""
        return self.prompts * self.num_generations

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch: constant, unless a method says otherwise."""
        return self.learning_rate
