"""The rich-feedback pipeline: what is kept, what is recorded, and how labels are read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
for needed in ("accelerate", "datasets", "PIL", "pydantic"):
    pytest.importorskip(needed)

from driftproof import UnmetHypothesis
from driftproof.backends.torch.preferences import (
    DigitCritic,
    DigitEditor,
    DigitInstructor,
    PipelineStopped,
    read_pairs,
    table_in,
)
from driftproof.backends.torch.preferences.table import image_bytes, tensor_of
from driftproof.backends.torch.pretrained.digits import slant, thickness
from tests.feedback_roles import bar, failing, feedback, jobs, sink, stub

# -- digits


@pytest.mark.parametrize("wanted", [1.5, 3.2, 4.0])
def test_the_editor_moves_the_stroke_towards_what_the_critic_wants(wanted: float) -> None:
    image, critic, prompt = bar(3), DigitCritic(wanted), "a medium one, upright"
    instructions = DigitInstructor().instruct(critic.criticise(image, prompt), prompt)
    assert len(instructions) == 1 and instructions[0].startswith("thin" if wanted < 2.5 else "thick")
    before, after = (
        float(thickness(x[None])) for x in (image, DigitEditor().edit(image, instructions, prompt))
    )
    assert abs(after - wanted) < 0.5 * abs(before - wanted)
    assert critic.criticise(DigitEditor().edit(image, [], prompt), prompt) == critic.criticise(image, prompt)


def test_the_editor_shears_to_the_slant_of_the_prompt() -> None:
    prompt, image = "a thin one, slanted right", bar(3)
    critic = DigitCritic(3.0, ("slant",))
    (instruction,) = DigitInstructor().instruct(critic.criticise(image, prompt), prompt)
    edited = DigitEditor().edit(image, [instruction], prompt)
    assert abs(float(slant(edited[None])) - 0.4) < 0.1
    assert critic.criticise(edited, prompt) == "nothing is wrong"
    assert "nothing" in DigitCritic(float(thickness(bar(2)[None]))).criticise(bar(2), prompt)


def test_a_class_is_read_and_cannot_be_edited() -> None:
    always_seven = type("Seen", (), {"__call__": lambda self, x: torch.eye(10)[7].expand(len(x), -1)})()
    critic = DigitCritic(3.0, ("class",), always_seven)
    assert critic.criticise(bar(), "a thin two, upright") == "this is a seven, not a two"
    assert critic.criticise(bar(), "a thin seven, upright") == "nothing is wrong"
    assert DigitInstructor().instruct("this is a seven, not a two", "") == []
    with pytest.raises(UnmetHypothesis, match="a classifier for class"):
        DigitCritic(3.0, ("class",))
    with pytest.raises(ValueError, match="expected to thicken"):
        DigitEditor().edit(bar(), ["paint it red"], "")


def test_the_critics_version_tells_what_it_sees_by() -> None:
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    critics: list[Any] = [
        DigitCritic(4.0),
        DigitCritic(4.0, tolerance=2.0),
        DigitCritic(4.0 + 1e-9),
        DigitCritic(4.0, ("class",), first),  # type: ignore[arg-type]
        DigitCritic(4.0, ("class",), second),  # type: ignore[arg-type]
    ]
    assert len({critic.version for critic in critics}) == 5


# -- pairs


@pytest.mark.parametrize("labels", ["decreed", "relabelled", "filtered"])
def test_pairs_have_the_columns_and_labels_that_they_say(labels: Any, tmp_path: Path) -> None:
    made = feedback(labels=labels)
    with sink(tmp_path, made) as kept:
        counts = made.run(jobs(6), kept)
        table = read_pairs(kept.rows())
    assert counts == {"kept": 6} and len(table) == 6 and set(table.wins) == {1.0}
    for row in table_in(tmp_path):
        assert row["best_image_uid"] == row["image_0_uid"] != row["image_1_uid"]
        assert (row["label_0"], row["label_1"], row["has_label"], row["are_different"]) == (
            1.0,
            0.0,
            True,
            True,
        )
        assert "pixels thick" in row["critique"] and row["instructions"][0].startswith("thicken")
        assert json.loads(row["versions"]).keys() == {"critic", "instructor", "editor", "relabeler"}
        assert thickness(tensor_of(row["jpg_0"])[None]) > thickness(tensor_of(row["jpg_1"])[None])
    assert [thickness(tensor_of(image)[None]) > 2 for image in table.chosen] == [True] * 6


def test_labels_drawn_by_probability_are_those_of_bradley_and_terry(tmp_path: Path) -> None:
    """600 labels of probability 0.8; six standard errors are 0.098: a false alarm of 2e-9."""
    made = feedback(relabeler=stub("prefer", lambda *a: 0.8), seed=5)
    labels = [made._label(0.8, f"job {k}") for k in range(600)]
    assert abs(sum(labels) / 600 - 0.8) < 0.098
    assert labels == [made._label(0.8, f"job {k}") for k in range(600)]
    assert labels != [feedback(seed=6)._label(0.8, f"job {k}") for k in range(600)]


FAILURES = [
    ("critic", stub("criticise", lambda i, p: ""), "critic failed", "in words"),
    ("critic", stub("criticise", lambda i, p: 7), "critic failed", "got 7"),
    (
        "critic",
        stub("criticise", failing(TimeoutError("no answer in 5 s"))),
        "critic failed",
        "TimeoutError: no answer",
    ),
    ("critic", stub("criticise", lambda i, p: "blah 4 blah"), "nothing to do", "no instruction"),
    (
        "instructor",
        stub("instruct", lambda c, p: "thicken it"),
        "instructor failed",
        "a list of instructions",
    ),
    ("instructor", stub("instruct", lambda c, p: ["paint it red"]), "editor failed", "to thicken"),
    ("instructor", stub("instruct", lambda c, p: [" "]), "nothing to do", "no instruction"),
    ("editor", stub("edit", failing(MemoryError("out of memory"))), "editor failed", "out of memory"),
    ("editor", stub("edit", lambda i, t, p: i[:, :9]), "editor failed", "of shape"),
    ("editor", stub("edit", lambda i, t, p: i / 0.0), "editor failed", "finite"),
    ("editor", stub("edit", lambda i, t, p: None), "editor failed", "NoneType"),
    ("editor", stub("edit", lambda i, t, p: i), "nothing to do", "changed nothing"),
    ("relabeler", stub("prefer", lambda p, a, b: float("nan")), "relabeler failed", "a probability"),
    ("relabeler", stub("prefer", lambda p, a, b: 1.5), "relabeler failed", "got 1.5"),
    ("relabeler", stub("prefer", lambda p, a, b: "the first"), "relabeler failed", "could not convert"),
    ("relabeler", stub("prefer", failing(ConnectionError("refused"))), "relabeler failed", "refused"),
    ("relabeler", stub("prefer", lambda p, a, b: 0.1), "disagreed", ""),
    ("relabeler", stub("prefer", lambda p, a, b: 0.5), "disagreed", ""),
]


@pytest.mark.parametrize(("role", "broken", "status", "says"), FAILURES)
def test_what_goes_wrong_is_recorded_and_never_trained_on(
    role: str, broken: Any, status: str, says: str, tmp_path: Path
) -> None:
    made, right = feedback(labels="filtered", **{role: broken}), feedback(labels="filtered")
    one, two = jobs(2)
    with sink(tmp_path, made) as kept:
        assert made.run([one], kept) == {status: 1}
        kept.add(right.pair(two))
        (bad,) = [row for row in kept.rows() if row["status"] != "kept"]
        table = read_pairs(kept.rows())
        assert len(table) == 1 and table.left_out == {status: 1}
    assert not bad["has_label"] and bad["best_image_uid"] == "" and says in bad["error"]
    assert bad["jpg_1"] == image_bytes(one.image), "the original is kept in any case"


def test_an_original_that_is_not_finite_is_no_pair() -> None:
    one = jobs(1)[0]
    row = feedback(labels="decreed").pair(replace(one, image=one.image / 0.0))
    assert (row["status"], row["has_label"]) == ("critic failed", False) and "finite" in row["error"]


def test_both_images_are_judged_as_they_are_kept() -> None:
    seen = list[torch.Tensor]()
    judge = stub("prefer", lambda prompt, *images: seen.extend(images) or 0.9)
    row = feedback(relabeler=judge).pair(replace(jobs(1)[0], image=0.8231 * bar()))
    for number, image in enumerate(seen):
        assert torch.equal(image, tensor_of(row[f"jpg_{number}"])[:1])


def test_what_a_programmer_interrupts_is_not_recorded(tmp_path: Path) -> None:
    made = feedback(critic=stub("criticise", failing(KeyboardInterrupt())))
    with sink(tmp_path, made) as kept, pytest.raises(KeyboardInterrupt):
        made.run(jobs(1), kept)
    with sink(tmp_path, made) as kept:
        assert kept.counts() == {}


def test_a_role_that_fails_again_and_again_stops_the_run_and_can_be_tried_again(tmp_path: Path) -> None:
    answers = {"dead": True}

    def criticise(image: torch.Tensor, prompt: str) -> str:
        if answers["dead"]:
            raise ConnectionError("gone")
        return DigitCritic(4.0).criticise(image, prompt)

    made = feedback(critic=stub("criticise", criticise), most_failures=3)
    with sink(tmp_path, made) as kept:
        with pytest.raises(PipelineStopped, match=r"3 jobs failed one after the other.*gone"):
            made.run(jobs(9), kept)
        assert kept.counts() == {"critic failed": 3}
        answers["dead"] = False
        assert made.run(jobs(9), kept) == {"critic failed": 3, "kept": 6}
        assert made.run(jobs(9), kept, retry=True) == {"kept": 9}
        rows = kept.rows()
        assert len(rows) == 9 and all(rows["has_label"])


def test_ties_are_halves_or_dropped(tmp_path: Path) -> None:
    made = feedback(relabeler=stub("prefer", lambda p, a, b: 0.52), tie=0.05)
    with sink(tmp_path, made) as kept:
        assert made.run(jobs(2), kept) == {"tie": 2}
        kept.add(feedback().pair(jobs(3)[2]))
        half, dropped = (read_pairs(kept.rows(), rule) for rule in ("half", "dropped"))
    assert (half.wins, len(dropped), dropped.left_out) == ((0.5, 0.5, 1.0), 1, {"tie": 2})
    with pytest.raises(UnmetHypothesis, match="half or dropped"):
        read_pairs([], "both")
    with pytest.raises(UnmetHypothesis, match="some pair has a label"):
        read_pairs([])


def test_pickapics_own_rows_are_read() -> None:
    images = [image_bytes(bar(k).expand(3, -1, -1)) for k in (1, 2)]
    row = {"caption": "a bar", "jpg_0": images[0], "jpg_1": images[1], "has_label": True}
    found = read_pairs([{**row, "label_0": 0.0, "label_1": 1.0}, {**row, "label_0": 0.5, "label_1": 0.5}])
    assert found.chosen[0] == images[1] and found.wins == (1.0, 0.5)
    assert tensor_of(images[0], 16).shape == (3, 16, 16)
    with pytest.raises(UnmetHypothesis, match="labels are 1 and 0"):
        read_pairs([{**row, "label_0": 1.0, "label_1": 1.0}])
    with pytest.raises(UnmetHypothesis, match="bytes are an image"):
        tensor_of(b"no image")


def test_a_row_without_a_label_needs_none() -> None:
    row = {"caption": "a", "jpg_0": b"0", "jpg_1": b"1"}
    none = {**row, "label_0": None, "label_1": None, "has_label": False}
    found = read_pairs([none, {**row, "label_0": 1, "label_1": 0}])
    assert len(found) == 1 and found.left_out == {"no label": 1}


def test_a_first_table_without_instructions_is_read_back(tmp_path: Path) -> None:
    nothing, made = feedback(instructor=stub("instruct", lambda c, p: [])), feedback()
    with sink(tmp_path, made, shard=1) as kept:
        for job, by in zip(jobs(2), (nothing, made), strict=True):
            kept.add(by.pair(job))
        with pytest.raises(UnmetHypothesis, match=r"these differ: .'colour'"):
            kept.add({**made.pair(jobs(1)[0]), "colour": "red"})
    assert [len(one) for one in table_in(tmp_path)["instructions"]] == [0, 1]
