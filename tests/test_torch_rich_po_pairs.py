"""Diffusion-DPO on pipelines: what is encoded, which pairs are trained on, and the smoke run."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
for needed in ("accelerate", "diffusers", "peft", "transformers"):
    pytest.importorskip(needed)

from torch import nn

from driftproof.backends.torch.kit.identity import OtherRun
from driftproof.backends.torch.pretrained.decoding import decoder, encoder
from driftproof.backends.torch.rich_po import (
    LatentPairs,
    Objective,
    PairChoice,
    made_pairs,
    main,
)
from driftproof.backends.torch.rich_po.config import RECIPES
from driftproof.backends.torch.rich_po.pairs import table_of_edits
from driftproof.backends.torch.rl.rewards import RewardChoice, make_reward
from driftproof.numerics.rich_po import dpo_loss

pytestmark = pytest.mark.filterwarnings("ignore::driftproof.backends.torch.rich_po.DisplacementWarning")


class Still(nn.Module):
    """An autoencoder that does nothing, to see what is done around it."""

    def __init__(self, channels: int, **config: Any) -> None:
        super().__init__()
        defaults = {"scaling_factor": 0.3, "shift_factor": 0.1, "in_channels": 3, "batch_norm_eps": 1e-4}
        self.config = type("Config", (), {**defaults, **config})()
        self.dtype, self.bn = torch.float32, nn.BatchNorm2d(4 * channels)
        with torch.no_grad():
            self.bn.running_mean.uniform_(-1.0, 1.0)
            self.bn.running_var.uniform_(0.5, 2.0)

    def decode(self, z: Any, return_dict: bool) -> Any:
        return (z,)

    def encode(self, x: Any) -> Any:
        return type("Found", (), {"latent_dist": type("Law", (), {"mean": x})()})()


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("stable_diffusion", {}),
        ("stable_diffusion_3", {}),
        (
            "stable_diffusion_xl",
            {"latents_mean": [0.1, 0.2, -0.3], "latents_std": [1.0, 2.0, 0.5], "shift_factor": None},
        ),
        ("flux2", {}),
        ("unconditional", None),
    ],
)
def test_encoding_undoes_decoding(kind: str, config: dict[str, Any] | None) -> None:
    vae = None if config is None else Still(3, **config)
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(decoder(kind, vae)(encoder(kind, vae)(images)), images)


def test_the_best_of_equal_rewards_is_a_tie() -> None:
    """Three draws of three images; all draws of the first image have one reward."""
    draws = [torch.tensor([[0.0], [k], [-k]]) for k in (1.0, 2.0, 3.0)]
    task = SimpleNamespace(prompts=["a"])
    studio = SimpleNamespace(task=task, images=lambda latents: latents[:, :, None, None])
    rows = torch.zeros(3, dtype=torch.long)
    pool: Any = SimpleNamespace(seed=0, studio=studio, draw=draws.__getitem__, rows=rows)

    def made(ties: str) -> LatentPairs:
        def judge(images: Any, prompts: Any) -> Any:
            return images.flatten(1).mean(dim=1)

        return made_pairs(
            pool, PairChoice("best", of=3), RewardChoice("brightness"), judge, Path("none"), ties
        )

    half, dropped = made("half"), made("dropped")
    assert half.wins.tolist() == [0.5, 1.0, 1.0] and half.left_out == {}
    assert dropped.chosen.flatten().tolist() == [3.0, -1.0] and dropped.left_out == {"tie": 1}
    assert dropped.rejected.flatten().tolist() == [1.0, -3.0]


def test_edits_of_another_model_are_not_trained_on(tmp_path: Path) -> None:
    """Two models whose images differ, in one folder: each gets its own four pairs; another maker is refused."""
    choice = RewardChoice("thickness", target=3.0, scale=4.0)
    judge = make_reward(choice, torch.device("cpu"))

    def pairs_of(width: int, **made_by: object) -> int:
        def images(latents: Any) -> Any:
            x = torch.zeros(len(latents), 1, 32, 32)
            for k in range(len(x)):
                x[k, 0, 4:28, 10 + k : 10 + k + width] = 1.0
            return x

        task, sampler = SimpleNamespace(prompts=["a medium one, upright"]), SimpleNamespace(n_steps=8)
        studio = SimpleNamespace(images=images, task=task, sampler=sampler)
        rows = torch.zeros(4, dtype=torch.long)
        pool: Any = SimpleNamespace(seed=0, studio=studio, draw=lambda k: torch.zeros(4, 2), rows=rows)
        return len(
            table_of_edits(pool, PairChoice("edit", count=4), choice, judge, tmp_path, "half", made_by)
        )

    assert pairs_of(1, prompts=("a", "b")) == 4
    assert pairs_of(2, prompts=("a", "b")) == 4
    assert pairs_of(1, prompts=("a", "b")) == 4
    with pytest.raises(OtherRun, match="another made_by"):
        pairs_of(1, prompts=("a", "c"))


@pytest.mark.slow(ci=True)
def test_the_smoke_run(tmp_path: Path) -> None:
    main(None, smoke=True, out=tmp_path)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["summary"].startswith("A smoke run") and report["summary"].count("reward") == 0
    assert len(report["tables"]) == len(RECIPES.packaged_names)
    assert "0.5 per summed squared error of 256 numbers" in json.dumps(report)


def test_the_loss_of_the_numerics_is_called() -> None:
    won, lost = torch.tensor([0.3, -1.0]), torch.tensor([0.1, 0.4])
    from driftproof.backends.torch.rich_po.objective import pair_loss

    found = pair_loss(Objective(0.7, sft=0.2, smoothing=0.1), 0.7, won, lost)
    torch.testing.assert_close(found, dpo_loss(won, lost, 0.7, 0.1, 0.2))
