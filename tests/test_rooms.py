"""The rooms of the torch shell and what each imports of the others: an arrow more is a decision, and stands here."""

from __future__ import annotations

from collections import defaultdict

import grimp
import pytest

BASE = "driftproof.backends.torch"

# Of each room, the others that it imports; papers stand on rl or score_models, all on pretrained and kit.
ROOMS = {
    "trainers": "adjoint kit reward_gap rl score_as_action",
    "adjoint": "kit pretrained rl",
    "art": "kit pretrained schedulers score_models",
    "csdm": "kit score_models",
    "diffpo": "kit pretrained",
    "distributions": "",
    "doob": "kit pretrained rl schedulers score_models",
    "opd": "kit pretrained",
    "reward_gap": "kit pretrained rl",
    "rich_po": "kit preferences pretrained rl schedulers",
    "score_as_action": "kit pretrained rl",
    "transfer": "kit",
    "tweedie": "kit score_models",
    "zoo": "kit pretrained recipes score_models",
    "preferences": "kit pretrained",
    "rl": "kit pretrained schedulers",
    "score_models": "kit",
    "pretrained": "kit recipes",
    "schedulers": "",
    "kit": "recipes",
    "recipes": "",
}
FLOORS = (
    "trainers",
    "papers",
    "preferences rl score_models",
    "pretrained",
    "schedulers kit",
    "distributions recipes",
)


def arrows() -> dict[str, set[str]]:
    """Of each room, what its modules import of others, at any depth and for types alone."""
    graph = grimp.build_graph("driftproof", cache_dir=None)
    found: dict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        if module.startswith(f"{BASE}."):
            own = room(module)
            for name in graph.find_modules_directly_imported_by(module):
                if name.startswith(f"{BASE}.") and room(name) != own:
                    found[own].add(room(name))
            found[own] |= set()
    return dict(found)


def room(module: str) -> str:
    return module.removeprefix(f"{BASE}.").split(".")[0]


def floor(name: str) -> int:
    """Higher is lower down."""
    return next((k for k, names in enumerate(FLOORS) if name in names.split()), FLOORS.index("papers"))


@pytest.fixture(scope="module")
def found() -> dict[str, set[str]]:
    return arrows()


def test_the_arrows_are_those_of_the_table(found: dict[str, set[str]]) -> None:
    assert found == {name: set(others.split()) for name, others in ROOMS.items()}


def test_no_arrow_goes_up_or_from_paper_to_paper(found: dict[str, set[str]]) -> None:
    assert not [(a, b) for a, others in found.items() for b in others if floor(b) <= floor(a)]
