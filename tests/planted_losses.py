"""Written losses for the audit of the audit: right ones, and ones with one error each, named by what it is.

They are as repositories have them, by the names that their parameters have there, so that the form is read from these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

torch: Any = pytest.importorskip("torch")
F = torch.nn.functional

# What a loss is, or what is wrong with it; the loss; what is said of it.
Written: TypeAlias = tuple[str, Callable[..., Any], str]


def kl(p: Any, q: Any) -> Any:
    """KL(p||q) of log-probabilities, summed."""
    return (p.exp() * (p - q)).sum()


def distilled(teacher: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """A loss of the two laws."""
    return lambda student_logits, teacher_logits: teacher(
        student_logits.log_softmax(-1), teacher_logits.log_softmax(-1)
    )


def hinton(student: float, teacher: float, power: float) -> Callable[..., Any]:
    return lambda student_logits, teacher_logits: (
        power
        * F.kl_div(
            (student_logits / student).log_softmax(-1),
            (teacher_logits / teacher).softmax(-1),
            reduction="sum",
        )
    )


def generalised(share: float, weight: float) -> Callable[..., Any]:
    def loss(student_logits: Any, teacher_logits: Any) -> Any:
        p, q = student_logits.log_softmax(-1), teacher_logits.log_softmax(-1)
        m = torch.log(share * q.exp() + (1.0 - share) * p.exp())
        return weight * kl(q, m) + (1.0 - weight) * kl(p, m)

    return loss


def sampled(score: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda logp, ref_logp: score(logp, ref_logp)


def compared(score: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """A loss of the log-ratios of both answers to a reference."""

    def loss(
        policy_chosen_logps: Any,
        policy_rejected_logps: Any,
        reference_chosen_logps: Any,
        reference_rejected_logps: Any,
    ) -> Any:
        won = policy_chosen_logps - reference_chosen_logps
        return score(won, policy_rejected_logps - reference_rejected_logps).mean()

    return loss


def free(score: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda chosen_logps, rejected_logps: score(chosen_logps, rejected_logps).sum()


def odds(x: Any) -> Any:
    return x - torch.log1p(-torch.exp(x))


def masked(
    average: Callable[[Any, Any], Any], beta: float = 2.0, gamma: float = 0.5, factor: float = 1.0
) -> Callable[..., Any]:
    """SimPO, of tokens."""

    def loss(chosen_logps: Any, rejected_logps: Any, chosen_mask: Any, rejected_mask: Any) -> Any:
        margin = average(chosen_logps, chosen_mask) - average(rejected_logps, rejected_mask)
        return factor * -F.logsigmoid(beta * margin - gamma).mean()

    return loss


def mean(x: Any, mask: Any) -> Any:
    return (x * mask).sum(-1) / mask.sum(-1)


def improved(
    surrogate: Callable[[Any, Any, Any], Any],
    penalty: Callable[[Any, Any], Any] = lambda logp, ref: 0.0 * logp,
    total: Callable[[Any, Any], Any] = lambda x, m: (x * m).sum() / m.sum(),
) -> Callable[..., Any]:
    """A loss of log-probabilities, ratio and advantage, and a penalty on the distance to a reference."""

    def loss(log_prob: Any, old_log_prob: Any, advantages: Any, ref_log_prob: Any, response_mask: Any) -> Any:
        ratio, a = torch.exp(log_prob - old_log_prob), advantages.unsqueeze(-1)
        return total(surrogate(log_prob, ratio, a) + penalty(log_prob, ref_log_prob), response_mask)

    return loss


def clipped(low: float, high: float) -> Callable[[Any, Any, Any], Any]:
    return lambda logp, ratio, a: torch.max(-a * ratio, -a * torch.clamp(ratio, 1.0 - low, 1.0 + high))


def k3(logp: Any, ref: Any) -> Any:
    return torch.exp(ref - logp) - (ref - logp) - 1.0


def labelled(score: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """A loss of logits (N, V) and labels (N), shifted by one."""
    return lambda logits, labels: score(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def own(score: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """A loss of the labels' log-probabilities and the mask, shifted by one."""

    def loss(logits: Any, labels: Any) -> Any:
        kept = (labels[:, 1:] != -100).to(logits.dtype)
        law = logits[:, :-1].log_softmax(-1)
        return score(law.gather(-1, labels[:, 1:].clamp(min=0)[..., None])[..., 0], kept)

    return loss


