"""Attacks: each test counts its tries and what went wrong, and all of them make one table at the end.

What the default run holds is a short form; ``pytest -m hostile tests/hostile`` is the whole of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

Attack = Callable[[str, int, Sequence[object]], None]


def table(record: Callable[[str, object], None]) -> Attack:
    """What enters lines into the table by ``record``, and fails where there are faults."""

    def enter(name: str, tries: int, faults: Sequence[object]) -> None:
        record("attack", (name, tries, len(faults)))
        assert tries > 0, f"{name}: nothing was tried"
        shown = "\n".join(str(fault)[:500] for fault in faults[:20])
        assert not faults, f"{name}: {len(faults)} faults in {tries} tries\n{shown}"

    return enter


@pytest.fixture
def attack(record_property: Callable[[str, object], None]) -> Attack:
    """``attack(name, tries, faults)``: a line of the table."""
    return table(record_property)
