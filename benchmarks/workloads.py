"""The work that each tick or delivery costs, as calls that do the same each time: no server, no clock, no chance.

`python -m benchmarks.workloads` runs each once, for a tool that counts (`counting`); `os.getppid`, which nothing else calls, is the mark
before and behind each.
"""

import gc
import os
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, cast

from redis.asyncio import Redis

from services.analyzer.state_machine import StateMachine
from services.gateway.alert_index import AlertIndex
from services.gateway.frames import Frame
from services.gateway.hub import History, Hub
from services.gateway.outbox import Limits, Outbox, Update
from services.gateway.protocol import ALL, Position, encode_update
from services.persister import rows
from shared.commits import Digest, Entries, State
from shared.events import TickValues, read_enriched
from shared.incarnations import Head
from shared.redis import log

BATCH = 1000
TICKERS = 100
CLIENTS = 1000
SMALL = 7
"""Stocks of a message of 1 KB."""
WARM = 4
"""Runs before the one that counts: caches are filled and the interpreter has specialised its code."""
INCARNATION = "1795346662034123-3fa9c1d2"
TIME_MS = 1_771_105_101_950

Workload = Callable[[int], object]
"""Does its work once more; is given 0, 1, 2 … in turn."""


def ticks(run: int) -> list[TickValues]:
    """A batch of ticks whose prices wander."""
    begin = run * BATCH
    return [
        (f"T{n % TICKERS:04d}", f"{100 + n % TICKERS}.{(begin + n * 7) % 10}{n % 9 + 1}", str(TIME_MS + begin + n), "simulated", "", "", "")
        for n in range(BATCH)
    ]


def tick_entries(run: int) -> Entries:
    """The same as Redis gives them."""
    names = ("ticker", "price", "ts", "source", "volume", "quote_ts", "shed")
    begin = run * BATCH
    return [
        (f"{TIME_MS}-{begin + n}", ["seq", str(begin + n + 1), *(text for pair in zip(names, tick, strict=True) for text in pair)])
        for n, tick in enumerate(ticks(run))
    ]


def enriched_entries(run: int) -> Entries:
    """The events of that batch."""
    names = ("seq", "ticker", "price", "ts", "source", "tick_id", "sma", "alert")
    begin = run * BATCH
    events = (
        (str(begin + n + 1), ticker, price, ts, source, f"{TIME_MS}-{begin + n}", price, "bullish" if n % 50 == 0 else "")
        for n, (ticker, price, ts, source, *_) in enumerate(ticks(run))
    )
    return [(f"{TIME_MS}-{event[0]}", [text for pair in zip(names, event, strict=True) for text in pair]) for event in events]


class _Deaf:
    """A Redis that answers every commit with OK and keeps nothing."""

    async def fcall(self, *_: object) -> list[object]:
        return ["OK", "0-0", 0, 0]


def workloads() -> dict[str, tuple[int, Workload]]:
    """What it is to how many units one run has, and the run."""
    return {
        "append: a tick frozen into a batch": (BATCH, _freezing()),
        "analyze: a tick read, judged and digested": (BATCH, _digesting()),
        "analyze: a tick of a commit as it is sent": (BATCH, _committing()),
        "persist: a tick as a line of COPY": (BATCH, _encoding("ticks", tick_entries)),
        "persist: an event as a line of COPY": (BATCH, _encoding("enriched", enriched_entries)),
        "fan-out: an event read, conflated and flushed": (BATCH, _flushing()),
        "fan-out: a message of 1 KB encoded, framed and compressed": (1, _framing()),
        "fan-out: a message offered to a client": (CLIENTS, _offering()),
    }


def _freezing() -> Workload:
    batches = [ticks(run) for run in range(WARM + 1)]
    return lambda run: log.freeze(1, batches[run % len(batches)])


def _machine() -> StateMachine:
    return StateMachine(State(INCARNATION, 5, "0-0", 0, 0, {}, {}))


def _digesting() -> Workload:
    batches = [tick_entries(run) for run in range(WARM + 1)]
    machines: list[StateMachine] = []

    def digest(run: int) -> Digest:
        if run % len(batches) == 0:
            machines[:] = [_machine()]
        return machines[0].digest(batches[run % len(batches)], (run % len(batches) + 1) * BATCH)

    return digest


def _committing() -> Workload:
    machine, redis = _machine(), cast("Redis", _Deaf())
    digests = [machine.digest(tick_entries(run), (run + 1) * BATCH) for run in range(WARM + 1)]

    def commit(run: int) -> None:
        digest = digests[run % len(digests)]
        _run(log.commit(redis, 0, token="bench", period=5, incarnation=INCARNATION, cap=BATCH, digest=digest))

    return commit


def _run(work: Coroutine[Any, Any, object]) -> None:
    """Run what never has to wait, without a loop."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise RuntimeError("it waits for something")


def _encoding(stream: str, entries: Callable[[int], Entries]) -> Workload:
    batches = [entries(run) for run in range(WARM + 1)]
    head = Head(INCARNATION, (), {stream: 10**9})
    before = [rows.Position(INCARNATION, "0-0", run * BATCH, run * BATCH) for run in range(WARM + 1)]
    return lambda run: rows.encode(stream, 0, batches[run % len(batches)], before[run % len(batches)], head)


def _flushing() -> Workload:
    hub, outbox = Hub(1, lambda: TIME_MS, lambda: None), _outbox()
    hub.load(0, Position(INCARNATION, 0), [], History(Head(INCARNATION, (), {"enriched": 0}), AlertIndex()))
    hub.join(outbox, ALL)
    batches = [enriched_entries(run) for run in range(WARM + 1)]

    def flush(run: int) -> None:
        events = [read_enriched(entry) for _, entry in batches[run % len(batches)]]
        hub.apply(0, Position(INCARNATION, (run + 1) * BATCH), events, lambda _: INCARNATION)
        hub.flush()

    return flush


class _Nowhere(Outbox):
    """An outbox whose messages go nowhere."""

    __slots__ = ()

    def write(self, frame: Frame) -> None: ...


def _outbox() -> Outbox:
    return _Nowhere(lambda *_: (), Limits(), 0.0)


def _stocks() -> list[str]:
    rest = '"price":101.25,"sma":100.5,"alert":null,"ts":"2026-02-14T21:38:21.950+00:00"'
    return [f'{{"ticker":"T{n:04d}",{rest},"seq":{n}}}' for n in range(SMALL)]


def _framing() -> Workload:
    stocks, cursor = _stocks(), "kpK5MTc5NTM0NjY2MjAzNDEyMy0zZmE5YzFkMs0DFg"
    return lambda run: [Frame(part).compressed for part in encode_update(TIME_MS + run, cursor, stocks)]


def _offering() -> Workload:
    outboxes = [_outbox() for _ in range(CLIENTS)]
    stocks = _stocks()
    update = Update(tuple(Frame(part) for part in encode_update(TIME_MS, "", stocks)), dict(zip("ABCDEFG", stocks, strict=True)), [])

    def offer(_: int) -> None:
        for outbox in outboxes:
            outbox.offer(update)

    return offer


def marked() -> Iterator[str]:
    """Run each after its warm-up, a mark before and behind."""
    gc.disable()  # whether a collection falls between two marks depends on all that was allocated since the start
    for what, (_, work) in workloads().items():
        for run in range(WARM):
            work(run)
        os.getppid()
        work(WARM)
        os.getppid()
        yield what


if __name__ == "__main__":
    for _ in marked():
        pass