RIGHT: tuple[Written, ...] = (
    ("forward KL by kl_div", distilled(lambda p, q: F.kl_div(p, q, log_target=True, reduction="sum")),
     "forward_kl"),
    ("forward KL as a cross-entropy", distilled(lambda p, q: -(q.exp() * p).sum()), "forward_kl"),
    ("reverse KL", distilled(kl), "reverse_kl"),
    ("Jeffreys' divergence", distilled(lambda p, q: kl(p, q) + kl(q, p)), "jeffreys"),
    ("Jensen-Shannon", generalised(0.5, 0.5), "jsd"),
    ("generalised Jensen-Shannon", generalised(0.3, 0.3), "gjsd(0.3)"),
    ("skewed KL", distilled(lambda p, q: kl(q, torch.log(0.1 * q.exp() + 0.9 * p.exp()))), "skew_kl(lam=0.1)"),
    ("total variation", distilled(lambda p, q: 0.5 * (p.exp() - q.exp()).abs().sum()), "tv"),
    ("Hinton's loss", hinton(2.5, 2.5, 6.25), "hinton(temperature=2.5)"),
    ("k1 in the reward", sampled(lambda p, q: (p - q).detach() * p), "reverse_kl"),
    ("k2 in the loss", sampled(lambda p, q: 0.5 * (p - q) ** 2), "reverse_kl"),
    ("k3 in the loss", sampled(k3), "forward_kl"),
    ("DPO", compared(lambda w, l: -F.logsigmoid(0.1 * (w - l))), "dpo(0.1)/mean"),
    ("conservative DPO", compared(lambda w, l: 0.9 * F.softplus(0.2 * (l - w)) + 0.1 * F.softplus(0.2 * (w - l))),
     "cdpo(beta=0.2, smoothing=0.1)/mean"),
    ("IPO", compared(lambda w, l: (w - l - 1.0 / (2.0 * 0.4)) ** 2), "ipo(0.4)/mean"),
    ("the hinge", compared(lambda w, l: torch.relu(1.0 - 0.3 * (w - l))), "hinge(0.3)/mean"),
    ("BCO", compared(lambda w, l: -F.logsigmoid(0.5 * w) - F.logsigmoid(-0.5 * l)), "bco(0.5)/mean"),
    ("NCA", compared(lambda w, l: -F.logsigmoid(0.2 * w) - 0.5 * (F.logsigmoid(-0.2 * w) + F.logsigmoid(-0.2 * l))),
     "nca(0.2)/mean"),
    ("CPO with its likelihood", free(lambda w, l: -F.logsigmoid(0.3 * (w - l)) - 0.7 * w),
     "cpo(beta=0.3, weight=0.7)"),
    ("SLiC", free(lambda w, l: torch.clamp(1.5 - w + l, min=0.0)), "slic(1.5)"),
    ("ORPO", free(lambda w, l: -w - 0.25 * F.logsigmoid(odds(w) - odds(l))), "orpo(0.25)"),
    ("SimPO", masked(mean), "simpo(beta=2, gamma=0.5)/mean"),
    ("the policy gradient", improved(lambda logp, r, a: -a * logp), "reinforce/mean"),
    ("PPO", improved(clipped(0.2, 0.2)), "ppo(epsilon=0.2)/mean"),
    ("DAPO's ends", improved(clipped(0.2, 0.28)), "ppo(low=0.2, high=0.28)/mean"),
    ("CISPO", improved(lambda logp, r, a: -r.clamp(max=1.28).detach() * a * logp), "cispo(high=1.28)/mean"),
    ("GRPO", improved(clipped(0.2, 0.2), lambda p, q: 0.04 * k3(p, q), lambda x, m: mean(x, m).mean()),
     "ppo(epsilon=0.2)+k3(0.04)/sequence_mean"),
    ("SFT", labelled(F.cross_entropy), "shifted_sft/mean"),
    ("SFT, smoothed", labelled(lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1)),
     "shifted_sft(smoothing=0.1)/mean"),
    ("SFT by hand", own(lambda logp, kept: -(logp * kept).sum() / kept.sum()), "shifted_sft/mean"),
    ("the focal loss", own(lambda logp, kept: -((1.0 - logp.exp()) ** 2.0 * logp * kept).sum()),
     "shifted_focal(2)/sum"),
    ("DFT", own(lambda logp, kept: -(logp.exp().detach() * logp * kept).sum()), "shifted_dft/sum"),
)  # fmt: skip

