r"""Rewards of images: callables ``reward(images, prompts) -> (B,)``.

Images are float32 in [0, 1] with shape (B, 3, H, W), prompts B strings; any function of them serves, a network or
a program.  Rewards are data for a policy gradient; where a method needs a gradient they must have one, and the images
are as the decoder gives them, which may leave [0, 1] a little: a cut would have no gradient.
"""

from __future__ import annotations

import functools
import inspect
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.memory import Scene, scene
from driftproof.backends.torch.kit.schema import validated
from driftproof.backends.torch.pretrained.digits import thickness
from driftproof.backends.torch.pretrained.shapes import clip_without_weights

__all__ = [
    "AestheticReward",
    "CLIPReward",
    "JPEGReward",
    "Reward",
    "RewardChoice",
    "ThicknessReward",
    "brightness",
    "checked",
    "load_head",
    "make_reward",
    "published_reward",
    "reward_of",
]

Reward: TypeAlias = Callable[[Tensor, Sequence[str]], Tensor]

# The normalisation that CLIP was trained with.
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def reward_of(reward: Callable[..., Any]) -> Reward:
    """A reward of images alone, or of images and prompts, as one of both.

    Prompts are given to what has a parameter of that name, a second one that must be given, or any number of them.

    Raises:
        UnmetHypothesis: No callable, or one that takes neither.

    Example:
        >>> reward_of(lambda images: images.flatten(1).mean(dim=1))(torch.ones(1, 3, 2, 2), ["a cat"])
        tensor([1.])
    """
    hypothesis = "the reward is a callable of (images) or (images, prompts)"
    if not callable(reward):
        raise UnmetHypothesis("reward", hypothesis, f"a {type(reward).__name__}")
    try:
        signature = inspect.signature(reward.forward if isinstance(reward, nn.Module) else reward)
    except ValueError:  # of a compiled function
        return reward
    places = [p for p in signature.parameters.values() if p.kind not in (p.VAR_KEYWORD, p.KEYWORD_ONLY)]
    open_ended = any(p.kind is p.VAR_POSITIONAL for p in places)
    required = [p for p in places if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    second = len(places) > 1 and places[1].name == "prompts"
    if len(required) > 2 or not places:
        raise UnmetHypothesis("reward", hypothesis, f"parameters {signature}")
    if open_ended or second or len(required) == 2:
        return reward

    @functools.wraps(reward, updated=())
    def of_images(images: Tensor, prompts: Sequence[str]) -> Tensor:
        found: Tensor = reward(images)
        return found

    return of_images


def checked(reward: Reward, images: Tensor, prompts: Sequence[str]) -> Tensor:
    """The rewards of a batch, on its device, in float32 or float64.

    Raises:
        FloatingPointError: A reward is not finite.
        UnmetHypothesis: No tensor or numbers, or not one reward for each image.
    """
    with torch.no_grad():
        found: Any = reward(images, prompts)
    try:
        values = torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError) as error:
        got = f"a {type(found).__name__} for {len(images)} images ({error})"
        raise UnmetHypothesis("reward", "a tensor of real numbers, one for each image", got) from None
    if values.is_complex():
        raise UnmetHypothesis("reward", "a tensor of real numbers, one for each image", str(values.dtype))
    if values.shape != (len(images),):
        got = f"shape {tuple(values.shape)} for {len(images)} images"
        raise UnmetHypothesis("reward", "one reward for each image", got)
    wrong = (~torch.isfinite(values)).nonzero().flatten().tolist()
    if wrong:
        named = ", ".join(f"{i}: {float(values[i])} for {prompts[i]!r}" for i in wrong[:3])
        raise FloatingPointError(f"reward: {len(wrong)} of {len(values)} are not finite ({named})")
    dtype = torch.float64 if values.dtype == torch.float64 else torch.float32
    return values.to(device=images.device, dtype=dtype)


