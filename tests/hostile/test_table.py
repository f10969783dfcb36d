"""The table itself: a fault fails its test, and so does an attack that never tried anything."""

from __future__ import annotations

import pytest

from tests.hostile.conftest import table


@pytest.mark.parametrize(("tries", "faults"), [(3, ["one"]), (0, [])])
def test_faults_and_empty_attacks_fail(tries: int, faults: list[str]) -> None:
    lines: list[tuple[str, object]] = []
    with pytest.raises(AssertionError):
        table(lambda *line: lines.append(line))("the table notices", tries, faults)
    assert lines == [("attack", ("the table notices", tries, len(faults)))]
