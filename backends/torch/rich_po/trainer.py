r"""Diffusion-DPO: a denoiser trained on pairs, exact to resume.

All randomness of a step, which pairs, which times and which noise, is a function of (seed, step), as in :mod:`.kit.loop`.
The log has both errors: a margin may grow although both images are denoised worse.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, cast, final

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor, nn

from driftproof.backends.torch.kit.checkpoint import prefixed
from driftproof.backends.torch.kit.distributed import sync_on_last
from driftproof.backends.torch.kit.ema import EMA
from driftproof.backends.torch.kit.identity import digest_of
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.planned import Planned
from driftproof.backends.torch.kit.run import Resumed
from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.backends.torch.pretrained.denoisers import reference_of
from driftproof.backends.torch.pretrained.guidance import Condition, Predict
from driftproof.numerics.samplers.parametrization import Parametrization

from .config import Objective
from .noising import Noising
from .objective import compare, drawn

__all__ = ["DisplacementWarning", "Pairs", "PreferenceTrainer", "Source"]

Pairs: TypeAlias = tuple[Tensor, Tensor, Tensor, Condition]

WINDOW: Final = 20  # steps that an alarm looks at


class DisplacementWarning(UserWarning):
    """Winners are denoised worse than before: what the margin gains, the losers lose."""


class Source(Protocol):
    """Where pairs come from."""

    def draw(self, generator: torch.Generator, rows: int) -> Pairs:
        """Chosen and rejected states, the probability that the chosen one wins, conditions; on the generator's device."""
        ...

    def description(self) -> Mapping[str, object]:
        """Its identity, as JSON."""
        ...


@final
class PreferenceTrainer(Planned):
    """Trains a denoiser on pairs; its trainable weights end as the average that the plan asks for.

    Arguments:
        denoiser: A module ``denoiser(x, t, condition)`` with an attribute ``prediction``; the reference is what it is now:
            without its adapters where these alone are trained, else a copy.
        source: The pairs.
        noising: The noise times.
        objective: The loss.
        plan: Steps; pairs of a step over all processes; rate.
        at_once: Pairs of a forward pass; 0 for all.  The gradient is that of the whole batch.
        checkpoint: A file to resume from when it exists, and to save to.
        config: What the checkpoint must have been made with beside these parts: JSON, or dataclasses.
        accelerator: Devices, processes and precision.
        title: The label of the progress bar.

    Raises:
        UnmetHypothesis: As for :class:`.kit.planned.Planned`.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        source: Source,
        noising: Noising,
        objective: Objective,
        plan: Plan,
        *,
        at_once: int = 0,
        checkpoint: Path | None = None,
        config: Mapping[str, object] | None = None,
        accelerator: Accelerator | None = None,
        title: str = "preferences",
    ) -> None:
        accelerator = accelerator or Accelerator()
        self.weights = {name: p for name, p in denoiser.named_parameters() if p.requires_grad}
        # Before the model is prepared: what it is now is the reference.
        self.reference: Predict = reference_of(denoiser, accelerator.prepare_model)
        super().__init__(
            "PreferenceTrainer",
            denoiser.eval(),
            self.weights.values(),
            plan,
            accelerator,
            title,
            instead="at_once cuts batches",
        )
        self.source, self.noising, self.objective = source, noising, objective
        self.at_once, self.kind = (
            at_once or plan.train_batch_size,
            cast("Parametrization", denoiser.prediction),
        )
        self.ema = EMA(nn.ParameterList(self.weights.values()), plan.ema_decay)
        self.rows: list[dict[str, float]] = []
        self._displaced, self._checkpoint, self._config = False, checkpoint, dict(config or {})

    def train(self) -> list[dict[str, float]]:
        """Run the plan, from the checkpoint if there is one; the numbers of every step.

        Raises:
            FloatingPointError: A loss or a gradient is not finite; raised before the step that it would have spoiled.
            TrainingInterrupted, InUse, OtherRun, CheckpointError, OSError: As in :func:`.kit.loop.run_steps`.

        Warns:
            DisplacementWarning: Once, where winners' errors have grown beyond the objective's bound.
        """
        noising = self.noising
        levels = (noising.alpha, noising.sigma, noising.timesteps)
        self.run_plan(
            self._checkpoint,
            objective=self.objective,
            source=self.source.description(),
            noising={
                "levels": digest_of(v.double().cpu().numpy().tobytes() for v in levels),
                "density": noising.density,
            },
            prediction=self.kind,
            **self._config,
        )
        with torch.no_grad():
            for weight, mean in zip(self.weights.values(), self.ema.state.values(), strict=True):
                weight.copy_(mean)
        return self.rows

    # -- the work of run_steps ----------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """The weights that are trained, and their average, for a checkpoint."""
        return {**prefixed("weights", self.weights), **prefixed("ema", self.ema.state)}

    def history(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The numbers of every step."""
        return {}, {"rows": self.rows}

    def resumed(self, found: Resumed) -> None:
        """Take back the numbers."""
        self.rows = list(found.record["rows"])

    def logged(self, step: int) -> Mapping[str, float]:
        """The numbers of a step."""
        return self.rows[step]

    def advance(self, step: int) -> float:
        """One update; its loss."""
        self.set_rate(step)
        numbers = self._gradient(step)
        self.descend(step)
        self.ema.update(nn.ParameterList(self.trained), step)
        self.rows.append(numbers)
        self._watch()
        return numbers["loss"]

    def _gradient(self, step: int) -> dict[str, float]:
        """Accumulate the gradient of a step; the means of what is seen."""
        plan, accelerator = self.plan, self.accelerator
        generator = generator_of(plan.seed, step, accelerator.device)
        pairs = self.source.draw(generator, plan.train_batch_size)
        batch = drawn(generator, pairs, self.noising, self.objective)
        batch, own = batch.rows(self.mine), self.mine.stop - self.mine.start
        self.prepared_optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for start in range(0, own, self.at_once):
            part = batch.rows(slice(start, start + self.at_once))
            with sync_on_last(accelerator, self.wrapped, start + self.at_once >= own):
                found = compare(self.wrapped, self.reference, part, self.noising, self.objective, self.kind)
                accelerator.backward(found.losses.sum() / own)
            for name, values in {"loss": found.losses, **found.seen}.items():
                sums[name] = sums.get(name, torch.zeros((), device=values.device)) + values.detach().sum()
        means = accelerator.reduce(torch.stack(list(sums.values())), reduction="mean") / own
        numbers = dict(zip(sums, means.tolist(), strict=True))
        self.require_finite(numbers["loss"], step)
        return numbers

    def _watch(self) -> None:
        """The alarm: over some steps, for one alone is noise."""
        last, bound = self.rows[-WINDOW:], self.objective.displacement
        if self._displaced or len(last) < WINDOW:
            return
        now, before = (sum(row[f"winner {name}"] for row in last) for name in ("error", "before"))
        if now > (1.0 + bound) * before:
            self._displaced = True
            warnings.warn(
                f"{self.title}: after {len(self.rows)} steps winners' errors are {now / before - 1.0:.1%} above the "
                "reference's: the margin is made by the losers; a larger beta, an SFT term or fewer steps",
                DisplacementWarning,
                stacklevel=2,
            )
