r"""A whole pipeline of diffusers: its network is replaced by the exact one, and the law of its latents is read.

What the scheduler does right may be undone by the loop around it: latents scaled twice, noise of another size at the
start, a state that is not scaled for the network.  The network sees a state and a label, and the table of its training
says at which :math:`(\alpha, \sigma)` the state should be: so the state is judged as the network sees it.

A pipeline makes its first state of standard normal latents w, as s w.  At the level :math:`(\alpha, \sigma)` of the
first call the right s is between :math:`\sigma` and :math:`\sqrt{\alpha^2 + \sigma^2}`, data of unit variance; such an s
is divided out, so that the run starts at the exact marginal and nothing is blamed on the prior.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, Final, final

import numpy as np

from driftproof._namespace import UnmetHypothesis
from driftproof.theory.processes import AbstractGaussianProcess

from .interface import option, parameters, takes_named
from .levels import Levels, clock_of, rectified, table
from .runs import RunSampler

__all__ = ["is_pipeline", "pipeline_sampler"]

_NETWORKS: Final = ("unet", "transformer")
# What encodes the prompt, and what looks at images: left out, as embeddings are given.
_LEFT_OUT: Final = ("text_encoder", "text_encoder_2", "text_encoder_3", "image_encoder", "safety_checker")
# What is asked of a pipeline that takes it: embeddings of one token, no guidance, no images.
_ASKED: Final[Mapping[str, Any]] = {
    "guidance_scale": 1.0,
    "true_cfg_scale": 1.0,
    "output_type": "latent",
    "return_dict": False,
}
_EMBEDDINGS: Final = {"prompt_embeds": (1, 1, 1), "pooled_prompt_embeds": (1, 1)}
_TRAINED: Final = 1000
# Tables in single precision, and what is between two conventions for the size of the first noise.
_ROUNDING: Final = 1e-3


def is_pipeline(thing: Any) -> bool:
    """Whether it is a callable object with a scheduler and a network, as a pipeline of diffusers."""
    found = getattr(thing, "scheduler", None)
    return callable(thing) and hasattr(found, "set_timesteps") and _network(thing) is not None


def pipeline_sampler(
    pipeline: Any,
    levels: Levels | AbstractGaussianProcess | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> RunSampler:
    """A pipeline as the probe sees it; it is copied before every run.

    Arguments:
        pipeline: The object; it takes ``latents``, ``num_inference_steps`` and ``output_type="latent"``.
        levels: (alpha, sigma) of the state that its network is shown with a label; by the table of its scheduler's
            training unless given, or for a flow by its number of training steps.
        arguments: Further keyword arguments of its call.

    Raises:
        UnmetHypothesis: It does not take these.
    """
    takes = _takes(type(pipeline))
    lacks = [each for each in ("latents", "num_inference_steps", "output_type") if each not in takes]
    if lacks:
        raise UnmetHypothesis(
            "audit", "a pipeline takes latents, num_inference_steps and output_type", f"no {', '.join(lacks)}"
        )
    looped = _Loop(pipeline, {**_embeddings(takes), **(arguments or {})}, "generator" in takes)
    clock = _clock(pipeline.scheduler, looped) if levels is None else clock_of(levels)
    starts: dict[int, tuple[tuple[float, float], float]] = {}

    def start(n: int) -> tuple[tuple[float, float], float]:
        """The level of the first call, and what the latents are divided by."""
        if n not in starts:
            (alpha, sigma), scale = clock(looped.first_label(n)), looped.scale(n)
            most = math.hypot(alpha, sigma)
            right = sigma * (1.0 - _ROUNDING) <= scale <= most * (1.0 + _ROUNDING)
            starts[n] = (alpha, sigma), scale if right else most
        return starts[n]

    def run(model: Callable[..., Any], x: Any, n: int) -> Any:
        return looped(model, x / start(n)[1], n)

    return RunSampler(run, clock, lambda n: start(n)[0], rank=looped.rank())


@final
class _Exact:
    """In place of a network: the probe's model, and whatever else is asked of the network itself."""

    def __init__(self, network: Any, model: Callable[..., Any]) -> None:
        import torch

        self._network, self._model = network, model
        self.dtype, self.device = torch.float64, torch.device("cpu")

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        state = arguments[0] if arguments else options.get("hidden_states", options.get("sample"))
        label = arguments[1] if len(arguments) > 1 else options.get("timestep")
        return (self._model(state, label),)

    def cache_context(self, name: str) -> Any:
        return nullcontext()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


