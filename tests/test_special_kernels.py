"""Special functions as kernels: namespaces, dtypes, derivatives, vmap, compiled graphs, bad input."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import array_api_compat.numpy as numpy_namespace
import array_api_strict
import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftproof._namespace import UnmetHypothesis
from driftproof.theory.special import (
    bessel_quotient,
    bessel_ratio,
    gammaln,
    hyp1f1_ratio,
    log_hyp1f1,
    log_iv,
    log_ive,
    log_ive_parts,
    log_ndtr,
    mills,
)
from tests.parity.bounds import bounds
from tests.parity.rows import Row
from tests.reference import special as reference

ORDERS = (-1 + 1e-9, -0.9, -0.5, 0.0, 0.5, 1.3, 12.0, 24.0, 200.0, 1000.0, 4999.0)
# Every function with fixed parameters, as a function of one array.
UNARY: dict[str, tuple[Any, tuple[float, ...]]] = {
    "log_iv": (log_iv, (0.3,)),
    "log_ive": (log_ive, (2.0,)),
    "log_iv large order": (log_iv, (300.0,)),
    "bessel_ratio": (bessel_ratio, (-0.4,)),
    "bessel_quotient": (bessel_quotient, (3.0,)),
    "log_ndtr": (log_ndtr, ()),
    "mills": (mills, ()),
    "log_hyp1f1": (log_hyp1f1, (1.3, 2.2)),
    "hyp1f1_ratio": (hyp1f1_ratio, (1.3, 2.2)),
    "gammaln": (gammaln, ()),
}
unary = pytest.mark.parametrize("name", sorted(UNARY))


def kernel(name: str, xp: ModuleType) -> Callable[..., Any]:
    function, parameters = UNARY[name]
    return functools.partial(function.kernel, xp, *parameters)


# -- other namespaces and dtypes ---------------------------------------------------------------

POINTS = np.concatenate([np.geomspace(1e-6, 1e6, 61), [0.5, 1.0, 24.0, 59.0, 713.0]])


@unary
def test_torch_agrees(name: str) -> None:
    torch = pytest.importorskip("torch")
    function, parameters = UNARY[name]
    points = np.concatenate([-POINTS, POINTS]) if name in {"log_ndtr", "mills"} else POINTS

    def run(sample: Any, convert: Callable[[Any], Any]) -> list[np.ndarray]:
        return [np.asarray(function(*parameters, convert(sample["x"])))]

    sample = {"x": points}
    (ours,), (theirs,) = run(sample, np.asarray), run(sample, torch.as_tensor)
    (bound,) = bounds(Row((sample,)), sample, [ours], run)
    if name == "gammaln":  # two algorithms, each good to roundings of 1 near the zeros
        bound = bound + 4.0 * np.finfo(np.float64).eps
    assert np.all(np.abs(ours - theirs) <= np.maximum(bound, 1e-300))


@unary
def test_array_api_strict_is_identical(name: str) -> None:
    function, parameters = UNARY[name]
    theirs = function(*parameters, array_api_strict.asarray(POINTS))
    assert np.array_equal(function(*parameters, POINTS), np.asarray(theirs))


@unary
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_single(name: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    function, parameters = UNARY[name]
    z = torch.tensor([0.25, 1.0, 5.5], dtype=getattr(torch, dtype))
    result = function(*parameters, z)
    assert result.dtype == z.dtype
    assert torch.equal(result, function(*parameters, z.float()).to(z.dtype))


# -- derivatives, vmap, compile ----------------------------------------------------------------


@pytest.mark.slow(ci=True)
@unary
def test_gradients_pass_gradcheck(name: str) -> None:
    torch = pytest.importorskip("torch")
    import array_api_compat.torch as torch_namespace

    z = torch.tensor([0.05, 0.4, 1.0, 3.3, 20.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(kernel(name, torch_namespace), (z,))
    assert torch.autograd.gradgradcheck(kernel(name, torch_namespace), (z,))


@pytest.mark.parametrize("nu", ORDERS)
def test_derivatives_of_log_iv(nu: float) -> None:
    torch = pytest.importorskip("torch")
    z = torch.tensor(np.geomspace(1e-8, 1e10, 73), requires_grad=True)
    (first,) = torch.autograd.grad(log_iv(nu, z).sum(), z)
    expected = bessel_ratio(nu, z.detach()) + nu / z.detach()
    torch.testing.assert_close(first, expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("nu", ORDERS)
def test_derivative_of_the_ratio(nu: float) -> None:
    torch = pytest.importorskip("torch")
    z = torch.tensor(np.geomspace(1e-8, 1e8, 17), requires_grad=True)
    (slope,) = torch.autograd.grad(bessel_ratio(nu, z).sum(), z)
    exact = []
    with mp.workdps(60):  # Riccati's equation cancels in floating point
        for p in z.tolist():
            r = reference.bessel_ratio(nu, p)
            exact.append(float(1 - r * r - (2 * mp.mpf(nu) + 1) * r / p))
    error = (slope - torch.tensor(exact, dtype=torch.float64)).abs()
    assert (error <= 1e-14 * bessel_quotient(nu, z.detach())).all()


@pytest.mark.parametrize("nu", [-0.5, 0.0, 0.5, 30.0])
def test_derivatives_at_zero_are_the_regular_part(nu: float) -> None:
    torch = pytest.importorskip("torch")
    z = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    for function, slope, curvature in (
        (log_iv, 0.0, 0.5 / (nu + 1)),
        (log_ive, -1.0, 0.5 / (nu + 1)),
        (bessel_ratio, 0.5 / (nu + 1), 0.0),
    ):
        (first,) = torch.autograd.grad(function(nu, z).sum(), z, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), z)
        assert math.isclose(first.item(), slope, rel_tol=1e-14)
        assert math.isclose(second.item(), curvature, rel_tol=1e-13)


def test_gradient_in_the_order() -> None:
    torch = pytest.importorskip("torch")
    import array_api_compat.torch as torch_namespace

    nu = torch.tensor([-0.7, 0.0, 0.4, 7.0, 40.0], dtype=torch.float64, requires_grad=True)
    z = torch.tensor([0.3, 1.0, 2.0, 9.0, 30.0], dtype=torch.float64)
    for function in (log_iv, log_ive, bessel_ratio):
        assert torch.autograd.gradcheck(lambda nu, f=function: f.kernel(torch_namespace, nu, z), (nu,))


def test_derivatives_of_log_ndtr_in_the_far_tail() -> None:
    torch = pytest.importorskip("torch")
    points = np.concatenate([-np.geomspace(1e8, 1e-3, 56), np.linspace(-5, 37, 43)])
    z = torch.tensor(points, requires_grad=True)
    m = mills(z.detach())
    (first,) = torch.autograd.grad(log_ndtr(z).sum(), z, create_graph=True)
    torch.testing.assert_close(first.detach(), m, rtol=4e-15, atol=0)
    (second,) = torch.autograd.grad(first.sum(), z)
    with mp.workdps(60):  # -m (z + m) cancels in floating point
        exact = [float(-reference.mills(p) * (mp.mpf(p) + reference.mills(p))) for p in points.tolist()]
    torch.testing.assert_close(second, torch.tensor(exact, dtype=torch.float64), rtol=5e-14, atol=0)


@pytest.mark.slow(ci=True)
@given(st.floats(0.05, 50.0), st.floats(0.05, 50.0), st.floats(0.0, 1e4))
def test_derivative_of_log_hyp1f1_is_the_ratio(a: float, b: float, x: float) -> None:
    torch = pytest.importorskip("torch")
    t = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(log_hyp1f1(a, b, t), t)
    assert math.isclose(slope.item(), a / b * hyp1f1_ratio(a, b, x), rel_tol=1e-12)


@unary
def test_vmap_and_jacrev(name: str) -> None:
    torch = pytest.importorskip("torch")
    import array_api_compat.torch as torch_namespace

    function = kernel(name, torch_namespace)
    z = torch.tensor([[0.1, 2.0, 30.0], [0.7, 1.0, 5.0]], dtype=torch.float64)
    assert torch.equal(torch.func.vmap(function)(z), function(z))
    jacobian = torch.func.vmap(torch.func.jacrev(function))(z)
    slopes = torch.func.vmap(torch.func.vmap(torch.func.grad(function)))(z)
    torch.testing.assert_close(jacobian, torch.diag_embed(slopes), rtol=1e-15, atol=1e-15)


@pytest.mark.slow(ci=True)
@unary
def test_graph_has_no_breaks(name: str) -> None:
    torch = pytest.importorskip("torch")
    import array_api_compat.torch as torch_namespace

    torch._dynamo.reset()
    function = kernel(name, torch_namespace)
    z = torch.tensor([0.1, 2.0, 30.0], dtype=torch.float64)
    assert torch.equal(torch.compile(function, fullgraph=True, backend="eager")(z), function(z))


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (log_iv, ((0.3,), (0.7,), (30.0,))),
        pytest.param(log_hyp1f1, ((1.3, 2.2), (1.5, 2.2), (4.0, 0.5)), marks=pytest.mark.slow),
    ],
)
def test_graph_follows_parameters_that_change(function: Any, parameters: Any) -> None:
    torch = pytest.importorskip("torch")
    import array_api_compat.torch as torch_namespace

    torch._dynamo.reset()
    z = torch.tensor([0.1, 2.0, 30.0], dtype=torch.float64)
    compiled = torch.compile(
        functools.partial(function.kernel, torch_namespace), fullgraph=True, backend="eager"
    )
    for values in parameters:
        assert torch.equal(compiled(*values, z), function(*values, z))


@pytest.mark.slow
@unary
def test_compiled_code_agrees(name: str) -> None:
    torch = pytest.importorskip("torch")
    import array_api_compat.torch as torch_namespace

    torch._dynamo.reset()
    function = kernel(name, torch_namespace)
    z = torch.tensor(POINTS)
    torch.testing.assert_close(
        torch.compile(function, fullgraph=True)(z), function(z), rtol=2e-15, atol=1e-14
    )


@unary
def test_empty_and_scalar_shapes(name: str) -> None:
    function, parameters = UNARY[name]
    assert function(*parameters, np.zeros((2, 0, 3))).shape == (2, 0, 3)
    assert function(*parameters, 0.5).shape == ()
    assert function(*parameters, np.full((2, 3), 0.5)).shape == (2, 3)


# -- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [log_iv, log_ive, log_ive_parts, bessel_ratio, bessel_quotient])
@pytest.mark.parametrize(
    "nu", [-1.0, -3.5, math.nan, math.inf, np.asarray([0.0, -1.0]), np.asarray([math.inf])]
)
def test_orders_outside_of_the_domain(function: Any, nu: Any) -> None:
    with pytest.raises(UnmetHypothesis, match=f"{function.__name__}: unmet hypothesis: nu"):
        function(nu, np.asarray([1.0, 2.0]))


def test_kernels_refuse_a_static_order_too() -> None:
    with pytest.raises(UnmetHypothesis, match="nu > -1"):
        log_iv.kernel(numpy_namespace, -1.0, np.ones(2))


@unary
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_points_outside_of_the_domain(name: str, value: float) -> None:
    function, parameters = UNARY[name]
    if (name in {"log_ndtr", "mills"} and value == -1.0) or (name == "gammaln" and value == math.inf):
        return
    with pytest.raises(UnmetHypothesis, match="hypothesis"):
        function(*parameters, np.asarray([0.5, value]))


@unary
@pytest.mark.parametrize("value", [np.asarray([1, 2]), np.asarray([1j]), np.asarray([True]), 1j, "1", None])
def test_wrong_kinds_of_points(name: str, value: Any) -> None:
    function, parameters = UNARY[name]
    with pytest.raises(TypeError):
        function(*parameters, value)


def test_wrong_kinds_of_orders() -> None:
    for nu in (1j, True, "1", None, np.asarray([1, 2]), np.asarray([0.5], dtype=np.float32)):
        with pytest.raises(TypeError):
            log_iv(nu, np.ones(2))


@pytest.mark.parametrize("function", [log_hyp1f1, hyp1f1_ratio])
@pytest.mark.parametrize(
    ("a", "b"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (2e6, 1.0), (1.0, 2e6), (math.nan, 1.0)]
)
def test_kummer_parameters_outside_of_the_domain(function: Any, a: float, b: float) -> None:
    with pytest.raises(UnmetHypothesis, match="a is finite" if math.isnan(a) else "1F1"):
        function(a, b, np.ones(2))
