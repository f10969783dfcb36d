"""The models of the zoo, loaded in one line: ``zoo("mnist-sd")``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis

from .cards import ZooError, folder, verified
from .digits import DigitClassifier

__all__ = [
    "digit_features",
    "read_classifier",
    "read_ddpm",
    "read_market",
    "read_masked",
    "read_qwen",
    "read_sit",
    "read_stable_diffusion",
    "zoo",
    "zoo_path",
]


def zoo(name: str) -> Any:
    """A small trained model, in evaluation mode, in single precision.

    Arguments:
        name: One of ``driftproof models``.

    Returns:
        What its card names: a pipeline or a model of diffusers or transformers, or a module of ours.

    Raises:
        ZooError: There is no such model; a file of it is missing or damaged, or of another version.
        ModuleNotFoundError: A library that it stands on is not installed.

    Example:
        >>> zoo("mnist-classifier")(torch.zeros(1, 1, 28, 28)).shape
        torch.Size([1, 10])
    """
    path = zoo_path(name)
    try:
        return READERS[name](path)
    except (
        OSError,
        KeyError,
        RuntimeError,
    ) as error:  # digests are right, so the libraries are of another time
        raise ZooError(f"zoo: {name} does not load with the installed libraries ({error})") from error


def zoo_path(name: str) -> Path:
    """The folder of a model, for ``from_pretrained``, whose files have been checked.

    Raises:
        ZooError: As for :func:`zoo`.
    """
    path = folder(name)
    verified(path)
    return path


def digit_features(part: str = "held_out") -> Tensor:
    """Features of real digits in ``mnist-classifier``, 50 of each class, with shape (500, 64): what to measure against.

    Arguments:
        part: ``held_out``, or ``train``: what a perfect model would draw.
    """
    from safetensors.torch import load_file

    found = load_file(zoo_path("mnist-classifier") / "reference.safetensors")
    if part not in found:
        raise UnmetHypothesis("digit_features", f"part is one of {sorted(found)}", repr(part))
    return found[part].float()


def read_classifier(path: Path) -> DigitClassifier:
    """``mnist-classifier`` from its folder."""
    from safetensors.torch import load_file

    network = DigitClassifier()
    network.load_state_dict({k: v.float() for k, v in load_file(path / "model.safetensors").items()})
    return network.eval().requires_grad_(False)


def read_stable_diffusion(path: Path) -> Any:
    """``mnist-sd`` from its folder; its autoencoder is ``mnist-vae``."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    return StableDiffusionPipeline(
        vae=zoo("mnist-vae"),
        text_encoder=_single(CLIPTextModel, path / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(path / "tokenizer"),
        unet=_single(UNet2DConditionModel, path / "unet"),
        scheduler=DDIMScheduler.from_pretrained(path / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def read_sit(path: Path) -> Any:
    """The transformer of ``mnist-sit`` from its folder; see :class:`.denoisers.SiTDenoiser`."""
    from diffusers import DiTTransformer2DModel

    return _single(DiTTransformer2DModel, path / "transformer")


def read_masked(path: Path) -> Any:
    """``masked-lm`` from its folder; see :mod:`.sudoku`."""
    from transformers import BertForMaskedLM

    return _single(BertForMaskedLM, path)


def read_qwen(path: Path) -> Any:
    """``qwen3-teacher`` or ``qwen3-student`` from its folder; see :mod:`.arithmetic`."""
    from transformers import Qwen3ForCausalLM

    return _single(Qwen3ForCausalLM, path)


def read_ddpm(path: Path) -> Any:
    """``mnist-unet`` from its folder."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    scheduler = DDPMScheduler.from_pretrained(path / "scheduler")
    return DDPMPipeline(_single(UNet2DModel, path / "unet"), scheduler)


def read_market(path: Path) -> Any:
    """The network of ``market-unet1d`` from its folder, of windows (B, 2, 64) in units of trailing volatility.

    It predicts v; its schedule lies beside it, in ``zoo_path("market-unet1d") / "scheduler"``.
    """
    from diffusers import UNet1DModel

    return _single(UNet1DModel, path / "unet")


def _single(kind: Any, path: Path) -> Any:
    """A model of diffusers or transformers in single precision."""
    return kind.from_pretrained(path, torch_dtype=torch.float32).eval().requires_grad_(False)


def _vae(path: Path) -> Any:
    from diffusers import AutoencoderKL

    return _single(AutoencoderKL, path)


READERS: Final[dict[str, Callable[[Path], Any]]] = {
    "mnist-classifier": read_classifier,
    "mnist-vae": _vae,
    "mnist-sd": read_stable_diffusion,
    "mnist-sit": read_sit,
    "masked-lm": read_masked,
    "mnist-unet": read_ddpm,
    "market-unet1d": read_market,
    "qwen3-teacher": read_qwen,
    "qwen3-student": read_qwen,
}
