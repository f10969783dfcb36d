r"""OPD+ in TRL: generation, data, PEFT, accelerate and vLLM stay TRL's; the loss is ours.

.. code-block:: python

    from driftproof.backends.torch.opd.trainer import OPDPlusConfig, OPDPlusTrainer

    args = OPDPlusConfig("out", divergence="jsd", advantage="centered", max_completion_length=256)
    trainer = OPDPlusTrainer(model=student, teacher_model=teacher, args=args, train_dataset=data)
    trainer.train()

The two forms are ``sampled`` (the log-probability of the token that was sampled, as in the paper) and
``full`` (the divergence over the whole vocabulary at the sampled states); neither holds the logits of a
batch.  Written for TRL 1.16 and later, whose ``DistillationTrainer`` computes its loss in ``_compute_loss``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast, final

import torch
from torch import Tensor
from torch.utils.data import Sampler
from transformers import TrainerCallback

try:
    from trl import DistillationConfig, DistillationTrainer
except ImportError as error:
    raise ImportError(
        "OPDPlusTrainer: expected trl >= 1.16 with DistillationTrainer; pip install 'driftproof[torch,hub]'"
    ) from error

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.moved import Moved
from driftproof.numerics.opd import Mode
from driftproof.theory.divergences import get

from .heads import linear_head, require_fused_path
from .linear import linear_divergence, linear_log_probs
from .losses import opd_loss

__all__ = ["OPDPlusConfig", "OPDPlusTrainer"]

ADVANTAGES = ("centered", "plus", "sg")
FORMS = ("sampled", "full")
# What is logged of each form.
LOGGED = {
    "full": ("entropy", "opd/divergence"),
    "sampled": (
        *("entropy", "opd/clip_fraction", "opd/divergence", "opd/effective_sample_size", "opd/kl"),
        "opd/sign_agreement",
    ),
}
# Options of generate() that change the law of a token.
SAMPLING = {
    *("do_sample", "temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"),
    *("repetition_penalty", "no_repeat_ngram_size", "bad_words_ids", "suppress_tokens", "num_beams"),
}
# What TRL's generation adds to a batch with images, for the forward passes of both models.
MULTIMODAL = (
    "pixel_values",
    "image_grid_thw",
    "pixel_attention_mask",
    "spatial_shapes",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)


@dataclass
class OPDPlusConfig(DistillationConfig):  # type: ignore[misc]  # trl carries no types
    r"""Arguments of :class:`OPDPlusTrainer`; every argument of TRL's ``DistillationConfig`` is kept.

    Arguments:
        divergence: A name of :func:`driftproof.theory.divergences.names`: ``reverse_kl``, ``forward_kl``,
            ``jsd``, ``normalized_gjsd(0.1)``, ``alpha(0.5)``, ...  Replaces ``beta``.
        advantage: ``centered`` (exact), ``plus`` (exact, more variance) or ``sg`` (stop-gradient, biased).
        loss_form: ``sampled`` or ``full``.
        clip_log_ratio: Largest absolute log-ratio of a sampled token; None clips nothing.
        gamma: Discount of what a token does to later tokens, in [0, 1]; 0 freezes the states.
    """

    divergence: str = field(
        default="reverse_kl",
        metadata={"help": "f-divergence between student and teacher, by name; replaces beta."},
    )
    advantage: str = field(
        default="centered",
        metadata={
            "help": "centered (exact gradient), plus (exact, more variance) or sg (stop-gradient, biased)."
        },
    )
    loss_form: str = field(
        default="sampled",
        metadata={"help": "sampled (log-probability of the sampled token) or full (the whole vocabulary)."},
    )
    clip_log_ratio: float | None = field(
        default=20.0,
        metadata={"help": "Largest absolute log-ratio of a sampled token, taken before the exponential."},
    )
    gamma: float = field(
        default=0.0,
        metadata={"help": "Discount of the effect of a token on later tokens; 0 freezes the states."},
    )

    def __post_init__(self) -> None:
        get(self.divergence)
        if self.advantage not in ADVANTAGES:
            raise UnmetHypothesis("OPDPlusConfig", f"advantage is one of {ADVANTAGES}", repr(self.advantage))
        if self.loss_form not in FORMS:
            raise UnmetHypothesis("OPDPlusConfig", f"loss_form is one of {FORMS}", repr(self.loss_form))
        if not 0.0 <= self.gamma <= 1.0:
            raise UnmetHypothesis("OPDPlusConfig", "gamma in [0, 1]", f"gamma = {self.gamma!r}")
        for name in ("clip_log_ratio", "temperature"):
            value = getattr(self, name)
            if value is not None and not value > 0.0:
                raise UnmetHypothesis("OPDPlusConfig", f"{name} > 0", f"{name} = {value!r}")
        truncated = self.top_p < 1.0 or self.top_k > 0 or self.min_p not in (None, 0.0)
        if self.loss_form == "sampled" and (truncated or self.repetition_penalty != 1.0):
            hypothesis = "completions are sampled from the student itself (no top_p, top_k, min_p, penalty)"
            got = f"top_p = {self.top_p}, top_k = {self.top_k}, min_p = {self.min_p}"
            raise UnmetHypothesis("OPDPlusConfig", hypothesis, got)
        super().__post_init__()
        changed = sorted(SAMPLING & set(self.generation_kwargs or ()))
        if self.loss_form == "sampled" and changed:
            hypothesis = "generation_kwargs leave the law of the samples alone (temperature is an argument)"
            raise UnmetHypothesis("OPDPlusConfig", hypothesis, ", ".join(changed))


class OPDPlusTrainer(DistillationTrainer):  # type: ignore[misc]  # trl carries no types
    """TRL's distillation trainer with the exact gradient of any f-divergence.

    Takes the arguments of ``DistillationTrainer``; ``args`` is an :class:`OPDPlusConfig`.  Logged figures are
    sums over the tokens of all micro-batches and processes, divided by their number: how a batch is cut does not
    change them.

    Raises:
        TypeError: ``args`` is missing or another config.
        UnmetHypothesis: No teacher, or a student or teacher that is more than a backbone and a linear head
            (an adapter on the head, a soft prompt, a capped or scaled logit), or that padding changes.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.args, OPDPlusConfig):
            raise TypeError(f"OPDPlusTrainer: args is an OPDPlusConfig, got {type(self.args).__name__}")
        if self.teacher_model is None:
            raise UnmetHypothesis("OPDPlusTrainer", "a teacher_model is given", "None")
        self._moved: Moved | None = None
        self.add_callback(_Watch(self))
        self._sums: dict[str, dict[str, Tensor]] = {"train": {}, "eval": {}}
        for name, model in (("student", self.model), ("teacher", self.teacher_model)):
            require_fused_path(self, model, name)

    def _get_train_sampler(self, dataset: Any = None) -> Sampler[int]:
        return _Epochs(super()._get_train_sampler(dataset))

    def _get_last_hidden_state(
        self, unwrapped_model: Any, input_ids: Tensor, attention_mask: Tensor, length: int, **multimodal: Any
    ) -> Tensor:
        # Prompts are padded on the left: a model with absolute positions must count from the first token.
        backbone = unwrapped_model.base_model
        takes = inspect.signature(backbone.forward).parameters
        hidden = super()._get_last_hidden_state
        if multimodal or "position_ids" not in takes:
            return cast(Tensor, hidden(unwrapped_model, input_ids, attention_mask, length, **multimodal))
        positions = (attention_mask.long().cumsum(dim=-1) - 1).clamp(min=0)

        def count(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
            return args, {**kwargs, "position_ids": positions}

        handle = backbone.register_forward_pre_hook(count, with_kwargs=True)
        try:
            return cast(Tensor, hidden(unwrapped_model, input_ids, attention_mask, length))
        finally:
            handle.remove()

    def _compute_loss(
        self, unwrapped_student: Any, inputs: dict[str, Any], num_items_in_batch: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        prompt_and_completion = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        mask = inputs["completion_mask"]
        if "tool_mask" in inputs:
            mask = mask * inputs["tool_mask"]
        tokens = inputs["completion_ids"]
        length = tokens.size(1)

        multimodal = {key: inputs[key] for key in MULTIMODAL if key in inputs}
        student = self._get_last_hidden_state(
            unwrapped_student, prompt_and_completion, attention, length, **multimodal
        )
        self.teacher_model.eval()
        unwrapped_teacher = self.accelerator.unwrap_model(self.teacher_model)
        with torch.no_grad():
            teacher = self._forward_redirection(
                self.teacher_model,
                unwrapped_teacher,
                self._get_last_hidden_state,
                unwrapped_teacher,
                prompt_and_completion,
                attention,
                length,
                **multimodal,
            )
        student_weight, student_bias = linear_head(unwrapped_student, "student")
        teacher_weight, teacher_bias = linear_head(unwrapped_teacher, "teacher")
        args = cast(OPDPlusConfig, self.args)
        count = mask.sum()
        divisor = count.clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        temperature = self.temperature

        if args.loss_form == "full":
            total, entropy = linear_divergence(
                student,
                student_weight,
                teacher,
                teacher_weight,
                mask,
                divergence=args.divergence,
                temperature=temperature,
                bias=student_bias,
                teacher_bias=teacher_bias,
            )
            self._add(count, entropy=entropy, **{"opd/divergence": total.detach()})
            return total / divisor, entropy, count

        logp = linear_log_probs(student, student_weight, tokens, temperature=temperature, bias=student_bias)
        with torch.no_grad():
            teacher_logp = linear_log_probs(
                teacher, teacher_weight, tokens, temperature=temperature, bias=teacher_bias
            )
        result = opd_loss(
            logp,
            teacher_logp,
            mask,
            divergence=args.divergence,
            mode=cast(Mode, args.advantage),
            clip=args.clip_log_ratio,
            gamma=args.gamma,
            num_items_in_batch=divisor,
        )
        # Minus the log-probability of a sampled token estimates the entropy.
        entropy = -torch.where(mask > 0, logp.detach(), 0.0).sum()
        self._add(count, entropy=entropy, **{f"opd/{key}": x * count for key, x in result.metrics.items()})
        return result.loss, entropy, count

    def _add(self, count: Tensor, **sums: Tensor) -> None:
        """Add to the sums over tokens that are logged; nothing is read from the device here."""
        kept = self._sums["train" if self.model.training else "eval"]
        for name, value in sums.items():
            new = torch.stack([value.detach().double(), count.double()])
            kept[name] = kept[name] + new if name in kept else new

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        mode = "train" if self.model.training else "eval"
        kept, self._sums[mode] = self._sums[mode], {}
        # A process whose completions were all masked has entropies of no token, and none of the rest.
        names = sorted({*kept, *LOGGED[cast(OPDPlusConfig, self.args).loss_form]}) if kept else []
        if names:
            none = torch.zeros(2, dtype=torch.float64, device=self.accelerator.device)
            sums = torch.stack([kept.get(name, none).to(none.device) for name in names])
            for name, (total, count) in zip(
                names, self.accelerator.reduce(sums, "sum").tolist(), strict=True
            ):
                self._metrics[mode][name] = [total / count if count else 0.0]
        share = None if self._moved is None or mode == "eval" else self._moved.share()
        if share is not None:
            self._metrics[mode]["moved"] = [share]
        super().log(logs, start_time)


@final
class _Watch(TrainerCallback):  # type: ignore[misc]  # transformers carries no types
    """Tells the trainer which weights a step has moved."""

    def __init__(self, trainer: OPDPlusTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.trainer._moved = Moved(self.trainer.model.parameters())

    def on_pre_optimizer_step(self, *args: Any, optimizer: Any, **kwargs: Any) -> None:
        if self.trainer._moved is not None:
            self.trainer._moved.before(max(group["lr"] for group in optimizer.param_groups))

    def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        if self.trainer._moved is not None:
            self.trainer._moved.after()


@final
class _Epochs(Sampler[int]):
    """The order in which TRL's sampler goes through the data, as a function of the seed and the epoch.

    Its own generator goes on from epoch to epoch, and a checkpoint does not hold it: a run that was resumed in the
    third epoch would see the data in the order of the first.
    """

    def __init__(self, inner: Any) -> None:
        self.inner, self.epoch = inner, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by transformers before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.inner)

    def __iter__(self) -> Iterator[int]:
        if self.inner.shuffle:
            self.inner.generator.manual_seed(self.inner.seed)
            for _ in range(self.epoch):
                torch.randperm(self.inner.num_samples, generator=self.inner.generator)
        return iter(self.inner)
