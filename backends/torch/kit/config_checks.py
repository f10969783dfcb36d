"""Hypotheses on the fields of a dataclass that holds more than data, checked before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftproof._namespace import UnmetHypothesis

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["require_each"]


def require_each(subject: str, table: DataclassInstance, *hypotheses: tuple[str, bool]) -> None:
    """Raise at the first hypothesis that is not met; its first word is the field that it is about.

    Example:
        >>> from driftproof.backends.torch.kit.plan import Plan
        >>> plan = Plan(max_steps=1, train_batch_size=1, learning_rate=1.0, max_grad_norm=2.0)
        >>> require_each("Budget", plan, ("max_steps > 0", True), ("max_grad_norm in (0, 1)", False))
        Traceback (most recent call last):
        ...
        driftproof.UnmetHypothesis: Budget: unmet hypothesis: max_grad_norm in (0, 1) (max_grad_norm = 2.0)
    """
    for hypothesis, met in hypotheses:
        if not met:
            name = hypothesis.split()[0]
            raise UnmetHypothesis(subject, hypothesis, f"{name} = {getattr(table, name)!r}")
