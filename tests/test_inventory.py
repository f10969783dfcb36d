"""The public inventory: complete, importable by the names that it gives, and printed."""

from __future__ import annotations

import importlib
import inspect
import json

from typer.testing import CliRunner

from driftproof import cli
from driftproof.theory.laws import AbstractLaw
from driftproof.theory.processes import AbstractProcess
from driftproof.validation.inventory import inventory, kernels, modules, of_kind

ENTRIES = {entry.name: entry for entry in inventory()}


def test_every_name_imports_what_it_names() -> None:
    for entry in ENTRIES.values():
        for path in (entry.name, entry.home):
            module, _, name = path.rpartition(".")
            assert getattr(importlib.import_module(f"driftproof.{module}"), name) is entry.value
        assert entry.summary, f"{entry.name} has no documentation"


def test_every_kernel_is_exported_by_its_room() -> None:
    assert not kernels().keys() - {entry.home for entry in ENTRIES.values()}


def test_laws_and_processes_are_all_that_can_be_made() -> None:
    written = {
        value
        for module in modules()
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
        if issubclass(value, AbstractLaw | AbstractProcess) and not inspect.isabstract(value)
    }
    assert written == {entry.value for kind in ("law", "process") for entry in of_kind(kind)}


def test_numbers_and_arrays_are_told_apart() -> None:
    array = (
        "theory.laws.kl",
        "numerics.sensing.solve",
        "theory.divergences.gjsd",
        "theory.csdm.restricted_isometry",
    )
    scalar = ("theory.transfer.direct_exponent", "theory.csdm.l1_risk", "numerics.montecarlo.best_rho")
    assert {ENTRIES[name].takes for name in array} == {"array"}
    assert {ENTRIES[name].takes for name in scalar} == {"scalar"}


def test_the_command_prints_a_line_for_each_and_a_document(tmp_path) -> None:
    result = CliRunner().invoke(cli.app, ["inventory"])
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert len(lines) == len(ENTRIES) + 1
    file = tmp_path / "inventory.json"
    assert CliRunner().invoke(cli.app, ["inventory", "--json", str(file)]).exit_code == 0
    document = json.loads(file.read_text())
    assert document["entries"] == [entry.to_json() for entry in inventory()]
