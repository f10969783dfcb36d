"""What a training will hold and take: a count of live bytes, tensors without values, processors, the estimate."""

from .estimate import Estimate, Machine, Phase
from .gpus import GPUS, Gpu, gpu_of
from .imagined import Scene, imagined, real, scene
from .ledger import Ledger, Spent
from .stand_in import StandIn

__all__ = [
    "GPUS",
    "Estimate",
    "Gpu",
    "Ledger",
    "Machine",
    "Phase",
    "Scene",
    "Spent",
    "StandIn",
    "gpu_of",
    "imagined",
    "real",
    "scene",
]
