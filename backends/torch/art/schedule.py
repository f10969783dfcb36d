"""A grid that was learned for a model: kept as JSON, given to a scheduler, exported for other tools."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, final

import numpy as np

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.report import write_whole
from driftproof.backends.torch.schedulers.levels import Floats
from driftproof.numerics.art import order_grid

from .passing import PLAIN, Kind, Passed, arguments, best, is_rounded, kind_of_levels, set_grid

__all__ = ["ORDERS", "ARTSchedule", "GridError"]

FORMAT: Final = 2  # of the files
ORDERS: Final[Mapping[str, int]] = {"euler": 1, "heun": 2}
_CLOSE = 1e-3  # of a level's logarithm: labels and levels are kept in single precision


class GridError(ValueError):
    """A file that is no grid of ours, or not of this model: which, and what was expected."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class ARTSchedule:
    r"""The levels that N steps of a solver go through.

    .. code-block:: python

        pipe.scheduler = ARTSchedule.load("grid.json").on(pipe.scheduler)
        pipe(prompt, num_inference_steps=8)

    Arguments:
        levels: N + 1 levels that fall: :math:`\sigma` of a flow, in [0, 1], else :math:`\sigma/\alpha`.
        kind: ``flow`` or ``ratio``.
        solver: For which it was made.
        model: The digest of the network's weights.
        resolution: Height and width of its states.
        guidance: The weight of classifier-free guidance.
        carried: Whether errors were carried to the end; if not, local errors count alike.
        evaluations: Its cost: states that the network was given, guidance counted as two.
        stiffness: The measurement, from which other numbers of steps follow: levels and Q at these.

    Raises:
        UnmetHypothesis: Levels that do not fall, are below 0, or of a flow above 1.

    Example:
        >>> ARTSchedule((1.0, 0.75, 0.0), "flow").sigmas()
        [1.0, 0.75, 0.0]
    """

    levels: tuple[float, ...]
    kind: Literal["flow", "ratio"]
    solver: str = "euler"
    model: str = ""
    resolution: tuple[int, int] = (0, 0)
    guidance: float = 1.0
    carried: bool = True
    evaluations: int = 0
    measured: str = ""
    stiffness: tuple[tuple[float, ...], tuple[float, ...]] = field(default=((), ()), repr=False)

    def __post_init__(self) -> None:
        grid = np.asarray(self.levels, dtype=np.float64)
        falls = (
            grid.ndim == 1 and grid.size > 1 and bool(np.isfinite(grid).all() and (np.diff(grid) < 0.0).all())
        )
        if not falls or grid[-1] < 0.0 or (self.kind == "flow" and grid[0] > 1.0):
            known = "levels that fall to a last one >= 0" + (
                ", from at most 1" if self.kind == "flow" else ""
            )
            raise UnmetHypothesis("ARTSchedule", known, f"levels = {list(self.levels)[:5]}")

    @property
    def steps(self) -> int:
        """N."""
        return len(self.levels) - 1

    def resampled(self, steps: int) -> ARTSchedule:
        """The grid of another number of steps of the same solver, from the same stiffness.

        Raises:
            UnmetHypothesis: It was made without a stiffness, or for a solver that is unknown.
        """
        if not self.stiffness[0] or self.solver not in ORDERS:
            got = f"{len(self.stiffness[0])} levels of stiffness, solver = {self.solver!r}"
            raise UnmetHypothesis("ARTSchedule", f"a stiffness, and a solver of {', '.join(ORDERS)}", got)
        levels, values = (np.asarray(part) for part in self.stiffness)
        grid = order_grid(levels, values, steps, ORDERS[self.solver])
        return replace(self, levels=tuple(grid.tolist()))

    # -- in a pipeline

    def on(self, scheduler: Any, *, rounded: bool = False) -> Any:
        """A scheduler like this one whose steps are those of the grid, whatever a pipeline passes to ``set_timesteps``.

        It is tried before: what the scheduler makes of the grid is read back, and refused unless it is the grid.
        It serves this process: a pipeline that is saved keeps a plain scheduler of equal steps without a shift, and
        takes its grid again where it is loaded.

        Arguments:
            scheduler: The scheduler of a pipeline; its configuration is kept but for shifts and respacings, which would
                move the levels.
            rounded: Accept whole numbers for labels, of a scheduler that has no others.

        Raises:
            UnmetHypothesis: Levels of another kind, or the scheduler takes no grid, or makes another one of it.
        """
        name = type(scheduler).__name__
        kind = kind_of_levels(scheduler)
        if kind is None or (kind == "flow") != (self.kind == "flow"):
            got = f"levels of the kind {self.kind!r} for {name}, whose levels are {kind or 'not known'}"
            raise UnmetHypothesis("ARTSchedule.on", "grid and scheduler have the same kind of levels", got)
        plain = {key: value for key, value in PLAIN.items() if key in scheduler.config}

        def made() -> Any:
            return type(scheduler).from_config({**scheduler.config, **plain})

        found = best(made, self.levels)
        whole = found is not None and is_rounded(made(), found, self.levels, _CLOSE)
        if not (whole and rounded):
            _require_passed(name, kind, found, self.levels, whole)
        assert found is not None
        given = arguments(made(), found.argument, found.with_end, self.levels)
        return _held(made(), found, given)

    # -- files

    def save(self, path: str | Path) -> Path:
        """Write the grid as JSON."""
        write_whole(Path(path), (json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n").encode())
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, model: str = "") -> ARTSchedule:
        """Read a grid.

        Arguments:
            path: A file that :meth:`save` wrote.
            model: The digest of the model that it should be of; empty for any.

        Raises:
            GridError: The file is missing, damaged, of another format or of another model.
        """
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            if not isinstance(found, dict) or found.pop("format", None) != FORMAT:
                raise GridError(f"{path}: expected a grid of format {FORMAT}")
            found["levels"], found["resolution"] = tuple(found["levels"]), tuple(found["resolution"])
            found["stiffness"] = tuple(tuple(part) for part in found["stiffness"])
            made = cls(**found)
        except GridError:
            raise
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise GridError(f"{path}: no grid ({error})") from None
        if model and made.model != model:
            raise GridError(f"{path}: a grid of the model {made.model[:12]}, expected {model[:12]}")
        return made

    @property
    def file_name(self) -> str:
        """What it was learned for, as text: two grids of one name were measured alike, for as many steps."""
        return f"{self.stem}-{self.steps}.json"

    @property
    def stem(self) -> str:
        """The same without the steps."""
        size = "x".join(str(side) for side in self.resolution)
        guidance = re.sub(r"[^0-9a-z]+", "_", f"{self.guidance:g}")
        local = "" if self.carried else "-local"
        how = f"-{self.measured[:8]}" if self.measured else ""
        return f"{self.model[:12] or 'any'}-{size}-guidance{guidance}-{self.solver}{local}{how}"

    def sigmas(self) -> list[float]:
        """The list for ComfyUI's ``SIGMAS`` and k-diffusion's ``sigmas``: the levels, from noise to data, the end in it."""
        return [float(level) for level in self.levels]

    def text(self) -> str:
        """The same on one line, as ComfyUI's nodes for custom levels take it."""
        return ", ".join(f"{level:.6g}" for level in self.levels)


def _require_passed(
    name: str, kind: Kind, found: Passed | None, levels: Sequence[float], whole: bool
) -> None:
    wanted = np.asarray(levels, dtype=np.float64)
    other = (
        "" if kind == "edm" else "; GDDIMScheduler.from_config(scheduler.config) of driftproof takes any grid"
    )
    if found is None:
        got = f"{name}.set_timesteps has neither{other}"
        raise UnmetHypothesis("ARTSchedule.on", "the scheduler takes sigmas or timesteps", got)
    if found.reason:
        got = f"{name} refuses: {found.reason}{other}"
        raise UnmetHypothesis("ARTSchedule.on", f"the scheduler takes {found.argument}", got)
    error = found.error(wanted)
    if error <= _CLOSE:
        return
    made = ", ".join(f"{level:.4g}" for level in found.levels[:6])
    does = (
        f"makes [{made}] of it"
        if found.labelled_error(wanted) < error or error == np.inf
        else "tells the network other levels"
    )
    hint = "; rounded=True accepts labels that are whole numbers" if whole else ""
    got = f"{name} {does}, off by {error:.2g} in the logarithm{hint}{other}"
    raise UnmetHypothesis("ARTSchedule.on", "the scheduler goes through the levels of the grid", got)


def _held(scheduler: Any, way: Passed, given: Floats) -> Any:
    """The scheduler, whose ``set_timesteps`` sets this grid; its class has the name that pipelines look at."""
    own, steps = type(scheduler), len(way.labelled)

    def set_timesteps(
        self: Any,
        num_inference_steps: int | None = None,
        device: Any = None,
        *,
        sigmas: Any = None,
        timesteps: Any = None,
        **_: Any,
    ) -> None:
        passed = sigmas if sigmas is not None else timesteps
        count = num_inference_steps if num_inference_steps is not None or passed is None else len(passed)
        if count not in (None, steps):
            got = f"num_inference_steps = {count}"
            raise UnmetHypothesis("ARTSchedule", f"the grid is one of {steps} steps", got)
        set_grid(self, way.argument, way.form, given, device, own.set_timesteps)

    body = {"__module__": own.__module__, "__qualname__": own.__qualname__, "set_timesteps": set_timesteps}
    scheduler.__class__ = type(own.__name__, (own,), body)
    return scheduler
