"""Polling a source: every ticker is asked in each cycle, by itself, and whatever answers is appended at once.

A ticker that is slow, unknown or refused costs the others nothing. The event time of a tick is the scheduled start of its
cycle, and Redis skips a tick that is not newer than its ticker's last: two fetchers in one cycle give one tick.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

import stamina
import structlog
from redis.asyncio import Redis

from services.fetcher.clock import Clock
from services.fetcher.measures import Calls
from services.fetcher.outcomes import Change, Outcomes
from services.fetcher.producer import MOST_TICKS, LiveProducer
from services.fetcher.providers.finnhub import Outcome, Quote, Refusal
from services.fetcher.quota import Quota
from services.fetcher.schedule import Cycle, Schedule
from services.fetcher.settings import FetcherSettings
from services.fetcher.shedding import Waiting
from shared import metrics, streams
from shared.backoff import Backoff
from shared.errors import ConfigurationError, Problem
from shared.partitions import partition_of
from shared.redis.lease import Lease
from shared.redis.log import read_hash
from shared.runtime import first_cause, until_ready

SOURCE = "finnhub"
RETRIED = frozenset((Outcome.SERVER_ERROR, Outcome.TIMEOUT, Outcome.UNREACHABLE, Outcome.LIMITED))
"""Answers that may be better in a moment."""
TRIES = 3
SAY_SECONDS = 2.0
"""A storm of refusals is told in one line."""
LONGEST_SLEEP_SECONDS = 300.0
"""A clock that was set must not leave a ticker asleep."""
DOUBT_SECONDS = 0.2
"""How often a poller looks whether Redis has confirmed its lease again."""
MOST_REJECTED = 100
"""Malformed answers kept for `deadletters`; while Redis is away more may come."""

log = structlog.get_logger(__name__)


class Provider(Protocol):
    """Who is asked."""

    async def quote(self, ticker: str) -> Quote | Refusal:
        """Ask for a price; never raises for what the provider does."""


class _Again(Exception):
    """This call is worth another try."""


class Line:
    """The way to the provider that all partitions of a process share: its quota, its pauses, and whether it takes our key."""

    def __init__(self, provider: Provider, quota: Quota, clock: Clock) -> None:
        self._provider = provider
        self._quota = quota
        self._clock = clock
        self._limited = Backoff(first_seconds=5, most_seconds=60)
        self._calls = Calls()
        self._newest_ms: dict[str, int] = {}
        self._works = False
        self._tickers = 0

    @contextmanager
    def shared_by(self, own: int, everything: int) -> Iterator[None]:
        """Use the part of the quota that `own` of all tickers are, for the time of the block."""
        self._tickers += own
        self._quota.take_share(self._tickers / everything)
        try:
            yield
        finally:
            self._tickers -= own
            self._quota.take_share(self._tickers / everything)

    async def ask(self, ticker: str, cycle: Cycle, lease: Lease) -> Quote | Refusal:
        """Ask until there is an answer worth having; no call begins once the cycle is over, or while the lease is in doubt.

        Raise `ConfigurationError` if the key is refused and never was taken.
        """
        refusal = Refusal(Outcome.LIMITED, "no call was left in this cycle")
        with suppress(_Again):
            async for attempt in stamina.retry_context(
                on=_Again, attempts=TRIES, timeout=None, wait_initial=0.5, wait_max=5.0, wait_jitter=1.0
            ):
                with attempt:
                    if not await self._has_place(cycle, lease):
                        return refusal
                    answer = await self._call(ticker)
                    if isinstance(answer, Quote) or answer.outcome not in RETRIED:
                        return answer
                    refusal = answer
                    raise _Again
        return refusal

    async def _call(self, ticker: str) -> Quote | Refusal:
        self._quota.begin()
        began = self._clock.steady()
        try:
            answer = self._refuse_older(ticker, await self._provider.quote(ticker))
        finally:
            self._quota.end(self._clock.steady())
        outcome = answer.outcome if isinstance(answer, Refusal) else Outcome.OK
        self._calls.note_answer(outcome, self._clock.steady() - began)
        self._learn(answer)
        return answer

    async def _has_place(self, cycle: Cycle, lease: Lease) -> bool:
        """Wait for a place in the quota, and until the lease is sure; False if the cycle is over before."""
        with self._calls.waiting():
            # While the lease is in doubt somebody else may poll, and two would share one quota.
            while wait_seconds := self._quota.wait_seconds(self._clock.steady()) or DOUBT_SECONDS * lease.is_in_doubt:
                if self._clock.now() + wait_seconds >= cycle.end or await self._clock.wait(wait_seconds, lease.ended):
                    return False
        return self._clock.now() < cycle.end

    def _refuse_older(self, ticker: str, answer: Quote | Refusal) -> Quote | Refusal:
        """A later answer can be an older quote: some cache of the provider's has not heard of the newer one."""
        if isinstance(answer, Refusal):
            return answer
        quoted_ms, newest_ms = int(answer.quote_ts), self._newest_ms.get(ticker, 0)
        if quoted_ms < newest_ms:
            return Refusal(Outcome.OLDER, "an older quote than the one before")
        self._newest_ms[ticker] = quoted_ms
        return answer

    def _learn(self, answer: Quote | Refusal) -> None:
        match answer:
            case Quote() | Refusal(outcome=Outcome.UNKNOWN | Outcome.ZERO | Outcome.OLDER):
                self._works = True
                self._limited.reset()
            case Refusal(outcome=Outcome.LIMITED):
                self._pause(answer.retry_after_seconds)
            case Refusal(outcome=Outcome.UNAUTHORIZED) if not self._works:
                allowed = "is refused by the provider; see that it is whole and belongs to FINNHUB_BASE_URL"
                raise ConfigurationError((Problem("FINNHUB_API_KEY", "(hidden)", allowed),))
            case _:
                pass

    def _pause(self, seconds: float | None) -> None:
        """Begin no call for as long as the provider says, else longer each time: a whole burst that was refused counts once."""
        now = self._clock.steady()
        if seconds is not None:
            self._quota.pause(now, seconds)
        elif not self._quota.is_paused(now):
            self._quota.pause(now, self._limited.next_seconds())


