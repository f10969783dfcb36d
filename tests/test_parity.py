"""One source, every namespace, precision and transformation: a row for each public function.

The slow part compiles every kernel; three of them stand for the rest in the fast part.
"""

from __future__ import annotations

import dataclasses

import pytest

from tests.parity import checks
from tests.parity.cases import table
from tests.parity.rows import Row
from tests.parity.subjects import subjects

torch = pytest.importorskip("torch")

SUBJECTS = subjects()
ROWS = table()
KNOWN = sorted(SUBJECTS.keys() & ROWS.keys())
DETERMINISTIC = [name for name in KNOWN if not SUBJECTS[name].capabilities.random]
COMPILED = [name for name in DETERMINISTIC if ROWS[name].compiled]
DIFFERENTIABLE = [name for name in DETERMINISTIC if SUBJECTS[name].capabilities.differentiates != ()]
REPRESENTATIVE = [
    "theory.special.normal.mills",
    "theory.tweedie.first_order.conditional_score",
    "numerics.samplers.gddim.gddim_step",
]


def test_every_public_function_has_a_row() -> None:
    missing = sorted(SUBJECTS.keys() - ROWS.keys())
    assert not missing, f"add a row to a table in tests/parity/cases for {missing}"


def test_every_row_has_a_function() -> None:
    assert not sorted(ROWS.keys() - SUBJECTS.keys())


def test_every_exception_has_a_reason() -> None:
    fields = ("absolute", "single", "compiled", "rounded")
    plain = {field.name: field.default for field in dataclasses.fields(Row) if field.name in fields}
    excepted = {
        name
        for name, row in ROWS.items()
        if not row.reason and any(getattr(row, key) != default for key, default in plain.items())
    }
    assert not excepted


def every_sample(check, name: str, most: int | None = None) -> None:
    """Run a check on the samples of a row, or on ``most`` of them from end to end."""
    samples = ROWS[name].samples
    if most is not None and len(samples) > most:
        samples = [samples[round(i * (len(samples) - 1) / max(1, most - 1))] for i in range(most)]
    for sample in samples:
        check(SUBJECTS[name], ROWS[name], sample)


@pytest.mark.parametrize("name", KNOWN)
def test_numpy_and_torch_agree(name: str) -> None:
    every_sample(checks.namespaces_agree, name)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("name", KNOWN)
def test_array_api_strict_is_identical(name: str) -> None:
    every_sample(checks.strict_is_identical, name)


@pytest.mark.parametrize("name", KNOWN)
def test_single_precision_is_close_to_double(name: str) -> None:
    every_sample(checks.single_precision_is_close, name)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("name", KNOWN)
def test_half_precision_comes_back_finite(name: str) -> None:
    every_sample(checks.half_precision_comes_back, name)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_are_right(name: str) -> None:
    every_sample(checks.gradients_are_right, name, most=1)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_vmap_is_the_loop(name: str) -> None:
    every_sample(checks.vmap_is_the_loop, name, most=1)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_vmap_and_gradients_at_three_samples(name: str) -> None:
    every_sample(checks.vmap_is_the_loop, name, most=3)
    if name in DIFFERENTIABLE:
        every_sample(checks.gradients_are_right, name, most=3)


@pytest.mark.parametrize("name", KNOWN)
def test_bad_arrays_are_refused(name: str) -> None:
    checks.bad_arrays_are_refused(SUBJECTS[name], ROWS[name], ROWS[name].samples[0])


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_graph_has_no_breaks(name: str) -> None:
    checks.compiled_is_eager(SUBJECTS[name], ROWS[name], ROWS[name].samples[0], backend="eager")


@pytest.mark.slow
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_every_gradient_is_right(name: str) -> None:
    every_sample(checks.gradients_are_right, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_every_graph_has_no_breaks(name: str) -> None:
    def graph(subject, row, sample):
        checks.compiled_is_eager(subject, row, sample, backend="eager")

    every_sample(graph, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPILED)
def test_compiled_code_agrees(name: str) -> None:
    checks.compiled_is_eager(SUBJECTS[name], ROWS[name], ROWS[name].samples[0], backend="inductor")


@pytest.mark.slow
@pytest.mark.xfail(
    strict=True, reason="torch 2.13: vectorised CPU code of the inductor is exp(x) - 1 for expm1(x)"
)
def test_compiled_expm1_is_accurate_on_cpu() -> None:
    x = torch.linspace(1e-9, 1e-6, 64, dtype=torch.float64)
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: torch.expm1(x), fullgraph=True)(x)
    torch.testing.assert_close(compiled, torch.expm1(x), rtol=1e-12, atol=0.0)