PLANTED: tuple[Written, ...] = (
    ("arguments of KL swapped", distilled(kl), "forward_kl"),
    ("a target that is no logarithm", lambda student_logits, teacher_logits: F.kl_div(
        student_logits.log_softmax(-1), teacher_logits.softmax(-1), log_target=True, reduction="sum"), "forward_kl"),
    ("the input is no logarithm", lambda student_logits, teacher_logits: F.kl_div(
        student_logits.softmax(-1), teacher_logits.softmax(-1), reduction="sum"), "forward_kl"),
    ("half a gradient: p is detached", distilled(lambda p, q: (p.exp().detach() * (p - q)).sum()), "reverse_kl"),
    ("the other half: log p is detached", distilled(lambda p, q: (p.exp() * (p.detach() - q)).sum()), "forward_kl"),
    ("the weights of gJSD swapped", generalised(0.3, 0.7), "gjsd(0.3)"),
    ("the mixture of gJSD swapped", generalised(0.7, 0.3), "gjsd(0.3)"),
    ("logits averaged for a mixture", lambda student_logits, teacher_logits: kl(
        teacher_logits.log_softmax(-1), (0.1 * teacher_logits + 0.9 * student_logits).log_softmax(-1)),
     "skew_kl(lam=0.1)"),
    ("T for T squared", hinton(2.5, 2.5, 2.5), "hinton(temperature=2.5)"),
    ("no power of T", hinton(2.5, 2.5, 1.0), "hinton(temperature=2.5)"),
    ("the student at temperature 1", hinton(1.0, 2.5, 6.25), "hinton(temperature=2.5)"),
    ("half of the L1 distance forgotten", distilled(lambda p, q: (p.exp() - q.exp()).abs().sum()), "tv"),
    ("k1 in the loss", sampled(lambda p, q: p - q), "reverse_kl"),
    ("k3 for reverse KL", sampled(k3), "reverse_kl"),
    ("k2 without its half", sampled(lambda p, q: (p - q) ** 2), "reverse_kl"),
    ("the reward is differentiated", sampled(lambda p, q: (p - q) * p), "reverse_kl"),
    ("DPO's sign", compared(lambda w, l: -F.logsigmoid(0.1 * (l - w))), "dpo(0.1)"),
    ("sigmoid for log sigmoid", compared(lambda w, l: -torch.sigmoid(0.1 * (w - l))), "dpo(0.1)"),
    ("another beta", compared(lambda w, l: -F.logsigmoid(0.5 * (w - l))), "dpo(0.1)"),
    ("the reference added", lambda chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps: -F.logsigmoid(
        0.1 * (chosen_logps - rejected_logps + ref_chosen_logps - ref_rejected_logps)).mean(), "dpo(0.1)"),
    ("no reference", lambda chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps: -F.logsigmoid(
        0.1 * (chosen_logps - rejected_logps)).mean(), "dpo(0.1)"),
    ("smoothing of the wrong label", compared(
        lambda w, l: 0.1 * F.softplus(0.2 * (l - w)) + 0.9 * F.softplus(0.2 * (w - l))),
     "cdpo(beta=0.2, smoothing=0.1)"),
    ("IPO's target without its half", compared(lambda w, l: (w - l - 1.0 / 0.4) ** 2), "ipo(0.4)"),
    ("IPO with beta on the margin", compared(lambda w, l: (0.4 * (w - l) - 0.5) ** 2), "ipo(0.4)"),
    ("the hinge squared", compared(lambda w, l: torch.relu(1.0 - 0.3 * (w - l)) ** 2), "hinge(0.3)"),
    ("the odds of ORPO are ratios of probabilities", free(lambda w, l: -w - 0.25 * F.logsigmoid(w - l)), "orpo(0.25)"),
    ("SimPO's margin added", masked(mean, gamma=-0.5), "simpo(beta=2, gamma=0.5)"),
    ("SimPO of sums", masked(lambda x, m: (x * m).sum(-1)), "simpo(beta=2, gamma=0.5)"),
    ("SimPO without masks", masked(lambda x, m: x.mean(-1)), "simpo(beta=2, gamma=0.5)"),
    ("the advantage's sign", improved(lambda logp, r, a: a * logp), "reinforce"),
    ("the minimum of two losses", improved(
        lambda logp, r, a: torch.min(-a * r, -a * torch.clamp(r, 0.8, 1.2))), "ppo(epsilon=0.2)"),
    ("the advantage is clipped too", improved(
        lambda logp, r, a: torch.max(-a * r, -torch.clamp(a * r, 0.8, 1.2))), "ppo(epsilon=0.2)"),
    ("DAPO's ends swapped", improved(clipped(0.28, 0.2)), "ppo(low=0.2, high=0.28)"),
    ("CISPO's weight is differentiated", improved(lambda logp, r, a: -r.clamp(max=1.28) * a * logp),
     "cispo(high=1.28)"),
    ("k3 of swapped arguments", improved(clipped(0.2, 0.2), lambda p, q: 0.04 * k3(q, p)), "ppo(epsilon=0.2)+k3(0.04)"),
    ("KL is rewarded", improved(clipped(0.2, 0.2), lambda p, q: -0.04 * k3(p, q)), "ppo(epsilon=0.2)+k3(0.04)"),
    ("a mean over padding", improved(clipped(0.2, 0.2), total=lambda x, m: (x * m).mean()), "ppo(epsilon=0.2)/mean"),
    ("not shifted", lambda logits, labels: F.cross_entropy(logits.flatten(0, 1), labels.flatten()), "shifted_sft"),
    ("shifted the other way", lambda logits, labels: F.cross_entropy(
        logits[:, 1:].flatten(0, 1), labels[:, :-1].flatten()), "shifted_sft"),
    ("padding is learned", labelled(lambda x, y: F.cross_entropy(x, y.clamp(min=0))), "shifted_sft"),
    ("softmax twice", labelled(lambda x, y: F.cross_entropy(x.softmax(-1), y)), "shifted_sft"),
    ("smoothing is forgotten", labelled(F.cross_entropy), "shifted_sft(smoothing=0.1)"),
    ("the focal power on p", own(lambda logp, kept: -(logp.exp() ** 2.0 * logp * kept).sum()), "shifted_focal(2)"),
    ("DFT's weight is differentiated", own(lambda logp, kept: -(logp.exp() * logp * kept).sum()), "shifted_dft"),
)  # fmt: skip
