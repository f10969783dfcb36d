"""Losses with a planted error beside right ones, drawn from a seed: what the audit of losses is audited with.

They are written as practice writes them (``F.kl_div``, ``logsigmoid``, ``cross_entropy``, masks, casts), from
nothing that the objectives use.  Every error is one that was made somewhere: a wrong power of the temperature,
a dropped tail, swapped arguments of KL, a factor, a stop-gradient, a wrong denominator, beta in the wrong place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from .forms import Form
from .loss_rows import audit_loss

__all__ = ["Planted", "Tally", "drawn", "tally"]


@final
@dataclass(frozen=True)
class Planted:
    """A loss, what is said of it, and whether that is so.

    Arguments:
        name: The loss, and its error where it has one.
        form: Its form.
        loss: The callable, with arguments by position.
        documented: What is said.
        right: Whether it is so.
    """

    name: str
    form: Form
    loss: Callable[..., Any]
    documented: str
    right: bool


@final
@dataclass(frozen=True)
class Tally:
    """How the audit did: which planted errors it missed, and which right losses it refused."""

    planted: int
    right: int
    missed: tuple[str, ...]
    refused: tuple[str, ...]

    @property
    def sensitivity(self) -> float:
        """Share of the planted errors that are found."""
        return 1.0 - len(self.missed) / max(1, self.planted)

    @property
    def specificity(self) -> float:
        """Share of the right losses that are called so."""
        return 1.0 - len(self.refused) / max(1, self.right)


def tally(losses: Sequence[Planted]) -> Tally:
    """Audit each: an error is found if the verdict is not what is documented, or if there is none."""
    missed, refused = [], []
    for each in losses:
        try:
            row = audit_loss(each.loss, form=each.form, documented=each.documented, name=each.name)
            agrees, said = row.agrees, row.verdict
        except ValueError as error:
            agrees, said = False, str(error)
        if each.right and agrees is not True:
            refused.append(f"{each.name}: {said}")
        if not each.right and agrees is not False:
            missed.append(f"{each.name}: {said}")
    right = sum(each.right for each in losses)
    return Tally(len(losses) - right, right, tuple(missed), tuple(refused))


def drawn(seed: int, each: int = 2) -> list[Planted]:
    """Losses of every recipe, ``each`` times, with parameters and reductions from a seed.

    Example:
        >>> made = drawn(0, each=1)
        >>> len([x for x in made if x.right]) >= 15, len([x for x in made if not x.right]) >= 30
        (True, True)
    """
    rng = np.random.default_rng(seed)
    return [made for _ in range(each) for recipe in _RECIPES for made in recipe(rng)]


def _pick(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    return options[int(rng.integers(len(options)))]


def _number(rng: np.random.Generator, low: float, high: float) -> float:
    """Three digits, log-uniform."""
    return float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.3g}")


def _reduce(how: str) -> Callable[[Any], Any]:
    """Of terms (B, T): the reductions of distillation."""
    if how == "sum":
        return lambda x: x.sum()
    return (lambda x: x.mean()) if how == "mean" else lambda x: x.sum() / x.shape[0]


def _kl(a: Any, b: Any) -> Any:
    """KL(a||b) of log-probabilities, over the last axis."""
    import torch.nn.functional as F

    return F.kl_div(b, a, log_target=True, reduction="none").sum(-1)


def _distillation(rng: np.random.Generator) -> Iterator[Planted]:
    """Divergences of two laws, at temperature 1, in some precision."""
    import torch

    kind, how = _pick(rng, ("forward_kl", "reverse_kl", "jsd")), _pick(rng, ("sum", "mean", "batch_mean"))
    low = _pick(rng, (torch.float64, torch.float32, torch.bfloat16))
    reduce = _reduce(how)

    def laws(z: Any, t: Any) -> tuple[Any, Any]:
        return z.to(low).double().log_softmax(-1), t.to(low).double().log_softmax(-1)

    def of(kind: str, a: Any, b: Any) -> Any:
        if kind == "forward_kl":
            return _kl(b, a)
        if kind == "reverse_kl":
            return _kl(a, b)
        m = torch.logaddexp(a, b) - np.log(2.0)
        return 0.5 * _kl(a, m) + 0.5 * _kl(b, m)

    def loss(error: str) -> Callable[..., Any]:
        def call(z: Any, t: Any) -> Any:
            a, b = laws(z, t)
            if error == "swapped arguments":
                other = {"forward_kl": "reverse_kl", "reverse_kl": "forward_kl", "jsd": "forward_kl"}[kind]
                return reduce(of(other, a, b))
            if error == "a stop-gradient":
                return reduce(of(kind, 0.5 * a + 0.5 * a.detach(), b) if kind == "forward_kl" else
                              (a.exp().detach() * (a - b)).sum(-1))  # fmt: skip
            if error == "logits not normalised":
                return reduce(of(kind, z.to(low).double(), b))
            if error == "a mean over the vocabulary":
                return reduce(of(kind, a, b)) / z.shape[-1]
            return factor * reduce(of(kind, a, b)) if error == "a factor" else reduce(of(kind, a, b))

        return call

    factor = _pick(rng, (0.5, 2.0, -1.0, _number(rng, 0.1, 10.0)))
    label = f"{kind}, {how}, {str(low)[6:]}"
    yield Planted(label, "logits", loss(""), f"{kind}/{how}", True)
    for error in (
        "swapped arguments",
        "a stop-gradient",
        "logits not normalised",
        "a mean over the vocabulary",
        "a factor",
    ):
        yield Planted(f"{label}: {error}", "logits", loss(error), kind, False)
    other = _pick(rng, [x for x in ("sum", "mean", "batch_mean") if x != how])
    yield Planted(f"{label}: sum and mean mixed up", "logits", loss(""), f"{kind}/{other}", False)


def _tempered(rng: np.random.Generator) -> Iterator[Planted]:
    """Hinton's loss."""
    temperature, power = _number(rng, 1.2, 8.0), _pick(rng, (0, 1, 3, -2))

    def loss(student: float, teacher: float, factor: float) -> Callable[..., Any]:
        return lambda z, t: factor * _kl((t / teacher).log_softmax(-1), (z / student).log_softmax(-1)).sum()

    said, label = f"hinton(temperature={temperature})", f"Hinton's loss at {temperature}"
    square = temperature**2
    yield Planted(label, "logits", loss(temperature, temperature, square), said, True)
    yield Planted(f"{label} without its factor", "logits", loss(temperature, temperature, 1.0),
                  f"forward_kl(temperature={temperature})", True)  # fmt: skip
    yield Planted(
        f"{label}: power {power}", "logits", loss(temperature, temperature, temperature**power), said, False
    )
    yield Planted(f"{label}: the teacher's forgotten", "logits", loss(temperature, 1.0, square), said, False)
    yield Planted(f"{label}: the student's forgotten", "logits", loss(1.0, temperature, square), said, False)
    yield Planted(f"{label}: inverted", "logits", loss(1 / temperature, 1 / temperature, square), said, False)


