"""Rewards against their definitions."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("peft")

import numpy as np
from safetensors.torch import save_file

from driftproof import UnmetHypothesis
from driftproof.backends.torch.reward_gap import AestheticReward, CLIPReward, JPEGReward
from driftproof.backends.torch.rl.rewards import RewardChoice, checked, load_head, make_reward


def test_jpeg_size_is_that_of_the_file() -> None:
    from PIL import Image

    images = torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    images[1] = 0.5
    rewards = JPEGReward()(images, [""] * 3)
    for image, reward in zip(images, rewards.tolist(), strict=True):
        pixels = (image.permute(1, 2, 0).numpy() * 255.0).round().astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="JPEG", quality=95)
        assert reward == pytest.approx(-len(buffer.getvalue()) / 1000.0)
    assert rewards[1] > rewards[0]
    assert torch.equal(JPEGReward(sign=1.0)(images, [""] * 3), -rewards)
    with pytest.raises(UnmetHypothesis, match="quality"):
        JPEGReward(quality=0)


def small_clip():
    from transformers import CLIPConfig, CLIPModel

    text = {"vocab_size": 12, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "max_position_embeddings": 6, "eos_token_id": 11}
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 8, "patch_size": 4}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=5))


def letters(prompts, **_):
    ids = torch.tensor([[1 + len(prompt) % 9, 2, 3, 11] for prompt in prompts])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def test_the_clip_reward_is_the_cosine_of_the_model() -> None:
    clip = small_clip()
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    rewards = CLIPReward(clip, letters)(images, ["cat", "horse"])
    mean, std = (
        torch.tensor(v)[:, None, None]
        for v in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    )
    with torch.no_grad():
        output = clip(pixel_values=(images - mean) / std, **letters(["cat", "horse"]))
    expected = output.logits_per_image.diagonal() / clip.logit_scale.exp()
    assert torch.allclose(rewards, expected, atol=1e-5)
    assert CLIPReward(clip, letters)(torch.rand(2, 3, 20, 12), ["cat", "horse"]).shape == (2,)


def test_the_aesthetic_head_comes_from_safetensors(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(4, 5, generator=generator), torch.randn(1, 4, generator=generator)
    layers = {"layers.0.weight": first, "layers.0.bias": torch.zeros(4)}
    layers |= {"layers.2.weight": second, "layers.2.bias": torch.ones(1)}
    save_file(layers, tmp_path / "head.safetensors")
    reward = AestheticReward(small_clip(), load_head(tmp_path / "head.safetensors"))
    images = torch.rand(2, 3, 8, 8, generator=generator)
    from driftproof.backends.torch.rl.rewards import _image_features

    features = _image_features(small_clip().eval(), images)
    assert torch.allclose(reward(images, ["", ""]), (features @ first.T @ second.T)[:, 0] + 1.0, atol=1e-5)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"0.weight": (1, 5)}, "weights and biases"),
        ({"0.weight": (4, 5), "0.bias": (4,), "2.weight": (1, 3), "2.bias": (1,)}, "takes 3 features"),
        ({"0.weight": (2, 5), "0.bias": (2,)}, "expected one score"),
    ],
)
def test_heads_that_do_not_fit_are_refused(tmp_path: Path, tensors, message: str) -> None:
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, tmp_path / "head.safetensors")
    with pytest.raises(ValueError, match=message):
        load_head(tmp_path / "head.safetensors")


def test_a_reward_may_be_any_program() -> None:
    assert checked(lambda images, prompts: [1, 2], torch.zeros(2, 3), ["", ""]).tolist() == [1.0, 2.0]
    with pytest.raises(FloatingPointError, match="inf for 'b'"):
        checked(lambda images, prompts: [1.0, float("inf")], torch.zeros(2, 3), ["a", "b"])


def test_clip_comes_from_safetensors_alone(tmp_path: Path) -> None:
    clip = small_clip()
    save_file({"0.weight": torch.ones(1, 5), "0.bias": torch.zeros(1)}, tmp_path / "head.safetensors")
    head = str(tmp_path / "head.safetensors")
    pickled, safe = tmp_path / "pickled", tmp_path / "safe"
    clip.config.save_pretrained(pickled)
    torch.save(clip.state_dict(), pickled / "pytorch_model.bin")
    clip.save_pretrained(safe)

    def made(folder: Path):
        choice = RewardChoice(kind="aesthetic", model=str(folder), head=head)
        return make_reward(choice, torch.device("cpu"))

    with pytest.raises(OSError, match="safetensors"):
        made(pickled)
    images = torch.rand(2, 3, 20, 12)
    expected = AestheticReward(clip, load_head(Path(head)))(images, ["", ""])
    assert torch.equal(made(safe)(images, ["", ""]), expected)