@final
@validated(frozen=True, slots=True)
class RewardChoice:
    """Which reward; ``jpeg`` has no gradient.

    Arguments:
        kind: ``jpeg`` (compressibility), ``brightness`` and ``thickness`` (of a stroke, near ``target``) need no weights,
            ``aesthetic`` and ``clip`` need models.
        scale: The factor of the reward.
        model: The CLIP model, for ``from_pretrained``.
        head: The head of ``aesthetic``: a file of its weights.
        sign: The sign of the size, for ``jpeg``.
        target: The target of ``thickness``, in pixels.
        smoothing, noise, bound: Settings of its gradient, see :class:`.task.Task`.
    """

    kind: Literal["jpeg", "brightness", "thickness", "aesthetic", "clip"] = "jpeg"
    scale: float = 1.0
    model: str = "openai/clip-vit-large-patch14"
    head: str = ""
    sign: float = -1.0
    target: PositiveFloat = 3.0
    smoothing: PositiveInt = 1
    noise: NonNegativeFloat = 0.02
    bound: PositiveFloat = 1e30

    def __post_init__(self) -> None:
        if self.kind == "aesthetic" and not self.head:
            raise UnmetHypothesis("reward", "head names a safetensors file, for aesthetic", "head = ''")


def make_reward(choice: RewardChoice, device: torch.device) -> Reward:
    """The reward of a recipe."""
    inner: Reward
    match choice.kind:
        case "jpeg":
            inner = JPEGReward(sign=choice.sign)
        case "brightness":
            inner = brightness
        case "thickness":
            inner = ThicknessReward(choice.target)
        case _:
            inner = published_reward(choice.kind, choice.model, choice.head, device)
    return inner if choice.scale == 1.0 else lambda images, prompts: choice.scale * inner(images, prompts)


def brightness(images: Tensor, prompts: Sequence[str]) -> Tensor:
    """The mean of all pixels."""
    return images.flatten(1).mean(dim=1)


@final
@dataclass(frozen=True, slots=True)
class ThicknessReward:
    """How near the stroke of a digit is to a thickness: less the square of what is missing, in pixels.

    A target, for without one the image with the most ink is a white one.

    Arguments:
        target: The thickness, see :func:`driftproof.backends.torch.pretrained.digits.thickness`.
    """

    target: float

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        return -((thickness(images) - self.target) ** 2)


