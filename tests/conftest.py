"""What every test runs under: one thread, repeatable examples, and a namespace chosen from outside.

Tests that ask for the fixture ``xp`` run in the namespace that ``DRIFTPROOF_NAMESPACE`` names (numpy
unless given; ``torch``; ``strict`` for array-api-strict, which refuses whatever the Array API standard
does not promise) and carry the marker ``strict``.
"""

from __future__ import annotations

import os
from types import ModuleType

# Before torch is imported anywhere: two pytest workers with two threads each are slower than with one.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import hypothesis
import pytest

NAMESPACES = ("numpy", "torch", "strict")

hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("search", max_examples=1000, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def namespace(name: str) -> ModuleType:
    """The namespace of this name, with every optional feature of array-api-strict refused."""
    if name == "numpy":
        import array_api_compat.numpy as numpy_namespace

        return numpy_namespace
    if name == "torch":
        pytest.importorskip("torch")
        import array_api_compat.torch as torch_namespace

        return torch_namespace
    if name == "strict":
        import array_api_strict

        # Shapes that depend on data can be neither compiled nor vectorised.
        array_api_strict.set_array_api_strict_flags(boolean_indexing=False, data_dependent_shapes=False)
        return array_api_strict
    raise pytest.UsageError(f"DRIFTPROOF_NAMESPACE: expected one of {', '.join(NAMESPACES)}, got {name!r}")


@pytest.fixture(scope="session")
def xp() -> ModuleType:
    """The array namespace under test."""
    return namespace(os.environ.get("DRIFTPROOF_NAMESPACE", "numpy"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "xp" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.strict)
        if item.get_closest_marker("gpu") and not _has_cuda():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _has_cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()
