r"""A frozen network as the right side of a flow, in the variable in which Euler's method is the usual sampler.

* A flow, :math:`x_t = (1-t)x_0 + tz`: the state itself, :math:`F = dx/dt` over t from 1 to 0.
* A model with a table: :math:`y = x/\alpha` over :math:`\tau = \sigma/\alpha`, where :math:`dy/d\tau` is the predicted
  noise, so that Euler's steps are those of DDIM, whatever alpha is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast, final

import array_api_compat.torch as xp
import numpy as np
import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.pretrained.config import DIFFUSIONS
from driftproof.backends.torch.pretrained.decoding import decoder, images_of
from driftproof.backends.torch.pretrained.denoisers import Denoiser, SiTDenoiser
from driftproof.backends.torch.pretrained.digits import CLASSES, caption
from driftproof.backends.torch.pretrained.loader import denoiser_of
from driftproof.backends.torch.pretrained.models import zoo
from driftproof.backends.torch.pretrained.pipelines import (
    encoded_prompts,
    guidance_of,
    kind_of,
    latent_shape,
    network_of,
    weights_digest,
)
from driftproof.backends.torch.schedulers.levels import Floats, VPLevels
from driftproof.numerics.samplers import data_and_noise

__all__ = ["ZOO", "FrozenFlow", "flow_of", "load"]

ZOO: Final = "zoo:"
CAPTIONS: Final = tuple(caption(digit, digit % 3, (digit // 3) % 3) for digit in range(len(CLASSES)))


@final
@dataclass(eq=False)
class FrozenFlow:
    """A network with its levels, its conditions, and a count of its evaluations.

    Arguments:
        denoiser: ``denoiser(x, labels, condition)``.
        table: The cumulative products of its training; None for a flow.
        conditions: Named tensors with a row for each prompt, taken in turn.
        shape: The shape of a state.
        guidance: The guidance of the denoiser.
        decode: From states of the data to images; None where they are none.
        scheduler: The configuration and class of the pipeline's own; None where it has none.
    """

    denoiser: Denoiser
    table: Floats | None
    conditions: Mapping[str, Tensor]
    shape: tuple[int, ...]
    guidance: float = 1.0
    decode: Callable[[Tensor], Tensor] | None = None
    scheduler: Any = None
    evaluations: int = field(default=0, init=False)

    @property
    def kind(self) -> Literal["flow", "ratio"]:
        """The kind of its levels."""
        return "flow" if self.table is None else "ratio"

    @property
    def ends(self) -> tuple[float, float]:
        """The first level, and the last one > 0 that the network knows; of a flow a hundredth."""
        if self.table is None:
            return 1.0, 0.01
        ratio = np.exp(VPLevels(self.table, 1.0).log_ratio)
        return float(ratio[-1]), float(ratio[0])

    @property
    def digest(self) -> str:
        """The identity of its network."""
        network = getattr(self.denoiser, "network", None)
        return weights_digest(network) if network is not None else "closed form"

    @property
    def description(self) -> tuple[bytes | str, ...]:
        """The inputs of its velocities beside the network's weights: labels, prompts and, without one, the formula."""
        table = b"" if self.table is None else np.asarray(self.table).tobytes()
        rows = (self.conditions[name].detach().cpu().double().numpy() for name in sorted(self.conditions))
        formula = "" if hasattr(self.denoiser, "network") else repr(self.denoiser)
        known = f"{self.kind} {self.denoiser.prediction} {sorted(self.conditions)} {formula}"
        return known, table, *(part.tobytes() for part in rows)

    def noise(self, count: int, generator: torch.Generator) -> Tensor:
        """Standard normal draws for states, on the device of the network."""
        network = getattr(self.denoiser, "network", None)
        device = torch.device("cpu") if network is None else next(network.parameters()).device
        return torch.randn(count, *self.shape, generator=generator).to(device)

    def state(self, noise: Tensor, level: float) -> Tensor:
        """The state at a first level: noise as a pipeline begins with it; y is the state over alpha."""
        return noise if self.table is None else noise * (1.0 + level * level) ** 0.5

    def data(self, state: Tensor, level: float) -> Tensor:
        """The data that a pipeline decodes: x of the state at the last level."""
        return state if self.table is None else state / (1.0 + level * level) ** 0.5

    def rows(self, count: int, offset: int = 0) -> dict[str, Tensor]:
        """Conditions for states offset, offset + 1, ...: the prompts in turn."""
        return {
            name: rows[torch.arange(offset, offset + count) % len(rows)]
            for name, rows in self.conditions.items()
        }

    def velocity(self, condition: Mapping[str, Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        """F of states (B, *) and a level, a scalar tensor; it may be differentiated in both."""

        def of(x: Tensor, tau: Tensor) -> Tensor:
            self.evaluations += len(x) * (1 if self.guidance == 1.0 else 2)
            if self.table is None:
                return self.denoiser(x, (1000.0 * tau).expand(len(x)), condition)
            alpha = torch.rsqrt(1.0 + tau * tau)
            output = self.denoiser(alpha * x, self._label(tau).expand(len(x)), condition)
            _, noise = data_and_noise.kernel(
                xp, alpha * x, output, alpha, alpha * tau, self.denoiser.prediction
            )
            return cast("Tensor", noise)

        return of

    def _label(self, tau: Tensor) -> Tensor:
        """The label of a level; between labels the logarithm is linear, and so is its derivative there."""
        log = torch.as_tensor(
            VPLevels(cast("Floats", self.table), 1.0).log_ratio, dtype=tau.dtype, device=tau.device
        )
        at = torch.log(tau)
        low = int(torch.searchsorted(log, float(at)).clamp(1, len(log) - 1)) - 1
        # Not cut at the ends: the differences around the last level tell a label a hundredth below the first.
        return low + (at - log[low]) / (log[low + 1] - log[low])


def load(
    name: str,
    guidance: float | None = None,
    prompts: Sequence[str] = (),
    device: torch.device | str = "cpu",
) -> FrozenFlow:
    """A model of the zoo, ``zoo:NAME``, or a pipeline saved in a folder; nothing is downloaded.

    Arguments:
        name: Which one.
        guidance: The weight of classifier-free guidance; None for the pipeline's own, and 1 for ``zoo:mnist-sit``.
        prompts: Its prompts, taken in turn; captions or classes of all digits for the zoo's, else the empty prompt.

    Raises:
        FileNotFoundError: There is no such folder.
        UnmetHypothesis: A model without an adapter, or prompts for one that has none.
        ZooError: There is no such model in the zoo.
    """
    if name == f"{ZOO}mnist-sit":
        network = zoo("mnist-sit").to(device)
        weight = 1.0 if guidance is None else guidance
        side = int(network.config.sample_size)
        given = [_class_of(prompt, int(network.config.num_embeds_ada_norm)) for prompt in prompts]
        given = given or list(range(len(CLASSES)))
        decode = images_of(decoder("sit", zoo("mnist-vae").to(device)))
        labels = {"label": torch.tensor(given, device=device)}
        return FrozenFlow(
            cast("Denoiser", SiTDenoiser(network, weight)),
            None,
            labels,
            (network.config.in_channels, side, side),
            weight,
            decode,
        )
    if name.startswith(ZOO):
        pipeline = zoo(name.removeprefix(ZOO))
        prompts = prompts or (CAPTIONS if name == f"{ZOO}mnist-sd" else ("",))
    else:
        if not (Path(name) / "model_index.json").is_file():
            raise FileNotFoundError(
                f"grid: {name}: neither {ZOO}NAME nor a folder with model_index.json, a saved pipeline"
            )
        from diffusers import DiffusionPipeline

        pipeline = DiffusionPipeline.from_pretrained(name, use_safetensors=True, local_files_only=True)
    return flow_of(pipeline, guidance, prompts or ("",), device)


def _class_of(prompt: str, count: int) -> int:
    if not prompt.isdecimal() or int(prompt) >= count:
        raise UnmetHypothesis(
            "grid", f"a prompt of a class-conditional model is one of 0..{count - 1}", prompt
        )
    return int(prompt)


def flow_of(
    pipeline: Any,
    guidance: float | None = None,
    prompts: Sequence[str] = ("",),
    device: torch.device | str = "cpu",
) -> FrozenFlow:
    """A pipeline of diffusers with an adapter, frozen; the arguments are those of :func:`load`."""
    kind = kind_of(pipeline, "grid")
    weight = guidance_of(kind, pipeline, guidance)
    network = network_of(kind, pipeline).to(device).eval().requires_grad_(False)
    scheduler = pipeline.scheduler
    shape = latent_shape(kind, pipeline)
    pipeline.to(device)
    conditions = encoded_prompts(
        kind, pipeline, tuple(prompts), torch.device(device), shape, negatives=weight != 1.0
    )
    table = None
    if kind in DIFFUSIONS:
        table = np.asarray(scheduler.alphas_cumprod, dtype=np.float64)
        if not (table > 0.0).all():
            raise UnmetHypothesis(
                "grid", "the last label is not pure noise", "alpha = 0: sigma / alpha is infinite"
            )
    denoiser = denoiser_of(kind, network, weight, scheduler.config.get("prediction_type", "epsilon"))
    decode = images_of(decoder(kind, getattr(pipeline, "vae", None)))
    return FrozenFlow(cast("Denoiser", denoiser), table, conditions, shape, weight, decode, scheduler)
