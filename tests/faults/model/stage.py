"""The stage: one partition on a real Redis and a real PostgreSQL, its actors, and a scheduler that draws all from one seed."""

import asyncio
import random
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import asyncpg
from redis import Redis
from redis.exceptions import ResponseError

from services.fetcher.providers.replay import BadRow, Row
from shared import streams
from shared.redis.deployment import Deployment
from tests.faults.model import actors
from tests.faults.model.actors import REPLAY_ID, Deliver, Prices
from tests.faults.model.gates import Actor, Fate, GatedPool, GatedRedis, current_actor
from tests.faults.model.oracle import ROWS, Archive, Audience, Objection, Timeline, Witness

TURNS = 25
"""Turns of the loop in which an actor that was let through has come to its next gate."""

FETCHERS_WEIGHT = 3
"""They let through more often than others: without ticks nothing happens."""

STEPS_SHOWN = 40
CALM_STEPS = 4000
"""Far more than all actors together need to finish what there is."""

WRITES = ("append_1", "commit_1", "mirror_1", "trim_1", "acquire_1", "heartbeat_1", "release_1", "load_1", "prepare_1")
FATES = {
    "append_1": ((0.03, Fate.UNSENT), (0.18, Fate.UNANSWERED), (0.05, Fate.TWICE), (0.04, Fate.STRAY), (0.2, Fate.LATE)),
    "write": ((0.03, Fate.UNSENT), (0.07, Fate.UNANSWERED), (0.05, Fate.TWICE), (0.04, Fate.STRAY), (0.25, Fate.LATE)),
    "read": ((0.02, Fate.UNSENT), (0.2, Fate.LATE)),
    "COMMIT": ((0.05, Fate.UNSENT), (0.08, Fate.UNANSWERED)),
    "SQL": ((0.01, Fate.UNSENT), (0.01, Fate.UNANSWERED)),
}
TABLES = ("cursors", "ticks", "enriched", "stream_events")


