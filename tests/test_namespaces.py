"""What docstrings say of arrays is what the decorators say, and what the functions do."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

import array_api_compat
import array_api_strict
import numpy as np
import pytest

from driftproof._capabilities import ANY
from driftproof.validation.inventory import inventory, of_kind
from tests.namespace_calls import CALLS

torch = pytest.importorskip("torch")

FUNCTIONS = {entry.name: entry for entry in of_kind("function")}
OTHERS = {n for n, e in FUNCTIONS.items() if e.takes == "array" and not hasattr(e.value, "kernel")}
MAKE = {
    "numpy": lambda v: np.asarray(v, dtype=np.float64),
    "torch": lambda v: torch.tensor(v, dtype=torch.float64),
    "array-api-strict": lambda v: array_api_strict.asarray(v, dtype=array_api_strict.float64),
}


def test_every_function_of_arrays_says_which() -> None:
    for entry in FUNCTIONS.values():
        documented = inspect.getdoc(entry.value) or ""
        if entry.takes == "scalar":
            assert not entry.namespaces and "\nArrays:\n" not in documented
        else:
            assert entry.namespaces and documented.count("\nArrays:\n    numpy") == 1, entry.name


def test_the_inventory_prints_the_rows() -> None:
    printed = {entry.name: entry.to_json()["namespaces"] for entry in inventory()}
    assert printed["theory.laws.kl"] == list(ANY)
    assert printed["numerics.samplers.gddim_step"] == list(ANY)
    assert printed["theory.transfer.lattice_counts"] == ["numpy"]
    assert printed["theory.transfer.direct_exponent"] == []


def test_every_other_function_is_called() -> None:
    assert CALLS.keys() == OTHERS


@pytest.mark.parametrize("name", sorted(CALLS))
def test_what_a_function_says_is_what_it_takes(name: str) -> None:
    """Equal numbers in every namespace named, as arrays of the one that came or of numpy as stated."""
    row = FUNCTIONS[name].value.capabilities
    made: list[int] = []

    def make(namespace: str) -> Any:
        return lambda v: made.append(1) or MAKE[namespace](v)

    expected = [np.asarray(leaf) for leaf in leaves(CALLS[name](make("numpy")))]
    assert expected
    if not made:
        assert row.namespaces == ("numpy",)  # there is nothing that another namespace could come with
    for namespace in row.namespaces[1:]:
        found = list(leaves(CALLS[name](make(namespace))))
        arrays = [leaf for leaf in found if array_api_compat.is_array_api_obj(leaf)]
        wanted = "numpy" if row.results == "numpy" else namespace
        assert {type(a).__module__.partition(".")[0] for a in arrays} <= {wanted.replace("-", "_")}
        assert len(found) == len(expected)
        for left, right in zip(found, expected, strict=True):
            # Conditions are below 1e3; what iterates stops at 1e-10, or at the same iterate.
            np.testing.assert_allclose(np.asarray(left), right, rtol=1e-9, atol=1e-9)


def leaves(result: Any) -> Iterator[Any]:
    """The numbers and arrays of a result."""
    if dataclasses.is_dataclass(result):
        result = [getattr(result, field.name) for field in dataclasses.fields(result)]
    if isinstance(result, list | tuple):
        for part in result:
            yield from leaves(part)
    elif array_api_compat.is_array_api_obj(result) or isinstance(result, float | int):
        yield result
