r"""What a training will hold, do and take, phase by phase: a table for people, JSON for programs.

The time of a phase is that of a roofline,

.. math:: \max\Big(\frac{\text{half}}{\text{peak}_{16}} + \frac{\text{single}}{\text{peak}_{32}},\
    \frac{\text{bytes}}{\text{bandwidth}}\Big),

with every operation reading and writing for itself: no training reaches it, and what is fused or cached moves less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, final

from driftproof._namespace import UnmetHypothesis

from .gpus import GIB, Gpu
from .ledger import Spent
from .stand_in import PRECISIONS, Precision

__all__ = ["Estimate", "Machine", "Phase"]

# What CUDA's context and the workspaces of its libraries are allowed beside tensors: an assumption, not a count.
RESERVE: Final = 1.5 * GIB


@final
@dataclass(frozen=True, slots=True)
class Machine:
    """What a training is to run on: ``count`` processors, one process each, in the precision of accelerate.

    Arguments:
        gpu, count: The processors.
        precision: Of mixed precision; None for that of the recipe's weights, with which its first lines launch it.
        cuda: Whether kernels keep what those of CUDA do, or what those of this computer do.
    """

    gpu: Gpu
    count: int = 1
    precision: Precision | None = None
    cuda: bool = True

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UnmetHypothesis("--count", "at least one processor", str(self.count))
        if self.precision not in (None, *PRECISIONS):
            raise UnmetHypothesis("--precision", f"one of {', '.join(PRECISIONS)}", repr(self.precision))


@final
@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of an epoch.

    Arguments:
        name: Of the phase.
        peak: Bytes of all live tensors at its high-water mark, on one processor.
        half, single: Operations of an epoch on numbers of 2 bytes and of more, on one processor.
        moved: Bytes that they read and wrote.
    """

    name: str
    peak: int
    half: float
    single: float
    moved: float

    @classmethod
    def of(cls, name: str, spent: Spent) -> Phase:
        """That of a ledger."""
        return cls(name, spent.peak, spent.half, spent.single, spent.moved)

    def seconds(self, gpu: Gpu) -> float:
        """By the roofline.

        Example:
            >>> from .gpus import gpu_of
            >>> Phase("update", 0, 989e12, 0.0, 0.0).seconds(gpu_of("h200"))
            1.0
        """
        return max(self.half / gpu.half + self.single / gpu.single, self.moved / gpu.bandwidth)


@final
@dataclass(frozen=True, slots=True)
class Estimate:
    """The memory and the time of a training.

    Arguments:
        title: Of the recipe.
        gpu, count: The processors.
        precision: Of mixed precision, as accelerate names it.
        parameters, trained: Numbers of all weights, and of those that are trained.
        held: Bytes of what stays for the whole training, by what it is.
        phases: Of an epoch.
        epochs: Of the training.
        assumed: What was not known, and what was taken for it.
        advice: Of settings that were tried: what is set, and the peak with it.
    """

    title: str
    gpu: Gpu
    count: int
    precision: str
    parameters: int
    trained: int
    held: Mapping[str, int]
    phases: tuple[Phase, ...]
    epochs: int
    assumed: tuple[str, ...] = ()
    advice: Mapping[str, int] | None = None

    @property
    def worst(self) -> Phase:
        """The phase that holds most."""
        return max(self.phases, key=lambda phase: phase.peak)

    @property
    def peak(self) -> int:
        """Bytes that it holds."""
        return self.worst.peak

    @property
    def fits(self) -> bool:
        """Whether tensors and a reserve for CUDA's libraries have room on one processor."""
        return self.peak + RESERVE <= self.gpu.memory

    @property
    def seconds(self) -> float:
        """Of an epoch."""
        return sum(phase.seconds(self.gpu) for phase in self.phases)

    def to_json(self) -> dict[str, Any]:
        """All numbers, with those that follow from them."""
        derived = {"peak": self.peak, "fits": self.fits, "seconds_of_an_epoch": self.seconds}
        phases = [{**asdict(phase), "seconds": phase.seconds(self.gpu)} for phase in self.phases]
        own = {name: getattr(self, name) for name in ("title", "count", "precision", "parameters", "trained")}
        more = {"epochs": self.epochs, "assumed": list(self.assumed), "advice": dict(self.advice or {})}
        return {**own, "gpu": asdict(self.gpu), "held": dict(self.held), "phases": phases, **derived, **more}

    def lines(self) -> list[str]:
        """What it says, for people."""
        hours = self.seconds * self.epochs / 3600.0
        said = [
            f"{self.title}: {self.count} x {self.gpu.name} ({self.gpu.memory / GIB:.1f} GiB), {self.precision} precision",
            f"parameters: {self.parameters / 1e6:.1f} million, {self.trained / 1e6:.2f} million trained",
            "held throughout: " + ", ".join(f"{name} {_size(size)}" for name, size in self.held.items()),
            "",
            f"{'phase':<10}{'peak memory':>14}{'TFLOP an epoch':>18}{'seconds, at least':>20}",
            *(
                f"{p.name:<10}{_size(p.peak):>14}{(p.half + p.single) / 1e12:>18,.1f}{p.seconds(self.gpu):>20,.1f}"
                for p in self.phases
            ),
            "",
            f"peak {_size(self.peak)} in {self.worst.name}: it {'fits' if self.fits else 'does not fit'}, with "
            + f"a reserve of {_size(RESERVE)} for CUDA's libraries, which is assumed",
            f"{self.epochs} epochs: {hours:,.2f} hours at the speed of the data sheet, which nothing reaches",
            *(f"assumed: {sentence}" for sentence in self.assumed),
        ]
        if not self.fits and self.advice is not None:
            said += [f"with {what}: peak {_size(peak)}" for what, peak in self.advice.items()]
            if not self.advice:
                said.append("no setting of the recipe takes less in this phase: a processor with more memory")
        return said


def _size(size: float) -> str:
    return f"{size / GIB:,.2f} GiB" if size >= 0.1 * GIB else f"{size / 2**20:,.2f} MiB"
