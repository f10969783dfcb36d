"""A vision-language model behind the chat protocol: asked in both orders, patient with a server, strict with answers."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
for needed in ("accelerate", "datasets", "PIL", "pydantic"):
    pytest.importorskip(needed)

from driftproof import UnmetHypothesis
from driftproof.backends.torch.preferences import (
    ChatCritic,
    ChatInstructor,
    ChatJudge,
    ChatServer,
    NonsenseAnswer,
    read_pairs,
)
from driftproof.backends.torch.preferences.table import tensor_of
from driftproof.backends.torch.pretrained.digits import thickness
from tests.feedback_roles import bar, feedback, jobs, sink


class Stand(BaseHTTPRequestHandler):
    """A server of the chat protocol whose answers are a function of what it is asked."""

    answer: Callable[[str, list[torch.Tensor]], Any]
    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append({**body, "path": self.path, "key": self.headers.get("Authorization")})
        parts = body["messages"][0]["content"]
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        images = [tensor_of(base64.b64decode(url.partition(",")[2])) for url in urls]
        found = type(self).answer(parts[0]["text"], images)
        code, content, *headers = (
            found if isinstance(found, tuple) else (200, {"choices": [{"message": {"content": found}}]})
        )
        sent = content if isinstance(content, bytes | Iterator) else json.dumps(content).encode()
        try:
            self.send_response(code)
            for name, value in headers[0].items() if headers else ():
                self.send_header(name, value)
            self.end_headers()
            for part in content if isinstance(content, Iterator) else [sent]:
                self.wfile.write(part)
        except OSError:
            pass  # whoever asked has gone

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(
    answer: Callable[[str, list[torch.Tensor]], Any], **options: Any
) -> Iterator[tuple[ChatServer, Any]]:
    handler = type("Here", (Stand,), {"answer": staticmethod(answer), "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        yield ChatServer(url, "stand-in", **{"timeout": 5.0, "pause": 0.0, **options}), handler
    finally:
        server.shutdown()
        server.server_close()


def thicker(text: str, images: Sequence[torch.Tensor]) -> str:
    first, second = (float(thickness(image[None])) for image in images)
    return "1" if first > second else "Image 2."


def test_a_judge_sees_the_images_in_both_orders() -> None:
    with served(thicker, key="secret") as (server, handler):
        judge = ChatJudge(server)
        assert (judge.prefer("a bar", bar(4), bar(2)), judge.prefer("a bar", bar(2), bar(4))) == (1.0, 0.0)
        assert len(handler.asked) == 4
        one = handler.asked[0]
        assert (one["path"], one["model"], one["temperature"], one["key"]) == (
            "/v1/chat/completions",
            "stand-in",
            0.0,
            "Bearer secret",
        )
        assert '"a bar"' in one["messages"][0]["content"][0]["text"]
    assert "secret" not in repr(server) and "secret" not in judge.version


@pytest.mark.parametrize(("answer", "wins"), [("1", 0.5), ("2", 0.5), ("tie", 0.5), ("Tie.", 0.5)])
def test_a_judge_that_looks_at_the_place_alone_says_nothing(answer: str, wins: float) -> None:
    with served(lambda text, images: answer) as (server, _):
        assert ChatJudge(server).prefer("a bar", bar(4), bar(2)) == wins


@pytest.mark.parametrize(
    "answer",
    [
        "I cannot compare them",
        "1 and 2 are equally good",
        "2 images",
        "1.5",
        "1st",
        "12",
        "",
        None,
        ["1"],
        (200, b"<html>"),
        (200, {"choices": []}),
    ],
)
def test_nonsense_of_a_judge_is_no_label(answer: Any) -> None:
    with served(lambda text, images: answer) as (server, _), pytest.raises(NonsenseAnswer, match="expected"):
        ChatJudge(server).prefer("a bar", bar(4), bar(2))


def test_a_busy_server_is_asked_again_and_a_strict_one_is_not() -> None:
    codes = iter([503, 429])

    def busy(text: str, images: Sequence[torch.Tensor]) -> Any:
        code = next(codes, 200)
        return "fine" if code == 200 else (code, b"")

    with served(busy) as (server, handler):
        assert server.ask("?") == "fine" and len(handler.asked) == 3
    with (
        served(lambda text, images: (401, b"")) as (server, handler),
        pytest.raises(OSError, match="answers 401"),
    ):
        try:
            server.ask("?")
        finally:
            assert len(handler.asked) == 1


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with served(lambda text, images: "yes") as (elsewhere, other):
        there = {"Location": f"{elsewhere.url}/chat/completions"}
        with (
            served(lambda text, images: (302, b"", there), key="secret") as (server, _),
            pytest.raises(OSError, match="answers 302"),
        ):
            server.ask("?")
        assert other.asked == []


def test_an_answer_that_is_cut_or_comes_in_drops_is_none() -> None:
    whole = {"choices": [{"message": {"content": "1"}, "finish_reason": "length"}]}
    with (
        served(lambda text, images: (200, whole)) as (server, _),
        pytest.raises(NonsenseAnswer, match="an end within 512 tokens"),
    ):
        server.ask("?")

    def drops() -> Iterator[bytes]:
        for byte in json.dumps(whole).encode():
            yield bytes([byte])
            time.sleep(0.05)

    with (
        served(lambda text, images: (200, drops()), timeout=0.2, attempts=1) as (server, _),
        pytest.raises(TimeoutError, match=r"0\.2 s"),
    ):
        server.ask("?")
    with (
        served(lambda text, images: (200, b"{}", {"Content-Length": "9"}), attempts=1) as (server, _),
        pytest.raises(ConnectionError, match="IncompleteRead"),
    ):
        server.ask("?")


def test_no_secret_is_shown_and_versions_tell_answers_apart() -> None:
    with pytest.raises(UnmetHypothesis, match="names no user") as told:
        ChatServer("http://me:secret@x/v1", "m")
    assert "secret" not in str(told.value)
    short, long = (ChatServer("http://x/v1", "m", max_tokens=tokens) for tokens in (8, 512))
    for role in (ChatCritic, ChatInstructor, ChatJudge):
        assert role(short).version != role(long).version


def test_a_server_that_is_slow_or_gone_is_told() -> None:
    def slow(text: str, images: Sequence[torch.Tensor]) -> str:
        time.sleep(0.4)
        return "too late"

    with (
        served(slow, timeout=0.1, attempts=2) as (server, _),
        pytest.raises(TimeoutError, match=r"0\.1 s, 2 times"),
    ):
        server.ask("?")
    with pytest.raises(ConnectionError, match="cannot be reached"):
        ChatServer("http://127.0.0.1:9/v1", "nobody", attempts=1).ask("?")


@pytest.mark.parametrize("options", [{"timeout": 0.0}, {"attempts": 0}, {"pause": -1.0}, {"url": "ftp://x"}])
def test_a_server_is_described_soundly(options: dict[str, Any]) -> None:
    with pytest.raises(UnmetHypothesis, match="ChatServer"):
        ChatServer(**{"url": "http://x/v1", "model": "m", **options})


def test_the_whole_pipeline_with_a_server(tmp_path: Path) -> None:
    """Critic, instructor and judge behind one server; the answer to one image is nonsense, the judge is slow once."""
    seen = {"critics": 0}

    def answer(text: str, images: list[torch.Tensor]) -> Any:
        if len(images) == 2:
            return thicker(text, images)
        if images:
            seen["critics"] += 1
            return "   " if seen["critics"] == 2 else "The stroke is too thin."
        return '```json\n["thicken the stroke by 2.00 pixels"]\n```'

    with served(answer) as (server, _):
        made = feedback(
            critic=ChatCritic(server),
            instructor=ChatInstructor(server),
            relabeler=ChatJudge(server),
            labels="filtered",
        )
        with sink(tmp_path, made) as kept:
            assert made.run(jobs(4), kept) == {"kept": 3, "critic failed": 1}
            table = read_pairs(kept.rows())
    assert len(table) == 3 and table.left_out == {"critic failed": 1}


@pytest.mark.parametrize("answer", ["do it", '["a", 3]', '{"a": 1}', "[unclosed"])
def test_instructions_that_are_none_are_refused(answer: str) -> None:
    with served(lambda text, images: answer) as (server, _), pytest.raises(NonsenseAnswer, match="JSON list"):
        ChatInstructor(server).instruct("too thin", "a bar")
