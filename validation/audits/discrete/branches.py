"""Everything that a function of torch can draw, with its probability: chance is listed and not sampled.

Calls of ``torch.multinomial``, ``torch.bernoulli``, ``torch.randint`` and ``torch.randperm`` inside are answered by each possible
outcome in turn.  Noise that is moved about and never looked at need not be listed: ``torch.randint`` then gives numbers that
stand for a draw (*pending*), and what is left of them at the end is spread out.  What draws by other means moves a random state,
of torch, numpy or Python, and is refused.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, final

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["OTHER_MEANS", "Unlisted", "branches", "spread"]

T = TypeVar("T")

PENDING: Final = 1 << 40  # above every token

OTHER_MEANS: Final = "it draws by other means than those that can be listed"

_CONTINUOUS: Final = frozenset(
    getattr(owner, name)
    for owner, names in (
        (torch, ("rand", "randn", "rand_like", "randn_like", "normal", "poisson")),
        (Tensor, ("uniform_", "normal_", "exponential_", "log_normal_", "cauchy_", "geometric_")),
    )
    for name in names
)


class Unlisted(Exception):
    """A draw whose outcomes cannot be listed."""


@final
class _Draws(TorchFunctionMode):
    """One branch: the decisions of a script, then the first possible ones."""

    def __init__(self, script: Sequence[int], pending: bool) -> None:
        super().__init__()
        self.script, self.pending = list(script), pending
        self.sizes: list[int] = []
        self.chance = 1.0
        self.ranges: dict[int, range] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        kwargs.pop("generator", None)
        if func in (torch.multinomial, Tensor.multinomial):
            return self._multinomial(*args, **kwargs)
        if func in (torch.bernoulli, Tensor.bernoulli):
            if len(args) > 1 or "p" in kwargs:
                raise Unlisted("it draws bernoulli(x, p) with p given, which is not listed")
            p = args[0]
            drawn = [self._choose([1.0 - q, q]) for q in p.reshape(-1).tolist()]
            return torch.tensor(drawn, dtype=p.dtype).reshape(p.shape)
        if func is torch.randint:
            return self._integers(*args, **kwargs)
        if func is torch.randperm:
            orders = list(itertools.permutations(range(args[0])))
            return torch.tensor(orders[self._choose([1.0 / len(orders)] * len(orders))], dtype=torch.long)
        if func in _CONTINUOUS:
            raise Unlisted(f"it draws real numbers ({func.__name__}), which cannot be listed")
        return func(*args, **kwargs)

    def _choose(self, chances: Sequence[float]) -> int:
        possible = [i for i, chance in enumerate(chances) if chance > 0.0]
        if not possible:
            raise Unlisted("it draws from weights that are all 0")
        if len(self.sizes) == len(self.script):
            self.script.append(0)
        chosen = possible[self.script[len(self.sizes)]]
        self.sizes.append(len(possible))
        self.chance *= chances[chosen]
        return chosen

    def _multinomial(
        self, weights: Tensor, num_samples: int = 1, replacement: bool = False, **_: Any
    ) -> Tensor:
        if num_samples != 1 and not replacement:
            raise Unlisted("it draws several numbers without replacement")
        rows = weights.double().reshape(-1, weights.shape[-1])
        drawn = []
        for row in rows.tolist():
            total = math.fsum(row)
            chances = [w / total for w in row] if total > 0.0 else row
            drawn.append([self._choose(chances) for _ in range(num_samples)])
        return torch.tensor(drawn).reshape(*weights.shape[:-1], num_samples)

    def _integers(self, *args: Any, **kwargs: Any) -> Tensor:
        names = ("low", "high", "size") if len(args) > 2 or "low" in kwargs else ("high", "size")
        if len(args) == 2 and "size" in kwargs:
            names = ("low", "high")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        size, span = tuple(given["size"]), range(given.get("low", 0), given["high"])
        count = math.prod(size)
        if self.pending:
            first = PENDING + len(self.ranges)
            self.ranges |= {first + i: span for i in range(count)}
            return torch.arange(first, first + count).reshape(size)
        chances = [1.0 / len(span)] * len(span)
        return torch.tensor([span[self._choose(chances)] for _ in range(count)]).reshape(size)


def branches(run: Callable[[], T], pending: bool = False) -> Iterator[tuple[float, T, Mapping[int, range]]]:
    """Every outcome of a function with its probability, and what pending numbers stand for.

    Arguments:
        run: Called once for each branch; what it changes is its own business.
        pending: Leave what ``torch.randint`` draws open.

    Raises:
        Unlisted: It draws what cannot be listed.

    Example:
        >>> [(round(chance, 2), int(x)) for chance, x, _ in branches(lambda: torch.multinomial(torch.tensor([1.0, 3.0]), 1))]
        [(0.25, 0), (0.75, 1)]
    """
    script: list[int] = []
    while True:
        draws = _Draws(script, pending)
        before = _random_states()
        with draws:
            found = run()
        if _random_states() != before:
            raise Unlisted(OTHER_MEANS)
        yield draws.chance, found, draws.ranges
        script = draws.script[: len(draws.sizes)]
        while script and script[-1] + 1 == draws.sizes[len(script) - 1]:
            script.pop()
        if not script:
            return
        script[-1] += 1


def _random_states() -> tuple[Any, ...]:
    """What every draw from a global generator moves."""
    legacy: Any = np.random.get_state()  # noqa: NPY002  # the global one is what others draw from
    return torch.get_rng_state().numpy().tobytes(), legacy[1].tobytes(), legacy[2:], random.getstate()


def spread(tokens: Sequence[int], ranges: Mapping[int, range]) -> Iterator[tuple[float, tuple[int, ...]]]:
    """What tokens with pending numbers stand for; a number that comes twice is one draw.

    Example:
        >>> list(spread([5, PENDING], {PENDING: range(2)}))
        [(0.5, (5, 0)), (0.5, (5, 1))]
    """
    open_numbers = sorted({token for token in tokens if token in ranges})
    spans = [ranges[number] for number in open_numbers]
    chance = 1.0 / math.prod(len(span) for span in spans)
    for values in itertools.product(*spans):
        known = dict(zip(open_numbers, values, strict=True))
        yield chance, tuple(known.get(token, token) for token in tokens)
