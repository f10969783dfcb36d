"""Examples by Hypothesis, swept or drawn, repeatable and independent of pytest."""

from __future__ import annotations

import importlib
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity

from .sweep import BACKEND, CORNERS, register

__all__ = ["search"]

_ALONE = threading.RLock()  # what _blind changes belongs to the whole process


def search(
    body: Callable[[dict[str, Any]], None],
    *,
    strategies: Mapping[str, Any],
    predicates: Sequence[Callable[..., bool]],
    examples: int,
    seed: int | None,
    shrink: bool,
) -> None:
    """Call ``body`` on examples until it raises; the last call is then the smallest such example.

    Arguments:
        seed: The seed of the draws; None sweeps the domain instead: its corners, then as many
            points that fill it (:mod:`driftproof.validation.sweep`).
        predicates: Restrict the examples, each by those drawn parameters that it names; a predicate
            that names anything else does not apply.
        shrink: Whether to look for a smaller example once one raises.
    """
    applicable = [
        (predicate, names)
        for predicate in predicates
        if (names := set(inspect.signature(predicate).parameters)) <= set(strategies)
    ]

    def test(**example: Any) -> None:
        for predicate, names in applicable:
            hypothesis.assume(predicate(**{name: example[name] for name in names}))
        body(example)

    register()
    settings = hypothesis.settings(
        max_examples=examples if seed is not None else examples + CORNERS,
        backend="hypothesis" if seed is not None else BACKEND,
        derandomize=False,  # whatever profile the surrounding tests have chosen: the seed decides
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        # Speed differs between machines, and a verdict must not.
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ],
        print_blob=False,
    )
    with _ALONE, _blind():
        hypothesis.seed(seed or 0)(settings(hypothesis.given(**strategies)(test)))()


@contextmanager
def _blind() -> Iterator[None]:
    """Examples that do not depend on which modules happen to be loaded.

    Hypothesis mixes constants of the *local modules loaded so far* into its draws, so that a claim would
    see other examples in a worker than in the main process.
    """
    try:
        providers: Any = importlib.import_module("hypothesis.internal.conjecture.providers")
        nothing, cache = providers.Constants(), providers.CONSTANTS_CACHE.cache
        patch = mock.patch.object(providers.HypothesisProvider, "_local_constants", nothing)
    except (ImportError, AttributeError):  # other versions of Hypothesis do not do so
        yield
        return
    cache.clear()
    try:
        with patch:
            yield
    finally:
        cache.clear()
