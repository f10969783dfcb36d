r"""Published models by their configurations alone: the real classes without weights, inside of :func:`..kit.memory.imagined`.

``configs/NAME.json`` holds what the ``config.json`` of a repository says, by component, and how many tokens its pipeline
gives the network.  A folder with such files is read as it is, and so is a model of the zoo.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.recipes.shipped import ZOO

from .cards import folder
from .config import DIFFUSIONS, PipelineModel
from .pipelines import latent_shape
from .sit import SIT_XL_2
from .small import NEGATIVES, Parts

__all__ = ["clip_without_weights", "configs_of", "parts_without_weights"]

COMPONENTS = ("unet", "transformer", "vae", "scheduler", "text_encoder")


def configs_of(name: str) -> dict[str, Any]:
    """The configurations of a model, by component.

    Arguments:
        name: As for ``from_pretrained``, a folder, or ``zoo:NAME``.

    Raises:
        UnmetHypothesis: They are not known here.
    """
    shipped = Path(str(files(__package__))) / "configs"
    own = shipped / f"{name.rpartition('/')[2]}.json"
    if own.is_file() and not Path(name).is_dir():
        found: dict[str, Any] = json.loads(own.read_text(encoding="utf-8"))
        return found
    place = folder(name.removeprefix(ZOO)) if name.startswith(ZOO) else Path(name)
    if (place / "config.json").is_file():
        return {"model": json.loads((place / "config.json").read_text(encoding="utf-8"))}
    parts = {part: _config_in(place / part) for part in COMPONENTS if (place / part).is_dir()}
    if not parts:
        known = ", ".join(sorted(path.stem for path in shipped.glob("*.json")))
        hypothesis = f"the configuration of the model is known ({known}), or a folder has its config.json"
        raise UnmetHypothesis("dry run", hypothesis, repr(name))
    if "text_encoder" in parts:
        parts["tokens"] = parts["text_encoder"]["max_position_embeddings"]
    if name.startswith(ZOO) and "unet" in parts:
        parts["vae"] = configs_of(f"{ZOO}mnist-vae")["model"]
    return parts


def parts_without_weights(model: PipelineModel, prompts: tuple[str, ...], dtype: torch.dtype) -> Parts:
    """What :func:`.loader.load_parts` loads, by configurations alone.

    Raises:
        UnmetHypothesis: They are not known, or are those of another kind of pipeline.
    """
    from diffusers import DiTTransformer2DModel

    if model.kind == "sit":
        if model.name.startswith(ZOO):
            config = configs_of(model.name)["transformer"]
        else:
            config = {**SIT_XL_2, "sample_size": model.side // 8 or SIT_XL_2["sample_size"]}
        network: Any = nn.Module.to(DiTTransformer2DModel.from_config(config), dtype)
        pixels = configs_of(model.vae)
        side = int(config["sample_size"])
        shape = (int(config["in_channels"]), side, side)
        labels = {"label": torch.zeros(len(model.labels), dtype=torch.long)}
        decoder = _made(pixels.get("vae") or pixels["model"], torch.float32)
        return Parts(network, decoder, None, labels, prompts, shape)
    configs = configs_of(model.name)
    component = "unet" if model.kind in DIFFUSIONS else "transformer"
    if component not in configs:
        got = f"{model.name!r} has {', '.join(configs)}"
        raise UnmetHypothesis("dry run", f"a {component}, of a pipeline of kind {model.kind}", got)
    network = _made(configs[component], dtype)
    vae = _made(configs["vae"], dtype) if "vae" in configs else None
    # What latent_shape asks a pipeline; FLUX has no size of its own, and is told one.
    pipeline = SimpleNamespace(
        **{component: network},
        vae=vae,
        vae_scale_factor=1 if vae is None else 2 ** (len(vae.config.block_out_channels) - 1),
        default_sample_size=network.config.get("sample_size") or 128,
    )
    found = latent_shape(model.kind, pipeline, model.side or None, model.side or None)
    conditions = _conditions(model, network.config, int(configs.get("tokens", 0)), len(prompts), dtype)
    return Parts(network, vae, configs.get("scheduler"), conditions, prompts, found)


def clip_without_weights(name: str) -> Any:
    """A ``CLIPModel``.

    Raises:
        UnmetHypothesis: Its configuration is not known.
    """
    from transformers import CLIPConfig, CLIPModel

    configs = configs_of(name)
    return CLIPModel(CLIPConfig(**(configs.get("clip") or configs["model"])))


def _conditions(
    model: PipelineModel, config: Mapping[str, Any], tokens: int, count: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Encoded prompts, which have a row each for as long as the training lasts."""
    if model.kind == "unconditional":
        return {}
    width = config.get("cross_attention_dim") or config.get("joint_attention_dim")
    shapes: dict[str, tuple[int, ...]] = {"prompt": (tokens, int(width or 0))}
    if model.kind == "stable_diffusion_xl":
        sizes = 6 * int(config["addition_time_embed_dim"])
        shapes["pooled"] = (int(config["projection_class_embeddings_input_dim"]) - sizes,)
    elif config.get("pooled_projection_dim"):
        shapes["pooled"] = (int(config["pooled_projection_dim"]),)
    if model.guidance != 1.0 and not config.get("guidance_embeds"):
        shapes |= {NEGATIVES[name]: shape for name, shape in shapes.items()}
    found = {name: torch.zeros(count, *shape, dtype=dtype) for name, shape in shapes.items()}
    if model.kind == "stable_diffusion_xl":
        found["time_ids"] = torch.zeros(count, 6, dtype=dtype)
    return found


def _made(config: Mapping[str, Any], dtype: torch.dtype) -> Any:
    import diffusers

    made: nn.Module = getattr(diffusers, config["_class_name"]).from_config(dict(config))
    return nn.Module.to(made, dtype).eval().requires_grad_(False)  # that of diffusers warns of casts


def _config_in(place: Path) -> Any:
    for name in ("config.json", "scheduler_config.json"):
        if (place / name).is_file():
            return json.loads((place / name).read_text(encoding="utf-8"))
    raise UnmetHypothesis("dry run", "a config.json in every component", f"none in {place}")
