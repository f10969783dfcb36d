"""Flow models made ready to train: weights, adapter, conditions, grid, decoder; or small ones at random."""

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
from .config import PublishedModel
from .flows import NetworkFlow
from .sit import SIT_XL_2, converted, read_weights
from .small import small_parts
from .task import Reward, Task
from .velocities import Flux2Velocity, SD3Velocity, SiTVelocity, Velocity

__all__ = ["Parts", "Prepared", "prepared", "save_adapter"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ENCODED_AT_ONCE = 16


@final
@dataclass(frozen=True, slots=True)
class Parts:
    """What of a pipeline is needed: network, decoder, conditions, shape of the latents, grid."""

    network: nn.Module
    vae: Any
    conditions: Mapping[str, Tensor]
    prompts: tuple[str, ...]
    shape: tuple[int, ...]
    times: tuple[float, ...]


@final
@dataclass(frozen=True, slots=True)
class Prepared:
    """A flow with its adapter, the grid, and how states become images."""

    flow: NetworkFlow
    network: nn.Module
    task: Task
    times: tuple[float, ...]


def prepared(
    model: PublishedModel, reward: Reward, device: torch.device, seed: int, **gradient: Any
) -> Prepared:
    """Load or make the model, and put an adapter on it.

    Arguments:
        model: Which one.
        reward: Of images and prompts.
        device: Where everything goes.
        seed: Of the adapter's random half, and of small models.
        gradient: Smoothing, noise and bound of the task.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        parts = _published(model, device) if model.name else _small(model)
        add_lora(parts.network, model.rank, model.rank, model.targets)
    network = parts.network.to(device).eval()
    # Single precision: the gradients of decoders in half precision are noise.
    vae = parts.vae.to(device, torch.float32).eval().requires_grad_(False)
    conditions = {name: value.to(device) for name, value in parts.conditions.items()}
    task = Task(
        shape=parts.shape,
        reward=reward,
        decode=_decoder(model.kind, vae),
        prompts=parts.prompts,
        conditions=conditions,
        device=device,
        **gradient,
    )
    plain = _velocity(model.kind, network, 1.0)
    guided = None if model.guidance == 1.0 else _velocity(model.kind, network, model.guidance)
    flow = NetworkFlow(plain, guided, checkpointing=model.checkpointing, at_once=model.at_once or None)
    return Prepared(flow, network, task, parts.times)


def save_adapter(network: nn.Module, path: Path) -> None:
    """Write the weights of the adapter, in the names of diffusers."""
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    weights = convert_state_dict_to_diffusers(get_peft_model_state_dict(network))
    save_file({f"transformer.{name}": value.contiguous().cpu() for name, value in weights.items()}, path)


def _velocity(kind: str, network: nn.Module, guidance: float) -> Velocity:
    kinds: dict[str, Callable[[nn.Module, float], Velocity]] = {
        "sit": SiTVelocity,
        "flux2": Flux2Velocity,
        "sd3": SD3Velocity,
    }
    return kinds[kind](network, guidance)


def _small(model: PublishedModel) -> Parts:
    network, vae, conditions, prompts, shape, times = small_parts(model)
    dtype = DTYPES[model.dtype]
    cast = {name: v.to(dtype) if v.is_floating_point() else v for name, v in conditions.items()}
    return Parts(network.to(dtype), vae, cast, prompts, shape, times)


def _published(model: PublishedModel, device: torch.device) -> Parts:
    loaders = {"sit": _sit, "flux2": _flux2, "sd3": _sd3}
    return loaders[model.kind](model, device)


def _sit(model: PublishedModel, device: torch.device) -> Parts:
    from diffusers import AutoencoderKL, DiTTransformer2DModel

    side = model.side // 8
    network = DiTTransformer2DModel(**{**SIT_XL_2, "sample_size": side})
    missing = network.load_state_dict(
        converted(read_weights(Path(model.name)), SIT_XL_2["num_layers"]), strict=False
    )
    if [name for name in missing.missing_keys if "pos_embed" not in name]:
        raise UnmetHypothesis("SiT", "the file has every weight", f"{missing.missing_keys[:3]}...")
    vae = AutoencoderKL.from_pretrained(model.vae, use_safetensors=True)
    conditions = {"label": torch.tensor(model.labels)}
    prompts = tuple(f"class {label}" for label in model.labels)
    times = tuple(np.linspace(1.0, 0.0, model.steps + 1).tolist())
    dtype = DTYPES[model.dtype]
    return Parts(network.to(dtype), vae.to(dtype), conditions, prompts, (4, side, side), times)


def _flux2(model: PublishedModel, device: torch.device) -> Parts:
    from diffusers import Flux2KleinPipeline
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

    pipeline: Any = Flux2KleinPipeline.from_pretrained(
        model.name, torch_dtype=DTYPES[model.dtype], use_safetensors=True
    )
    side = model.side // (2 * int(pipeline.vae_scale_factor))
    prompts = prompts_in(model.prompt_file) if model.prompt_file else model.prompts

    def encode(texts: list[str]) -> dict[str, Tensor]:
        return {"prompt": pipeline.encode_prompt(texts, device)[0]}

    conditions = _encoded(prompts, model.guidance, encode, {"prompt": "negative"}, pipeline, device)
    times = _grid(pipeline.scheduler, model.steps, mu=compute_empirical_mu(side * side, model.steps))
    channels = int(pipeline.transformer.config.in_channels)
    return Parts(pipeline.transformer, pipeline.vae, conditions, prompts, (channels, side, side), times)


def _sd3(model: PublishedModel, device: torch.device) -> Parts:
    from diffusers import StableDiffusion3Pipeline

    pipeline: Any = StableDiffusion3Pipeline.from_pretrained(
        model.name, torch_dtype=DTYPES[model.dtype], use_safetensors=True
    )

    def encode(texts: list[str]) -> dict[str, Tensor]:
        prompt, _, pooled, _ = pipeline.encode_prompt(
            texts, None, None, device=device, do_classifier_free_guidance=False
        )
        return {"prompt": prompt, "pooled": pooled}

    side = model.side // int(pipeline.vae_scale_factor)
    prompts = prompts_in(model.prompt_file) if model.prompt_file else model.prompts
    names = {"prompt": "negative", "pooled": "negative_pooled"}
    conditions = _encoded(prompts, model.guidance, encode, names, pipeline, device)
    channels = int(pipeline.transformer.config.in_channels)
    times = _grid(pipeline.scheduler, model.steps)
    return Parts(pipeline.transformer, pipeline.vae, conditions, prompts, (channels, side, side), times)


def _encoded(
    prompts: tuple[str, ...],
    guidance: float,
    encode: Callable[[list[str]], dict[str, Tensor]],
    negatives: Mapping[str, str],
    pipeline: Any,
    device: torch.device,
) -> dict[str, Tensor]:
    """Conditions of all prompts and, for guidance, of the empty one; the text encoders go after that."""
    for name, module in pipeline.components.items():
        if isinstance(module, nn.Module) and name.startswith("text_encoder"):
            module.to(device)
    with torch.no_grad():
        chunks = [prompts[i : i + ENCODED_AT_ONCE] for i in range(0, len(prompts), ENCODED_AT_ONCE)]
        found = [encode(list(chunk)) for chunk in chunks]
        conditions = {name: torch.cat([part[name] for part in found]) for name in found[0]}
        if guidance != 1.0:
            empty = encode([""])
            conditions |= {
                none: empty[name].expand_as(conditions[name]).clone() for name, none in negatives.items()
            }
    for name, module in pipeline.components.items():
        if isinstance(module, nn.Module) and name.startswith("text_encoder"):
            module.to("cpu")
    return conditions


def _grid(scheduler: Any, steps: int, **shift: Any) -> tuple[float, ...]:
    """The noise levels of a flow-matching scheduler: they are noise times, and end at 0."""
    sigmas = np.linspace(1.0, 1.0 / steps, steps).tolist()
    scheduler.set_timesteps(sigmas=sigmas, **shift) if shift else scheduler.set_timesteps(steps)
    return tuple(float(s) for s in scheduler.sigmas)


def _decoder(kind: str, vae: Any) -> Callable[[Tensor], Tensor]:
    """From latents to images in [0, 1], differentiable."""

    def decode(x: Tensor) -> Tensor:
        if kind == "flux2":
            scale = torch.sqrt(vae.bn.running_var + vae.config.batch_norm_eps).reshape(1, -1, 1, 1)
            x = x * scale + vae.bn.running_mean.reshape(1, -1, 1, 1)
            b, c, h, w = x.shape
            x = x.reshape(b, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, c // 4, 2 * h, 2 * w)
        else:
            x = x / float(vae.config.scaling_factor) + float(getattr(vae.config, "shift_factor", None) or 0.0)
        images = vae.decode(x.to(vae.dtype), return_dict=False)[0]
        return 0.5 * images.to(torch.float32) + 0.5

    return decode
