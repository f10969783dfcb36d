"""What is shipped: sdist -> wheel -> a clean environment -> an import outside of the repository.

The clean environment holds the wheel alone; the libraries below it are borrowed from the environment
that runs the tests, so that nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pythons import BESIDE, FOLDERS, IGNORED, pack, run

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def packages() -> set[str]:
    """Every package below the mapped folders, by its import name."""
    found = {init.parent for folder in FOLDERS for init in (ROOT / folder).rglob("__init__.py")}
    return {"driftproof", *("driftproof." + ".".join(path.relative_to(ROOT).parts) for path in found)}


def shipped() -> set[str]:
    """Every file of the package, by its path in the wheel."""
    facade = {f"driftproof/{file.name}" for file in (ROOT / "driftproof").iterdir() if file.is_file()}
    inside = {
        f"driftproof/{file.relative_to(ROOT).as_posix()}"
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    return facade | inside


@dataclass(frozen=True)
class Built:
    sdist: Path
    wheel: Path
    python: Path


def build(work: Path) -> Built:
    """The sdist of a copy of the repository, the wheel made from that sdist, a venv with the wheel."""
    sdist, wheel = pack(work)
    venv.create(work / "env", with_pip=False, symlinks=os.name != "nt")
    python = work / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", wheel, cwd=work
    )
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=work).strip())
    # A path alone: the editable installation of this repository, a .pth file itself, is not followed.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return Built(sdist, wheel, python)


def test_every_package_is_listed() -> None:
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert set(listed) == packages()
    assert len(listed) == len(set(listed))


def test_an_unlisted_package_would_be_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=IGNORED)
    new = tmp_path / "theory" / "unlisted"
    new.mkdir()
    (new / "__init__.py").touch()
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert packages() - set(PROJECT["tool"]["setuptools"]["packages"]) == {"driftproof.theory.unlisted"}


def test_every_folder_of_modules_is_a_package() -> None:
    """A folder without ``__init__.py`` imports from a checkout and is missing from the wheel."""
    homes = {file.parent for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")}
    assert not {str(home.relative_to(ROOT)) for home in homes if not (home / "__init__.py").is_file()}


@pytest.mark.slow(ci=True)
def test_what_is_built_is_complete_and_runs_elsewhere(tmp_path: Path, subtests: pytest.Subtests) -> None:
    # One test, for what it builds is built once.
    (work := tmp_path / "work").mkdir()
    (outside := tmp_path / "outside").mkdir()
    built = build(work)
    for check in (
        the_wheel_holds_the_package_and_nothing_else,
        the_sdist_holds_what_a_developer_needs,
        the_installed_package_imports_outside_of_the_repository,
        the_installed_command_runs_outside_of_the_repository,
        the_installed_recipes_are_found_by_name,
        the_installed_models_load,
        the_metadata_is_complete,
    ):
        with subtests.test(check.__name__):
            check(built, outside)


def the_wheel_holds_the_package_and_nothing_else(built: Built, outside: Path) -> None:
    names = {name for name in zipfile.ZipFile(built.wheel).namelist() if ".dist-info/" not in name}
    assert names == shipped()
    assert {"driftproof/py.typed", "driftproof/cli.py"} <= names


def the_sdist_holds_what_a_developer_needs(built: Built, outside: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        members = archive.getmembers()
    assert not [member.name for member in members if member.issym() or member.islnk()]
    names = {member.name.partition("/")[2] for member in members if member.isfile()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "Makefile", "constraints.txt", "papers/index.md"} <= names
    tests = {
        f"tests/{file.relative_to(ROOT / 'tests').as_posix()}" for file in (ROOT / "tests").rglob("*.py")
    }
    assert tests <= names


def the_installed_package_imports_outside_of_the_repository(built: Built, outside: Path) -> None:
    script = """
