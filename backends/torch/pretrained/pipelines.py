"""What a loaded pipeline of diffusers gives to a training: its network, its prompts encoded, shapes, guidance."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.identity import digest_of

from .config import Kind

__all__ = [
    "CLASSES",
    "encoded_prompts",
    "guidance_of",
    "kind_of",
    "latent_shape",
    "network_of",
    "weights_digest",
]

ENCODED_AT_ONCE = 16
CLASSES: dict[Kind, str] = {
    "stable_diffusion": "StableDiffusionPipeline",
    "stable_diffusion_3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
    "flux2": "Flux2KleinPipeline",
}
SAMPLED = 16  # values of each weight that are read for its digest


def kind_of(pipeline: Any, subject: str) -> Kind:
    """The family of a pipeline.

    Raises:
        UnmetHypothesis: There is no adapter for its network.
    """
    names = {parent.__name__ for parent in type(pipeline).__mro__}
    for kind, name in CLASSES.items():
        if name in names:
            return kind
    hypothesis = f"the pipeline is one of {', '.join(CLASSES.values())}"
    raise UnmetHypothesis(subject, hypothesis, type(pipeline).__name__)


def network_of(kind: Kind, pipeline: Any) -> nn.Module:
    """The network that denoises."""
    return cast("nn.Module", pipeline.unet if kind == "stable_diffusion" else pipeline.transformer)


def latent_shape(
    kind: Kind, pipeline: Any, height: int | None = None, width: int | None = None
) -> tuple[int, int, int]:
    """Channels, height and width of latents, for images of this size; by default that of the pipeline.

    Raises:
        UnmetHypothesis: A size that is no multiple of what a latent, or a patch of them, covers.
    """
    network, packed = network_of(kind, pipeline), kind == "flux2"
    pixels = int(pipeline.vae_scale_factor) * (2 if packed else 1)
    patch = 2 if kind == "flux" else int(getattr(network.config, "patch_size", 1) or 1)
    least = pixels * (1 if packed else patch)
    own = getattr(pipeline, "default_sample_size", None) or cast("Any", network).config.sample_size
    default = int(own) * int(pipeline.vae_scale_factor)
    sizes = (height or default, width or default)
    if any(size % least for size in sizes):
        raise UnmetHypothesis(
            "pipeline", f"height and width are multiples of {least}", f"{sizes[0]} x {sizes[1]}"
        )
    channels = cast("Any", network).config.in_channels if packed else pipeline.vae.config.latent_channels
    return int(channels), sizes[0] // pixels, sizes[1] // pixels


def encoded_prompts(
    kind: Kind, pipeline: Any, prompts: Sequence[str], device: torch.device, *, negatives: bool
) -> dict[str, Tensor]:
    """Named conditions with a row for each prompt; with ``negatives``, those of the empty prompt beside them."""
    with torch.no_grad():
        chunks = [list(prompts[i : i + ENCODED_AT_ONCE]) for i in range(0, len(prompts), ENCODED_AT_ONCE)]
        encoded = [_encode(kind, pipeline, chunk, device) for chunk in chunks]
        found = {name: torch.cat([part[name] for part in encoded]) for name in encoded[0]}
        if not negatives:
            return found
        empty = _encode(kind, pipeline, [""], device)
    names = {"prompt": "negative", "pooled": "negative_pooled"}
    return found | {names[name]: row.expand(len(prompts), *row.shape[1:]) for name, row in empty.items()}


def guidance_of(kind: Kind, pipeline: Any, weight: float | None) -> float:
    """The guidance of a pipeline: a weight, or its own; 1 where the pipeline runs the conditional model alone."""
    own = inspect.signature(pipeline.__call__).parameters["guidance_scale"].default
    weight = float(own if weight is None else weight)
    if kind == "flux":  # a number that the distilled model is told; schnell has none
        return weight if pipeline.transformer.config.guidance_embeds else 1.0
    distilled = bool(getattr(pipeline.config, "is_distilled", False))
    return weight if weight > 1.0 and not distilled else 1.0


def weights_digest(network: nn.Module) -> str:
    """What tells a network from another: the names and shapes of its weights, and the first values of each."""
    parts: list[str] = []
    for name, weight in network.named_parameters():
        first = weight.detach().flatten()[:SAMPLED].double().tolist()
        parts.append(f"{name} {tuple(weight.shape)} {first}")
    return digest_of(parts)


def _encode(kind: Kind, pipeline: Any, prompts: list[str], device: torch.device) -> Mapping[str, Tensor]:
    """Conditions of a few prompts."""
    match kind:
        case "stable_diffusion":
            return {"prompt": pipeline.encode_prompt(prompts, device, 1, False)[0]}
        case "stable_diffusion_3":
            prompt, _, pooled, _ = pipeline.encode_prompt(
                prompts, None, None, device=device, do_classifier_free_guidance=False
            )
            return {"prompt": prompt, "pooled": pooled}
        case "flux2":
            return {"prompt": pipeline.encode_prompt(prompts, device)[0]}
    prompt, pooled, _ = pipeline.encode_prompt(prompts, None, device=device)
    return {"prompt": prompt, "pooled": pooled}
