"""Written samplers for the audit of the audit: schedulers of diffusers and of our own, right ones and ones with one fault.

A fault is planted into a scheduler of another library by a subclass, at the one place that it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import toy_schedulers as toys

torch = pytest.importorskip("torch")
library: Any = pytest.importorskip("diffusers")


class FixedStep:
    """The step has the same length whatever the number of steps."""

    def set_timesteps(self, num_inference_steps: int, device: Any = None) -> None:
        self.timesteps = torch.linspace(999, 0, num_inference_steps).long()

    def add_noise(self, original_samples: Any, noise: Any, timesteps: Any) -> Any:
        signal = (1 - timesteps.float() / 1000).view(-1, *[1] * (original_samples.ndim - 1))
        return signal.sqrt() * original_samples + (1 - signal).sqrt() * noise

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        return (sample - 0.01 * model_output,)


class Open(toys.Toy):
    """Its step takes whatever it is given."""

    def step(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return toys.Toy.step(self, *args, **kwargs)


def _shifted(base: type[Any], labels: float) -> type[Any]:
    class Shifted(base):  # type: ignore[misc]
        """Its labels are off by some training steps, and its levels are not."""

        def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
            super().set_timesteps(*args, **kwargs)
            self.timesteps = self.timesteps + labels

    return Shifted


def _last_repeated(base: type[Any]) -> type[Any]:
    class Repeated(base):  # type: ignore[misc]
        def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
            super().set_timesteps(*args, **kwargs)
            self.sigmas[-1] = self.sigmas[-2]

    return Repeated


def _stepping(base: type[Any], change: Callable[[Any, Any, Any], Any]) -> type[Any]:
    class Changed(base):  # type: ignore[misc]
        """The next state is changed, by the scheduler, the state before and the state after."""

        def step(self, model_output: Any, timestep: Any, sample: Any, **options: Any) -> Any:
            after = super().step(model_output, timestep, sample, **options)[0]
            return (change(self, sample, after),)

    return Changed


def _scaled(base: type[Any], factor: float) -> type[Any]:
    class Scaled(base):  # type: ignore[misc]
        """The model's output is scaled before it is used."""

        def step(self, model_output: Any, timestep: Any, sample: Any, **options: Any) -> Any:
            return super().step(factor * model_output, timestep, sample, **options)

    return Scaled


def _at_one_count(self: Any, sample: Any, after: Any) -> Any:
    return after * float("nan") if len(self.timesteps) == 7 else after


def _odd(self: Any, sample: Any, after: Any) -> Any:
    return after + 0.2 * (after - sample) if len(self.timesteps) % 2 else after


def too_far_at_odd_counts(base: type[Any]) -> type[Any]:
    return _stepping(base, _odd)


def _sign(self: Any, sample: Any, after: Any) -> Any:
    return after + 0.3 * (-1.0) ** len(self.timesteps) / len(self.timesteps)


def planted() -> Iterator[tuple[str, Any]]:
    """Each with one fault, and its name."""
    for toy in (toys.Repeated, toys.OtherGrid, toys.Noisy, toys.Broken, toys.Louder, toys.Leaping, toys.Refined,
                toys.Misstated, toys.Unseen, FixedStep):  # fmt: skip
        yield toy.__name__, toy()
    for name in ("EulerDiscreteScheduler", "HeunDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"):
        base = getattr(library, name)
        yield f"{name}, labels", _shifted(base, -20.0)()
        yield f"{name}, last level", _last_repeated(base)()
    for name in ("DDIMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"):
        base = getattr(library, name)
        options = {"clip_sample": False} if name == "DDIMScheduler" else {}
        yield f"{name}, output scaled", _scaled(base, 0.95)(**options)
        yield f"{name}, NaN at 7 steps", _stepping(base, _at_one_count)(**options)
        yield f"{name}, too far at odd counts", too_far_at_odd_counts(base)(**options)
        yield f"{name}, a sign by the count", _stepping(base, _sign)(**options)
        yield f"{name}, state scaled", _stepping(base, lambda self, before, after: 0.99 * after)(**options)
    yield "NaN at 4 steps", library.EulerAncestralDiscreteScheduler(beta_schedule="squaredcos_cap_v2")
    yield "another grid", library.DDIMScheduler(clip_sample=False, timestep_spacing="linspace")
    yield "a consistency function", library.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
    yield "NaN", library.DDPMScheduler(clip_sample=False, variance_type="fixed_large_log")


def right() -> Iterator[tuple[str, Any]]:
    """Schedulers that converge."""
    for toy in (
        toys.Toy,
        toys.Wasted,
        toys.Ancestral,
        toys.Crowded,
        toys.Choosy,
        toys.Velocity,
        Open,
        RungeKutta,
    ):
        yield toy.__name__, toy()
    for prediction in ("epsilon", "sample", "v_prediction"):
        yield f"Euler {prediction}", library.EulerDiscreteScheduler(prediction_type=prediction)
        yield f"DDIM {prediction}", library.DDIMScheduler(clip_sample=False, prediction_type=prediction)
        yield f"DDPM {prediction}", library.DDPMScheduler(clip_sample=False, prediction_type=prediction)
    for option in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"):
        yield f"Euler {option}", library.EulerDiscreteScheduler(**{option: True})
        yield f"Heun {option}", library.HeunDiscreteScheduler(**{option: True})
    for spacing in ("linspace", "leading", "trailing"):
        yield f"ancestral {spacing}", library.EulerAncestralDiscreteScheduler(timestep_spacing=spacing)
        yield f"DDPM {spacing}", library.DDPMScheduler(clip_sample=False, timestep_spacing=spacing)
    yield "Heun", library.HeunDiscreteScheduler()
    yield "KDPM2", library.KDPM2DiscreteScheduler()
    yield "LMS", library.LMSDiscreteScheduler()
    yield "flow", library.FlowMatchEulerDiscreteScheduler()
    yield "flow, shifted", library.FlowMatchEulerDiscreteScheduler(shift=3.0)
    yield "flow, Heun", library.FlowMatchHeunDiscreteScheduler()


class RungeKutta(toys.Toy):
    """The rule of order four on the probability flow, the model being called once for each of four stages."""

    def set_timesteps(self, num_inference_steps: int) -> None:
        ends = torch.linspace(3.0, 0.0, num_inference_steps + 1, dtype=torch.float64)
        middle = 0.5 * (ends[:-1] + ends[1:])
        self.sigmas = torch.stack([ends[:-1], middle, middle, ends[1:]], dim=1).reshape(-1)
        self.timesteps = torch.arange(4 * num_inference_steps)
        self._slopes: list[Any] = []

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        stage = int(timestep) % 4
        self._start = sample if stage == 0 else self._start
        self._slopes = [*self._slopes[:stage], model_output]
        h = self.sigmas[timestep + 3 - stage] - self.sigmas[timestep - stage]
        if stage < 3:
            return (self._start + (0.5, 0.5, 1.0)[stage] * h * model_output,)
        one, two, three, four = self._slopes
        return (self._start + h * (one + 2.0 * two + 2.0 * three + four) / 6.0,)
