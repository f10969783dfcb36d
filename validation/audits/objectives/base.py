r"""What an objective is: terms with a mask, a reduction, and a gradient that autograd takes of their exact sum.

.. math:: L = c \sum_i w_i\, \ell_i(x;\ \theta)

The weights w are those of a named reduction, :math:`\theta` are the parameters of a family (a temperature,
beta, the smoothing of labels), and c is the factor that a verdict names.  Where a direction is not the
gradient of a value (a stop-gradient), its terms detach what it detaches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CONVENTIONS",
    "REDUCTIONS",
    "Family",
    "Free",
    "Inputs",
    "Objective",
    "Terms",
    "differentiated",
    "everywhere",
    "written",
]

Inputs: TypeAlias = Mapping[str, Any]  # role -> tensor
Terms: TypeAlias = Callable[..., tuple[Any, Any]]  # inputs -> terms and mask, of one shape
Vector: TypeAlias = NDArray[np.float64]

# What is summed over what.  ``count`` is the size of the vocabulary, where there is one.
REDUCTIONS: Mapping[str, Callable[[Any, Any, int], Any]] = {
    "sum": lambda t, m, count: (t * m).sum(),
    "mean": lambda t, m, count: (t * m).sum() / m.sum(),
    "sequence_mean": lambda t, m, count: ((t * m).sum(-1) / m.sum(-1)).mean(),
    "batch_mean": lambda t, m, count: (t * m).sum() / t.shape[0],
    "padded_mean": lambda t, m, count: (t * m).sum() / t.numel(),
    "element_mean": lambda t, m, count: (t * m).sum() / (t.numel() * count),
    "vocabulary_mean": lambda t, m, count: (t * m).sum() / count,
}
# Reductions that need no mention: nobody is surprised by them.  The others divide by what is no term.
CONVENTIONS = ("sum", "mean", "sequence_mean", "batch_mean")


@final
@dataclass(frozen=True)
class Objective:
    """A direction with a name.

    Arguments:
        name: The documented name: ``reverse_kl``, ``dpo(beta=0.1)``.
        text: The direction in words.
        terms: Its terms and their mask, of the inputs of its form.
        family: The family that it is of, or its own name.
        parameters: Its parameters in that family.
    """

    name: str
    text: str
    terms: Terms
    family: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)

    def value(self, inputs: Inputs, reduction: str = "sum", count: int = 1) -> Any:
        """The objective, a scalar tensor."""
        terms, mask = self.terms(inputs)
        return REDUCTIONS[reduction](terms, mask.to(terms.dtype), count)


@final
@dataclass(frozen=True)
class Free:
    """A parameter that is fitted: its bounds, and where the fit starts."""

    low: float
    high: float
    starts: tuple[float, ...]


@final
@dataclass(frozen=True)
class Family:
    """Objectives of one name, with parameters.

    Arguments:
        name: The documented name.
        text: The direction in words, with the parameters in braces.
        terms: Those of an objective, with the parameters as keyword arguments.
        free: The parameters, in the order in which they are documented.
        kinked: Whether the terms are linear on both sides of a kink, so that a gradient says little about them.
    """

    name: str
    text: str
    terms: Terms
    free: Mapping[str, Free]
    kinked: bool = False

    def at(self, **parameters: float) -> Objective:
        """The objective at some parameters.

        Raises:
            ValueError: A parameter is missing, unknown or out of bounds.
        """
        if parameters.keys() != self.free.keys():
            raise ValueError(
                f"audit: {self.name} has the parameters {', '.join(self.free)}, not {parameters}"
            )
        for key, value in parameters.items():
            if not self.free[key].low <= value <= self.free[key].high:
                bounds = f"[{self.free[key].low:g}, {self.free[key].high:g}]"
                raise ValueError(f"audit: {self.name}: expected {key} in {bounds}, got {value!r}")
        return Objective(
            name=written(self.name, parameters),
            text=self.text.format(**parameters),
            terms=partial(self.terms, **parameters),
            family=self.name,
            parameters=dict(parameters),
        )


def written(name: str, parameters: Mapping[str, float]) -> str:
    """A name with its parameters.

    Example:
        >>> written("dpo", {"beta": 0.1}), written("zero", {})
        ('dpo(beta=0.1)', 'zero')
    """
    inside = ", ".join(f"{key}={float(f'{value:.10g}'):g}" for key, value in parameters.items())
    return f"{name}({inside})" if inside else name


def differentiated(value: Any, leaves: Mapping[str, Any]) -> Vector:
    """The gradient in the leaves, end to end; zero where a leaf has none."""
    import torch

    tensors = list(leaves.values())
    found: Any = [None] * len(tensors)
    if value.requires_grad:
        found = torch.autograd.grad(value, tensors, allow_unused=True)
    parts = [torch.zeros_like(x) if g is None else g for x, g in zip(tensors, found, strict=True)]
    return np.concatenate([part.detach().double().reshape(-1).numpy() for part in parts])


def everywhere(terms: Any) -> tuple[Any, Any]:
    """Terms without a mask."""
    import torch

    return terms, torch.ones_like(terms)
