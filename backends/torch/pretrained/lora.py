"""Adapters of PEFT on a network of diffusers: put on, switched off for a while, and written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

__all__ = ["adapters_alone", "add_lora", "load_adapter", "remove_lora", "save_adapter", "without_adapters"]


FILE = "pytorch_lora_weights.safetensors"


def add_lora(network: nn.Module, rank: int, alpha: int, targets: Sequence[str]) -> None:
    """Freeze a network and put a LoRA adapter on it, in single precision: the only thing that is trained.

    Arguments:
        network: A network of diffusers, changed in place.
        rank, alpha, targets: Fields of PEFT's ``LoraConfig``.  One half of the adapter is zero, the other drawn from
            the global generator.
    """
    from peft import LoraConfig, inject_adapter_in_model

    model: Any = network
    model.requires_grad_(False)
    options = LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=list(targets))
    if hasattr(model, "add_adapter"):
        model.add_adapter(options)
    else:  # DiTTransformer2DModel is no PeftAdapterMixin
        inject_adapter_in_model(options, model)
        model.peft_config = {"default": options}
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()  # Adam in half precision loses small updates


def remove_lora(network: nn.Module) -> None:
    """Take the adapter off again, as if it had never been put on."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    model: Any = network
    if hasattr(model, "unload_lora"):
        model.unload_lora()
        return
    for name, layer in [named for named in network.named_modules() if isinstance(named[1], BaseTunerLayer)]:
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, layer.get_base_layer())
    del model.peft_config


def load_adapter(network: nn.Module, folder: str | Path) -> None:
    """Put on a network what :func:`save_adapter` wrote, where its pipeline has no ``load_lora_weights``.

    Arguments:
        network: A network of diffusers, without an adapter, changed in place.
        folder: Where the adapter is.

    Raises:
        FileNotFoundError: There is no adapter.
        ValueError: It is one of another network.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    found = load_file(Path(folder) / FILE)
    named = {name.partition(".")[2]: value for name, value in found.items()}
    # The names of PEFT, which the file of diffusers keeps but for the halves of an adapter.
    named = {
        name.replace(".lora.down.", ".lora_A.").replace(".lora.up.", ".lora_B."): w
        for name, w in named.items()
    }
    halves = {
        name.removesuffix(".lora_A.weight"): w for name, w in named.items() if name.endswith(".lora_A.weight")
    }
    missing = sorted(halves.keys() - dict(network.named_modules()).keys())
    if missing or not halves:
        raise ValueError(f"adapter: expected one of {type(network).__name__} in {folder}, got {missing[:3]}")
    rank = next(iter(halves.values())).shape[0]
    add_lora(network, rank, rank, sorted(halves))
    set_peft_model_state_dict(network, named)


@contextlib.contextmanager
def without_adapters(network: nn.Module) -> Iterator[None]:
    """The network without its adapters inside; for classes of diffusers that PEFT has no methods of, too."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers: list[Any] = [module for module in network.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(enabled=False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(enabled=True)


def adapters_alone(network: nn.Module) -> bool:
    """Whether all adapters and nothing else are trained: without them the network stays what it was."""
    if not getattr(network, "peft_config", None):
        return False
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapters = {
        id(weight)
        for layer in network.modules()
        if isinstance(layer, BaseTunerLayer)
        for name in layer.adapter_layer_names
        for weight in getattr(layer, name).parameters()
    }
    return adapters == {id(weight) for weight in network.parameters() if weight.requires_grad}


def save_adapter(network: nn.Module, folder: Path) -> None:
    """Write the adapter as ``load_lora_weights`` of the network's pipeline reads it.

    A file has no alpha, and who reads it takes the rank for it: alpha / rank goes into the weights.
    """
    from diffusers import UNet2DConditionModel, UNet2DModel
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save_file

    options = next(iter(network.peft_config.values()))  # type: ignore[operator]  # put there by PEFT
    scale = options.lora_alpha / options.r
    found = get_peft_model_state_dict(network).items()
    scaled = {name: scale * value if "lora_B" in name else value for name, value in found}
    place = "unet" if isinstance(network, UNet2DConditionModel | UNet2DModel) else "transformer"
    weights = {f"{place}.{name}": w for name, w in convert_state_dict_to_diffusers(scaled).items()}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    save_file({n: w.contiguous().cpu() for n, w in weights.items()}, file, {"format": "pt"})
