"""Text for exceptions and values: never too long, and never an exception of its own."""

from __future__ import annotations

import traceback

__all__ = ["brief", "said", "traced"]

LIMIT = 2000


def brief(text: str, limit: int = LIMIT) -> str:
    """Both ends of a long text, in characters that every stream can encode.

    Example:
        >>> brief("a" * 50, limit=20)
        'aaaaaaaaaa[... 50 characters ...]aaaaaaaaaa'
    """
    if len(text) > limit:
        text = f"{text[: limit // 2]}[... {len(text)} characters ...]{text[-(limit // 2) :]}"
    return text.encode("utf-8", "backslashreplace").decode()


def said(error: BaseException) -> str:
    """The exception as ``Type: message``, whatever its message does when it is asked for.

    Example:
        >>> said(ValueError("negative"))
        'ValueError: negative'
    """
    try:
        message = str(error)
    except BaseException as second:  # noqa: BLE001  # the exceptions of others may raise anything, exits included
        message = f"(its message raises {type(second).__name__})"
    return brief(f"{type(error).__name__}: {message}".strip())


def traced(error: BaseException) -> str:
    """Its message, then where it came from, without directories."""
    lines = [said(error)]
    for frame in traceback.extract_tb(error.__traceback__)[-3:]:
        name = frame.filename.replace("\\", "/").rsplit("/", 1)[-1]
        lines.append(f"{name}:{frame.lineno} in {frame.name}: {frame.line}")
    return brief("\n".join(lines).strip(), 2 * LIMIT)
