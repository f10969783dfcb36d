"""The pages: their code runs, their commands and links exist, their numbers are the record's.

Code blocks of one page run in order, in one fresh interpreter, outside of the repository.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from driftproof import _training
from driftproof.backends.torch.recipes import names
from driftproof.cli import app
from driftproof.validation import benchmarks
from driftproof.validation.papers import PAPERS
from driftproof.validation.registry import REGISTRY

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "papers").glob("*.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return [code for kind, code in FENCE.findall(page.read_text(encoding="utf-8")) if kind == language]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def refresh() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refresh", ROOT / "papers" / "refresh.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / "papers/data/verify.json").read_text(encoding="utf-8"))
    return content


def coded() -> list[Any]:
    """The pages with code; the first that a reader meets is tried everywhere, all of them by CI."""
    later = pytest.mark.slow(ci=True)
    pages = [page for page in PAGES if blocks(page, "python")]
    return [
        pytest.param(page, id=name(page), marks=() if page.name == "README.md" else later) for page in pages
    ]


@pytest.mark.parametrize("page", coded())
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(page, "python")), encoding="utf-8")
    command = [sys.executable, ROOT / "tests/page.py", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_page_draws_the_same_examples_every_time(tmp_path: Path) -> None:
    script = tmp_path / "page.py"
    script.write_text(
        "from hypothesis import given, strategies as st\n@given(st.floats())\ndef test(x): print(x)\ntest()",
        encoding="utf-8",
    )
    command = [sys.executable, ROOT / "tests/page.py", script]
    first, again = (
        subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout for _ in range(2)
    )
    assert first == again
    assert len(first.splitlines()) >= 100


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "py")], ids=name)
def test_code_that_needs_more_than_a_page_has_the_right_names(page: Path) -> None:
    """Such blocks (a pretrained model, prompts) are not run: what they take from us exists and is called as it can be."""
    for module in ("torch", "diffusers", "trl"):
        pytest.importorskip(module)
    for code in blocks(page, "py"):
        tree = ast.parse(code)
        ours = {
            alias.asname or alias.name: getattr(importlib.import_module(node.module), alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("driftproof")
            for alias in node.names
        }
        assert ours, code
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            called = ours.get(call.func.id) if isinstance(call.func, ast.Name) else None
            if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
                owner = ours.get(call.func.value.id)
                called = getattr(owner, call.func.attr) if owner else None
            if called is not None:
                names = {keyword.arg: ... for keyword in call.keywords if keyword.arg}
                inspect.signature(called).bind(*call.args, **names)


def test_the_front_page_has_code_to_run() -> None:
    assert len(blocks(ROOT / "README.md", "python")) >= 3


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_commands_of_a_page_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for line in "".join(blocks(page, "console")).splitlines():
        words = line.split("#")[0].split()
        if "driftproof" in words:  # accelerate launch -m driftproof
            words = words[words.index("driftproof") :]
        if words[:1] == ["make"]:
            assert set(words[1:]) <= targets, line
        elif words[:1] == ["driftproof"]:
            assert {word for word in words if word.startswith("--")} <= options(words[1]), line
            for config in (after for word, after in itertools.pairwise(words) if word == "--config"):
                assert config in (*names(words[2]), "mine.json"), line
            if words[1] in ("train", "bench", "verify", "claims"):
                known = {"train": _training._papers(), "bench": benchmarks.names()}.get(
                    words[1], list(PAPERS)
                )
                named = list(itertools.takewhile(lambda word: not word.startswith("-"), words[2:]))
                assert set(named) <= set(known), line
        elif words[:1] == ["python"]:
            assert (ROOT / words[1]).is_file(), line
        else:
            assert not words or words[0] in ("pip", "pytest"), f"nothing checks {line!r}"


def options(command: str) -> set[str]:
    group: Any = typer.main.get_command(app)
    return {option for parameter in group.commands[command].params for option in parameter.opts}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, (
                target
            )


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_claim_that_a_page_cites_is_registered(page: Path) -> None:
    # Ids in code blocks may belong to the reader.
    cited = set(re.findall(r"`([A-Z][A-Z0-9_]*(?:-[A-Z0-9_]+)+)`", prose(page)))
    assert cited <= set(REGISTRY.load().claims)


@pytest.mark.parametrize("slug", [slug for slug in PAPERS if (ROOT / f"papers/{slug}.md").exists()])
def test_every_claim_answers_a_question_of_its_page(slug: str) -> None:
    text = re.sub(r"<!-- generated.*?<!-- end -->", "", prose(ROOT / f"papers/{slug}.md"), flags=re.DOTALL)
    cited = set(re.findall(r"`([A-Z0-9-]+-\d+)`", text))
    for group, first, last in re.findall(r"`([A-Z0-9-]+)-(\d+)` to `\1-(\d+)`", text):
        cited |= {f"{group}-{number}" for number in range(int(first), int(last) + 1)}
    assert {claim.id for claim in REGISTRY.load().select([slug])} <= cited


def test_the_generated_parts_are_those_of_the_record(refresh: ModuleType) -> None:
    for page in refresh.pages():
        text = page.read_text(encoding="utf-8")
        assert refresh.refreshed(text, ROOT / "papers") == text, f"{name(page)}: run make papers"


def test_a_typed_number_would_be_seen(refresh: ModuleType) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    typed = re.sub(r"\d+ verified", "999 verified", text, count=1)
    assert typed != text
    assert refresh.refreshed(typed, ROOT / "papers") == text


def test_the_record_is_of_the_claims_that_are_registered(record: dict[str, Any]) -> None:
    """A claim that was added or reworded since is news that the pages do not tell."""
    kept = {
        claim["id"]: (claim["statement"], [e["name"] for e in claim["evidence"]])
        for claim in record["claims"]
    }
    now = {c.id: (c.statement, [e.name for e in c.evidence]) for c in REGISTRY.load().claims.values()}
    assert kept == now, "run make verify papers"
    assert record["effort"] != "quick"


def test_a_record_tells_bad_news(refresh: ModuleType, record: dict[str, Any], tmp_path: Path) -> None:
    claim = record["claims"][0]
    bad = {**claim, "status": "refuted", "ok": False, "mutants": [{"name": "sign", "caught": False}]}
    (tmp_path / "data").mkdir()
    (tmp_path / "data/verify.json").write_text(json.dumps({**record, "claims": [bad]}), encoding="utf-8")
    part = "<!-- generated: {} -->\n<!-- end -->"
    told = refresh.refreshed(part.format("papers ."), tmp_path)
    assert "1 claims: 1 refuted; 0 of 1 planted errors caught; **1 not as expected**" in told
    assert "refuted (expected: verified)" in refresh.refreshed(
        part.format(f"claims {claim['paper']}"), tmp_path
    )


def test_the_grid_has_every_paper_and_no_verdict_without_claims(record: dict[str, Any]) -> None:
    from driftproof.validation.papers import PAPERS

    index = (ROOT / "papers/index.md").read_text(encoding="utf-8")
    settled = {claim["paper"] for claim in record["claims"]}
    assert "tweedie" in settled
    for slug in PAPERS:
        (row,) = (line for line in index.splitlines() if re.match(rf"\| \[?`{slug}`", line))
        assert row.endswith("| planned |") is (slug not in settled)


def test_the_pictures_are_small() -> None:
    sizes = {name(file): file.stat().st_size for file in (ROOT / "papers/figures").iterdir()}
    assert "papers/figures/report.png" in sizes
    assert not {file for file, size in sizes.items() if size > 300_000}
