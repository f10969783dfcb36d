"""Torch's normal draws, answered by the probe.

While a step runs, ``torch.randn`` and ``torch.randn_like`` are the probe's; other draws are refused, and so
is a step after which torch's generator has moved although nobody was seen to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch

from ..._namespace import UnmetHypothesis
from .affine import Draw

__all__ = ["intercepted"]

_NORMAL = ("randn", "randn_like")
_REFUSED = ("normal", "rand", "rand_like", "bernoulli", "multinomial", "randperm")
_REFUSED_METHODS = ("normal_", "uniform_", "bernoulli_", "exponential_", "cauchy_", "log_normal_")


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
        drawn = original(*args, **options)
        state[0] = torch.get_rng_state()
        if drawn.numel() != size:
            got = f"noise of shape {tuple(drawn.shape)} for {size} coordinates"
            raise UnmetHypothesis("audit", "one draw for each coordinate of the state", got)
        return torch.from_numpy(draw(key)).reshape(drawn.shape).to(drawn.dtype)

    def seed(original: Callable[..., Any], *args: Any, **options: Any) -> Any:
        drawn = original(*args, **options)
        state[0] = torch.get_rng_state()
        return drawn

    def refused(original: Callable[..., Any], *args: Any, **options: Any) -> Any:
        raise UnmetHypothesis("audit", "every draw is standard normal", f"a draw by {original.__name__}")

    def with_original(owner: Any, name: str, answer: Callable[..., Any]) -> Any:
        original = getattr(owner, name)
        return patch.object(owner, name, lambda *args, **options: answer(original, *args, **options))

    with ExitStack() as stack:
        for name in _NORMAL:
            stack.enter_context(with_original(torch, name, normal))
        stack.enter_context(with_original(torch, "randint", seed))
        for name in _REFUSED:
            stack.enter_context(with_original(torch, name, refused))
        for name in _REFUSED_METHODS:
            stack.enter_context(with_original(torch.Tensor, name, refused))
        yield
        if not torch.equal(state[0], torch.get_rng_state()):
            raise UnmetHypothesis("audit", "every draw is by torch.randn or torch.randn_like", "another one")
