r"""Samplers that keep, or redraw, tokens because of what was drawn: their laws are not those of the model."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from driftproof.numerics.diffpo import low_confidence_rollout
from driftproof.theory.diffpo import (
    ConsistentDenoiser,
    EntropyBound,
    PolyaDenoiser,
    TabularDenoiser,
    discrete_ddim_law,
    low_confidence_law,
    output_law,
    renoising_law,
)
from driftproof.validation import boundary, claim, exact, grid
from driftproof.validation.mutants import wrong

from . import textbook as book
from .scripted import Scripted, product

__all__ = ["DiscreteDDIM", "LowConfidence", "Renoising"]

PAIR = np.asarray([[0.75, 0.25], [0.625, 0.375]])


@claim(
    "DIFFPO-REMASK-1",
    "Low-confidence remasking by the token that was drawn is biased: (1 - a)^2 for 1 - a",
    r"""p_1 = (a, 1-a), \; p_2 = (b, 1-b), \; a > b > \tfrac12: \qquad P(x_1 = 1) = (1 - a)^2, \quad P(x_2 = 1) = 1 - b""",
    covers=[low_confidence_law, low_confidence_rollout],
)
class LowConfidence:
    @exact(1e-14, over=grid(a=(0.7, 0.9), b=(0.55, 0.65)))
    def two_independent_tokens(low_confidence_law, a, b):
        law = low_confidence_law(ConsistentDenoiser(np.log(np.outer([a, 1.0 - a], [b, 1.0 - b]))))
        law = law.reshape(2, 2)
        yield "first", law.sum(axis=1)[1], (1.0 - a) ** 2
        yield "second", law.sum(axis=0)[1], 1.0 - b

    @exact(1e-14, over=grid(tokens=(1, 2, 3)))
    def every_draw_of_every_token(low_confidence_law, tokens):
        """Three tokens: all draws of the first evaluation, then of the second, then of the third."""
        table = book.logits(4, 3, 2)
        laws, want = book.table_laws(table), np.zeros(8)

        def go(z, mass):
            hidden = [i for i in range(3) if z[i] == 2]
            if not hidden:
                want[4 * z[0] + 2 * z[1] + z[2]] += mass
                return
            p = laws(z)
            for drawn in itertools.product((0, 1), repeat=3):
                if any(drawn[i] for i in range(3) if i not in hidden):
                    continue
                surest = sorted(hidden, key=lambda i: (-p[i, drawn[i]], i))[:tokens]
                after = tuple(drawn[i] if i in surest else z[i] for i in range(3))
                go(after, mass * math.prod(p[i, drawn[i]] for i in hidden))

        go((2, 2, 2), 1.0)
        return low_confidence_law(TabularDenoiser(table), tokens), want

    @exact(1e-14)
    def rollouts_have_this_law(low_confidence_law, low_confidence_rollout):
        """Probabilities in eighths, and every combination of eight uniform numbers: the law, without chance."""
        model = ConsistentDenoiser(np.log(np.outer([6 / 8, 2 / 8], [5 / 8, 3 / 8])))
        first, second, third = product(8, 8, 8)
        draws = Scripted([np.stack([first, second], -1), np.stack([third, third], -1)])
        found = low_confidence_rollout(model, 512, draws)
        counts = np.bincount(2 * found.x[:, 0] + found.x[:, 1], minlength=4) / 512
        yield "law", counts, low_confidence_law(model)
        yield "evaluations", found.evaluations, np.full(512, 2)
        yield (
            "scores",
            found.log_probs,
            np.log(np.where(found.x == 0, [6 / 8, 5 / 8], [2 / 8, 3 / 8])),
        )

    @boundary(1e-2)
    def it_is_not_the_model(low_confidence_law):
        law = book.joint(3, 3, 2)
        return low_confidence_law(ConsistentDenoiser(np.log(law))), law.reshape(-1)

    refuses = [
        (low_confidence_law, PolyaDenoiser(1.0, 1.0, 3), 0),
        (low_confidence_law, PolyaDenoiser(1.0, 1.0, 13)),
        (low_confidence_rollout, PolyaDenoiser(1.0, 1.0, 3), 2, 0, 0),
    ]

    mutants = {
        "the model's own law": wrong(
            low_confidence_law, lambda denoiser: np.exp(output_law(denoiser, EntropyBound(0.0)))
        ),
        "all at once": wrong(low_confidence_law, tokens=lambda denoiser: denoiser.length),
        "one evaluation": wrong(low_confidence_rollout, tokens=lambda: 99),
        "cold draws": wrong(low_confidence_rollout, temperature=lambda: 0.5),
    }


@claim(
    "DIFFPO-RENOISE-1",
    "An entropy bound that redraws what it accepted, and re-noises the rest to the end, is another law",
    r"""\mathrm{independent\;tokens}: \quad \frac1L E\,\#\{i : x_i = v\} = \frac{k\,p^{1/T}_v + (L - k)/V}{L}, \qquad
        \mathrm{sticky}: \;\; p_v""",
    covers=[renoising_law],
)
class Renoising:
    @exact(1e-13, over=grid(steps=(1, 2, 3), gamma=(0.0, 0.8)))
    def every_canvas_and_every_draw(renoising_law, steps, gamma):
        """Two tokens of two, the laws depend on the canvas; accepted positions one after the other."""
        table = book.logits(5, 2, 2, 2.0)
        laws, states = book.table_laws(table), list(itertools.product((0, 1), repeat=2))
        law = dict.fromkeys(states, 0.25)
        for n in range(steps):
            temperature = 0.4 + 0.4 * (steps - n) / steps
            after = dict.fromkeys(states, 0.0)
            for z, mass in law.items():
                p = book.softmax(np.log(laws(z)) / temperature)
                accepted = book.entropy_bound(gamma)(p, [0, 1])[0][0]
                for new in states:
                    after[new] += mass * math.prod(p[i, new[i]] if i in accepted else 0.5 for i in (0, 1))
            law = after
        found = renoising_law(TabularDenoiser(table), gamma, steps, 0.8, 0.4)
        return found, [law[z] for z in states]

    @exact(1e-12)
    def independent_tokens_by_the_formula(renoising_law):
        """p = .85 of four, bound .1, temperatures .8 to .4 over 8 steps: at the last, T = .45."""
        table = np.tile(np.log([0.85, 0.05, 0.05, 0.05]), (5**4, 4, 1))
        law = renoising_law(TabularDenoiser(table), 0.1, 8, 0.8, 0.4)
        share = np.mean(
            [law.reshape((4,) * 4).sum(axis=tuple(j for j in range(4) if j != i))[0] for i in range(4)]
        )
        p, h = _tempered()
        k = math.floor(0.1 / h) + 1
        yield "four positions", share, (k * p + (4 - k) / 4.0) / 4.0
        yield "eight positions, by hand", round((k * p + (8 - k) / 4.0) / 8.0, 4), 0.5292

    @exact(1e-5, requires="diffusers", over=grid(steps=(1, 3)))
    def as_installed(renoising_law, steps):
        """`EntropyBoundScheduler`: its own step, over all canvases and all that it can draw."""
        from diffusers import EntropyBoundScheduler

        table = np.tile(np.log(PAIR), (9, 1, 1))
        found = _as_installed(EntropyBoundScheduler(entropy_bound=0.1, t_max=0.8, t_min=0.4), {}, steps)
        return renoising_law(TabularDenoiser(table), 0.1, steps, 0.8, 0.4), found

    @boundary(0.2)
    def acceptance_that_stays_has_the_law_of_the_model(renoising_law):
        table = np.tile(np.log([0.85, 0.05, 0.05, 0.05]), (5**4, 4, 1))
        law = renoising_law(TabularDenoiser(table), 0.1, 8)
        return law, np.exp(output_law(TabularDenoiser(table), EntropyBound(0.1)))

    refuses = [
        (renoising_law, PolyaDenoiser(1.0, 1.0, 3), 0.1, 0),
        (renoising_law, PolyaDenoiser(1.0, 1.0, 13), 0.1, 2),
        (renoising_law, PolyaDenoiser(1.0, 1.0, 3), 0.1, 2, 0.0),
    ]

    mutants = {
        "accepted tokens stay": wrong(
            renoising_law, lambda denoiser, gamma: np.exp(output_law(denoiser, EntropyBound(gamma)))
        ),
        "everything accepted": wrong(renoising_law, gamma=lambda: 99.0),
        "temperatures swapped": wrong(
            renoising_law, hottest=lambda coldest: coldest, coldest=lambda hottest: hottest
        ),
        "one step fewer": wrong(renoising_law, steps=lambda steps: max(1, steps - 1)),
    }


def _as_installed(scheduler: Any, options: dict[str, Any], steps: int) -> book.Floats:
    """The law of two independent tokens, sequences in lexicographic order."""
    from driftproof.validation.audits.discrete.laws import Sampler, sampled_law
    from driftproof.validation.audits.discrete.texts import Text

    text = Text("a pair", np.outer(*PAIR), blind=True)
    return np.asarray(sampled_law(Sampler(scheduler, options, pending=True), text, steps)[:2, :2].reshape(-1))


def _tempered() -> tuple[float, float]:
    p = np.asarray([0.85, 0.05, 0.05, 0.05]) ** (1.0 / 0.45)
    p = p / p.sum()
    return float(p[0]), book.entropy(p)


@claim(
    "DIFFPO-DDIM-1",
    "Discrete DDIM is exact at temperature 1, and not at 0",
    r"""x_s \sim q(x_s \mid x_t, \hat x_0), \; \hat x_0 \sim p(x_0 \mid x_t): \;\; \mathcal L(x_0) = p; \qquad
        \hat x_0 = \arg\max: \;\; (.7, .2, .1) \to (.736, .187, .078) \;\;\mathrm{in\;8\;steps}""",
    covers=[discrete_ddim_law],
)
class DiscreteDDIM:
    @exact(1e-13, over=grid(steps=(1, 2, 8, 32)))
    def exact_at_temperature_one(discrete_ddim_law, steps):
        for p in ([0.7, 0.2, 0.1], [0.5, 0.5], [0.97, 0.01, 0.01, 0.01]):
            yield f"{len(p)} tokens", discrete_ddim_law(np.log(p), steps), p

    @exact(1e-13, over=grid(steps=(1, 2, 5, 8), temperature=(0.0, 0.5, 2.0)))
    def state_by_state(discrete_ddim_law, steps, temperature):
        """Clean, stay and noise as three routes, as they are published: the masses by hand."""
        data, size = np.asarray([0.7, 0.2, 0.1]), 3
        law = np.full(size, 1.0 / size)
        for n in range(steps):
            t, s = n / steps, (n + 1) / steps
            survival, after = t / s, np.zeros(size)
            for now in range(size):
                clean = data * np.asarray([t * (now == v) + (1.0 - t) / size for v in range(size)])
                clean = clean / clean.sum()
                if temperature == 0.0:
                    clean = np.eye(size)[int(np.argmax(clean))]
                else:
                    clean = clean ** (1.0 / temperature)
                    clean = clean / clean.sum()
                for v in range(size):
                    routes = [
                        s * (1.0 - survival) / size + survival * s * (now == v),
                        survival * (1.0 - s) / size,
                        (1.0 - survival) * (1.0 - s) / size,
                    ]
                    whole = sum(routes)
                    weight = law[now] * clean[v] / whole
                    after[v] += weight * routes[0]
                    after[now] += weight * routes[1]
                    after += weight * routes[2] / size
            law = after
        return discrete_ddim_law(np.log(data), steps, temperature), law

    @exact(1e-5, requires="diffusers", over=grid(temperature=(0.0, 1.0)))
    def as_installed(discrete_ddim_law, temperature):
        """`DiscreteDDIMScheduler`, four steps of one token: all canvases, clean tokens, routes and noise."""
        from diffusers import DiscreteDDIMScheduler

        from driftproof.validation.audits.discrete.laws import Sampler, sampled_law
        from driftproof.validation.audits.discrete.texts import ONE

        sampler = Sampler(DiscreteDDIMScheduler(), {"temperature": temperature}, pending=True)
        return discrete_ddim_law(np.log(ONE.law), 4, temperature), sampled_law(sampler, ONE, 4)[:3]

    @exact(5e-4)
    def the_number_at_temperature_0(discrete_ddim_law):
        return discrete_ddim_law(np.log([0.7, 0.2, 0.1]), 8, 0.0), [0.736, 0.187, 0.078]

    refuses = [(discrete_ddim_law, np.log([0.5, 0.5]), 0), (discrete_ddim_law, np.log([0.5, 0.5]), 4, -1.0)]

    mutants = {
        "temperature forgotten": wrong(discrete_ddim_law, temperature=lambda: 1.0),
        "inverse temperature": wrong(
            discrete_ddim_law, temperature=lambda temperature: 1.0 / temperature if temperature else 0.0
        ),
        "one step fewer": wrong(
            discrete_ddim_law, lambda value, log_p, steps: discrete_ddim_law(log_p, max(1, steps - 1), 0.0)
        ),
        "likeliest token": wrong(discrete_ddim_law, temperature=lambda: 0.0),
    }
