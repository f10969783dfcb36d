"""Laws as distributions of torch: for code that takes ``torch.distributions``, and its ``kl_divergence``.

The moments, densities, tails, quantiles and divergences are ours, exact where torch's are not or where it has none:
of noncentral chi-square laws, tails of mixtures, divergences of laws that nearly coincide.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, final

import numpy as np
import torch
from torch import Size, Tensor
from torch import distributions as td
from torch.distributions import constraints
from torch.distributions.kl import register_kl

from driftproof._namespace import UnmetHypothesis, refuse
from driftproof.theory.laws import (
    AbstractLaw,
    Discrete,
    ElementwiseLaw,
    Gamma,
    Gaussian,
    GaussianMixture,
    LogNormal,
    Mixture,
    Normal,
    kl,
)
from driftproof.theory.laws.distances import has_kl

__all__ = ["LawDistribution", "from_torch", "to_torch"]


@final
class LawDistribution(td.Distribution):
    """A law behind the methods of ``torch.distributions``.

    Like other distributions it draws from torch's default generator of the device, unless it was made with one.
    With ``validate_args`` points outside of the support are refused; without, their density is 0.

    Arguments:
        law: A law whose parameters are tensors.
        generator: The generator of draws.
        validate_args: As for every distribution; torch's default where it is None.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012  # as torch declares it

    def __init__(
        self, law: AbstractLaw, generator: torch.Generator | None = None, validate_args: bool | None = None
    ) -> None:
        self.law, self.generator = law, generator
        super().__init__(Size(law.batch_shape), Size(law.event_shape), validate_args=validate_args)

    def __repr__(self) -> str:
        return f"LawDistribution({self.law!r})"

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]  # a property of the law, not of the class
        return self.law.has_rsample

    @property
    def support(self) -> constraints.Constraint:
        return _support(self.law)

    @property
    def mean(self) -> Tensor:
        return self._full(self.law.mean)

    @property
    def variance(self) -> Tensor:
        return self._full(self.law.variance)

    def log_prob(self, value: Tensor) -> Tensor:
        found: Tensor = self.law.log_prob(value, strict=bool(self._validate_args))
        return found

    def cdf(self, value: Tensor) -> Tensor:
        found: Tensor = self.law.cdf(value)
        return found

    def icdf(self, value: Tensor) -> Tensor:
        found: Tensor = self.law.icdf(value)
        return found

    def entropy(self) -> Tensor:
        found: Tensor = self.law.entropy().expand(self.batch_shape)
        return found

    def sample(self, sample_shape: Any = ()) -> Tensor:
        found: Tensor = self.law.sample(tuple(sample_shape), self._generator())
        return found

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        found: Tensor = self.law.rsample(tuple(sample_shape), self._generator())
        return found

    def expand(self, batch_shape: Any, _instance: Any = None) -> LawDistribution:
        return LawDistribution(_expanded(self.law, tuple(batch_shape)), self.generator, self._validate_args)

    def _full(self, moments: Tensor) -> Tensor:
        return moments.expand(self.batch_shape + self.event_shape)

    def _generator(self) -> torch.Generator:
        if self.generator is not None:
            return self.generator
        device = next(iter(_tensors(self.law))).device
        if device.type != "cuda":
            return torch.default_generator
        index = torch.cuda.current_device() if device.index is None else device.index
        return torch.cuda.default_generators[index]


def to_torch(
    law: AbstractLaw, generator: torch.Generator | None = None, validate_args: bool | None = None
) -> LawDistribution:
    """A law as a distribution of torch; its parameters become tensors, if they are none.

    Arrays keep their dtype; numbers alone take torch's default one, as in ``torch.distributions``.

    Arguments:
        law: The law, of any namespace.
        generator, validate_args: See :class:`LawDistribution`.

    Raises:
        TypeError: No law.

    Example:
        >>> from driftproof.theory.laws import NoncentralChi2
        >>> p = to_torch(NoncentralChi2(3.0, 2.0, 0.5))
        >>> p.mean, p.has_rsample, p.support
        (tensor(2.5000), True, GreaterThanEq(lower_bound=0.0))
    """
    if not isinstance(law, AbstractLaw):
        refuse("to_torch", "law", "a law", law)
    return LawDistribution(_in_torch(law), generator, validate_args)