@final
class JPEGReward:
    """The size of the image as JPEG in kilobytes, with its sign: compressibility needs no weights.

    Arguments:
        quality: The quality of the encoder, 1 to 95.
        sign: -1 rewards images that compress well, +1 those that do not.

    Example:
        >>> flat, rough = torch.zeros(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
        >>> sizes = JPEGReward()(torch.cat([flat, rough]), ["", ""])
        >>> bool(sizes[0] > sizes[1])
        True
    """

    def __init__(self, quality: int = 95, sign: float = -1.0) -> None:
        if not 1 <= quality <= 95:
            raise UnmetHypothesis("JPEGReward", "1 <= quality <= 95", f"quality = {quality!r}")
        self.quality, self.sign = quality, sign

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        from PIL import Image

        pixels = (images.detach().clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
        if scene() is not None:
            return images.new_zeros(len(images))
        sizes = []
        for one in pixels.permute(0, 2, 3, 1).cpu().numpy():
            buffer = io.BytesIO()
            Image.fromarray(one).save(buffer, format="JPEG", quality=self.quality)
            sizes.append(len(buffer.getvalue()) / 1000.0)
        return self.sign * torch.tensor(sizes, dtype=torch.float32, device=images.device)


@final
class AestheticReward:
    """A head on the normalised image features of a CLIP model.

    Arguments:
        clip: A ``CLIPModel``.
        head: From features, with shape (B, d), to scores, with shape (B, 1); see :func:`load_head`.
    """

    def __init__(self, clip: nn.Module, head: nn.Module) -> None:
        self.clip, self.head = clip.eval().requires_grad_(False), head.eval().requires_grad_(False)

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        features = _image_features(self.clip, images)
        return self.head.to(features)(features)[:, 0].float()


@final
class CLIPReward:
    """The cosine of image and prompt in a CLIP model.

    Arguments:
        clip: A ``CLIPModel``.
        tokenizer: Its tokenizer, or a function from prompts to named tensors.
    """

    def __init__(self, clip: nn.Module, tokenizer: Callable[..., Mapping[str, Tensor]]) -> None:
        self.clip, self.tokenizer = clip.eval().requires_grad_(False), tokenizer

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        features = _image_features(self.clip, images)
        named = self.tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt")
        text = _pooled(self.clip.get_text_features(**{k: v.to(images.device) for k, v in named.items()}))  # type: ignore[operator]  # a model of transformers
        return (features * nn.functional.normalize(text, dim=-1)).sum(dim=-1).float()


def published_reward(
    kind: Literal["aesthetic", "clip"], model: str, head: str, device: torch.device
) -> AestheticReward | CLIPReward:
    """A reward of a published CLIP model: safetensors only, and no code but that of transformers.

    Arguments:
        kind: Which of the two.
        model: A CLIP model, by its name on the hub or its folder.
        head: The head of ``aesthetic``, see :func:`load_head`; read first, so that nothing is loaded in vain.
        device: Where the model goes.
    """
    from transformers import AutoTokenizer, CLIPModel

    if (here := scene()) is not None:
        return _without_weights(kind, model, here)
    layers = load_head(Path(head)) if kind == "aesthetic" else None
    clip = CLIPModel.from_pretrained(model, use_safetensors=True).to(device)
    if layers is not None:
        return AestheticReward(clip, layers)
    return CLIPReward(clip, AutoTokenizer.from_pretrained(model, trust_remote_code=False))


def _without_weights(kind: str, model: str, here: Scene) -> AestheticReward | CLIPReward:
    """The same by its configuration alone, with the head of LAION's predictor."""
    clip = clip_without_weights(model)
    here.hold("reward", clip, "get_image_features")
    if kind == "aesthetic":
        widths = (int(clip.config.projection_dim), 1024, 128, 64, 16, 1)
        return AestheticReward(clip, nn.Sequential(*(nn.Linear(a, b) for a, b in itertools.pairwise(widths))))

    def tokens(prompts: Sequence[str], **options: Any) -> Mapping[str, Tensor]:
        length = int(clip.config.text_config.max_position_embeddings)
        return {
            name: torch.ones(len(prompts), length, dtype=torch.long)
            for name in ("input_ids", "attention_mask")
        }

    return CLIPReward(clip, tokens)


def load_head(path: Path) -> nn.Module:
    """The head of :class:`AestheticReward` from a safetensors file.

    The file names its layers as a sequence does, ``0.weight``, ``0.bias``, ``2.weight``, ... (with or without
    ``layers.`` before), all linear: one is a linear head, more are LAION's, whose dropout does nothing here.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Other names, or shapes that do not follow on each other.
    """
    if not path.is_file():
        raise FileNotFoundError(f"aesthetic head: no file {path}")
    from safetensors.torch import load_file

    tensors = {name.removeprefix("layers."): value for name, value in load_file(path).items()}
    places = sorted({int(name.split(".")[0]) for name in tensors if name.split(".")[0].isdecimal()})
    expected = {f"{place}.{part}" for place in places for part in ("weight", "bias")}
    if not places or set(tensors) != expected:
        raise ValueError(
            f"aesthetic head: expected weights and biases of linear layers in {path}, got {sorted(tensors)}"
        )
    layers: list[nn.Linear] = []
    for place in places:
        weight = tensors[f"{place}.weight"]
        if layers and layers[-1].out_features != weight.shape[1]:
            raise ValueError(f"aesthetic head: layer {place} of {path} takes {weight.shape[1]} features")
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": tensors[f"{place}.bias"]})
        layers.append(layer)
    if layers[-1].out_features != 1:
        raise ValueError(f"aesthetic head: expected one score, got {layers[-1].out_features} in {path}")
    return nn.Sequential(*layers)


def _image_features(clip: Any, images: Tensor) -> Tensor:
    side = clip.config.vision_config.image_size
    small = nn.functional.interpolate(
        images.float(), size=(side, side), mode="bicubic", align_corners=False, antialias=True
    ).clamp(0.0, 1.0)
    mean = small.new_tensor(CLIP_MEAN)[:, None, None]
    std = small.new_tensor(CLIP_STD)[:, None, None]
    weights = next(clip.parameters())
    clip.to(images.device)
    features = _pooled(clip.get_image_features(pixel_values=((small - mean) / std).to(weights.dtype)))
    return nn.functional.normalize(features, dim=-1)


def _pooled(output: Any) -> Tensor:
    """transformers 5 returns an output object where 4 returned the features."""
    features: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return features
