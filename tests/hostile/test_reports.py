"""Reports from hands that are not ours: files that lead elsewhere, documents in ruins."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from driftproof.validation.documents import FORMATS
from driftproof.validation.reporting import rebuild
from tests.hostile.conftest import Attack
from tests.hostile.payloads import PICTURE
from tests.hostile.small_report import place, settled, training


def test_figures_stay_below_their_folder(tmp_path: Path, attack: Attack) -> None:
    secret = tmp_path / "secret.svg"
    secret.write_text(PICTURE.replace("M 0 0", "M 7 7"))
    report = tmp_path / "report"
    file = place(report)
    home = file.parent
    os.symlink(secret, home / "link.svg")
    os.symlink(tmp_path, home / "up")
    os.mkfifo(home / "pipe.svg")
    (home / "inner").mkdir()
    (home / "mine.svg").write_text(PICTURE)
    names: list[Any] = [
        "../../../secret.svg", "inner/../../../../secret.svg", str(secret), "/etc/passwd", "link.svg", "up/secret.svg",
        "pipe.svg", "inner", ".", "", "missing.svg", "x\0.svg", "x" * 5000, "../market2/x.svg", "~/x.svg", 3, None,
        "file://" + str(secret), "/dev/zero", "/proc/self/environ", ["mine.svg"],
    ]  # fmt: skip
    faults = []
    for name in names:
        file.write_text(json.dumps({**training(), "figures": [{"caption": "Samples", "file": name}]}))
        faults += _unless_a_line(report, f"{name!r:.60}", refused=True)
    file.write_text(json.dumps({**training(), "figures": [{"caption": "Samples", "file": "mine.svg"}]}))
    rebuild(report)
    # A claim whose id leads out of the folder shows no figure.
    document = json.loads((report / "verify.json").read_text())
    document["claims"][0]["id"] = "../../secret"
    document["claims"][0]["figures"][0]["name"] = "x"
    (tmp_path / "secret-x.svg").write_text(PICTURE.replace("M 0 0", "M 7 7"))
    (report / "verify.json").write_text(json.dumps(document))
    if "M 7 7" in rebuild(report).read_text(encoding="utf-8"):
        faults.append("a figure of elsewhere by the id of a claim")
    attack("figures that lie elsewhere", len(names) + 1, faults)


def _unless_a_line(report: Path, name: str, refused: bool = False) -> list[str]:
    """What is wrong with rebuilding: neither a page nor one line, or a page where a line was due."""
    try:
        page = rebuild(report).read_text(encoding="utf-8")
    except ValueError as error:
        line = str(error)
        return (
            [f"{name}: no line: {line[:300]!r}"]
            if "\n" in line or len(line) > 600 or type(error) is not ValueError
            else []
        )
    except BaseException as error:  # noqa: BLE001  # whatever else comes is the fault that is looked for
        return [f"{name}: {type(error).__name__}: {error!r:.200}"]
    if refused:
        return [f"{name}: a page was made"]
    return [f"{name}: unescaped"] if "<img src=x" in page or "<script>alert" in page else []


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from places(each, (*path, key))


def changed(document: Any, path: tuple[Any, ...], value: Any, *, without: bool = False) -> Any:
    if not path:
        return value
    made = copy.deepcopy(document)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    if without:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return made


HTML = "<img src=x onerror=alert(1)>\"'><script>alert(1)</script>{{ 7*7 }}@outlines@"
WRONG: tuple[Any, ...] = (
    None, True, -1, 10**400, 1e308, 2.5, "nan", "inf", "", " ", HTML, "\ud800", "\0", [], {}, [[]], [None], {"a": []},
    [HTML], {HTML: HTML}, "x" * 10_000, r"\frac" * 50, "$" * 9, "{" * 500,
)  # fmt: skip


def _documents(step: int) -> Iterator[tuple[str, str, Any]]:
    """Both documents with one thing wrong at every place."""
    whole = {
        "verify.json": json.loads(json.dumps(settled().to_json())),
        "runs/market/report.json": training(),
    }
    for file, document in whole.items():
        tries = [
            *((path, value, False) for path in places(document) for value in WRONG),
            *((path, None, True) for path in places(document) if path),
        ]
        for path, value, without in tries[::step]:
            name = f"{file} at {'.'.join(map(str, path))}: {'missing' if without else f'{value!r:.40}'}"
            yield name, file, changed(document, path, value, without=without)


def _spoiled(report: Path, step: int) -> tuple[list[str], int]:
    place(report)
    kept = {name: (report / name).read_bytes() for name in ("verify.json", "runs/market/report.json")}
    faults, tries = [], 0
    for name, file, document in _documents(step):
        tries += 1
        (report / file).write_text(json.dumps(document))
        faults += _unless_a_line(report, name)
        (report / file).write_bytes(kept[file])
    return faults, tries


def test_documents_in_ruins_are_a_page_or_a_line(tmp_path: Path, attack: Attack) -> None:
    faults, tries = _spoiled(tmp_path, 83)
    attack("documents with one thing wrong", tries, faults)


@pytest.mark.hostile
def test_documents_in_ruins_are_a_page_or_a_line_at_every_place(tmp_path: Path, attack: Attack) -> None:
    faults, tries = _spoiled(tmp_path, 1)
    attack("documents with one thing wrong, at every place", tries, faults)


BYTES = {
    "nothing": b"", "half": b'{"format": 2, "claims": [', "no text": b"\xff\xfe\x00", "a list": b"[]", "a number": b"1",
    "null": b"null", "NaN": b'{"claims": NaN, "budget": 1}', "infinity": b'{"claims": [], "budget": Infinity}',
    "a deep one": b"[" * 100_000, "a deep object": b'{"a":' * 100_000, "many digits": b'{"claims":' + b"9" * 10_000 + b"}",
    "two": b"{}{}", "no keys": b"{}", "nulls": b"\0" * 100, "a comment": b"// {}\n{}",
}  # fmt: skip


def test_damaged_files_are_a_line(tmp_path: Path, attack: Attack) -> None:
    file = place(tmp_path)
    faults = []
    for target in (tmp_path / "verify.json", file):
        whole = target.read_bytes()
        cuts = {f"cut at {at}": whole[:at] for at in range(1, len(whole) - 1, max(1, len(whole) // 40))}
        for name, content in {**BYTES, **cuts}.items():
            target.write_bytes(content)
            faults += _unless_a_line(tmp_path, f"{target.name}: {name}", refused=True)
        target.write_bytes(whole)
    rebuild(tmp_path)
    attack("files cut short, and no JSON", 2 * (len(BYTES) + 40), faults)


@pytest.mark.parametrize("format", [None, 1, FORMATS["verify"] + 1, "2", 2.5, [], 10**30])
def test_another_format_is_one_clear_line(tmp_path: Path, format: Any) -> None:
    place(tmp_path)
    document = json.loads((tmp_path / "verify.json").read_text())
    document |= {"version": "0.0.9", "format": format}
    if format is None:
        del document["format"]  # as before there were formats
    (tmp_path / "verify.json").write_text(json.dumps(document))
    ours = rf"reads format {FORMATS['verify']}: run driftproof verify again"
    said = rf"verify\.json was written by driftproof 0\.0\.9 \(format .*\); driftproof .* {ours}"
    with pytest.raises(ValueError, match=said):
        rebuild(tmp_path)


def _long(folder: Path, texts: list[str]) -> list[str]:
    faults = []
    for text in texts:
        place(folder, {**training(), "title": text})
        document = settled().to_json()
        document["claims"][0]["statement"] = text
        (folder / "verify.json").write_text(json.dumps(document))
        faults += _unless_a_line(folder, text[:9])
    return faults


def test_a_megabyte_of_text_is_a_page(tmp_path: Path, attack: Attack) -> None:
    attack("texts of a megabyte", 2, _long(tmp_path, ["x" * 10**6, "\\frac{" * 10**5]))


@pytest.mark.hostile
def test_ten_megabytes_of_text_are_a_page(tmp_path: Path, attack: Attack) -> None:
    texts = ["x" * 10**7, "\\frac{" * 10**6, "<" * 10**7, "\n\n" * 10**6, "\\begin{cases}" * 10**6]
    attack("texts of ten megabytes", len(texts), _long(tmp_path, texts))


@pytest.mark.hostile
def test_the_command_line_says_it_in_a_line(tmp_path: Path, attack: Attack) -> None:
    """In a process of its own, as a user sees it."""
    file = place(tmp_path)
    faults = []
    whole = file.read_bytes()
    for name, content in BYTES.items():
        file.write_bytes(content)
        done = subprocess.run(
            [sys.executable, "-m", "driftproof", "report", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 2 or done.stderr.count("\n") != 1 or "Traceback" in done.stderr:
            faults.append(f"{name}: status {done.returncode}, {done.stderr[-300:]}")
    file.write_bytes(whole)
    attack("driftproof report on damaged files", len(BYTES), faults)
