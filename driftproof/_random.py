r"""Randomness is data: one source of draws for every namespace.

Kernels never draw by themselves; they take a :class:`Source` and ask it for arrays *like* a given
one.  :func:`source` makes it from what users hold: a numpy ``Generator``, a ``torch.Generator``, a key of
jax or an integer seed.

* :class:`NumpySource` draws in float64 on the host and converts, so that every namespace sees the same
  normal and uniform numbers, and the same count or gamma draw for the same parameter.
* :class:`TorchSource` draws on the array's own device: fast on a GPU, another stream on each device.
* :class:`JaxSource` splits a key of jax for each draw, also while jax traces: the same key is the same draws.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, final

import array_api_compat
import numpy as np

from ._checks import is_number
from ._namespace import Array, Namespace, UnmetHypothesis, refuse

__all__ = ["JaxSource", "NumpySource", "Rng", "Source", "TorchSource", "source"]

# numpy.random.Generator, torch.Generator or a key of jax (not importable here), int, or a Source.
Rng: TypeAlias = Annotated[Any, lambda subject, name, value: _generator(subject, name, value)]


class Source(ABC):
    """Draws of standard laws with the shape, dtype and device of an array."""

    @abstractmethod
    def normal(self, like: Array) -> Array:
        """Standard normal draws."""

    @abstractmethod
    def uniform(self, like: Array) -> Array:
        """Uniform draws in [0, 1)."""

    @abstractmethod
    def gamma(self, shape: Array) -> Array:
        """Gamma(shape, 1) draws, one for each element of ``shape`` >= 0; 0 where the shape is 0."""

    @abstractmethod
    def adopt(self, xp: Namespace, values: tuple[Array, ...]) -> tuple[Namespace, tuple[Array, ...]]:
        """Bring parameters that are all scalars to the namespace that this source draws in."""

    @abstractmethod
    def poisson(self, rate: Array) -> Array:
        """Poisson draws, one for each element of ``rate`` >= 0, in the dtype of ``rate``."""


@final
@dataclass(frozen=True, slots=True)
class NumpySource(Source):
    """Draws from a numpy ``Generator``, in float64 on the host."""

    generator: np.random.Generator

    def normal(self, like: Array) -> Array:
        return _convert(self.generator.standard_normal(tuple(like.shape)), like)

    def uniform(self, like: Array) -> Array:
        return _convert(self.generator.random(tuple(like.shape)), like)

    def gamma(self, shape: Array) -> Array:
        shape64 = _host(shape)
        if np.isinf(shape64).any():  # numpy never ends
            finite = self.gamma(np.where(np.isinf(shape64), 1.0, shape64))
            return _convert(np.where(np.isinf(shape64), np.inf, finite), shape)
        if shape64.size and (shape64 == shape64.flat[0]).all():
            # One shape for all is set up once; the stream is the same.
            draws = self.generator.standard_gamma(float(shape64.flat[0]), shape64.shape)
        else:
            draws = self.generator.standard_gamma(shape64)
        return _convert(draws, shape)

    def adopt(self, xp: Namespace, values: tuple[Array, ...]) -> tuple[Namespace, tuple[Array, ...]]:
        return xp, values

    def poisson(self, rate: Array) -> Array:
        rate64 = _host(rate)
        if np.isnan(rate64).any():
            raise UnmetHypothesis("poisson", "every rate is a number", f"NaN in shape {rate64.shape}")
        # numpy refuses rates above about 9.2e18; there the normal limit is exact to float64.
        huge = rate64 > 1e15
        draws = np.asarray(self.generator.poisson(np.where(huge, 1.0, rate64)), dtype=np.float64)
        if huge.any():
            limit = np.round(rate64 + np.sqrt(rate64) * self.generator.standard_normal(rate64.shape))
            draws = np.where(huge, np.where(np.isinf(rate64), np.inf, limit), draws)
        return _convert(draws, rate)


@final
@dataclass(frozen=True, slots=True)
class TorchSource(Source):
    """Draws from a ``torch.Generator`` on the device of the array."""

    generator: Any  # torch.Generator

    def normal(self, like: Array) -> Array:
        torch = sys.modules["torch"]
        return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=self.generator)

    def uniform(self, like: Array) -> Array:
        torch = sys.modules["torch"]
        return torch.rand(like.shape, dtype=like.dtype, device=like.device, generator=self.generator)

    def gamma(self, shape: Array) -> Array:
        torch = sys.modules["torch"]
        draws = torch._standard_gamma(torch.where(shape > 0, shape, 1.0), generator=self.generator)
        return torch.where(shape > 0, draws, 0.0)

    def adopt(self, xp: Namespace, values: tuple[Array, ...]) -> tuple[Namespace, tuple[Array, ...]]:
        if array_api_compat.is_torch_array(values[0]):
            return xp, values
        if any(value.shape != () for value in values):
            raise TypeError(
                "rng: expected a numpy Generator or an int beside numpy arrays, got torch.Generator"
            )
        torch = sys.modules["torch"]
        scalars = [
            torch.tensor(float(v), dtype=torch.get_default_dtype(), device=self.generator.device)
            for v in values
        ]
        return array_api_compat.array_namespace(*scalars), tuple(scalars)

    def poisson(self, rate: Array) -> Array:
        torch = sys.modules["torch"]
        return torch.poisson(rate, generator=self.generator)


@final
class JaxSource(Source):
    """Draws from a key of jax, which is split at each draw.

    Counts come from numpy on the host, seeded by the key: those of ``jax.random.poisson`` have 1.3 times their standard
    deviation from rates of about 1e9 on.
    """

    def __init__(self, key: Any) -> None:
        jax = sys.modules["jax"]
        self._key = key if _is_typed(key) else jax.random.wrap_key_data(key)

    def _next(self) -> Any:
        self._key, key = sys.modules["jax"].random.split(self._key)
        return key

    def normal(self, like: Array) -> Array:
        return sys.modules["jax"].random.normal(self._next(), like.shape, like.dtype)

    def uniform(self, like: Array) -> Array:
        return sys.modules["jax"].random.uniform(self._next(), like.shape, like.dtype)

    def gamma(self, shape: Array) -> Array:
        return sys.modules["jax"].random.gamma(self._next(), shape, dtype=shape.dtype)

    def adopt(self, xp: Namespace, values: tuple[Array, ...]) -> tuple[Namespace, tuple[Array, ...]]:
        if array_api_compat.is_jax_array(values[0]):
            return xp, values
        if any(value.shape != () for value in values):
            raise TypeError("rng: expected a numpy Generator or an int beside numpy arrays, got a key of jax")
        import jax.numpy as jnp

        scalars = tuple(jnp.asarray(float(v)) for v in values)
        return array_api_compat.array_namespace(*scalars), scalars

    def poisson(self, rate: Array) -> Array:
        jax: Any = sys.modules["jax"]

        wanted = np.dtype(rate.dtype)

        def host(words: Any, rate: Any) -> Any:
            generator = np.random.default_rng(np.asarray(words).tolist())
            return np.asarray(NumpySource(generator).poisson(np.asarray(rate)), dtype=wanted)

        like = jax.ShapeDtypeStruct(rate.shape, rate.dtype)
        words = jax.random.key_data(self._next())
        return jax.pure_callback(host, like, words, rate, vmap_method="sequential")


def source(rng: Rng, like: Array | None = None) -> Source:
    """The :class:`Source` of a generator, a seed or a source.

    An integer seeds numpy's PCG64, whatever the namespace of ``like``.  The same integer gives every
    namespace the same normal and uniform numbers, bit for bit in float64, and the same Poisson and gamma
    draws *for the same parameters*.  A parameter that is computed may differ in its last digits between
    namespaces and processors, and so may what is computed from the draws.  Then draws agree to that
    rounding too, unless a decision (a count, an accepted proposal) lies within it of its threshold: it may
    fall otherwise, and it and the later draws of that generator are others of the same law.

    Raises:
        TypeError: ``rng`` is none of these (None is refused: global state is never used).
        UnmetHypothesis: A negative seed.

    Example:
        >>> draws = source(0).normal(np.zeros(2))
        >>> bool((draws == np.random.default_rng(0).standard_normal(2)).all())
        True
    """
    if isinstance(_generator("source", "rng", rng), Source):
        return rng
    if isinstance(rng, np.random.Generator):
        return NumpySource(rng)
    if isinstance(rng, int | np.integer):
        return NumpySource(np.random.default_rng(int(rng)))
    ours, kind = (JaxSource, "a key of jax") if _is_key(rng) else (TorchSource, "torch.Generator")
    fits = array_api_compat.is_jax_array if ours is JaxSource else array_api_compat.is_torch_array
    if like is not None and not fits(like):
        raise TypeError(f"rng: expected a numpy Generator or an int beside numpy arrays, got {kind}")
    return ours(rng)


def _generator(subject: str, name: str, rng: Any) -> Any:
    """A value that a source can be made of, as it is."""
    if isinstance(rng, Source | np.random.Generator):
        return rng
    if isinstance(rng, int | np.integer) and is_number(rng):
        if rng < 0:
            raise UnmetHypothesis(subject, f"the seed {name} >= 0", f"{name} = {int(rng)}")
        return rng
    torch = sys.modules.get("torch")
    if (torch is not None and isinstance(rng, torch.Generator)) or _is_key(rng):
        return rng
    return refuse(subject, name, "a numpy Generator, a torch.Generator, a key of jax or an int", rng)


def _is_key(value: Any) -> bool:
    """Whether a key of jax: a typed one, or the two words of an old one."""
    if "jax" not in sys.modules or not array_api_compat.is_jax_array(value):
        return False
    return _is_typed(value) or (value.shape == (2,) and str(value.dtype) == "uint32")


def _is_typed(value: Any) -> bool:
    jax = sys.modules["jax"]
    return bool(jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key))


def _host(values: Array) -> np.ndarray[Any, np.dtype[np.float64]]:
    if array_api_compat.is_torch_array(values):
        values = values.detach().cpu().numpy()
    return np.asarray(values, dtype=np.float64)


def _convert(draws: Any, like: Array) -> Array:
    xp = array_api_compat.array_namespace(like)
    return xp.asarray(draws, dtype=like.dtype, device=array_api_compat.device(like))
