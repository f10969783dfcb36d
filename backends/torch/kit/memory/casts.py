"""What autocast computes in single precision on CUDA and not on the CPU: norms, softmax, powers, sums.

Their results and what is kept of them for a backward pass take twice the bytes of half precision.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["CudaCasts", "cuda_casts"]

# Those of torch's list that networks and losses call ("CUDA ops that autocast to float32" in its documentation).
SINGLE = {
    *(F.layer_norm, F.group_norm, F.softmax, F.log_softmax, F.softplus, F.mse_loss, F.cosine_similarity),
    *(torch.softmax, torch.log_softmax, torch.exp, torch.log, torch.pow, torch.rsqrt, torch.norm, torch.sum),
    *(torch.prod, torch.cumsum, torch.group_norm, torch.layer_norm, torch.reciprocal),
    *(Tensor.softmax, Tensor.log_softmax, Tensor.exp, Tensor.log, Tensor.pow, Tensor.__pow__, Tensor.rsqrt),
    *(Tensor.norm, Tensor.sum, Tensor.prod, Tensor.cumsum, Tensor.reciprocal),
}


@contextlib.contextmanager
def cuda_casts() -> Iterator[None]:
    """The casts of CUDA inside of autocast on the CPU, also in what a backward pass computes forward again."""
    autograd: Any = torch.autograd
    casts, engine = CudaCasts(), autograd._engine_run_backward

    def run(*args: Any, **kwargs: Any) -> Any:
        with casts:  # a mode is off inside of what it sees, and it sees torch.autograd.grad
            return engine(*args, **kwargs)

    with casts, mock.patch.object(autograd, "_engine_run_backward", run):
        yield


@final
class CudaCasts(TorchFunctionMode):
    """Inside of autocast on the CPU, the casts of CUDA."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in SINGLE and torch.is_autocast_enabled("cpu"):
            args = [_single(value) for value in args]
            kwargs = {name: _single(value) for name, value in kwargs.items()}
        return func(*args, **kwargs)


def _single(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value
