"""The audit of losses: what is documented is told from what was planted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from driftproof.validation import Thing, claim, exact
from driftproof.validation.audits import Row
from driftproof.validation.audits.loss_rows import audit_loss
from driftproof.validation.audits.planted_losses import Planted, drawn
from driftproof.validation.evidence.base import Labelled

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
    paper="audit",
    title="A loss is what is documented, or it is not",
    statement=r"""\nabla_\theta \text{loss} = \nabla_\theta \text{objective} \iff \text{the verdict is “as documented”}""",
    hypotheses=["the gradient is a finite sum", "the planted error changes it"],
    vouches=[audit_loss],
)
class DocumentedLosses:
    """Losses as practice writes them, each recipe with its errors, of a seed that no threshold has seen."""

    @exact(tolerance=0.0)
    def planted_errors_are_found(thing: Thing) -> Iterator[Labelled]:
        planted = [made for made in drawn(SEED, each=1) if not made.right]
        for each in (*planted[::9], *(made for made in planted if made.name.endswith("a factor"))):
            yield each.name, float(_agrees(thing, each)), 0.0

    @exact(tolerance=0.0)
    def right_losses_pass(thing: Thing) -> Iterator[Labelled]:
        for each in [made for made in drawn(SEED, each=1) if made.right][::6]:
            yield each.name, float(_agrees(thing, each)), 1.0

    mutants = {
        "everything is as documented": lambda loss, **said: replace(audit_loss(loss, **said), agrees=True),
        "nothing is": lambda loss, **said: replace(audit_loss(loss, **said), agrees=False),
        "any multiple will do": lambda loss, **said: _up_to_a_factor(loss, **said),
    }


def _up_to_a_factor(loss: Any, **said: Any) -> Row:
    """An audit that calls a loss as documented where it is a multiple of that."""
    row = audit_loss(loss, **said)
    return replace(row, agrees=said["documented"] in row.matches or row.agrees)
