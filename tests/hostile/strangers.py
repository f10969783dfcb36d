"""What strangers pass for an argument: values of every wrong kind, shape and layout, and some odd ones that are right.

Each makes a value from the valid one.  ``REFUSE``: nothing but an error will do.  ``WORK``: the result is
that of the valid argument.  ``EITHER``: a sound result or an error of ours, whichever the function says.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from driftproof.theory.processes import CIR

REFUSE: Literal["refuse"] = "refuse"
WORK: Literal["work"] = "work"
EITHER: Literal["either"] = "either"


class Stranger(NamedTuple):
    """A value made from the valid one, and what shall become of it."""

    make: Callable[[Any], Any]
    fate: Literal["refuse", "work", "either"]
    legal: tuple[str, ...] = ()  # words of an annotation for which it is no stranger


class Labelled(np.ndarray):  # type: ignore[type-arg]
    """A subclass of ndarray whose arithmetic may mean anything."""


def nested(depth: int) -> Any:
    value: Any = 1.0
    for _ in range(depth):
        value = [value]
    return value


def endless() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def bare_text() -> str:
    return "x"


# For every parameter.  Legal: these words in its annotation let it through.
ANYTHING: Mapping[str, Stranger] = {
    "None": Stranger(lambda v: None, REFUSE, ("None",)),
    "text": Stranger(lambda v: "x", REFUSE, ("str",)),
    "bytes": Stranger(lambda v: b"x", REFUSE),
    "True": Stranger(lambda v: True, REFUSE, ("bool",)),
    "numpy True": Stranger(lambda v: np.True_, REFUSE, ("bool",)),
    "1j": Stranger(lambda v: 1j, REFUSE),
    "complex128": Stranger(lambda v: np.complex128(1j), REFUSE),
    "10**400": Stranger(lambda v: 10**400, REFUSE, ("Rng",)),
    "-10**400": Stranger(lambda v: -(10**400), REFUSE),
    "nan": Stranger(lambda v: float("nan"), REFUSE),
    "numpy nan": Stranger(lambda v: np.float32("nan"), REFUSE),
    "inf": Stranger(lambda v: float("inf"), EITHER),
    "-inf": Stranger(lambda v: float("-inf"), EITHER),
    "1.5": Stranger(lambda v: 1.5, EITHER),
    "-1": Stranger(lambda v: -1, EITHER),
    "zero": Stranger(lambda v: 0, EITHER),
    "numpy int": Stranger(lambda v: np.int64(1), EITHER),
    "numpy float32": Stranger(lambda v: np.float32(0.5), EITHER),
    "longdouble": Stranger(lambda v: np.longdouble(0.5), EITHER),
    "0-d array": Stranger(lambda v: np.asarray(0.5), EITHER),
    "0-d object array": Stranger(lambda v: np.asarray(None), REFUSE),
    "object": Stranger(lambda v: object(), REFUSE),
    "Ellipsis": Stranger(lambda v: ..., REFUSE),
    "dict": Stranger(lambda v: {}, REFUSE),
    "set": Stranger(lambda v: {0.5}, REFUSE),
    "empty list": Stranger(lambda v: [], EITHER),
    "empty tuple": Stranger(lambda v: (), EITHER),
    "list of None": Stranger(lambda v: [None], REFUSE),
    "list of text": Stranger(lambda v: ["x", "y"], REFUSE),
    "list with True": Stranger(lambda v: [0.5, True], REFUSE),
    "list with 10**400": Stranger(lambda v: [10**400, 0.5], REFUSE),
    "ragged list": Stranger(lambda v: [[0.5, 0.25], [0.5]], REFUSE, ("tuple",)),
    "list of arrays": Stranger(lambda v: [np.asarray([0.5]), np.asarray([0.5, 0.25])], REFUSE, ("tuple",)),
    "deep list": Stranger(lambda v: nested(200), REFUSE),
    "endless list": Stranger(lambda v: endless(), REFUSE),
    "generator": Stranger(lambda v: (x for x in (0.5, 0.25)), REFUSE),
    "range": Stranger(lambda v: range(1, 3), EITHER),
    "Decimal": Stranger(lambda v: decimal.Decimal("0.5"), EITHER),
    "Fraction": Stranger(lambda v: fractions.Fraction(1, 2), EITHER),
    "date": Stranger(lambda v: datetime.date(2020, 1, 1), REFUSE),
    "datetime64": Stranger(lambda v: np.datetime64("2020-01-01"), REFUSE),
    "timedelta64": Stranger(lambda v: np.timedelta64(1, "s"), REFUSE),
    "lambda": Stranger(lambda v: lambda *args: None, REFUSE, ("Callable", "Network")),
    "function": Stranger(lambda v: bare_text, REFUSE, ("Callable", "Network")),
    "module": Stranger(lambda v: np, REFUSE),
    "class": Stranger(lambda v: CIR, REFUSE, ("Callable", "Network")),
    "class of the value": Stranger(lambda v: type(v), REFUSE, ("Callable", "Network")),
    "memory": Stranger(lambda v: memoryview(b"abcdefgh"), REFUSE),
    "integers": Stranger(lambda v: np.ones(3, np.int64), REFUSE, ("Sequence", "tuple")),
    "booleans": Stranger(lambda v: np.ones(3, bool), REFUSE),
    "complex numbers": Stranger(lambda v: np.ones(3, complex), REFUSE),
    "strings": Stranger(lambda v: np.asarray(["x", "y"]), REFUSE),
    "objects": Stranger(lambda v: np.asarray([None, 1.0], dtype=object), REFUSE),
    "dates": Stranger(lambda v: np.asarray(["2020-01-01"], dtype="datetime64[D]"), REFUSE),
    "records": Stranger(lambda v: np.zeros(3, dtype=[("a", float)]), REFUSE),
    "empty": Stranger(lambda v: np.zeros((0,)), EITHER),
    "no rows": Stranger(lambda v: np.zeros((0, 3)), EITHER),
    "no columns": Stranger(lambda v: np.zeros((3, 0)), EITHER),
    "seven": Stranger(lambda v: np.full(7, 0.5), EITHER),
    "seven by eleven": Stranger(lambda v: np.full((7, 11), 0.5), EITHER),
    "ten axes": Stranger(lambda v: np.full((1,) * 10, 0.5), EITHER),
    "one infinity": Stranger(lambda v: np.asarray([0.5, np.inf]), EITHER),
    "one NaN": Stranger(lambda v: np.asarray([0.5, np.nan]), REFUSE),
}

# In the place of a numpy array of floats.
ARRAYS: Mapping[str, Stranger] = {
    "all infinite": Stranger(lambda v: np.full_like(v, np.inf), EITHER),
    "all -infinite": Stranger(lambda v: np.full_like(v, -np.inf), EITHER),
    "largest": Stranger(lambda v: np.full_like(v, np.finfo(float).max), EITHER),
    "subnormal": Stranger(lambda v: np.full_like(v, 5e-324), EITHER),
    "negative": Stranger(lambda v: -np.abs(v) - 1.0, EITHER),
    "zeros": Stranger(np.zeros_like, EITHER),
    "last one NaN": Stranger(lambda v: _with_last(v, np.nan), REFUSE),
    "one more": Stranger(lambda v: np.concatenate([np.ravel(v), [0.5]]), EITHER),
    "one axis more": Stranger(lambda v: np.stack([v, v, v]), EITHER),
    "one axis more behind": Stranger(lambda v: np.stack([v, v, v], axis=-1), EITHER),
    "flat": Stranger(np.ravel, EITHER),
    "first element": Stranger(lambda v: np.ravel(v)[:1], EITHER),
    "as list": Stranger(lambda v: v.tolist(), WORK),
    "read-only": Stranger(lambda v: _read_only(v), WORK),
    "strided": Stranger(lambda v: np.repeat(v[..., None], 2, axis=-1)[..., 0], WORK),
    "backwards": Stranger(lambda v: v[..., ::-1].copy()[..., ::-1] if v.ndim else v, WORK),
    "Fortran": Stranger(lambda v: np.asarray(v, order="F"), WORK),
    "unaligned": Stranger(lambda v: _unaligned(v), WORK),
    "memory map": Stranger(lambda v: v.view(np.memmap), WORK),
    "other byte order": Stranger(lambda v: v.astype(v.dtype.newbyteorder()), EITHER),
    "float16": Stranger(lambda v: v.astype(np.float16), EITHER),
    "float32": Stranger(lambda v: v.astype(np.float32), EITHER),
    "long doubles": Stranger(lambda v: v.astype(np.longdouble), EITHER),
    "masked": Stranger(lambda v: np.ma.masked_array(v, mask=np.ones_like(v, dtype=bool)), REFUSE),
    "unmasked": Stranger(np.ma.masked_array, REFUSE),
    "matrix": Stranger(lambda v: np.matrix(np.atleast_1d(v).reshape(-1, 1)), REFUSE),
    "subclass": Stranger(lambda v: v.view(Labelled), REFUSE),
}


def _with_last(v: Any, value: float) -> Any:
    flat = np.ravel(v).astype(np.result_type(v, np.float32))  # integers have no NaN
    flat[-1:] = value
    return flat.reshape(v.shape)


def _read_only(v: Any) -> Any:
    copy = v.copy()
    copy.flags.writeable = False
    return copy


def _unaligned(v: Any) -> Any:
    raw = np.zeros(v.nbytes + 1, np.uint8)[1:]
    raw[:] = np.frombuffer(v.tobytes(), np.uint8)
    return raw.view(v.dtype).reshape(v.shape)


def tensors() -> Mapping[str, Stranger]:
    """In the place of a torch tensor of doubles."""
    import torch

    class Wrapped(torch.Tensor):
        pass

    return {
        "meta": Stranger(lambda v: v.to("meta"), REFUSE),
        "sparse": Stranger(lambda v: v.to_sparse(), REFUSE),
        "csr": Stranger(lambda v: torch.eye(3, dtype=v.dtype).to_sparse_csr(), REFUSE),
        "quantized": Stranger(
            lambda v: torch.quantize_per_tensor(v.detach().float(), 0.1, 0, torch.qint8), REFUSE
        ),
        "integers": Stranger(lambda v: torch.ones(3, dtype=torch.int64), REFUSE),
        "booleans": Stranger(lambda v: torch.ones(3, dtype=torch.bool), REFUSE),
        "complex": Stranger(lambda v: torch.ones(3, dtype=torch.complex128), REFUSE),
        "numpy beside torch": Stranger(lambda v: v.numpy(), EITHER),
        "list of tensors": Stranger(lambda v: [v, torch.ones(2)], REFUSE),
        "list of 0-d tensors": Stranger(lambda v: [torch.ones(())], REFUSE),
        "one NaN": Stranger(lambda v: torch.full_like(v, float("nan")), REFUSE),
        "all infinite": Stranger(lambda v: torch.full_like(v, float("inf")), EITHER),
        "empty": Stranger(lambda v: v.new_zeros((0,)), EITHER),
        "no rows": Stranger(lambda v: v.new_zeros((0, 3)), EITHER),
        "seven": Stranger(lambda v: v.new_full((7,), 0.5), EITHER),
        "seven by eleven": Stranger(lambda v: v.new_full((7, 11), 0.5), EITHER),
        "one axis more": Stranger(lambda v: torch.stack([v, v, v]), EITHER),
        "one axis more behind": Stranger(lambda v: torch.stack([v, v, v], dim=-1), EITHER),
        "0-d": Stranger(lambda v: v.new_full((), 0.5), EITHER),
        "float32": Stranger(lambda v: v.float(), EITHER),
        "half": Stranger(lambda v: v.half(), EITHER),
        "float8": Stranger(lambda v: v.to(torch.float8_e4m3fn), EITHER),
        "with gradient": Stranger(lambda v: v.clone().requires_grad_(), WORK),
        "parameter": Stranger(lambda v: torch.nn.Parameter(v.clone()), WORK),
        "strided": Stranger(lambda v: torch.stack([v, v], dim=-1)[..., 0], WORK),
        "subclass": Stranger(lambda v: v.as_subclass(Wrapped), WORK),
    }
