"""The objectives of the audit of losses: autograd of their exact sums beside closed forms, and enumerations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from driftproof.theory.divergences import get
from driftproof.theory.opd import logit_gradient
from driftproof.validation.audits.fitting import direction
from driftproof.validation.audits.objectives import catalogue, families, meant
from driftproof.validation.audits.points import Point, confirming, first

torch = pytest.importorskip("torch")

PAIR = ("ref_chosen", "ref_rejected")
ROLLOUT = ("logp", "old", "advantages", "ref", "mask")


def laws(point: Point) -> tuple[Any, Any]:
    return tuple(point.inputs[role].log_softmax(-1).numpy() for role in ("student", "teacher"))


def log_softmax(x: Any) -> Any:
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def gradient(name: str, form: Any, point: Point, roles: tuple[str, ...] = ()) -> Any:
    """By autograd, in the shape of the leaves end to end."""
    (objective,), _, _ = meant(name, form, roles)
    return direction(objective, [point])[0]


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jsd"])
@pytest.mark.parametrize("temperature", [0.5, 2.0, 7.3])
def test_a_temperature_scales_the_gradient_of_the_tempered_laws(name: str, temperature: float) -> None:
    for point in confirming("logits", ()):
        cooled = [log_softmax(point.inputs[role].numpy() / temperature) for role in ("student", "teacher")]
        want = np.asarray(logit_gradient(*cooled, get(name))).ravel() / temperature
        np.testing.assert_allclose(
            gradient(f"{name}(temperature={temperature})", "logits", point), want, atol=1e-15
        )
        if name == "forward_kl":
            hinton = gradient(f"hinton(temperature={temperature})", "logits", point)
            np.testing.assert_allclose(hinton, temperature**2 * want, atol=1e-13)


def test_the_exact_gradients_are_the_closed_forms_of_the_theory() -> None:
    for point in confirming("logits", ()):
        for name in (
            "reverse_kl",
            "forward_kl",
            "jsd",
            "tv",
            "pearson",
            "neyman",
            "hellinger",
            "le_cam",
            "gjsd(0.1)",
        ):
            want = np.asarray(logit_gradient(*laws(point), get(name))).ravel()
            np.testing.assert_allclose(gradient(name, "logits", point), want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("of", ["teacher", "student"])
def test_top_k_has_the_gradient_of_its_coarser_laws(of: str) -> None:
    r"""With a tail, of cells c: :math:`p_a (\delta_{c(a)} - E\delta)` and :math:`p_a (1 - Q_c / P_c)`."""
    for point in [*first("logits", ()), confirming("logits", ())[1]]:
        (logp,), (logq,) = (law.reshape(1, -1) for law in laws(point))
        p, q = np.exp(logp), np.exp(logq)
        kept = np.argsort(-(q if of == "teacher" else p))[:2]
        inside = np.isin(np.arange(p.size), kept)
        big_p, big_q = np.where(inside, p, p[~inside].sum()), np.where(inside, q, q[~inside].sum())
        delta = np.log(big_p / big_q)
        reverse = p * (delta - (p * delta).sum())
        np.testing.assert_allclose(
            gradient(f"reverse_kl(top=2,of={of},rest=tail)", "logits", point), reverse, atol=1e-14
        )
        forward = p * (1.0 - big_q / big_p)
        np.testing.assert_allclose(
            gradient(f"forward_kl(top=2,of={of},rest=tail)", "logits", point), forward, atol=1e-14
        )
        alone_p, alone_q = (np.where(inside, x, 0.0) / x[inside].sum() for x in (p, q))
        ratio = np.log(np.where(inside, alone_p / np.where(inside, alone_q, 1.0), 1.0))
        want = alone_p * (ratio - (alone_p * ratio).sum())
        name = f"reverse_kl(top=2,of={of},rest=renormalised)"
        np.testing.assert_allclose(gradient(name, "logits", point), want, atol=1e-14)
        # The truncated sum is no divergence: sum over K of p (log p/q), whose gradient has the missing + 1.
        kept_delta = np.where(inside, np.log(p / q), 0.0)
        want = p * (np.where(inside, kept_delta + 1.0, 0.0) - (p * (kept_delta + inside)).sum())
        name = f"reverse_kl(top=2,of={of},rest=truncated)"
        np.testing.assert_allclose(gradient(name, "logits", point), want, atol=1e-14)


def test_a_truncated_sum_falls_when_mass_leaves_it() -> None:
    """What a top-k without its tail rewards: 0 is not its least value."""
    (truncated,), _, _ = meant("reverse_kl(top=2, of=teacher, rest=truncated)", "logits")
    teacher = torch.tensor([0.5, 0.4, 0.1], dtype=torch.float64).log()[None, None]
    away = torch.tensor([0.01, 0.01, 0.98], dtype=torch.float64).log()[None, None]
    assert float(truncated.value({"student": teacher, "teacher": teacher})) == 0.0
    assert float(truncated.value({"student": away, "teacher": teacher})) < -0.07


def sigma(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def test_preferences_have_their_closed_forms() -> None:
    roles = ("chosen", "rejected", *PAIR)
    for point in [*first("preference", roles)[:1], *confirming("preference", roles)]:
        w, l, rw, rl = (point.inputs[role].numpy() for role in ("chosen", "rejected", *PAIR))
        u, v = w - rw, l - rl
        h, b = u - v, 0.7
        s, zero = sigma(-b * h), np.zeros_like(h)
        odds = sigma(-(w - l - np.log(-np.expm1(w)) + np.log(-np.expm1(l))))
        cases: dict[str, tuple[Any, Any]] = {
            "dpo(0.7)": (-b * s, b * s),
            "cdpo(0.7, 0.1)": (b * (0.1 - s), -b * (0.1 - s)),
            "robust_dpo(0.7, 0.1)": (-b * (0.9 * s + 0.1 * sigma(b * h)) / 0.8,) * 2,
            "ipo(0.7)": (2 * (h - 0.5 / 0.7), -2 * (h - 0.5 / 0.7)),
            "hinge(0.7)": (-b * (b * h < 1), b * (b * h < 1)),
            "sppo(0.7)": (2 * (u - 0.5 / b), 2 * (v + 0.5 / b)),
            "bco(0.7)": (-b * sigma(-b * u), b * sigma(b * v)),
            "nca(0.7)": (-b * sigma(-b * u) + 0.5 * b * sigma(b * u), 0.5 * b * sigma(b * v)),
            "apo_zero(0.7)": (-b * sigma(b * u) * sigma(-b * u), b * sigma(b * v) * sigma(-b * v)),
            "apo_down(0.7)": (
                b * sigma(b * u) * sigma(-b * u) - b * s * sigma(b * h),
                b * s * sigma(b * h),
            ),
            "kto(0.7)": (-b * sigma(b * u) * sigma(-b * u), b * sigma(b * v) * sigma(-b * v)),
            "dpo_forward_kl(0.7)": (
                -b * sigma(-b * (np.exp(-v) - np.exp(-u))) * np.exp(-u),
                b * sigma(-b * (np.exp(-v) - np.exp(-u))) * np.exp(-v),
            ),
            "simpo(2.5, 0.5)": (
                -2.5 * sigma(0.5 - 2.5 * (w - l)),
                2.5 * sigma(0.5 - 2.5 * (w - l)),
            ),
            "odds_ratio": (odds / np.expm1(w), -odds / np.expm1(l)),
            "orpo(0.7)": (-1.0 + b * odds / np.expm1(w), -b * odds / np.expm1(l)),
            "slic(1.3, 0.7)": (-1.0 * (w - l < 1.3) - b, 1.0 * (w - l < 1.3)),
            "likelihood": (zero - 1.0, zero),
        }
        # Robust DPO weighs the two labels, (1 - e) against -e, so both slopes add.
        slope = -b * (0.9 * s + 0.1 * sigma(b * h)) / 0.8
        cases["robust_dpo(0.7, 0.1)"] = (slope, -slope)
        for name, (on_chosen, on_rejected) in cases.items():
            found = gradient(name, "preference", point, roles)
            want = np.concatenate([on_chosen, on_rejected])
            np.testing.assert_allclose(found, want, rtol=1e-9, atol=1e-13, err_msg=name)


def test_surrogates_have_their_closed_forms() -> None:
    for point in [*first("policy", ROLLOUT), *confirming("policy", ROLLOUT)]:
        logp, old, ref, mask = (point.inputs[role].numpy() for role in ("logp", "old", "ref", "mask"))
        a = point.inputs["advantages"].numpy()[:, None] * np.ones_like(logp)
        r, delta = np.exp(logp - old), ref - logp
        open_side = np.where(a > 0, r < 1.2, r > 0.8)
        cases = {
            "reinforce": -a,
            "importance": -r * a,
            "ppo(epsilon=0.2)": -r * a * open_side,
            "ppo(epsilon=0.2)+k1(0.5)": -r * a * open_side + 0.5,
            "ppo(epsilon=0.2)+k2(0.5)": -r * a * open_side - 0.5 * delta,
            "ppo(epsilon=0.2)+k3(0.5)": -r * a * open_side + 0.5 * (1.0 - np.exp(delta)),
            "ppo(epsilon=0.2)+k3_weighted(0.5)": -r * a * open_side - 0.5 * r * delta,
            "importance+k1_reward(0.5)": -r * (a + 0.5 * delta),
            "cispo(high=1.2)": -np.minimum(r, 1.2) * a,
        }
        for name, want in cases.items():
            np.testing.assert_allclose(
                gradient(name, "policy", point, ROLLOUT), (want * mask).ravel(), rtol=1e-11, atol=1e-13, err_msg=name
            )  # fmt: skip


@pytest.mark.parametrize(
    ("kl", "divergence"),
    [("k1_reward", "reverse_kl"), ("k2", "reverse_kl"), ("k3", "forward_kl"), ("k3_weighted", "reverse_kl")],
)
def test_on_policy_a_kl_term_descends_what_it_is_said_to(kl: str, divergence: str) -> None:
    """By enumeration of the vocabulary: a reward beside each term, tokens from the student."""
    student, teacher = (
        first("logits", ())[0].inputs["student"][0, 0],
        first("logits", ())[0].inputs["teacher"][0, 0],
    )
    reward = torch.tensor([0.3, -1.0, 0.7, 0.1, -0.4], dtype=torch.float64)
    z = student.clone().requires_grad_()
    logp = z.log_softmax(-1)
    p = logp.detach().exp()
    (objective,), _, _ = meant(f"importance+{kl}(0.6)", "policy", ROLLOUT)
    inputs = {
        "logp": logp[:, None],
        "old": logp.detach()[:, None],
        "ref": teacher.log_softmax(-1)[:, None],
        "advantages": reward - (p * reward).sum(),
    }
    terms, _ = objective.terms(inputs)
    (found,) = torch.autograd.grad((p * terms[:, 0]).sum(), z)
    policy = -p * (reward - (p * reward).sum())
    penalty = logit_gradient(p.log().numpy(), teacher.log_softmax(-1).numpy(), get(divergence))
    np.testing.assert_allclose(found.numpy(), policy.numpy() + 0.6 * np.asarray(penalty), atol=1e-14)


def test_labels_have_their_closed_forms() -> None:
    for point in confirming("tokens", ("labels",)):
        logits, labels = point.inputs["logits"].numpy(), point.inputs["labels"].numpy()
        p, size = np.exp(log_softmax(logits)), logits.shape[-1]
        target = np.eye(size)[np.maximum(labels, 0)]
        valid = (labels != -100)[..., None]
        py = (p * target).sum(-1, keepdims=True)
        cases = {
            "sft": p - target,
            "sft(smoothing=0.1)": p - 0.9 * target - 0.1 / size,
            "dft": py * (p - target),
            "likelihood": py * (p - target),
            "sft(temperature=2)": (np.exp(log_softmax(logits / 2)) - target) / 2,
            "z_loss(0.1)": p - target + 0.2 * np.log(np.exp(logits).sum(-1, keepdims=True)) * p,
        }
        for name, want in cases.items():
            found = gradient(name, "tokens", point, ("labels",))
            np.testing.assert_allclose(found, (want * valid).ravel(), rtol=1e-10, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("form", ["logits", "preference", "policy", "tokens"])
def test_every_family_differentiates_its_own_value(form: Any) -> None:
    """Differences of order four along one direction; what detaches something is not asked."""
    roles: tuple[str, ...] = {"preference": (*PAIR, "chosen_mask", "rejected_mask"), "policy": ROLLOUT}.get(
        form, ("labels",)
    )
    point = confirming(form, roles)[0]
    detaching = ("stop_gradient", "pathwise", "dft", "cispo", "k1_reward")
    objectives = [x for x in catalogue(form, roles) if not any(word in x.name for word in detaching)]
    for family in families(form, roles):
        if not any(word in family.name for word in detaching):
            objectives.append(family.at(**{key: free.starts[0] for key, free in family.free.items()}))
    names = list(point.leaves)
    sizes = [point.leaves[name].numel() for name in names]
    towards = np.cos(np.arange(1.0, sum(sizes) + 1.0) ** 2)
    parts = dict(zip(names, np.split(towards, np.cumsum(sizes)[:-1]), strict=True))

    def at(objective: Any, step: float) -> float:
        moved = {k: x + step * torch.tensor(parts[k]).reshape(x.shape) for k, x in point.leaves.items()}
        return float(objective.value({**moved, **point.rest}))

    for each in objectives[:: 1 if form != "policy" else 5]:
        h = 1e-4
        near, far = at(each, h) - at(each, -h), at(each, 2 * h) - at(each, -2 * h)
        slope = (8 * near - far) / (12 * h)
        found = direction(each, [point])[0]
        # Rounding of differences: 2^-52 of the value, over the step.
        allowed = (
            1e-7 * np.linalg.norm(found) * np.linalg.norm(towards) + 16 * 2.0**-52 * abs(at(each, 0.0)) / h
        )
        assert math.isclose(slope, found @ towards, abs_tol=allowed), each.name
