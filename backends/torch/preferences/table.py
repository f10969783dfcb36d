"""Pairs as a table with pickapic's columns, and where they come from beside each.

====================================  ====================================================================================
column                                holds
====================================  ====================================================================================
``caption``                           the prompt
``jpg_0``, ``jpg_1``                  the two images, in any format that Pillow reads: here PNG, without loss
``label_0``, ``label_1``              1 and 0, 0 and 1, or 1/2 twice for a tie
``has_label``                         whether the pair may be trained on
``are_different``                     whether there are two images, and they differ
``image_0_uid``, ``image_1_uid``      digests of the images
``best_image_uid``                    that of the winner; empty for a tie
``ranking_id``                        the number of the job
``model_0``, ``model_1``              what made each image
``critique``, ``instructions``        what was said
``wins_0``                            the relabeler's probability that the first image wins; NaN where it was not asked
``status``, ``error``                 what became of the pair: see :data:`STATUSES`
``versions``                          of the four roles, as JSON
``key``                               of the job, by which none is done twice
====================================  ====================================================================================
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis

__all__ = [
    "FAILED",
    "STATUSES",
    "PairTable",
    "image_bytes",
    "read_pairs",
    "schema",
    "table_in",
    "tensor_of",
    "uid",
    "versions_of",
]

STATUSES: Final = (
    "kept",
    "tie",
    "disagreed",  # the relabeler does not prefer the edit, where only edits that win are kept
    "nothing to do",  # no instruction, or an edit that changed nothing
    "critic failed",
    "instructor failed",
    "editor failed",
    "relabeler failed",
)
FAILED: Final = tuple(status for status in STATUSES if status.endswith("failed"))


COLUMNS: Final[Mapping[str, str]] = {
    "key": "text",
    "ranking_id": "count",
    "caption": "text",
    "jpg_0": "bytes",
    "jpg_1": "bytes",
    "label_0": "number",
    "label_1": "number",
    "has_label": "flag",
    "are_different": "flag",
    "image_0_uid": "text",
    "image_1_uid": "text",
    "best_image_uid": "text",
    "model_0": "text",
    "model_1": "text",
    "critique": "text",
    "instructions": "texts",
    "wins_0": "number",
    "status": "text",
    "error": "text",
    "versions": "text",
}


@final
@dataclass(frozen=True, eq=False)
class PairTable:
    """Pairs that may be trained on.

    Arguments:
        captions: The prompts.
        chosen, rejected: The bytes of images.
        wins: 1, or 1/2 for a tie.
        left_out: How many rows were left out, by status.
    """

    captions: tuple[str, ...]
    chosen: tuple[bytes, ...]
    rejected: tuple[bytes, ...]
    wins: tuple[float, ...]
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def digest(self) -> str:
        """The identity of these pairs."""
        digest = blake2b(digest_size=16)
        for row in zip(self.captions, self.chosen, self.rejected, self.wins, strict=True):
            for part in (row[0].encode(), row[1], row[2], repr(row[3]).encode()):
                digest.update(len(part).to_bytes(8, "little") + part)
        return digest.hexdigest()


def read_pairs(rows: Sequence[Mapping[str, Any]], ties: str = "half", most: int | None = None) -> PairTable:
    """The pairs of a table that have a label, winners first.

    Arguments:
        rows: Rows with the columns above, pickapic's among them: a ``datasets.Dataset``, or any rows.
        ties: ``half``, or ``dropped``.
        most: Pairs at most, from the beginning.

    Raises:
        UnmetHypothesis: Another rule for ties, a label that is none, or no pair at all.
    """
    if ties not in ("half", "dropped"):
        raise UnmetHypothesis("read_pairs", "ties is half or dropped", f"ties = {ties!r}")
    captions, wins, left_out = list[str](), list[float](), dict[str, int]()
    chosen, rejected = list[bytes](), list[bytes]()
    for number, row in enumerate(rows):
        if most is not None and len(captions) == most:
            break
        if not row.get("has_label", True):
            status = str(row.get("status", "no label"))
        elif not (
            (label := float(row["label_0"])) in (0.0, 0.5, 1.0) and label + float(row["label_1"]) == 1.0
        ):
            got = f"label_0 = {row['label_0']!r}, label_1 = {row['label_1']!r} in row {number}"
            raise UnmetHypothesis("read_pairs", "labels are 1 and 0, 0 and 1, or 1/2 twice", got)
        elif label == 0.5 and ties == "dropped":
            status = "tie"
        else:
            first = label >= 0.5
            captions.append(str(row["caption"]))
            chosen.append(bytes(row["jpg_0"] if first else row["jpg_1"]))
            rejected.append(bytes(row["jpg_1"] if first else row["jpg_0"]))
            wins.append(max(label, 1.0 - label))
            continue
        left_out[status] = left_out.get(status, 0) + 1
    if not captions:
        raise UnmetHypothesis("read_pairs", "some pair has a label", f"left out: {left_out or 'no rows'}")
    return PairTable(tuple(captions), tuple(chosen), tuple(rejected), tuple(wins), left_out)


def image_bytes(image: Tensor) -> bytes:
    """An image in [0, 1], (C, H, W) with 1 or 3 channels, as PNG of 8 bits."""
    from PIL import Image

    pixels = (image.detach().cpu().float().clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
    array = pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).contiguous().numpy()
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()


def tensor_of(content: bytes, side: int | None = None) -> Tensor:
    """The image (3, H, W) in [0, 1]; with ``side``, the middle square of this size.

    Raises:
        UnmetHypothesis: Bytes that are no image.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        picture = Image.open(io.BytesIO(content)).convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise UnmetHypothesis("pairs", "bytes are an image", f"{len(content)} bytes ({error})") from None
    if side is not None and picture.size != (side, side):
        share = side / min(picture.size)
        size = (max(side, math.ceil(picture.width * share)), max(side, math.ceil(picture.height * share)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
    return torch.tensor(np.asarray(picture), dtype=torch.float32).permute(2, 0, 1) / 255.0


def uid(content: bytes) -> str:
    """A digest of an image."""
    return blake2b(content, digest_size=12).hexdigest() if content else ""


def table_in(folder: Path) -> Any:
    """The rows of a folder of parquet files, in the order of their names, as a ``datasets.Dataset``.

    Raises:
        FileNotFoundError: There is none.
    """
    from datasets import Dataset

    files = sorted(str(file) for file in folder.glob("*.parquet"))
    if not files:
        raise FileNotFoundError(f"pairs: no parquet file in {folder}")
    return Dataset.from_parquet(files)


def schema() -> Any:
    """The types of the columns for pyarrow: a table whose lists are all empty has them too."""
    import pyarrow as pa  # type: ignore[import-untyped]  # ships no types

    types = {"text": pa.string(), "bytes": pa.binary(), "number": pa.float64(), "count": pa.int64()}
    types |= {"flag": pa.bool_(), "texts": pa.list_(pa.string())}
    return pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])


def versions_of(**roles: Any) -> str:
    """The versions of the roles, as JSON."""
    return json.dumps({name: str(role.version) for name, role in roles.items()}, sort_keys=True)
