"""Pairs of latents: made by the model itself and labelled by a reward, edited, or read from a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final, final

import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.identity import digest_of
from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.backends.torch.preferences import (
    DigitCritic,
    DigitEditor,
    DigitInstructor,
    Job,
    PairSink,
    PairTable,
    RewardRelabeler,
    RichFeedback,
    read_pairs,
)
from driftproof.backends.torch.preferences.table import tensor_of
from driftproof.backends.torch.pretrained.config import PipelineModel
from driftproof.backends.torch.pretrained.loader import prompts_of
from driftproof.backends.torch.rl.rewards import Reward, RewardChoice, checked
from driftproof.backends.torch.rl.sampler import Sampling
from driftproof.numerics.rich_po import Labels

from .config import PairChoice
from .models import Studio
from .trainer import Pairs

__all__ = ["LatentPairs", "Pool", "encoded", "made_pairs", "maker", "table_of_edits"]

# Numbers of the draws of a seed: images of pairs, labels.
IMAGES, LABELS = 1 << 20, 1 << 21
AT_ONCE: Final = 64
EDITS: Final[Mapping[str, Labels]] = {"edit": "decreed", "relabelled": "relabelled", "filtered": "filtered"}


@final
class Pool:
    """Latent images of the prompts of an evaluation, made once for all policies of a seed.

    Arguments:
        studio: Makes the images.
        count: Images of a draw; the prompts take turns.
        seed: The seed of the noise.
    """

    def __init__(self, studio: Studio, count: int, seed: int) -> None:
        self.studio, self.seed = studio, seed
        device = next(studio.network.parameters()).device
        self.rows = (torch.arange(count) % studio.evaluated).to(device)
        self._draws: dict[int, Tensor] = {}

    def draw(self, number: int) -> Tensor:
        """Draw number 0, 1, ...: shape (count, *)."""
        if number not in self._draws:
            self._draws[number] = self.studio.latents(self.rows, self.seed, IMAGES + number)
        return self._draws[number]

    @property
    def drawn(self) -> list[Tensor]:
        """The requested draws."""
        return list(self._draws.values())


@final
class LatentPairs:
    """Pairs that are drawn from with replacement.

    Arguments:
        chosen, rejected: Latents, shape (n, *).
        wins: The probability that the chosen one wins: 1, or 1/2 for a tie, shape (n,).
        rows: Numbers of the prompts of a task, shape (n,).
        studio: The studio that has the prompts.
        left_out: Rows of a table that are not among them, by status.

    Raises:
        UnmetHypothesis: No pair, or shapes that differ.
    """

    def __init__(
        self,
        chosen: Tensor,
        rejected: Tensor,
        wins: Tensor,
        rows: Tensor,
        studio: Studio,
        left_out: Mapping[str, int] | None = None,
    ) -> None:
        lengths = {len(chosen), len(rejected), len(wins), len(rows)}
        if lengths != {len(chosen)} or not len(chosen) or chosen.shape != rejected.shape:
            got = f"shapes {tuple(chosen.shape)}, {tuple(rejected.shape)}, {tuple(wins.shape)}, {tuple(rows.shape)}"
            raise UnmetHypothesis("LatentPairs", "chosen, rejected (n, *), wins and rows (n,), n >= 1", got)
        self.chosen, self.rejected, self.wins, self.rows = chosen, rejected, wins, rows
        self.task, self.left_out = studio.task, dict(left_out or {})

    def __len__(self) -> int:
        return len(self.chosen)

    def draw(self, generator: torch.Generator, rows: int) -> Pairs:
        """Random pairs on the generator's device."""
        device = generator.device
        chosen = torch.randint(len(self), (rows,), generator=generator, device=device).cpu()
        states = (part[chosen].to(device) for part in (self.chosen, self.rejected, self.wins))
        return *states, self.task.condition(self.rows[chosen])  # type: ignore[return-value]  # three tensors

    def description(self) -> Mapping[str, object]:
        """A digest of the pairs, and how many there are."""
        parts = (self.chosen, self.rejected, self.wins, self.rows)
        digest = digest_of(part.cpu().contiguous().numpy().tobytes() for part in parts)
        return {"pairs": digest, "count": len(self)}


