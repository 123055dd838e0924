"""The processes of a service that live, as each of them sees it: their number is what a fair share is made of."""

import time

import structlog
from redis.asyncio import Redis

from shared import metrics, streams
from shared.errors import NotReady, TransientError
from shared.lease_rules import Standstill
from shared.redis.log import call

log = structlog.get_logger(__name__)


class Members:
    """Says again and again that this process lives, and learns who else does."""

    def __init__(self, redis: Redis, service: str, name: str, *, lease_seconds: float, longest_step_seconds: float) -> None:
        self.live = frozenset({name})
        self._redis = redis
        self._service = service
        self._name = name
        self._lease_seconds = lease_seconds
        self._standstill: Standstill[str] = Standstill(longest_step_seconds)
        self._dead: dict[str, str] = {}
        self._is_refused = False
        self._gauge = metrics.LEASE_MEMBERS.labels(service)
        self._gauge.set(1)

    async def attend(self) -> bool:
        """Beat, and look at the others; return whether they are others than before. What Redis refuses changes nothing."""
        still = [text for member in self._dead.items() for text in member]
        try:
            told = await call(self._redis, "attend", [streams.members(self._service)], self._name, *still)
        except NotReady:
            raise
        except TransientError as error:
            self._refuse(str(error))
            return False
        self._is_refused = False
        return self._learn(dict(zip(told[::2], told[1::2], strict=True)))

    async def leave(self) -> None:
        """Say that this process ends."""
        await call(self._redis, "leave", [streams.members(self._service)], self._name)

    def forget(self) -> None:
        """Start watching anew: after an error nothing is known about the time in between."""
        self._standstill.forget()

    def _learn(self, counters: dict[str, str]) -> bool:
        now = time.monotonic()
        others = {name: beats for name, beats in counters.items() if name != self._name}
        self._standstill.retain(others)
        still_seconds = {name: self._standstill.look(name, beats, now) for name, beats in others.items()}
        self._dead = {name: others[name] for name, seconds in still_seconds.items() if seconds >= self._lease_seconds}
        before, self.live = self.live, frozenset({self._name, *others} - self._dead.keys())
        if self.live != before:
            self._say_changes(before)
        return self.live != before

    def _say_changes(self, before: frozenset[str]) -> None:
        self._gauge.set(len(self.live))
        stood_still = (before - self.live) & self._dead.keys()
        changes = {"joined": self.live - before, "left": before - self.live - stood_still, "stood_still": stood_still}
        said = {change: sorted(names) for change, names in changes.items() if names}
        log.info("members changed", lease=self._service, members=len(self.live), **said)

    def _refuse(self, reason: str) -> None:
        if not self._is_refused:
            log.error("redis refuses the members of a service, shares stay as they are", lease=self._service, reason=reason)
        self._is_refused = True
