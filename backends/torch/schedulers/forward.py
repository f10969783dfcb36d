r"""The forward process behind a scheduler, :math:`x = \alpha x_0 + \sigma z`, as trainers and pipelines call it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .config import require
from .levels import FlowLevels, Levels

__all__ = ["ForwardProcess"]


class ForwardProcess:
    """The forward process of a scheduler with noise ``levels``."""

    config: Any
    levels: Levels

    def scale_model_input(self, sample: Tensor, timestep: float | Tensor | None = None) -> Tensor:
        """The sample itself: the state is what the network was trained on."""
        return sample

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        r"""The noised state :math:`\alpha x_0 + \sigma z` at a timestep for each element of the batch."""
        alpha, sigma = self._columns(original_samples, timesteps)
        return (alpha * original_samples + sigma * noise).to(original_samples.dtype)

    def scale_noise(self, sample: Tensor, timestep: Tensor, noise: Tensor) -> Tensor:
        """:meth:`add_noise`, as pipelines of flows call it."""
        return self.add_noise(sample, noise, timestep)

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        r"""The target of ``v_prediction``, :math:`\alpha z - \sigma x_0`; of a flow, :math:`z - x_0`."""
        if isinstance(self.levels, FlowLevels):
            return noise - sample
        alpha, sigma = self._columns(sample, timesteps)
        return (alpha * noise - sigma * sample).to(sample.dtype)

    def _columns(self, like: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        times = np.atleast_1d(timesteps.detach().double().cpu().numpy())
        most = float(self.config.num_train_timesteps) - (0.0 if isinstance(self.levels, FlowLevels) else 1.0)
        if not ((times >= 0.0) & (times <= most)).all():
            came = f"from {times.min()!r} to {times.max()!r}"
            require(False, f"0 <= timesteps <= {most:g}", came, "GDDIMScheduler")
        shape = (-1, *(1,) * (like.ndim - 1))
        dtype = torch.promote_types(like.dtype, torch.float32)
        alpha, sigma = (torch.as_tensor(v, dtype=dtype, device=like.device) for v in self.levels.at(times))
        return alpha.reshape(shape), sigma.reshape(shape)