def _mixture(rng: np.random.Generator) -> Iterator[Planted]:
    """The generalised Jensen-Shannon divergence, and its two weights."""
    beta = float(f"{rng.uniform(0.05, 0.45):.2g}")

    def loss(share: float, weight: float) -> Callable[..., Any]:
        def call(z: Any, t: Any) -> Any:
            p, q = z.softmax(-1), t.softmax(-1)
            m = (share * q + (1.0 - share) * p).log()
            return (weight * _kl(q.log(), m) + (1.0 - weight) * _kl(p.log(), m)).sum()

        return call

    said, label = f"gjsd({beta})", f"gJSD({beta})"
    yield Planted(label, "logits", loss(beta, beta), said, True)
    yield Planted(f"{label}: weights swapped", "logits", loss(beta, 1.0 - beta), said, False)
    yield Planted(f"{label}: beta swapped", "logits", loss(1.0 - beta, 1.0 - beta), said, False)
    yield Planted(f"{label}: equal weights", "logits", loss(beta, 0.5), said, False)


def _top(rng: np.random.Generator) -> Iterator[Planted]:
    """Top-k, with its tail or without."""
    import torch

    k, of = int(rng.integers(2, 4)), _pick(rng, ("teacher", "student"))
    kind = _pick(rng, ("reverse_kl", "forward_kl"))

    def loss(rest: str, of: str, k: int) -> Callable[..., Any]:
        def call(z: Any, t: Any) -> Any:
            a, b = z.log_softmax(-1), t.log_softmax(-1)
            index = (b if of == "teacher" else a).topk(k).indices
            a, b = a.gather(-1, index), b.gather(-1, index)
            if rest == "tail":
                a, b = (torch.cat([x, torch.log1p(-x.exp().sum(-1, keepdim=True))], -1) for x in (a, b))
            elif rest == "renormalised":
                a, b = (x - x.logsumexp(-1, keepdim=True) for x in (a, b))
            return (_kl(a, b) if kind == "reverse_kl" else _kl(b, a)).sum()

        return call

    said, label = f"{kind}(top={k}, of={of}, rest=tail)", f"top {k} of the {of}, {kind}"
    yield Planted(label, "logits", loss("tail", of, k), said, True)
    yield Planted(
        f"{label}, renormalised",
        "logits",
        loss("renormalised", of, k),
        said.replace("tail", "renormalised"),
        True,
    )
    yield Planted(f"{label}: the tail dropped", "logits", loss("", of, k), said, False)
    yield Planted(f"{label}: renormalised for a tail", "logits", loss("renormalised", of, k), said, False)
    yield Planted(f"{label}: one token more", "logits", loss("tail", of, k + 1), said, False)
    other = "student" if of == "teacher" else "teacher"
    yield Planted(f"{label}: of the {other}", "logits", loss("tail", other, k), said, False)


