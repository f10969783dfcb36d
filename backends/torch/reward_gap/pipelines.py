"""Pipelines of diffusers as policies: weights, adapter, prompts, grid and decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from ...._namespace import UnmetHypothesis
from ..adapters import add_lora
from ..prompts import prompts_in
from ..schedulers import GDDIMScheduler
from .config import PipelineModel, Sampling
from .denoisers import FluxDenoiser, SD3Denoiser, UNetDenoiser
from .rewards import Reward
from .sampler import Sampler
from .small import Parts, small_parts
from .task import Task

__all__ = ["Policy", "load_policy", "prompts_of", "save_adapter"]

ENCODED_AT_ONCE, DECODED_AT_ONCE = 16, 8
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@final
@dataclass(frozen=True, slots=True)
class Policy:
    """A pipeline made ready to train."""

    denoiser: nn.Module
    sampler: Sampler
    task: Task


def load_policy(
    model: PipelineModel, sampling: Sampling, reward: Reward, device: torch.device, seed: int = 0
) -> Policy:
    """Load or make the pipeline, put an adapter on its network, encode the prompts.

    Arguments:
        model: Which pipeline; without a name, a small one with random weights.
        sampling: The grid, on the pipeline's own noise schedule.
        reward: See :mod:`.rewards`.
        device: Where everything goes.
        seed: Of the adapter's random half, and of small pipelines.

    Raises:
        FileNotFoundError: There is no such file of prompts.
        UnmetHypothesis: A pipeline whose schedule or prediction does not fit, or a file without prompts.
    """
    prompts = prompts_of(model)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        parts = _pretrained(model, prompts, device) if model.name else small_parts(model, prompts, device)
        add_lora(parts.network, model.lora.rank, model.lora.alpha, model.lora.targets)
    network, vae = parts.network.to(device), parts.vae.to(device)
    side = model.side // parts.downsampling if model.side else parts.side
    scheduler = GDDIMScheduler.from_config(parts.scheduler_config)
    _set_timesteps(scheduler, sampling.steps, model.kind, side)
    sampler = Sampler(scheduler, sampling.eta, sampling.kind)
    task = Task(
        prompts=prompts,
        conditions=parts.conditions,
        shape=(int(vae.config.latent_channels), side, side),
        decode=_decoder(vae),
        reward=reward,
    )
    return Policy(_denoiser(model, network, sampler.prediction), sampler, task)


def save_adapter(denoiser: nn.Module, model: PipelineModel, folder: Path) -> None:
    """Write the adapter as ``load_lora_weights`` of the pipeline reads it.

    A file has no alpha, and who reads it takes the rank for it: alpha / rank goes into the weights.
    """
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    scale = model.lora.alpha / model.lora.rank
    found = get_peft_model_state_dict(denoiser.network).items()
    scaled = {name: scale * value if "lora_B" in name else value for name, value in found}
    weights = convert_state_dict_to_diffusers(scaled)
    where = "unet_lora_layers" if model.kind == "stable_diffusion" else "transformer_lora_layers"
    _pipeline_class(model.kind).save_lora_weights(str(folder), **{where: weights})


def prompts_of(model: PipelineModel) -> tuple[str, ...]:
    """The prompts of the recipe or of its file.

    Raises:
        FileNotFoundError: There is no such file.
        UnmetHypothesis: It has no prompt.
    """
    return prompts_in(model.prompt_file) if model.prompt_file else model.prompts


def _pipeline_class(kind: str) -> Any:
    import diffusers

    names = {
        "stable_diffusion": "StableDiffusionPipeline",
        "stable_diffusion_3": "StableDiffusion3Pipeline",
        "flux": "FluxPipeline",
    }
    return getattr(diffusers, names[kind])


def _pretrained(model: PipelineModel, prompts: tuple[str, ...], device: torch.device) -> Parts:
    options: dict[str, Any] = {
        "torch_dtype": DTYPES[model.dtype],
        "use_safetensors": True,
        "revision": model.revision,
    }
    if model.kind == "stable_diffusion":
        options |= {"safety_checker": None, "requires_safety_checker": False}
    pipeline = _pipeline_class(model.kind).from_pretrained(model.name, **options)
    for name, module in pipeline.components.items():
        if isinstance(module, nn.Module):
            module.requires_grad_(False).eval()
            if name.startswith("text_encoder"):
                module.to(device)
    chunks = [prompts[i : i + ENCODED_AT_ONCE] for i in range(0, len(prompts), ENCODED_AT_ONCE)]
    with torch.no_grad():
        encoded = [_encode(pipeline, model, list(chunk), device) for chunk in chunks]
    conditions = {name: torch.cat([part[name] for part in encoded]) for name in encoded[0]}
    network = pipeline.unet if model.kind == "stable_diffusion" else pipeline.transformer
    downsampling = int(pipeline.vae_scale_factor)
    if model.kind == "flux" and not model.side:
        raise UnmetHypothesis("pipeline", "side > 0, for flux", "side = 0")
    native = int(getattr(network.config, "sample_size", None) or 0)
    return Parts(network, pipeline.vae, pipeline.scheduler.config, conditions, native, downsampling)


def _encode(
    pipeline: Any, model: PipelineModel, prompts: list[str], device: torch.device
) -> Mapping[str, Tensor]:
    """Conditions of a few prompts, and their negatives where classifier-free guidance asks for them."""
    guided = model.guidance != 1.0
    if model.kind == "stable_diffusion":
        prompt, negative = pipeline.encode_prompt(prompts, device, 1, guided)
        return {"prompt": prompt, **({"negative": negative} if guided else {})}
    if model.kind == "stable_diffusion_3":
        prompt, negative, pooled, negative_pooled = pipeline.encode_prompt(
            prompts, None, None, device=device, do_classifier_free_guidance=guided
        )
        both = {"negative": negative, "negative_pooled": negative_pooled} if guided else {}
        return {"prompt": prompt, "pooled": pooled, **both}
    prompt, pooled, _ = pipeline.encode_prompt(prompts, None, device=device)
    found = {"prompt": prompt, "pooled": pooled}
    if guided and not pipeline.transformer.config.guidance_embeds:
        negative, negative_pooled, _ = pipeline.encode_prompt([""] * len(prompts), None, device=device)
        found |= {"negative": negative, "negative_pooled": negative_pooled}
    return found


def _denoiser(model: PipelineModel, network: nn.Module, prediction: str) -> nn.Module:
    if model.kind == "stable_diffusion":
        # A UNet does not say what it predicts: its pipeline's schedule does.
        return UNetDenoiser(network, prediction, model.guidance)
    kind = SD3Denoiser if model.kind == "stable_diffusion_3" else FluxDenoiser
    return kind(network, model.guidance)


def _set_timesteps(scheduler: Any, steps: int, kind: str, side: int) -> None:
    if kind != "flux":
        scheduler.set_timesteps(steps)
        return
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    config = scheduler.config
    mu = calculate_shift(
        (side // 2) ** 2,
        config.base_image_seq_len,
        config.max_image_seq_len,
        config.base_shift,
        config.max_shift,
    )
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1.0 / steps, steps).tolist(), mu=mu)


def _decoder(vae: Any) -> Callable[[Tensor], Tensor]:
    scale, shift = float(vae.config.scaling_factor), float(getattr(vae.config, "shift_factor", None) or 0.0)

    @torch.no_grad()
    def decode(latents: Tensor) -> Tensor:
        parts = torch.split((latents / scale + shift).to(vae.dtype), DECODED_AT_ONCE)
        images = torch.cat([vae.decode(part, return_dict=False)[0] for part in parts])
        return (0.5 * images.float() + 0.5).clamp(0.0, 1.0)

    return decode
