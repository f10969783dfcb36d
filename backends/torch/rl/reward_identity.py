"""The identity of a custom reward, compared when a training goes on from its checkpoint."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from driftproof.backends.torch.kit.identity import digest_of
from driftproof.backends.torch.kit.lock import RunWarning
from driftproof.backends.torch.pretrained.pipelines import weights_digest

__all__ = ["reward_identity"]

DIGITS = 12  # of a digest that people compare by eye
PLAIN = (bool, int, float, str, bytes, type(None))


def reward_identity(reward: Callable[..., Any]) -> str:
    """The qualified name of a reward, and a digest of its source and of what it keeps.

    What it keeps are plain numbers and texts: attributes of an object (but those that begin with an underscore, where
    counters and caches belong), values that a function captured, and of a module the weights.  Functions that it
    calls are not followed.

    Returns:
        Such as ``rewards.Sharpness (source 3f2a91c0d4be)``, the same in every process and session.

    Warns:
        RunWarning: A lambda, an object without a source, or captured values of other kinds: a checkpoint cannot
            tell another one from it.

    Example:
        >>> import statistics
        >>> reward_identity(statistics.mean).startswith("statistics.mean (source ")
        True
    """
    name, parts, doubts = _described(reward)
    if doubts:
        warnings.warn(
            f"the reward {name}: {'; '.join(doubts)}: a checkpoint cannot tell whether it is resumed with another",
            RunWarning,
            stacklevel=3,
        )
    return f"{name} (source {digest_of(parts)[:DIGITS]})" if parts else name


def _described(reward: Any) -> tuple[str, list[str], list[str]]:
    """The name, what goes into the digest, and what is not known."""
    if isinstance(reward, functools.partial):
        name, parts, doubts = _described(reward.func)
        given = {**{str(i): value for i, value in enumerate(reward.args)}, **reward.keywords}
        kept, unknown = _kept(given)
        return f"partial of {name}", [*parts, *kept], [*doubts, *unknown]
    if inspect.ismethod(reward) and not inspect.isclass(reward.__self__):
        name, parts, doubts = _described(reward.__self__)
        return f"{name}.{reward.__name__}", parts, doubts
    subject = inspect.unwrap(reward) if inspect.isroutine(reward) else type(reward)
    name = f"{subject.__module__}.{subject.__qualname__}"
    if subject.__name__ == "<lambda>":
        return name, [], ["a lambda has no name of its own"]
    try:
        source = [inspect.getsource(subject)]
    except (OSError, TypeError):
        return name, [], ["its source is not found"]
    if inspect.isfunction(subject):
        kept, unknown = _kept(inspect.getclosurevars(subject).nonlocals)
    else:
        kept, unknown = _kept(
            vars(reward) if hasattr(reward, "__dict__") and not isinstance(reward, nn.Module) else {}
        )
    weights = [weights_digest(reward)] if isinstance(reward, nn.Module) else []
    return name, [*source, *kept, *weights], unknown


def _kept(values: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Plain values by name, and those of which no digest is taken."""
    kept: list[str] = []
    unknown: list[str] = []
    for name, value in sorted(values.items()):
        if name.startswith("_"):
            continue
        if isinstance(value, nn.Module):
            kept.append(f"{name}: {type(value).__qualname__} {weights_digest(value)}")
        elif all(isinstance(leaf, PLAIN) for leaf in _leaves(value)):
            kept.append(f"{name} = {value!r}")
        else:
            unknown.append(f"it keeps {name}, a {type(value).__name__}")
    return kept, unknown


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, dict):
        yield from _leaves(list(value.items()))
    else:
        yield value
