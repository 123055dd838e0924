"""Compares everything the pipeline holds with what it must hold, one public place after the other."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncpg
import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared import streams
from tests.contract.judging import judge_redis
from tests.e2e.market_data import Event, Outcome
from tests.e2e.viewer import Book, Message

TICK_FIELDS = ["seq", "ticker", "price", "ts", "source", "volume", "quote_ts", "shed"]
ENRICHED_FIELDS = ["seq", "ticker", "price", "ts", "source", "tick_id", "sma", "alert"]
GROUPS = {"ticks": ("analyzer", "persister"), "enriched": ("persister",)}

TICK_ROWS = """
SELECT incarnation, partition::text, seq::text, entry_id, ticker, price::text, (extract(epoch FROM ts) * 1000)::bigint::text,
       source, volume::text, quote_ts::text, (extract(epoch FROM received) * 1000)::bigint::text
FROM ticks AS t ORDER BY t.partition, t.seq, t.incarnation
"""
ENRICHED_ROWS = """
SELECT incarnation, partition::text, seq::text, entry_id, tick_id, ticker, price::text, sma::text, alert,
       (extract(epoch FROM ts) * 1000)::bigint::text, source, (extract(epoch FROM received) * 1000)::bigint::text
FROM enriched AS e ORDER BY e.partition, e.seq, e.incarnation
"""
ALERTS = "SELECT id, ticker, direction, price::text, sma::text, (extract(epoch FROM ts) * 1000)::bigint::text FROM alerts"
EVENTS = "SELECT kind, stream, partition, incarnation, first_seq, last_seq, detail FROM stream_events"

Entries = list[tuple[str, dict[str, str]]]


class Proof:
    """What must be, and where to look. Every method fails at the first difference."""

    def __init__(self, redis: Redis, database_url: str, expected: Outcome) -> None:
        self.redis = redis
        self.expected = expected
        self._database_url = database_url
        self._partitions = range(expected.partitions)

    async def count(self, stream: str) -> int:
        """Entries in all partitions of a stream."""
        async with self.redis.pipeline(transaction=False) as pipeline:
            for p in self._partitions:
                pipeline.xlen(streams.stream(stream, p))
            return sum(await pipeline.execute())

    async def groups(self, stream: str) -> list[dict[str, dict[str, Any]]]:
        """Per partition the groups of a stream by name, as XINFO GROUPS has them."""
        async with self.redis.pipeline(transaction=False) as pipeline:
            for p in self._partitions:
                pipeline.xinfo_groups(streams.stream(stream, p))
            answers = await pipeline.execute(raise_on_error=False)
        # A stream that is not there yet has no groups, nor has one whose server is away.
        return [{} if isinstance(found, RedisError) else {info["name"]: info for info in found} for found in answers]

    async def passed(self, stream: str, group: str) -> int:
        """Entries that a group has passed, over all partitions of a stream."""
        return sum(int(found[group]["entries-read"] or 0) for found in await self.groups(stream) if group in found)

    async def is_complete(self) -> bool:
        """Whether every group has passed the whole file; what is stored in PostgreSQL is passed last."""
        for stream, names in GROUPS.items():
            for name in names:
                if await self.passed(stream, name) < self.expected.ticks:
                    return False
        return True

    async def labels(self, stream: str, p: int) -> list[str]:
        """The incarnation that each seq, from 1 on, belongs to."""
        current, lineage = await self.redis.hmget(streams.log(p), ["incarnation", "lineage"])
        count = len(self.expected.events[p])
        names: list[str] = []
        for ended in msgspec.json.decode(lineage or "[]"):
            names += [ended["incarnation"]] * (ended[stream]["seq"] - len(names))
        return [*names, *[str(current)] * (count - len(names))]

    async def check_all(self, *, incarnations: int = 1) -> None:
        """Streams, lists, sides, latest values, dead letters, groups and rows; `incarnations` is how often Redis was started."""
        ticks, enriched = await self.check_redis()
        for p in self._partitions:
            assert len(set(await self.labels("ticks", p))) <= incarnations
        await self._check_rows(ticks, enriched)
        await self._check_alerts()
        assert await self.fetch(EVENTS) == []

    async def check_redis(self) -> tuple[list[Entries], list[Entries]]:
        """All that is in Redis; return the entries of `ticks` and `enriched`, per partition."""
        ticks, enriched = await self.entries("ticks"), await self.entries("enriched")
        for p, events in enumerate(self.expected.events):
            check_streams(ticks[p], enriched[p], events)
            await self._check_state(p, events)
        await self._check_groups()
        await self._check_keys()
        await self._check_dead_letters()
        await judge_redis(self.redis, self.expected.partitions)
        return ticks, enriched

    async def entries(self, stream: str) -> list[Entries]:
        """The entries of a stream, per partition."""
        return [await self._entries(streams.stream(stream, p)) for p in self._partitions]

    async def _entries(self, key: str) -> Entries:
        return cast(Entries, await self.redis.xrange(key))

    async def _check_state(self, p: int, events: tuple[Event, ...]) -> None:
        newest = {event.ticker: event for event in events}
        for ticker in newest:
            assert await self.redis.lrange(streams.prices(p, ticker), 0, -1) == self.expected.windows[ticker]
        sides = {ticker: str(side) for ticker, side in self.expected.sides.items() if ticker in newest}
        assert await self.redis.hgetall(streams.sides(p)) == sides
        assert await self.redis.hgetall(streams.latest(p)) == {ticker: latest_json(event) for ticker, event in newest.items()}

    async def _check_groups(self) -> None:
        for stream, names in GROUPS.items():
            for p, found in enumerate(await self.groups(stream)):
                assert sorted(found) == sorted(names)
                newest = cast(Entries, await self.redis.xrevrange(streams.stream(stream, p), count=1))
                wanted = (newest[0][0], len(self.expected.events[p]), 0, 0)
                for info in found.values():
                    assert (info["last-delivered-id"], info["entries-read"], info["lag"], info["pending"]) == wanted, info

    async def _check_keys(self) -> None:
        """No key but those of the contract, and no list of a ticker in a partition that is not its own."""
        wanted = {streams.prices(p, event.ticker) for p, events in enumerate(self.expected.events) for event in events}
        found = [key async for key in self.redis.scan_iter(count=1000)]
        assert {key for key in found if key.startswith("prices:")} == wanted
        private = ("config", "log:", "events:", "sides:", "producers:", "last:", "lease:", "members:", "latest:", "market", "gateways")
        assert not [key for key in found if not key.startswith(("ticks:", "enriched:", "prices:", "deadletters:", *private))]

    async def _check_dead_letters(self) -> None:
        """Each line that is no tick stands there once, named by its line."""
        entries = [fields for p in self._partitions for _, fields in await self._entries(streams.deadletters(p))]
        assert_same("dead letters", sorted(fields["payload"] for fields in entries), sorted(self.expected.deadletters))
        for fields in entries:
            assert list(fields) == ["stream", "entry_id", "reason", "payload", "ts"]
            assert self.expected.deadletters[fields["payload"]] in fields["reason"]

    async def fetch(self, query: str) -> list[asyncpg.Record]:
        """Ask PostgreSQL, on a connection of its own: the one before may have died with the server."""
        connection = await asyncpg.connect(self._database_url)
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    async def _check_rows(self, ticks: list[Entries], enriched: list[Entries]) -> None:
        """Exactly one row per entry, with the entry's id and the name of its incarnation."""
        wanted_ticks: list[tuple[str | None, ...]] = []
        wanted_enriched: list[tuple[str | None, ...]] = []
        for p, events in enumerate(self.expected.events):
            tick_ids, enriched_ids = [entry_id for entry_id, _ in ticks[p]], [entry_id for entry_id, _ in enriched[p]]
            labels = await self.labels("ticks", p)
            wanted_ticks += [tick_row(str(p), *named) for named in zip(labels, tick_ids, events, strict=True)]
            labels = await self.labels("enriched", p)
            wanted_enriched += [enriched_row(str(p), *named) for named in zip(labels, enriched_ids, tick_ids, events, strict=True)]
        assert_same("rows of ticks", map(tuple, await self.fetch(TICK_ROWS)), wanted_ticks)
        assert_same("rows of enriched", map(tuple, await self.fetch(ENRICHED_ROWS)), wanted_enriched)

    async def _check_alerts(self) -> None:
        rows = {name: tuple(rest) for name, *rest in await self.fetch(ALERTS)}
        assert rows == {name: (e.ticker, e.alert, e.price, e.sma, e.ts) for name, e in (await self.alerts()).items()}

    async def alerts(self) -> dict[str, Event]:
        """Id to event of every alert there must be."""
        labels = [await self.labels("enriched", p) for p in self._partitions]
        return {f"{labels[p][event.seq - 1]}.{p}.{event.seq}": event for p, event in self.expected.alerts}

    def has_all_prices(self, book: Book) -> bool:
        """Whether a client has seen the last event of every ticker."""
        return {ticker: int(stock["seq"]) for ticker, stock in book.stocks.items()} == {
            ticker: event.seq for ticker, event in self.expected.latest.items()
        }

    def check_prices(self, stocks: Iterable[Message]) -> None:
        """The stocks that a client shows, or a snapshot has, are the last event of every ticker."""
        assert_same(
            "stocks", sorted(stocks, key=lambda stock: stock["ticker"]), (shown(event) for _, event in sorted(self.expected.latest.items()))
        )

    async def check_alerts_seen(self, book: Book, *, all_of_them: bool = True) -> None:
        """What a client was told are alerts that there are; all of them, unless it was not subscribed to all the time."""
        wanted = await self.alerts()
        if all_of_them:
            assert sorted(book.alerts) == sorted(wanted)
        for name, alert in book.alerts.items():
            event = wanted[name]
            assert alert == {"id": name, **{k: v for k, v in shown(event).items() if k != "alert"}, "direction": event.alert}


