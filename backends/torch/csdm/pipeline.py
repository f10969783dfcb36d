r"""A trained sampler in a sketch with its decoder, called like a pipeline of diffusers.

.. math:: u_T \sim N(0, I) \;\to\; \text{Euler-Maruyama}, \; K \text{ steps} \;\to\; \tilde y = \kappa u + \bar y
    \;\to\; \hat x, \qquad \lambda = c\,\sigma\sqrt{2 \log d}, \quad \sigma^2 = 2 \kappa^2 T / K

The noise that the decoder must remove is known exactly: that of the last step
(:func:`driftproof.theory.csdm.euler_variance`).  Clock: :math:`dX = -X dt + \sqrt2 dB`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

import numpy as np
import torch
from pydantic import NonNegativeFloat, NonPositiveFloat, PositiveFloat, PositiveInt
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof._random import Rng, Source, source
from driftproof.backends.torch.kit import checkpoint as checkpoints
from driftproof.backends.torch.kit.recipe import build
from driftproof.backends.torch.kit.schema import validated
from driftproof.backends.torch.score_models.diffusions.gaussian import GaussianDiffusion
from driftproof.backends.torch.score_models.networks import NetworkRecipe, backbone
from driftproof.backends.torch.score_models.scores import ScoreNetwork
from driftproof.numerics.csdm import Latents, universal_penalty
from driftproof.numerics.samplers import sample
from driftproof.numerics.sensing import debias
from driftproof.theory.processes import VP

from .fista import batched_fista

__all__ = ["CSDMOutput", "CSDMPipeline", "DecoderConfig", "PipelineConfig", "diffusion_of"]

FORMAT = "driftproof-csdm/1"

OutputType: TypeAlias = Literal["pt", "np", "latent"]
OnStepEnd: TypeAlias = Callable[["CSDMPipeline", int, float, dict[str, Tensor]], Mapping[str, Tensor] | None]


@final
@validated(frozen=True, slots=True)
class DecoderConfig:
    """How data come back from measurements.

    Arguments:
        factor: The penalty, in units of the universal one; 0: no decoding, the sketch must be square.
        low, high: Bounds of the data, low <= 0 <= high, only without a basis; None for none.
        refit: Whether least squares on the support follows.
        tolerance, max_iterations: The duality gap relative to the squared measurements, and the steps allowed.
    """

    factor: NonNegativeFloat = 1.0
    low: NonPositiveFloat | None = None
    high: NonNegativeFloat | None = None
    refit: bool = False
    tolerance: PositiveFloat = 1e-5
    max_iterations: PositiveInt = 20_000


@final
@validated(frozen=True, slots=True)
class PipelineConfig:
    """Everything of a pipeline that is no tensor.

    Arguments:
        network: The backbone.
        scale: The scale of the measurements, > 0.
        decoder: The decoder.
        low, high: Noise-to-signal ratios between which the network was trained; sampling starts at ``high``.
    """

    network: NetworkRecipe
    scale: PositiveFloat
    decoder: DecoderConfig
    low: PositiveFloat = 0.02
    high: PositiveFloat = 10.0

    @property
    def horizon(self) -> float:
        """Where sampling starts on the clock."""
        return 0.5 * math.log1p(self.high**2)


@final
@dataclass(frozen=True, slots=True, eq=False)
class CSDMOutput:
    """The result of a call: ``samples`` (B, d), and the ``latents`` (B, m) that they were decoded from."""

    samples: Any  # a tensor, or an array for "np"
    latents: Tensor


def diffusion_of(rows: Any, low: float, high: float) -> GaussianDiffusion:
    """The diffusion of latents with shape (n, m): VP on the clock of this module."""
    return GaussianDiffusion(VP(2.0, 2.0, 1.01 * 0.5 * math.log1p(high**2)), rows, low, high)


@final
class CSDMPipeline:
    """Samples in a sketch, decodes, and can be saved.

    Arguments:
        network: The score network of the latents.
        sketch: The matrix A, with shape (m, d).
        centre: The mean of the measurements, with shape (m,).
        basis: Orthogonal matrix with shape (d, d) in which the data are sparse, or None.
        config: The rest.

    Raises:
        UnmetHypothesis: Shapes that do not match, bounds beside a basis, or no decoder for a sketch with m < d.

    Example:
        >>> from driftproof.backends.torch.score_models.networks import NetworkRecipe
        >>> config = PipelineConfig(NetworkRecipe(width=8, depth=1), 1.0, DecoderConfig())
        >>> pipe = CSDMPipeline.untrained(torch.eye(3)[:2] + 0.1, torch.zeros(2), None, config)
        >>> pipe(batch_size=4, num_inference_steps=10, generator=0).samples.shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        network: ScoreNetwork,
        sketch: Tensor,
        centre: Tensor,
        basis: Tensor | None,
        config: PipelineConfig,
    ) -> None:
        self.latents = Latents(sketch, centre, config.scale)
        self.network, self.basis, self.config = network.eval(), basis, config
        m, d = sketch.shape
        decoder = config.decoder
        if basis is not None and (decoder.low is not None or decoder.high is not None):
            got = f"low = {decoder.low}, high = {decoder.high} beside a basis"
            raise UnmetHypothesis("CSDMPipeline", "bounds hold for data that are sparse themselves", got)
        if basis is not None and tuple(basis.shape) != (d, d):
            raise UnmetHypothesis("CSDMPipeline", "basis (d, d)", f"shape {tuple(basis.shape)}, d = {d}")
        if decoder.factor == 0.0 and m < d:
            raise UnmetHypothesis("CSDMPipeline", "a decoder (factor > 0) where m < d", f"m = {m}, d = {d}")

    @classmethod
    def untrained(
        cls, sketch: Tensor, centre: Tensor, basis: Tensor | None, config: PipelineConfig, seed: int = 0
    ) -> CSDMPipeline:
        """A pipeline whose network puts out the score of standard normal latents."""
        diffusion = diffusion_of(np.array([[-1.0], [1.0]]), config.low, config.high)
        network = ScoreNetwork(backbone(config.network, sketch.shape[0], 0, 1, seed), diffusion)
        return cls(network.to(sketch.device, sketch.dtype), sketch, centre, basis, config)

    @property
    def most_steps(self) -> int:
        """Steps beyond which the last one would begin below the noise that the network was trained on."""
        return math.floor(self.config.horizon / (0.5 * math.log1p(self.config.low**2)))

    def noise(self, num_inference_steps: int) -> float:
        """The noise level that the last step leaves in the measurements."""
        return self.config.scale * math.sqrt(2.0 * self.config.horizon / num_inference_steps)

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        num_inference_steps: int = 200,
        generator: Rng | None = None,
        *,
        latents: Tensor | None = None,
        output_type: OutputType = "pt",
        return_dict: bool = True,
        callback_on_step_end: OnStepEnd | None = None,
        progress: bool | None = False,
    ) -> Any:  # CSDMOutput, or a pair without return_dict
        """Draw samples.

        Arguments:
            batch_size: Rows, >= 1.
            num_inference_steps: Steps of Euler-Maruyama; no step may end below the noise that the network saw.
            generator: A torch generator or an integer seed; global state is never used.
            latents: Where to start, with shape (batch_size, m), in place of normal draws.
            output_type: ``"pt"`` for tensors, ``"np"`` for numpy; ``"latent"`` does not decode.
            return_dict: Whether to return an object; a pair otherwise.
            callback_on_step_end: Called after each step with the pipeline, the step, its noise time and
                ``{"latents": ...}``; the latents of the dictionary that it returns, if any, are gone on from.
            progress: Whether to show a bar; None: on a terminal only.  There is none beside a callback.

        Raises:
            TypeError: No generator.
            UnmetHypothesis: An empty batch, or steps shorter than the network can see.
            NotConverged: The decoder did not reach its duality gap.
        """
        config, centre = self.config, self.latents.centre
        if batch_size < 1 or num_inference_steps < 1:
            got = f"batch_size = {batch_size}, num_inference_steps = {num_inference_steps}"
            raise UnmetHypothesis("CSDMPipeline", "batch_size and num_inference_steps >= 1", got)
        step = config.horizon / num_inference_steps
        last = math.sqrt(math.expm1(2.0 * step))
        if last < config.low:
            got = f"the last step starts at {last:.3g}; at most {self.most_steps} steps"
            raise UnmetHypothesis("CSDMPipeline", f"noise-to-signal ratios >= {config.low:g}", got)
        if output_type not in ("pt", "np", "latent"):
            got = f"output_type = {output_type!r}"
            raise UnmetHypothesis("CSDMPipeline", "output_type is 'pt', 'np' or 'latent'", got)
        shape = (batch_size, centre.shape[0])
        noise = source(generator, like=centre)
        if latents is None:
            u = noise.normal(centre.new_zeros(shape))
        elif tuple(latents.shape) == shape:
            u = latents.to(centre)
        else:
            got = f"shape {tuple(latents.shape)}"
            raise UnmetHypothesis("CSDMPipeline", f"latents have shape {shape}", got)
        grid = [step * k for k in range(num_inference_steps, 0, -1)] + [0.0]
        if callback_on_step_end is None:
            u = self._sampled(u, grid, noise, None if progress is None else not progress)
        else:
            for i, (time, after) in enumerate(pairwise(grid)):
                u = self._sampled(u, [time, after], noise, True)
                u = (callback_on_step_end(self, i, time, {"latents": u}) or {}).get("latents", u)
        samples: Any = u if output_type == "latent" else self.decode(u, num_inference_steps)
        if output_type == "np":
            samples = samples.cpu().numpy()
        return CSDMOutput(samples, u) if return_dict else (samples, u)

    def _sampled(self, u: Tensor, grid: Sequence[float], noise: Source, disable: bool | None) -> Tensor:
        """Latents at the end of the grid, of latents at its beginning."""
        result: Tensor = sample(
            self.network.diffusion.process,
            lambda u, t: self.network(u, t.expand(u.shape[0], 1))[:, 0],
            grid,
            1.0,
            noise,
            "euler_maruyama",
            start=u,
            kind="epsilon",
            disable=disable,
        )
        return result

    def decode(self, latents: Tensor, num_inference_steps: int) -> Tensor:
        """Data (B, d) of latents (B, m) that so many steps have left their noise in."""
        decoder, sketch = self.config.decoder, self.latents.sketch
        y = self.latents.measurements(latents)
        if decoder.factor == 0.0:
            return torch.linalg.solve(sketch, y.T).T
        turned = sketch if self.basis is None else sketch @ self.basis.T
        lam = decoder.factor * universal_penalty(self.noise(num_inference_steps), sketch.shape[1])
        found = batched_fista(
            turned,
            y,
            lam,
            low=-math.inf if decoder.low is None else decoder.low,
            high=math.inf if decoder.high is None else decoder.high,
            tolerance=decoder.tolerance,
            max_iterations=decoder.max_iterations,
        ).x
        if decoder.refit:
            found = debias(turned, y, found)
        return found if self.basis is None else found @ self.basis

    @property
    def device(self) -> torch.device:
        """Where the latents are drawn."""
        device: torch.device = self.latents.centre.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the latents are drawn in."""
        dtype: torch.dtype = self.latents.centre.dtype
        return dtype

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> CSDMPipeline:
        """This pipeline, moved to a device or cast to float32 or float64."""
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        if dtype not in (None, torch.float32, torch.float64):
            raise UnmetHypothesis("CSDMPipeline", "dtype is float32 or float64", f"dtype = {dtype}")
        self.network.to(device=device, dtype=dtype)
        sketch, centre = (
            part.to(device=device, dtype=dtype) for part in (self.latents.sketch, self.latents.centre)
        )
        self.latents = Latents(sketch, centre, self.config.scale)
        if self.basis is not None:
            self.basis = self.basis.to(device=device, dtype=dtype)
        return self

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``config.json`` and ``model.safetensors`` into a folder."""
        tensors = {
            **checkpoints.prefixed("network", self.network.state_dict()),
            "sketch": self.latents.sketch,
            "centre": self.latents.centre,
        }
        if self.basis is not None:
            tensors["basis"] = self.basis
        place = Path(folder)
        checkpoints.save(place / "model.safetensors", tensors, {"format": FORMAT})
        table = json.dumps({"format": FORMAT, **asdict(self.config)}, indent=1)
        (place / "config.json").write_text(table, encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> CSDMPipeline:
        """Read what :meth:`save_pretrained` wrote, on the CPU.

        Raises:
            FileNotFoundError: There is no pipeline in the folder.
            ValueError: The files are of another format, or damaged.
        """
        place = Path(folder)
        if not (place / "config.json").is_file():
            raise FileNotFoundError(f"CSDMPipeline: no config.json in {place}")
        table = json.loads((place / "config.json").read_text(encoding="utf-8"))
        if table.pop("format", None) != FORMAT:
            raise ValueError(f"CSDMPipeline: expected the format {FORMAT!r} in {place / 'config.json'}")
        config = build(PipelineConfig, table, str(place / "config.json"))
        tensors, _ = checkpoints.load(place / "model.safetensors")
        pipe = cls.untrained(tensors["sketch"], tensors["centre"], tensors.get("basis"), config)
        pipe.network.load_state_dict(checkpoints.under("network", tensors))
        return pipe
