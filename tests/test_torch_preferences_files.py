"""The files of the rich-feedback pipeline: what survives a kill, a damaged line, a full disk and a second writer."""

from __future__ import annotations

import io
from contextlib import nullcontext
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
for needed in ("accelerate", "datasets", "PIL", "pydantic"):
    pytest.importorskip(needed)

from driftproof import UnmetHypothesis
from driftproof.backends.torch.kit.identity import OtherRun
from driftproof.backends.torch.kit.lock import InUse, RunWarning
from driftproof.backends.torch.preferences import (
    PairSink,
    table_in,
)
from driftproof.backends.torch.preferences.table import image_bytes, tensor_of
from tests.feedback_roles import failing, feedback, jobs, sink


def test_a_finished_pair_is_on_the_disk_before_the_next_begins(tmp_path: Path) -> None:
    """Every prefix of the journal is what a kill may leave: complete lines are pairs, the rest is dropped."""
    made = feedback()
    with sink(tmp_path / "whole", made) as kept:
        for job in jobs(3):
            kept.add(made.pair(job))
        whole = (tmp_path / "whole" / "journal.jsonl").read_bytes()
        rows = list(kept.rows())
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    places = sorted({0, 9, *ends, ends[0] + 7, ends[2] - 1})
    for place in places:
        folder = tmp_path / str(place)
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(whole[:place])
        (folder / "pipeline.json").write_bytes((tmp_path / "whole" / "pipeline.json").read_bytes())
        finished = sum(end <= place for end in ends)
        torn = place not in {0, *ends}
        told = pytest.warns(RunWarning, match="no finished pair") if torn else nullcontext()
        with told, sink(folder, made) as kept:
            assert sum(kept.counts().values()) == finished
            made.run(jobs(3), kept)
            assert list(kept.rows()) == rows


def test_a_damaged_line_costs_itself_alone(tmp_path: Path) -> None:
    made, journal = feedback(), tmp_path / "journal.jsonl"
    with sink(tmp_path, made) as kept:
        for job in jobs(3):
            kept.add(made.pair(job))
    whole = journal.read_bytes()
    place = whole.index(b"\n") // 2
    damaged = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    journal.write_bytes(damaged)
    with pytest.warns(RunWarning, match=f"{whole.index(10) + 1} bytes are no finished pair"):
        sink(tmp_path, made).__enter__().__exit__(None, None, None)
    assert (tmp_path / "journal.damaged").read_bytes() == damaged
    with sink(tmp_path, made) as kept:
        assert [kept.done(job.key) for job in jobs(3)] == [False, True, True]


def test_a_new_table_never_takes_the_name_of_another(tmp_path: Path) -> None:
    made = feedback()
    with sink(tmp_path, made, shard=1) as kept:
        made.run(jobs(3), kept)
        (tmp_path / "pairs-000000.parquet").unlink()
        made.run(jobs(4), kept)
        assert len(kept.rows()) == 3
    names = sorted(file.name for file in tmp_path.glob("pairs-*"))
    assert names == [f"pairs-{k:06d}.parquet" for k in (1, 2, 3)]


def test_pairs_of_nobody_are_refused(tmp_path: Path) -> None:
    made = feedback()
    with sink(tmp_path, made) as kept:
        kept.add(made.pair(jobs(1)[0]))
    (tmp_path / "pipeline.json").unlink()
    with pytest.raises(OtherRun, match=r"no pipeline\.json"):
        sink(tmp_path, made).__enter__()
    with pytest.raises(OtherRun, match=r"no pipeline\.json"):
        sink(tmp_path, feedback(labels="decreed")).__enter__()


@pytest.mark.parametrize("when", ["table written", "table half written"])
def test_a_kill_while_a_table_is_made_duplicates_nothing(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = feedback()
    with sink(tmp_path, made, shard=100) as kept:
        made_rows = [made.pair(job) for job in jobs(4)]
        for row in made_rows:
            kept.add(row)
        journal = (tmp_path / "journal.jsonl").read_bytes()
        kept.compact()
    (tmp_path / "journal.jsonl").write_bytes(journal)  # the kill came before it was emptied
    if when == "table half written":
        file = tmp_path / "pairs-000000.parquet"
        file.rename(tmp_path / ".pairs-000000.parquet.77.part")
    with sink(tmp_path, made, shard=100) as kept:
        assert kept.counts() == {"kept": 4}
        assert len(kept.rows()) == 4 and len(set(kept.rows()["key"])) == 4
        made.run(jobs(5), kept)
    with sink(tmp_path, made) as kept:
        assert len(kept.rows()) == 5
    assert not list(tmp_path.glob(".pairs-*"))
    assert len(table_in(tmp_path)) == 5


def test_a_full_disk_tears_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, (one, two, three) = feedback(), jobs(3)
    with sink(tmp_path, made) as kept:
        kept.add(made.pair(one))
        with monkeypatch.context() as full, pytest.raises(OSError, match="No space left"):
            full.setattr("os.fsync", failing(OSError(28, "No space left on device")))
            kept.add(made.pair(two))
        assert not kept.done(two.key)
        kept.add(made.pair(three))
    with sink(tmp_path, made) as kept:
        assert [row["key"] for row in kept.rows()] == [one.key, three.key]


def test_a_folder_has_one_writer_and_one_pipeline(tmp_path: Path) -> None:
    made = feedback()
    with sink(tmp_path, made), pytest.raises(InUse), sink(tmp_path, made):
        pass
    with pytest.raises(OtherRun, match="another labels: 'relabelled' there, 'filtered' here"):
        sink(tmp_path, feedback(labels="filtered")).__enter__()
    with pytest.raises(UnmetHypothesis, match="shard >= 1"):
        PairSink(tmp_path, {}, shard=0)
    with pytest.raises(FileNotFoundError, match="no parquet file"):
        table_in(tmp_path / "nowhere")


def test_images_keep_their_bytes() -> None:
    image = (torch.arange(3 * 64).reshape(3, 8, 8) / 191.0 * 255.0).round() / 255.0
    torch.testing.assert_close(tensor_of(image_bytes(image)), image)
    assert io.BytesIO(image_bytes(image)).read(8) == b"\x89PNG\r\n\x1a\n"
