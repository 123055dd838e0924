"""Who may see what, with GATEWAY_AUTH=jwt: the three ways to show a token, what it allows, and how long."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from services.gateway.entrance import Bounds
from tests.integration.gateway.client import Client
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import Market
from tests.integration.gateway.raw import frame, raw, request
from tests.integration.gateway.test_gateway_endings import close_of
from tests.integration.gateway.test_gateway_metrics import gain, now, until
from tests.keys import ED25519, RSA, SECRET, part, public_pem, sign

BOUNDS = Bounds(token_seconds=30.0)


def with_key(key: str = SECRET) -> dict[str, Any]:
    return {"gateway_auth": "jwt", "gateway_jwt_key": SecretStr(key), "bounds": BOUNDS}


@pytest.fixture
async def guarded(market: Market, redis_url: str) -> AsyncIterator[int]:
    """The port of a gateway that wants tokens of HS256; afterwards no place is taken."""
    for ticker in ("AAPL", "KO", "MSFT"):
        await market.trade(ticker, "1")
    async with running_gateway(redis_url, **with_key()) as port:
        yield port
        await until(lambda: now("clients") == now("handshakes") == 0)
    assert now("subscriptions") == 0


class Holder(Client):
    """A client that shows its token in the handshake."""

    def __init__(self, port: int, token: str, query: str = "") -> None:
        super().__init__(port, query)
        self._headers = {"Authorization": f"Bearer {token}"}

    async def __aenter__(self) -> "Holder":
        self.websocket = await connect(self.url, proxy=None, ping_interval=None, additional_headers=self._headers)
        return self


def tickers_of(message: dict[str, Any]) -> set[str]:
    return {stock["ticker"] for stock in message["stocks"]}


@pytest.mark.parametrize(("key", "signing", "algorithm"), [(public_pem(RSA), RSA, "RS256"), (public_pem(ED25519), ED25519, "EdDSA")])
async def test_token_of_the_issuers_private_key_lets_in(market: Market, redis_url: str, key: str, signing: Any, algorithm: str) -> None:
    async with running_gateway(redis_url, **with_key(key)) as port:
        async with Holder(port, sign({}, signing, algorithm)) as client:
            assert (await client.receive())["snapshot"]
        async with Holder(port, sign({})) as forged:
            assert (await close_of(forged))[0] == 4401


async def test_token_may_come_as_a_subprotocol_and_is_not_echoed(guarded: int) -> None:
    token = sign({})
    offered = [Subprotocol("bearer"), Subprotocol(token)]
    async with connect(f"ws://127.0.0.1:{guarded}/ws/stocks/", proxy=None, subprotocols=offered) as client:
        assert client.subprotocol == "bearer"
        assert client.response is not None
        assert token not in str(client.response.headers)
        assert json.loads(await client.recv())["snapshot"]


async def test_token_may_be_the_first_message_and_before_it_nothing_is_sent_or_obeyed(market: Market, guarded: int) -> None:
    async with Client(guarded, "?tickers=KO") as client:
        for action in ("subscribe", "ping", "nonsense"):
            await client.send(action=action, tickers=["*"])
            assert (await client.receive())["code"] == "unauthorized"
        await market.trade("KO", "2")
        await client.send(action="auth", token=sign({}))
        first = await client.receive()
        assert (first["snapshot"], tickers_of(first)) == (True, {"KO"})


async def test_who_shows_no_token_in_time_is_sent_away(market: Market, redis_url: str) -> None:
    missing = gain("refused_total", reason="token_missing")
    async with running_gateway(redis_url, **{**with_key(), "bounds": Bounds(token_seconds=0.3)}) as port:
        async with Client(port) as silent, Client(port) as talking:
            await talking.send(action="ping")
            assert await close_of(talking) == (4401, "unauthorized")
            assert await close_of(silent) == (4401, "unauthorized")
        assert missing.value == 2
        await until(lambda: now("clients") == 0)


async def test_who_says_anything_but_a_token_is_closed_at_the_tenth_time(guarded: int) -> None:
    async with Client(guarded) as client:
        for _ in range(10):
            await client.send(action="ping")
        assert await close_of(client) == (4400, "bad messages")
    async with Client(guarded) as client:
        await client.websocket.send(b"binary")
        assert (await close_of(client))[0] == 4400


async def test_who_leaves_before_showing_a_token_is_no_fault(guarded: int, capsys: pytest.CaptureFixture[str]) -> None:
    async with Client(guarded):
        await until(lambda: now("clients") == 1)
    async with raw(guarded) as client:
        await client.opened()
    await until(lambda: now("clients") == 0)
    assert "error" not in capsys.readouterr().out


def bad_tokens() -> dict[str, str]:
    """Tokens that must not let anybody in, by what is wrong with them."""
    head, payload, signature = sign({"tickers": ["KO"]}).split(".")
    return {
        "malformed": "garbage",
        "algorithm none": f"{part({'alg': 'none', 'typ': 'JWT'})}.{payload}.",
        "algorithm of another key": sign({}, RSA, "RS256"),
        "signature of another secret": sign({}, SECRET + "!"),
        "signature of other claims": f"{head}.{part({})}.{signature}",
        "expired": sign({"exp": int(time.time()) - 60}),
        "not yet valid": sign({"nbf": int(time.time()) + 60}),
        "for somebody else": sign({"aud": "others"}),
        "claim of a wrong type": sign({"tickers": None}),
        "eight kilobytes": "x" * 8000,
    }


async def test_bad_token_in_a_header_is_answered_by_a_close_code_that_a_browser_can_see(guarded: int) -> None:
    async def end(token: str) -> tuple[int, str]:
        async with Holder(guarded, token) as client:
            return await close_of(client)

    tokens = bad_tokens()
    ends = await asyncio.gather(*map(end, tokens.values()))
    assert dict(zip(tokens, ends, strict=True)) == dict.fromkeys(tokens, (4401, "unauthorized"))


async def test_bad_token_in_the_first_message_is_answered_likewise(guarded: int) -> None:
    async def end(token: object) -> tuple[int, str]:
        async with Client(guarded) as client:
            await client.send(action="auth", token=token)
            return await close_of(client)

    tokens: dict[str, object] = {**bad_tokens(), "eight kilobytes": "x" * 4000, "no text": 7, "nothing": None}
    ends = await asyncio.gather(*map(end, tokens.values()))
    assert dict(zip(tokens, ends, strict=True)) == dict.fromkeys(tokens, (4401, "unauthorized"))


async def test_handshake_with_a_bad_token_is_not_saved_by_a_good_one(guarded: int) -> None:
    good = sign({})

    async def code_of(*headers: str) -> int:
        async with raw(guarded) as client:
            await client.opened("/ws/stocks/", *headers)
            return (await client.end()).code

    codes = await asyncio.gather(
        code_of("Authorization: Bearer"),
        code_of("Authorization: Bearer x", f"Authorization: Bearer {good}"),
        code_of("Sec-WebSocket-Protocol: bearer, x"),
        code_of(f"Sec-WebSocket-Protocol: bearer, {good}", "Authorization: Bearer x"),
    )
    assert set(codes) == {4401}


async def test_credentials_of_another_scheme_are_no_token(guarded: int) -> None:
    async with raw(guarded) as client:
        await client.opened("/ws/stocks/", "Authorization: Basic eDp5")
        client.send(frame(json.dumps({"action": "auth", "token": sign({})}).encode()))
        async with asyncio.timeout(15):
            assert (await anext(client.frames()))[0] == 1


async def test_token_in_a_url_is_refused_even_if_it_is_good(guarded: int) -> None:
    for name in ("token", "access_token"):
        async with raw(guarded) as client:
            client.send(request(f"/ws/stocks/?{name}={sign({})}"))
            assert (await client.head())[0] == 400


async def test_limited_token_gets_what_it_allows_and_is_told_so(market: Market, guarded: int) -> None:
    token = sign({"tickers": ["KO", "PG"]})
    async with Holder(guarded, token) as client:
        first = await client.receive()
        assert tickers_of(first) == {"KO"}
        await client.send(action="subscribe", tickers=["*"])
        assert set((await client.receive())["tickers"]) == {"KO", "PG"}
        await market.trade("AAPL", "7")
        await market.trade("KO", "8")
        await client.until_seen("KO", 2)
        assert set(client.prices) == {"KO"}


async def test_tickers_that_a_token_does_not_allow_are_named_and_the_rest_applies(guarded: int) -> None:
    async with Holder(guarded, sign({"tickers": ["KO", "PG"]}), "?tickers=KO,AAPL") as client:
        assert tickers_of(await client.receive()) == {"KO"}
        error = await client.receive()
        assert (error["code"], error["message"]) == ("unauthorized", "the token does not allow 'AAPL'")
        await client.send(action="subscribe", tickers=["PG", "MSFT"])
        assert (await client.receive())["code"] == "unauthorized"
        assert set((await client.receive_type("subscribed"))["tickers"]) == {"KO", "PG"}
        await client.send(action="unsubscribe", tickers=["KO"])
        assert set((await client.receive_type("subscribed"))["tickers"]) == {"PG"}


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the wall clock forward, for connections that look at it often."""
    monkeypatch.setattr("services.gateway.connection.LOOK_SECONDS", 0.05)

    def jump(seconds: float) -> None:
        monkeypatch.setattr("services.gateway.connection.time", SimpleNamespace(time=lambda: time.time() + seconds))

    return jump


