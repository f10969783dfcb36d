"""From images to labelled pairs: critique, instructions, edit, relabelling; what goes wrong is recorded, not trained on.

A pair is the edited image and its original.  Its label is the relabeler's (``relabelled``), the edit's by decree
(``decreed``), or the edit's where the relabeler agrees, and none otherwise (``filtered``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.identity import digest_of
from driftproof.numerics.rich_po import Labels

from .roles import Critic, Editor, Instructor, Relabeler
from .sink import PairSink
from .table import FAILED, image_bytes, tensor_of, uid, versions_of

__all__ = ["Job", "PipelineStopped", "RichFeedback"]

SHOWN: Final = 500  # characters of an error that are recorded


class PipelineStopped(RuntimeError):
    """Too many jobs failed one after the other: something is wrong with a role, not with the images."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """An image to be criticised.

    Arguments:
        prompt: The prompt that it was made for.
        image: In [0, 1], shape (C, H, W).
        model: The name of the model that made it.
        number: The number of the job: the same prompt and image under another number are another pair.
    """

    prompt: str
    image: Tensor
    model: str = ""
    number: int = 0

    @property
    def key(self) -> str:
        """The key by which a resumed run recognises the job."""
        return digest_of([self.prompt, image_bytes(self.image), self.model, str(self.number)])


@final
@dataclass(frozen=True, eq=False)
class RichFeedback:
    """Critic, instructor, editor and relabeler, one after the other.

    Arguments:
        critic, instructor, editor, relabeler: See :mod:`.roles`.
        labels: Who decides which image won.
        tie: The relabeler's probability is a tie where it is as near to 1/2 as this.
        most_failures: Jobs that may fail one after the other before the run stops.
        seed: Labels are drawn with the relabeler's probability, by the seed and the job; None for the likelier one.

    Raises:
        UnmetHypothesis: Another rule for labels, or numbers out of range.
    """

    critic: Critic
    instructor: Instructor
    editor: Editor
    relabeler: Relabeler
    labels: Labels = "relabelled"
    tie: float = 0.0
    most_failures: int = 20
    seed: int | None = None
    announce: Callable[[str], None] = field(default=lambda line: None, repr=False)

    def __post_init__(self) -> None:
        if self.labels not in ("decreed", "relabelled", "filtered"):
            got = f"labels = {self.labels!r}"
            raise UnmetHypothesis("RichFeedback", "labels is decreed, relabelled or filtered", got)
        if not (0.0 <= self.tie < 0.5 and self.most_failures >= 1):
            got = f"tie = {self.tie!r}, most_failures = {self.most_failures!r}"
            raise UnmetHypothesis("RichFeedback", "tie in [0, 1/2) and most_failures >= 1", got)

    @property
    def versions(self) -> str:
        """Versions of the roles, as JSON."""
        return versions_of(
            critic=self.critic, instructor=self.instructor, editor=self.editor, relabeler=self.relabeler
        )

    def description(self) -> dict[str, Any]:
        """The settings that a sink's pairs are made with."""
        return {"versions": self.versions, "labels": self.labels, "tie": self.tie, "seed": self.seed}

    def run(self, jobs: Iterable[Job], sink: PairSink, *, retry: bool = False) -> dict[str, int]:
        """Do the jobs that the sink does not have; how many ended how.

        Arguments:
            jobs: The jobs; those that are finished are passed over.
            sink: Entered by the caller; made with :meth:`description`.
            retry: Whether jobs that failed are tried again.

        Raises:
            PipelineStopped: ``most_failures`` jobs in a row failed; all are recorded.
        """
        failures = 0
        for job in jobs:
            if sink.done(job.key, retry=retry):
                continue
            row = self.pair(job)
            sink.add(row)
            failures = failures + 1 if row["status"] in FAILED else 0
            if failures:
                self.announce(f"{row['status']}: {row['error']}")
            if failures >= self.most_failures:
                raise PipelineStopped(
                    f"{failures} jobs failed one after the other, the last one with: {row['error']}; "
                    "what is finished is kept, and retry=True tries these again"
                )
        sink.compact()
        return sink.counts()

    def pair(self, job: Job) -> dict[str, Any]:
        """The row of one job, see :mod:`.table`: whatever a role raises is in it."""
        said: dict[str, Any] = {"critique": "", "instructions": [], "wins_0": math.nan}
        status, error, edited = "critic failed", "", b""
        try:
            _image(job.image, job.image)
            critique = self.critic.criticise(job.image, job.prompt)
            said["critique"] = _text(critique)
            status = "instructor failed"
            said["instructions"] = _texts(self.instructor.instruct(critique, job.prompt))
            if not said["instructions"]:
                return self._row(job, b"", "nothing to do", "no instruction", said)
            status = "editor failed"
            made = self.editor.edit(job.image, said["instructions"], job.prompt)
            edited = image_bytes(_image(made, job.image))
            if edited == image_bytes(job.image):
                return self._row(job, edited, "nothing to do", "the edit changed nothing", said)
            status = "relabeler failed"
            if self.labels != "decreed":
                said["wins_0"] = _probability(
                    self.relabeler.prefer(
                        job.prompt, _as_kept(edited, job), _as_kept(image_bytes(job.image), job)
                    )
                )
        except Exception as problem:  # noqa: BLE001  # a role is foreign code: what it raises belongs to its pair
            error = f"{type(problem).__name__}: {problem}"[:SHOWN]
            return self._row(job, edited, status, error, said)
        label = self._label(said["wins_0"], job.key)
        status = "tie" if label == 0.5 else "kept"
        if self.labels == "filtered" and label != 1.0:
            status = "disagreed"
        return self._row(job, edited, status, "", said, label)

    def _label(self, wins: float, key: str) -> float:
        """1 where the edit won, 0 where the original did, 1/2 for a tie."""
        if self.labels == "decreed":
            return 1.0
        if abs(wins - 0.5) <= self.tie and (self.seed is None or self.tie > 0.0):
            return 0.5
        if self.seed is None:
            return float(wins > 0.5)
        drawn = int(digest_of([str(self.seed), key])[:13], 16) / 16.0**13  # uniform, by the job alone
        return float(drawn < wins)

    def _row(
        self, job: Job, edited: bytes, status: str, error: str, said: dict[str, Any], label: float = 0.5
    ) -> dict[str, Any]:
        original = image_bytes(job.image)
        labelled = status in ("kept", "tie")
        uids = uid(edited), uid(original)
        return {
            "key": job.key,
            "ranking_id": job.number,
            "caption": job.prompt,
            "jpg_0": edited,
            "jpg_1": original,
            "label_0": label if labelled else 0.5,
            "label_1": 1.0 - label if labelled else 0.5,
            "has_label": labelled,
            "are_different": bool(edited) and uids[0] != uids[1],
            "image_0_uid": uids[0],
            "image_1_uid": uids[1],
            "best_image_uid": uids[0 if label > 0.5 else 1] if labelled and label != 0.5 else "",
            "model_0": str(self.editor.version),
            "model_1": job.model,
            **said,
            "status": status,
            "error": error,
            "versions": self.versions,
        }


def _as_kept(content: bytes, job: Job) -> Tensor:
    """The image as it is in the table, with the channels of the original: what is judged is what is trained on."""
    found = tensor_of(content)
    return found[: len(job.image)]


def _text(critique: object) -> str:
    if not isinstance(critique, str) or not critique.strip():
        raise ValueError(f"expected a critique in words, got {critique!r:.80}")
    return critique


def _texts(instructions: Sequence[str]) -> list[str]:
    if isinstance(instructions, str) or not all(isinstance(one, str) for one in instructions):
        raise ValueError(f"expected a list of instructions, got {instructions!r:.80}")
    return [one for one in instructions if one.strip()]


def _image(made: object, original: Tensor) -> Tensor:
    if not isinstance(made, Tensor) or made.shape != original.shape:
        got = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise ValueError(f"expected an image of shape {tuple(original.shape)}, got {got}")
    if not bool(torch.isfinite(made).all()):
        raise ValueError("expected an image of finite numbers")
    return made


def _probability(wins: object) -> float:
    value = float(wins)  # type: ignore[arg-type]  # what is no number raises
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"expected a probability, got {value!r}")
    return value
