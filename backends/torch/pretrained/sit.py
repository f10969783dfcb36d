"""Published SiT weights in the names of ``DiTTransformer2DModel``: diffusers ships no SiT of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["SIT_XL_2", "converted", "read_weights"]

# Sizes of SiT-XL/2 at 256 x 256, for DiTTransformer2DModel.
SIT_XL_2: dict[str, Any] = {
    "num_layers": 28,
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": 8,
    "sample_size": 32,
    "patch_size": 2,
    "num_embeds_ada_norm": 1000,
    "attention_bias": True,
    "activation_fn": "gelu-approximate",
    "norm_type": "ada_norm_zero",
    "norm_elementwise_affine": False,
    "norm_eps": 1e-6,
}


def converted(state: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """The state of a SiT, as ``DiTTransformer2DModel.load_state_dict`` takes it.

    The embedders of time and class, which SiT has once and diffusers in every block, are repeated;
    the fused projection of queries, keys and values is split.  Positions are computed, not loaded.

    Raises:
        KeyError: A weight is missing: the state is that of another model.
    """
    found = {}

    def put(target: str, source: str) -> None:
        for part in ("weight", "bias"):
            found[f"{target}.{part}"] = state[f"{source}.{part}"]

    put("pos_embed.proj", "x_embedder.proj")
    put("proj_out_1", "final_layer.adaLN_modulation.1")
    put("proj_out_2", "final_layer.linear")
    for i in range(layers):
        block, source = f"transformer_blocks.{i}", f"blocks.{i}"
        put(f"{block}.norm1.emb.timestep_embedder.linear_1", "t_embedder.mlp.0")
        put(f"{block}.norm1.emb.timestep_embedder.linear_2", "t_embedder.mlp.2")
        classes = "embedding_table.weight"
        found[f"{block}.norm1.emb.class_embedder.{classes}"] = state[f"y_embedder.{classes}"]
        put(f"{block}.norm1.linear", f"{source}.adaLN_modulation.1")
        for part in ("weight", "bias"):
            fused = state[f"{source}.attn.qkv.{part}"].chunk(3)
            for name, value in zip("qkv", fused, strict=True):
                found[f"{block}.attn1.to_{name}.{part}"] = value.clone()
        put(f"{block}.attn1.to_out.0", f"{source}.attn.proj")
        put(f"{block}.ff.net.0.proj", f"{source}.mlp.fc1")
        put(f"{block}.ff.net.2", f"{source}.mlp.fc2")
    return found


def read_weights(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a published checkpoint; nothing but tensors is unpickled.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"SiT: no file {path}")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    return dict(state.get("ema", state))