class Stage:
    """What the actors share, who decides their fates, and what is done to the servers."""

    def __init__(self, seed: int, redis: Redis, store: asyncpg.Connection, deliver: Deliver) -> None:
        self.rng = random.Random(seed)
        self.now = 0
        self.is_calm = False
        self.partition = self.rng.randrange(4)
        period = self.rng.choice((2, 3, 5))
        self.settings = actors.settings_of(period, self.rng.choice((30, 400, 400)))
        self.deployment = Deployment.wanted(self.partition + 1, period)
        self.window_ms = self.rng.choice((0, 10**12))
        self.deliver = deliver
        self.real: Any = redis
        self.redis: Any = GatedRedis(redis, self)
        self.witness = Witness(redis, self.partition, period)
        self.new_audience()
        self.redis_lives = 1
        self.locks: dict[str, Actor] = {}
        self.actors: list[Actor] = []
        self.trace: deque[str] = deque(maxlen=STEPS_SHOWN)
        self.counts: dict[str, int] = {}
        self._store = store
        self._busy: list[asyncio.Event] = []
        self._problem: Objection | None = None
        self._copies: list[tuple[dict[str, bytes], Timeline]] = []
        self._backup: dict[str, list[tuple[Any, ...]]] = {}
        self._was_restored = False
        self._has_lost = False
        self._lives = 0
        prices = Prices(self.rng)
        rows = [prices.tick("replay", number) for number in range(1, 41)]
        self.recording: list[Row | BadRow] = [
            BadRow(self.partition, number, "is no tick", f"row {number}") if number % 17 == 0 else Row(self.partition, number, tick)
            for number, tick in enumerate(rows, 1)
        ]
        self._prices = prices

    def set_the_stage(self, connections: list[asyncpg.Connection]) -> None:
        """Make the actors."""
        lives: dict[str, Callable[[], Awaitable[None]]] = {"trimmer": partial(actors.trimmer, self, self.window_ms)}
        for number in (1, 2):
            lives[f"fetcher-{number}"] = partial(actors.fetcher, self, self._next_life, self._prices)
            lives[f"analyzer-{number}"] = partial(actors.analyzer, self)
        lives["analyzer-twin"] = partial(actors.analyzer_twin, self)
        lives["viewer"] = partial(actors.viewer, self)
        pairs = [(number, stream) for number in (1, 2) for stream in ("ticks", "enriched")]
        for (number, stream), connection in zip(pairs, connections, strict=True):
            lives[f"persister-{number}-{stream}"] = partial(actors.persister, self, stream, GatedPool(connection, self))
        self.actors = [Actor(name, live) for name, live in lives.items()]

    def chance(self, probability: float) -> bool:
        """Whether a thing of that probability happens now; never once it is calm."""
        return not self.is_calm and self.rng.random() < probability

    def was_accepted(self, source: str, number: str) -> None:
        """Hold a producer's belief against what was ever in the stream."""
        if not self.witness.was_stored(source, number):
            self._object(f"tick {number} of {source} was taken for accepted, and was never in the stream")

    def fate_of(self, what: str) -> Fate:
        """Draw what becomes of a request."""
        kind = what if what in FATES else "SQL" if what.isupper() else "write" if what in WRITES else "read"
        drawn = self.rng.random()
        if not self.is_calm:
            for probability, fate in FATES[kind]:
                drawn -= probability
                if drawn < 0:
                    self._note(f"  {what}: {fate.name}")
                    if fate in (Fate.UNANSWERED, Fate.STRAY) and self.rng.random() < (0.6 if what == "append_1" else 0.1):
                        # A process that hangs when it hears nothing: others take over, and then it tries again.
                        current_actor.get().paused_until = self.now + 3 * actors.LEASE_STEPS
                    return fate
        return Fate.ANSWERED

    def execute(self, name: str, run: Callable[[], Any]) -> Any:
        """Run a request against Redis; the oracle looks on."""
        needed = self.witness.needed() if name == "trim_1" else None
        answer = run()
        if name in WRITES:
            self._note(f"  {name}: {answer}")
            self._count(f"{name}:{answer[0]}" if name in ("append_1", "commit_1") else name)
        try:
            if name in ("append_1", "commit_1"):
                self.witness.look()
            if needed is not None:
                self.witness.check_trimmed(needed)
        except Objection as objection:
            self._problem = self._problem or objection
        return answer

    def working(self) -> asyncio.Event:
        """An event to set when the work of PostgreSQL that begins now has ended."""
        done = asyncio.Event()
        self._busy.append(done)
        return done

    def hear_of(self, error: asyncpg.PostgresError) -> None:
        """No statement of ours is ever refused: two persisters at once are told by zero rows, not by a violation.

        Except that a rewind can bring the cursor back to where a paused persister read its batch, which then passes the
        compare-and-set and meets rows that were stored before the loss: refused whole, and read again.
        """
        if isinstance(error, asyncpg.UniqueViolationError) and self._has_lost:
            return
        self._object(f"PostgreSQL refused a statement: {error!r}")

    async def play(self, steps: int) -> None:
        """Faults for so many steps, then calm until all is done, then the judgement; raise `Objection`."""
        for _ in range(steps):
            await self._step()
        self.is_calm = True
        for actor in self.actors:
            actor.paused_until = 0
        for _ in range(CALM_STEPS):
            await self._step()
            if self.now % 50 == 0 and await self._is_done():
                break
        else:
            raise Objection(f"not done after {CALM_STEPS} calm steps")
        await self._judge()

    async def end(self) -> None:
        """Crash all."""
        for actor in list(self.actors):
            await self._crash(actor)

    async def _step(self) -> None:
        self.now += 1
        if not self.is_calm:
            await self._misfortune()
        ready = [actor for actor in self.actors if actor.task is None or (actor.paused_until <= self.now and self._open(actor))]
        if ready:
            await self._let(self.rng.choices(ready, [FETCHERS_WEIGHT if actor.name.startswith("fetcher") else 1 for actor in ready])[0])
        if self._problem:
            raise self._problem

    async def _let(self, actor: Actor) -> None:
        if actor.task is None:
            actor.task = asyncio.create_task(self._live(actor), name=actor.name)
        else:
            passed = self.rng.choice(self._open(actor))
            self._note(f"{self.now} {actor.name}: {passed.what}")
            passed.passed.set_result(None)
        await self._settle()

    def _open(self, actor: Actor) -> list[Any]:
        return [gate for gate in actor.gates if not gate.passed.done() and gate.is_open()]

    async def _live(self, actor: Actor) -> None:
        current_actor.set(actor)
        try:
            await actor.live()
        except Objection as objection:
            self._problem = self._problem or objection
        except Exception as error:
            self._object(f"{actor.name} crashed of itself: {''.join(traceback.format_exception(error))}")

    async def _settle(self) -> None:
        """Until whoever was let through waits at a gate again."""
        while True:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            if not self._busy:
                return
            await self._busy.pop().wait()

    async def _misfortune(self) -> None:
        drawn = self.rng.random()
        for probability, strike in (
            (0.006, self._crash_one), (0.02, self._pause_one), (0.02, self._execute_a_stray), (0.01, self._copy_redis),
            (0.004, self._roll_back_redis), (0.005, self._restart_redis), (0.0006, self._flush_redis), (0.002, self._turn_clock_on),
            (0.004, self._back_up_postgres), (0.0015, self._restore_postgres),
        ):  # fmt: skip
            drawn -= probability
            if drawn < 0:
                self._note(f"{self.now} {strike.__name__}")
                self._count(strike.__name__)
                await strike()
                return

    async def _crash_one(self) -> None:
        await self._crash(self.rng.choice(self.actors))

    async def _crash(self, actor: Actor) -> None:
        actor.die()
        if actor.task is not None:
            await asyncio.wait({actor.task})
        self._busy.clear()
        self._note(f"  {actor.name} crashed")
        # What it sent may still arrive.
        self.actors[self.actors.index(actor)] = Actor(actor.name, actor.live, strays=actor.strays)

    async def _pause_one(self) -> None:
        self.rng.choice(self.actors).paused_until = self.now + self.rng.choice((20, 100, 300))

    async def _execute_a_stray(self) -> None:
        owners = [actor for actor in self.actors if actor.strays]
        if owners:
            with suppress(ResponseError):  # nobody waits for its answer
                self.execute(*self.rng.choice(owners).strays.pop(0))

    def _keys(self) -> list[str]:
        return sorted(self.real.scan_iter(match=f"*:{{{self.partition}}}*", count=1000))

    async def _copy_redis(self) -> None:
        self.witness.look()
        dumps = {key: self.real.execute_command("DUMP", key, NEVER_DECODE=True) for key in self._keys()}
        self._copies.append((dumps, self.witness.now.copy()))

    async def _roll_back_redis(self) -> None:
        """A fail-over to a replica that lagged: an older copy, whole, under another run_id; what was under way is lost."""
        if not self._copies:
            return
        place = self.rng.randrange(len(self._copies))
        dumps, timeline = self._copies[place]
        if streams.log(self.partition) not in dumps:
            return
        del self._copies[place + 1 :]
        self._lose_all()
        for key, dump in dumps.items():
            self.real.restore(key, 0, dump)
        self.witness.now = timeline.copy()
        await self._restart_redis()

    async def _restart_redis(self) -> None:
        """As the functions see it: the log was written under another run_id than the server's."""
        self.redis_lives += 1
        for actor in self.actors:
            actor.strays.clear()
        if self.real.exists(streams.log(self.partition)):
            self.real.hset(streams.log(self.partition), "run_id", f"{self.rng.getrandbits(160):040x}")

    async def _flush_redis(self) -> None:
        self._lose_all()
        self._copies.clear()
        self.witness.now = Timeline()

    def _lose_all(self) -> None:
        self._has_lost = True
        keys = self._keys()
        if keys:
            self.real.delete(*keys)
        for actor in self.actors:
            actor.strays.clear()

    async def _turn_clock_on(self) -> None:
        """New ids lie a minute ahead: after a roll-back others are below them, or the same ones are given once more."""
        for stream in ("ticks", "enriched"):
            key = streams.stream(stream, self.partition)
            if self.real.exists(key):
                newest = self.real.xinfo_stream(key)["last-generated-id"]
                self.real.execute_command("XSETID", key, f"{int(newest.partition('-')[0]) + 60_000}-0")

    async def _back_up_postgres(self) -> None:
        self._backup = {table: [tuple(row) for row in await self._store.fetch(f"SELECT * FROM {table}")] for table in TABLES}

    async def _restore_postgres(self) -> None:
        """An older backup; all connections die."""
        if not self._backup:
            return
        self._was_restored = True
        for actor in [actor for actor in self.actors if actor.name.startswith("persister")]:
            await self._crash(actor)
        async with self._store.transaction():
            for table, rows in self._backup.items():
                await self._store.execute(f"DELETE FROM {table}")
                await self._store.copy_records_to_table(table, records=rows)

    async def _is_done(self) -> bool:
        """Whether every row is in, and every reader has reached the end."""
        self.witness.look()
        now, p = self.witness.now, self.partition
        if not now.ticks or len(now.enriched) < len(now.ticks) or self.audience.reached < len(now.ticks):
            return False
        if int(self.real.hget(streams.producers(p), REPLAY_ID) or 0) < len(self.recording):
            return False
        found = await self._store.fetch("SELECT stream, incarnation, position FROM cursors WHERE partition = $1", p)
        reached = {stream: (incarnation, position) for stream, incarnation, position in found}
        return all(reached.get(stream, ("", ""))[1] == now.last_id(stream) for stream in ROWS)

    async def _judge(self) -> None:
        self.witness.look()
        numbers = [int(seen.fields["volume"]) for seen in self.witness.now.ticks if seen.fields["source"] == "replay"]
        wanted = [number for number, row in enumerate(self.recording, 1) if isinstance(row, Row)]
        if numbers != wanted:
            raise Objection(f"the recording is in the stream as {numbers}")
        archive = await Archive.read(self._store, self.partition, self.witness)
        archive.check_end(self.witness, was_restored=self._was_restored)
        self.audience.check_end()

    def new_audience(self) -> Audience:
        """The clients of a gateway that has just started."""
        self.audience = Audience(self.witness, self._first_kept)
        return self.audience

    def _first_kept(self) -> int:
        kept = self.real.xrange(streams.enriched(self.partition), count=1)
        return int(kept[0][1]["seq"]) if kept else len(self.witness.now.enriched) + 1

    def _next_life(self) -> str:
        self._lives += 1
        return f"live-{self._lives}"

    def _object(self, text: str) -> None:
        self._problem = self._problem or Objection(text)

    def _note(self, text: str) -> None:
        self.trace.append(text)

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