def made_pairs(
    pool: Pool,
    choice: PairChoice,
    reward: RewardChoice,
    judge: Reward,
    folder: Path,
    ties: str,
    made_by: Mapping[str, object] | None = None,
) -> LatentPairs:
    """Pairs of the model's own images, for the prompts of its evaluation.

    Arguments:
        pool: The images, as many as the choice counts.
        choice: The policy.
        reward: The choice of reward, which identifies the relabeler.
        judge: The reward itself.
        folder: Where edits are kept as they are made, see :class:`.PairSink`.
        ties: The rule.
        made_by: The maker of the images, as JSON: a folder of edits is of one maker.
    """
    if choice.policy in EDITS:
        return encoded(pool.studio, table_of_edits(pool, choice, reward, judge, folder, ties, made_by))
    generator, count = generator_of(pool.seed, LABELS), len(pool.rows)
    each = [pool.draw(k) for k in range(2 if choice.policy == "random" else choice.of)]
    rewards = torch.stack([_rewards(pool.studio, judge, x, pool.rows) for x in each]).double().cpu()
    chances = torch.ones(count)
    if choice.policy == "best":
        won, lost = rewards.argmax(dim=0), rewards.argmin(dim=0)
        tied = won == lost  # all rewards of a row are equal: nobody won
        lost = torch.where(tied, (won + 1) % choice.of, lost)
        chances[tied] = 0.5
    else:
        wins = torch.sigmoid(rewards[0] - rewards[1])
        first = torch.rand(count, generator=generator, dtype=torch.float64) < wins
        won, lost = (~first).long(), first.long()
    flipped = torch.rand(count, generator=generator) < choice.flips
    won, lost = torch.where(flipped, lost, won), torch.where(flipped, won, lost)
    stacked, places = torch.stack(each).cpu(), torch.arange(count)
    kept = places if ties == "half" else places[chances == 1.0]
    won, lost, chances, rows = won[kept], lost[kept], chances[kept], pool.rows.cpu()[kept]
    left_out = {"tie": count - len(kept)} if len(kept) < count else {}
    return LatentPairs(stacked[won, kept], stacked[lost, kept], chances, rows, pool.studio, left_out)


def table_of_edits(
    pool: Pool,
    choice: PairChoice,
    reward: RewardChoice,
    judge: Reward,
    folder: Path,
    ties: str,
    made_by: Mapping[str, object] | None = None,
) -> PairTable:
    """The pipeline of rules for digits on the model's own images, kept pair by pair; a kill loses none.

    Of what the folder holds only pairs of these images are taken.

    Raises:
        UnmetHypothesis: Another reward than thickness, or flipped labels, which a relabeler of rules does not make.
    """
    if reward.kind != "thickness" or choice.flips:
        got = f"reward = {reward.kind!r}, flips = {choice.flips!r}"
        hypothesis = "the reward is thickness, which the critic can read, and flips = 0"
        raise UnmetHypothesis("edits", hypothesis, got)
    feedback = RichFeedback(
        DigitCritic(reward.target),
        DigitInstructor(),
        DigitEditor(step=0.5),
        RewardRelabeler(judge, f"thickness {asdict(reward)}"),
        EDITS[choice.policy],
        seed=pool.seed,
    )
    studio, latents = pool.studio, pool.draw(0)
    made_with = feedback.description() | {"steps": studio.sampler.n_steps, "count": len(latents)}
    made_with["made_by"] = dict(made_by or {})
    mine = set[str]()
    with PairSink(folder, made_with) as sink:
        for start in range(0, len(latents), AT_ONCE):
            images = studio.images(latents[start : start + AT_ONCE]).cpu()
            rows = pool.rows[start : start + AT_ONCE].tolist()
            jobs = [
                Job(studio.task.prompts[row], image, "the model itself", start + k)
                for k, (row, image) in enumerate(zip(rows, images, strict=True))
            ]
            mine |= {job.key for job in jobs}
            feedback.run(jobs, sink)
        return read_pairs([row for row in sink.rows() if row["key"] in mine], ties)


def maker(model: PipelineModel, sampling: Sampling) -> dict[str, object]:
    """The maker of a pipeline's images, as JSON."""
    return {
        "kind": model.kind,
        "name": model.name,
        "vae": model.vae,
        "revision": model.revision,
        "side": model.side,
        "dtype": model.dtype,
        "guidance": model.guidance,
        "prompts": prompts_of(model),
        "sampling": asdict(sampling),
    }


def encoded(studio: Studio, table: PairTable, side: int | None = None) -> LatentPairs:
    """The pairs of a table as latents; images of another size are cut to the studio's."""
    device = next(studio.network.parameters()).device
    numbers = {prompt: number for number, prompt in enumerate(studio.task.prompts)}
    states = []
    for column in (table.chosen, table.rejected):
        parts = [
            studio.encode(
                torch.stack([tensor_of(one, side) for one in column[i : i + AT_ONCE]]).to(device)
            ).cpu()
            for i in range(0, len(column), AT_ONCE)
        ]
        states.append(torch.cat(parts))
    rows = torch.tensor([numbers[caption] for caption in table.captions])
    return LatentPairs(states[0], states[1], torch.tensor(table.wins), rows, studio, table.left_out)


def _rewards(studio: Studio, judge: Reward, latents: Tensor, rows: Tensor) -> Tensor:
    prompts = [studio.task.prompts[row] for row in rows.tolist()]
    found = [
        checked(judge, studio.images(latents[i : i + AT_ONCE]), prompts[i : i + AT_ONCE])
        for i in range(0, len(latents), AT_ONCE)
    ]
    return torch.cat(found)
