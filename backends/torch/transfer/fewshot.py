r"""Few-shot comparisons: the same target images for every method, a split and a source model a seed.

================== =================================================================================
source only        the source head on the target's features: no target image is used
direct             logistic regression on the pixels of the m labelled images: no source is used
source features    a ridge head on the source backbone's features of the m labelled images
transport          the source head behind an affine map of features, estimated from m images without labels
  estimated        the same, with source rows weighted to the class shares that the m images seem to have
  known            the same, with source rows of the classes that the target has
transport, labels  a ridge head on the mapped features, towards the source head
fine-tuned         the whole network on the m labelled images, source images, and the transport cost between both
wrong source       ridge towards a source head whose classes are shifted by one, at a fixed penalty; or at the
                   penalty of least leave-one-out error
================== =================================================================================
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from driftproof.backends.torch.kit.supervised import Trained, train
from driftproof.numerics.transport import fit_gaussian

from .backbones import Classifier, PretrainedFeatures, extract, small_backbone
from .config import FineTuning, Recipe
from .data import Domains, Shift, digits, few_shot_rows
from .heads import Standardizer, adapted, class_shares, one_hot, penalised, predicted
from .sinkhorn import sinkhorn_loss

__all__ = ["CLASSES", "Curves", "Prepared", "compare", "contest", "prepare", "source_model"]

CLASSES = 10
SOURCE_PENALTY = 1e-3


@final
@dataclass(frozen=True, eq=False)
class Curves:
    """Errors on the test images of the target: an array (sizes, seeds) for each method.

    Methods that skip a size have NaN there.
    """

    name: str
    sizes: tuple[int, ...]
    errors: dict[str, NDArray[np.float64]]
    unit: str


@final
@dataclass(frozen=True, eq=False)
class Prepared:
    """The source as one seed has it: a network, its standardised features, and a linear head on them."""

    network: Classifier
    standard: Standardizer
    features: Tensor
    labels: Tensor
    head: Tensor


def source_model(recipe: Recipe, seed: int, folder: Path, accelerator: Accelerator) -> Trained[Classifier]:
    """A network trained on the source images of one seed."""
    images, labels = digits(Shift("none"), seed).source
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        if recipe.pretrained:
            published = PretrainedFeatures.from_pretrained(recipe.pretrained, recipe.frozen)
            network = Classifier(published, published.features, CLASSES)
        else:
            network = Classifier(small_backbone(recipe.width, recipe.features), recipe.features, CLASSES)

    def draw(generator: torch.Generator, batch: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(images), (batch,), generator=generator, device=generator.device).cpu()
        return images[rows].to(generator.device), labels[rows].to(generator.device)

    def loss(model: Any, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(model(x)[1], y)

    plan = replace(recipe.source_training, seed=seed)
    names = ("pretrained", "frozen") if recipe.pretrained else ("width", "features")
    config = {"backbone": {name: getattr(recipe, name) for name in names}}
    place = folder / f"source-{seed}.safetensors"
    return train(
        network, draw, loss, plan, checkpoint=place, config=config, accelerator=accelerator, title=place.stem
    )


def prepare(network: Classifier, source: tuple[Tensor, Tensor]) -> Prepared:
    """Features and the linear head of a trained network."""
    device = next(network.parameters()).device
    raw = extract(network.backbone, source[0].to(device))
    labels, standard = source[1].to(device), Standardizer.of(raw)
    features = standard(raw)
    head = penalised(features, one_hot(labels, network.head.out_features), SOURCE_PENALTY)
    return Prepared(network, standard, features, labels, head)


def compare(shift: Shift, recipe: Recipe, models: dict[int, Prepared], accelerator: Accelerator) -> Curves:
    """Every method at every sample size and seed."""
    errors: dict[str, NDArray[np.float64]] = {}
    for column, seed in enumerate(recipe.seeds):
        domains = digits(shift, seed)
        for row, shots in enumerate(recipe.shots):
            chosen = few_shot_rows(domains.pool[1], shots, np.random.default_rng((seed, shots)))
            shot = (domains.pool[0][chosen], domains.pool[1][chosen])
            measured = contest(
                models[seed],
                shot,
                domains.test,
                shrinkage=recipe.shrinkage,
                wrong_penalty=recipe.wrong_penalty,
            )
            tuning = recipe.finetuning
            if tuning is not None and shots in tuning.shots:
                tuned = _finetuned(models[seed].network, shot, domains, tuning, seed, accelerator)
                measured["fine-tuned"] = _error(tuned, domains.test)
            for name, error in measured.items():
                empty = np.full((len(recipe.shots), len(recipe.seeds)), np.nan)
                errors.setdefault(name, empty)[row, column] = error
    return Curves(shift.name, recipe.shots, errors, "images a class")


def contest(
    source: Prepared,
    shot: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    shrinkage: float = 0.1,
    wrong_penalty: float = 1.0,
) -> dict[str, float]:
    """Errors of the methods whose backbone is frozen, and of direct learning.

    Arguments:
        source: Any backbone with its source features, see :func:`prepare`.
        shot: The m target images with labels.
        test: Target images to measure on.
        shrinkage: Shrinkage of the covariances behind the affine map, in (0, 1).
        wrong_penalty: Penalty towards the wrong source, > 0.
    """
    device = source.features.device
    z, held = (
        source.standard(extract(source.network.backbone, images.to(device))) for images in (shot[0], test[0])
    )
    labels, truth = one_hot(shot[1].to(device), source.head.shape[1]), test[1].to(device)
    # Classes that the target does not have would be mass that the map must send somewhere.
    present = torch.isin(source.labels, shot[1].to(device))
    onto = fit_gaussian(z.cpu(), source.features[present].cpu(), shrinkage)
    everything = fit_gaussian(z.cpu(), source.features.cpu(), shrinkage)
    estimated = fit_gaussian(
        z.cpu(), source.features.cpu(), shrinkage, y_weights=_class_weights(source, everything(z)).cpu()
    )
    wrong = torch.roll(source.head, 1, dims=1)

    def error(x: Tensor, head: Tensor) -> float:
        return _share(predicted(x, head).argmax(dim=1), truth)

    measured = {
        "source only": error(held, source.head),
        "direct": _direct(shot, test),
        "source features": error(held, adapted(z, labels)[0]),
        "transport": error(everything(held), source.head),
        "transport, estimated classes": error(estimated(held), source.head),
        "transport, labels": error(onto(held), adapted(onto(z), labels, source.head)[0]),
        "wrong source": error(held, penalised(z, labels, wrong_penalty, wrong)),
        "wrong source, chosen penalty": error(held, adapted(z, labels, wrong)[0]),
    }
    if not bool(present.all()):
        measured["transport, known classes"] = error(onto(held), source.head)
    return measured


@torch.no_grad()
def _class_weights(source: Prepared, mapped: Tensor) -> Tensor:
    """Weights that bring the source rows to the class shares of the target, as estimated from mapped features."""
    network = source.network
    logits = network.head(source.standard.undo(mapped).to(network.head.weight.dtype))
    prior = torch.bincount(source.labels, minlength=logits.shape[1]).double() / len(source.labels)
    prior = prior.clamp_min(1e-6)
    shares = class_shares(logits.double().softmax(dim=1), prior)
    return (shares / prior)[source.labels]


def _direct(shot: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    from sklearn.linear_model import LogisticRegression

    rows, held = (part[0].flatten(1).double().numpy() for part in (shot, test))
    centre, scale = rows.mean(), max(float(rows.std()), 1e-9)
    model = LogisticRegression(max_iter=500).fit((rows - centre) / scale, shot[1].numpy())
    return 1.0 - float(model.score((held - centre) / scale, test[1].numpy()))


def _finetuned(
    network: Classifier,
    shot: tuple[Tensor, Tensor],
    domains: Domains,
    tuning: FineTuning,
    seed: int,
    accelerator: Accelerator,
) -> Classifier:
    """The network after training on the shots, with the transport cost of its features to the source's."""
    source = domains.source

    def rows_of(part: tuple[Tensor, Tensor], generator: torch.Generator, batch: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(part[1]), (batch,), generator=generator, device=generator.device).cpu()
        return part[0][rows].to(generator.device), part[1][rows].to(generator.device)

    def draw(generator: torch.Generator, batch: int) -> tuple[Tensor, ...]:
        return *rows_of(shot, generator, batch), *rows_of(source, generator, batch)

    def loss(
        model: Callable[[Tensor], Any], x: Tensor, y: Tensor, x_source: Tensor, y_source: Tensor
    ) -> Tensor:
        features, logits = model(torch.cat([x, x_source]))
        fit = cross_entropy(logits, torch.cat([y, y_source]))
        if tuning.weight == 0.0:
            return fit
        here, there = features[: len(x)].float(), features[len(x) :].float()
        spread = there.detach().var(dim=0).sum().clamp_min(1e-12)  # the cost in units of the source's own
        return fit + tuning.weight * sinkhorn_loss(here, there, tuning.epsilon) / spread

    plan = replace(tuning.plan, seed=seed)
    start = copy.deepcopy(network).requires_grad_(True)  # an average comes without gradients
    return train(start, draw, loss, plan, accelerator=accelerator, title=f"fine-tune {len(shot[1])}").model


@torch.no_grad()
def _error(network: nn.Module, test: tuple[Tensor, Tensor]) -> float:
    network.eval()
    device = next(network.parameters()).device
    return _share(network(test[0].to(device))[1].argmax(dim=1), test[1].to(device))


def _share(guess: Tensor, truth: Tensor) -> float:
    return float((guess != truth).double().mean())
