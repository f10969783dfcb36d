"""One loader for published image models: weights, adapter, prompts, grid; or small ones with random weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.memory import scene
from driftproof.backends.torch.recipes.shipped import ZOO
from driftproof.numerics.samplers.parametrization import Parametrization

from .config import PipelineModel
from .denoisers import Flux2Denoiser, FluxDenoiser, SD3Denoiser, SiTDenoiser
from .lora import add_lora
from .models import zoo
from .pipelines import CLASSES, encoded_prompts, kind_of, latent_shape, network_of
from .prompts import prompts_in
from .shapes import parts_without_weights
from .sit import SIT_XL_2, converted, read_weights
from .small import Parts, small_parts
from .unets import PixelDenoiser, UNetDenoiser

__all__ = ["denoiser_of", "load_parts", "noise_times", "prompts_of", "set_steps"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_parts(model: PipelineModel, device: torch.device, seed: int = 0) -> Parts:
    """Load or make the model, put an adapter on its network, encode the prompts.

    Arguments:
        model: Which one; without a name, a small one with random weights.
        device: Where everything goes.
        seed: The seed of the adapter's random half, and of small models.

    Raises:
        FileNotFoundError: There is no such file of prompts or weights.
        UnmetHypothesis: A file without prompts or without some weight, or flux without a side.
    """
    prompts = prompts_of(model)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        if not model.name:
            parts = small_parts(model, prompts, device)
            if model.dtype != "float32":
                parts.network.to(DTYPES[model.dtype])
        elif scene() is not None:
            parts = parts_without_weights(model, prompts, DTYPES[model.dtype])
        else:
            parts = _sit(model, prompts) if model.kind == "sit" else _pipeline(model, prompts, device)
        add_lora(parts.network, model.lora.rank, model.lora.alpha, model.lora.targets)
    parts.network.to(device).eval()
    if model.checkpointing:
        parts.network.enable_gradient_checkpointing()  # type: ignore[operator]  # of diffusers
    if parts.vae is not None:
        parts.vae.to(device).eval().requires_grad_(False)
    if (here := scene()) is not None:
        here.hold("network", parts.network, "forward")
        if parts.vae is not None:
            here.hold("decoder", parts.vae, "decode")
    dtype = DTYPES[model.dtype]
    conditions = {
        name: rows.to(device, dtype if rows.is_floating_point() else None)
        for name, rows in parts.conditions.items()
    }
    return Parts(parts.network, parts.vae, parts.scheduler_config, conditions, prompts, parts.shape)


def prompts_of(model: PipelineModel) -> tuple[str, ...]:
    """The prompts of the recipe or of its file; those of classes tell their numbers.

    Raises:
        FileNotFoundError: There is no such file.
        UnmetHypothesis: It has no prompt.
    """
    if model.labels:
        return tuple(f"class {label}" for label in model.labels)
    here = scene()
    if here is not None and model.prompt_file and not Path(model.prompt_file).is_file():
        here.assume(f"{here.prompts} prompts, as {model.prompt_file} is not there")
        return tuple(f"prompt {number}" for number in range(here.prompts))
    return prompts_in(model.prompt_file) if model.prompt_file else model.prompts


def denoiser_of(
    kind: str, network: nn.Module, guidance: float, prediction: Parametrization = "epsilon"
) -> nn.Module:
    """The adapter of a network; ``prediction`` is what a UNet was trained for, which its schedule says."""
    match kind:
        case "stable_diffusion":
            return UNetDenoiser(network, prediction, guidance)
        case "stable_diffusion_xl":
            return UNetDenoiser(network, prediction, guidance, sized=True)
        case "unconditional":
            return PixelDenoiser(network, prediction)
        case "stable_diffusion_3":
            return SD3Denoiser(network, guidance)
        case "flux":
            return FluxDenoiser(network, guidance)
        case "flux2":
            return Flux2Denoiser(network, guidance)
    return SiTDenoiser(network, guidance)


def set_steps(scheduler: Any, kind: str, steps: int, shape: tuple[int, ...]) -> None:
    """Set the grid of a scheduler as the pipeline of this kind does for latents of this shape."""
    tokens = shape[1] * shape[2]
    if kind == "flux":
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift

        names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
        mu = calculate_shift(tokens // 4, *(scheduler.config[name] for name in names))
    elif kind == "flux2":
        from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

        mu = compute_empirical_mu(tokens, steps)
    else:
        scheduler.set_timesteps(steps)
        return
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1.0 / steps, steps).tolist(), mu=mu)


def noise_times(
    scheduler_config: Mapping[str, Any] | None, kind: str, steps: int, shape: tuple[int, ...]
) -> tuple[float, ...]:
    """The noise times of a flow from 1 to 0: the levels of its scheduler, or equal steps where it has none."""
    if scheduler_config is None:
        return tuple(np.linspace(1.0, 0.0, steps + 1).tolist())
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(scheduler_config)
    set_steps(scheduler, kind, steps, shape)
    return tuple(float(s) for s in scheduler.sigmas)


def _sit(model: PipelineModel, prompts: tuple[str, ...]) -> Parts:
    from diffusers import AutoencoderKL, DiTTransformer2DModel

    labels = torch.tensor(model.labels)
    if model.name.startswith(ZOO):
        small, pixels = zoo(model.name.removeprefix(ZOO)), zoo(model.vae.removeprefix(ZOO))
        small, side = small.to(DTYPES[model.dtype]), int(small.config.sample_size)
        return Parts(small, pixels, None, {"label": labels}, prompts, (small.config.in_channels, side, side))

    side = model.side // 8 or int(SIT_XL_2["sample_size"])
    network = DiTTransformer2DModel(**{**SIT_XL_2, "sample_size": side})
    state = converted(read_weights(Path(model.name)), SIT_XL_2["num_layers"])
    missing = network.load_state_dict(state, strict=False)
    if [name for name in missing.missing_keys if "pos_embed" not in name]:
        raise UnmetHypothesis("SiT", "the file has every weight", f"{missing.missing_keys[:3]}...")
    network.to(DTYPES[model.dtype])
    vae = AutoencoderKL.from_pretrained(model.vae, use_safetensors=True)
    return Parts(network, vae, None, {"label": labels}, prompts, (4, side, side))


def _pipeline(model: PipelineModel, prompts: tuple[str, ...], device: torch.device) -> Parts:
    import diffusers

    pipeline: Any
    options: dict[str, Any] = {
        "torch_dtype": DTYPES[model.dtype],
        "use_safetensors": True,
        "revision": model.revision,
    }
    if model.kind == "stable_diffusion":
        options |= {"safety_checker": None, "requires_safety_checker": False}
    if model.kind in ("flux", "flux2") and not model.side:
        raise UnmetHypothesis("pipeline", f"side > 0, for {model.kind}", "side = 0")
    if model.name.startswith(ZOO):
        pipeline = zoo(model.name.removeprefix(ZOO)).to(DTYPES[model.dtype])
        if (kind := kind_of(pipeline, "PipelineModel")) != model.kind:
            raise UnmetHypothesis(
                "PipelineModel", f"kind is that of {model.name}, {kind!r}", repr(model.kind)
            )
    else:
        pipeline = getattr(diffusers, CLASSES[model.kind]).from_pretrained(model.name, **options)
    encoders = []
    for name, module in pipeline.components.items():
        if isinstance(module, nn.Module):
            module.requires_grad_(False).eval()
            encoders += [module.to(device)] if name.startswith("text_encoder") else []
    distilled = model.kind == "flux" and pipeline.transformer.config.guidance_embeds
    negatives = model.guidance != 1.0 and not distilled
    shape = latent_shape(model.kind, pipeline, model.side or None, model.side or None)
    conditions = encoded_prompts(model.kind, pipeline, prompts, device, shape, negatives=negatives)
    for encoder in encoders:
        encoder.to("cpu")
    network = network_of(model.kind, pipeline)
    return Parts(
        network, getattr(pipeline, "vae", None), pipeline.scheduler.config, conditions, prompts, shape
    )
