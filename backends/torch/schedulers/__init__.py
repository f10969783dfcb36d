"""Schedulers for the pipelines of diffusers, whose steps are the kernels of the samplers."""

from .gddim import GDDIMOutput, GDDIMScheduler

__all__ = ["GDDIMOutput", "GDDIMScheduler"]
