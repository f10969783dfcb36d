r"""Backbones: one network for every process, so that a comparison compares processes.

A backbone maps features of the noised state and a position on the noise clock to ``heads`` raw outputs
per coordinate.  Its last layer starts at zero; what zero means is the business of the head
(:mod:`.diffusions`), where it is the exact answer for conjugate data.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, final

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.recipe import RecipeError
from driftproof.backends.torch.kit.schema import validated

__all__ = ["ConvBackbone", "MLPBackbone", "NetworkRecipe", "backbone"]


@final
@validated(frozen=True, slots=True)
class NetworkRecipe:
    """The size of the backbone.

    Arguments:
        kind: ``mlp`` for vectors, ``conv`` for square images.
        width: Hidden units, or channels of the finest level, a multiple of 8.
        depth: Residual blocks (``mlp``) or blocks a level (``conv``), >= 1.
    """

    kind: Literal["mlp", "conv"] = "mlp"
    width: Annotated[PositiveInt, Field(multiple_of=8)] = 128
    depth: PositiveInt = 3


def backbone(recipe: NetworkRecipe, dimension: int, side: int, heads: int, seed: int) -> nn.Module:
    """A backbone with weights drawn from ``seed``; global generators are left alone."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        if recipe.kind == "mlp":
            return MLPBackbone(dimension, recipe.width, recipe.depth, heads)
        if side == 0:
            raise RecipeError("recipe.network.kind: conv needs square images")
        return ConvBackbone(side, recipe.width, recipe.depth, heads)


@final
class MLPBackbone(nn.Module):
    """Residual blocks over vectors.

    Arguments:
        dimension: Coordinates d.
        width: Hidden units.
        depth: Blocks.
        heads: Raw outputs per coordinate.
    """

    def __init__(self, dimension: int, width: int, depth: int, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.clock = ClockEmbedding(width)
        self.inward = nn.Linear(dimension, width)
        self.blocks = nn.ModuleList(_MLPBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.outward = nn.Linear(width, heads * dimension)
        _zero(self.outward)

    def forward(
        self,
        u: Tensor,  # (B, d) - features of the noised state, O(1)
        c: Tensor,  # (B,)   - position on the noise clock, in [-1, 1]
    ) -> Tensor:  # (B, heads, d)
        """Raw outputs."""
        embedding = self.clock(c)
        h = self.inward(u)
        for block in self.blocks:
            h = block(h, embedding)
        return self.outward(functional.silu(self.norm(h))).reshape(-1, self.heads, u.shape[1])


@final
class ConvBackbone(nn.Module):
    """A U-Net of two levels over square images.

    Arguments:
        side: Pixels of a side, even.
        width: Channels of the fine level; the coarse one has twice as many.
        depth: Blocks a level and direction.
        heads: Raw outputs per pixel.
    """

    def __init__(self, side: int, width: int, depth: int, heads: int = 1) -> None:
        super().__init__()
        if side % 2:
            raise UnmetHypothesis("ConvBackbone", "the side is even", f"side = {side}")
        self.side = side
        self.clock = ClockEmbedding(width)
        self.inward = nn.Conv2d(1, width, 3, padding=1)
        self.fine = nn.ModuleList(_ConvBlock(width, width) for _ in range(depth))
        self.down = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.coarse = nn.ModuleList(_ConvBlock(2 * width, width) for _ in range(depth))
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.merged = nn.ModuleList(_ConvBlock(width, width) for _ in range(depth))
        self.norm = nn.GroupNorm(8, width)
        self.outward = nn.Conv2d(width, heads, 3, padding=1)
        _zero(self.outward)

    def forward(
        self,
        u: Tensor,  # (B, side*side) - features of the noised state, O(1)
        c: Tensor,  # (B,)           - position on the noise clock, in [-1, 1]
    ) -> Tensor:  # (B, heads, side*side)
        """Raw outputs."""
        embedding = self.clock(c)
        h = self.inward(u.reshape(-1, 1, self.side, self.side))
        for block in self.fine:
            h = block(h, embedding)
        low = self.down(h)
        for block in self.coarse:
            low = block(low, embedding)
        h = h + self.up(low)
        for block in self.merged:
            h = block(h, embedding)
        return self.outward(functional.silu(self.norm(h))).flatten(2)


@final
class ClockEmbedding(nn.Module):
    """Fourier features of the position on the noise clock, through a small network."""

    def __init__(self, width: int, frequencies: int = 16) -> None:
        super().__init__()
        octaves = torch.exp(torch.linspace(0.0, math.log(16.0), frequencies)) * (math.pi / 2.0)
        self.register_buffer("octaves", octaves, persistent=False)
        self.layers = nn.Sequential(nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, c: Tensor) -> Tensor:  # (B,) -> (B, width)
        """Embed the position c in [-1, 1]."""
        angles = c[:, None] * self.get_buffer("octaves")
        return self.layers(torch.cat([torch.sin(angles), torch.cos(angles)], dim=1))


@final
class _MLPBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.modulation = nn.Linear(width, 2 * width)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        _zero(self.second)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(functional.silu(embedding)).chunk(2, dim=1)
        inner = self.first(functional.silu(self.norm(h) * (1.0 + scale) + shift))
        return h + self.second(functional.silu(inner))


@final
class _ConvBlock(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.modulation = nn.Linear(width, 2 * channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        _zero(self.second)

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(functional.silu(embedding))[:, :, None, None].chunk(2, dim=1)
        inner = self.first(functional.silu(self.norm(h) * (1.0 + scale) + shift))
        return h + self.second(functional.silu(inner))


def _zero(layer: nn.Linear | nn.Conv2d) -> None:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
