"""A TCP proxy between a client and Redis that loses what it is told to lose."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit


class FaultProxy:
    """Forwards both ways. What is to be lost is named by a word of the request, such as the name of a function."""

    def __init__(self, upstream_url: str) -> None:
        upstream = urlsplit(upstream_url)
        self._upstream = upstream
        self.url = ""
        self.lose_request_with = b""
        """The connection is cut when such a request comes, and Redis never sees it."""
        self.lose_answer_to = b""
        """Redis gets such a request, and the connection is cut when it answers."""
        self.double_request_with = b""
        """Redis gets such a request twice, and answers twice."""
        self.mute = False
        """Nothing that Redis says is passed on."""
        self.lost = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FaultProxy"]:
        """Listen on a port of loopback, at `url`."""
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            self.url = urlunsplit(self._upstream._replace(netloc=f"127.0.0.1:{port}"))
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
        is_doomed = asyncio.Event()
        ways = [
            asyncio.create_task(self._requests(reader, redis_writer, is_doomed)),
            asyncio.create_task(self._answers(redis_reader, writer, is_doomed)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()
            redis_writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_doomed: asyncio.Event) -> None:
        while data := await reader.read(1 << 20):
            if self.lose_request_with and self.lose_request_with in data:
                self.lost += 1
                return
            if self.lose_answer_to and self.lose_answer_to in data:
                is_doomed.set()
            is_doubled = self.double_request_with and self.double_request_with in data
            writer.write(data * (2 if is_doubled else 1))

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_doomed: asyncio.Event) -> None:
        while data := await reader.read(1 << 20):
            if is_doomed.is_set():
                self.lost += 1
                return
            if not self.mute:
                writer.write(data)
