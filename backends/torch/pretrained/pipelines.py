"""What a loaded pipeline of diffusers gives to a training: its network, its prompts encoded, shapes, guidance."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.identity import digest_of

from .config import DIFFUSIONS, Kind

__all__ = [
    "CLASSES",
    "encoded_prompts",
    "guidance_of",
    "kind_of",
    "latent_shape",
    "network_of",
    "unclipped",
    "weights_digest",
]

logger = logging.getLogger("driftproof")

ENCODED_AT_ONCE = 16
CLASSES: dict[Kind, str] = {
    "stable_diffusion": "StableDiffusionPipeline",
    "stable_diffusion_xl": "StableDiffusionXLPipeline",
    "stable_diffusion_3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
    "flux2": "Flux2KleinPipeline",
    "unconditional": "DDPMPipeline",
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
    return cast("nn.Module", pipeline.unet if kind in DIFFUSIONS else pipeline.transformer)


def latent_shape(
    kind: Kind, pipeline: Any, height: int | None = None, width: int | None = None
) -> tuple[int, int, int]:
    """Channels, height and width of latents, for images of this size; by default that of the pipeline.

    Raises:
        UnmetHypothesis: A size that is no multiple of what a latent, or a patch of them, covers; of an unconditional
            pipeline, another than its own.
    """
    network, packed = network_of(kind, pipeline), kind == "flux2"
    if kind == "unconditional":
        config = cast("Any", network).config
        high, wide = (config.sample_size,) * 2 if isinstance(config.sample_size, int) else config.sample_size
        if (height or high, width or wide) != (high, wide):
            raise UnmetHypothesis(
                "pipeline", f"images are {high} x {wide}", f"{height or high} x {width or wide}"
            )
        return int(config.in_channels), int(high), int(wide)
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
    kind: Kind,
    pipeline: Any,
    prompts: Sequence[str],
    device: torch.device,
    shape: tuple[int, int, int],
    *,
    negatives: bool,
) -> dict[str, Tensor]:
    """Named conditions with a row for each prompt; with ``negatives``, those of the empty prompt beside them.

    Raises:
        UnmetHypothesis: Prompts for a pipeline that knows none.
    """
    if kind == "unconditional":
        if any(prompts):
            got = f"{len(prompts)} prompts for a {type(pipeline).__name__}"
            raise UnmetHypothesis("Task", 'the prompt is "" of an unconditional pipeline', got)
        return {}
    with torch.no_grad():
        chunks = [list(prompts[i : i + ENCODED_AT_ONCE]) for i in range(0, len(prompts), ENCODED_AT_ONCE)]
        encoded = [_encode(kind, pipeline, chunk, device) for chunk in chunks]
        found = {name: torch.cat([part[name] for part in encoded]) for name in encoded[0]}
        if kind == "stable_diffusion_xl":  # trained on whole images of this size: no crop
            size = [side * int(pipeline.vae_scale_factor) for side in shape[1:]]
            ids = torch.tensor([[*size, 0, 0, *size]], device=device, dtype=found["prompt"].dtype)
            sizes = {"time_ids": ids.expand(len(prompts), -1)}
        else:
            sizes = {}
        if not negatives:
            return found | sizes
        empty = _encode(kind, pipeline, [""], device)
        if kind == "stable_diffusion_xl" and pipeline.config.force_zeros_for_empty_prompt:
            empty = {name: torch.zeros_like(row) for name, row in empty.items()}
    names = {"prompt": "negative", "pooled": "negative_pooled"}
    return (
        found | sizes | {names[name]: row.expand(len(prompts), *row.shape[1:]) for name, row in empty.items()}
    )


def guidance_of(kind: Kind, pipeline: Any, weight: float | None) -> float:
    """The guidance of a pipeline: a weight, or its own; 1 where the pipeline runs the conditional model alone.

    Raises:
        UnmetHypothesis: A weight for a pipeline that has no condition.
    """
    if kind == "unconditional":
        if weight not in (None, 1.0):
            hypothesis = "guidance_scale is not set, for an unconditional pipeline"
            raise UnmetHypothesis("pipeline", hypothesis, f"guidance_scale = {weight!r}")
        return 1.0
    own = inspect.signature(pipeline.__call__).parameters["guidance_scale"].default
    weight = float(own if weight is None else weight)
    if kind == "flux":  # a number that the distilled model takes; schnell has none
        return weight if pipeline.transformer.config.guidance_embeds else 1.0
    distilled = bool(getattr(pipeline.config, "is_distilled", False))
    return weight if weight > 1.0 and not distilled else 1.0


def unclipped(kind: Kind, config: Mapping[str, Any]) -> dict[str, Any]:
    """The scheduler's configuration without the clipping that pipelines of pixels have: such a step has no density."""
    found = dict(config)
    if kind == "unconditional" and found.pop("clip_sample", False):
        logger.warning("clip_sample of the pipeline's scheduler is left out: a clipped step has no density")
    return found


def weights_digest(network: nn.Module) -> str:
    """The identity of a network: the names and shapes of its weights, and the first values of each."""
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
        case "stable_diffusion_xl":
            prompt, _, pooled, _ = pipeline.encode_prompt(
                prompts, device=device, do_classifier_free_guidance=False
            )
            return {"prompt": prompt, "pooled": pooled}
        case "stable_diffusion_3":
            prompt, _, pooled, _ = pipeline.encode_prompt(
                prompts, None, None, device=device, do_classifier_free_guidance=False
            )
            return {"prompt": prompt, "pooled": pooled}
        case "flux2":
            return {"prompt": pipeline.encode_prompt(prompts, device)[0]}
    prompt, pooled, _ = pipeline.encode_prompt(prompts, None, device=device)
    return {"prompt": prompt, "pooled": pooled}
