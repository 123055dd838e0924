"""Asks Finnhub for quotes over HTTP: every call ends within its time, and no answer is read beyond what a quote can be."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
from pydantic import SecretStr

from services.fetcher.providers.finnhub import KEY_HEADER, Outcome, Quote, Refusal, read_answer

MOST_BODY_BYTES = 64 * 1024
"""A quote has about 100."""
MOST_CONNECTIONS = 100
"""More than the quota lets begin within the time of a call: none ever waits for another."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@asynccontextmanager
async def open_finnhub(base_url: str, key: SecretStr, *, call_seconds: float, now: Callable[[], float]) -> AsyncIterator["FinnhubRest"]:
    """A client for quotes; `now` gives epoch seconds."""
    limits, trust = httpx.Limits(max_connections=MOST_CONNECTIONS, keepalive_expiry=90), httpx.create_ssl_context()
    local = httpx.AsyncHTTPTransport(limits=limits, verify=trust)
    # Redirects are not followed: the key would go along. Answers are asked for uncompressed: a few bytes may unpack to gigabytes.
    async with httpx.AsyncClient(
        base_url=base_url,
        headers={KEY_HEADER: key.get_secret_value(), "Accept": "application/json", "Accept-Encoding": "identity"},
        timeout=None,
        limits=limits,
        verify=trust,
        # A proxy for outgoing traffic has no business between us and a provider on this machine.
        mounts={f"all://[{host}]" if ":" in host else f"all://{host}": local for host in LOOPBACK},
    ) as client:
        yield FinnhubRest(client, call_seconds, now)


class FinnhubRest:
    """The calls; never raises for what the provider does."""

    def __init__(self, client: httpx.AsyncClient, call_seconds: float, now: Callable[[], float]) -> None:
        self._client = client
        self._call_seconds = call_seconds
        self._now = now

    async def quote(self, ticker: str) -> Quote | Refusal:
        """Ask for the price of a ticker."""
        try:
            # httpx' own limits are for each read: one byte a second would never reach them.
            async with asyncio.timeout(self._call_seconds):
                return await self._ask(ticker)
        except TimeoutError:
            return Refusal(Outcome.TIMEOUT, f"no whole answer within {self._call_seconds:g} s")
        except httpx.HTTPError as error:
            return Refusal(Outcome.UNREACHABLE, f"{type(error).__name__}: {error}".rstrip(": "))

    async def _ask(self, ticker: str) -> Quote | Refusal:
        async with self._client.stream("GET", "quote", params={"symbol": ticker}) as response:
            if response.headers.get("content-encoding", "identity") != "identity":
                return Refusal(Outcome.MALFORMED, "compressed although it was asked for plain")
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MOST_BODY_BYTES:
                    return Refusal(
                        Outcome.MALFORMED, f"longer than {MOST_BODY_BYTES} bytes", payload=body[:4096].decode("utf-8", "replace")
                    )
            return read_answer(response.status_code, response.headers, body, self._now())
