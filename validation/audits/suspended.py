"""A function that calls another one, stopped at each of its calls.

The function runs in a thread of its own, and only one of the two sides runs at any time.  A thread and not a coroutine
that shares one: what torch keeps for each thread (whether gradients are on, who answers draws) stays the function's
own, nothing has to be saved at a stop, and the call may come from any thread that the function uses.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, final

__all__ = ["Suspended"]


class _Ended(BaseException):
    """Raised at a call that nobody answers any more; no handler of errors is meant to catch it."""


@final
class Suspended:
    """``function(ask)``, stopped wherever it calls ``ask``.

    Example:
        >>> run = Suspended(lambda ask: ask(1) + ask(2))
        >>> run.resume()
        (1,)
        >>> run.resume(10)
        (2,)
        >>> run.resume(20), run.returned
        (None, 30)
    """

    def __init__(self, function: Callable[[Callable[..., Any]], Any]) -> None:
        self._function = function
        self._asked: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._closed = self._done = False
        self.returned: Any = None

    def resume(self, answer: Any = None) -> tuple[Any, ...] | None:
        """Answer the call at which it stopped, or begin; the arguments of its next call, None where it has returned.

        Raises:
            Exception: Whatever the function raises.
            RuntimeError: It has ended.
        """
        if self._closed or self._done:
            raise RuntimeError("a function that has ended cannot be resumed")
        if self._thread is None:
            context = contextvars.copy_context()
            self._thread = threading.Thread(target=context.run, args=(self._main,), daemon=True)
            self._thread.start()
        else:
            self._answers.put((answer,))
        asked = self._asked.get()
        if asked is None:
            self._done = True
            self._thread.join()
            if self._error is not None:
                raise self._error
        return asked

    def close(self) -> None:
        """End it where it stopped; a function that goes on at that is left alone."""
        self._closed = True
        if self._thread is not None and self._thread.is_alive():
            self._answers.put(())
            self._thread.join(timeout=1.0)

    def _main(self) -> None:
        try:
            self.returned = self._function(self._ask)
        except BaseException as error:  # noqa: BLE001  # raised again where it is resumed
            self._error = error
        finally:
            self._asked.put(None)

    def _ask(self, *arguments: Any) -> Any:
        if self._closed:
            raise _Ended
        self._asked.put(arguments)
        answer = self._answers.get()
        if not answer:
            raise _Ended
        return answer[0]
