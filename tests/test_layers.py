"""The layers: who may import whom, what an import loads, how large a file may grow.

import-linter checks the contracts of ``pyproject.toml``; that each of them can fail is a test of its
own, and what an import really loads is observed in a fresh interpreter.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("theory", "numerics", "backends", "validation")
LARGE, TOO_LARGE = 350, 400


def sources(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def modules(folder: str) -> list[str]:
    dotted = (file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for file in sources(folder))
    return [f"driftproof.{name.removesuffix('.__init__')}" for name in dotted]


def imports(tree: ast.AST) -> Iterator[str]:
    """The absolute names that a module imports, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


def lint_imports(directory: Path) -> subprocess.CompletedProcess[str]:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def loaded(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after ``statement``."""
    shown = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys\nprint(*{{m.split('.')[0] for m in sys.modules}})"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(shown.stdout.splitlines()[-1].split())


def test_the_contracts_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("theory/__init__.py", "from ..numerics import tweedie", "layers"),
        ("numerics/__init__.py", "from ..backends import torch", "layers"),
        ("backends/__init__.py", "from ..validation import registry", "layers"),
        ("driftproof/_namespace.py", "from .theory import laws", "layers"),
        ("numerics/__init__.py", "def late():\n    import torch", "no torch"),
        ("theory/__init__.py", "from accelerate import Accelerator", "no torch"),
        ("numerics/samplers/__init__.py", "from .. import tweedie", "shared"),
        ("backends/torch/csdm/__init__.py", "from driftproof.backends.torch import tweedie", "rooms"),
        ("backends/torch/rl/__init__.py", "from driftproof.backends.torch import opd", "rooms"),
        ("backends/torch/kit/__init__.py", "from driftproof.backends.torch import pretrained", "rooms"),
    ],
)
def test_the_contracts_can_fail(tmp_path: Path, file: str, line: str, contract: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for folder in ("driftproof", *FOLDERS):
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True)
    with (tmp_path / file).open("a") as violated:
        violated.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout
    broken = [text for text in done.stdout.splitlines() if text.endswith("BROKEN")]
    assert len(broken) == 1
    assert broken[0].startswith(contract)


def test_theory_and_numerics_load_no_torch() -> None:
    names = ["driftproof", "driftproof.cli", *modules("theory"), *modules("numerics")]
    found = loaded("\n".join(f"import {name}" for name in names))
    assert {"driftproof", "numpy"} <= found
    assert not found & {"torch", "accelerate", "safetensors", "diffusers", "transformers"}


@pytest.mark.slow(ci=True)
def test_loading_torch_would_be_seen() -> None:
    assert "torch" in loaded("import driftproof.backends.torch.kit.loop")


def test_the_package_imports_itself_by_its_name() -> None:
    """A bare ``import theory`` makes every class twice; ruff's TID252 refuses what climbs out of its own folder."""
    wrong = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in sources("driftproof", *FOLDERS)
        for name in imports(ast.parse(file.read_text(encoding="utf-8")))
        if name.split(".")[0] in FOLDERS
    }
    assert not wrong


@pytest.mark.slow(ci=True)
def test_tests_and_papers_import_the_package_by_its_name() -> None:
    bare = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in sources("tests", "papers")
        for name in imports(ast.parse(file.read_text(encoding="utf-8")))
        if name.split(".")[0] in FOLDERS
    }
    assert not bare


def test_bare_imports_would_be_seen() -> None:
    assert list(imports(ast.parse("def f():\n    import theory.laws\n    from numerics import x"))) == [
        "theory.laws",
        "numerics",
    ]


def test_no_file_outgrows_one_idea() -> None:
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines())
        for file in sources("driftproof", *FOLDERS, "tests", "papers")
    }
    large = {name: lines for name, lines in lengths.items() if lines > LARGE}
    assert not {name: lines for name, lines in large.items() if lines > TOO_LARGE}
    for name, lines in large.items():
        warnings.warn(f"{name} has {lines} lines: does it carry a second idea?", stacklevel=1)
