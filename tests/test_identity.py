"""Which code a result speaks of: what is followed, what is left alone."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftproof._identity import digest, identity, source_files, specification
from driftproof.validation.engine import Plan
from driftproof.validation.journal import Journal

FILES = {
    "mine.py": "from minepkg import formula\nimport json, numpy",
    "minepkg/__init__.py": "from .core import formula",
    "minepkg/core.py": "def formula(x):\n    from . import late\n    return late.half(x)",
    "minepkg/late.py": "from .deep.constants import TWO\n\ndef half(x):\n    return x / TWO",
    "minepkg/deep/constants.py": "TWO = 2.0",  # below a package without __init__.py
    "minepkg/unused.py": "",
    "broken.py": "import minepkg.core\ndef (",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


class TestFiles:
    def test_imports_are_followed_wherever_they_stand(self, place: Path) -> None:
        known = {name: file for name, file in source_files("mine").items() if place in file.parents}
        assert set(known) == {"mine", "minepkg", "minepkg.core", "minepkg.late", "minepkg.deep.constants"}

    def test_what_is_installed_is_not_entered(self, place: Path) -> None:
        assert "numpy" in source_files("mine") and "numpy._core" not in source_files("mine")

    def test_a_module_without_a_file(self, place: Path) -> None:
        with pytest.raises(LookupError, match="nowhere has no file"):
            source_files("nowhere")
        assert identity("nowhere") is None

    def test_a_file_that_does_not_parse_speaks_for_itself(self, place: Path) -> None:
        assert set(source_files("broken")) == {"broken"}

    def test_nothing_is_imported(self, place: Path) -> None:
        import sys

        assert specification("minepkg.core") is not None and specification("minepkg.nothing") is None
        assert specification("nowhere.at.all") is None and "minepkg" not in sys.modules


class TestIdentity:
    @pytest.mark.parametrize("changed", ["mine.py", "minepkg/core.py", "minepkg/deep/constants.py"])
    def test_a_change_of_what_runs_changes_it(self, place: Path, changed: str) -> None:
        before = identity("mine", seed=1)
        assert before == identity("mine", seed=1)
        (place / changed).write_text(FILES[changed] + "\n# another day")
        assert identity("mine", seed=1) != before

    def test_a_change_elsewhere_does_not(self, place: Path) -> None:
        before = identity("mine")
        (place / "minepkg/unused.py").write_text("1 / 0")
        assert identity("mine") == before

    def test_circumstances_count(self, place: Path) -> None:
        assert (
            len({identity("mine"), identity("mine", seed=1), identity("mine", seed=2), identity("broken")})
            == 4
        )

    def test_digest(self) -> None:
        assert digest("") == digest(b"") == "e3b0c44298fc1c14"  # of SHA-256 of nothing


class TestSharedFolder:
    """Without a home the journal lies where everybody writes."""

    @pytest.fixture(autouse=True)
    def homeless(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        def none() -> Path:
            raise RuntimeError("no home")

        monkeypatch.delenv("DRIFTPROOF_CACHE", raising=False)
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(Path, "home", none)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        yield tmp_path / f"driftproof-{os.getuid()}"

    def test_ours_and_closed(self, homeless: Path) -> None:
        directory = Journal.of(Plan()).directory
        assert directory is not None and directory.is_relative_to(homeless)
        assert homeless.stat().st_mode & 0o777 == 0o700

    def test_a_link_is_not_followed(self, homeless: Path, tmp_path: Path) -> None:
        (tmp_path / "theirs").mkdir(mode=0o700)
        homeless.symlink_to(tmp_path / "theirs")
        assert Journal.of(Plan()).directory is None

    def test_one_that_others_may_enter_is_not_used(self, homeless: Path) -> None:
        homeless.mkdir(mode=0o755)
        homeless.chmod(0o755)
        assert Journal.of(Plan()).directory is None

    def test_one_of_somebody_else_is_not_used(self, homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        homeless.mkdir(mode=0o700)
        monkeypatch.setattr("driftproof.validation.journal.os.getuid", lambda: os.geteuid() + 1)
        theirs = homeless.with_name(f"driftproof-{os.geteuid() + 1}")
        theirs.mkdir(mode=0o700)
        assert Journal.of(Plan()).directory is None


def test_a_run_tells_its_identity() -> None:
    from driftproof.validation import run

    first, second = (run("CONVENTION-TIME-1", effort="quick", seed=seed) for seed in (0, 1))
    assert first.identity and second.identity and first.identity != second.identity
    assert json.loads(json.dumps(first.to_json()))["identity"] == first.identity
