"""Pipelines of diffusers with small random weights, text encoders and tokenizers included, saved as published ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import diffusers
import transformers

from driftproof.backends.torch.pretrained.config import Lora, PipelineModel
from driftproof.backends.torch.pretrained.small import POOLED, WIDTH, WIDTHS, small_parts

LETTERS = [chr(code) for code in range(97, 123)]
SIDE = 16  # of images


def clip_tokenizer() -> Any:
    tokens = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=8)


def clip_text(width: int, pooled: int = 0) -> Any:
    sizes = {"hidden_size": width, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPTextConfig(
        **sizes,
        vocab_size=54,
        max_position_embeddings=8,
        projection_dim=pooled or width,
        bos_token_id=52,
        eos_token_id=53,
        pad_token_id=53,
    )
    return (transformers.CLIPTextModelWithProjection if pooled else transformers.CLIPTextModel)(config)


def t5_text() -> Any:
    config = transformers.T5Config(vocab_size=54, d_model=WIDTH, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    return transformers.T5EncoderModel(config)


def qwen() -> dict[str, Any]:
    vocabulary = {**{letter: number for number, letter in enumerate(LETTERS)}, "Ġ": 26, "<|endoftext|>": 27}
    tokenizer = transformers.Qwen2TokenizerFast(vocab=vocabulary, merges=[])
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    config = transformers.Qwen3Config(
        vocab_size=28,
        hidden_size=WIDTHS["flux2"] // 3,  # three of its layers side by side are the prompt
        intermediate_size=4,
        num_hidden_layers=27,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=4,
    )
    return {"text_encoder": transformers.Qwen3ForCausalLM(config), "tokenizer": tokenizer}


def small_pipeline(kind: str) -> Any:
    """A pipeline of this kind."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = PipelineModel(kind, Lora(1, 1, ("to_q",)), prompts=("a",))
        parts = small_parts(model, ("a",), torch.device("cpu"))
        if kind in ("stable_diffusion_3", "flux"):
            parts.vae.register_to_config(scaling_factor=1.5305, shift_factor=0.0609)
        if kind == "unconditional":
            scheduler = diffusers.DDPMScheduler.from_config(parts.scheduler_config)
            return diffusers.DDPMPipeline(parts.network, scheduler)
        common = {"vae": parts.vae}
        if kind == "stable_diffusion":
            scheduler = diffusers.PNDMScheduler.from_config(parts.scheduler_config)
            nothing = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
            text = {"tokenizer": clip_tokenizer(), "text_encoder": clip_text(WIDTH)}
            return diffusers.StableDiffusionPipeline(
                unet=parts.network, scheduler=scheduler, **text, **nothing, **common
            )
        if kind == "stable_diffusion_xl":
            scheduler = diffusers.EulerDiscreteScheduler.from_config(parts.scheduler_config)
            text = {name: clip_tokenizer() for name in ("tokenizer", "tokenizer_2")}
            half = WIDTH // 2  # of the prompt, from each encoder
            text |= {"text_encoder": clip_text(half), "text_encoder_2": clip_text(half, POOLED)}
            return diffusers.StableDiffusionXLPipeline(
                unet=parts.network, scheduler=scheduler, add_watermarker=False, **text, **common
            )
        flow = diffusers.FlowMatchEulerDiscreteScheduler.from_config(parts.scheduler_config or {})
        common |= {"transformer": parts.network, "scheduler": flow}
        if kind == "stable_diffusion_3":
            half = (POOLED // 2, WIDTH // 2)
            text = {name: clip_tokenizer() for name in ("tokenizer", "tokenizer_2")}
            text |= {name: clip_text(half[1], half[0]) for name in ("text_encoder", "text_encoder_2")}
            text |= {"tokenizer_3": clip_tokenizer(), "text_encoder_3": t5_text()}
            return diffusers.StableDiffusion3Pipeline(**text, **common)
        if kind == "flux":
            text = {"tokenizer": clip_tokenizer(), "text_encoder": clip_text(POOLED)}
            text |= {"tokenizer_2": clip_tokenizer(), "text_encoder_2": t5_text()}
            return diffusers.FluxPipeline(**text, **common)
        return diffusers.Flux2KleinPipeline(**qwen(), **common)


def saved(kind: str, folder: Path) -> Path:
    """The folder of a pipeline of this kind."""
    small_pipeline(kind).save_pretrained(folder)
    return folder