import importlib, json, pkgutil, sys
import driftproof
names = [found.name for found in pkgutil.walk_packages(driftproof.__path__, "driftproof.")]
homes = {name: importlib.import_module(name).__file__ for name in names if not name.endswith("__main__")}
json.dump({"homes": homes, "path": sys.path}, sys.stdout)
"""
    found = json.loads(run(built.python, "-c", script, cwd=outside))
    assert str(ROOT) not in found["path"]
    assert packages() - {"driftproof"} <= set(found["homes"])
    strangers = {
        name
        for name, home in found["homes"].items()
        if not Path(home).is_relative_to(built.python.parent.parent)
    }
    assert not strangers


def the_installed_command_runs_outside_of_the_repository(built: Built, outside: Path) -> None:
    command = built.python.with_name("driftproof")
    version = run(command, "--version", cwd=outside).split()
    assert version == ["driftproof", built.wheel.name.split("-")[1]]
    assert "TWEEDIE-" in run(command, "claims", "tweedie", cwd=outside)


def the_installed_recipes_are_found_by_name(built: Built, outside: Path) -> None:
    command = built.python.with_name("driftproof")
    listed = json.loads(run(command, "recipes", "--json", "-", cwd=outside))["recipes"]
    files = (ROOT / "backends/torch/recipes").glob("*/*.toml")
    shipped = {(path.parent.name, path.stem) for path in files if path.parent.name != "zoo"}
    assert {(one["paper"], one["name"]) for one in listed} == shipped
    pytest.importorskip("torch")
    pytest.importorskip("accelerate")
    recipe = json.loads(
        run(
            command, "train", "csdm", "--config", "digits", "--set", "seeds=[7]", "--show-config", cwd=outside
        )
    )
    assert (recipe["title"], recipe["seeds"]) == ("Handwritten digits", [7])


def the_installed_models_load(built: Built, outside: Path) -> None:
    pytest.importorskip("torch")
    script = """
import torch
from driftproof.backends.torch import pretrained
print(pretrained.zoo("mnist-classifier")(torch.zeros(2, 1, 28, 28)).shape)
"""
    assert "torch.Size([2, 10])" in run(built.python, "-c", script, cwd=outside)
    listed = run(built.python.with_name("driftproof"), "models", cwd=outside)
    models = {path.parent.name for path in (ROOT / "backends/torch/pretrained/zoo").glob("*/card.json")}
    assert models and all(name in listed for name in models)


def the_metadata_is_complete(built: Built, outside: Path) -> None:
    archive = zipfile.ZipFile(built.wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = archive.read(name).decode("utf-8")
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert {"torch", "jax", "hub", "cluster", "data", "dev"} == set(
        re.findall(r"^Provides-Extra: (\S+)", metadata, re.MULTILINE)
    )
    required = {
        re.split(r"[><=~! ;]", line)[0]
        for line in re.findall(r"^Requires-Dist: (.*)", metadata, re.MULTILINE)
        if "extra ==" not in line
    }
    assert "torch" not in required
    assert {"numpy", "scipy", "array-api-compat"} <= required


def test_the_constraints_pin_every_dependency_that_make_installs() -> None:
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line
            name, _, version = line.partition("==")
            pinned[canonical(name)] = version
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [
        *PROJECT["project"]["dependencies"],
        *extras["torch"],
        *extras["jax"],
        *extras["data"],
        *extras["dev"],
    ]
    missing = {canonical(re.split(r"[><=~!]", each)[0]) for each in wanted} - set(pinned) - {"setuptools"}
    assert not missing
    assert pinned["torch"] == "2.13.0"


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_nothing_of_a_machine_or_of_unfinished_work_is_left() -> None:
    # Written in pieces, so that this file may be searched as well.
    patterns = {
        "the path of a machine": r"(?<![\w.])/" + r"(home|root|Users|work|opt|mnt)/\w",
        "a left-over": r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b",
        "a debugger": r"\b(break" + r"point\(|import pd" + r"b\b)",
    }
    found = []
    files = texts()
    assert {ROOT / "README.md", ROOT / "driftproof/_namespace.py", ROOT / "theory/__init__.py"} <= set(files)
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            found += [
                f"{file.relative_to(ROOT)}:{number}: {what}: {line.strip()[:80]}"
                for what, pattern in patterns.items()
                if re.search(pattern, line)
            ]
    assert not found, "\n".join(found)


def texts() -> list[Path]:
    """Every text file of the repository."""
    kinds = {".py", ".md", ".toml", ".txt", ".json", ".jinja", ".css", ".svg", ""}
    beside = [file for pattern in BESIDE for file in ROOT.glob(pattern)]
    inside = [ROOT / folder for folder in ("driftproof", *FOLDERS)]
    files = [file for each in (*beside, *inside) for file in ([each] if each.is_file() else each.rglob("*"))]
    return sorted(
        {
            file
            for file in files
            if file.is_file() and file.suffix in kinds and "__pycache__" not in file.parts
        }
    )
