"""Schedulers with one thing right or wrong each, for the affine probe to find."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from driftproof.numerics.samplers import ddim_step
from driftproof.theory.processes import VP

torch = pytest.importorskip("torch")


def ddim(model_output: Any, t: float, s: float, sample: Any, noise: Any) -> Any:
    return ddim_step(VP(), sample, t, s, model_output)


class Toy:
    """Euler's method on the probability flow of a variance-exploding process, noise prediction."""

    prediction_type: str | None = "epsilon"

    def set_timesteps(self, num_inference_steps: int) -> None:
        ramp = torch.linspace(0, 1, num_inference_steps, dtype=torch.float64)
        self.sigmas = torch.cat([10.0 * (0.01 / 10.0) ** ramp, torch.zeros(1, dtype=torch.float64)])
        self.timesteps = torch.arange(num_inference_steps)

    def add_noise(self, original_samples: Any, noise: Any, timesteps: Any) -> Any:
        return original_samples + self.sigmas[timesteps] * noise

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        return (sample + (self.sigmas[timestep + 1] - self.sigmas[timestep]) * model_output,)


class Repeated(Toy):
    """The last noise level twice: the final step does nothing."""

    def set_timesteps(self, num_inference_steps: int) -> None:
        super().set_timesteps(num_inference_steps)
        self.sigmas[-1] = self.sigmas[-2]


class Wasted(Toy):
    """The model is called once more at the data, and the count has another name."""

    def set_timesteps(self, count: int) -> None:
        super().set_timesteps(count - 1)
        self.sigmas = torch.cat([self.sigmas, torch.zeros(1, dtype=torch.float64)])
        self.timesteps = torch.arange(count)


class Silent(Toy):
    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        return None


class OtherGrid(Toy):
    """The step goes a little less far than the grid."""

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        after = 0.8 * self.sigmas[timestep + 1] + 0.2 * self.sigmas[timestep]
        return (sample + (after - self.sigmas[timestep]) * model_output,)


class Noisy(Toy):
    """Noise is added without the drift that pays for it."""

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        h = self.sigmas[timestep] ** 2 - self.sigmas[timestep + 1] ** 2
        return (super().step(model_output, timestep, sample)[0] + h.sqrt() * torch.randn_like(sample),)


class Ancestral(Toy):
    """The same with the drift: down to sigma_down, and noise up to the next level."""

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        t, s = self.sigmas[timestep], self.sigmas[timestep + 1]
        up = (s**2 * (t**2 - s**2) / t**2).sqrt()
        down = (s**2 - up**2).sqrt()
        return (sample + (down - t) * model_output + up * torch.randn(sample.shape, dtype=sample.dtype),)


class Broken(Toy):
    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        return (sample * torch.tensor(-1.0).log(),)


class Crowded(Toy):
    """Most noise levels lie where nothing happens: right, and slow to start."""

    def set_timesteps(self, num_inference_steps: int) -> None:
        ramp = torch.linspace(0, 1, num_inference_steps, dtype=torch.float64) ** 0.2
        self.sigmas = torch.cat([10.0 * (0.01 / 10.0) ** ramp, torch.zeros(1, dtype=torch.float64)])
        self.timesteps = torch.arange(num_inference_steps)


class Louder(Ancestral):
    """The noise is 1.3 times what the drift pays for."""

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        with_noise = super().step(model_output, timestep, sample)[0]
        without = sample + (self.down(timestep) - self.sigmas[timestep]) * model_output
        return (without + 1.3 * (with_noise - without),)

    def down(self, timestep: Any) -> Any:
        return self.sigmas[timestep + 1] ** 2 / self.sigmas[timestep]


class Leaping(Toy):
    """Every step jumps to three tenths of the next noise level, and noise leads back up to it."""

    prediction_type = "epsilon"

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        t, s = self.sigmas[timestep], self.sigmas[timestep + 1]
        return (sample + (0.3 * s - t) * model_output + math.sqrt(0.91) * s * torch.randn_like(sample),)


