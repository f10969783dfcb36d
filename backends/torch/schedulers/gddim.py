r"""gDDIM as a scheduler of diffusers: any eta >= 0, the grid it was given, and the density of its steps.

.. code-block:: python

    from driftproof.backends.torch.schedulers import GDDIMScheduler

    pipe.scheduler = GDDIMScheduler.from_config(pipe.scheduler.config)   # SD 1.5, SDXL
    image = pipe(prompt, num_inference_steps=20, eta=1.5).images[0]
    flow.scheduler = GDDIMScheduler.from_config(flow.scheduler.config, eta=0.7)   # SD3, Flux: no eta in the call
    image = flow(prompt, num_inference_steps=28).images[0]

A step is :math:`x_s = \alpha_s\hat x_0 + \sigma_s(q^{\eta^2}\hat\epsilon + \sqrt{1 - q^{2\eta^2}}\,Z)` with
:math:`q^2 = \mathrm{SNR}_t/\mathrm{SNR}_s`: DDIM at eta = 0, the ancestral sampler at eta = 1, and exact for
data at one point at every eta, where the eta of DDIM ends above 1.

A step looks its timestep up in the grid of the last ``set_timesteps``, so it has no hidden counter: steps
may be repeated, skipped or taken in any order, as when a policy gradient goes through a stored trajectory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import array_api_compat.torch as xp
import torch
from torch import Tensor

try:
    from diffusers.configuration_utils import ConfigMixin, register_to_config
    from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers, SchedulerMixin
    from diffusers.utils import BaseOutput
    from diffusers.utils.torch_utils import randn_tensor
except ImportError as error:
    raise ImportError(
        "GDDIMScheduler: expected diffusers >= 0.33; pip install 'driftproof[torch,hub]'"
    ) from error

from driftproof._namespace import UnmetHypothesis
from driftproof.numerics.samplers import step_log_prob

from .config import require, resolved, translated
from .forward import ForwardProcess
from .grids import run_grid
from .levels import FlowLevels, Levels, VPLevels, betas_of, rescaled_to_zero_snr
from .table import Row, coefficients

__all__ = ["GDDIMOutput", "GDDIMScheduler"]


@dataclass
class GDDIMOutput(BaseOutput):  # type: ignore[misc]  # diffusers carries no types
    """The result of a step.

    Arguments:
        prev_sample: The next state, in the dtype of the sample.
        pred_original_sample: The predicted data point.
        log_prob: The log-density of ``prev_sample``, summed over its coordinates, with shape (B,), in float32.
    """

    prev_sample: Tensor
    pred_original_sample: Tensor
    log_prob: Tensor | None = None


class GDDIMScheduler(ForwardProcess, SchedulerMixin, ConfigMixin):  # type: ignore[misc]
    r"""gDDIM for models that predict noise, data, v or the velocity of a flow.

    Arguments:
        num_train_timesteps: Number of noise levels that the model was trained at.
        beta_start, beta_end, beta_schedule, trained_betas: The trained table of a VP model, as in diffusers;
            None for a flow.
        rescale_betas_zero_snr: Whether the last level is pure noise (not with ``epsilon``).
        set_alpha_to_one: Whether a run ends at the data point; else at the first level of the table.
        steps_offset, timestep_spacing: The default grid of a VP model: leading, trailing or linspace.
        prediction_type: epsilon, v_prediction, sample or flow_prediction.  None: flow_prediction where a
            configuration has ``shift`` and no betas, as diffusers writes it for flows, else epsilon.
        clip_sample, clip_sample_range: Clip the predicted data point.
        eta: The stochasticity of steps that name none, >= 0.  Pipelines that have an ``eta`` themselves (Stable
            Diffusion, SDXL) name 0 unless they are called with another one, or with None for this one.
        shift, use_dynamic_shifting, base_shift, max_shift, base_image_seq_len, max_image_seq_len,
            time_shift_type: The default grid of a flow, as in diffusers.
        thresholding, invert_sigmas, shift_terminal: Not supported; refused where a configuration asks for them.
        use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas: Other default grids between the same ends.

    Raises:
        UnmetHypothesis: A configuration that contradicts itself, or eta < 0.

    References:
        | gDDIM: generalized denoising diffusion implicit models (Zhang, Tao, Chen, 2023)
        | https://arxiv.org/abs/2206.05564 (the form for every eta is derived here)

    Claims: REWARD-GAP-ORDER-1, REWARD-GAP-PREDICT-1, REWARD-GAP-PATH-1

    Example:
        >>> scheduler = GDDIMScheduler(prediction_type="flow_prediction")
        >>> scheduler.set_timesteps(sigmas=[1.0, 0.5])
        >>> x = torch.zeros(1, 2)
        >>> scheduler.step(torch.ones(1, 2), scheduler.timesteps[0], x, eta=0.0).prev_sample.tolist()
        [[-0.5, -0.5]]
    """

    _compatibles = [*(e.name for e in KarrasDiffusionSchedulers), "FlowMatchEulerDiscreteScheduler"]  # noqa: RUF012
    order = 1

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str | None = None,
        trained_betas: Sequence[float] | None = None,
        rescale_betas_zero_snr: bool = False,
        set_alpha_to_one: bool = True,
        steps_offset: int = 0,
        timestep_spacing: str = "leading",
        prediction_type: str | None = None,
        clip_sample: bool = False,
        clip_sample_range: float = 1.0,
        eta: float = 0.0,
        shift: float | None = None,
        use_dynamic_shifting: bool = False,
        base_shift: float = 0.5,
        max_shift: float = 1.15,
        base_image_seq_len: int = 256,
        max_image_seq_len: int = 4096,
        time_shift_type: str = "exponential",
        thresholding: bool = False,
        invert_sigmas: bool = False,
        shift_terminal: float | None = None,
        use_karras_sigmas: bool = False,
        use_exponential_sigmas: bool = False,
        use_beta_sigmas: bool = False,
    ) -> None:
        found = resolved(self.config)
        self.register_to_config(**found)
        if found["prediction_type"] == "flow_prediction":
            self.levels: Levels = FlowLevels(num_train_timesteps)
            start = torch.arange(num_train_timesteps, 0, -1, dtype=torch.float32)
        else:
            schedule = found["beta_schedule"]
            betas = betas_of(schedule, beta_start, beta_end, num_train_timesteps, trained_betas)
            self.betas = rescaled_to_zero_snr(betas) if rescale_betas_zero_snr else betas
            self.alphas = 1.0 - self.betas
            self.alphas_cumprod = torch.cumprod(self.alphas, dim=0)
            self.final_alpha_cumprod = torch.tensor(1.0) if set_alpha_to_one else self.alphas_cumprod[0]
            bars, final = self.alphas_cumprod.double().numpy(), float(self.final_alpha_cumprod)
            self.levels = VPLevels(bars, final)
            start = torch.arange(num_train_timesteps - 1, -1, -1)
        self.init_noise_sigma = 1.0
        self.num_inference_steps: int | None = None
        self.timesteps = start
        self.begin_index: int | None = None
        self._positions: dict[float, int] = {}
        self._tables: dict[float, list[Row]] = {}

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """A scheduler with the numbers of another one's configuration.

        diffusers drops the values that the other class had by default, in favour of the defaults of this class;
        here they stay, so that ``shift = 1.0`` of a flow or ``clip_sample = True`` of DDIM are what they were.

        Raises:
            UnmetHypothesis: A model whose noise levels are neither a table of betas nor those of a flow.
        """
        if hasattr(config, "items"):
            config = translated({**config, **kwargs})
        return super().from_config(config, return_unused_kwargs, **kwargs)

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)

    # -- the grid -----------------------------------------------------------------------------------------

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        mu: float | None = None,
    ) -> None:
        """Fix the grid of a run: every step goes from its timestep to the next one, whatever their spacing.

        Arguments:
            num_inference_steps: Number of steps of the default grid.
            device: Where ``timesteps`` shall lie.
            timesteps: A grid of one's own, strictly decreasing; a VP model may be evaluated between its levels.
            sigmas: The same as noise levels: sigma / alpha for a VP model, sigma in (0, 1] for a flow (before
                its shift).  A 0 at the end is the end of the run, which is added where it is missing.
            mu: The dynamic shift of a flow; not used unless ``use_dynamic_shifting``.

        Raises:
            UnmetHypothesis: A grid that does not decrease or leaves its range, more steps than levels, or
                ``epsilon`` at pure noise.
        """
        grid = run_grid(self.levels, self.config, num_inference_steps, timesteps, sigmas, mu)
        positions = {float(t): i for i, t in enumerate(grid.timesteps.tolist())}
        count = len(grid.timesteps)
        require(len(positions) == count, "timesteps differ in float32", f"{grid.timesteps.tolist()}")
        if self.config.prediction_type == "epsilon" and not (grid.alpha[:-1] > 0).all():
            require(False, "alpha > 0 with prediction_type epsilon", "alpha = 0; use v_prediction")
        self.timesteps, self.sigmas = grid.timesteps.to(device), grid.sigmas
        self.num_inference_steps, self.begin_index = count, None
        self._grid, self._positions, self._tables = grid, positions, {}

    def set_begin_index(self, begin_index: int = 0) -> None:
        """For pipelines that announce where they begin; steps do not need it."""
        self.begin_index = begin_index

    # -- a step -------------------------------------------------------------------------------------------

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        eta: float | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        noise: Tensor | None = None,
        prev_sample: Tensor | None = None,
        return_log_prob: bool = False,
        return_dict: bool = True,
    ) -> GDDIMOutput | tuple[Tensor, ...]:
        r"""A step from ``timestep`` to the next one of the grid.

        Arguments:
            model_output: The prediction of the network, with the shape of ``sample``.
            timestep: One of ``timesteps``, or one for each element of the batch.
            sample: The state, with shape :math:`(B, *)`; half precision is computed in float32.
            eta: The stochasticity, >= 0; None: that of the configuration.
            generator: Source of the noise; without it and ``noise`` torch's own, as in diffusers (whose flow
                pipelines hand theirs to no step: seed with ``torch.manual_seed`` there).
            noise: Standard normal, with the shape of ``sample``, in the place of a draw.
            prev_sample: A state drawn before: nothing is drawn, and its log-density is returned.
            return_log_prob: Whether to return the log-density of the next state as rounded to its dtype.  A
                state that is drawn here counts as given there: the gradient is that of a policy.
            return_dict: Whether to return a :class:`GDDIMOutput`; else (next state, predicted data point), and
                the log-density where that was requested.

        Raises:
            UnmetHypothesis: eta < 0, a timestep off the grid, shapes that differ, or the log-density of a step
                without noise (eta = 0, or the last step of a run that ends at the data).
        """
        row = self._row(timestep, eta, sample)
        mean, data = self._mean(model_output, sample, row)
        if prev_sample is not None and prev_sample.shape != sample.shape:
            came = f"{tuple(prev_sample.shape)}, expected {tuple(sample.shape)}"
            require(False, "prev_sample has the shape of sample", came, "GDDIMScheduler.step")
        given = prev_sample
        if prev_sample is None:
            moved = mean if _is_deterministic(row) else self._noised(mean, sample, row.std, generator, noise)
            prev_sample = moved if moved.dtype == sample.dtype else moved.to(sample.dtype)
        log_prob = None
        if return_log_prob:
            # Through its own draw the density would have no gradient at all: x - m = std Z.
            end = prev_sample.detach() if given is None else given
            log_prob = _log_prob(end.to(mean.dtype), mean, row.std)
        if data.dtype != sample.dtype:
            data = data.to(sample.dtype)
        if return_dict:
            return GDDIMOutput(prev_sample, data, log_prob)
        return (prev_sample, data) if log_prob is None else (prev_sample, data, log_prob)

    def moments(
        self, model_output: Tensor, timestep: float | Tensor, sample: Tensor, eta: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of a step: what a policy gradient and its KL divergence need.

        Arguments:
            model_output, timestep, sample, eta: As for :meth:`step`.

        Returns:
            The mean, with the shape of ``sample``, and the standard deviation, which broadcasts against it;
            both in float32 at least.
        """
        row = self._row(timestep, eta, sample)
        mean = self._mean(model_output, sample, row)[0]
        return mean, torch.as_tensor(row.std, dtype=mean.dtype, device=mean.device)

    def _row(self, timestep: float | Tensor, eta: float | None, sample: Tensor) -> Row:
        """Coefficients of the step from ``timestep``: numbers, or columns for a batch of timesteps."""
        eta = float(self.config.eta if eta is None else eta)
        table = self._tables.get(eta)
        if table is None:
            table = self._tables[eta] = self._table(eta)
        try:
            if isinstance(timestep, Tensor) and timestep.ndim > 0:
                if timestep.shape not in ((1,), sample.shape[:1]):
                    came = f"{tuple(timestep.shape)} for {tuple(sample.shape)}"
                    require(False, "timestep is one, or one a row", came, "GDDIMScheduler.step")
                rows = [table[self._positions[float(t)]] for t in timestep.tolist()]
                shape = (-1, *(1,) * (sample.ndim - 1))
                dtype = torch.promote_types(sample.dtype, torch.float32)
                columns = torch.tensor(rows, dtype=dtype, device=sample.device).T
                return Row(*(column.reshape(shape) for column in columns))
            return table[self._positions[float(timestep)]]
        except KeyError as missing:
            came = f"timestep = {missing.args[0]!r}, grid {sorted(self._positions, reverse=True)}"
            raise UnmetHypothesis("GDDIMScheduler.step", "timestep is one of timesteps", came) from None

    def _table(self, eta: float) -> list[Row]:
        require(0.0 <= eta < math.inf, "eta >= 0", f"eta = {eta!r}", "GDDIMScheduler.step")
        came = "num_inference_steps = None"
        require(bool(self._positions), "set_timesteps was called", came, "GDDIMScheduler.step")
        return coefficients(self._grid.alpha, self._grid.sigma, self.config.prediction_type, eta)

    def _mean(self, output: Tensor, sample: Tensor, row: Row) -> tuple[Tensor, Tensor]:
        if output.shape != sample.shape:
            came = f"{tuple(output.shape)}, expected {tuple(sample.shape)}"
            raise UnmetHypothesis("GDDIMScheduler.step", "model_output has the shape of sample", came)
        working = torch.promote_types(sample.dtype, torch.float32)
        x, output = sample.to(working), output.to(working)
        mean = _affine(x, row.state, output, row.output)
        data = _affine(x, row.data_state, output, row.data_output)
        if self.config.clip_sample:
            most = self.config.clip_sample_range
            clipped = data.clamp(-most, most)
            mean, data = mean + row.data_weight * (clipped - data), clipped
        return mean, data

    def _noised(self, mean: Tensor, sample: Tensor, std: Any, generator: Any, noise: Tensor | None) -> Tensor:
        if noise is None:
            noise = randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=sample.dtype)
        elif generator is not None:
            require(False, "one of generator and noise", "both", "GDDIMScheduler.step")
        elif noise.shape != sample.shape:
            came = f"{tuple(noise.shape)}, expected {tuple(sample.shape)}"
            require(False, "noise has the shape of sample", came, "GDDIMScheduler.step")
        return _affine(mean, None, noise.to(mean.dtype), std)


def _affine(x: Tensor, a: Any, y: Tensor, b: Any) -> Tensor:
    """a x + b y, with numbers in one pass less."""
    scaled = x if a is None else x * a
    return torch.add(scaled, y, alpha=b) if isinstance(b, float) else scaled + b * y


def _is_deterministic(row: Row) -> bool:
    return isinstance(row.std, float) and row.std == 0.0


def _log_prob(x: Tensor, mean: Tensor, std: Any) -> Tensor:
    spread = torch.as_tensor(std, dtype=mean.dtype, device=mean.device)
    came = "std = 0.0: eta = 0, or the last step"
    require(bool((spread > 0).all()), "a step has noise, for its log-density", came, "GDDIMScheduler.step")
    return step_log_prob.kernel(xp, x, mean, spread)
