"""Prompts of a recipe: in it, or in a file with one a line."""

from __future__ import annotations

from pathlib import Path

from driftproof._namespace import UnmetHypothesis

__all__ = ["prompts_in"]


def prompts_in(file: str) -> tuple[str, ...]:
    """The prompts of a text file, one a line; blank lines do not count.

    Raises:
        FileNotFoundError: There is no such file.
        UnmetHypothesis: It has no prompt.
    """
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    prompts = tuple(line.strip() for line in lines if line.strip())
    if not prompts:
        raise UnmetHypothesis("prompts", "a prompt on some line of prompt_file", file)
    return prompts
