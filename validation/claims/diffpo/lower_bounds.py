r"""The evidence lower bound: three forms, the gap, the weights, and when a quadrature is exact."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import mpmath as mp
import numpy as np

from driftproof.theory.diffpo import (
    ConsistentDenoiser,
    PolyaDenoiser,
    RandomOrder,
    TabularDenoiser,
    count_elbo,
    elbo,
    elbo_profile,
    elbo_weight,
    log_likelihood,
    mask_moments,
    quadrature_elbo,
)
from driftproof.validation import bound, boundary, claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from . import textbook as book

__all__ = ["Forms", "Gap", "Quadrature", "Weights"]

SHAPES = grid(shape=((3, 3), (4, 2), (2, 4)), seed=(1, 2))
FORMS = ("orders", "time", "count")


@functools.cache
def _orders(seed: int, shape: tuple[int, int], x: tuple[int, ...]) -> tuple[float, ...]:
    """The log-probability of x along every order, by permutations."""
    length, size = shape
    laws, found = book.table_laws(book.logits(seed, *shape)), []
    for order in itertools.permutations(range(length)):
        shown, total = [size] * length, 0.0
        for i in order:
            total += math.log(laws(tuple(shown))[i, x[i]])
            shown[i] = x[i]
        found.append(total)
    return tuple(found)


def _some(shape: tuple[int, int]) -> list[tuple[int, ...]]:
    return [tuple(x) for x in book.sequences(*shape).tolist()][:: 5 if shape[1] > 2 else 3]


@claim(
    "DIFFPO-ELBO-1",
    "The evidence lower bound has three forms: orders, masking times, numbers of masks",
    r"""E_\sigma \sum_j \log p(x_{\sigma(j)} \mid x_{\sigma(<j)})
        = \int_0^1 E_{m \sim t}\, \frac1t \sum_{i \in m} \log p(x_i \mid z_m)\, dt
        = E_{k, m} \frac Lk \sum_{i \in m} \log p(x_i \mid z_m)""",
    covers=[elbo, mask_moments, count_elbo],
)
class Forms:
    @exact(1e-13, over=grid(SHAPES, form=FORMS))
    def every_permutation(elbo, shape, seed, form):
        some = _some(shape)
        want = [math.fsum(_orders(seed, shape, x)) / math.factorial(shape[0]) for x in some]
        return elbo(TabularDenoiser(book.logits(seed, *shape)), some, form), want

    @exact(1e-13, over=grid(shape=((3, 3), (4, 2))))
    def every_mask(mask_moments, shape):
        laws, some = book.table_laws(book.logits(3, *shape)), _some(shape)
        mean, square = mask_moments(TabularDenoiser(book.logits(3, *shape)), some)
        for row, x in enumerate(some):
            for k in range(1, shape[0] + 1):
                sums = [book.masked_sum(laws, x, m, shape[1]) for m in book.masks(shape[0], k)]
                yield f"mean at {k}", mean[row, k - 1], math.fsum(sums) / len(sums)
                yield f"square at {k}", square[row, k - 1], math.fsum(s * s for s in sums) / len(sums)

    @exact(1e-13)
    def masking_times_by_quadrature(count_elbo):
        """The integral over t at thirty digits, each mask with its binomial chance."""
        shape, x = (4, 2), (0, 1, 1, 0)
        laws, mean = book.table_laws(book.logits(1, *shape)), []
        for k in range(1, 5):
            mean.append(math.fsum(book.masked_sum(laws, x, m, 2) for m in book.masks(4, k)) / math.comb(4, k))

        def g(t: Any) -> Any:
            terms = [mp.binomial(4, k) * t**k * (1 - t) ** (4 - k) * mean[k - 1] for k in range(1, 5)]
            return mp.fsum(terms) / t

        with mp.workdps(30):
            return count_elbo(mean), mp.quad(g, [0, 1])

    refuses = [
        (elbo, PolyaDenoiser(1.0, 1.0, 17), [0] * 17),
        (mask_moments, PolyaDenoiser(1.0, 1.0, 3), [0, 1, 1], PolyaDenoiser(1.0, 1.0, 4)),
        (elbo, PolyaDenoiser(1.0, 1.0, 3), [0, 1, 1], "mask"),
    ]

    mutants = {
        "mean over masked tokens": wrong(elbo, lambda value, denoiser: value / denoiser.length),
        "one order": wrong(
            elbo,
            lambda denoiser, x: np.asarray(
                [float(v) for v in log_likelihood(denoiser, RandomOrder(denoiser.length), x)]
            ),
        ),
        "weight 1": wrong(count_elbo, lambda mean: np.mean(mean, axis=-1)),
        "numbers from the other end": wrong(mask_moments, lambda value: (value[0][..., ::-1], value[1])),
        "variance for the square": wrong(mask_moments, lambda value: (value[0], value[1] - value[0] ** 2)),
    }


@claim(
    "DIFFPO-ELBO-2",
    "The gap of the bound is the divergence of the order from its posterior; none at consistent conditionals",
    r"""\log \pi(x) - \mathrm{ELBO}(x) = \mathrm{KL}\big(\mathrm{Unif}(\sigma) \,\|\, \pi(\sigma \mid x)\big) \geq 0,
        \qquad q \;\mathrm{consistent} \;\Rightarrow\; \mathrm{ELBO} = \log \pi, \; \nabla \mathrm{ELBO} = \nabla \log \pi""",
    covers=[elbo, log_likelihood],
    hypotheses=[r"\mathrm{random\;order}"],
)
class Gap:
    @exact(1e-12, over=SHAPES)
    def the_posterior_of_the_order(elbo, log_likelihood, shape, seed):
        denoiser = TabularDenoiser(book.logits(seed, *shape))
        for x in _some(shape):
            paths = np.asarray(_orders(seed, shape, x))
            posterior = book.softmax(paths)
            kl = -math.fsum(np.log(len(paths) * posterior)) / len(paths)
            found = log_likelihood(denoiser, RandomOrder(), x) - elbo(denoiser, x)
            yield f"gap at {x}", found, kl

    @bound(tight=0.9)
    def never_above(elbo, log_likelihood):
        denoiser = TabularDenoiser(book.logits(9, 3, 3))
        every = book.sequences(3, 3)
        return -log_likelihood(denoiser, RandomOrder(), every), -elbo(denoiser, every)

    @exact(1e-13, over=grid(form=FORMS))
    def none_at_consistent_conditionals(elbo, form):
        law = book.joint(4, 3, 3)
        return elbo(ConsistentDenoiser(np.log(law)), book.sequences(3, 3), form), np.log(law.reshape(-1))

    @exact(1e-9)
    def nor_in_the_gradient(elbo, log_likelihood):
        """In the table that holds the conditionals of a joint law, and is free to leave them."""
        law, x = book.joint(5, 2, 2), (0, 1)
        table = np.log([book.joint_laws(law)(z) for z in itertools.product(range(3), repeat=2)])
        return (
            book.finite_differences(lambda moved: float(elbo(TabularDenoiser(moved), x)), table),
            book.finite_differences(
                lambda moved: float(log_likelihood(TabularDenoiser(moved), RandomOrder(), x)), table
            ),
        )

    mutants = {
        "one order's likelihood": wrong(elbo, lambda value: value - 0.05 * np.abs(value)),
        "other masks": wrong(elbo, x=lambda x: np.asarray(x)[..., ::-1]),
        "all at once": wrong(log_likelihood, sampler=lambda denoiser: RandomOrder(denoiser.length)),
    }


@claim(
    "DIFFPO-ELBO-3",
    "The weights: L/k, not (L+1)/k; 1/t for every log-linear schedule",
    r"""w_k = \frac Lk, \qquad w(t) = \frac{-\dot\alpha}{1-\alpha} = \frac{\dot\sigma}{e^\sigma - 1}
        = \frac1t \;\; \mathrm{for} \;\; \alpha = 1 - (1-\epsilon)t""",
    covers=[count_elbo, elbo_weight, elbo_profile],
)
class Weights:
    @exact(1e-13, over=rows("x, log_law", (((1, 1, 0), -math.log(12.0)), ((0, 0, 0), -math.log(4.0)))))
    def an_urn_of_three(count_elbo, x, log_law):
        """1/((L+1) binom(L, s)); with (L+1)/k the first is -3.313 for -2.485."""
        return count_elbo(mask_moments(PolyaDenoiser(1.0, 1.0, 3), x)[0]), log_law

    @exact(1e-12, over=grid(t=(0.01, 0.3, 0.5, 0.99), epsilon=(0.0, 1e-3, 0.2)))
    def the_log_linear_schedule(elbo_weight, t, epsilon):
        return elbo_weight(1.0 - (1.0 - epsilon) * t, 1.0 - epsilon), 1.0 / t

    @exact(1e-12, over=grid(t=(0.1, 0.5, 0.9)))
    def by_the_rate_of_sigma(elbo_weight, t):
        """The cosine schedule at thirty digits: sigma' / (e^sigma - 1), derivative by differences."""
        with mp.workdps(30):
            alpha = lambda t: 1 - mp.cos(mp.pi * (1 - t) / 2)
            sigma = lambda t: -mp.log(alpha(t))
            want = mp.diff(sigma, mp.mpf(t)) / mp.expm1(sigma(mp.mpf(t)))
            return elbo_weight(float(alpha(t)), float(-mp.diff(alpha, mp.mpf(t)))), want

    @exact(1e-13, over=grid(c=(0.5, 3.0), t=(0.0, 1e-3, 0.5, 1.0)))
    def equal_tokens_cost_the_same_at_every_time(elbo_profile, c, t):
        """L c, however few are masked: why a loss with the weight 1/t does not explode."""
        return elbo_profile(-c * np.arange(1.0, 65.0)[None], np.asarray([t])), [-64.0 * c]

    refuses = [(elbo_weight, 1.0, 1.0), (elbo_weight, 0.5, 0.0), (elbo_profile, [-1.0], -0.1)]

    mutants = {
        "(L + 1)/k": wrong(count_elbo, lambda value, mean: value * (mean.shape[-1] + 1.0) / mean.shape[-1]),
        "expm1(-sigma)": wrong(elbo_weight, lambda survival, decay: -decay / survival / (1.0 - survival)),
        "without 1/t": wrong(elbo_profile, lambda value, t: value * t),
        "over the survival": wrong(elbo_weight, lambda survival, decay: decay / survival),
    }


