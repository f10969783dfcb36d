"""Folders of others that outputs are sent into: what is not ours stays as it is."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from driftproof import _training, cli
from driftproof.validation import documents, outputs
from driftproof.validation.outcomes import Run
from driftproof.validation.reporting import write
from tests.hostile.conftest import Attack
from tests.hostile.small_report import place, settled


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """Every file and link below a folder."""
    return {
        str(file.relative_to(folder)): os.readlink(file) if file.is_symlink() else file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_symlink() or file.is_file()
    }


def test_what_is_not_ours_stays(tmp_path: Path, attack: Attack) -> None:
    """The folder of a paper, with figures of its own, and each of our names taken."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    taken: dict[str, Any] = {
        "figures beside ours": {"figures/plot.pdf": "mine", "figures/TOY-2-graph.svg": "mine", "paper.tex": "mine"},
        "our page": {"index.html": "mine"},
        "our document": {"verify.json": "{}"},
        "our document as text": {"verify.json": "mine"},
        "our figure": {"figures/TOY-1-graph.svg": "mine"},
        "our folder of figures": {"figures": "mine"},
        "a manifest of somebody": {outputs.MANIFEST: '{"name": "mine"}'},
        "a manifest that lists others": {
            outputs.MANIFEST: json.dumps(documents.stamped("manifest", {"files": {"../kept": {"by": "verify", "digests": []}}})),
            "kept": "mine",
        },
        "a manifest that lists a folder": {
            outputs.MANIFEST: json.dumps(documents.stamped("manifest", {"files": {"mine": {"by": "verify", "digests": []}}})),
            "mine/kept": "mine",
        },
        "a manifest of another format": {outputs.MANIFEST: '{"format": 9, "files": {}}'},
        "a manifest cut short": {outputs.MANIFEST: '{"format": 1, "files": {"a'},
        "a link in place of the page": {"index.html": elsewhere / "page"},
        "a link in place of the figures": {"figures": elsewhere},
        "a link in place of the manifest": {outputs.MANIFEST: elsewhere / "manifest"},
    }  # fmt: skip
    faults = []
    for name, files in taken.items():
        folder = tmp_path / name.replace(" ", "-")
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                os.symlink(content, folder / path)
            else:
                (folder / path).write_text(content)
        before, outside = snapshot(folder), snapshot(elsewhere)
        for _ in range(2):
            try:
                write(settled(), folder)
            except ValueError as error:
                if "\n" in str(error):
                    faults.append(f"{name}: no line: {error}")
        after = snapshot(folder)
        if name == "a manifest that lists a folder":  # it is one of ours, and is brought up to date
            del before[outputs.MANIFEST]
        lost = [path for path in before if after.get(path) != before[path]]
        if lost or snapshot(elsewhere) != outside:
            faults.append(f"{name}: touched {lost or 'what lies elsewhere'}")
    attack("folders with files of others", len(taken), faults)


def test_what_a_run_no_longer_draws_is_removed_and_no_more(tmp_path: Path) -> None:
    write(settled(), tmp_path)
    run = settled()
    bare = Run(run.version, run.seed, run.effort, (), 1e-6, 0)
    write(bare, tmp_path)
    assert not (tmp_path / "figures").exists(), "the folder was ours and is empty"
    write(settled(), tmp_path)
    (tmp_path / "figures" / "TOY-1-graph.svg").write_text("edited")
    (tmp_path / "figures" / "plot.pdf").write_text("mine")
    said: list[str] = []
    write(bare, tmp_path, announce=said.append)
    assert (tmp_path / "figures" / "TOY-1-graph.svg").read_text() == "edited"
    assert (tmp_path / "figures" / "plot.pdf").read_text() == "mine"
    assert len(said) == 1 and "has changed since it was written: it is left alone" in said[0]


def test_a_kill_between_two_files_leaves_nothing_unowned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: Attack
) -> None:
    files = {"a.txt": "1", "b/c.txt": "2", "d.txt": "3"}
    faults = []
    real = outputs.write_atomically
    for kill in range(5):
        folder = tmp_path / str(kill)
        outputs.write(folder, "report", {**files, "old.txt": "0"})
        left = [kill]

        def dies(path: Path, text: str, left: list[int] = left) -> None:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            real(path, text)

        with monkeypatch.context() as patched:
            patched.setattr(outputs, "write_atomically", dies)
            with pytest.raises(KeyboardInterrupt):
                outputs.write(folder, "report", {name: text + "new" for name, text in files.items()})
        try:
            outputs.write(folder, "report", files)
        except ValueError as error:
            faults.append(f"killed at write {kill}: {error}")
        if (folder / "old.txt").exists():
            faults.append(f"killed at write {kill}: a stale file stays")
    attack("kills between two files of an output", 5, faults)


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify", "conventions", "--quick", "--html", "."],
        ["verify", "conventions", "--quick", "--json", "notes.json"],
        ["verify", "conventions", "--quick", "--json", "index.html"],
        ["bench", "special", "--json", "notes.json"],
        ["audit", "os.path:join", "--json", "notes.json"],
        ["audit", "os.path:join", "--html", "."],
        ["train", "tweedie", "--smoke", "--out", "."],
        ["report", "."],
    ],
)
def test_commands_refuse_before_any_work_what_is_not_theirs(
    tmp_path: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("index.html", "notes.json", "report.json", "audit-os.path.join.html", "figures/plot.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"mine": 1}')
    if arguments[0] == "report":
        place(tmp_path / "made")
        (tmp_path / "verify.json").write_text((tmp_path / "made" / "verify.json").read_text())
    before = snapshot(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["driftproof", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    _, err = capsys.readouterr()
    assert ended.value.code == 2 and err.count("\n") == 1 and "was not written by driftproof" in err, err
    assert snapshot(tmp_path) == before


def test_a_training_keeps_its_folder_to_itself(tmp_path: Path) -> None:
    outputs.claim(tmp_path, "train tweedie", _training.TRAINED)
    (tmp_path / "report.json").write_text("{}")
    outputs.claim(tmp_path, "train tweedie", _training.TRAINED)  # it goes on
    with pytest.raises(ValueError, match="was written by driftproof train tweedie: name another folder"):
        outputs.claim(tmp_path, "train opd", _training.TRAINED)
