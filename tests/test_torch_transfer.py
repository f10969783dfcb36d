"""Transfer on torch: minibatch Sinkhorn, backbones and heads."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from torch import nn

from driftproof import UnmetHypothesis
from driftproof.backends.torch.transfer import PretrainedFeatures, extract, sinkhorn_loss, sinkhorn_plan
from driftproof.backends.torch.transfer.backbones import Classifier, small_backbone
from driftproof.backends.torch.transfer.heads import (
    PENALTIES,
    Standardizer,
    adapted,
    class_shares,
    one_hot,
    penalised,
    predicted,
)
from driftproof.backends.torch.transfer.sinkhorn import squared_distances


def rows(seed: int, *shape: int):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# -- minibatch Sinkhorn


def test_plans_are_those_of_pot() -> None:
    ot = pytest.importorskip("ot")
    cost = squared_distances(rows(0, 12, 3), rows(1, 9, 3) + 1.0)
    want = ot.bregman.sinkhorn_log([], [], cost.numpy(), 1.0, stopThr=1e-12, numItermax=10_000)
    plan = sinkhorn_plan(cost, 1.0, tolerance=1e-5)
    assert plan.dtype == torch.float32
    np.testing.assert_allclose(plan.numpy(), want, atol=2e-6)


def test_tiny_epsilons_do_not_underflow_in_float32() -> None:
    """exp(-100/0.1) is 0 in float32: in the domain of probabilities the plan would be NaN."""
    cost = torch.tensor([[100.0, 400.0], [400.0, 100.0]])
    plan = sinkhorn_plan(cost, 0.1)
    # The potentials are about 1000: their float32 roundings are 6e-5 of the plan.
    np.testing.assert_allclose(plan.numpy(), 0.5 * np.eye(2), atol=1e-4)


def test_what_did_not_converge_is_an_error_with_its_number() -> None:
    cost = squared_distances(rows(2, 40, 2), rows(3, 40, 2))
    with pytest.raises(UnmetHypothesis, match=r"within 10 iterations \(marginal error = "):
        sinkhorn_plan(cost, 1e-3, iterations=10)
    with pytest.raises(UnmetHypothesis, match="epsilon > 0"):
        sinkhorn_plan(cost, 0.0)
    with pytest.raises(UnmetHypothesis, match="every cost is finite"):
        sinkhorn_plan(torch.tensor([[0.0, math.nan], [1.0, 0.0]]), 1.0)


def test_the_loss_is_computed_in_float32_whatever_comes() -> None:
    x, y = rows(4, 16, 5), rows(5, 16, 5)
    want = float(sinkhorn_loss(x, y))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = sinkhorn_loss(x.float(), y.float())
    assert under.dtype == torch.float32
    assert float(under) == pytest.approx(want, rel=1e-5)
    half = sinkhorn_loss(x.bfloat16(), y.bfloat16())
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(want, rel=0.02)


def test_descending_the_loss_moves_features_onto_each_other() -> None:
    x, y = rows(6, 24, 2).float().requires_grad_(), rows(7, 24, 2).float() + 4.0
    before = float(sinkhorn_loss(x.detach(), y))
    for _ in range(30):
        (gradient,) = torch.autograd.grad(sinkhorn_loss(x, y), x)
        x = (x - 6.0 * gradient).detach().requires_grad_()
    assert float(sinkhorn_loss(x.detach(), y)) < 0.02 * before
    same = y.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(sinkhorn_loss(same, y.clone()), same)
    assert gradient.abs().max() < 0.05


# -- backbones


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_models_of_transformers_are_backbones(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    if kind == "vit":
        config = transformers.ViTConfig(
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            image_size=8,
            patch_size=4,
            num_channels=1,
        )
    else:
        config = transformers.ResNetConfig(
            num_channels=1, embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic"
        )
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    frozen = PretrainedFeatures.from_pretrained(str(tmp_path))
    images = torch.randn(5, 1, 8, 8)
    features = extract(frozen, images, batch=2)
    assert features.shape == (5, 8)
    assert features.dtype == torch.float64
    frozen.train()
    assert not frozen.model.training
    assert not frozen(images).requires_grad
    tuned = PretrainedFeatures.from_pretrained(str(tmp_path), frozen=False).train()
    assert tuned.model.training
    tuned(images).sum().backward()
    assert any(p.grad is not None for p in tuned.parameters())


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        num_channels=1, embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic"
    )
    config.save_pretrained(tmp_path)
    torch.save(transformers.AutoModel.from_config(config).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        PretrainedFeatures.from_pretrained(str(tmp_path))
    assert PretrainedFeatures.from_pretrained(str(tmp_path), use_safetensors=None).features == 8


def test_extraction_checks_and_leaves_the_mode_alone() -> None:
    backbone = nn.Sequential(nn.Flatten(), nn.Dropout(0.5)).train()
    images = torch.ones(3, 1, 2, 2)
    assert torch.equal(extract(backbone, images), torch.ones(3, 4, dtype=torch.float64))
    assert backbone.training
    with pytest.raises(UnmetHypothesis, match=r"features have shape \(B, k\)"):
        extract(nn.Identity(), images)
    with pytest.raises(UnmetHypothesis, match="4 of 12 are not"):
        extract(nn.Flatten(), torch.cat([images[:2], images[:1] * math.nan]))


def test_a_classifier_gives_features_and_logits() -> None:
    model = Classifier(small_backbone(4, 6), 6, 10)
    features, logits = model(torch.randn(3, 1, 8, 8))
    assert features.shape == (3, 6)
    assert logits.shape == (3, 10)


# -- heads


def test_the_leave_one_out_error_is_that_of_leaving_one_out() -> None:
    x, y, source = rows(8, 9, 4), rows(9, 9, 2), rows(10, 5, 2)
    head, chosen = adapted(x, y, source)
    errors = []
    for penalty in PENALTIES:
        left = []
        for i in range(9):
            kept = [j for j in range(9) if j != i]
            # One row less: the penalty stays the same in units of the whole sample.
            without = penalised(x[kept], y[kept], penalty * 9 / 8, source)
            left.append(((predicted(x[i : i + 1], without) - y[i]) ** 2).mean())
        errors.append(float(torch.stack(left).mean()))
    assert chosen == PENALTIES[int(np.argmin(errors))]
    torch.testing.assert_close(head, penalised(x, y, chosen, source))


def test_fewer_rows_than_features_still_have_a_head() -> None:
    x, y = rows(11, 3, 40), one_hot(torch.tensor([0, 1, 2]), 3)
    head, _ = adapted(x, y)
    assert predicted(x, head).argmax(dim=1).tolist() == [0, 1, 2]
    flat = torch.cat([rows(12, 5, 2), torch.ones(5, 1, dtype=torch.float64)], dim=1)
    assert torch.isfinite(Standardizer.of(flat)(flat)).all()


def test_class_shares_are_found_without_labels() -> None:
    """Two normal classes at -1 and 1: a calibrated source model of equal shares, a target with 90 % of one."""
    draws = torch.Generator().manual_seed(0)
    classes = (torch.rand(4000, generator=draws) < 0.9).double()
    x = torch.randn(4000, generator=draws, dtype=torch.float64) + 2.0 * classes - 1.0
    probability = torch.sigmoid(2.0 * x)
    both = torch.stack([1.0 - probability, probability], dim=1)
    shares = class_shares(both, torch.tensor([0.5, 0.5], dtype=torch.float64))
    # Overlapping classes: a standard deviation of about 0.006, and counting the guesses gives 0.77.
    assert abs(float(shares[1]) - 0.9) < 0.03
    assert float(both[:, 1].mean()) < 0.8


def test_minibatches_that_do_not_match() -> None:
    with pytest.raises(UnmetHypothesis, match="rows"):
        sinkhorn_loss(torch.ones(3, 2), torch.zeros(3, 1))
    with pytest.raises(UnmetHypothesis, match="not empty"):
        sinkhorn_plan(torch.zeros(0, 2), 1.0)


def test_shares_need_a_prior() -> None:
    for prior, smoothing in (([1.0, 0.0], 0.1), ([0.5, 0.5], 0.0)):
        with pytest.raises(UnmetHypothesis, match="prior > 0 and smoothing > 0"):
            class_shares(torch.eye(2), torch.tensor(prior), smoothing=smoothing)


class Timm(torch.nn.Module):
    """What timm's classifiers have in common."""

    num_features, default_cfg = 7, {"input_size": (3, 12, 12)}

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = torch.nn.Conv2d(3, 7, 3), torch.nn.Linear(7, 10)

    def forward_features(self, x):
        assert x.shape[1:] == (3, 12, 12)
        return self.stem(x)

    def forward_head(self, x, pre_logits=False):
        pooled = x.mean(dim=(-2, -1))
        return pooled if pre_logits else self.head(pooled)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_model_of_timm_gives_what_its_classifier_takes(frozen: bool) -> None:
    backbone = PretrainedFeatures(Timm(), frozen)
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert extract(backbone, images).shape == (4, backbone.features)
    assert backbone(images).requires_grad is not frozen
    with pytest.raises(UnmetHypothesis, match="there are images"):
        extract(backbone, images[:0])
