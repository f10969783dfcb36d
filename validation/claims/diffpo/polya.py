r"""Pólya's urn: closed forms beside enumeration where both exist, and identities at 256 tokens."""

from __future__ import annotations

import math

import numpy as np

from driftproof.theory import diffpo
from driftproof.theory.diffpo import (
    EntropyBound,
    LeftToRight,
    PolyaDenoiser,
    count_elbo,
    mean_field,
    output_law,
    path_log_likelihood,
    two_mean_field,
)
from driftproof.validation import claim, exact, grid, rows
from driftproof.validation.mutants import wrong

from . import textbook as book

__all__ = ["AtAnyLength", "ByEnumeration"]

URNS = rows("a, b", ((1.0, 1.0), (0.5, 2.0), (3.0, 0.7)))


@claim(
    "DIFFPO-POLYA-1",
    "An urn in closed form: likelihood, informations, divergences, masks and evaluations, by enumeration",
    r"""\pi(x) = \frac{B(a+s, b+L-s)}{B(a,b)}, \qquad
        \mathrm{KL}(\pi \| \hat\pi_{2MF,\tau}) = \tau H_0 + (L - \tau) H_\tau - H(x)""",
    covers=[
        PolyaDenoiser.log_prob,
        PolyaDenoiser.entropy,
        PolyaDenoiser.conditional_entropy,
        PolyaDenoiser.divergence,
        PolyaDenoiser.mask_moments,
        PolyaDenoiser.nfe_law,
    ],
)
class ByEnumeration:
    @exact(1e-12, over=URNS)
    def six_tokens(log_prob, entropy, conditional_entropy, divergence, a, b):
        urn, every = PolyaDenoiser(a, b, 6), book.sequences(6, 2)
        log_q = np.asarray(output_law(urn, LeftToRight()))
        law = np.exp(log_q).reshape((2,) * 6)
        yield "law", [log_prob(urn, int(sum(x))) for x in every], log_q
        for k in range(6):
            marginal = law.sum(axis=tuple(range(k, 6)))
            more = law.sum(axis=tuple(range(k + 1, 6)))
            yield f"entropy of {k}", entropy(urn, k), book.entropy(marginal)
            yield (
                f"entropy after {k}",
                conditional_entropy(urn, k),
                book.entropy(more) - book.entropy(marginal),
            )
            kl = math.fsum(np.exp(log_q) * (log_q - two_mean_field(urn, LeftToRight(), every, k)))
            yield f"two times at {k}", divergence(urn, k), kl
        kl = math.fsum(np.exp(log_q) * (log_q - mean_field(urn, every)))
        yield "mean field", divergence(urn, 0), kl

    @exact(1e-12, over=grid(URNS, ones=(0, 2, 6)))
    def masks(mask_moments, a, b, ones):
        urn = PolyaDenoiser(a, b, 6)
        found, want = mask_moments(urn, ones), diffpo.mask_moments(urn, [1] * ones + [0] * (6 - ones))
        yield "mean", found[0], want[0]
        yield "square", found[1], want[1]

    @exact(1e-12, over=grid(URNS, gamma=(0.0, 0.65, 1.5, 9.0)))
    def evaluations(nfe_law, a, b, gamma):
        urn = PolyaDenoiser(a, b, 8)
        return nfe_law(urn, gamma), diffpo.nfe_law(urn, EntropyBound(gamma))

    refuses = [
        (PolyaDenoiser.log_prob, PolyaDenoiser(1.0, 1.0, 3), 4),
        (PolyaDenoiser.entropy, PolyaDenoiser(1.0, 1.0, 3), 4),
        (PolyaDenoiser.nfe_law, PolyaDenoiser(1.0, 1.0, 3), -1.0),
    ]

    mutants = {
        "of the number of ones": wrong(
            PolyaDenoiser.log_prob, lambda value, self, ones: value + math.log(math.comb(self.length, ones))
        ),
        "entropy of the number of ones": wrong(
            PolyaDenoiser.entropy, lambda value, self, k: value / (1.0 + k)
        ),
        "one token earlier": wrong(PolyaDenoiser.conditional_entropy, k=lambda k: max(0, k - 1)),
        "all from tau": wrong(
            PolyaDenoiser.divergence,
            lambda value, self, tau: value - tau * PolyaDenoiser.information(self, tau),
        ),
        "binomial masks": wrong(PolyaDenoiser.mask_moments, lambda value: (value[0], value[0] ** 2)),
        "one token less together": wrong(PolyaDenoiser.nfe_law, gamma=lambda gamma: max(0.0, gamma - 0.6)),
    }


@claim(
    "DIFFPO-POLYA-2",
    "256 tokens, exactly: the likelihood along the path, the chain rule, the bound that is tight",
    r"""\sum_{k<L} I_k = L H_0 - H(x), \qquad \log \pi = \mathrm{ELBO}, \qquad E_\pi[\mathrm{NFE}] = \sum_n n P(n)""",
    covers=[PolyaDenoiser, PolyaDenoiser.information, PolyaDenoiser.nfe_law, path_log_likelihood],
)
class AtAnyLength:
    # Logarithms of binomial and beta functions reach 1,200: chances are right to about 1e-12, entropies of 125 to 1e-10.
    @exact(1e-11, over=URNS)
    def chain_rule(information, a, b):
        urn = PolyaDenoiser(a, b, 256)
        total = math.fsum(information(urn, k) for k in range(256))
        return total, 256.0 * urn.conditional_entropy(0) - urn.entropy(256)

    @exact(1e-12, over=URNS)
    def the_likelihood_along_the_path(PolyaDenoiser, path_log_likelihood, a, b):
        urn = PolyaDenoiser(a, b, 256)
        x = np.zeros((2, 256), dtype=int)
        x[0, ::3], x[1, 200:] = 1, 1
        want = [
            math.lgamma(a + s) + math.lgamma(b + 256 - s) + math.lgamma(a + b)
            - math.lgamma(a + b + 256) - math.lgamma(a) - math.lgamma(b)
            for s in x.sum(axis=-1)
        ]  # fmt: skip
        yield "path", path_log_likelihood(urn, EntropyBound(0.0), x[:1]), want[:1]
        mean = [urn.mask_moments(int(s))[0] for s in x.sum(axis=-1)]
        yield "bound", count_elbo(np.stack(mean)), want

    @exact(1e-10, effort="normal")
    def evaluations_add_up(nfe_law):
        """Chances sum to 1, and with no bound on entropies it is one evaluation, without tolerance it is 256."""
        urn = PolyaDenoiser(1.0, 1.0, 256)
        yield "mass", nfe_law(urn, 10.0).sum(), 1.0
        yield "all at once", nfe_law(urn, 1e9)[1], 1.0

    @exact(1e-12, over=URNS)
    def one_by_one(nfe_law, a, b):
        return nfe_law(PolyaDenoiser(a, b, 64), 0.0)[64], 1.0

    mutants = {
        "weights swapped": {PolyaDenoiser: lambda a, b, length: PolyaDenoiser(b, a + 0.1, length)},
        "ones twice": {PolyaDenoiser: lambda a, b, length: PolyaDenoiser(2.0 * a, b, length)},
        "with the token itself": wrong(PolyaDenoiser.information, k=lambda k: min(k + 1, 255)),
        "two at a time": wrong(PolyaDenoiser.nfe_law, gamma=lambda gamma: gamma + 1.0),
        "mean field": wrong(path_log_likelihood, lambda denoiser, x: mean_field(denoiser, x)),
    }
