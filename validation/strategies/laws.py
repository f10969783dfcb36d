"""Laws of every class, and the data laws whose marginals a process knows in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.strategies import SearchStrategy

from driftproof._namespace import UnmetHypothesis
from driftproof.theory.laws import (
    AbstractLaw,
    Discrete,
    Gamma,
    GammaMixedChi2,
    Gaussian,
    GaussianMixture,
    LogNormal,
    Mixture,
    NoncentralChi2,
    Normal,
)
from driftproof.theory.processes import GBM, AbstractGaussianProcess, AbstractProcess, AbstractSquaredBessel

from .arrays import float_arrays, probabilities, psd_matrices
from .numbers import dimensions, positive

__all__ = ["data_laws", "laws"]

Law = TypeVar("Law", bound=AbstractLaw)

_locations = st.just(0.0) | positive(1e-3, 1e2) | positive(1e-3, 1e2).map(lambda x: -x)
_log_locations = _locations.map(lambda x: min(max(x, -5.0), 5.0))
_scales = positive(1e-2, 1e2)
_log_scales = positive(1e-2, 2.0)
_shapes = positive(0.05, 50.0)
_noncentralities = st.just(0.0) | positive(1e-3, 1e4)


def laws(kind: type[Law] | None = None) -> SearchStrategy[Law]:
    """Laws of a class (a :class:`~driftproof.theory.laws.AbstractLaw`), or of any.

    Elementwise laws have scalar parameters; those on R^d have d in 1, 2, 3, and singular covariances.

    Raises:
        UnmetHypothesis: A class that has no strategy.

    Example:
        >>> from hypothesis import find
        >>> from driftproof.theory.laws import Gamma, NoncentralChi2
        >>> find(laws(Gamma), lambda law: law.shape == 0.5 and law.scale == 1)
        Gamma(shape=0.5, scale=1.0)
        >>> find(laws(NoncentralChi2), lambda law: law.nc == 0).nc
        0.0
    """
    if kind is None:
        return st.one_of([build() for build in _BUILDERS.values()])
    if kind not in _BUILDERS:
        known = ", ".join(known.__name__ for known in _BUILDERS)
        raise UnmetHypothesis("laws", f"kind is one of {known}", f"kind = {kind!r}")
    return _BUILDERS[kind]()


def data_laws(process: AbstractProcess) -> SearchStrategy[AbstractLaw]:
    """One-dimensional data laws for ``process.marginal``: conjugate, discrete and mixtures.

    Discrete data of a squared Bessel process have an atom at 0 now and then, where the process may start.

    Raises:
        UnmetHypothesis: A process of a family that is not known here.

    Example:
        >>> from hypothesis import find
        >>> from driftproof.theory.laws import Gamma
        >>> from driftproof.theory.processes import BESQ
        >>> find(data_laws(BESQ(3.0)), lambda law: isinstance(law, Gamma) and law.shape == 1.5).shape
        1.5
    """
    match process:
        case AbstractGaussianProcess():
            return laws(Normal) | _discrete("finite") | _mixtures(Normal, _locations, _scales)
        case GBM():
            return laws(LogNormal) | _discrete("> 0") | _mixtures(LogNormal, _log_locations, _log_scales)
        case AbstractSquaredBessel(delta=delta):
            conjugate = st.builds(Gamma, st.just(0.5 * delta), _scales)
            noncentral = st.builds(NoncentralChi2, st.just(delta), _noncentralities, _scales)
            mixed = _mixtures(lambda scale: Gamma(0.5 * delta, scale), _scales)
            return st.one_of(conjugate, laws(Gamma), noncentral, _discrete(">= 0"), mixed)
    known = "a Gaussian, geometric or squared Bessel process"
    raise UnmetHypothesis("data_laws", f"process is {known}", f"process = {process!r}")


def _mixtures(family: Callable[..., Any], *parameters: SearchStrategy[float]) -> SearchStrategy[Mixture]:
    def of(k: int) -> SearchStrategy[Mixture]:
        lists = [st.lists(p, min_size=k, max_size=k).map(np.asarray) for p in parameters]
        return st.builds(lambda w, *values: Mixture(w, family(*values)), probabilities(k), *lists)

    return st.integers(1, 4).flatmap(of)


def _discrete(domain: str) -> SearchStrategy[Discrete]:
    def of(k: int) -> SearchStrategy[Discrete]:
        atoms = float_arrays(k, domain, low=1e-3, high=1e2)
        return st.builds(Discrete, atoms, probabilities(k))

    return st.integers(1, 5).flatmap(of)


def _vectors(*shape: int) -> SearchStrategy[Any]:
    return hnp.arrays(np.float64, shape, elements=_locations)


def _gaussian() -> SearchStrategy[Gaussian]:
    return st.integers(1, 3).flatmap(lambda d: st.builds(Gaussian, _vectors(d), psd_matrices(d)))


def _gaussian_mixture() -> SearchStrategy[GaussianMixture]:
    def of(size: tuple[int, int]) -> SearchStrategy[GaussianMixture]:
        k, d = size
        covs = st.lists(psd_matrices(d), min_size=k, max_size=k).map(np.stack)
        return st.builds(GaussianMixture, probabilities(k), _vectors(k, d), covs)

    return st.tuples(st.integers(1, 3), st.integers(1, 3)).flatmap(of)


_BUILDERS: dict[type[AbstractLaw], Callable[[], SearchStrategy[Any]]] = {
    Normal: lambda: st.builds(Normal, _locations, _scales),
    LogNormal: lambda: st.builds(LogNormal, _log_locations, _log_scales),
    Gamma: lambda: st.builds(Gamma, _shapes, _scales),
    NoncentralChi2: lambda: st.builds(NoncentralChi2, dimensions(), _noncentralities, _scales),
    GammaMixedChi2: lambda: st.builds(GammaMixedChi2, dimensions(), _shapes, _scales, _scales),
    Mixture: lambda: st.one_of(
        _mixtures(Normal, _locations, _scales),
        _mixtures(LogNormal, _log_locations, _log_scales),
        _mixtures(Gamma, _shapes, _scales),
    ),
    Discrete: lambda: _discrete("finite"),
    Gaussian: _gaussian,
    GaussianMixture: _gaussian_mixture,
}