class Polling:
    """Polls the tickers of each partition held: `work` for each lease."""

    def __init__(self, redis: Redis, settings: FetcherSettings, line: Line, schedule: Schedule, clock: Clock) -> None:
        self._redis = redis
        self._settings = settings
        self._line = line
        self._schedule = schedule
        self._clock = clock

    async def work(self, lease: Lease) -> None:
        """Poll until the lease ends. Raise `Fenced` if it is somebody else's, `ConfigurationError` if the key is refused."""
        everything = self._settings.live_tickers
        own = [ticker for ticker in everything if partition_of(ticker, self._settings.partitions) == lease.partition]
        if not own:
            return
        producer = LiveProducer(self._redis, lease, cap=self._settings.stream_cap, lease_seconds=self._settings.lease_seconds)
        served = await until_ready(lambda: read_served(self._redis, lease.partition, own), what="redis", stop=lease.ended)
        with self._line.shared_by(len(own), len(everything)):
            await self._poll(own, served or {}, _Desk(lease, producer, self._settings.lease_seconds))

    async def _poll(self, own: Sequence[str], served: dict[str, float], desk: "_Desk") -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                asking = [tasks.create_task(self._ask_for_ever(t, served.get(t, 0.0), desk), name=f"ask {t}") for t in own]
                await desk.append_until_ended()
                for task in asking:
                    task.cancel()
        except BaseExceptionGroup as group:
            raise first_cause(group) from group

    async def _ask_for_ever(self, ticker: str, served: float, desk: "_Desk") -> None:
        while not desk.ended.is_set():
            now = self._clock.now()
            cycle = self._schedule.cycle_at(now)
            if cycle is not None and cycle.start > served:
                served = cycle.start
                desk.take(ticker, cycle, await self._line.ask(ticker, cycle, desk.lease))
            else:
                await self._clock.wait(self._schedule.wait_seconds(now, LONGEST_SLEEP_SECONDS), desk.ended)


