r"""A comparison that can fail: one teacher, students of several seeds, stop-gradient against exact.

Every model is a ``Qwen3ForCausalLM`` of a small configuration.  The teacher is trained on sums; each
student gets a short supervised training, or both come trained from the zoo; then every method distils a
copy of the same student on its own rollouts with the same noise.  Reported on held-out prompts: the share
of right answers, and the exact KL(p|q) per token at the states that the student visits (whole vocabulary,
no estimator).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, nn

from driftproof.backends.torch.kit.changes import Change
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.backends.torch.kit.supervised import train
from driftproof.backends.torch.pretrained.arithmetic import IN_STEPS, Arithmetic, tokenizer
from driftproof.backends.torch.pretrained.cards import sha256
from driftproof.backends.torch.pretrained.models import zoo, zoo_path
from driftproof.backends.torch.pretrained.qwen import ModelSize, small_qwen
from driftproof.theory.divergences import get

from .config import Method, Recipe
from .losses import full_vocabulary_loss, opd_loss, per_token_divergence
from .rollouts import rollout, token_log_probs

__all__ = ["Outcome", "compare"]

Measured: TypeAlias = tuple[float, float, tuple[float, ...]]


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """Measurements of one method: a value for each seed, and for the first one a value for each held-out prompt."""

    label: str
    accuracy: tuple[float, ...]
    kl: tuple[float, ...]
    prompts: tuple[float, ...]

    def change_from(self, before: Outcome, title: str) -> Change:
        """The change of the divergence, prompt by prompt."""
        what = (
            f"{title}: {self.label}: KL(p|q) per token over {len(self.prompts)} held-out prompts, first seed"
        )
        return Change.paired(what, before.prompts, self.prompts)


def compare(recipe: Recipe, folder: Path, accelerator: Accelerator) -> tuple[Outcome, list[Outcome]]:
    """The students before distillation, and after it by each method."""
    assert recipe.distillation  # checked by Recipe
    task = IN_STEPS if recipe.zoo else Arithmetic(recipe.digits)
    teacher, taught = _teacher(recipe, task, folder, accelerator)
    before: list[Measured] = []
    after: dict[str, list[Measured]] = {c.label: [] for c in recipe.method}
    for seed in recipe.seeds:
        name = f"student-{seed}"
        student, made = _student(recipe, seed, task, folder / name, accelerator)
        models = {"teacher": taught, "student": made}
        before.append(_measure(student, teacher, task))
        for method in recipe.method:
            plan = replace(recipe.distillation, seed=seed)
            place = folder / f"{name}-{method.label.replace(', ', '-')}"
            distilled = _distil(student, teacher, task, method, recipe.clip, plan, place, accelerator, models)
            after[method.label].append(_measure(distilled, teacher, task))
    outcomes = [_outcome(label, rows) for label, rows in after.items()]
    return _outcome("before", before), [_outcome("teacher", [_measure(teacher, teacher, task)]), *outcomes]


def _outcome(label: str, rows: Sequence[Measured]) -> Outcome:
    accuracy, kl, prompts = zip(*rows, strict=True)
    return Outcome(label, tuple(accuracy), tuple(kl), prompts[0])


def _teacher(
    recipe: Recipe, task: Arithmetic, folder: Path, accelerator: Accelerator
) -> tuple[nn.Module, object]:
    """The teacher, and its part of a checkpoint's metadata."""
    if recipe.zoo:
        return _of_the_zoo("qwen3-teacher", accelerator)
    assert recipe.teacher and recipe.teacher_training  # checked by Recipe
    size, plan = recipe.teacher, recipe.teacher_training
    network = _supervised(size, 1000, task, plan, folder / "teacher", accelerator)
    return network.eval(), {"size": size, "training": plan}


def _student(
    recipe: Recipe, seed: int, task: Arithmetic, place: Path, accelerator: Accelerator
) -> tuple[nn.Module, object]:
    """The student of a seed, and its part of a checkpoint's metadata; the zoo has one for all seeds."""
    if recipe.zoo:
        return _of_the_zoo("qwen3-student", accelerator)
    assert recipe.student and recipe.student_training  # checked by Recipe
    plan = replace(recipe.student_training, seed=seed)
    network = _supervised(recipe.student, seed, task, plan, place, accelerator)
    return network, {"size": recipe.student, "training": plan}


