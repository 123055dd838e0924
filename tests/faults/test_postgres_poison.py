"""Rows that PostgreSQL itself refuses: each of them is noted, in the transaction that passes over it; the rest is stored in order."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from shared import streams
from tests.e2e.pipeline import until
from tests.faults.postgres import SLEEP, Storage, fault, observed_outage, persisting, raising, storage

REFUSE = "ALTER TABLE ticks ADD CONSTRAINT unlucky CHECK (price <> 13)"
REFUSE_IN_A_TRIGGER = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {act}; END $$;
    CREATE {kind} ON ticks {when} FOR EACH ROW WHEN (NEW.price = 13) EXECUTE FUNCTION refuse()"""
AT_ONCE, DEFERRED = ("TRIGGER refuse BEFORE INSERT", ""), ("CONSTRAINT TRIGGER refuse AFTER INSERT", "DEFERRABLE INITIALLY DEFERRED")

BATCHES = {
    "first": "13 1 2 3",
    "middle": "1 2 13 3",
    "last": "1 2 3 13",
    "two": "1 13 2 3 13 4",
    "two in a row": "1 13 13 2",
    "all": "13 13 13",
    "the only one": "13",
}


@pytest.fixture
async def stored(redis: Redis, redis_url: str, database_url: str) -> AsyncIterator[Storage]:
    """A deployment of one partition."""
    async with storage(redis, redis_url, database_url) as prepared:
        yield prepared


async def store_and_check(stored: Storage, *prices: str) -> None:
    """Store what there is and these; every price of 13 must be noted, and nothing else."""
    await stored.write(*prices)
    async with persisting(stored.redis_url, stored.url):
        await stored.until_stored()
    await check(stored, *prices)


async def check(stored: Storage, *prices: str) -> None:
    refused = [seq for seq, price in enumerate(prices, 1) if price == "13"]
    await stored.check(refused=refused, events=[("rejected", seq, seq) for seq in refused])
    ids = [entry_id for entry_id, entry in await stored.partition.redis.xrange("ticks:{0}") if entry["price"] == "13"]
    noted = "SELECT array_agg(detail->>'entry_id' ORDER BY first_seq) FROM stream_events"
    assert await stored.database.fetchval(noted) == ids


@pytest.mark.parametrize("where", ["two", *(pytest.param(where, marks=pytest.mark.long) for where in BATCHES if where != "two")])
async def test_of_a_batch_exactly_the_refused_rows_are_noted(stored: Storage, where: str) -> None:
    await stored.database.execute(REFUSE)
    await store_and_check(stored, *BATCHES[where].split())


CASES = [(when, state) for when in (DEFERRED, AT_ONCE) for state in ("P0001", "23514", "23502", "22003", "22ABC")]


@pytest.mark.parametrize(("when", "state"), [CASES[0], *(pytest.param(*case, marks=pytest.mark.long) for case in CASES[1:])])
async def test_a_row_that_a_trigger_refuses_is_noted_whenever_it_does(stored: Storage, when: tuple[str, str], state: str) -> None:
    """A deferred constraint, too: at COMMIT it would refuse the whole batch, again and again. And a state that no driver knows."""
    kind, deferral = when
    await stored.database.execute(REFUSE_IN_A_TRIGGER.format(act=raising(state), kind=kind, when=deferral))
    await store_and_check(stored, *["1", "2", "13", "3", "13", "4"])


async def test_a_persister_that_dies_after_it_noted_a_refused_row_has_noted_nothing(stored: Storage) -> None:
    prices = ["1", "13", "2"]
    await stored.database.execute(
        f"{REFUSE}; {fault(SLEEP, 1)}; "
        "CREATE FUNCTION defer() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN NEW; END $$; "
        "CREATE TRIGGER defer BEFORE INSERT ON ticks FOR EACH ROW EXECUTE FUNCTION defer(); "
        "CREATE CONSTRAINT TRIGGER fault AFTER INSERT ON stream_events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fault()"
    )
    await stored.write(*prices)
    async with persisting(stored.redis_url, stored.url) as working:
        backend = await stored.until_asleep("commit")
        working.cancel()
        await asyncio.wait({working})
    await stored.database.execute("SELECT pg_terminate_backend($1, 10000)", backend)
    assert await stored.database.fetchval("SELECT count(*) FROM ticks") == 0
    assert await stored.database.fetchval("SELECT count(*) FROM stream_events") == 0
    async with persisting(stored.redis_url, stored.url):
        await stored.until_stored()
    await check(stored, *prices)


@pytest.mark.long
async def test_a_commit_that_fails_for_another_reason_takes_the_note_back(stored: Storage) -> None:
    prices = ["1", "13", "2"]
    await stored.database.execute(
        f"{REFUSE}; {fault(raising('40001'), 2)}; "
        "CREATE CONSTRAINT TRIGGER fault AFTER INSERT ON stream_events DEFERRABLE FOR EACH ROW EXECUTE FUNCTION fault()"
    )
    await stored.write(*prices)
    with observed_outage(failed=2, errors=1):
        async with persisting(stored.redis_url, stored.url):
            await stored.until_stored()
    await check(stored, *prices)


@pytest.mark.long
async def test_a_whole_batch_of_refused_rows_is_noted_row_by_row(stored: Storage) -> None:
    await stored.database.execute(REFUSE)
    await store_and_check(stored, *["13"] * 700, "1")


EVENT = {"kind": "period", "stream": "enriched", "incarnation": "1-a", "first_seq": "1", "last_seq": "", "detail": "{}", "ts": "1"}
STRANGE: list[dict[Any, Any]] = [
    {"kind": "a stranger's"},
    {"first_seq": "9" * 30},
    {"first_seq": "-1e9"},
    {"ts": "9" * 30},
    {"detail": '{"a": "\\u0000"}'},
    {"detail": '{"a": NaN}'},
    {"incarnation": "\x00"},
    {"stream": "\x00"},
    {"stream": b"\xff\xfe"},
    {"\x00": "\x00"},
]


async def test_a_strangers_entries_stop_no_stream_whatever_they_hold(stored: Storage) -> None:
    redis = stored.partition.redis
    await stored.write("1", "2")
    for change in STRANGE:
        await redis.xadd(streams.events(0), {"seq": "1", **EVENT, **change})
    for value in ("\x00", "\\u0000", "\t", "\\", "9" * 5000, b"\xff"):
        for name in ("seq", "ticker", "price", "ts", "volume", value):
            for stream in ("ticks", "enriched"):
                (_, entry), *_ = await redis.xrevrange(streams.stream(stream, 0), count=1)
                await redis.xadd(streams.stream(stream, 0), {**entry, name: value})
    await stored.write("3")
    await redis.xadd(streams.events(0), {"seq": "1", **EVENT})
    stored_last = "SELECT count(*) = 1 FROM stream_events WHERE kind = 'period' AND stream = 'enriched' AND first_seq = 1"
    async with persisting(stored.redis_url, stored.url):
        await stored.until_stored()

        async def is_noted() -> bool:
            return bool(await stored.database.fetchval(stored_last))

        await until(is_noted, "the last event")
    assert await stored.database.fetchval("SELECT array_agg(price::int ORDER BY seq) FROM ticks") == [1, 2, 3]
