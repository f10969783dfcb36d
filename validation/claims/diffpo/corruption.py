r"""Absorbing and uniform corruption: Bayes' rule by enumeration, and the data back."""

from __future__ import annotations

import itertools
import math

import numpy as np

from driftproof.theory.diffpo import corruption_step_kl, reverse_corruption
from driftproof.validation import boundary, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from . import textbook as book

__all__ = ["Corruption"]

MASK, FLAT = np.asarray([0.0, 0.0, 0.0, 1.0]), np.full(3, 1.0 / 3.0)
DATA = np.asarray([0.6, 0.3, 0.1])
NOISES = rows(
    "name, noise", (("absorbing", MASK), ("uniform", FLAT), ("skewed", np.asarray([0.2, 0.7, 0.1])))
)


def _data(noise: book.Floats) -> book.Floats:
    return np.concatenate([DATA, np.zeros(len(noise) - 3)])


def _forward(survival: float, noise: book.Floats) -> book.Floats:
    """Rows: from; columns: to."""
    return np.asarray(survival * np.eye(len(noise)) + (1.0 - survival) * noise)


@claim(
    "DIFFPO-UNIFORM-1",
    "Uniform corruption beside absorbing, in one formula: Bayes' rule, exact steps of any size, and their price",
    r"""p(x_s \mid x_t) = \sum_{x_0} p(x_0 \mid x_t)\, \frac{q(x_t \mid x_s)\, q(x_s \mid x_0)}{q(x_t \mid x_0)}, \qquad
        \mathrm{masked}: \;\; \mathrm{KL} = \frac{\alpha_s - \alpha_t}{1 - \alpha_t}\,\big(-\log p(x_0 \mid x_t)\big)""",
    covers=[reverse_corruption, corruption_step_kl],
    hypotheses=[r"\alpha_t \leq \alpha_s"],
)
class Corruption:
    @exact(1e-14, over=grid(NOISES, s=(1.0, 0.7), t=(0.0, 0.4)))
    def the_joint_law_of_three_times(reverse_corruption, name, noise, s, t):
        """All triples (x_0, x_s, x_t), conditioned on the last."""
        law = _data(noise)[:, None, None] * _forward(s, noise)[:, :, None] * _forward(t / s, noise)[None]
        for now in range(len(noise)):
            if law[:, :, now].sum() > 0.0:
                clean = law[:, :, now].sum(axis=1) / law[:, :, now].sum()
                want = law[:, :, now].sum(axis=0) / law[:, :, now].sum()
                found = reverse_corruption(np.eye(len(noise))[now], clean, s, t, noise)
                yield f"at {now}", found, want

    @exact(1e-14, over=grid(NOISES, steps=(1, 2, 7)))
    def steps_of_any_size_give_the_data(reverse_corruption, name, noise, steps):
        law = noise
        for n in range(steps):
            t, s = n / steps, (n + 1) / steps
            joint = _data(noise)[:, None] * _forward(t, noise)
            after = np.zeros(len(noise))
            for now in np.flatnonzero(law > 0.0):
                clean = joint[:, now] / joint[:, now].sum()
                after = after + law[now] * reverse_corruption(np.eye(len(noise))[now], clean, s, t, noise)
            law = after
        return law, _data(noise)

    @exact(1e-13, over=grid(s=(0.9, 0.5), t=(0.0, 0.3)))
    def a_mask_costs_its_cross_entropy(corruption_step_kl, s, t):
        clean = np.asarray([0.5, 0.3, 0.2, 0.0])
        token = np.eye(4)[1]
        yield (
            "masked",
            corruption_step_kl(MASK, token, clean, s, t, MASK),
            (s - t) / (1.0 - t) * -math.log(0.3),
        )
        yield "revealed", corruption_step_kl(token, token, token, s, t, MASK), 0.0

    @exact(1e-13, over=grid(NOISES))
    def by_the_sum(corruption_step_kl, name, noise):
        s, t, clean, width = 0.8, 0.3, np.asarray([0.2, 0.5, 0.3]), len(noise)
        clean = np.concatenate([clean, np.zeros(width - 3)])
        for token, now in itertools.product(range(3), range(width)):
            routes = [_forward(t / s, noise)[:, now] * _forward(s, noise)[x] for x in range(width)]
            if not all(routes[x].sum() > 0.0 for x in range(3)):
                continue
            posterior = [r / r.sum() if r.sum() > 0.0 else r for r in routes]
            mixed = sum(c * p for c, p in zip(clean, posterior, strict=True))
            own = posterior[token]
            want = math.fsum(q * math.log(q / p) for q, p in zip(own, mixed, strict=True) if q > 0.0)
            found = corruption_step_kl(np.eye(width)[now], np.eye(width)[token], clean, s, t, noise)
            yield f"{token} at {now}", found, want

    @exact(0.0)
    def what_the_model_excludes_costs_everything(corruption_step_kl):
        token, clean = np.eye(4)[0], np.eye(4)[1]
        return np.isinf(corruption_step_kl(MASK, token, clean, 0.5, 0.0, MASK)), True

    @boundary(1e-2)
    def a_point_for_the_law_of_the_clean_token(reverse_corruption):
        """The likeliest clean token put in for its law, in three steps of uniform noise."""
        law = FLAT
        for n in range(3):
            t, s, after = n / 3.0, (n + 1) / 3.0, np.zeros(3)
            joint = DATA[:, None] * _forward(t, FLAT)
            for now in range(3):
                clean = np.eye(3)[int(np.argmax(joint[:, now]))]
                after = after + law[now] * reverse_corruption(np.eye(3)[now], clean, s, t, FLAT)
            law = after
        return law, DATA

    refuses = [
        (reverse_corruption, FLAT, FLAT, 0.3, 0.6, FLAT),
        (reverse_corruption, FLAT, MASK, 0.6, 0.3, FLAT),
        (reverse_corruption, FLAT, 2.0 * FLAT / 3.0, 0.6, 0.3, FLAT),
    ]

    mutants = {
        "survival of t for the ratio": wrong(
            reverse_corruption, survival_s=lambda survival_s: np.asarray(survival_s) ** 0.5
        ),
        "clean token kept": wrong(reverse_corruption, lambda clean, value: np.asarray(clean) + 0.0 * value),
        "not normalised by the evidence": wrong(reverse_corruption, lambda value: 0.9 * value),
        "arguments of KL swapped": wrong(
            corruption_step_kl, token=lambda clean: clean, clean=lambda token: token
        ),
        "whole cross-entropy": wrong(
            corruption_step_kl,
            lambda value, survival_s, survival_t: value * (1.0 - survival_t) / (survival_s - survival_t),
        ),
    }
