"""A client shows its token, renews it before it ends and after it was refused, and tells it to nobody else."""

import time
from collections.abc import AsyncIterator, Callable

import pytest
from pydantic import SecretStr

from tests.clients.scripted import Visit, scripted
from tests.clients.subscriber import Seen, Subscribe, refused, until
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import Market
from tests.keys import SECRET, sign


@pytest.fixture
async def guarded(market: Market, redis_url: str) -> AsyncIterator[str]:
    """The URL of a gateway that wants tokens."""
    await market.trade("AAPL", "10", "9")
    async with running_gateway(redis_url, gateway_auth="jwt", gateway_jwt_key=SecretStr(SECRET)) as port:
        yield f"ws://127.0.0.1:{port}"


class Issuer:
    """Gives a token whenever it is asked, the first ones as the test says."""

    def __init__(self, *first: str, seconds: float = 3600.0) -> None:
        self.given: list[str] = []
        self._first = list(first)
        self._seconds = seconds

    def __call__(self) -> str:
        token = self._first.pop(0) if self._first else sign({"exp": time.time() + self._seconds, "n": len(self.given)})
        self.given.append(token)
        return token


def tells(tokens: list[str]) -> Callable[[Seen], bool]:
    """Whether anything that was logged or shown holds one of these, or its signature."""
    secrets = [part for token in tokens for part in (token, token.rpartition(".")[2])]
    return lambda seen: any(secret in text for text in seen.texts for secret in secrets)


async def test_fixed_token_lets_in_and_is_told_to_nobody(subscribe: Subscribe, guarded: str) -> None:
    token = sign({"sub": "somebody"})
    async with subscribe(guarded, token=token) as subscriber:
        await until(subscriber, lambda seen: seen.updates, "the snapshot")
    assert not tells([token])(subscriber.seen)


async def test_fixed_token_that_is_refused_ends_it(subscribe: Subscribe, guarded: str) -> None:
    token = sign({"sub": "nobody"}, SECRET + "!")
    async with subscribe(guarded, token=token) as subscriber:
        await refused(subscriber, 4401)
    assert not tells([token])(subscriber.seen)


async def test_gateway_that_wants_a_token_refuses_a_client_without(subscribe: Subscribe) -> None:
    async def refuse(visit: Visit) -> None:
        await visit.close(4401, "unauthorized")

    async with scripted(refuse) as gateway, subscribe(gateway.url) as subscriber:
        await refused(subscriber, 4401)


async def test_token_is_renewed_before_it_ends_on_the_open_connection(subscribe: Subscribe, guarded: str, market: Market) -> None:
    issuer = Issuer(seconds=3.0)
    async with subscribe(guarded, token=issuer) as subscriber:
        await until(subscriber, lambda seen: seen.updates, "the snapshot")
        ends = time.time() + 3.0
        await until(subscriber, lambda seen: time.time() > ends, "the end of the first token")
        await market.trade("AAPL", "11")
        await until(subscriber, lambda seen: seen.alerts, "the alert after that")
    assert len(issuer.given) >= 2
    assert subscriber.seen.states[:1] == subscriber.seen.states
    assert not tells(issuer.given)(subscriber.seen)


async def test_another_token_is_asked_for_when_one_is_refused(subscribe: Subscribe, guarded: str) -> None:
    bad = sign({"sub": "nobody"}, SECRET + "!")
    issuer = Issuer(bad, bad)
    async with subscribe(guarded, token=issuer) as subscriber:
        await until(subscriber, lambda seen: seen.updates, "the snapshot")
    assert issuer.given[:2] == [bad, bad]
    assert len(issuer.given) == 3


async def test_token_is_in_no_url(subscribe: Subscribe) -> None:
    async def attend(visit: Visit) -> None:
        await visit.first()
        if visit.number == 1:
            await visit.close(1012, "restart; reconnect in 0.1 s")
        await visit.stay()

    async with scripted(attend) as gateway, subscribe(gateway.url, ["KO"], token="a-secret") as subscriber:
        await until(subscriber, lambda seen: seen.connections == 2, "a second connection")
    assert [visit for visit in gateway.visits if "secret" in visit.path or "token" in visit.path] == []
    assert not tells(["a-secret"])(subscriber.seen)
