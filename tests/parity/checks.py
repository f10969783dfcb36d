"""The checks behind every cell of the capability table; each takes a subject, its row and one sample."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import array_api_compat.numpy as numpy_namespace
import array_api_strict
import numpy as np

from driftproof import UnmetHypothesis

from .bounds import bounds
from .draws import Script
from .rows import ELSEWHERE, GENTLE, Row, Sample
from .subjects import Subject

SEED = 20260


def namespaces_agree(subject: Subject, row: Row, sample: Sample) -> float:
    """numpy and torch in float64; returns the largest difference, as a share of its bound."""
    import torch

    script = Script(SEED)
    ours = run(subject, row, sample, np.asarray, script=script)
    theirs = run(subject, row, sample, torch.as_tensor, script=script)
    return within(ours, theirs, lambda: bounds_of(subject, row, sample, ours, script=script), sample)


def strict_is_identical(subject: Subject, row: Row, sample: Sample) -> None:
    """array-api-strict, without boolean indexing and shapes that depend on data, bit for bit."""
    ours = run(subject, row, sample, np.asarray)
    with array_api_strict.ArrayAPIStrictFlags(boolean_indexing=False, data_dependent_shapes=False):
        theirs = run(subject, row, sample, array_api_strict.asarray)
    for left, right in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(left, right)


def single_precision_is_close(subject: Subject, row: Row, sample: Sample) -> float:
    """float32 against float64 on the same numbers, on numpy and torch; returns the larger share of the bound."""
    import torch

    if (
        subject.capabilities.random
    ):  # a rounding may change a count: the draws are of the same law, not the same
        sample = gently(row, sample)
    rounded = {k: to_single(v) for k, v in sample.items()}
    exact = run(subject, row, rounded, np.asarray)
    with np.errstate(over="ignore", under="ignore"):
        ours = run(subject, row, rounded, lambda v: np.asarray(v, dtype=np.float32), dtype="float32")
        theirs = run(
            subject, row, rounded, lambda v: torch.as_tensor(v, dtype=torch.float32), dtype="float32"
        )
        if subject.capabilities.random or not row.single:
            assert all(np.isfinite(result).all() for result in (*ours, *theirs))
            return 0.0

        @functools.cache
        def allowed() -> list[np.ndarray]:
            return bounds_of(subject, row, rounded, ours, dtype="float32", everything=True)

        return max(
            within(exact, results, allowed, rounded, largest=1e37, least=1e-35) for results in (ours, theirs)
        )


def half_precision_comes_back(subject: Subject, row: Row, sample: Sample) -> None:
    """bfloat16 in, bfloat16 out, finite, the float32 result rounded once; or, of sums and averages, as it is."""
    import torch

    gentle = gently(row, sample)
    half = {
        k: torch.as_tensor(v).to(torch.bfloat16) if isinstance(v, np.ndarray) else v
        for k, v in gentle.items()
    }
    lifted = {k: v.float() if isinstance(v, torch.Tensor) else v for k, v in half.items()}
    for low, single in zip(
        tuple_of(call(subject, row, half)), tuple_of(call(subject, row, lifted)), strict=True
    ):
        expected = torch.float32 if subject.capabilities.wide else torch.bfloat16
        assert low.dtype == expected, f"bfloat16 in, {low.dtype} out"
        assert bool(torch.isfinite(low).all())
        assert torch.equal(low, single.to(expected))


def gradients_are_right(subject: Subject, row: Row, sample: Sample) -> None:
    """Automatic against finite differences in every smooth argument."""
    import array_api_compat.torch as torch_namespace
    import torch

    arguments = gently(row, sample)
    named = subject.capabilities.differentiates
    smooth = [k for k in arrays_of(arguments) if named is None or k in named]
    assert smooth, "no argument to differentiate: say so with differentiates=()"
    tensors = {k: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}

    def function(*values: Any) -> Any:
        return tuple_of(
            call(subject, row, {**tensors, **dict(zip(smooth, values, strict=True))}, xp=torch_namespace)
        )

    points = tuple(tensors[k].clone().requires_grad_() for k in smooth)
    assert torch.autograd.gradcheck(function, points)


def vmap_is_the_loop(subject: Subject, row: Row, sample: Sample) -> None:
    """torch.func.vmap over the batch axis against one call an element."""
    import array_api_compat.torch as torch_namespace
    import torch

    tensors = {k: torch.as_tensor(v) for k, v in arrays_of(sample).items()}
    rest = {k: v for k, v in sample.items() if k not in tensors}
    mapped = [k for k in tensors if k not in row.shared]
    if row.whole:
        chosen = {k: np.stack([sample[k], sample[k][::-1]]) for k in mapped}
    else:
        length = sample[mapped[0]].shape[0]
        picked = sorted({round(i) for i in np.linspace(0, length - 1, 12)})
        chosen = {k: sample[k][picked] for k in mapped}
    batch = [torch.as_tensor(v.copy()) for v in chosen.values()]
    shared = {k: tensors[k] for k in row.shared if k in tensors}

    def function(*values: Any) -> Any:
        return call(
            subject, row, {**rest, **shared, **dict(zip(mapped, values, strict=True))}, xp=torch_namespace
        )

    together = tuple_of(torch.func.vmap(function)(*batch))
    singly = [tuple_of(function(*(b[i] for b in batch))) for i in range(batch[0].shape[0])]
    looped = [torch.stack(parts).numpy() for parts in zip(*singly, strict=True)]

    def allowed() -> list[np.ndarray]:
        if not row.whole:
            return bounds_of(subject, row, {**sample, **chosen}, looped, xp=numpy_namespace)
        each = []
        for i in range(len(singly)):
            one = {**sample, **{k: v[i] for k, v in chosen.items()}}
            each.append(bounds_of(subject, row, one, [r[i] for r in looped], xp=numpy_namespace))
        return [np.stack(parts) for parts in zip(*each, strict=True)]

    within(looped, [v.numpy() for v in together], allowed, {**rest, **chosen})


def compiled_is_eager(subject: Subject, row: Row, sample: Sample, backend: str) -> None:
    """torch.compile without a graph break against eager code.

    The inductor's vectorised code for CPUs takes exp(x) - 1 for expm1(x) (a test of its own shows it);
    its scalar code does not, and is what a GPU is given too.
    """
    import array_api_compat.torch as torch_namespace
    import torch
    from torch._inductor import config

    tensors = {k: torch.as_tensor(v) for k, v in arrays_of(sample).items()}
    rest = {k: v for k, v in sample.items() if k not in tensors}

    def function(*values: Any) -> Any:
        return call(subject, row, {**rest, **dict(zip(tensors, values, strict=True))}, xp=torch_namespace)

    torch._dynamo.reset()
    with config.patch({"cpp.simdlen": 1}):
        compiled = tuple_of(torch.compile(function, fullgraph=True, backend=backend)(*tensors.values()))
    eager = [v.numpy() for v in tuple_of(function(*tensors.values()))]
    allowed = [np.zeros(v.shape) for v in eager]
    if backend != "eager":  # it contracts and reorders
        allowed = bounds_of(subject, row, sample, eager, everything=True)
    worst(eager, [v.numpy() for v in compiled], allowed, sample)


def bad_arrays_are_refused(subject: Subject, row: Row, sample: Sample) -> None:
    """Integers, complex numbers, NaN and mixed namespaces, in every array argument."""
    import torch

    arguments = gently(row, sample)
    for name, value in arrays_of(arguments).items():
        hurt = value.copy()
        hurt.flat[0] = np.nan
        refused(TypeError, subject, row, {**arguments, name: np.ones_like(value, dtype=np.int64)})
        refused(TypeError, subject, row, {**arguments, name: value.astype(np.complex128)})
        refused(UnmetHypothesis, subject, row, {**arguments, name: hurt})
        if len(arrays_of(arguments)) > 1:
            refused(TypeError, subject, row, {**arguments, name: torch.as_tensor(value)})
            refused(TypeError, subject, row, {**arguments, name: value.astype(np.float32)})


def refused(error: type[Exception], subject: Subject, row: Row, arguments: Sample) -> None:
    try:
        call(subject, row, arguments)
    except error:
        return
    kinds = {k: getattr(v, "dtype", None) for k, v in arguments.items()}
    raise AssertionError(f"expected {error.__name__} for {kinds}")


# -- how a subject is called and compared -------------------------------------------------------


def call(subject: Subject, row: Row, arguments: Sample, xp: Any = None, rng: Any = None) -> Any:
    """Call the public function, or its kernel in a namespace."""
    if subject.capabilities.random:
        arguments = {**arguments, "rng": np.random.default_rng(SEED) if rng is None else rng}
    return subject(**arguments) if xp is None else subject.kernel(xp, **arguments)


def run(
    subject: Subject,
    row: Row,
    sample: Sample,
    convert: Callable[[Any], Any],
    dtype: str = "float64",
    script: Script | None = None,
    xp: Any = None,
) -> list[np.ndarray]:
    """Results as numpy arrays, after a check that the dtype came back.

    Under a script, the parameters of the draws are results too.
    """
    arguments = {k: convert(v) if isinstance(v, np.ndarray) else v for k, v in sample.items()}
    reader = script.reader() if script is not None and subject.capabilities.random else None
    results = tuple_of(call(subject, row, arguments, xp, rng=reader))
    for result in results:
        assert str(result.dtype).split(".")[-1] == dtype, f"{dtype} in, {result.dtype} out"
    return [*(np.asarray(result) for result in results), *(reader.parameters if reader else ())]


def bounds_of(
    subject: Subject,
    row: Row,
    sample: Sample,
    results: Sequence[np.ndarray],
    *,
    script: Script | None = None,
    dtype: str = "float64",
    everything: bool = False,
    xp: Any = None,
) -> list[np.ndarray]:
    """How far another computation of these results may be from them (:mod:`tests.parity.bounds`)."""

    def noisy(sample: Sample, convert: Callable[..., Any]) -> list[np.ndarray]:
        return run(subject, row, sample, lambda v: convert(v, dtype), dtype, script, xp)

    computed = bounds(row, sample, results, noisy, everything=everything or row.rounded)
    return [bound + row.absolute * np.finfo(dtype).eps for bound in computed]


def within(
    expected: Sequence[np.ndarray],
    found: Sequence[np.ndarray],
    bounds: Callable[[], Sequence[np.ndarray]],
    sample: Sample,
    largest: float = np.inf,
    least: float = 1e-300,
) -> float:
    """:func:`worst`, with bounds that are computed only where four roundings, which every bound has, are too few."""
    four = [
        4.0 * np.finfo(right.dtype).eps * np.minimum(np.abs(left), np.abs(right))
        for left, right in zip(expected, found, strict=True)
    ]
    try:
        return worst(expected, found, four, sample, largest, least)
    except AssertionError:
        return worst(expected, found, bounds(), sample, largest, least)


def worst(
    expected: Sequence[np.ndarray],
    found: Sequence[np.ndarray],
    allowed: Sequence[np.ndarray],
    sample: Sample,
    largest: float = np.inf,
    least: float = 1e-300,
) -> float:
    """The largest error as a share of its bound, which counts from ``least`` on; raises if it is above 1."""
    share = 0.0
    for left, right, bound in zip(expected, found, allowed, strict=True):
        assert left.shape == right.shape, f"shapes {left.shape} and {right.shape}"
        left, right = left.astype(np.float64), right.astype(np.float64)
        inside = np.isfinite(left) & (np.abs(left) < largest)
        assert not np.isnan(right).any(), "NaN"
        assert (right[~np.isfinite(left)] == left[~np.isfinite(left)]).all(), "infinities differ"
        assert np.isfinite(right[inside]).all(), (
            f"infinite where {left[inside & ~np.isfinite(right)][:3]} is right"
        )
        errors = np.abs(np.subtract(right, left, where=inside, out=np.zeros_like(left)))
        shares = np.where(errors > 0.0, errors / np.maximum(bound, least), 0.0)
        if shares.size and shares.max() > 1.0:
            at = np.unravel_index(int(shares.argmax()), shares.shape)
            where = {k: v[at] if v.shape == left.shape else v for k, v in arrays_of(sample).items()}
            raise AssertionError(
                f"off by {errors[at]:.3g} (bound {bound[at]:.3g}): "
                f"{right[at]!r} for {left[at]!r} at {where}, {others(sample)}"
            )
        share = max(share, float(shares.max(initial=0.0)))
    return share


def to_single(value: Any) -> Any:
    """A number or array of numbers that both precisions hold."""
    return (
        np.float64(np.float32(value))
        if isinstance(value, np.ndarray)
        else (float(np.float32(value)) if isinstance(value, float) else value)
    )


def gently(row: Row, sample: Sample) -> dict[str, Any]:
    """The sample with its arrays at generic points."""
    values = {**GENTLE, **row.gentle}
    return {
        k: np.asarray(values.get(k, ELSEWHERE), dtype=np.float64) if isinstance(v, np.ndarray) else v
        for k, v in sample.items()
    }


def arrays_of(sample: Sample) -> Mapping[str, np.ndarray]:
    return {k: v for k, v in sample.items() if isinstance(v, np.ndarray)}


def others(sample: Sample) -> str:
    return ", ".join(f"{k} = {v!r}" for k, v in sample.items() if not isinstance(v, np.ndarray))


def tuple_of(result: Any) -> tuple[Any, ...]:
    if isinstance(result, Mapping):
        return tuple(result.values())
    return result if isinstance(result, tuple) else (result,)
