"""The checks behind every cell of the capability table; each takes a subject, its row and one sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import array_api_strict
import numpy as np

from driftproof import UnmetHypothesis

from .rows import ELSEWHERE, GENTLE, INPUTS, Row, Sample
from .subjects import Subject

EPS = float(np.finfo(np.float64).eps)
SEED = 20260


def namespaces_agree(subject: Subject, row: Row, sample: Sample) -> float:
    """numpy and torch in float64; returns the largest difference in roundings of the result's scale."""
    import torch

    ours = run(subject, row, sample, np.asarray)
    theirs = run(subject, row, sample, torch.as_tensor)
    return worst(ours, theirs, scale_of(row, sample, subject), sample, row.ulp * EPS) / EPS


def strict_is_identical(subject: Subject, row: Row, sample: Sample) -> None:
    """array-api-strict, without boolean indexing and shapes that depend on data, bit for bit."""
    ours = run(subject, row, sample, np.asarray)
    with array_api_strict.ArrayAPIStrictFlags(boolean_indexing=False, data_dependent_shapes=False):
        theirs = run(subject, row, sample, array_api_strict.asarray)
    for left, right in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(left, right)


def single_precision_is_close(subject: Subject, row: Row, sample: Sample) -> float:
    """float32 against float64 on the same numbers, on numpy and torch; returns the larger error."""
    import torch

    if row.random:  # a rounding may change a count: the draws are of the same law, not the same
        sample = gently(row, sample)
    rounded = {k: np.float64(np.float32(v)) if isinstance(v, np.ndarray) else v for k, v in sample.items()}
    exact = run(subject, row, rounded, np.asarray)
    errors = []
    for convert in (
        lambda v: np.asarray(v, dtype=np.float32),
        lambda v: torch.as_tensor(v, dtype=torch.float32),
    ):
        with np.errstate(over="ignore", under="ignore"):
            results = run(subject, row, rounded, convert, dtype="float32")
        if row.random:
            assert all(np.isfinite(result).all() for result in results)
            continue
        scale = np.maximum(scale_of(row, rounded), conditioning(subject, row, rounded))
        errors.append(worst(exact, results, scale, rounded, row.single, largest=1e37, least=1e-35))
    return max(errors, default=0.0)


def half_precision_comes_back(subject: Subject, row: Row, sample: Sample) -> None:
    """bfloat16 in, bfloat16 out, finite, and the float32 result rounded once."""
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
        assert low.dtype == torch.bfloat16, f"bfloat16 in, {low.dtype} out"
        assert bool(torch.isfinite(low).all())
        assert torch.equal(low, single.to(torch.bfloat16))


def gradients_are_right(subject: Subject, row: Row, sample: Sample) -> None:
    """Automatic against finite differences in every smooth argument."""
    import torch

    arguments = gently(row, sample)
    smooth = [k for k in arrays_of(arguments) if row.smooth is None or k in row.smooth]
    assert smooth, "no argument to differentiate: say so with smooth=()"
    tensors = {k: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}

    def function(*values: Any) -> Any:
        return tuple_of(
            call(subject, row, {**tensors, **dict(zip(smooth, values, strict=True))}, kernel=True)
        )

    points = tuple(tensors[k].clone().requires_grad_() for k in smooth)
    assert torch.autograd.gradcheck(function, points)


def vmap_is_the_loop(subject: Subject, row: Row, sample: Sample) -> None:
    """torch.func.vmap over the batch axis against one call an element."""
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
        return call(subject, row, {**rest, **shared, **dict(zip(mapped, values, strict=True))}, kernel=True)

    together = tuple_of(torch.func.vmap(function)(*batch))
    singly = [tuple_of(function(*(b[i] for b in batch))) for i in range(batch[0].shape[0])]
    looped = [torch.stack(parts) for parts in zip(*singly, strict=True)]
    scale = scale_of(row, {**sample, **chosen}, subject)
    worst(
        [v.numpy() for v in looped], [v.numpy() for v in together], scale, {**rest, **chosen}, row.ulp * EPS
    )


def compiled_is_eager(subject: Subject, row: Row, sample: Sample, backend: str) -> None:
    """torch.compile without a graph break against eager code.

    The inductor's vectorised code for CPUs takes exp(x) - 1 for expm1(x) (a test of its own shows it);
    its scalar code does not, and is what a GPU is given too.
    """
    import torch
    from torch._inductor import config

    tensors = {k: torch.as_tensor(v) for k, v in arrays_of(sample).items()}
    rest = {k: v for k, v in sample.items() if k not in tensors}

    def function(*values: Any) -> Any:
        return call(subject, row, {**rest, **dict(zip(tensors, values, strict=True))}, kernel=True)

    torch._dynamo.reset()
    with config.patch({"cpp.simdlen": 1}):
        compiled = tuple_of(torch.compile(function, fullgraph=True, backend=backend)(*tensors.values()))
    eager = tuple_of(function(*tensors.values()))
    bound = 0.0 if backend == "eager" else (row.compiled or 0.0) * EPS
    scale = scale_of(row, sample, subject)
    worst([v.numpy() for v in eager], [v.numpy() for v in compiled], scale, sample, bound)


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