async def test_token_that_expires_ends_the_connection_and_a_newer_one_goes_on(guarded: int, later: Callable[[float], None]) -> None:
    soon = int(time.time()) + 1000
    async with (
        Holder(guarded, sign({"exp": soon})) as old,
        Holder(guarded, sign({"exp": soon}), "?tickers=KO") as renewed,
        Holder(guarded, sign({})) as shortened,
    ):
        await shortened.send(action="auth", token=sign({"exp": soon}))
        await shortened.receive_type("subscribed")
        await old.receive()
        await renewed.receive()
        await renewed.send(action="auth", token=sign({"exp": soon + 5000}))
        assert set((await renewed.receive())["tickers"]) == {"KO"}
        later(2000)
        assert await close_of(old) == (4401, "unauthorized")
        assert await close_of(shortened) == (4401, "unauthorized")
        await renewed.send(action="ping")
        assert (await renewed.receive())["type"] == "pong"
        later(20_000)
        assert await close_of(renewed) == (4401, "unauthorized")


async def test_narrower_token_takes_away_what_it_does_not_allow(market: Market, guarded: int) -> None:
    async with Holder(guarded, sign({})) as client:
        assert tickers_of(await client.receive()) == {"AAPL", "KO", "MSFT"}
        await client.send(action="auth", token=sign({"tickers": ["KO"]}))
        assert (await client.receive_type("subscribed"))["tickers"] == ["KO"]
        await market.trade("AAPL", "7")
        await market.trade("KO", "8")
        await client.until_seen("KO", 2)
        assert client.prices["AAPL"][0] == 1
        await client.send(action="subscribe", tickers=["AAPL"])
        assert (await client.receive_type("error"))["code"] == "unauthorized"


async def test_newer_token_that_is_bad_ends_the_connection_with_its_reason(guarded: int) -> None:
    async with Holder(guarded, sign({})) as client:
        await client.receive()
        await client.send(action="auth", token=sign({}, SECRET + "!"))
        assert (await client.receive())["code"] == "unauthorized"
        assert await close_of(client) == (4401, "unauthorized")


async def test_gateway_without_tokens_says_so_and_goes_on(port: int) -> None:
    async with Client(port) as client:
        await client.receive()
        await client.send(action="auth", token="x")
        assert (await client.receive())["code"] == "not_supported"
        await client.send(action="ping")
        assert (await client.receive())["type"] == "pong"
