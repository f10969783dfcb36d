"""The boundary of every public function: one namespace, one device, one dtype, sound values, data as noise."""

import pickle
import subprocess
import sys

import array_api_compat.torch as xt
import array_api_strict
import numpy as np
import pytest
import torch
from typing_extensions import TypeAliasType, TypeVar

from driftproof import UnmetHypothesis
from driftproof._blocks import BLOCK, elementwise
from driftproof._checks import check_of
from driftproof._namespace import Array, boundary, public, public_functions
from driftproof._random import NumpySource, TorchSource, source
from driftproof.numerics.diffpo import time_estimate
from driftproof.numerics.doob import plug_in_guidance
from driftproof.theory.doob import twisted_transitions
from driftproof.theory.special import elementary


@public(x=">= 0", p="in [0, 1]")
def weigh(xp, x: Array, p: Array, power: float = 1.0, y: Array | None = None) -> Array:
    """A kernel that sees what the boundary let through."""
    return x * p**power + (0.0 if y is None else y)


def test_the_result_follows_the_argument():
    assert weigh(np.ones(2, np.float32), 0.5).dtype == np.float32
    assert weigh(torch.ones(2, dtype=torch.bfloat16), 0.5).dtype == torch.bfloat16
    assert isinstance(weigh(array_api_strict.ones(2), 0.5), type(array_api_strict.ones(2)))
    assert float(weigh(2, np.float32(0.5))) == 1.0  # numbers alone are float64
    assert weigh([1.0, 2.0], 0.5, y=np.ones(2)).tolist() == [1.5, 2.0]


def test_kernels_are_reachable_and_functions_are_listed():
    x = torch.ones(2)
    assert torch.equal(weigh.kernel(xt, x, 0.5 * x), weigh(x, 0.5))
    assert any(name.endswith("weigh") for name in public_functions())


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: weigh(np.ones(2), torch.ones(2)),
            TypeError,
            r"one namespace, got numpy \(x\), torch \(p\)",
        ),
        (lambda: weigh(torch.ones(2), torch.ones(2, device="meta")), TypeError, "device meta"),
        (lambda: weigh(np.ones(2), np.ones(2, np.float32)), TypeError, "one dtype"),
        (lambda: weigh(np.ones(2, int), 0.5), TypeError, "real floating array for x, got int64"),
        (lambda: weigh(np.ones(2, bool), 0.5), TypeError, "real floating"),
        (lambda: weigh(np.ones(2, complex), 0.5), TypeError, "real floating"),
        (lambda: weigh(True, 0.5), TypeError, "got bool"),
        (lambda: weigh(1j, 0.5), TypeError, "got complex"),
        (lambda: weigh("1", 0.5), TypeError, "got str"),
        (lambda: weigh(np.asarray([1.0, np.nan]), 0.5), UnmetHypothesis, "1 NaN in shape"),
        (lambda: weigh(float("nan"), 0.5), UnmetHypothesis, "x has no NaN"),
        (lambda: weigh(np.asarray([1.0, -2.0]), 0.5), UnmetHypothesis, r"x >= 0 \(x = -2.0 among 2"),
        (lambda: weigh(1.0, 1.5), UnmetHypothesis, r"p in \[0, 1\]"),
        (lambda: public(z="> 0")(lambda xp, x: x), TypeError, "no parameters"),
        (lambda: source(None), TypeError, "NoneType"),
        (lambda: source(True), TypeError, "bool"),
        (lambda: source(torch.Generator(), like=np.ones(1)), TypeError, "beside numpy arrays"),
    ],
)
def test_what_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_empty_arrays_pass_and_stay_empty():
    assert weigh(np.zeros((0, 3)), 0.5).shape == (0, 3)


def test_half_precision_parameters_are_not_rounded_to_half():
    x = torch.ones(1, dtype=torch.bfloat16)
    _, down, (lifted, other) = boundary("test", x=x, p=0.3)
    assert lifted.dtype == other.dtype == torch.float32
    assert other.item() == np.float32(0.3)
    assert down(lifted).dtype == torch.bfloat16


def test_errors_survive_a_process_boundary():
    error = pickle.loads(pickle.dumps(UnmetHypothesis("CIR", "kappa > 0", "kappa = -1.0")))
    assert str(error) == "CIR: unmet hypothesis: kappa > 0 (kappa = -1.0)"