def call(subject: Subject, row: Row, arguments: Sample, kernel: bool = False) -> Any:
    if row.random:
        arguments = {**arguments, "rng": np.random.default_rng(SEED)}
    if not kernel:
        return subject(**arguments)
    import array_api_compat.torch as torch_namespace

    return subject.kernel(torch_namespace, **arguments)


def run(
    subject: Subject, row: Row, sample: Sample, convert: Callable[[Any], Any], dtype: str = "float64"
) -> list[np.ndarray]:
    """Results as numpy arrays, after a check that the dtype came back."""
    arguments = {k: convert(v) if isinstance(v, np.ndarray) else v for k, v in sample.items()}
    results = tuple_of(call(subject, row, arguments))
    for result in results:
        assert str(result.dtype).split(".")[-1] == dtype, f"{dtype} in, {result.dtype} out"
    return [np.asarray(result) for result in results]


def worst(
    expected: Sequence[np.ndarray],
    found: Sequence[np.ndarray],
    terms: Any,
    sample: Sample,
    bound: float,
    largest: float = np.inf,
    least: float = 1e-300,
) -> float:
    """The largest error relative to ``max(|result|, terms)``; raises if it is above the bound."""
    error = 0.0
    for left, right in zip(expected, found, strict=True):
        assert left.shape == right.shape, f"shapes {left.shape} and {right.shape}"
        left, right = left.astype(np.float64), right.astype(np.float64)
        inside = np.isfinite(left) & (np.abs(left) < largest)
        assert not np.isnan(right).any(), "NaN"
        assert (right[~np.isfinite(left)] == left[~np.isfinite(left)]).all(), "infinities differ"
        assert np.isfinite(right[inside]).all(), (
            f"infinite where {left[inside & ~np.isfinite(right)][:3]} is right"
        )
        scale = np.maximum(np.maximum(np.abs(left), np.broadcast_to(np.abs(terms), left.shape)), least)
        errors = np.abs(np.subtract(right, left, where=inside, out=np.zeros_like(left))) / scale
        if errors.size and errors.max() > bound:
            at = np.unravel_index(int(errors.argmax()), errors.shape)
            where = {k: v[at] if v.shape == left.shape else v for k, v in arrays_of(sample).items()}
            raise AssertionError(
                f"{errors[at]:.3g} of the scale {scale[at]:.3g} (bound {bound:.3g}): "
                f"{right[at]!r} for {left[at]!r} at {where}, {others(sample)}"
            )
        error = max(error, float(errors.max(initial=0.0)))
    return error


def scale_of(row: Row, sample: Sample, subject: Subject | None = None) -> Any:
    """The size of the terms behind a result, as the row states it."""
    if row.terms == INPUTS:
        return 0.0 if subject is None else conditioning(subject, row, sample)
    return np.abs(row.terms(**sample)) if callable(row.terms) else row.terms


def conditioning(subject: Subject, row: Row, sample: Sample) -> np.ndarray:
    """sum_i |x_i df/dx_i| of the first result; infinite slopes (at a boundary) count as none.

    One derivative an element where every array has the shape of the result, else the whole Jacobian.
    """
    import torch

    tensors = {k: torch.as_tensor(v).clone().requires_grad_() for k, v in arrays_of(sample).items()}
    result = tuple_of(call(subject, row, {**sample, **tensors}, kernel=True))[0]
    if not result.requires_grad:
        return np.zeros(result.shape)
    points = tuple(tensors.values())
    if all(point.ndim == 1 and point.shape == result.shape for point in points):
        slopes = torch.autograd.grad(result.sum(), points, allow_unused=True)
        moved = [(v * g).abs() for v, g in zip(points, slopes, strict=True) if g is not None]
    else:
        rows = [
            torch.autograd.grad(part, points, retain_graph=True, allow_unused=True)
            for part in result.flatten()
        ]
        moved = [
            torch.stack([(v * g).abs().nan_to_num(0.0, posinf=0.0).sum() for g in column]).reshape(
                result.shape
            )
            for v, column in zip(points, zip(*rows, strict=True), strict=True)
            if column[0] is not None
        ]
    return sum(np.nan_to_num(m.detach().numpy(), nan=0.0, posinf=0.0) for m in moved)


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
