"""Exact likelihoods of masked diffusion beside the sum over all orders, which is what a user would write down first.

Beyond nine tokens the peer would take hours; there our own cost stands alone.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from driftproof.theory.diffpo import (
    EntropyBound,
    PolyaDenoiser,
    RandomOrder,
    elbo,
    log_likelihood,
    path_log_likelihood,
)

from . import Row
from ._timing import compare, one_thread, row, seconds

__all__ = ["run"]

ENUMERABLE, ALONE = (5, 7), (8, 10, 12)


def run() -> list[Row]:
    """The recursion over sets at 5 to 12 tokens, and a path of 256."""
    with one_thread():
        return [*(_beside_orders(n) for n in ENUMERABLE), *(_alone(n) for n in ALONE), _along_a_path()]


def _beside_orders(length: int) -> Row:
    urn, x = PolyaDenoiser(1.0, 2.0, length), np.arange(length) % 3 % 2

    def orders() -> Any:
        total = []
        for order in itertools.permutations(range(length)):
            z, value = np.full(length, 2), 0.0
            for i in order:
                value += float(urn.log_probs(z)[i, x[i]])
                z[i] = x[i]
            total.append(value)
        return np.logaddexp.reduce(total) - math.lgamma(length + 1)

    gap = abs(float(log_likelihood(urn, RandomOrder(), x)) - orders())
    return compare(
        f"log_likelihood, L = {length}",
        lambda: log_likelihood(urn, RandomOrder(), x),
        "numpy: every order",
        orders,
        f"differ by {gap:.0e}",
    )


def _alone(length: int) -> Row:
    urn, x = PolyaDenoiser(1.0, 2.0, length), np.arange(length) % 3 % 2
    gap = abs(float(elbo(urn, x)) - urn.log_prob(int(x.sum())))
    return _ours(
        f"log_likelihood, L = {length}",
        lambda: log_likelihood(urn, RandomOrder(), x),
        f"ELBO off by {gap:.0e}",
    )


def _along_a_path() -> Row:
    urn, x = PolyaDenoiser(1.0, 1.0, 256), np.arange(256) % 3 % 2
    return _ours(
        "path_log_likelihood, L = 256",
        lambda: path_log_likelihood(urn, EntropyBound(5.0), x),
        "along one path",
    )


def _ours(name: str, call: Any, note: str) -> Row:
    return row(name, seconds({"ours": call})["ours"], "every order", None, note)