def _of_the_zoo(name: str, accelerator: Accelerator) -> tuple[nn.Module, object]:
    weights = sha256(zoo_path(name) / "model.safetensors")
    return zoo(name).to(accelerator.device), {"zoo": name, "sha256": weights}


def _supervised(
    size: ModelSize, seed: int, task: Arithmetic, plan: Plan, place: Path, accelerator: Accelerator
) -> nn.Module:
    pairs = task.pairs("train")

    def draw(generator: torch.Generator, batch: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(pairs), (batch,), generator=generator, device=generator.device)
        prompts, answers = task.encode(pairs[rows.cpu()])
        return prompts.to(generator.device), answers.to(generator.device)

    def loss(model: Any, prompts: Tensor, answers: Tensor) -> Tensor:
        logp = token_log_probs(model, prompts, answers)
        return -logp.gather(-1, answers[..., None]).mean()

    done = train(
        small_qwen(size, seed),
        draw,
        loss,
        plan,
        checkpoint=_file(place),
        config={"task": task, "size": size, "initial_seed": seed},
        accelerator=accelerator,
        title=place.name,
    )
    return done.model


def _distil(
    student: nn.Module,
    teacher: nn.Module,
    task: Arithmetic,
    method: Method,
    clip: float,
    plan: Plan,
    place: Path,
    accelerator: Accelerator,
    models: Mapping[str, object] | None = None,
) -> nn.Module:
    pairs, eos = task.pairs("train"), int(tokenizer().eos_token_id)

    def draw(generator: torch.Generator, batch: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(pairs), (batch,), generator=generator, device=generator.device)
        prompts, _ = task.encode(pairs[rows.cpu()])
        uniform = torch.rand(batch, task.answer_length, generator=generator, device=generator.device)
        return prompts.to(generator.device), uniform

    def loss(model: Any, prompts: Tensor, uniform: Tensor) -> Tensor:
        tokens, mask = rollout(model, prompts, uniform, task.answer_length, eos)
        logp = token_log_probs(model, prompts, tokens)
        with torch.no_grad():
            logq = token_log_probs(teacher, prompts, tokens)
        # Completions have different lengths: a mean over the tokens of each process, averaged over the
        # processes, is not the mean over all tokens.  With their number per process it is.
        share = accelerator.reduce(mask.sum().float(), reduction="mean")
        if method.advantage == "full":
            return full_vocabulary_loss(
                logp, logq, mask, divergence=method.divergence, num_items_in_batch=share
            )
        chosen = tokens[..., None]
        return opd_loss(
            logp.gather(-1, chosen)[..., 0],
            logq.gather(-1, chosen)[..., 0],
            mask,
            divergence=method.divergence,
            mode=method.advantage,
            clip=clip,
            num_items_in_batch=share,
        ).loss

    # The supervised trainings have identities of their own; their budgets tell one student from another.
    config = {"task": task, "method": method, "clip": clip, **(models or {})}
    done = train(
        copy.deepcopy(student).requires_grad_(True),  # an average comes without gradients
        draw,
        loss,
        plan,
        checkpoint=_file(place),
        config=config,
        accelerator=accelerator,
        title=place.name,
    )
    return done.model


def _file(place: Path) -> Path:
    # Not with_suffix: the name of a divergence, normalized_gjsd(0.1), holds a dot.
    return place.with_name(f"{place.name}.safetensors")


@torch.no_grad()
def _measure(model: nn.Module, teacher: nn.Module, task: Arithmetic) -> Measured:
    """Share of right answers of sampled completions, and KL(p|q) per token along them, of all and of each."""
    model.eval()
    device = next(model.parameters()).device
    pairs = task.pairs("held_out")[:2000]
    prompts, answers = (part.to(device) for part in task.encode(pairs))
    noise = torch.rand(answers.shape, generator=generator_of(12345, 0)).to(device)
    tokens, mask = rollout(model, prompts, noise, task.answer_length, int(tokenizer().eos_token_id))
    right = task.right(tokens, answers).float().mean()
    logp, logq = token_log_probs(model, prompts, tokens), token_log_probs(teacher, prompts, tokens)
    kl = per_token_divergence(logp.double(), logq.double(), get("reverse_kl"))
    each = (kl * mask).sum(dim=1) / mask.sum(dim=1)
    return float(right), float((kl * mask).sum() / mask.sum()), tuple(each.tolist())
