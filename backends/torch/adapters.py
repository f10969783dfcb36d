"""Adapters of PEFT on a network of diffusers: put on, and switched off for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

__all__ = ["add_lora", "without_adapters"]


def add_lora(network: nn.Module, rank: int, alpha: int, targets: Sequence[str]) -> None:
    """Freeze a network and put a LoRA adapter on it, in single precision: the only thing that is trained.

    Arguments:
        network: Of diffusers, changed in place.
        rank, alpha, targets: Of PEFT's ``LoraConfig``.  One half of the adapter is zero, the other drawn from the
            global generator.
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
