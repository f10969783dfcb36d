r"""The randomness of a step as a function of (seed, step): no generator state has to be saved."""

from __future__ import annotations

import torch

__all__ = ["generator_of", "seed_step"]


def generator_of(seed: int, step: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of one step, an injective function of (seed, step) for both below 2^31."""
    return torch.Generator(device).manual_seed(_number(seed, step))


def seed_step(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Make the global generators a function of (seed, step, process)."""
    number = _number(seed, _mixed(step) ^ (rank + 1))
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)


def _number(seed: int, step: int) -> int:
    """The seed of torch: the CPU's generator (mt19937) reads its low 32 bits alone, so they know both."""
    return (seed << 32) | _mixed(step ^ _mixed(seed + 1))


def _mixed(number: int) -> int:
    """A bijection of the 32-bit integers that spreads every bit over all (the end of MurmurHash3)."""
    number &= 0xFFFFFFFF
    number = (number ^ (number >> 16)) * 0x85EBCA6B & 0xFFFFFFFF
    number = (number ^ (number >> 13)) * 0xC2B2AE35 & 0xFFFFFFFF
    return number ^ (number >> 16)