class Timeless(Toy):
    def set_timesteps(self, num_inference_steps: int) -> None: ...


class Asking(Ancestral):
    def step(self, model_output: Any, timestep: Any, sample: Any, generator: Any) -> Any:  # type: ignore[override]
        return super().step(model_output, timestep, sample)


class Unseen(Ancestral):
    """Its noise is NumPy's."""

    rng = np.random.default_rng(0)

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        after = Toy.step(self, model_output, timestep, sample)[0]
        return (
            after
            + 0.01 * self.sigmas[timestep + 1] * torch.from_numpy(self.rng.standard_normal(sample.shape)),
        )


class Refined(Toy):
    """A stated order of 2, and an option of the step that asks for the first."""

    def step(self, model_output: Any, timestep: Any, sample: Any, order: int = 2) -> Any:  # type: ignore[override]
        return super().step(model_output, timestep, sample)


class Reshaping(Toy):
    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        return (sample[..., :-1],)


class Rising(Toy):
    def set_timesteps(self, num_inference_steps: int) -> None:
        super().set_timesteps(num_inference_steps)
        self.sigmas = self.sigmas.flip(0)


class Uniform(Toy):
    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        return (sample + torch.rand(sample.shape),)


class Clipped(Toy):
    """The predicted data point is clipped to [-1, 1]."""

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        t, s = self.sigmas[timestep], self.sigmas[timestep + 1]
        x0 = (sample - t * model_output).clamp(-1.0, 1.0)
        return (x0 + s * (sample - x0) / t,)


class Misstated(Toy):
    """The steps are those of a flow, and add_noise is that of a variance-preserving process."""

    def set_timesteps(self, num_inference_steps: int) -> None:
        self.sigmas = torch.linspace(0.99, 0, num_inference_steps + 1, dtype=torch.float64)
        self.timesteps = torch.arange(num_inference_steps)

    def add_noise(self, original_samples: Any, noise: Any, timesteps: Any) -> Any:
        sigma = self.sigmas[timesteps]
        return (1.0 - sigma**2).sqrt() * original_samples + sigma * noise

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        t, s = self.sigmas[timestep], self.sigmas[timestep + 1]
        x0 = (sample - t * model_output) / (1.0 - t)
        return ((1.0 - s) * x0 + s * model_output,)


class Consistent(Toy):
    """A consistency model down to a level above 0, from which noise leads up again, with scalings of its own."""

    prediction_type = None
    sigma_data, low = 0.5, 0.05

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        t = self.sigmas[timestep]
        skip = 0.25 / ((t - self.low) ** 2 + 0.25)
        down = skip * sample + (t - self.low) * 0.5 / (t**2 + 0.25).sqrt() * model_output
        return (down + (self.after(timestep) ** 2 - self.low**2).sqrt() * torch.randn_like(sample),)

    def set_timesteps(self, num_inference_steps: int) -> None:
        self.sigmas = torch.linspace(2.0, self.low, num_inference_steps + 1, dtype=torch.float64)
        self.timesteps = torch.arange(num_inference_steps)

    def after(self, timestep: Any) -> Any:
        return self.sigmas[timestep + 1]


class Choosy(Toy):
    """It takes no more than forty steps."""

    def set_timesteps(self, num_inference_steps: int) -> None:
        if num_inference_steps > 40:
            raise ValueError("at most 40")
        super().set_timesteps(num_inference_steps)


class Velocity(Toy):
    """Flow prediction that does not say so, and with the other sign."""

    prediction_type = None

    def set_timesteps(self, num_inference_steps: int) -> None:
        self.sigmas = torch.linspace(1, 0, num_inference_steps + 1, dtype=torch.float64)
        self.timesteps = torch.arange(num_inference_steps)

    def scale_noise(self, sample: Any, timestep: Any, noise: Any) -> Any:
        return (1.0 - self.sigmas[timestep]) * sample + self.sigmas[timestep] * noise

    add_noise: Any = None

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        return (sample - (self.sigmas[timestep + 1] - self.sigmas[timestep]) * model_output,)
