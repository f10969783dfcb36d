"""Which losses of the installed TRL are looked at.  What they descend is found, not known here.

Each subject is a line of Python that calls TRL's own code; the same line is evaluated by the audit and
printed in the reproduction.  Losses that only exist in the middle of a training step are called through a
stand-in for the trainer; where that is impossible, the row says so and settles nothing.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, final

import numpy as np

from driftproof.theory.divergences import normalized_gjsd
from driftproof.theory.opd import divergence

from . import audit, versions
from .forms import Form
from .points import PAIRS
from .rows import Report, Row
from .trl_docs import CANNOT, quoted, resolved, unsettled
from .trl_trainers import trained

__all__ = ["kl_term", "report"]

_NEAR = 1e-6
_BETAS = (0.0, _NEAR, 0.1, 0.5, 0.9, 1.0 - _NEAR, 1.0)
# How "generalized JSD, 0 is (forward) KL, 1 is reverse or inverse KL" is read.
_GJSD = {beta: f"gjsd({beta!r})" for beta in _BETAS} | {0.0: "forward_kl", 1.0: "reverse_kl"}


@final
@dataclass(frozen=True)
class _Subject:
    """A loss of TRL: an import, an expression in its variables, and where it is documented."""

    object: str  # "module:attribute"
    expression: str  # in z, t (logits (1, 1, V)), token; or logp, ref, old ((1, 1) log-probabilities)
    form: Form
    options: Mapping[str, Any] = field(default_factory=dict)
    documented: str | None = None
    where: str = ""  # "module:class:option", whose docstring is quoted
    off_policy: bool = False

    @property
    def names(self) -> str:
        """The variables of the expression."""
        return {"logits": "z, t", "sampled": "z, t, token", "logp": "logp, ref, old"}[self.form]

    @property
    def title(self) -> str:
        return self.object.replace(":", ".")

    def imports(self) -> str:
        """Lines that make the names of the expression."""
        module, _, attribute = self.object.partition(":")
        lines = f"import torch\nfrom {module} import {attribute.partition('.')[0]}"
        return f"{lines}\nfrom {__name__} import kl_term" if "kl_term" in self.expression else lines

    def scope(self) -> dict[str, Any]:
        """The same names, for the audit."""
        module, _, attribute = self.object.partition(":")
        name = attribute.partition(".")[0]
        return {
            "torch": importlib.import_module("torch"),
            "kl_term": kl_term,
            name: resolved(f"{module}:{name}"),
        }

    def row(self) -> Row:
        """The verdict; what cannot be called settles nothing."""
        try:
            # The audit evaluates the very line that the reproduction prints.
            loss = eval(f"lambda {self.names}: {self.expression}", self.scope())
            return audit(
                loss,
                form=self.form,
                documented=self.documented,
                quote=quoted(self.where),
                off_policy=self.off_policy,
                name=self.title,
                options=self.options,
                reproduction=self.reproduction(),
            )
        except CANNOT as error:
            return unsettled(
                self.title, self.options, f"{type(error).__name__}: {error}", self.reproduction()
            )

    def reproduction(self) -> str:
        """Five lines that print the gradient."""
        pair = PAIRS[0]
        made = f"p, q, mu = torch.tensor([{list(pair.p)}, {list(pair.q)}, {list(pair.mu)}]).double()"
        law = "mu" if self.off_policy else "p"
        leaves = "z, t = p.log().requires_grad_()[None, None], q.log()[None, None]; z.retain_grad()"
        if self.form == "logits":
            loss = f"{leaves}\nL = {self.expression}"
        elif self.form == "sampled":
            one = re.sub(r"\btoken\b", "torch.tensor([[a]])", self.expression)
            loss = f"{leaves}\nL = sum(p[a] * {one} for a in range(5))"
        else:
            loss = (
                f"z = p.log().requires_grad_(); f = lambda {self.names}: {self.expression}\n"
                f"tokens = zip({law}, *(x.view(5, 1, 1) for x in (z.log_softmax(0), q.log(), {law}.log())))\n"
                "L = sum(weight * f(*logps) for weight, *logps in tokens)"
            )
        imports = self.imports().replace("\n", "; ")
        shown = f"{imports}; {made}" if self.form == "logp" else f"{imports}\n{made}"
        return f"{shown}\n{loss}\nL.sum().backward(); print(z.grad)"


def report() -> Report:
    """Audit the installed TRL."""
    rows = [row for family in _families() for row in family]
    return Report(target="trl", versions=versions("trl", "torch", "transformers"), rows=rows)


def _families() -> Iterator[Iterator[Row]]:
    for module, owner, config in (
        ("trl.experimental.gkd", "GKDTrainer.generalized_jsd_loss", "GKDConfig"),
        ("trl.experimental.gold", "GOLDTrainer.generalized_jsd_loss", "GOLDConfig"),
        ("trl.experimental.iw_opd", "IWOPDTrainer.generalized_jsd_loss", "IWOPDConfig"),
    ):
        call = owner + "(z, t, beta={beta})"
        yield _gjsd(f"{module}:{owner}", call, "beta", f"{module}:{config}:beta", _GJSD)
    chunked = "trl.trainer.distillation_trainer:_chunked_divergence_loss"
    heads = "z, t, torch.eye(5).to(z), torch.eye(5).to(z), torch.ones(1, 1)"
    call = f"_chunked_divergence_loss({heads}, beta={{beta}})[0]"
    yield _gjsd(chunked, call, "beta", "trl:DistillationConfig:beta", _GJSD)
    server = "trl.experimental.server_distillation"
    call = "_jsd_divergence(z.log_softmax(-1), t.log_softmax(-1), {beta})"
    where = f"{server}:ServerDistillationConfig:beta"
    yield _gjsd(f"{server}.server_distillation_trainer:_jsd_divergence", call, "beta", where, _GJSD)
    sdpo = "trl.experimental.sdpo.loss_utils"
    full = "compute_full_logit_self_distillation_loss"
    where = "trl.experimental.sdpo:SDPOConfig:distillation_alpha"
    call = full + "(z, t, distillation_alpha={beta})"
    yield _gjsd(f"{sdpo}:{full}", call, "distillation_alpha", where, {1.0: "reverse_kl"})
    yield (each.row() for each in _self_distillation(sdpo, where))
    yield (each.row() for each in _policy_gradient())
    yield (each.row() for each in trained())
    yield _inline()


def _gjsd(target: str, call: str, option: str, where: str, documented: Mapping[float, str]) -> Iterator[Row]:
    """A family in beta, and whether it is continuous at its two ends."""
    rows = {}
    for beta in _BETAS:
        rows[beta] = _Subject(
            object=target,
            expression=call.format(beta=repr(beta)),
            form="logits",
            options={option: beta},
            documented=documented.get(beta),
            where=where,
        ).row()
        yield rows[beta]
    for end, near in ((0.0, _NEAR), (1.0, 1.0 - _NEAR)):
        yield _end(rows[end], rows[near], option, end, near)


def _end(at: Row, beside: Row, option: str, end: float, near: float) -> Row:
    """Whether a family is continuous at an end, from the values that its rows found."""
    options = {option: [end, near]}
    if at.value is None or beside.value is None:
        return unsettled(at.object, options, "an end of the family could not be called", at.reproduction)
    jump = abs(at.value - beside.value) > 1e-3 * max(abs(at.value), abs(beside.value))
    pair = PAIRS[0]
    normalized = divergence(np.log(pair.p), np.log(pair.q), normalized_gjsd(near))
    return Row(
        object=at.object,
        options=options,
        verdict=(
            f"{'discontinuous' if jump else 'continuous'} at {option} = {end:g}: "
            f"{at.value:.6g} there, {beside.value:.6g} at {near!r}"
        ),
        reason=(
            "values on the first pair; gJSD vanishes at both ends, and gJSD / (beta (1 - beta)) is continuous "
            f"there: {float(normalized):.6g} at {near!r}"
        ),
        reproduction=beside.reproduction,
    )


def _self_distillation(module: str, where: str) -> Iterator[_Subject]:
    sampled = "compute_sampled_token_self_distillation_loss"
    yield _Subject(
        object=f"{module}:{sampled}",
        expression=f"{sampled}(z, t, token, distillation_alpha=1.0)",
        form="sampled",
        options={"distillation_alpha": 1.0},
        documented="reverse_kl",
        where=where,
    )
    top = "compute_topk_self_distillation_loss"
    for k, tail in ((4, True), (2, True), (2, False)):
        settings = f"distillation_topk={k}, distillation_alpha=1.0, distillation_add_tail={tail}"
        yield _Subject(
            object=f"{module}:{top}",
            expression=f"{top}(z, t, {settings})",
            form="logits",
            options={"distillation_topk": k, "distillation_alpha": 1.0, "distillation_add_tail": tail},
            where="trl.experimental.sdpo:SDPOConfig:distillation_topk",
        )


def _policy_gradient() -> Iterator[_Subject]:
    """The KL term of the policy-gradient trainers, with advantages of zero."""
    grpo, gmpo = "trl:GRPOTrainer._compute_loss", "trl.experimental.gmpo:GMPOTrainer._compute_loss"
    for off_policy in (False, True):
        sampled = {"tokens": "off-policy" if off_policy else "on-policy"}
        for corrected in (True, False):
            yield _Subject(
                object=grpo,
                expression=f"kl_term(GRPOTrainer, logp, ref, old, use_bias_correction_kl={corrected})",
                form="logp",
                options={"use_bias_correction_kl": corrected, **sampled},
                documented="reverse_kl" if corrected else None,
                where="trl:GRPOConfig:use_bias_correction_kl",
                off_policy=off_policy,
            )
        yield _Subject(
            object=gmpo,
            expression="kl_term(GMPOTrainer, logp, ref, old)",
            form="logp",
            options=sampled,
            where="trl.experimental.gmpo:GMPOConfig:beta",
            off_policy=off_policy,
        )


def kl_term(
    trainer: Any, logp: Any, ref_logp: Any, old_logp: Any, *, use_bias_correction_kl: bool = True
) -> Any:
    """The KL term that ``trainer._compute_loss`` adds, for one token: beta = 1, and advantages of zero.

    The method is TRL's own.  What it asks of its trainer and of its model is stood in for: the model's
    log-probabilities are ``logp``, and metrics go nowhere.
    """
    import torch

    ones = torch.ones(logp.shape, dtype=torch.long)
    metrics: Any = defaultdict(lambda: defaultdict(list))
    stand_in = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (logp, torch.zeros_like(logp), None),
        accelerator=SimpleNamespace(
            num_processes=1, gather=lambda x: x, gather_for_metrics=lambda x: x, reduce=lambda x, reduction: x
        ),
        args=SimpleNamespace(use_bias_correction_kl=use_bias_correction_kl, delta=None),
        aux_loss_enabled=False,
        beta=1.0,
        current_gradient_accumulation_steps=1,
        epsilon_high=0.2,
        epsilon_low=0.2,
        importance_sampling_level="token",
        loss_type="grpo",
        model=SimpleNamespace(training=False),
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        use_vllm=False,
        _entropy_bonus_enabled=False,
        _metrics=metrics,
    )
    inputs = {
        "prompt_ids": ones,
        "prompt_mask": ones,
        "completion_ids": ones,
        "completion_mask": ones,
        "advantages": torch.zeros(logp.shape[0], dtype=logp.dtype),
        "old_per_token_logps": old_logp,
        "ref_per_token_logps": ref_logp,
    }
    return trainer._compute_loss(stand_in, None, inputs)


def _inline() -> Iterator[Row]:
    """KL terms that are lines of a method which also generates text and scores it."""
    for target, method in (
        ("trl:RLOOTrainer", "_generate_and_score_completions"),
        ("trl.experimental.online_dpo:OnlineDPOTrainer", "training_step"),
    ):
        title = f"{target.replace(':', '.')}.{method}"
        try:
            source = inspect.getsource(getattr(resolved(target), method)).splitlines()
            lines = [
                line.strip() for line in source if re.match(r"\s+\w*kl = \w*logp\w* - \w*logp\w*$", line)
            ]
            reason = f"the term is a line of a method that generates and scores completions: {lines or 'not found'}"
        except CANNOT as error:
            reason = f"{type(error).__name__}: {error}"
        shown = f"import inspect\nfrom {target.partition(':')[0]} import {target.partition(':')[2]} as T"
        yield unsettled(title, {}, reason, f"{shown}\nprint(inspect.getsource(T.{method}))")
