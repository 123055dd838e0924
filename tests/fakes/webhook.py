"""A webhook as Discord's: it takes `{"content": "…"}` with a 204, and answers something else when a test says so.

Like many servers it repeats the path, which is the secret, in the body of an error.
"""

import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple, Self

SECRET = "s3cr3t-t0ken"
TAKEN = HTTPStatus.NO_CONTENT


class Answer(NamedTuple):
    """What a post is answered; `retry_after` is the header's text, left out if it is empty."""

    status: int = TAKEN
    retry_after: str = ""


class FakeWebhook:
    """`with FakeWebhook() as webhook:` serves at `webhook.url`."""

    def __init__(self) -> None:
        self.answer: Callable[[int], Answer] = lambda number: Answer()
        """To the n-th post, from 1."""
        self.posts = 0
        self.taken: list[str] = []
        """Contents that were answered with 204."""
        self.may_answer = threading.Event()
        """While it is not set, posts that have come wait for their answer."""
        self.may_answer.set()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self._server.server_port}/api/webhooks/1/{SECRET}"

    def take(self, body: bytes) -> Answer:
        """Judge a post."""
        with self._lock:
            self.posts += 1
            answer = self.answer(self.posts)
            fields = json.loads(body)
            assert list(fields) == ["content"]
            if answer.status == TAKEN:
                self.taken.append(fields["content"])
        self.may_answer.wait()
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                answer = webhook.take(self.rfile.read(int(self.headers["Content-Length"])))
                body = b"" if answer.status == TAKEN else f"Cannot POST {self.path}".encode()
                self.send_response(answer.status)
                if answer.retry_after:
                    self.send_header("Retry-After", answer.retry_after)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