def test_one_seed_gives_one_stream_in_every_namespace():
    like = np.zeros(5)
    want = source(3).normal(like)
    assert np.array_equal(source(3).normal(torch.from_numpy(like)).numpy(), want)
    assert np.array_equal(np.asarray(source(3).normal(array_api_strict.asarray(like))), want)
    assert isinstance(source(source(3)), NumpySource)


@pytest.mark.parametrize("make", [lambda: source(1), lambda: source(torch.Generator().manual_seed(1))])
def test_edges_of_the_draws(make):
    noise = make()
    like = torch.zeros(4, dtype=torch.float64)
    assert torch.equal(noise.gamma(like), like)  # shape 0 is the atom at 0
    assert torch.equal(noise.poisson(like), like)
    assert ((noise.uniform(like) >= 0) & (noise.uniform(like) < 1)).all()
    huge = noise.poisson(like + 1e17)
    assert torch.all(torch.abs(huge / 1e17 - 1) < 1e-7)  # 30 standard deviations


@pytest.mark.parametrize("shape", [0.3, 1.0, 7.5])
def test_gamma_draws_are_one_stream_for_equal_and_for_mixed_shapes(shape):
    equal = source(0).gamma(np.full(50, shape))
    mixed = np.full(51, shape)
    mixed[-1] += 1.0
    assert np.array_equal(source(0).gamma(mixed)[:-1], equal)


def test_torch_source_draws_on_the_device_and_dtype_of_the_array():
    noise = source(torch.Generator().manual_seed(0))
    assert isinstance(noise, TorchSource)
    assert noise.normal(torch.zeros(3, dtype=torch.float32)).dtype == torch.float32


def test_blocks_do_not_change_the_numbers():
    kernel = lambda xp, x, y: xp.exp(-x) * y
    x = np.linspace(0.0, 1.0, 3 * BLOCK + 5)
    assert np.array_equal(
        elementwise(kernel)(sys.modules["array_api_compat.numpy"], x, np.float64(2.0)), 2.0 * np.exp(-x)
    )


@pytest.mark.slow(ci=True)
def test_importing_the_library_does_not_import_torch():
    modules = (
        "driftproof, driftproof.theory.tweedie, driftproof.numerics.tweedie, driftproof.numerics.samplers"
    )
    code = f"import {modules}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_alias_of_an_annotation_is_what_it_stands_for():
    rows = TypeAliasType("rows", np.ndarray[tuple[int, ...], np.dtype[np.float64]])
    kind = TypeVar("kind", bound=np.generic)
    typed = TypeAliasType("typed", np.ndarray[tuple[int, ...], np.dtype[kind]], type_params=(kind,))
    for hint in (rows, typed[np.float64], TypeAliasType("again", rows), rows | None):
        check = check_of(hint)
        assert check("example", "x", np.ones(2)).tolist() == [1.0, 1.0]
        with pytest.raises(TypeError, match="expected a numpy array of float64 for x, got list"):
            check("example", "x", [1.0])


@pytest.mark.parametrize(
    "call",
    [
        lambda: time_estimate(np.zeros((4, 3)), np.ones((4, 3)), np.full((4, 3), 0.5)),
        lambda: time_estimate(torch.zeros(4, 3), torch.ones(4, 3), torch.full((4, 3), 0.5)),
        lambda: plug_in_guidance(np.zeros(3), np.ones((3, 2, 3)), 0.0, 1.0),
        lambda: twisted_transitions(np.full((2, 3, 3), -np.log(3.0)), np.zeros(3)),
    ],
)
def test_axes_that_broadcast_and_do_not_fit_are_refused_in_our_words(call):
    with pytest.raises(UnmetHypothesis, match="the shapes of the arguments fit together"):
        call()


def test_other_errors_of_a_kernel_stay_what_they_are():
    @public
    def failing(xp, x: Array) -> Array:
        raise ValueError("not about shapes")

    with pytest.raises(ValueError, match=r"^not about shapes$"):
        failing(np.ones(3))


def test_no_number_stays_none():
    """A logarithm or a clip that makes minus infinity or 0 of NaN hides that a kernel has failed."""
    for name in ("log_or_minus_infinity", "log_complement"):
        assert np.isnan(getattr(elementary, name)(xt, torch.tensor(float("nan"))))
    assert np.isnan(elementary.xlogy(xt, 0.5, torch.tensor(float("nan"))))
    assert elementary.log_or_minus_infinity(xt, torch.zeros(())) == -torch.inf
