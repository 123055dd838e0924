"""The persister's transaction: the cursor's compare-and-set, poison rows, unknown commits."""

import asyncio
import gc

import asyncpg
import pytest

from services.persister.rows import NOWHERE, Lines, Position, encode
from services.persister.store import Store, StoredElsewhere, connect_store
from shared.commits import Entries
from shared.incarnations import Head
from shared.testing.entries import flat, tick_entry
from tests.faults.proxy import Cut, FaultProxy

HEAD = Head("1-a", (), {"ticks": 10_000, "enriched": 10_000, "events": 0})


def entries_of(*prices: str, first: int = 1) -> Entries:
    return [
        (f"{seq}-0", tick_entry(seq=str(seq), ticker="AAPL", price=price, ts="1700000000123", source="replay"))
        for seq, price in enumerate(prices, first)
    ]


def batch_of(*prices: str, before: Position = NOWHERE, first: int = 1) -> Lines:
    return encode("ticks", 0, entries_of(*prices, first=first), before, HEAD)


async def test_rows_and_cursor_are_stored_together(store: Store, database: asyncpg.Connection) -> None:
    before = await store.position("ticks", 0)
    batch = batch_of("1.5", "2", before=before)
    await store.store("ticks", 0, before, batch)
    assert await store.position("ticks", 0) == batch.position == Position("1-a", "2-0", 2, 2)
    rows = await database.fetch("SELECT seq, price::text, ts, volume FROM ticks ORDER BY seq")
    assert [(row["seq"], row["price"], row["volume"]) for row in rows] == [(1, "1.5", None), (2, "2", None)]
    assert rows[0]["ts"].isoformat() == "2023-11-14T22:13:20.123000+00:00"


