"""Recipes on preferences, policies and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from driftproof.validation.audits.forms import Form

from .base import Planted, number, pick

__all__ = ["answers", "pairs", "policies", "supervised"]


def pairs(rng: np.random.Generator) -> Iterator[Planted]:
    """DPO, IPO, KTO and the hinge, on whole answers with a reference."""
    import torch
    import torch.nn.functional as F

    beta = number(rng, 0.02, 2.0)
    rules: dict[str, Callable[[Any, Any, float], Any]] = {
        "dpo": lambda u, v, b: -F.logsigmoid(b * (u - v)),
        "ipo": lambda u, v, b: (u - v - 1.0 / (2.0 * b)) ** 2,
        "hinge": lambda u, v, b: F.relu(1.0 - b * (u - v)),
        "sppo": lambda u, v, b: (u - 0.5 / b) ** 2 + (v + 0.5 / b) ** 2,
        "apo_zero": lambda u, v, b: torch.sigmoid(-b * u) + torch.sigmoid(b * v),
    }
    name = pick(rng, list(rules))
    rule, how = rules[name], pick(rng, ("mean", "sum"))
    total: Callable[[Any], Any] = (lambda x: x.mean()) if how == "mean" else (lambda x: x.sum())

    def made(u: Callable[..., Any], v: Callable[..., Any], b: float = beta) -> Callable[..., Any]:
        return lambda w, l, rw, rl: total(rule(u(w, l, rw, rl), v(w, l, rw, rl), b))

    def won(w: Any, l: Any, rw: Any, rl: Any) -> Any:
        return w - rw

    def lost(w: Any, l: Any, rw: Any, rl: Any) -> Any:
        return l - rl

    said, label = f"{name}({beta})/{how}", f"{name}({beta}), {how}"
    yield Planted(label, "preference", made(won, lost), said, True)
    yield Planted(f"{label}, any parameter", "preference", made(won, lost), name, True)
    yield Planted(f"{label}: chosen and rejected swapped", "preference", made(lost, won), said, False)
    yield Planted(
        f"{label}: the reference's sign", "preference", made(lambda w, l, rw, rl: w + rw, lost), said, False
    )
    yield Planted(f"{label}: no reference", "preference",
                  made(lambda w, l, rw, rl: w, lambda w, l, rw, rl: l), said, False)  # fmt: skip
    yield Planted(f"{label}: a stop-gradient on the rejected", "preference",
                  made(won, lambda w, l, rw, rl: (l - rl).detach()), said, False)  # fmt: skip
    yield Planted(f"{label}: beta inverted", "preference", made(won, lost, 1.3 / beta), said, False)
    yield Planted(
        f"{label}: beta on one answer", "preference", made(won, lambda *x: lost(*x) / beta * 1.7), said, False
    )
    mixed = said.replace("/mean", "/sum") if how == "mean" else said.replace("/sum", "/mean")
    yield Planted(f"{label}: sum and mean mixed up", "preference", made(won, lost), mixed, False)


def answers(rng: np.random.Generator) -> Iterator[Planted]:
    """SimPO and ORPO, on tokens with masks."""
    import torch
    import torch.nn.functional as F

    beta, gamma, weight = number(rng, 0.5, 5.0), number(rng, 0.1, 2.0), number(rng, 0.05, 2.0)

    def mean(x: Any, m: Any) -> Any:
        return (x * m).sum(-1) / m.sum(-1)

    def odds(x: Any) -> Any:
        return x - torch.log1p(-torch.exp(x))

    def simpo(average: Callable[..., Any], gamma: float = gamma) -> Callable[..., Any]:
        def call(chosen_logps: Any, rejected_logps: Any, chosen_mask: Any, rejected_mask: Any) -> Any:
            w, l = average(chosen_logps, chosen_mask), average(rejected_logps, rejected_mask)
            return -F.logsigmoid(beta * (w - l) - gamma).mean()

        return call

    def orpo(sign: float = 1.0, outside: float = 1.0) -> Callable[..., Any]:
        def call(chosen_logps: Any, rejected_logps: Any, chosen_mask: Any, rejected_mask: Any) -> Any:
            w, l = mean(chosen_logps, chosen_mask), mean(rejected_logps, rejected_mask)
            return (-outside * w - weight * F.logsigmoid(sign * (odds(w) - odds(l)))).mean()

        return call

    form: Form = "preference"
    said = f"simpo(beta={beta}, gamma={gamma})"
    yield Planted(said, form, simpo(mean), said, True)
    yield Planted(f"{said}: sums", form, simpo(lambda x, m: (x * m).sum(-1)), said, False)
    yield Planted(
        f"{said}: masked tokens in the denominator", form, simpo(lambda x, m: (x * m).mean(-1)), said, False
    )
    yield Planted(f"{said}: no mask at all", form, simpo(lambda x, m: x.mean(-1)), said, False)
    yield Planted(f"{said}: the margin's sign", form, simpo(mean, -gamma), said, False)
    yield Planted(f"{said}: the margin times beta", form, simpo(mean, 1.1 * beta * gamma), said, False)
    said = f"orpo({weight})"
    yield Planted(said, form, orpo(), said, True)
    yield Planted(f"{said}: the sign of the odds", form, orpo(-1.0), said, False)
    yield Planted(f"{said}: half of the likelihood", form, orpo(1.0, 0.5), said, False)


def policies(rng: np.random.Generator) -> Iterator[Planted]:
    """GRPO and PPO."""
    import torch

    clip, beta = pick(rng, (0.1, 0.2, 0.3)), number(rng, 0.005, 1.0)
    how = pick(rng, ("mean", "sequence_mean", "batch_mean"))
    kl = pick(rng, ("k2", "k3"))

    def terms(logp: Any, old_logp: Any, advantages: Any, ref_logp: Any, error: str) -> Any:
        a, r = advantages[:, None], (logp - old_logp).exp()
        r = r.detach() if error == "the ratio detached" else 1 / r if error == "the ratio inverted" else r
        sides = (r * a, torch.clamp(r, 1 - clip, 1 + clip) * a)
        surrogate = torch.max(*sides) if error == "max for min" else torch.min(*sides)
        surrogate = sides[0] if error == "no clip" else surrogate
        surrogate = sides[1] if error == "always clipped" else surrogate
        d = ref_logp - logp
        d = -d if error == "KL of swapped arguments" and kl == "k3" else d
        term = 0.5 * d**2 if kl == "k2" else d.exp() - d - 1
        term = -d if error == "k1 in the loss" else term
        term = term * r if error == "the ratio on the KL term" else term
        return -surrogate + (-beta if error == "the sign of KL" else beta) * term

    def loss(error: str) -> Callable[..., Any]:
        def call(logp: Any, old_logp: Any, advantages: Any, ref_logp: Any, mask: Any) -> Any:
            x = terms(logp, old_logp, advantages, ref_logp, error)
            if error == "masked tokens in the denominator":
                return (x * mask).sum() / mask.numel()
            if error == "no mask":
                return x.mean()
            if how == "mean":
                return (x * mask).sum() / mask.sum()
            return (
                ((x * mask).sum(-1) / mask.sum(-1)).mean()
                if how == "sequence_mean"
                else (x * mask).sum(-1).mean()
            )

        return call

    said, label = f"ppo(epsilon={clip})+{kl}({beta})", f"PPO {clip}, {kl} {beta}, {how}"
    yield Planted(label, "policy", loss(""), f"{said}/{how}", True)
    yield Planted(f"{label}, any coefficient", "policy", loss(""), f"ppo(epsilon={clip})+{kl}", True)
    errors = ("max for min", "no clip", "always clipped", "the ratio detached", "the ratio inverted", "k1 in the loss",
              "the ratio on the KL term", "the sign of KL", "masked tokens in the denominator", "no mask")  # fmt: skip
    for error in errors + (("KL of swapped arguments",) if kl == "k3" else ()):
        yield Planted(f"{label}: {error}", "policy", loss(error), said, False)
    other = pick(rng, [x for x in ("mean", "sequence_mean", "batch_mean") if x != how])
    yield Planted(f"{label}: {other} for {how}", "policy", loss(""), f"{said}/{other}", False)
    low = pick(rng, [x for x in (0.1, 0.2, 0.3) if x != clip])
    yield Planted(f"{label}: another epsilon", "policy", loss(""), f"ppo(epsilon={low})+{kl}({beta})", False)


def supervised(rng: np.random.Generator) -> Iterator[Planted]:
    """Cross-entropy of labels."""
    import torch.nn.functional as F

    smoothing, how = float(f"{rng.uniform(0.02, 0.3):.2g}"), pick(rng, ("mean", "sum"))

    def shifted(logits: Any, labels: Any, **options: Any) -> Any:
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), **options)

    def counted(logits: Any, labels: Any) -> Any:
        each = shifted(logits, labels, ignore_index=-100, reduction="none")
        return each.sum() / each.numel()

    def other_smoothing(logits: Any, labels: Any) -> Any:
        law, target = logits[:, :-1].log_softmax(-1), labels[:, 1:]
        on = -law.gather(-1, target.clamp(min=0)[..., None])[..., 0]
        off = (-law.sum(-1) - on) / (law.shape[-1] - 1)
        return (((1 - smoothing) * on + smoothing * off) * (target != -100)).sum()

    def padding(logits: Any, labels: Any) -> Any:
        return shifted(logits, labels.clamp(min=0), reduction="sum")

    form: Form = "tokens"
    label = f"SFT, {how}"
    yield Planted(label, form, lambda x, y: shifted(x, y, reduction=how), f"shifted_sft/{how}", True)
    yield Planted(f"SFT smoothed by {smoothing}", form, lambda x, y: shifted(x, y, label_smoothing=smoothing),
                  f"shifted_sft(smoothing={smoothing})", True)  # fmt: skip
    yield Planted(
        "SFT, not shifted", form, lambda x, y: F.cross_entropy(x.flatten(0, 1), y.flatten()), "sft/mean", True
    )
    yield Planted(
        "SFT: not shifted",
        form,
        lambda x, y: F.cross_entropy(x.flatten(0, 1), y.flatten()),
        "shifted_sft",
        False,
    )
    yield Planted("SFT: masked tokens in the denominator", form, counted, "shifted_sft", False)
    yield Planted("SFT: padding scored", form, padding, "shifted_sft", False)
    yield Planted(
        "SFT: smoothing over the other tokens",
        form,
        other_smoothing,
        f"shifted_sft(smoothing={smoothing})",
        False,
    )
    mixed = "mean" if how == "sum" else "sum"
    yield Planted(
        f"{label}: sum and mean mixed up",
        form,
        lambda x, y: shifted(x, y, reduction=how),
        f"shifted_sft/{mixed}",
        False,
    )
    yield Planted(
        "SFT: p for log p",
        form,
        lambda x, y: -(-shifted(x, y, reduction="none")).exp().sum(),
        "shifted_sft",
        False,
    )
