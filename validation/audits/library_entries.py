"""A setting of a sampler of another library, as lines that anybody can run again.

What is audited is what the reproduction says: its lines are executed, nothing else is known of a library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, final

from .rows import Row
from .severity import Severity

__all__ = ["START", "Entry"]

START: Final = "from driftproof.validation import audit"
_SHOWN: Final = "print(row.verdict, row.steps, row.mean_error, row.std_error)"


@final
@dataclass(frozen=True)
class Entry:
    """One setting of one sampler.

    Arguments:
        name: The object, by its import path.
        lines: The definition of ``run``, at most three lines.
        arguments: Those of the audit behind ``run``.
        options: The options that are not at their defaults.
    """

    name: str
    lines: tuple[str, ...]
    arguments: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reproduction(self) -> str:
        """At most five lines."""
        return "\n".join((*self.lines, f"row = audit(run, {self.arguments})", _SHOWN))

    def row(self, fast: bool = False) -> Row:
        """The row of the audit; where it fails, one with the reason."""
        known: dict[str, Any] = {}
        try:
            exec("\n".join(self.lines), known)  # noqa: S102  # the reproduction is what is audited
            options = eval(f"dict({self.arguments})", known)
            found = known["audit"](known["run"], fast=fast, name=self.name, **options)
        except Exception as error:  # noqa: BLE001  # whatever another library raises is why
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            found = Row(
                self.name, {}, f"not supported, because {why}", why, "", severity=Severity.UNSUPPORTED
            )
        made = {**self.options, **{k: v for k, v in found.options.items() if k not in self.options}}
        return replace(found, options=made, reproduction=self.reproduction)
