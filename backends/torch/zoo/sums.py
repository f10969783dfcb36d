r"""``qwen3-teacher`` and ``qwen3-student``: ``Qwen3ForCausalLM`` that add two numbers in steps, ``47+85=127+5=132``,

.. math:: \ell = -\frac{1}{T} \sum_{n=1}^{T} \log p_\theta(y_n \mid x, y_{<n}),

trained on the answers y to four fifths of all prompts x.  The student is smaller and trained shortly: it is there to
be distilled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import validated
from driftproof.backends.torch.kit.supervised import train
from driftproof.backends.torch.pretrained.arithmetic import IN_STEPS, tokenizer
from driftproof.backends.torch.pretrained.models import read_qwen
from driftproof.backends.torch.pretrained.qwen import ModelSize, small_qwen

from .maker import Maker, Training, save_parts
from .scores import Score, share

__all__ = ["STUDENT", "TEACHER", "SumsRecipe"]

COMMONEST: Final = "the commonest sum"


@final
@validated(frozen=True, slots=True)
class SumsRecipe:
    """Settings.

    Arguments:
        title: A title of the model.
        size: The size of the model.
        plan: The budget.
    """

    title: str
    size: ModelSize
    plan: Plan


def _train(recipe: SumsRecipe, checkpoints: Path) -> Training:
    prompts, answers = IN_STEPS.encode(IN_STEPS.pairs("train"))

    def draw(generator: torch.Generator, batch: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(prompts), (batch,), generator=generator)
        return prompts[rows], answers[rows]

    def loss(network: Any, x: Tensor, y: Tensor) -> Tensor:
        logits = network(input_ids=torch.cat([x, y[:, :-1]], dim=1)).logits[:, x.shape[1] - 1 :]
        return nn.functional.cross_entropy(logits.transpose(1, 2), y)

    network = small_qwen(recipe.size, recipe.plan.seed)
    done = train(network, draw, loss, recipe.plan, checkpoint=checkpoints / "sums")
    return Training({".": done.model}, done.losses.tolist())


def _write(training: Training, folder: Path) -> None:
    save_parts(training, folder)
    tokenizer().save_pretrained(folder)


@torch.no_grad()
def _evaluate(folder: Path, factor: float) -> list[Score]:
    network, pairs = read_qwen(folder), IN_STEPS.pairs("held_out")
    prompts, answers = IN_STEPS.encode(pairs)
    tokens = network.generate(
        prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=answers.shape[1], do_sample=False
    )[:, prompts.shape[1] :]
    given = nn.functional.pad(tokens, (0, answers.shape[1] - tokens.shape[1]), value=tokenizer().pad_token_id)
    sums = pairs.sum(dim=1)
    commonest = float((sums == IN_STEPS.pairs("train").sum(dim=1).mode().values).double().mean())
    what = f"right answers to {len(pairs)} sums held out, each token the likeliest"
    hits = share(IN_STEPS.right(given, answers).double().numpy())
    return [Score(what, *hits, commonest, COMMONEST, factor, higher=True)]


def _maker(factor: float) -> Maker:
    return Maker(
        Recipes("zoo", SumsRecipe, ()),
        _train,
        lambda folder: _evaluate(folder, factor),
        "8,000 of the 10,000 sums of two numbers below 100, generated",
        "Weights: Apache-2.0, as the package. Trained on generated data.",
        write=_write,
    )


TEACHER, STUDENT = _maker(160.0), _maker(20.0)