def _estimators(rng: np.random.Generator) -> Iterator[Planted]:
    """Losses of one sampled token."""
    c = _number(rng, 0.1, 5.0)
    yield Planted("k2", "logp", lambda a, b: 0.5 * (a - b) ** 2, "reverse_kl", True)
    yield Planted("k1 in the reward", "logp", lambda a, b: (a - b).detach() * a, "reverse_kl", True)
    yield Planted("k3", "logp", lambda a, b: (b - a).exp() - 1 - (b - a), "forward_kl", True)
    yield Planted("k1 in the loss", "logp", lambda a, b: a - b, "reverse_kl", False)
    yield Planted("k3 for reverse KL", "logp", lambda a, b: (b - a).exp() - 1 - (b - a), "reverse_kl", False)
    yield Planted(
        "k3 with its arguments swapped", "logp", lambda a, b: (a - b).exp() - 1 - (a - b), "forward_kl", False
    )
    yield Planted(f"k2 times {c}", "logp", lambda a, b: c * (a - b) ** 2, "reverse_kl", c == 0.5)
    yield Planted("the reward's sign", "logp", lambda a, b: (b - a).detach() * a, "reverse_kl", False)
    yield Planted(
        "k3 in the reward",
        "logp",
        lambda a, b: ((b - a).exp() - 1 - (b - a)).detach() * a,
        "forward_kl",
        False,
    )


def _pairs(rng: np.random.Generator) -> Iterator[Planted]:
    """DPO, IPO, KTO and the hinge, on whole answers with a reference."""
    import torch
    import torch.nn.functional as F

    beta = _number(rng, 0.02, 2.0)
    rules: dict[str, Callable[[Any, Any, float], Any]] = {
        "dpo": lambda u, v, b: -F.logsigmoid(b * (u - v)),
        "ipo": lambda u, v, b: (u - v - 1.0 / (2.0 * b)) ** 2,
        "hinge": lambda u, v, b: F.relu(1.0 - b * (u - v)),
        "sppo": lambda u, v, b: (u - 0.5 / b) ** 2 + (v + 0.5 / b) ** 2,
        "apo_zero": lambda u, v, b: torch.sigmoid(-b * u) + torch.sigmoid(b * v),
    }
    name = _pick(rng, list(rules))
    rule, how = rules[name], _pick(rng, ("mean", "sum"))
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


def _answers(rng: np.random.Generator) -> Iterator[Planted]:
    """SimPO and ORPO, on tokens with masks."""
    import torch
    import torch.nn.functional as F

    beta, gamma, weight = _number(rng, 0.5, 5.0), _number(rng, 0.1, 2.0), _number(rng, 0.05, 2.0)

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


def _policies(rng: np.random.Generator) -> Iterator[Planted]:
    """GRPO and PPO."""
    import torch

    clip, beta = _pick(rng, (0.1, 0.2, 0.3)), _number(rng, 0.005, 1.0)
    how = _pick(rng, ("mean", "sequence_mean", "batch_mean"))
    kl = _pick(rng, ("k2", "k3"))

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
    other = _pick(rng, [x for x in ("mean", "sequence_mean", "batch_mean") if x != how])
    yield Planted(f"{label}: {other} for {how}", "policy", loss(""), f"{said}/{other}", False)
    low = _pick(rng, [x for x in (0.1, 0.2, 0.3) if x != clip])
    yield Planted(f"{label}: another epsilon", "policy", loss(""), f"ppo(epsilon={low})+{kl}({beta})", False)


def _supervised(rng: np.random.Generator) -> Iterator[Planted]:
    """Cross-entropy of labels."""
    import torch.nn.functional as F

    smoothing, how = float(f"{rng.uniform(0.02, 0.3):.2g}"), _pick(rng, ("mean", "sum"))

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


_RECIPES: tuple[Callable[[np.random.Generator], Iterator[Planted]], ...] = (
    _distillation,
    _tempered,
    _mixture,
    _top,
    _estimators,
    _pairs,
    _answers,
    _policies,
    _supervised,
)
