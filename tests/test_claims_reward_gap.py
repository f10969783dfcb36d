"""What the claims of the paper rest on: their modules load, docstrings cite them, and the oracle is right.

They are settled by ``make quick``, and by no test.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from driftproof.theory.processes import VE, VP, Flow
from driftproof.validation.claims.reward_gap import textbook
from driftproof.validation.registry import REGISTRY

ROOT = Path(__file__).parent.parent


def test_every_module_of_claims_loads() -> None:
    assert REGISTRY.load().selected_failures(["reward_gap"]) == []


def test_docstrings_cite_claims_that_exist() -> None:
    known = set(REGISTRY.load().claims)
    folders = [
        ROOT / "theory" / "reward_gap",
        ROOT / "numerics" / "reward_gap",
        ROOT / "numerics" / "samplers",
    ]
    files = [ROOT / "theory" / "rewards.py", *(file for folder in folders for file in folder.glob("*.py"))]
    cited = {
        id
        for path in files
        for id in re.findall(r"\bREWARD-GAP-[A-Z]+-\d+\b", path.read_text(encoding="utf-8"))
    }
    assert cited
    assert cited - known == set()


@pytest.mark.parametrize("process", [VP(0.1, 8.0, 1.0), VE(0.3, 9.0, 1.0), Flow()])
def test_the_printed_schedules_are_those_of_the_processes(process) -> None:
    """Two hands, one schedule: levels and rates of the oracle against the library's."""
    of = textbook.schedule(process)
    for t in (0.0, 0.3, 0.96):
        f, g2 = process.rates(np, np.asarray(t))
        got = (of.alpha(t), of.noise(t), of.f(t), of.g2(t))
        want = (process.alpha(t), process.sigma(t) ** 2, f, g2)
        np.testing.assert_allclose(got, [float(w) for w in want], rtol=1e-13, atol=1e-15)
