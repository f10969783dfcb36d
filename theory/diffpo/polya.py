r"""Pólya's urn: a consistent denoiser with closed forms, exact at any length.

Tokens are 0 and 1; after k of them with s ones the next is one with probability

.. math:: p(x_{new} = 1 \mid s, k) = \frac{a + s}{a + b + k}, \qquad
    \pi(x) = \frac{B(a + s, b + L - s)}{B(a, b)}, \quad s \text{ ones in } L

in whatever order: the tokens are exchangeable.  So all that enumeration finds for 16 tokens is a sum over numbers of
ones here.  Derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln
from scipy.stats import hypergeom

from driftproof._namespace import UnmetHypothesis, checked

from .samplers import entropies
from .states import States

__all__ = ["PolyaDenoiser"]

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
@checked(a="> 0", b="> 0")
class PolyaDenoiser:
    """The Beta-Bernoulli denoiser.

    Arguments:
        a, b: Weights of ones and zeros at the start, > 0.
        length: L >= 1.

    Raises:
        UnmetHypothesis: length < 1.

    Claims: DIFFPO-POLYA-1, DIFFPO-POLYA-2

    Example:
        >>> urn = PolyaDenoiser(1.0, 1.0, 3)
        >>> np.exp(urn.log_probs(np.asarray([1, 1, 2])))[2].round(12).tolist()
        [0.25, 0.75]
    """

    a: float
    b: float
    length: int

    def __post_init__(self) -> None:
        if self.length < 1:
            raise UnmetHypothesis("PolyaDenoiser", "length >= 1", f"length = {self.length}")

    @property
    def vocabulary(self) -> int:
        """2."""
        return 2

    def log_probs(self, z: States) -> Floats:
        """Log-probabilities at states of shape (..., L): shape (..., L, 2)."""
        ones, known = np.sum(z == 1, axis=-1), np.sum(z != 2, axis=-1)
        pair = np.broadcast_to(self._log_pair(ones, known)[..., None, :], (*z.shape, 2))
        return np.array(pair)

    def log_prob(self, ones: int) -> float:
        """The log-probability of one sequence with so many ones."""
        if not 0 <= ones <= self.length:
            raise UnmetHypothesis("PolyaDenoiser.log_prob", "0 <= ones <= L", f"ones = {ones}")
        return float(betaln(self.a + ones, self.b + self.length - ones) - betaln(self.a, self.b))

    def entropy(self, k: int) -> float:
        """The joint entropy of k tokens."""
        s = np.arange(self._within("entropy", k) + 1.0)
        log_one = betaln(self.a + s, self.b + k - s) - betaln(self.a, self.b)
        return -math.fsum((np.exp(_log_binomial(k, s) + log_one) * log_one).tolist())

    def conditional_entropy(self, k: int) -> float:
        """The expected entropy of one more token when k are known."""
        chance = self._ones(self._within("conditional_entropy", k))
        return math.fsum((chance * entropies(self._log_pair(np.arange(k + 1), k))).tolist())

    def information(self, k: int) -> float:
        r"""The information of k tokens on one more, :math:`I_k = H_0 - H_k`."""
        return self.conditional_entropy(0) - self.conditional_entropy(k)

    def divergence(self, tau: int = 0) -> float:
        r"""KL of the law from its two-times mean field, one token an evaluation; at tau = 0 from the mean field.

        .. math:: \mathrm{KL} = \tau H_0 + (L - \tau) H_\tau - H(x)
        """
        early = self._within("divergence", tau) * self.conditional_entropy(0)
        return early + (self.length - tau) * self.conditional_entropy(tau) - self.entropy(self.length)

    def mask_moments(self, ones: int) -> tuple[Floats, Floats]:
        """:func:`mask_moments` of a sequence with so many ones, by sums over how many of them are hidden."""
        self.log_prob(ones)  # a number of ones
        mean, square = np.empty(self.length), np.empty(self.length)
        for k in range(1, self.length + 1):
            hidden = np.arange(max(0, k - (self.length - ones)), min(k, ones) + 1)
            chance = hypergeom.pmf(hidden, self.length, ones, k)
            pair = self._log_pair(ones - hidden, self.length - k)
            total = hidden * pair[:, 1] + (k - hidden) * pair[:, 0]
            mean[k - 1], square[k - 1] = chance @ total, chance @ total**2
        return mean, square

    def nfe_law(self, gamma: float) -> Floats:
        """The law of the number of evaluations under entropy-bounded sampling, for n = 0, ..., L.

        All masked tokens have one entropy h, so that floor(gamma / h) + 1 of them are revealed, and their ones are
        binomial: a recursion over known tokens and ones.

        Raises:
            UnmetHypothesis: gamma is negative.
        """
        if not gamma >= 0.0:
            raise UnmetHypothesis("PolyaDenoiser.nfe_law", "gamma >= 0", f"gamma = {gamma!r}")
        # By known tokens: one row for each number of ones, one column for each number of evaluations.
        reached = [np.zeros((known + 1, self.length + 1)) for known in range(self.length + 1)]
        reached[0][0, 0] = 1.0
        factorial = gammaln(np.arange(self.length + 2.0) + 1.0)
        for known in range(self.length):
            some = np.flatnonzero(reached[known].any(axis=-1))
            log_pair = self._log_pair(some, known)
            h = np.broadcast_to(entropies(log_pair)[:, None], (len(some), self.length - known))
            before = np.cumsum(h, axis=-1) - h  # added up as the sampler does
            counts = np.maximum(1, np.sum(before <= gamma, axis=-1))
            for ones, count, (log_0, log_1) in zip(some, counts, log_pair, strict=True):
                drawn = np.arange(count + 1)
                binomial = factorial[count] - factorial[drawn] - factorial[drawn[::-1]]
                law = np.exp(binomial + drawn * log_1 + drawn[::-1] * log_0)
                after = reached[known + count]
                after[ones : ones + count + 1, 1:] += law[:, None] * reached[known][ones, :-1]
        found: Floats = reached[self.length].sum(axis=0)
        return found

    def _log_pair(self, ones: NDArray[np.int64] | np.int64, known: int | NDArray[np.int64]) -> Floats:
        whole = self.a + self.b + known
        pair = [(self.b + known - ones) / whole, (self.a + ones) / whole]
        return np.log(np.stack(pair, axis=-1))

    def _ones(self, k: int) -> Floats:
        """The law of the number of ones among k tokens."""
        s = np.arange(k + 1.0)
        log_one = betaln(self.a + s, self.b + k - s) - betaln(self.a, self.b)
        found: Floats = np.exp(_log_binomial(k, s) + log_one)
        return found

    def _within(self, name: str, k: int) -> int:
        if not 0 <= k <= self.length:
            raise UnmetHypothesis(f"PolyaDenoiser.{name}", f"0 <= k <= L = {self.length}", f"k = {k}")
        return k


def _log_binomial(n: int, k: Floats) -> Floats:
    found: Floats = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
    return found
