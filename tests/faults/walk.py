"""Walks over the crash points of a service: at each an armed process is started, struck, and replaced in mid-run.

All services are walked side by side in one pipeline: no walk waits for another one's recovery for longer than that takes.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from shared import streams
from shared.crash_points import CrashPoint, Kind
from tests.e2e.pipeline import STOP_SECONDS, Pipeline, Service, until
from tests.e2e.playing import progress, run_to_the_end
from tests.e2e.proof import GROUPS, Proof
from tests.e2e.viewer import Viewer
from tests.faults.small_market import FAST

LEASED = ("persister", "analyzer", "fetcher")
LEASE_POINTS = (CrashPoint.LEASE_ACQUIRED, CrashPoint.LEASE_BEFORE_RELEASE)
BESIDE_THE_WORK = (CrashPoint.FETCHER_NUMBERS_READ, CrashPoint.ANALYZER_BEFORE_TRIM)
"""What hangs or comes late there holds no worker up: the leases are kept."""
BESIDE_OTHERS = tuple(point for point in CrashPoint if point.startswith("persister."))
"""The same: a partition has three streams, and while one waits for PostgreSQL the others keep the lease."""
TICKS_MISSED = 10
"""By who stands still or comes late: every ticker has its turn, so that every partition has gone on without it."""


CURSORS = "SELECT stream, partition, position FROM cursors"


def as_numbers(entry_id: str) -> tuple[int, ...]:
    """An entry id that can be compared."""
    return tuple(map(int, entry_id.split("-")))


def points_of(name: str) -> list[CrashPoint]:
    """The points that a service passes."""
    own = [point for point in CrashPoint if point.startswith(f"{name}.")]
    return [*own, *LEASE_POINTS] if name in LEASED else own


class Walk:
    """A service of a running pipeline that is struck again and again."""

    def __init__(self, name: str, pipeline: Pipeline, proof: Proof, viewer: Viewer) -> None:
        self.name = name
        self._pipeline = pipeline
        self._proof = proof
        self._viewer = viewer

    async def steps(self, hit: int, kind: Kind) -> None:
        """A step at each of its points."""
        for point in points_of(self.name):
            await self.step(point, hit, kind)

    async def step(self, point: CrashPoint, hit: int, kind: Kind) -> None:
        """Let a fault strike, and have another process go on."""
        print(f"--- {self.name} at {point}, hit {hit}: {kind}")
        struck = await self._strike(point, hit, kind)
        await self._check_that_nothing_unstored_may_be_trimmed()
        match kind:
            case Kind.KILL:
                assert await struck.finish() == -signal.SIGKILL
                await self._replace()
            case Kind.RAISE:
                await self._outlive_an_error(struck)
            case Kind.HANG:
                await self._take_over_from_a_hung_one(struck, point)
            case Kind.DELAY | Kind.STOP if self.name == "gateway":
                await self._catch_up(struck)
            case Kind.DELAY | Kind.STOP:
                await self._outrun_a_late_one(struck, point, kind)

    async def _strike(self, point: CrashPoint, hit: int, kind: Kind) -> Service:
        struck = self._pipeline.start(self.name, FAULT=f"{point}:{hit}:{kind}")
        struck.may_end, struck.may_fail = True, kind is Kind.RAISE
        if point is CrashPoint.LEASE_BEFORE_RELEASE:
            await self._until_it_holds_all(struck)
            struck.terminate()
        if point is CrashPoint.FETCHER_NUMBERS_READ:
            await self._make_it_read_numbers(struck)
        await self._pipeline.until(struck.has_said("fault strikes"), f"the fault to strike the {self.name} at {point}")
        return struck

    async def _check_that_nothing_unstored_may_be_trimmed(self) -> None:
        """The group of the persister never stands beyond the cursor of PostgreSQL, wherever a process was struck."""
        groups = {stream: await self._proof.groups(stream) for stream in GROUPS}
        # Asked for later: it only moves on.
        stored = {(row["stream"], row["partition"]): row["position"] for row in await self._proof.fetch(CURSORS)}
        for stream, found in groups.items():
            for p, names in enumerate(found):
                if "persister" in names:
                    mirrored = names["persister"]["last-delivered-id"]
                    assert as_numbers(mirrored) <= as_numbers(stored.get((stream, p), "0-0")), (
                        f"{stream} {p} is mirrored before it is stored"
                    )

    async def _make_it_read_numbers(self, fetcher: Service) -> None:
        """A replay reads them again whenever it gains a partition: take one away, as another process might, and leave it free."""

        async def is_struck() -> bool:
            if not fetcher.said("fault strikes") and await leases_of(fetcher, self._proof):
                await self._proof.redis.hset(streams.lease("fetcher", 0), "token", "")
            return bool(fetcher.said("fault strikes"))

        await self._pipeline.until(is_struck, "the numbers to be read")

    async def _replace(self) -> None:
        """Let another process take over all of the work, and end in order."""
        await self._hand_on(self._pipeline.start(self.name))

    async def _hand_on(self, successor: Service) -> None:
        """Wait until it does all of the work, and end it in order."""
        if self.name == "gateway":
            seen = self._viewer.connections
            await self._viewer.until(lambda _: self._viewer.connections > seen, "the next gateway")
        else:
            await self._until_it_holds_all(successor)
        await end(successor)

    async def _outlive_an_error(self, struck: Service) -> None:
        """Either the worker is begun again, or the process ends with 1 and another takes over."""

        async def has_failed() -> bool:
            return bool(struck.said("worker failed")) or struck.process.poll() is not None

        await self._pipeline.until(has_failed, "the error to be noticed")
        if not struck.said("worker failed"):
            assert await struck.finish() == 1
            await self._replace()
            return

        async def has_begun_again() -> bool:
            return len(struck.said("lease taken")) > self._proof.expected.partitions

        await self._pipeline.until(has_begun_again, "the worker to begin again")
        await self._hand_on(struck)

    async def _take_over_from_a_hung_one(self, struck: Service, point: CrashPoint) -> None:
        if point is CrashPoint.LEASE_BEFORE_RELEASE:
            assert await struck.finish(STOP_SECONDS) == 0
            await self._replace()
        elif self.name == "gateway":
            if point is CrashPoint.GATEWAY_BATCH_READ:
                await self._viewer.until(lambda book: book.stale[-1:] == [True], "that nothing is heard of Redis")
            struck.kill()
            await self._replace()
        elif point in (*BESIDE_THE_WORK, *BESIDE_OTHERS):
            struck.kill()
            await self._replace()
        else:
            successor = await self._start_and_take_over()
            struck.kill()
            await self._hand_on(successor)

    async def _start_and_take_over(self) -> Service:
        """Start another process, which takes at least one lease over although nobody released it."""
        successor = self._pipeline.start(self.name)

        async def has_taken_over() -> bool:
            return any(line["taken_over"] for line in successor.said("lease taken"))

        await self._pipeline.until(has_taken_over, f"another {self.name} to take over")
        return successor

    async def _outrun_a_late_one(self, struck: Service, point: CrashPoint, kind: Kind) -> None:
        """Another process goes on with the work; the late one must notice, and do no harm."""
        keeps_leases = point in (*BESIDE_THE_WORK, *BESIDE_OTHERS) and kind is Kind.DELAY
        successor = self._pipeline.start(self.name) if keeps_leases else await self._start_and_take_over()
        await self._flow(TICKS_MISSED)
        struck.go_on()
        if point is CrashPoint.LEASE_BEFORE_RELEASE:
            assert await struck.finish(STOP_SECONDS) == 0
        else:
            if not keeps_leases:
                await self._pipeline.until(struck.has_said("lease lost"), "the late one to notice")
            await end(struck)
        await self._hand_on(successor)

    async def stop_anywhere(self, ticks: int) -> None:
        """Stop one after it has worked for so many ticks, wherever it is; another takes over, and then it goes on."""
        struck = self._pipeline.start(self.name)
        await self._until_it_holds_all(struck)
        await self._flow(ticks)
        struck.pause()
        successor = await self._start_and_take_over()
        await self._flow(TICKS_MISSED)
        struck.go_on()
        await self._pipeline.until(struck.has_said("lease lost"), "the stopped one to notice")
        await end(struck)
        await self._hand_on(successor)

    async def stop_for_ever(self, point: CrashPoint) -> None:
        """Stop a persister at a point; another one must store what is there, although the first one never goes on."""
        struck = await self._strike(point, 1, Kind.STOP)
        successor = await self._start_and_take_over()
        there = [await self._proof.redis.xlen(key) for key in self._streams()]

        async def is_stored() -> bool:
            passed = [int(found["persister"]["entries-read"] or 0) for stream in GROUPS for found in await self._proof.groups(stream)]
            return all(count >= wanted for count, wanted in zip(passed, there, strict=True))

        await self._pipeline.until(is_stored, "another persister to store what is there")
        struck.kill()
        await self._hand_on(successor)

    def _streams(self) -> list[str]:
        return [streams.stream(name, p) for name in GROUPS for p in range(self._proof.expected.partitions)]

    async def insist(self) -> None:
        """Ask one to end that cannot: a second signal must end it at once."""
        struck = await self._strike(CrashPoint.LEASE_BEFORE_RELEASE, 1, Kind.DELAY)
        struck.terminate()
        assert await struck.finish(STOP_SECONDS) == 1
        assert struck.said("second signal, exiting at once")
        await self._replace()

    async def _catch_up(self, gateway: Service) -> None:
        """Let it go on after some ticks, and see that its clients get them."""
        await self._flow(TICKS_MISSED)
        gateway.go_on()
        shown = self._viewer.book.cursor
        await self._viewer.until(lambda book: book.cursor != shown, "what the gateway missed")
        await end(gateway)

    async def _flow(self, ticks: int) -> None:
        """Let so many more be done, by whoever does it."""
        done = await progress(self._proof, self.name)

        async def has_flowed() -> bool:
            return await progress(self._proof, self.name) >= done + ticks

        await self._pipeline.until(has_flowed, f"{ticks} more ticks done by {self.name}")

    async def _until_it_holds_all(self, service: Service) -> None:
        async def holds_all() -> bool:
            return await leases_of(service, self._proof) == self._proof.expected.partitions

        await self._pipeline.until(holds_all, f"a {self.name} to hold every partition")


async def walk_together(names: Iterable[str], pipeline: Pipeline, proof: Proof, walked: Callable[[Walk], Awaitable[None]]) -> None:
    """Have these services walked at the same time, beside the others; then all must be as if nothing had happened."""
    async with playing_slowly(pipeline, proof) as (running, viewer):

        async def walk_one(name: str) -> None:
            await end(running[name])
            await walked(Walk(name, pipeline, proof, viewer))
            # The walks that take longer need it.
            running[name] = pipeline.start(name)

        async with asyncio.TaskGroup() as together:
            for name in names:
                together.create_task(walk_one(name))


@asynccontextmanager
async def playing_slowly(pipeline: Pipeline, proof: Proof) -> AsyncIterator[tuple[dict[str, Service], Viewer]]:
    """One of each service at work, and a client; then the rest of the file is played fast, and all must be exact."""
    async with pipeline:
        await pipeline.migrate()
        running = {name: pipeline.start(name) for name in ("gateway", "persister", "analyzer")}
        # A client that comes before the first tick sees every alert, however slow the start was.
        async with Viewer(pipeline.port) as viewer:
            running["fetcher"] = pipeline.start("fetcher")
            yield running, viewer
            await end(running["fetcher"])
            assert await pipeline.start("fetcher", **FAST).finish() == 0
            await run_to_the_end(pipeline, proof, viewer)
    # The cursor comes before the rows, so that who comes too late never sees a row that is there already.
    assert not [service for service in pipeline.started if "duplicate key" in service.text]
    await proof.check_all()
    proof.check_prices(viewer.book.stocks.values())
    await proof.check_alerts_seen(viewer.book)


async def end(service: Service) -> None:
    """Ask it to end, if it still runs: with 0, within the contract's bound."""
    await until(service.heeds_signals, f"{service.name} to have started")
    service.terminate()
    assert await service.finish(STOP_SECONDS) == 0


async def leases_of(service: Service, proof: Proof) -> int:
    """How many partitions it holds; one that is released is nobody's."""
    keys = [streams.lease(service.name, p) for p in range(proof.expected.partitions)]
    found = [await proof.redis.hmget(key, ["owner", "token"]) for key in keys]
    return sum(bool(token) and f":{service.process.pid}:" in str(owner) for owner, token in found)
