"""Backbones: any module that takes images of shape (B, C, H, W) to features of shape (B, k)."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from driftproof._namespace import UnmetHypothesis

__all__ = ["Classifier", "PretrainedFeatures", "extract", "small_backbone"]


@final
class PretrainedFeatures(nn.Module):
    """A model of transformers (ViT, ResNet, ...) or timm as a backbone: what goes into its classifier.

    Of transformers that is the pooled output, or the class token.  Images of another size or with one channel are
    brought to those of the model's configuration.

    Arguments:
        model: A model whose ``forward(pixel_values=...)`` gives ``pooler_output`` or ``last_hidden_state``; or one
            with timm's ``forward_features`` and ``forward_head(..., pre_logits=True)``.
        frozen: No gradient, and evaluation mode for good.
    """

    def __init__(self, model: nn.Module, frozen: bool = True) -> None:
        super().__init__()
        self.model, self.frozen = model, frozen
        if frozen:
            model.requires_grad_(False)
            model.eval()

    @classmethod
    def from_pretrained(cls, name: str, frozen: bool = True, **options: Any) -> PretrainedFeatures:
        """The model of a name on the hub, or of a folder: safetensors and no code, unless ``options`` say so."""
        from transformers import AutoModel

        safe = {"use_safetensors": True, "trust_remote_code": False}
        return cls(AutoModel.from_pretrained(name, **{**safe, **options}), frozen)

    @property
    def features(self) -> int:
        """How many features an image has."""
        model: Any = self.model
        if self._is_timm:
            return int(getattr(model, "head_hidden_size", None) or model.num_features)
        config = model.config
        return int(config.hidden_sizes[-1] if hasattr(config, "hidden_sizes") else config.hidden_size)

    def train(self, mode: bool = True) -> PretrainedFeatures:
        """Training mode, unless frozen."""
        super().train(mode and not self.frozen)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Features, shape (B, k)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            model: Any = self.model
            if self._is_timm:
                features: Tensor = model.forward_head(
                    model.forward_features(self._fitted(images)), pre_logits=True
                )
                return features
            output = model(pixel_values=self._fitted(images))
        pooled: Tensor | None = getattr(output, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        hidden: Tensor = output.last_hidden_state
        return hidden[:, 0] if hidden.ndim == 3 else hidden.mean(dim=(-2, -1))

    @property
    def _is_timm(self) -> bool:
        return hasattr(self.model, "forward_features") and hasattr(self.model, "forward_head")

    def _fitted(self, images: Tensor) -> Tensor:
        model: Any = self.model
        if self._is_timm:
            channels, side, _ = getattr(model, "default_cfg", {}).get(
                "input_size", (images.shape[1], None, None)
            )
        else:
            side = getattr(model.config, "image_size", None)
            channels = getattr(model.config, "num_channels", images.shape[1])
        if isinstance(side, int) and images.shape[-1] != side:
            images = interpolate(images, size=(side, side), mode="bilinear", antialias=True)
        return images.expand(-1, channels, -1, -1) if images.shape[1] == 1 else images


@final
class Classifier(nn.Module):
    """A backbone and a linear head."""

    def __init__(self, backbone: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(features, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features, shape (B, k), and logits, shape (B, classes)."""
        features: Tensor = self.backbone(images)
        return features, self.head(features)


def small_backbone(width: int, features: int, side: int = 8) -> nn.Sequential:
    """A network for small grey images: two convolutions, one layer."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * (side // 4) ** 2, features),
        nn.GELU(),
    )


@torch.no_grad()
def extract(backbone: nn.Module, images: Tensor, batch: int = 512) -> Tensor:
    """Features of all images in evaluation mode, float64.

    Raises:
        UnmetHypothesis: The module does not give finite features of shape (B, k).
    """
    if not len(images):
        raise UnmetHypothesis("backbone", "there are images", f"shape {tuple(images.shape)}")
    was_training = backbone.training
    backbone.eval()
    try:
        parts = [backbone(part) for part in torch.split(images, batch)]
    finally:
        backbone.train(was_training)
    features = torch.cat(parts)
    if features.ndim != 2 or features.shape[0] != images.shape[0]:
        got = f"shape {tuple(features.shape)} from {images.shape[0]} images"
        raise UnmetHypothesis("backbone", "features have shape (B, k)", got)
    wrong = int((~torch.isfinite(features)).sum())
    if wrong:
        raise UnmetHypothesis("backbone", "features are finite", f"{wrong} of {features.numel()} are not")
    return features.double()