async def test_of_two_writers_of_one_batch_one_wins_and_the_other_sees_no_violation(store: Store, database: asyncpg.Connection) -> None:
    before = await store.position("ticks", 0)
    batch = batch_of("1", "2", "3", before=before)
    outcomes = await asyncio.gather(*(store.store("ticks", 0, before, batch) for _ in range(2)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {list, StoredElsewhere}
    assert await database.fetchval("SELECT count(*) FROM ticks") == 3


async def test_two_writers_racing_over_many_batches_store_every_row_once(store: Store, database: asyncpg.Connection) -> None:
    async def write() -> int:
        won = 0
        while (position := await store.position("ticks", 0)).seq < 200:
            batch = batch_of(*["1"] * 10, before=position, first=position.seq + 1)
            try:
                await store.store("ticks", 0, position, batch)
                won += 1
            except StoredElsewhere:
                pass
        return won

    wins = await asyncio.gather(write(), write(), write())
    assert sum(wins) == 20
    assert await database.fetchval("SELECT count(*) FROM ticks") == 200


async def test_a_row_that_postgresql_refuses_is_noted_in_the_same_transaction_and_the_rest_is_stored(
    store: Store, database: asyncpg.Connection
) -> None:
    await database.execute("ALTER TABLE ticks ADD CHECK (price <> 13)")
    before = await store.position("ticks", 0)
    refused = await store.store("ticks", 0, before, batch_of("1", "13", "2", "3", "13", before=before))
    assert [event.first_seq for event in refused] == [2, 5]
    assert [row["seq"] for row in await database.fetch("SELECT seq FROM ticks ORDER BY seq")] == [1, 3, 4]
    events = await database.fetch("SELECT kind, stream, first_seq, detail->>'reason' AS reason FROM stream_events ORDER BY first_seq")
    assert [(row["kind"], row["stream"], row["first_seq"]) for row in events] == [("rejected", "ticks", 2), ("rejected", "ticks", 5)]
    assert "CheckViolationError" in events[0]["reason"]
    assert (await store.position("ticks", 0)).seq == 5


@pytest.mark.parametrize("state", ["22003", "22P02", "23514", "23502", "P0001"])
async def test_a_trigger_that_refuses_a_row_isolates_it(store: Store, database: asyncpg.Connection, state: str) -> None:
    await refuse_price_13(database, state)
    before = await store.position("ticks", 0)
    await store.store("ticks", 0, before, batch_of("1", "13", "2", before=before))
    assert await database.fetchval("SELECT count(*) FROM ticks") == 2
    assert await database.fetchval("SELECT count(*) FROM stream_events") == 1


@pytest.mark.parametrize("state", ["23505", "40001", "40P01", "53100", "55P03"])
async def test_an_error_that_is_not_the_rows_own_stores_nothing_and_moves_nothing(
    store: Store, database: asyncpg.Connection, state: str
) -> None:
    await refuse_price_13(database, state)
    before = await store.position("ticks", 0)
    with pytest.raises(asyncpg.PostgresError):
        await store.store("ticks", 0, before, batch_of("1", "13", "2", before=before))
    assert await store.position("ticks", 0) == before
    assert await database.fetchval("SELECT count(*) FROM ticks") == 0
    assert await database.fetchval("SELECT count(*) FROM stream_events") == 0


async def refuse_price_13(database: asyncpg.Connection, state: str) -> None:
    await database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ "
        f"BEGIN IF NEW.price = 13 THEN RAISE EXCEPTION 'refused' USING ERRCODE = '{state}'; END IF; RETURN NEW; END $$"
    )
    await database.execute("CREATE TRIGGER refuse BEFORE INSERT ON ticks FOR EACH ROW EXECUTE FUNCTION refuse()")


async def test_a_store_cancelled_anywhere_leaves_rows_and_cursor_together(store: Store, database: asyncpg.Connection) -> None:
    for turn in range(40):
        before = await store.position("ticks", 0)
        batch = batch_of(*["1"] * 50, before=before, first=before.seq + 1)
        storing = asyncio.create_task(store.store("ticks", 0, before, batch))
        for _ in range(turn):
            await asyncio.sleep(0)
        storing.cancel()
        await asyncio.wait({storing})
        assert storing.cancelled() or storing.result() == []
        # In one look: what was sent already may still be on its way into the tables.
        assert await database.fetchval("SELECT seq = (SELECT coalesce(max(seq), 0) FROM ticks) FROM cursors WHERE stream = 'ticks'")
    assert await database.fetchval("SELECT count(*) = coalesce(max(seq), 0) FROM ticks")


async def test_a_store_cancelled_while_it_waits_for_a_lock_ends_at_once_as_cancelled(store: Store, database: asyncpg.Connection) -> None:
    before = await store.position("ticks", 0)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with database.transaction():
        await database.execute("LOCK TABLE ticks")
        storing = asyncio.create_task(store.store("ticks", 0, before, batch_of("1", before=before)))
        while not await database.fetchval(waiting):
            await asyncio.sleep(0.01)
        storing.cancel()
        await asyncio.wait({storing})
        assert storing.cancelled()


async def test_the_view_alerts_gives_the_id_that_clients_see(store: Store, database: asyncpg.Connection) -> None:
    before = await store.position("enriched", 3)
    fields = {
        "seq": "7",
        "ticker": "KO",
        "price": "7",
        "ts": "1000",
        "source": "replay",
        "tick_id": "6-0",
        "sma": "6.5",
        "alert": "bullish",
    }
    await store.store(
        "enriched",
        3,
        before,
        encode("enriched", 3, [("7-0", flat(fields)), ("7-1", flat(fields | {"seq": "8", "alert": ""}))], before, HEAD),
    )
    (row,) = await database.fetch("SELECT id, ticker, direction, sma::text FROM alerts")
    assert tuple(row) == ("1-a.3.7", "KO", "bullish", "6.5")


async def test_a_call_cancelled_while_its_connection_is_given_back_leaves_no_error_that_nobody_asked_for(database_url: str) -> None:
    """The server is slow to answer the pool's reset, and the connection is cut at the end: nobody waits for that answer any more."""
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with FaultProxy(database_url).running() as proxy:
        async with connect_store(proxy.url, close_seconds=0.01) as store:
            await store.partitions()
            reset = proxy.plan(Cut((b"pg_advisory_unlock_all",)))
            proxy.replies.delay_seconds = 0.3
            asking = asyncio.create_task(store.partitions())
            while not reset.hits:
                await asyncio.sleep(0.01)
            asking.cancel()
            await asyncio.wait({asking})
            assert asking.cancelled()
        await asyncio.sleep(0)  # whatever was cut off hears of it
        gc.collect()
    assert reported == []
