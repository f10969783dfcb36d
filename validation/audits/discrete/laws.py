"""The law of what a scheduler of tokens samples: its own step, over all canvases and all that it can draw."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

import numpy as np
import torch

from driftproof._namespace import UnmetHypothesis
from driftproof.validation.audits.interface import option, parameters

from .branches import OTHER_MEANS, Unlisted, branches, spread
from .texts import Floats, Text

__all__ = ["Sampler", "is_discrete", "sampled_law", "total_variation"]

Canvas: TypeAlias = tuple[int, ...]


@final
@dataclass(frozen=True)
class Sampler:
    """A scheduler of tokens, and how it is called.

    Arguments:
        scheduler: Copied before each run.
        step_options: Further keyword arguments of ``step``; with ``mask_token_id`` the canvas is masked at first.
        reversed: Whether ``step`` is given the timesteps in the opposite order.
        pending: Whether noise is moved about and never looked at.
    """

    scheduler: Any
    step_options: Mapping[str, Any] = field(default_factory=dict)
    reversed: bool = False
    pending: bool = False

    @property
    def mask(self) -> int | None:
        """The token that masks, if there is one."""
        asked = self.step_options.get("mask_token_id", option(self.scheduler, "mask_token_id"))
        return None if asked is None else int(asked)

    def started(self, text: Text, steps: int) -> tuple[Any, list[Any]]:
        """A copy that is set to a number of steps, and its timesteps."""
        made = copy.deepcopy(self.scheduler)
        given = {"block_length": text.length} if "block_length" in parameters(made.set_timesteps) else {}
        made.set_timesteps(steps, **given)
        times = list(made.timesteps)
        return made, times[::-1] if self.reversed else times

    def stepped(
        self, made: Any, text: Text, canvas: Canvas, time: Any, level: float
    ) -> tuple[Any, list[int]]:
        """One step of a copy, and its tokens."""
        made = copy.deepcopy(made)
        logits = torch.from_numpy(np.log(text.denoised(canvas, level, self.mask)))[None]
        given = dict(self.step_options)
        generator = torch.Generator()
        untouched = generator.get_state()
        if "generator" in parameters(made.step):
            given["generator"] = generator
        out = _tokens(made.step(logits, time, torch.tensor([canvas]), **given))
        if not torch.equal(generator.get_state(), untouched):
            raise Unlisted(OTHER_MEANS)
        if tuple(out.shape) != (1, text.length):
            got = f"shape {tuple(out.shape)} for {(1, text.length)}"
            raise UnmetHypothesis("audit", "step returns a canvas of the shape that it is given", got)
        if option(made, "corrector_steps", 0):
            raise Unlisted("its corrector chooses positions by real numbers, which cannot be listed")
        return made, out[0].tolist()


def is_discrete(thing: Any) -> bool:
    """Whether a scheduler, or a class of these, steps from integers to integers.

    Example:
        >>> is_discrete(3)
        False
    """
    try:
        made = copy.deepcopy(thing() if isinstance(thing, type) else thing)
        text = Text("", np.full((3,), 1.0 / 3.0))
        sampler = Sampler(made)
        started, times = sampler.started(text, 2)
        with torch.no_grad(), torch.random.fork_rng([]):
            given = {"generator": torch.Generator()} if "generator" in parameters(started.step) else {}
            out = _tokens(started.step(torch.zeros(1, 1, 3), times[0], torch.tensor([[1]]), **given))
        return isinstance(out, torch.Tensor) and not out.is_floating_point() and out.shape == (1, 1)
    except Exception:  # noqa: BLE001  # whatever it raises: it does not step over integers
        return False


def sampled_law(sampler: Sampler, text: Text, steps: int) -> Floats:
    """The law of the final canvas, shape (V + 1, ..., V + 1): the last index is whatever is no token.

    Raises:
        Unlisted: It draws what cannot be listed.
        UnmetHypothesis: Its step changes the shape.
    """
    made, times = sampler.started(text, steps)
    mask = sampler.mask
    if mask is None:
        starts = list(itertools.product(range(text.size), repeat=text.length))
    else:
        starts = [(mask,) * text.length]
    nodes: dict[tuple[Canvas, str], tuple[float, Any]] = {
        (canvas, _state(made)): (1.0 / len(starts), made) for canvas in starts
    }
    for n, time in enumerate(times):
        after: dict[tuple[Canvas, str], tuple[float, Any]] = {}
        for (canvas, _), (mass, before) in nodes.items():

            def step(
                canvas: Canvas = canvas, before: Any = before, time: Any = time
            ) -> tuple[Any, list[int]]:
                return sampler.stepped(before, text, canvas, time, n / steps)  # noqa: B023  # called at once

            for chance, (moved, tokens), ranges in branches(step, sampler.pending):
                for share, new in spread(tokens, ranges):
                    key = (new, _state(moved))
                    weight = after[key][0] if key in after else 0.0
                    after[key] = (weight + mass * chance * share, moved)
        nodes = after
    law = np.zeros((text.size + 1,) * text.length)
    for (canvas, _), (mass, _) in nodes.items():
        law[tuple(token if 0 <= token < text.size else text.size for token in canvas)] += mass
    return law


def total_variation(law: Floats, text: Text) -> float:
    """From the law of the text; what is no token counts as wrong.

    Example:
        >>> from .texts import ONE
        >>> total_variation(np.asarray([0.6, 0.2, 0.1, 0.1]), ONE)
        0.1
    """
    want = np.zeros_like(law)
    want[(slice(text.size),) * text.length] = text.law
    return round(0.5 * float(np.abs(law - want).sum()), 12)


def _tokens(out: Any) -> Any:
    return out[0] if isinstance(out, tuple) else getattr(out, "prev_sample", out)


def _state(made: Any) -> str:
    """The state of a scheduler, which distinguishes canvases that look the same."""
    kept = getattr(made, "__dict__", {})
    return repr(
        [(name, _plain(kept[name])) for name in sorted(kept) if name not in ("_internal_dict", "timesteps")]
    )


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, torch.Tensor) else value
