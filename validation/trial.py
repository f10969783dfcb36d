"""One piece of evidence on what is under test: what it is given, and its verdict over examples and cases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, final

import numpy as np

from .evidence.base import Effort, Evidence, Setting, Thing, Verdict
from .evidence.chance import share
from .missing import absent
from .statements import Claim
from .telling import brief, said

__all__ = ["Plan", "Trial"]


@final
@dataclass(frozen=True)
class Plan:
    """What all claims of a run share.

    Arguments:
        seed: Everything random derives from it.
        effort: How much may be spent.
        weight: Total weight of the statistical evidence of the registry, selected or not.
        figures: Whether figures are drawn.
    """

    seed: int = 0
    effort: Effort = Effort.NORMAL
    weight: float = 1.0
    figures: bool = False

    def rng(self, *names: str) -> np.random.Generator:
        """A generator of its own for each tuple of names, the same in every process and order."""
        digest = sha256("::".join(names).encode()).digest()
        words = np.frombuffer(digest, dtype=np.uint32)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, *map(int, words)])))

    def alpha(self, evidence: Evidence) -> float | None:
        """The share of the error budget of this evidence."""
        return share(evidence.weight, self.weight) if evidence.weight else None


class _Broken(Exception):
    """The evidence broke on this example: carries the verdict through Hypothesis."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict


@final
class Trial:
    """One piece of evidence: calls it on its cases, once or on each example that Hypothesis draws."""

    def __init__(
        self,
        claim: Claim,
        evidence: Evidence,
        things: Mapping[str, Thing],
        plan: Plan,
        hunting: bool,
        swept: bool,
    ) -> None:
        self.claim, self.evidence, self.things, self.plan = claim, evidence, things, plan
        self.hunting, self.swept = hunting, swept
        self.count = 0
        self.shown: str | None = None
        self._held: list[Verdict] = []
        self._crash: BaseException | None = None

    def verdict(self) -> Verdict:
        kind = self.evidence.kind
        try:
            if not self.evidence.drawn:
                return kind.conclude([self._once({})])
            self._on_examples()
        except _Broken as broken:
            return broken.verdict
        except self.evidence.breaks_on as error:
            return _raised(error)
        if self._crash is not None:
            raise self._crash
        self.shown = None
        return kind.conclude(self._held)

    def _once(self, example: dict[str, Any]) -> Verdict:
        names = (self.claim.id, self.evidence.name)
        rng, alpha = self.plan.rng(*names), self.plan.alpha(self.evidence) or 0.0
        given = {"rng": rng, "alpha": alpha, "n": self.plan.effort.samples(self.evidence.n or 1)}
        wanted = {name: given[name] for name in self.evidence.wants}
        return self.evidence.judged(self.things, {**wanted, **example}, Setting(alpha, self.hunting))

    def _on_examples(self) -> None:
        from .examples import search

        def body(example: dict[str, Any]) -> None:
            self.count += 1
            self.shown = ", ".join(f"{name} = {_brief(value)}" for name, value in example.items())
            try:
                verdict = self._once(example)
            except self.evidence.breaks_on as error:
                raise _Broken(_raised(error)) from error
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a crash of any kind, as below
                if self.hunting and absent(error) is None:
                    self._crash = (
                        self._crash or error
                    )  # a mutant that crashes here may still be caught elsewhere
                    return
                raise
            if verdict.ok is False:
                raise _Broken(verdict)
            self._held.append(verdict)

        # The sweep alone settles a mutant, so that no seed lets one go by.
        drawn = int(self.plan.rng(self.claim.id, self.evidence.name, "examples").integers(2**63))
        for seed in (None,) * (not self.swept) + (drawn,) * (not self.hunting):
            search(
                body,
                strategies=self.evidence.drawn,
                predicates=[] if self.evidence.kind.name == "boundary" else _predicates(self.claim),
                examples=self.plan.effort.examples(self.evidence.examples),
                seed=seed,
                shrink=not self.hunting,
            )


def _raised(error: BaseException) -> Verdict:
    return Verdict(False, math.inf, math.inf, detail=f"raised {said(error)}")


def _predicates(claim: Claim) -> list[Any]:
    return [predicate for predicate in claim.hypotheses.values() if predicate is not None]


def _brief(value: object) -> str:
    return brief(repr(value), 400)
