"""Reverse samplers: steps as pure functions, and the loop that runs them down a grid of noise times."""

from .euler import euler_maruyama_step, heun_step
from .gddim import ddim_step, gddim_step
from .loop import METHODS, Method, sample
from .paths import euler_paths

__all__ = [
    "METHODS",
    "Method",
    "ddim_step",
    "euler_maruyama_step",
    "euler_paths",
    "gddim_step",
    "heun_step",
    "sample",
]
