"""The roles played by a vision-language model behind the chat protocol of OpenAI, which vLLM, llama.cpp and others serve.

A judge is asked in both orders, so that its bias for a place cancels.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

from torch import Tensor

from driftproof._namespace import UnmetHypothesis

from .table import image_bytes

__all__ = ["ChatCritic", "ChatInstructor", "ChatJudge", "ChatServer", "NonsenseAnswer"]

WAIT_AGAIN: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_ANSWER: Final = re.compile(r"\s*(?:(?:image\s*)?([12])|(tie))\s*[.!]?\s*", re.IGNORECASE)


class _Unmoved(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key is for one server."""

    def redirect_request(self, *arguments: Any) -> None:
        """None: the redirect is an error."""


_OPENER: Final = urllib.request.build_opener(_Unmoved)


class NonsenseAnswer(ValueError):
    """The answer of the model has another form than the question requires."""


@final
@dataclass(frozen=True)
class ChatServer:
    """A server, and how patient one is with it.

    Arguments:
        url: Up to and with ``/v1``.
        model: Its name there.
        key: Sent as a bearer token where it is not empty; it is recorded nowhere.
        timeout: Seconds for an answer, > 0.
        attempts: How often a question is asked where the server is busy, slow or gone, >= 1.
        pause: Seconds before the second attempt; twice as many before each further one.
        max_tokens: The largest length of an answer.

    Raises:
        UnmetHypothesis: Numbers out of range, or an address that is not http, or that names a user.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout: float = 60.0
    attempts: int = 3
    pause: float = 1.0
    max_tokens: int = 512

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise UnmetHypothesis("ChatServer", "url begins with http:// or https://", "another beginning")
        if "@" in urllib.parse.urlsplit(self.url).netloc:  # errors show the url
            raise UnmetHypothesis(
                "ChatServer", "url names no user, for a key is given as key", "an @ before the host"
            )
        if not (self.timeout > 0.0 and self.attempts >= 1 and self.pause >= 0.0 and self.max_tokens >= 1):
            hypothesis = "timeout > 0, attempts >= 1, pause >= 0 and max_tokens >= 1"
            raise UnmetHypothesis("ChatServer", hypothesis, repr(self))

    def ask(self, text: str, images: Sequence[Tensor] = ()) -> str:
        """The answer to a text and images, at temperature 0.

        Raises:
            TimeoutError: No answer in time, at any attempt.
            OSError: The server is gone, or refuses.
            NonsenseAnswer: What came is no answer of this protocol.
        """
        parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
        for image in images:
            data = base64.b64encode(image_bytes(image)).decode()
            parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}})
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": parts}],
            "temperature": 0.0,
            "max_tokens": self.max_tokens,
        }
        answer = self._posted(json.dumps(body).encode())
        try:
            choice = json.loads(answer)["choices"][0]
            content, end = choice["message"]["content"], choice.get("finish_reason")
        except (ValueError, KeyError, IndexError, TypeError):
            raise NonsenseAnswer(f"expected a chat completion, got {answer[:80]!r}") from None
        if not isinstance(content, str) or not content.strip():
            raise NonsenseAnswer(f"expected a text, got {content!r:.80}")
        if end == "length":
            raise NonsenseAnswer(f"expected an end within {self.max_tokens} tokens, got {content!r:.80}")
        return content

    def _posted(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", body, headers)
        for attempt in range(self.attempts):
            last = attempt + 1 == self.attempts
            try:
                return self._read(request)
            except urllib.error.HTTPError as error:
                if last or error.code not in WAIT_AGAIN:
                    raise OSError(f"{self.url} answers {error.code} {error.reason}") from None
            except (TimeoutError, urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
                if last:
                    raise self._gone(error) from None
            time.sleep(self.pause * 2.0**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _read(self, request: urllib.request.Request) -> bytes:
        """The body.  The timeout of a socket is that of each read; the deadline is for all of them."""
        deadline, parts = time.monotonic() + self.timeout, list[bytes]()
        with _OPENER.open(request, timeout=self.timeout) as reply:
            while part := reply.read1(1 << 16):
                parts.append(part)
                if time.monotonic() > deadline:
                    raise TimeoutError
            if reply.length:  # the rest of Content-Length
                raise http.client.IncompleteRead(b"".join(parts), reply.length)
        return b"".join(parts)

    def _gone(self, error: Exception) -> OSError:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            return TimeoutError(f"{self.url} gave no answer in {self.timeout:g} s, {self.attempts} times")
        return ConnectionError(f"{self.url} cannot be reached ({type(reason).__name__}: {reason})")


def _named(server: ChatServer) -> str:
    return f"{server.model}, {server.max_tokens} tokens"


@final
class ChatCritic:
    """Asks for a critique of an image."""

    def __init__(self, server: ChatServer) -> None:
        self.server, self.version = server, f"chat critic 2, {_named(server)}"

    def criticise(self, image: Tensor, prompt: str) -> str:
        """The critique."""
        question = (
            f'This image was made for the prompt: "{prompt}". Say in one to four sentences what does not match the '
            "prompt or looks wrong, and name only what can be seen."
        )
        return self.server.ask(question, [image]).strip()


@final
class ChatInstructor:
    """Asks for instructions that follow from a critique, as a JSON list."""

    def __init__(self, server: ChatServer, most: int = 4) -> None:
        if most < 1:
            raise UnmetHypothesis("ChatInstructor", "most >= 1", f"most = {most!r}")
        self.server, self.most = server, most
        self.version = f"chat instructor 2, {_named(server)}, at most {most}"

    def instruct(self, critique: str, prompt: str) -> list[str]:
        """The instructions.

        Raises:
            NonsenseAnswer: The answer is no JSON list of texts.
        """
        question = (
            f'An image for the prompt "{prompt}" was criticised: "{critique}" Answer with a JSON list of at most '
            f"{self.most} short instructions for an image editor, and nothing else; [] where nothing is to be done."
        )
        answer = self.server.ask(question)
        inner = answer[answer.find("[") : answer.rfind("]") + 1]  # models put lists into fences
        try:
            found = json.loads(inner)
        except ValueError:
            found = None
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise NonsenseAnswer(f"expected a JSON list of instructions, got {answer!r:.80}")
        return found[: self.most]


@final
class ChatJudge:
    """Asks which of two images is better, in both orders.

    A judge that names the same place twice has said nothing about the images: 1/2.
    """

    def __init__(self, server: ChatServer) -> None:
        self.server, self.version = server, f"chat judge 2, {_named(server)}, both orders"

    def prefer(self, prompt: str, first: Tensor, second: Tensor) -> float:
        """The probability that the first one wins: 0, 1/4, 1/2, 3/4 or 1.

        Raises:
            NonsenseAnswer: An answer is neither 1 nor 2 nor a tie.
        """
        return 0.5 * (self._first(prompt, first, second) + 1.0 - self._first(prompt, second, first))

    def _first(self, prompt: str, shown_first: Tensor, shown_second: Tensor) -> float:
        question = (
            f'Two images were made for the prompt: "{prompt}". Which one matches it better and looks better? '
            "Answer with 1, 2 or tie, and nothing else."
        )
        answer = self.server.ask(question, [shown_first, shown_second])
        if (match := _ANSWER.fullmatch(answer)) is None:
            raise NonsenseAnswer(f"expected 1, 2 or tie, got {answer!r:.80}")
        return 0.5 if match[2] else float(match[1] == "1")
