"""The server: who may call, what is answered, and which calls came.

Rules from Finnhub's documentation and issues (numbers of Finnhub-API): keys in a header or in the query; an empty key is told to
be over its quota (#122); an unknown symbol is answered with zeros (#363); what is not in the plan is 403.
"""

import asyncio
import json
import re
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from types import TracebackType
from typing import Self

from services.admin.embedded import find_free_port
from shared.settings import DEFAULT_TICKERS
from tests.fakes.finnhub.faults import LIMITED, Fault
from tests.fakes.finnhub.market_hours import NYSE_HOLIDAYS, Holiday, market_holidays, market_status
from tests.fakes.finnhub.quota import Quota, Rate
from tests.fakes.finnhub.quotes import UNKNOWN, Quote, RandomWalk
from tests.fakes.finnhub.wire import Answer, Request, Wire

ROOT = "/api/v1"
ANY_SYMBOL = "*"


@dataclass
class Call:
    """One request as it arrived."""

    at: float
    """By the fake's clock, in epoch seconds."""
    path: str
    """Without query."""
    symbol: str
    key: str
    key_in: str
    """"header", "query" or ""."""
    status: int
    """What was answered; 0: nothing."""


class FakeFinnhub:
    """`async with FakeFinnhub() as fake:` serves at `fake.base_url`, which is known before; it may be entered again, at the same port."""

    def __init__(
        self,
        *,
        key: str = "test-key",
        port: int = 0,
        host: str = "127.0.0.1",
        clock: Callable[[], float] = time.time,
        per_minute: int = 60,
        per_second: int = 30,
        symbols: Collection[str] | None = None,
        forbidden: Collection[str] = (),
        seed: int = 1,
        holidays: Collection[Holiday] = NYSE_HOLIDAYS,
        errors_as_text: bool = False,
    ) -> None:
        """Port 0: any. `symbols` None: the default tickers. `errors_as_text`: errors come as text/plain, their JSON unchanged."""
        self._host, self._port = host, port or find_free_port(host)
        self._key, self._clock, self._quota = key, clock, Quota(per_minute, per_second)
        self._forbidden, self._holidays = frozenset(forbidden), holidays
        self._error_type = "text/plain; charset=utf-8" if errors_as_text else "application/json"
        self._pages: dict[str, Callable[[Mapping[str, str], float], Answer]] = {
            f"{ROOT}/quote": self._quote,
            f"{ROOT}/stock/market-status": self._market_status,
            f"{ROOT}/stock/market-holiday": self._market_holiday,
        }
        self.base_url = f"http://{host}:{self._port}{ROOT}"
        self.calls: list[Call] = []
        """Every request, in order of arrival."""
        known = DEFAULT_TICKERS.split(",") if symbols is None else symbols
        self._walks = {symbol: RandomWalk(seed, symbol) for symbol in known}
        self._walked = {symbol: walk.step(clock()) for symbol, walk in self._walks.items()}
        self.quotes: dict[str, Quote] = dict(self._walked)
        """What each known symbol answers. One that is set stays as it is; the others walk on with each call."""
        self._faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._lasting_faults: dict[str, Fault] = {}
        self._arrived = asyncio.Event()
        self._server: asyncio.Server
        self._conversations: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []

    async def __aenter__(self) -> Self:
        # Not serving yet: a client may be there before this assignment.
        self._server = await asyncio.start_server(self._accept, self._host, self._port, start_serving=False)
        await self._server.start_serving()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._server.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)
        await self._server.wait_closed()
        if self._failures:
            raise BaseExceptionGroup("the fake itself failed", self._failures)

    def answer(self, symbol: str, *faults: Fault, always: bool = False) -> None:
        """Let the next calls for the symbol get these, one each, then what is usual again; with `always` the last one for ever.

        "*" is any symbol: the next calls, whichever they are for. "" is calls without one, such as for the market's status.
        """
        self._faults[symbol].extend(faults)
        if always:
            self._lasting_faults[symbol] = self._faults[symbol].pop()

    def heal(self) -> None:
        """Forget all faults; those that are being played go on."""
        self._faults.clear()
        self._lasting_faults.clear()

    async def wait_for_calls(self, n: int) -> None:
        """Wait until so many requests arrived since the beginning."""
        while len(self.calls) < n:
            self._arrived.clear()
            await self._arrived.wait()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._server.is_serving():
            writer.transport.abort()
            return
        conversation = asyncio.create_task(self._converse(Wire(reader, writer)), name="fake Finnhub")
        self._conversations.add(conversation)
        conversation.add_done_callback(self._finished)

    def _finished(self, conversation: asyncio.Task[None]) -> None:
        self._conversations.discard(conversation)
        if not conversation.cancelled() and (error := conversation.exception()):
            self._failures.append(error)

    async def _converse(self, wire: Wire) -> None:
        try:
            while request := await wire.receive():
                await self._respond(wire, request)
                if not wire.is_ready_for_the_next():
                    return
        except ConnectionError:
            pass  # clients hang up whenever they like
        finally:
            await wire.close()

    async def _respond(self, wire: Wire, request: Request) -> None:
        now = self._clock()
        key, key_in = _find_key(request)
        usual = self._usual_answer(request, key, now)
        symbol = request.query.get("symbol", "")
        fault = self._next_fault(symbol)
        told = usual.status if fault is None else fault.status(usual)
        self.calls.append(Call(now, request.path, symbol, key or "", key_in, told))
        self._arrived.set()
        await (wire.answer(usual) if fault is None else fault.play(wire, usual, now))

    def _next_fault(self, symbol: str) -> Fault | None:
        names = (symbol, ANY_SYMBOL) if symbol else (symbol,)
        for name in names:
            if self._faults[name]:
                return self._faults[name].popleft()
            if name in self._lasting_faults:
                return self._lasting_faults[name]
        return None

    def _usual_answer(self, request: Request, key: str | None, now: float) -> Answer:
        # The official client joins its base URL and path with two slashes.
        page = self._pages.get(re.sub("/+", "/", request.path))
        if page is None or request.method != "GET":
            rate, answer = self._quota.rate(now), Answer(HTTPStatus.NOT_FOUND, b"404 page not found\n", "text/plain; charset=utf-8")
        else:
            rate, refusal = self._admit(key, now)
            answer = refusal or page(request.query, now)
        return replace(answer, headers=rate.headers())

    def _admit(self, key: str | None, now: float) -> tuple[Rate, Answer | None]:
        """What is left of the quota, and the refusal if the key is no good or has none left."""
        if key == "":
            text = "API limit reached. Please sign up for a free account to continue using the API."
            return self._quota.exhausted(now), self._error(HTTPStatus.TOO_MANY_REQUESTS, text)
        if key != self._key:
            text = "Please use an API key." if key is None else "Invalid API key."
            return self._quota.rate(now), self._error(HTTPStatus.UNAUTHORIZED, text)
        rate = self._quota.take(now)
        return rate, Answer(HTTPStatus.TOO_MANY_REQUESTS, LIMITED, self._error_type) if rate.is_exceeded else None

    def _quote(self, query: Mapping[str, str], now: float) -> Answer:
        symbol = query.get("symbol")
        if not symbol:
            return self._error(HTTPStatus.UNPROCESSABLE_ENTITY, "Missing parameter symbol")
        if symbol in self._forbidden:
            return self._error(HTTPStatus.FORBIDDEN, "You don't have access to this resource.")
        return Answer(HTTPStatus.OK, self._walk_on(symbol, now).json())

    def _walk_on(self, symbol: str, now: float) -> Quote:
        quote = self.quotes.get(symbol, UNKNOWN)
        if symbol in self._walks and quote is self._walked[symbol]:
            quote = self.quotes[symbol] = self._walked[symbol] = self._walks[symbol].step(now)
        return quote

    def _market_status(self, query: Mapping[str, str], now: float) -> Answer:
        return self._refuse_exchange(query) or _json(market_status(now, self._holidays))

    def _market_holiday(self, query: Mapping[str, str], now: float) -> Answer:
        return self._refuse_exchange(query) or _json(market_holidays(self._holidays))

    def _refuse_exchange(self, query: Mapping[str, str]) -> Answer | None:
        match query.get("exchange"):
            case "US":
                return None
            case None | "":
                return self._error(HTTPStatus.UNPROCESSABLE_ENTITY, "Missing parameter exchange")
        return self._error(HTTPStatus.FORBIDDEN, "You don't have access to this resource.")

    def _error(self, status: HTTPStatus, text: str) -> Answer:
        return replace(_json({"error": text}), status=status, content_type=self._error_type)


def _find_key(request: Request) -> tuple[str | None, str]:
    """The key, None if none is given, and where it was; a header goes before the query."""
    if "x-finnhub-token" in request.headers:
        return request.headers["x-finnhub-token"], "header"
    if "token" in request.query:
        return request.query["token"], "query"
    return None, ""


def _json(value: object) -> Answer:
    return Answer(HTTPStatus.OK, json.dumps(value, separators=(",", ":")).encode())