@claim(
    "DIFFPO-QUAD-1",
    "Gauss quadrature over masking times is exact from L/2 nodes on, and not before",
    r"""g(t) = \sum_k \binom Lk t^{k-1}(1-t)^{L-k} c_k \in \mathcal P_{L-1}, \qquad
        \sum_{n=1}^N w_n\, g(t_n) = \int_0^1 g \;\Longleftarrow\; N \geq \tfrac L2""",
    covers=[quadrature_elbo, elbo_profile],
    hypotheses=[r"N \geq L/2"],
)
class Quadrature:
    @exact(1e-12, over=rows("length, nodes", ((1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (16, 8), (64, 32))))
    def exact_from_half_the_length(quadrature_elbo, length, nodes):
        mean = -np.cumsum(np.random.default_rng(length).exponential(size=length))
        want = math.fsum(c / k for k, c in enumerate(mean, 1))
        for more in (0, 1, 7):
            yield f"{nodes + more} nodes", quadrature_elbo(mean, nodes + more), want

    @exact(1e-12, over=grid(t=(0.1, 0.5, 0.83)))
    def the_profile_by_every_mask(elbo_profile, t):
        shape, x = (4, 2), (1, 0, 1, 1)
        laws, total = book.table_laws(book.logits(6, *shape)), 0.0
        for bits in itertools.product((0, 1), repeat=4):
            mask = [i for i in range(4) if bits[i]]
            chance = t ** len(mask) * (1.0 - t) ** (4 - len(mask))
            total += chance * book.masked_sum(laws, x, mask, 2) / t
        mean, _ = mask_moments(TabularDenoiser(book.logits(6, *shape)), x)
        return elbo_profile(mean[None], np.asarray([t])), [total]

    @exact(1e-12)
    def ends(elbo_profile):
        mean = np.asarray([[-0.7, -1.1, -4.0]] * 2)
        return elbo_profile(mean, np.asarray([0.0, 1.0])), [-2.1, -4.0]

    @boundary(5e-3, over=grid(nodes=(1, 2, 3)))
    def not_before(quadrature_elbo, nodes):
        """Eight tokens that only the last mask hides: one, two and three nodes miss it."""
        return quadrature_elbo([0.0] * 7 + [-8.0], nodes), -1.0

    refuses = [(quadrature_elbo, [-1.0, -2.0], 0)]

    mutants = {
        "one node fewer": wrong(quadrature_elbo, nodes=lambda nodes: max(1, nodes - 1)),
        "nodes on [-1, 1]": wrong(quadrature_elbo, lambda value: 2.0 * value),
        "k for k - 1": wrong(elbo_profile, lambda value, t: value * t),
        "mask probability of what is kept": wrong(elbo_profile, t=lambda t: 1.0 - t),
    }