class _Seen(Exception):
    """Raised at the first call of the network, with what it was called with."""


@final
class _Loop:
    """The loop of a pipeline around any network."""

    def __init__(self, pipeline: Any, arguments: Mapping[str, Any], generator: bool) -> None:
        self._pipeline, self._arguments = pipeline, arguments
        self._rank, self._generator = 0, generator

    def __call__(self, model: Callable[..., Any], latents: Any, n: int) -> Any:
        import torch

        made = copy.copy(self._pipeline)
        name = _network(made)
        assert name is not None
        # Set as they lie: attributes of a pipeline are registered in a configuration that its copies share.
        vars(made).update({each: None for each in _LEFT_OUT if each in vars(made)})
        vars(made)[name] = _Exact(vars(made)[name], model)
        vars(made)["scheduler"] = copy.deepcopy(self._pipeline.scheduler)
        vars(made)["_progress_bar_config"] = {"disable": True}
        options = dict(self._arguments)
        if latents is None and self._generator:
            options["generator"] = torch.Generator()  # torch's own is left alone
        out = made(num_inference_steps=n, latents=latents, **options)
        return out[0] if isinstance(out, tuple) else out

    def first_label(self, n: int) -> float:
        return float(np.asarray(self._first(n, 1.0)[1], dtype=np.float64).reshape(-1)[0])

    def scale(self, n: int) -> float:
        """The value of a latent of 1 at the first call of the network."""
        one, zero = (float(self._first(n, value)[0].double().mean()) for value in (1.0, 0.0))
        return one - zero

    def rank(self) -> int:
        """The number of dimensions of its latents: of those that it draws itself."""
        if not self._rank:
            self._rank = self._first(2, None)[0].ndim
        return self._rank

    def _first(self, n: int, value: float | None) -> tuple[Any, Any]:
        """State and label at the first call, from latents of this value."""
        import torch

        def model(state: Any, label: Any) -> Any:
            raise _Seen(state, label)

        latents = None
        if value is not None:
            latents = torch.full((*[1] * (self.rank() - 1), 2), value, dtype=torch.float64)
        try:
            self(model, latents, n)
        except _Seen as seen:
            return seen.args[0], seen.args[1]
        raise UnmetHypothesis("audit", "a pipeline calls its network", "it ended without a call")


def _takes(cls: type[Any]) -> dict[str, Any]:
    """The names of the arguments of its call; one that passes everything on takes those of its base."""
    found: dict[str, Any] = {}
    for each in cls.__mro__:
        if "__call__" in vars(each):
            found = {**parameters(vars(each)["__call__"]), **found}
            if not takes_named(vars(each)["__call__"]):
                break
    return found


def _network(pipeline: Any) -> str | None:
    return next((name for name in _NETWORKS if getattr(pipeline, name, None) is not None), None)


def _embeddings(takes: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    made = {name: value for name, value in _ASKED.items() if name in takes}
    zeros = {name: torch.zeros(*shape, dtype=torch.float64) for name, shape in _EMBEDDINGS.items()}
    return made | {name: value for name, value in zeros.items() if name in takes}


def _clock(scheduler: Any, looped: _Loop) -> Levels:
    """The levels of the training's labels, by the table of the scheduler or, for a flow, by its training steps."""
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if alphas is not None and option(scheduler, "prediction_type") != "flow_prediction":
        return table(np.asarray(alphas, dtype=np.float64))
    trained = float(option(scheduler, "num_train_timesteps", _TRAINED))
    unit = 1.0 if looped.first_label(2) <= 1.0 else trained

    def flow(label: float) -> tuple[float, float]:
        return rectified(label / unit)

    return flow
