"""The losses of TRL's trainers on preferences, policies and labels, each called as the trainer calls it.

``DPOTrainer``, ``KTOTrainer``, ``SFTTrainer`` and ``GRPOTrainer`` compute their losses in the middle of a step:
the method is TRL's own, and what it asks of its trainer and of its model is stood in for.  The model returns
the log-probabilities that the audit gives; metrics go nowhere.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, final

from .forms import Form
from .loss_rows import audit_loss
from .rows import Row
from .trl_docs import CANNOT, quoted, resolved, unsettled

__all__ = ["Trained", "alone", "dpo", "grpo", "kto", "sft", "trained"]

_PAIR = "chosen_logps, rejected_logps"
_TOKENS = f"{_PAIR}, ref_chosen_logps, ref_rejected_logps, chosen_mask, rejected_mask"
_KTO = f"{_PAIR}, ref_chosen_logps, ref_rejected_logps, kl_logps, ref_kl_logps"
_ROLLOUT = "logp, old_logp, advantages, ref_logp, mask"
# Inputs of the reproductions, by name.
_GIVEN = {
    "chosen_logps": "[[-1.2, -0.4], [-0.8, -2.0]]",
    "rejected_logps": "[[-0.9, -1.4], [-1.1, -0.3]]",
    "ref_chosen_logps": "[[-1.0, -0.7], [-1.2, -1.7]]",
    "ref_rejected_logps": "[[-1.3, -1.1], [-0.6, -0.5]]",
    "chosen_mask": "[[1.0, 1.0], [1.0, 0.0]]",
    "rejected_mask": "[[1.0, 0.0], [1.0, 1.0]]",
    "kl_logps": "[-1.4, -1.9]",
    "ref_kl_logps": "[-1.8, -2.0]",
    "logp": "[[-1.2, -0.4], [-0.8, -2.0]]",
    "old_logp": "[[-1.0, -0.8], [-0.9, -1.9]]",
    "advantages": "[0.7, -1.1]",
    "ref_logp": "[[-1.5, -0.6], [-1.0, -1.2]]",
    "mask": "[[1.0, 1.0], [1.0, 0.0]]",
    "logits": "[[[0.3, -0.2, 0.9], [1.1, 0.0, -0.7], [0.2, 0.5, -0.1]]]",
    "labels": "[[0, 2, 1]]",
}
_LEAVES = ("chosen_logps", "rejected_logps", "logp", "logits")


@final
@dataclass(frozen=True)
class Trained:
    """A loss of a trainer: an expression in named arguments, which the audit evaluates and the row prints."""

    object: str  # "module:Class.method"
    names: str
    expression: str
    form: Form
    options: Mapping[str, Any] = field(default_factory=dict)
    documented: str | None = None
    where: str = ""

    @property
    def title(self) -> str:
        """The import path."""
        return self.object.replace(":", ".")

    def row(self) -> Row:
        """The verdict; what cannot be called settles nothing."""
        module, _, path = self.object.partition(":")
        owner = path.partition(".")[0]
        try:
            scope = {name: globals()[name] for name in ("alone", "dpo", "grpo", "kto", "sft")}
            scope |= {"torch": importlib.import_module("torch"), owner: resolved(f"{module}:{owner}")}
            return audit_loss(
                eval(f"lambda {self.names}: {self.expression}", scope),  # the line that the row prints
                form=self.form,
                documented=self.documented,
                quote=quoted(self.where) if self.where else "",
                name=self.title,
                options=self.options,
                reproduction=self.reproduction(),
            )
        except CANNOT as error:
            reason = f"{type(error).__name__}: {error}"
            return unsettled(self.title, self.options, reason, self.reproduction())

    def reproduction(self) -> str:
        """Five lines that print the gradient."""
        module, _, path = self.object.partition(":")
        names = self.names.split(", ")
        leaves = [name for name in names if name in _LEAVES]
        # Whole answers where there are no masks.
        whole = "chosen_mask" not in names and self.form == "preference"
        given = ", ".join(
            f"torch.tensor({_GIVEN[name]}{'' if name == 'labels' else ').double('}){'.sum(-1)' if whole and name.endswith(('chosen_logps', 'rejected_logps')) else ''}"
            for name in names
        )
        return "\n".join(
            (
                f"import torch; from {module} import {path.partition('.')[0]}",
                f"from {__name__} import alone, dpo, grpo, kto, sft",
                f"{self.names} = {given}",
                f"{', '.join(leaves)}, = ({''.join(f'{leaf}.requires_grad_(), ' for leaf in leaves)})",
                f"L = {self.expression}; L.sum().backward(); print({', '.join(f'{leaf}.grad' for leaf in leaves)})",
            )
        )


def trained() -> Iterator[Trained]:
    """The losses, at the parameters that are their defaults where they have one."""
    yield from _dpo_rows()
    yield from _other_preferences()
    yield from _grpo_rows()
    for loss_type, documented in (("nll", "shifted_sft/mean"), ("dft", "shifted_dft/mean")):
        yield Trained(
            "trl:SFTTrainer.compute_loss",
            "logits, labels",
            f"sft(SFTTrainer, logits, labels, loss_type={loss_type!r})",
            "tokens",
            {"loss_type": loss_type},
            documented,
            "trl:SFTConfig:loss_type",
        )


def _dpo_rows() -> Iterator[Trained]:
    documented = {
        "sigmoid": "dpo(beta=0.1)",
        "hinge": "hinge(beta=0.1)",
        "ipo": None,
        "exo_pair": "exo(beta=0.1, smoothing=0.1)",
        "nca_pair": "nca(beta=0.1)",
        "robust": "robust_dpo(beta=0.1, smoothing=0.1)",
        "bco_pair": "bco(beta=0.1)",
        "sppo_hard": "sppo(beta=0.1)",
        "apo_zero": "apo_zero(beta=0.1)",
        "apo_down": "apo_down(beta=0.1)",
        "discopop": "discopop(beta=0.1, tau=0.05)",
        "sigmoid_norm": "mean_dpo(beta=0.1)",
        "sft": "token_likelihood/mean",
        "aot": None,
    }
    for loss_type, said in documented.items():
        smoothing = {"label_smoothing": 0.1} if loss_type in ("exo_pair", "robust") else {}
        extra = "".join(f", {key}={value!r}" for key, value in smoothing.items())
        yield Trained(
            "trl:DPOTrainer._compute_loss",
            _TOKENS,
            f"dpo(DPOTrainer, {_TOKENS}, loss_type={loss_type!r}{extra})",
            "preference",
            {"loss_type": loss_type, "beta": 0.1, **smoothing},
            said,
            "trl:DPOConfig:loss_type",
        )
    for divergence, said in (
        ("forward_kl", "dpo_forward_kl(beta=0.1)"),
        ("js_divergence", "dpo_jsd(beta=0.1)"),
    ):
        yield Trained(
            "trl:DPOTrainer._compute_loss",
            _TOKENS,
            f"dpo(DPOTrainer, {_TOKENS}, f_divergence_type={divergence!r})",
            "preference",
            {"loss_type": "sigmoid", "beta": 0.1, "f_divergence_type": divergence},
            said,
            "trl:DPOConfig:f_divergence_type",
        )


def _other_preferences() -> Iterator[Trained]:
    for loss_type, said in (("kto", "kto(beta=0.1)"), ("apo_zero_unpaired", None)):
        yield Trained(
            "trl:KTOTrainer._compute_loss",
            _KTO,
            f"kto(KTOTrainer, {_KTO}, loss_type={loss_type!r})",
            "preference",
            {"loss_type": loss_type, "beta": 0.1},
            said,
            "trl:KTOConfig:loss_type",
        )
    for loss_type, options, said in (
        ("sigmoid", {}, "cpo(beta=0.1)"),
        ("hinge", {}, "hinge_free(beta=0.1)"),
        ("ipo", {}, "ipo_free(tau=0.1)"),
        ("simpo", {"simpo_gamma": 0.5}, "simpo(beta=0.1, gamma=0.5)"),
    ):
        extra = "".join(f", {key}={value!r}" for key, value in options.items())
        yield Trained(
            "trl.experimental.cpo:CPOTrainer.cpo_loss",
            _PAIR,
            f"CPOTrainer.cpo_loss(alone(beta=0.1, alpha=0.0, label_smoothing=0.0, loss_type={loss_type!r}{extra}), {_PAIR})[0]",
            "preference",
            {"loss_type": loss_type, "beta": 0.1, **options},
            said,
            "trl.experimental.cpo:CPOConfig:loss_type",
        )
    yield Trained(
        "trl.experimental.orpo:ORPOTrainer.odds_ratio_loss",
        _PAIR,
        f"-ORPOTrainer.odds_ratio_loss(alone(beta=0.1), {_PAIR})[0] - chosen_logps",
        "preference",
        {"beta": 0.1, "likelihood": "added as in get_batch_loss_metrics"},
        "orpo(weight=0.1)",
        "trl.experimental.orpo:ORPOConfig:beta",
    )


def _grpo_rows() -> Iterator[Trained]:
    for loss_type, said in (
        ("grpo", "ppo(epsilon=0.2)+k3(beta=0.04)/sequence_mean"),
        ("bnpo", "ppo(epsilon=0.2)+k3(beta=0.04)/mean"),
        ("dr_grpo", "ppo(epsilon=0.2)+k3(beta=0.04)/padded_mean"),
        ("dapo", "ppo(epsilon=0.2)+k3(beta=0.04)/mean"),
        ("cispo", None),
        ("sapo", None),
        ("luspo", None),
    ):
        yield Trained(
            "trl:GRPOTrainer._compute_loss",
            _ROLLOUT,
            f"grpo(GRPOTrainer, {_ROLLOUT}, loss_type={loss_type!r})",
            "policy",
            {"loss_type": loss_type, "beta": 0.04, "epsilon": 0.2},
            said,
            "trl:GRPOConfig:loss_type",
        )


def alone(**options: Any) -> Any:
    """A trainer that is nothing but its options: one process, no router, metrics thrown away."""
    import torch

    accelerator = SimpleNamespace(
        device=torch.device("cpu"),
        num_processes=1,
        parallelism_config=None,
        gather=lambda x: x,
        gather_for_metrics=lambda x: x,
        reduce=lambda x, reduction: x,
    )
    made = SimpleNamespace(
        accelerator=accelerator,
        model=SimpleNamespace(training=False),
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
    )
    vars(made).update(options)
    return made


def _model(log_probs: Any, mask: Any) -> Any:
    """A model whose fused head returns these log-probabilities."""
    import torch

    zeros = torch.zeros_like(log_probs).detach()
    made = SimpleNamespace(
        log_probs=log_probs,
        label_mask=mask.bool(),
        entropy=zeros,
        mean_logits=zeros,
        log_sum_sq_probs=zeros,
        is_top1=zeros.bool(),
    )
    return lambda **_: made


def dpo(
    trainer: Any, chosen: Any, rejected: Any, ref_chosen: Any, ref_rejected: Any, chosen_mask: Any, rejected_mask: Any,
    *, loss_type: str = "sigmoid", f_divergence_type: str = "reverse_kl", label_smoothing: float = 0.0,
) -> Any:  # fmt: skip
    """``trainer._compute_loss`` at beta = 0.1, for log-probabilities of tokens and their masks."""
    import torch

    mask = torch.cat([chosen_mask, rejected_mask])
    prompt = torch.zeros_like(mask[:, :1])
    completion = torch.cat([prompt, mask], 1).long()
    stand_in = alone(
        ld_alpha=None,
        f_divergence_type=f_divergence_type,
        loss_types=[loss_type],
        loss_weights=[1.0],
        beta=0.1,
        label_smoothing=label_smoothing,
        use_weighting=False,
        args=SimpleNamespace(discopop_tau=0.05),
    )
    inputs = {
        "input_ids": torch.ones_like(completion),
        "attention_mask": torch.ones_like(completion),
        "completion_mask": completion,
        "ref_chosen_logps": (ref_chosen * chosen_mask).sum(-1),
        "ref_rejected_logps": (ref_rejected * rejected_mask).sum(-1),
    }
    model = _model(torch.cat([chosen * chosen_mask, rejected * rejected_mask]), mask)
    return trainer._compute_loss(stand_in, model, inputs, False)


def kto(
    trainer: Any, chosen: Any, rejected: Any, ref_chosen: Any, ref_rejected: Any, kl: Any, ref_kl: Any,
    *, loss_type: str = "kto",
) -> Any:  # fmt: skip
    """``trainer._compute_loss`` at beta = 0.1, for log-probabilities of answers: the chosen are desirable."""
    import torch

    logps = torch.cat([chosen, rejected])[:, None]
    completion = torch.tensor([[0, 1]]).expand(len(logps), 2)
    stand_in = alone(
        calculate_KL=loss_type == "kto",
        loss_type=loss_type,
        beta=0.1,
        desirable_weight=1.0,
        undesirable_weight=1.0,
        _compute_kl_logps=lambda model, batch: kl,
    )
    inputs = {
        "label": torch.tensor([True] * len(chosen) + [False] * len(rejected)),
        "input_ids": torch.ones_like(completion),
        "attention_mask": torch.ones_like(completion),
        "completion_mask": completion,
        "ref_logps": torch.cat([ref_chosen, ref_rejected]),
        "ref_KL_logps": ref_kl,
    }
    return trainer._compute_loss(stand_in, _model(logps, completion[:, 1:]), inputs, False)


def sft(trainer: Any, logits: Any, labels: Any, *, loss_type: str = "nll") -> Any:
    """``trainer.compute_loss``; the fused head is log_softmax of the logits, for labels shifted by one."""
    shifted = labels[:, 1:]
    mask = shifted != -100
    picked = logits[:, :-1].log_softmax(-1).gather(-1, shifted.clamp(min=0)[..., None])[..., 0]
    stand_in = alone(
        compute_loss_func=None,
        label_smoother=None,
        args=SimpleNamespace(loss_type=loss_type, average_tokens_across_devices=False),
    )
    inputs = {"input_ids": labels, "labels": labels, "attention_mask": (labels != -100).long()}
    return trainer.compute_loss(stand_in, _model(picked.masked_fill(~mask, 0.0), mask), inputs)


def grpo(
    trainer: Any,
    logp: Any,
    old_logp: Any,
    advantages: Any,
    ref_logp: Any,
    mask: Any,
    *,
    loss_type: str = "grpo",
) -> Any:
    """``trainer._compute_loss`` at beta = 0.04 and epsilon = 0.2, for one batch that is all there is."""
    import torch

    ones = torch.ones(logp.shape, dtype=torch.long)
    stand_in = alone(
        _get_per_token_logps_and_entropies=lambda *_, **__: (logp, torch.zeros_like(logp), None),
        args=SimpleNamespace(
            use_bias_correction_kl=False, delta=None, sapo_temperature_pos=1.0, sapo_temperature_neg=1.05
        ),
        beta=0.04,
        current_gradient_accumulation_steps=1,
        epsilon_high=0.2,
        epsilon_low=0.2,
        importance_sampling_level="sequence" if loss_type == "luspo" else "token",
        loss_type=loss_type,
        max_completion_length=logp.shape[1],
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        use_vllm=False,
        _entropy_bonus_enabled=False,
    )
    inputs = {
        "prompt_ids": ones,
        "prompt_mask": ones,
        "completion_ids": ones,
        "completion_mask": mask,
        "advantages": advantages,
        "old_per_token_logps": old_logp,
        "ref_per_token_logps": ref_logp,
        "num_items_in_batch": mask.sum(),
    }
    return trainer._compute_loss(stand_in, None, inputs)
