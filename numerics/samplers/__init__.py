"""Reverse samplers: steps as pure functions, and the loop that runs them down a grid of noise times."""

from .euler import euler_maruyama_step, heun_step
from .gddim import ddim_step, gddim_step
from .loop import METHODS, Method, sample
from .paths import euler_paths
from .predictions import Prediction, data_and_noise
from .transitions import (
    ddim_moments,
    flow_sde_moments,
    gddim_moments,
    predicted_moments,
    step_log_prob,
)

__all__ = [
    "METHODS",
    "Method",
    "Prediction",
    "data_and_noise",
    "ddim_moments",
    "ddim_step",
    "euler_maruyama_step",
    "euler_paths",
    "flow_sde_moments",
    "gddim_moments",
    "gddim_step",
    "heun_step",
    "predicted_moments",
    "sample",
    "step_log_prob",
]