def from_torch(distribution: td.Distribution) -> AbstractLaw:
    """The law of a distribution of torch: Normal, LogNormal, Gamma, Chi2, Exponential, MultivariateNormal, or their mixture.

    Raises:
        UnmetHypothesis: Another distribution.

    Example:
        >>> from_torch(td.Exponential(2.0)) == Gamma(1.0, 0.5)
        True
    """
    match distribution:
        case LawDistribution():
            return distribution.law
        case td.Normal():
            return Normal(distribution.loc, distribution.scale)
        case td.LogNormal():
            return LogNormal(distribution.loc, distribution.scale)
        case td.Gamma():
            return Gamma(distribution.concentration, 1.0 / distribution.rate)
        case td.Exponential():
            return Gamma(torch.ones_like(distribution.rate), 1.0 / distribution.rate)
        case td.MultivariateNormal():
            return Gaussian(distribution.loc, distribution.covariance_matrix)
        case td.MixtureSameFamily():
            parts = from_torch(distribution.component_distribution)
            weights = distribution.mixture_distribution.probs
            if isinstance(parts, ElementwiseLaw):
                return Mixture(weights, parts)
            if isinstance(parts, Gaussian):
                return GaussianMixture(weights, *_expanded(parts, tuple(weights.shape)).parameters.values())
    known = "a Normal, LogNormal, Gamma, Chi2, Exponential, MultivariateNormal or a mixture of such"
    raise UnmetHypothesis("from_torch", f"the distribution is {known}", type(distribution).__name__)


def _kl(p: td.Distribution, q: td.Distribution) -> Tensor:
    ours, other = from_torch(p), from_torch(q)
    if not has_kl(ours, other):  # what callers of torch look for
        names = f"{type(ours).__name__} and {type(other).__name__}"
        raise NotImplementedError(f"kl_divergence: no closed form is known for {names} laws")
    found: Tensor = kl(ours, other)
    return found


def _register(p: type[td.Distribution], q: type[td.Distribution]) -> None:
    register_kl(p, q)(_kl)  # type: ignore[no-untyped-call]  # torch does not annotate it


_register(LawDistribution, LawDistribution)
for _native in (td.Normal, td.LogNormal, td.Gamma, td.Exponential, td.MultivariateNormal):
    _register(LawDistribution, _native)
    _register(_native, LawDistribution)


@final
class _Atoms(constraints.Constraint):
    """The atoms of a law."""

    is_discrete = True

    def __init__(self, law: Discrete) -> None:
        self.law, self.event_dim = law, len(law.event_shape)
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        found: Tensor = self.law.log_prob(value) > -torch.inf
        return found


def _support(law: AbstractLaw) -> constraints.Constraint:
    if isinstance(law, Discrete):
        return _Atoms(law)
    if isinstance(law, Mixture):
        return _support(law.components)
    if not isinstance(law, ElementwiseLaw):
        return constraints.real_vector
    if law.integers:
        return constraints.nonnegative_integer
    return {"finite": constraints.real, "> 0": constraints.positive, ">= 0": constraints.nonnegative}[
        law.support
    ]


def _tensors(law: AbstractLaw) -> list[Tensor]:
    return [value for value in law.parameters.values() if isinstance(value, Tensor)]


def _in_torch(law: AbstractLaw) -> AbstractLaw:
    """The law with all parameters as tensors, but for numbers that select an algorithm."""
    arrays = [value for value in law.parameters.values() if hasattr(value, "dtype")]
    like = (
        torch.as_tensor(arrays[0] if isinstance(arrays[0], Tensor) else np.asarray(arrays[0]))
        if arrays
        else None
    )
    dtype = torch.get_default_dtype() if like is None else like.dtype
    device = None if like is None else like.device

    def moved(part: AbstractLaw) -> AbstractLaw:
        kept = part.static if isinstance(part, ElementwiseLaw) else frozenset()
        made: dict[str, Any] = {}
        for field in fields(part):  # type: ignore[arg-type]  # laws are dataclasses
            value = getattr(part, field.name)
            if isinstance(value, AbstractLaw):
                made[field.name] = moved(value)
            elif isinstance(value, Tensor) or (field.name in kept and isinstance(value, int | float)):
                made[field.name] = value
            else:
                made[field.name] = torch.as_tensor(np.array(value), dtype=dtype, device=device)
        return type(part)(**made).remember(part._half)

    return moved(law)


def _expanded(law: AbstractLaw, batch: tuple[int, ...]) -> AbstractLaw:
    """The law in rows of this shape."""
    match law:
        case Gaussian():
            (d,) = law.event_shape
            return Gaussian(law.mean.expand(*batch, d), law.cov.expand(*batch, d, d))
        case GaussianMixture():
            count, d = law.means.shape[-2:]
            shapes = ((*batch, count), (*batch, count, d), (*batch, count, d, d))
            given = (law.weights, law.means, law.covs)
            return GaussianMixture(*(v.expand(shape) for v, shape in zip(given, shapes, strict=True)))
        case Mixture():
            shape = (*batch, law.weights.shape[-1])
            parts = _expanded(law.components, shape)
            return Mixture(law.weights.expand(shape), parts)  # type: ignore[arg-type]
        case ElementwiseLaw():
            made = {f.name: getattr(law, f.name) for f in fields(law)}  # type: ignore[arg-type]
            return type(law)(**{k: v.expand(batch) if isinstance(v, Tensor) else v for k, v in made.items()})
    raise UnmetHypothesis("expand", "the law has rows", f"{type(law).__name__}")
