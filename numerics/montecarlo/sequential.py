r"""Sequential tests on growing batches: reject gross errors fast, accept correct code fast, else draw more.

Stage i of k draws a *fresh* batch, :math:`n_i = n\,g^{i-1}`, and tests it, :math:`p_i`:

.. math::
    p_i\le\frac{\alpha}{k\,\gamma^{i-1}}\ \text{refutes},\qquad p_i>\gamma\ \text{accepts},\qquad
    \text{else the next stage},\qquad \gamma = (\alpha/k)^{1/k}.

The batches are independent and :math:`P(p_i\le\gamma)\le\gamma`, so that stage i is reached with
probability at most :math:`\gamma^{i-1}` and refutes falsely with at most :math:`\alpha/k`: the total is at
most :math:`\alpha`.  At the last stage both thresholds are :math:`\gamma`.  Correct code is accepted at the
first stage with probability :math:`1-\gamma`.

References:
    | Unit testing for MCMC and other Monte Carlo methods (Gandy, Scott, 2020), algorithm 1,
    | https://arxiv.org/abs/2001.06465
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from driftproof._namespace import UnmetHypothesis

from .verdict import Verdict, as_level

__all__ = ["sequential_test"]

Draws = TypeVar("Draws")


def sequential_test(
    draw: Callable[[int], Draws],
    test: Callable[[Draws, float], Verdict],
    alpha: float,
    *,
    n: int = 1000,
    stages: int = 7,
    growth: int = 4,
) -> Verdict:
    """Run a test on fresh batches until it is clear.

    Arguments:
        draw: ``draw(n)`` gives n new independent draws; it carries its own generator.
        test: ``test(draws, alpha)`` gives a :class:`Verdict` whose p-value holds at every n.
        alpha: Total false-alarm rate, in (0, 1).
        n: Size of the first batch.
        stages: At most so many batches, k.
        growth: Each batch is so many times as large as the one before.

    Returns:
        The verdict over all stages: ``p_value`` is :math:`\\min_i k\\gamma^{i-1}p_i`, valid for the whole
        procedure; ``n`` counts all draws; ``effect`` is that of the last batch; ``detectable`` passes
        *every* stage, with probability at least ``power``.

    Raises:
        UnmetHypothesis: An argument out of its range.

    Claims: STATISTICS-SEQUENTIAL-1

    Example:
        >>> import numpy as np
        >>> from driftproof.numerics.montecarlo import mean_test
        >>> rng = np.random.default_rng(0)
        >>> verdict = sequential_test(
        ...     lambda n: rng.normal(0.5, 1.0, n), lambda x, a: mean_test(x, 0.0, a, sd=1.0), alpha=1e-8
        ... )
        >>> verdict.rejects, verdict.n
        (True, 1000)
    """
    as_level("sequential_test", "alpha", alpha)
    for name, value, least in (("n", n, 1), ("stages", stages, 1), ("growth", growth, 1)):
        if value < least:
            raise UnmetHypothesis("sequential_test", f"{name} >= {least}", f"{name} = {value}")
    gamma = (alpha / stages) ** (1 / stages)
    p_value, used, detectable = 1.0, 0, None
    for stage in range(stages):
        size = n * growth**stage
        batch = draw(size)
        # gamma decides whether the next stage is reached, and is the last stage's threshold.
        outcome = test(batch, gamma)
        used += size
        detectable = outcome.detectable if detectable is None else detectable
        scale = stages * gamma**stage
        p_value = min(p_value, scale * outcome.p_value)
        if p_value <= alpha or outcome.p_value > gamma:
            break
    # Each of the stages may miss what the first sees.
    power = 1 - stages * (1 - outcome.power)
    return Verdict(
        f"{outcome.test}, sequential",
        p_value,
        outcome.effect,
        outcome.detectable if detectable is None else detectable,
        outcome.unit,
        used,
        alpha,
        power,
        outcome.validity,
    )
