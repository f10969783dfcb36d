"""In the place of accelerate's ``Accelerator`` in a dry run: one process of several, with what they would hold."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable
from typing import Any, Final, Literal, final, get_args

import torch
from accelerate import DistributedType  # type: ignore[import-untyped]  # ships no types
from accelerate.utils import convert_outputs_to_fp32  # type: ignore[import-untyped]
from torch import Tensor, nn

from .ledger import Ledger

__all__ = ["PRECISIONS", "Precision", "StandIn"]

Precision = Literal["no", "bf16", "fp16"]
PRECISIONS: Final[tuple[str, ...]] = get_args(Precision)
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@final
class StandIn:
    """What trainers ask of an ``Accelerator``; sums over processes are those of one.

    Arguments:
        ledger: Which counts optimizer steps as a phase.
        processes: Their number.
        precision: Of mixed precision.
        cuda: Whether an optimizer steps on all weights at once, as it does on CUDA.
    """

    is_main_process, process_index, gradient_accumulation_steps, scaler = True, 0, 1, None
    device = torch.device("cpu")

    def __init__(
        self, ledger: Ledger, processes: int = 1, precision: Precision = "no", cuda: bool = False
    ) -> None:
        self.ledger, self.num_processes, self.mixed_precision, self.cuda = ledger, processes, precision, cuda
        self.distributed_type = DistributedType.NO if processes == 1 else DistributedType.MULTI_GPU
        self.buckets: list[Tensor] = []

    def prepare(self, *given: Any) -> Any:
        """Models and optimizers."""
        return tuple(self._optimizer(x) if hasattr(x, "step") else self.prepare_model(x) for x in given)

    def prepare_model(self, model: Any, evaluation_mode: bool = False) -> Any:
        """A model that computes in mixed precision, and, where it is trained by several, has buckets of gradients."""
        if not evaluation_mode and self.num_processes > 1:
            self.buckets += [torch.empty_like(w) for w in model.parameters() if w.requires_grad]
        if self.mixed_precision != "no":
            own = model.forward

            @functools.wraps(own)
            def forward(*args: Any, **kwargs: Any) -> Any:
                with self.autocast():
                    return own(*args, **kwargs)

            model.forward = convert_outputs_to_fp32(forward)
        return model

    def unwrap_model(self, model: Any) -> Any:
        """The same."""
        return model

    @contextlib.contextmanager
    def autocast(self) -> Any:
        """As accelerate's."""
        if self.mixed_precision == "no":
            yield
            return
        with torch.autocast("cpu", DTYPES[self.mixed_precision]):
            yield

    def no_sync(self, model: Any) -> Any:
        """Nothing."""
        return contextlib.nullcontext()

    def backward(self, loss: Tensor) -> None:
        """The gradient."""
        torch.autograd.backward(loss)

    def clip_grad_norm_(self, weights: Iterable[nn.Parameter], largest: float) -> Tensor:
        """As torch's."""
        return nn.utils.clip_grad_norm_(weights, largest)

    def gather(self, tensor: Tensor) -> Tensor:
        """As many rows as all have."""
        return tensor if self.num_processes == 1 else torch.cat([tensor] * self.num_processes)

    def reduce(self, tensor: Tensor, reduction: str = "sum", scale: float = 1.0) -> Tensor:
        """A copy."""
        return tensor.clone()

    def _optimizer(self, optimizer: Any) -> Any:
        own = optimizer.step
        if self.cuda:
            for group in optimizer.param_groups:
                if not group.get("fused"):
                    group["foreach"] = True

        def step(*args: Any, **kwargs: Any) -> Any:
            with self.ledger.phase("optimizer"):
                return own(*args, **kwargs)

        optimizer.step = step
        return optimizer
