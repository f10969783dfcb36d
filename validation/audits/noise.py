"""Torch's normal draws, answered by the probe.

While a step runs, ``torch.randn`` and ``torch.randn_like`` are the probe's; other draws are refused, and so
is a step after which torch's generator has moved although nobody was seen to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import torch

from ..._namespace import UnmetHypothesis
from .affine import Draw

__all__ = ["intercepted"]

_NORMAL: Final = {name: getattr(torch, name) for name in ("randn", "randn_like")}
_SEEDS: Final = {"randint": torch.randint}
_REFUSED: Final = ("normal", "rand", "rand_like", "bernoulli", "multinomial", "randperm")
_ORIGINAL: Final = _NORMAL | _SEEDS | {name: getattr(torch, name) for name in _REFUSED}

_STANDARD: Final = "every draw is standard normal, by torch.randn or torch.randn_like"


@contextmanager
def intercepted(draw: Draw, size: int) -> Iterator[None]:
    """While this is open, standard normals are what ``draw`` says.

    Arguments:
        draw: From a key to a standard normal; the key is the state of the generator, None for torch's own.
        size: The number of coordinates; noise of another size is refused.

    Raises:
        UnmetHypothesis: Draws that are not standard normal, not one for each coordinate, or not seen.
    """
    state = [torch.get_rng_state()]

    def normal(original: Callable[..., Any], *args: Any, **options: Any) -> Any:
        generator = options.get("generator")
        # Read before torch draws: the same state gives the same noise, as in a Brownian tree.
        key = None if generator is None else generator.get_state().numpy().tobytes()
        drawn = seed(original, *args, **options)
        if drawn.numel() != size:
            got = f"noise of shape {tuple(drawn.shape)} for {size} coordinates"
            raise UnmetHypothesis("audit", "one draw for each coordinate of the state", got)
        return torch.from_numpy(draw(key)).reshape(drawn.shape).to(drawn.dtype)

    def seed(original: Callable[..., Any], *args: Any, **options: Any) -> Any:
        drawn = original(*args, **options)
        state[0] = torch.get_rng_state()
        return drawn

    def refused(name: str, *args: Any, **options: Any) -> Any:
        raise UnmetHypothesis("audit", _STANDARD, f"a draw by torch.{name}")

    answers = {name: partial(normal, original) for name, original in _NORMAL.items()}
    answers |= {name: partial(seed, original) for name, original in _SEEDS.items()}
    answers |= {name: partial(refused, name) for name in _REFUSED}
    try:
        for name, answer in answers.items():
            setattr(torch, name, answer)
        yield
    finally:
        for name, original in _ORIGINAL.items():
            setattr(torch, name, original)
    if not torch.equal(state[0], torch.get_rng_state()):
        raise UnmetHypothesis("audit", _STANDARD, "another draw, which moved torch's generator")
