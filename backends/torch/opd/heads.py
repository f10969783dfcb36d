"""Whether a model is its backbone and a linear head, which is all that the chunked losses see of it."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial

from driftproof._namespace import UnmetHypothesis

__all__ = ["linear_head", "require_fused_path"]

PROMPTS, COMPLETION = (5, 2), (3, 2)  # tokens of the two rows that are compared


def linear_head(model: Any, name: str) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the language-model head, whole on every process."""
    head = model.get_output_embeddings()
    weight, bias = head.weight, getattr(head, "bias", None)
    if weight.numel() == 0:
        hypothesis = (
            f"the head of the {name} is on every process (ZeRO-3 leaves it empty outside of its module)"
        )
        raise UnmetHypothesis("OPDPlusTrainer", hypothesis, "an empty weight")
    return _whole(weight), None if bias is None else _whole(bias)


def _whole(weight: Tensor) -> Tensor:
    """A sharded weight on every process; its gradient is the mean over them, as that of every other weight."""
    if not isinstance(weight, DTensor):
        return weight
    mesh = weight.device_mesh
    # Each process has the gradient of its own rows of the batch: without placements it would be taken for the whole.
    whole: Tensor = weight.full_tensor(grad_placements=[Partial()] * mesh.ndim)
    if whole.requires_grad:
        whole.register_hook(lambda gradient: gradient / mesh.size())  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return whole


def require_fused_path(trainer: Any, model: Any, name: str) -> None:
    """Compare backbone and head with the whole model, on two rows of different length padded as in a batch.

    The logits of the same padded batch differ by the rounding of one product only; those of the rows alone also
    by how sums over padded lengths are taken.

    Raises:
        UnmetHypothesis: They differ by more, relative to the spread of the logits.
    """
    unwrapped = trainer.accelerator.unwrap_model(model)
    _require_no_options(unwrapped, name)
    training = unwrapped.training
    unwrapped.eval()
    try:
        with torch.no_grad():
            fused, padded, alone = trainer._forward_redirection(
                model, unwrapped, _logits, trainer, unwrapped, name
            )
    finally:
        unwrapped.train(training)
    eps = torch.finfo(padded.dtype).eps
    if padded.is_cuda and padded.dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32:
        eps = 2.0**-10
    for other, tolerance, hypothesis in (
        (
            padded,
            max(2.0 * eps, 1e-5),
            "is its backbone and a linear head (no adapter or soft prompt, no cap, no scale)",
        ),
        (
            alone,
            max(16.0 * eps, 1e-3),
            "gives a row the same logits alone and under padding (positions, masks)",
        ),
    ):
        error = _distance(fused, other)
        if not error <= tolerance:
            got = f"the logits differ by {error:.2g} of their spread, where rounding allows {tolerance:.1g}"
            raise UnmetHypothesis("OPDPlusTrainer", f"the {name} {hypothesis}", got)


def _require_no_options(model: Any, name: str) -> None:
    """Refuse the options that transformers has for it: a cap may not show at logits that are small so far."""
    config = model.config.get_text_config()
    scales = ("logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")
    for key in (*scales, "final_logit_softcapping", "logits_soft_cap"):
        value = getattr(config, key, None)
        if value is not None and not (key in scales and value == 1.0):
            hypothesis = f"the logits of the {name} are linear in its last hidden state"
            raise UnmetHypothesis("OPDPlusTrainer", hypothesis, f"{key} = {value!r}")


def _logits(trainer: Any, model: Any, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of the completions: by backbone and head; by the whole model on the same batch, and on rows alone."""
    weight, bias = linear_head(model, name)
    ids, attention = _rows(trainer, model, weight)
    length = max(COMPLETION)
    try:
        hidden = trainer._get_last_hidden_state(model, ids, attention, length)
        fused = hidden @ weight.to(hidden.dtype).T + (0.0 if bias is None else bias.to(hidden.dtype))
        positions = (attention.cumsum(dim=-1) - 1).clamp(min=0)
        given = {"position_ids": positions} if _takes_positions(model) else {}
        whole = model(input_ids=ids, attention_mask=attention, use_cache=False, **given).logits
        padded = whole[:, -length - 1 : -1]
        if fused.shape != padded.shape:
            raise ValueError(f"shapes {tuple(fused.shape)} and {tuple(padded.shape)}")
        alone = [
            model(input_ids=row[None, mask > 0], attention_mask=mask[None, mask > 0], use_cache=False).logits[
                0, -count - 1 : -1
            ]
            for row, mask, count in zip(ids, attention, COMPLETION, strict=True)
        ]
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        hypothesis = f"the {name} is its backbone and a linear head"
        raise UnmetHypothesis("OPDPlusTrainer", hypothesis, f"{type(error).__name__}: {error}") from error
    kept = [rows[:count] for rows, count in zip(fused, COMPLETION, strict=True)]
    same = [rows[:count] for rows, count in zip(padded, COMPLETION, strict=True)]
    return torch.cat(kept), torch.cat(same), torch.cat(alone)


def _rows(trainer: Any, model: Any, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Prompts padded on the left and completions padded on the right, as TRL makes them."""
    tokens = trainer._tokenizer
    special, pad = set(tokens.all_special_ids), tokens.pad_token_id or 0
    ordinary = [i for i in range(min(weight.shape[0], len(tokens), 1000)) if i not in special] or [0]
    width = max(PROMPTS) + max(COMPLETION)
    ids = torch.full((2, width), pad)
    attention = torch.zeros((2, width), dtype=torch.long)
    for row, (before, after) in enumerate(zip(PROMPTS, COMPLETION, strict=True)):
        where = slice(max(PROMPTS) - before, max(PROMPTS) + after)
        attention[row, where] = 1
        ids[row, where] = torch.tensor(
            [ordinary[(3 + 7 * (i + row)) % len(ordinary)] for i in range(before + after)]
        )
    return ids.to(weight.device), attention.to(weight.device)


def _takes_positions(model: Any) -> bool:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "position_ids" in inspect.signature(inner.forward).parameters


def _distance(ours: Tensor, theirs: Tensor) -> float:
    """Root mean square of the difference over that of the logits, both without the mean of each token."""
    ours, theirs = (x.double() - x.double().mean(-1, keepdim=True) for x in (ours, theirs))
    spread = theirs.square().mean().sqrt().clamp(min=1e-300)
    return float((ours - theirs).square().mean().sqrt() / spread)