async def read_served(redis: Redis, partition: int, tickers: Sequence[str]) -> dict[str, float]:
    """The start of the newest cycle (epoch seconds) of which Redis has a tick, by ticker: a successor asks for none of them again."""
    values = await read_hash(redis, streams.last(partition), list(tickers))
    return {ticker: int(ms) / 1000 for ticker, ms in zip(tickers, values, strict=True) if ms and ms.isdigit()}


class _Desk:
    """Takes the answers for one partition in and appends them: what is waiting, as soon as the batch before was answered."""

    def __init__(self, lease: Lease, producer: LiveProducer, lease_seconds: float) -> None:
        self.ended = lease.ended
        self.lease = lease
        self._producer = producer
        self._round_seconds = min(1.0, lease_seconds / 3)
        self._more = asyncio.Event()
        self._waiting = Waiting()
        self._rejected: deque[tuple[str, str]] = deque(maxlen=MOST_REJECTED)
        self._outcomes = Outcomes()
        self._shed = 0
        self._said_at = float("-inf")

    def take(self, ticker: str, cycle: Cycle, answer: Quote | Refusal) -> None:
        """Take what a call for a ticker gave."""
        if isinstance(answer, Quote):
            ts = str(round(cycle.start * 1000))
            self._shed += self._waiting.put((ticker, answer.price, ts, SOURCE, "", answer.quote_ts, ""))
            self._outcomes.note(ticker, Outcome.OK)
        else:
            if answer.payload:
                self._rejected.append((f"{SOURCE} {ticker}: {answer.reason}", answer.payload))
            self._outcomes.note(ticker, answer.outcome, answer.reason)
        self._more.set()

    async def append_until_ended(self) -> None:
        """Append whatever is waiting, until the lease ended; what was answered by then is still appended."""
        now = asyncio.get_running_loop().time
        while not self.ended.is_set():
            self._more.clear()
            await self._append()
            self.lease.progress()
            self._say(now())
            await self._wait_for_more()
        await self._append()
        self._say(float("inf"))

    async def _append(self) -> None:
        while len(self._waiting) or self._rejected:
            rejected = list(self._rejected)
            self._rejected.clear()
            ticks = self._waiting.take(MOST_TICKS - len(rejected))
            if not await self._producer.offer(ticks, rejected):
                self._rejected.extendleft(reversed(rejected))
                self._shed += self._waiting.give_back(ticks)
                return  # newer prices replace these until there is room

    async def _wait_for_more(self) -> None:
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._more, self.ended)]
        try:
            await asyncio.wait(waiting, timeout=self._round_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    def _say(self, now: float) -> None:
        if now - self._said_at < SAY_SECONDS:
            return
        self._said_at = now
        for change in self._outcomes.changes():
            _log_change(change)
        if self._shed:
            metrics.FETCHER_SHED.inc(self._shed)
            log.warning("ticks shed, newer ones came before there was room", partition=self.lease.partition, ticks=self._shed)
            self._shed = 0


def _log_change(change: Change) -> None:
    tickers = list(change.tickers)
    match change.outcome:
        case Outcome.OK:
            log.info("prices again", tickers=tickers)
        case Outcome.UNKNOWN:
            log.warning("unknown symbols, see TICKERS", tickers=tickers)
        case Outcome.FORBIDDEN:
            log.warning("symbols that the plan of this key does not include, see TICKERS", tickers=tickers)
        case _:
            log.warning("no prices", outcome=change.outcome.value, tickers=tickers, reason=change.reason)