def assert_same(what: str, found: Iterable[Any], wanted: Iterable[Any]) -> None:
    """Compare two long sequences and show the first difference only."""
    found, wanted = list(found), list(wanted)
    for number, (one, other) in enumerate(zip(found, wanted, strict=False)):
        assert one == other, f"{what}: number {number} differs"
    assert len(found) == len(wanted), f"{what}: {len(found)} instead of {len(wanted)}"


def check_streams(ticks: Entries, enriched: Entries, events: tuple[Event, ...]) -> None:
    """Every entry of a partition, value for value, with its fields in the contract's order."""
    assert all(list(fields) == TICK_FIELDS for _, fields in ticks)
    assert all(list(fields) == ENRICHED_FIELDS for _, fields in enriched)
    assert_same("ticks", (tuple(fields.values()) for _, fields in ticks), map(fields_of_tick, events))
    wanted = (fields_of_enriched(event, tick_id) for event, (tick_id, _) in zip(events, ticks, strict=True))
    assert_same("enriched", (tuple(fields.values()) for _, fields in enriched), wanted)


def fields_of_tick(event: Event) -> tuple[str, ...]:
    """The values of the entry in `ticks:{p}`."""
    return str(event.seq), event.ticker, event.price, event.ts, "replay", event.volume, "", ""


