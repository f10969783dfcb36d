"""Trainers of pipelines of diffusers, under one roof: see :mod:`.rl.pipeline_trainer`."""

from driftproof.backends.torch.adjoint import AdjointMatchingConfig, AdjointMatchingTrainer
from driftproof.backends.torch.kit.callbacks import TrainerCallback
from driftproof.backends.torch.reward_gap import DDPOConfig, DDPOTrainer, MixGRPOConfig, MixGRPOTrainer
from driftproof.backends.torch.rl.task import Task
from driftproof.backends.torch.score_as_action import ScoreAsActionConfig, ScoreAsActionTrainer

__all__ = [
    "AdjointMatchingConfig",
    "AdjointMatchingTrainer",
    "DDPOConfig",
    "DDPOTrainer",
    "MixGRPOConfig",
    "MixGRPOTrainer",
    "ScoreAsActionConfig",
    "ScoreAsActionTrainer",
    "Task",
    "TrainerCallback",
]
