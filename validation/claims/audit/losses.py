"""The audit of losses: what is documented is told from what was planted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from driftproof.validation import claim, exact
from driftproof.validation.audits import Row
from driftproof.validation.audits.loss_rows import audit_loss
from driftproof.validation.audits.planted_losses import Planted, drawn

__all__ = ["DocumentedLosses"]

SEED: Final = 3214006637  # drawn after the thresholds were fixed


def _agrees(thing: Any, each: Planted) -> bool:
    """Whether the loss is said to be what it is documented as; an audit that refuses it does not say so."""
    try:
        row: Row = thing(each.loss, form=each.form, documented=each.documented)
    except ValueError:
        return False
    return row.agrees is True


@claim(
    "AUDIT-LOSS-1",
    "A loss is what is documented, or it is not",
    r"""\nabla_\theta \text{loss} = \nabla_\theta \text{objective} \iff \text{the verdict is “as documented”}""",
    covers=[audit_loss],
    hypotheses=["the gradient is a finite sum", "the planted error changes it"],
)
class DocumentedLosses:
    """Losses as practice writes them, each recipe with its errors, of a seed that no threshold has seen."""

    # The losses are torch functions, made when they are asked for: to import claims loads no torch.
    @exact(0.0, requires="torch")
    def planted_errors_are_found(audit_loss):
        planted = [made for made in drawn(SEED, each=1) if not made.right]
        for each in (*planted[::9], *(made for made in planted if made.name.endswith("a factor"))):
            yield each.name, float(_agrees(audit_loss, each)), 0.0

    @exact(0.0, requires="torch")
    def right_losses_pass(audit_loss):
        for each in [made for made in drawn(SEED, each=1) if made.right][::6]:
            yield each.name, float(_agrees(audit_loss, each)), 1.0

    mutants = {
        "everything is as documented": lambda loss, **said: replace(audit_loss(loss, **said), agrees=True),
        "nothing is": lambda loss, **said: replace(audit_loss(loss, **said), agrees=False),
        "any multiple will do": lambda loss, **said: _up_to_a_factor(loss, **said),
    }


def _up_to_a_factor(loss: Any, **said: Any) -> Row:
    """An audit that calls a loss as documented where it is a multiple of that."""
    row = audit_loss(loss, **said)
    return replace(row, agrees=said["documented"] in row.matches or row.agrees)