def fields_of_enriched(event: Event, tick_id: str) -> tuple[str, ...]:
    """The values of the entry in `enriched:{p}`."""
    return str(event.seq), event.ticker, event.price, event.ts, "replay", tick_id, event.sma, event.alert


def latest_json(event: Event) -> str:
    """The value in `latest:{p}`; its numbers are the characters of the stream."""
    alert = f'"{event.alert}"' if event.alert else "null"
    return (
        f'{{"ticker":"{event.ticker}","price":{event.price},"sma":{event.sma or "null"},"alert":{alert},'
        f'"ts":{event.ts},"source":"replay","seq":{event.seq}}}'
    )


def tick_row(p: str, incarnation: str, entry_id: str, event: Event) -> tuple[str | None, ...]:
    """The row in `ticks`, as text."""
    e = event
    return incarnation, p, str(e.seq), entry_id, e.ticker, e.price, e.ts, "replay", e.volume or None, None, entry_id.partition("-")[0]


def enriched_row(p: str, incarnation: str, entry_id: str, tick_id: str, event: Event) -> tuple[str | None, ...]:
    """The row in `enriched`, as text."""
    e = event
    judged = e.sma or None, e.alert or None
    return incarnation, p, str(e.seq), entry_id, tick_id, e.ticker, e.price, *judged, e.ts, "replay", entry_id.partition("-")[0]


def moment(ms: str) -> datetime:
    """Epoch milliseconds as a time."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(ms))


def shown(event: Event) -> Message:
    """The event as clients see it, numbers as text."""
    return {
        "ticker": event.ticker,
        "price": event.price,
        "sma": event.sma or None,
        "alert": event.alert or None,
        "ts": moment(event.ts).isoformat(timespec="milliseconds"),
        "seq": str(event.seq),
    }
