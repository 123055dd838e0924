"""What is done to the plant, chosen by a seed: each fault is begun, ended and counted here."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

from tests.e2e.pipeline import Service
from tests.faults.endurance.plant import LEASE_SECONDS, MOST, Plant
from tests.faults.proxy import FaultProxy

BETWEEN_SECONDS = (0.1, 1.5)


class Havoc:
    """`cause_one` at a time; `counts` is what was done."""

    def __init__(self, plant: Plant, chance: Random) -> None:
        self.counts: Counter[str] = Counter()
        self._plant = plant
        self._chance = chance
        self._faults: dict[Callable[[], Awaitable[None]], int] = {
            self.kill_service: 10,
            self.stop_service: 4,
            self.pause_service: 5,
            self.scale: 5,
            self.cut: 6,
            self.silence: 2,
            self.kill_redis: 1,
            self.fail_over: 2,
            self.kill_postgres: 1,
        }

    async def cause_until(self, over: asyncio.Event) -> None:
        """One fault after the other until `over` is set; at the end nothing is paused or cut off any more."""
        while not over.is_set():
            fault = self._chance.choices(list(self._faults), list(self._faults.values()))[0]
            await fault()
            self._restore()
            await asyncio.sleep(self._chance.uniform(*BETWEEN_SECONDS))

    def _restore(self) -> None:
        """At least one process of each service: what was killed is started again."""
        for name, services in self._plant.services.items():
            if all(service.process.poll() is not None for service in services):
                self._plant.start(name)
        self._plant.forget_ended()

    def _any_service(self) -> tuple[str, Service]:
        running = [(name, each) for name, services in self._plant.services.items() for each in services if each.process.poll() is None]
        return self._chance.choice(running)

    async def kill_service(self) -> None:
        """kill -9 of any process, and another one in its place, sometimes later."""
        name, service = self._any_service()
        service.kill()
        self.counts["kills"] += 1
        await asyncio.sleep(self._chance.choice((0, 0, LEASE_SECONDS * 1.5)))
        self._plant.start(name)

    async def stop_service(self) -> None:
        """SIGTERM of any process that heeds it, and another one in its place; it must end with 0."""
        name, service = self._any_service()
        if not await service.heeds_signals():
            return
        service.terminate()
        self.counts["stops"] += 1
        code = await service.finish()
        assert code == 0, f"{name} ended with {code} after SIGTERM"
        self._plant.start(name)

    async def pause_service(self) -> None:
        """SIGSTOP of any process, for less or more than its lease, then SIGCONT."""
        _, service = self._any_service()
        service.pause()
        self.counts["pauses"] += 1
        await asyncio.sleep(LEASE_SECONDS * self._chance.uniform(0.1, 2.5))
        service.go_on()

    async def scale(self) -> None:
        """One process more of a service, or one less."""
        name = self._chance.choice([*MOST])
        running = [each for each in self._plant.services[name] if each.process.poll() is None]
        spare = next((each for each in running[1:] if each is not self._plant.main_gateway), None)
        if len(running) < MOST[name] and (spare is None or self._chance.random() < 0.5):
            self._plant.start(name)
        elif spare is not None and await spare.heeds_signals():
            spare.terminate()
        self.counts["scalings"] += 1

    async def cut(self) -> None:
        """Reset every connection to one of the servers."""
        self._any_way().cut()
        self.counts["cuts"] += 1

    async def silence(self) -> None:
        """Pass nothing on to or from one of the servers for a while, then reset what hung in it."""
        way = self._any_way()
        way.swallow(True)
        self.counts["silences"] += 1
        await asyncio.sleep(self._chance.uniform(0.2, 3))
        way.swallow(False)
        way.cut()

    def _any_way(self) -> FaultProxy:
        return self._chance.choice((self._plant.to_redis, self._plant.to_redis, self._plant.to_postgres))

    async def kill_redis(self) -> None:
        """kill -9 of Redis, which starts again with its append-only file."""
        await self._plant.restart_redis()
        self.counts["kills"] += 1

    async def kill_postgres(self) -> None:
        """kill -9 of PostgreSQL, which recovers."""
        await self._plant.restart_postgres()
        self.counts["kills"] += 1

    async def fail_over(self) -> None:
        """The replica serves, sometimes without the last it should have; the old primary comes back."""
        await self._plant.fail_over(self._chance.choice((0, 0.05, 0.3)))
        self.counts["fail-overs"] += 1
