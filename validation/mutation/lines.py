"""Which lines run: of given files, until the recording ends.

From Python 3.12 on the interpreter tells of each line once (``sys.monitoring``), at next to no cost.  Before,
a trace function looks at every call, and at the lines of a function until all of them have been seen.  Both
are in the standard library; ``coverage`` would do the same behind an interface made for whole runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

__all__ = ["Lines", "recorded"]

# The lines that ran, by the name of the module.
Lines = dict[str, set[int]]


@contextmanager
def recorded(files: Mapping[str, str]) -> Iterator[Lines]:
    """Record the lines that the body runs, of this thread.

    Arguments:
        files: Names of modules by their files, as code objects have them.
    """
    seen: Lines = {}
    begin, end = _monitored(files, seen) if sys.version_info >= (3, 12) else _traced(files, seen)
    begin()
    try:
        yield seen
    finally:
        end()


def _traced(files: Mapping[str, str], seen: Lines) -> tuple[Any, Any]:
    left: dict[CodeType, set[int]] = {}

    def of_call(frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        if (module := files.get(code.co_filename)) is None:
            return None
        if code not in left:
            left[code] = {line for _, _, line in code.co_lines() if line}
        lines, missing = seen.setdefault(module, set()), left[code]
        if not missing:
            return None

        def of_line(frame: FrameType, event: str, arg: Any) -> Any:
            lines.add(frame.f_lineno)
            missing.discard(frame.f_lineno)
            return of_line

        return of_line

    before = sys.gettrace()
    return lambda: sys.settrace(of_call), lambda: sys.settrace(before)


def _monitored(files: Mapping[str, str], seen: Lines) -> tuple[Any, Any]:
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    tool = next(number for number in (3, 4, 5, 1) if monitoring.get_tool(number) is None)

    def of_line(code: CodeType, line: int) -> Any:
        if (module := files.get(code.co_filename)) is not None:
            seen.setdefault(module, set()).add(line)
        return monitoring.DISABLE

    def begin() -> None:
        monitoring.use_tool_id(tool, "driftproof")
        monitoring.register_callback(tool, monitoring.events.LINE, of_line)
        monitoring.set_events(tool, monitoring.events.LINE)
        monitoring.restart_events()  # what an earlier recording has seen is reported again

    def end() -> None:
        monitoring.set_events(tool, 0)
        monitoring.register_callback(tool, monitoring.events.LINE, None)
        monitoring.free_tool_id(tool)

    return begin, end
