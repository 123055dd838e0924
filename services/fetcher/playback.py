"""Playing a file: each pass reads it once and feeds all partitions held, each row exactly once per REPLAY_ID.

Rows are numbered per partition 1, 2, 3 ... in the order of the file, rejected ones too, and Redis keeps the last number
it stored. A pass skips what is stored. Whatever goes wrong (a lease lost or gained, rows that Redis lost) ends in
another pass.
"""

import asyncio
import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import structlog
from redis.asyncio import Redis

from services.fetcher.lane import Lane
from services.fetcher.producer import Appender
from services.fetcher.progress import ProgressReport
from services.fetcher.providers.replay import BadRow, Pacing, Reader, Row, digest
from services.fetcher.settings import FetcherSettings
from shared.crash_points import CrashPoint, reach
from shared.errors import ConfigurationError, InvalidEntry, Problem
from shared.redis.lease import Lease
from shared.redis.log import producer_numbers
from shared.runtime import until_ready, wait_or_stop

log = structlog.get_logger(__name__)

WARNINGS_PER_SECOND = 10
SECONDS_BETWEEN_LOOKS = 1.0
FUTURE_MS = 5000
"""How far ahead of Redis' clock `append` takes an event time."""
LEAST_WAIT_SECONDS = 0.01
LONGEST_WAIT_SECONDS = 60.0


@dataclass(frozen=True)
class Recording:
    """A file to play and the name under which Redis counts its rows."""

    path: Path
    replay_id: str
    total_bytes: int


async def open_recording(settings: FetcherSettings, stop: asyncio.Event) -> Recording | None:
    """Check the header and find the REPLAY_ID, None if stopped first; raise `ConfigurationError` if the file cannot be played."""
    path = settings.replay_file
    assert path is not None, "settings refuse a replay without a file"
    with path.open("rb") as file:
        try:
            Reader(file, settings.partitions, settings.tickers)
        except InvalidEntry as bad:
            raise ConfigurationError((Problem("REPLAY_FILE", str(path), str(bad)),)) from None
        file.seek(0)
        replay_id = settings.replay_id or await _find_digest(file, settings.tickers, stop)
        total_bytes = os.fstat(file.fileno()).st_size
    if replay_id is None:
        return None
    log.info("replay", file=str(path), replay_id=replay_id, bytes=total_bytes)
    return Recording(path, replay_id, total_bytes)


async def _find_digest(file: BinaryIO, tickers: Collection[str] | None, stop: asyncio.Event) -> str | None:
    replay_id = None
    with ProgressReport("digest of the file", os.fstat(file.fileno()).st_size) as report:
        for found in digest(file, tickers):
            replay_id = found
            report.update(file.tell())
            await asyncio.sleep(0)
            if stop.is_set():
                return None
    return replay_id


class Playback:
    """Plays a recording into the partitions that this process holds: `work` for each lease, `play` beside them."""

    def __init__(self, redis: Redis, settings: FetcherSettings, recording: Recording) -> None:
        self._redis = redis
        self._settings = settings
        self._recording = recording
        self._lanes: dict[int, Lane] = {}
        self._gained = asyncio.Event()
        self._appended = 0

    async def work(self, lease: Lease) -> None:
        """Offer a held partition to the passes until its lease ends; raise `Fenced` if it is somebody else's."""
        settings, replay_id = self._settings, self._recording.replay_id
        appender = Appender(self._redis, lease, replay_id, cap=settings.stream_cap, lease_seconds=settings.lease_seconds)
        lane = Lane(lease, appender)
        self._lanes[lease.partition] = lane
        self._gained.set()
        try:
            await lane.keep_open(settings.lease_seconds / 3)
        finally:
            lane.close()
            self._appended += lane.appended
            if self._lanes.get(lease.partition) is lane:
                del self._lanes[lease.partition]

    async def play(self) -> None:
        """Return when every partition has all rows, whoever brought them; raise `ConfigurationError` if it has others."""
        census: Census | None = None
        while True:
            self._gained.clear()
            stored = await self._stored_numbers()
            await reach(CrashPoint.FETCHER_NUMBERS_READ)
            if census is not None:
                self._refuse_other_file(stored, census.rows)
                if stored == census.rows:
                    break
            wanted = {p: lane for p, lane in self._lanes.items() if lane.is_open and (census is None or stored[p] < census.rows[p])}
            if wanted or census is None:
                census = await self._read_once(wanted, stored) or census
            else:
                await wait_or_stop(self._gained, SECONDS_BETWEEN_LOOKS)  # the rest is in other hands
        self._say_complete(census)

    async def _stored_numbers(self) -> list[int]:
        ask = partial(producer_numbers, self._redis, self._settings.partitions, self._recording.replay_id)
        numbers = await until_ready(ask, what="redis", stop=asyncio.Event())  # a stop cancels `play`
        assert numbers is not None
        return numbers

    async def _read_once(self, lanes: Mapping[int, Lane], stored: list[int]) -> "Census | None":
        """Feed `lanes` with the rows above `stored`; None if the pass was broken off for a partition gained meanwhile."""
        for partition, lane in lanes.items():
            lane.start_after(stored[partition])
        one_pass = Pass(self._settings, self._recording, lanes, stored, self._gained)
        is_whole = await one_pass.run()
        await asyncio.gather(*(lane.settle() for lane in lanes.values()))
        return one_pass.census if is_whole else None

    def _refuse_other_file(self, stored: list[int], rows: list[int]) -> None:
        for partition, (number, there) in enumerate(zip(stored, rows, strict=True)):
            if number > there:
                allowed = f"names the replay of another file: partition {partition} has {number} rows of it, this file has {there}"
                raise ConfigurationError((Problem("REPLAY_ID", self._recording.replay_id, allowed),))

    def _say_complete(self, census: "Census") -> None:
        appended, rows = self._appended + sum(lane.appended for lane in self._lanes.values()), sum(census.rows)
        counts = {
            "rows": rows,
            "appended": appended,
            # Rows that Redis lost and got again count twice as appended.
            "already_there": max(0, rows - appended),
            "rejected": census.rejected,
            "skipped": census.others,
        }
        if appended:
            log.info("replay complete", **counts)
        else:
            log.info("already complete; set REPLAY_ID to play it again", replay_id=self._recording.replay_id, **counts)


@dataclass
class Census:
    """What one whole pass found in the file: rows per partition, bad ones among them, lines of tickers not asked for."""

    rows: list[int]
    rejected: int = 0
    others: int = 0


class Pass:
    """One pass over the file."""

    def __init__(
        self, settings: FetcherSettings, recording: Recording, lanes: Mapping[int, Lane], stored: list[int], gained: asyncio.Event
    ) -> None:
        """Feed `lanes` with the rows whose number is above `stored`, until the end of the file or until `gained` is set."""
        self.census = Census([0] * settings.partitions)
        self._settings = settings
        self._recording = recording
        self._lanes = lanes
        self._stored = stored
        self._gained = gained
        self._pacing = Pacing(settings.replay_speed) if settings.replay_speed else None
        self._bad_rows = BadRowLog()

    async def run(self) -> bool:
        """Return whether the file was read to its end."""
        with self._recording.path.open("rb") as file, ProgressReport("replay", self._recording.total_bytes) as report:
            reader = Reader(file, self._settings.partitions, self._settings.tickers)
            for rows in reader.slices():
                if not await self._feed(rows):
                    return False
                report.update(file.tell(), sum(self.census.rows), self.census.rejected)
                await asyncio.sleep(0)  # reading is work without an await: leases and answers must have their turn
            await self._flush()
        self.census.others = reader.others
        self._bad_rows.end_second()
        return True

    async def _feed(self, rows: list[Row | BadRow]) -> bool:
        """Return whether to go on: another partition that was gained begins another pass, for all."""
        for row in rows:
            lane = self._lane_of(row)
            if lane is None:
                continue
            if isinstance(row, BadRow):
                self._bad_rows.say(row, time.monotonic())
            elif self._pacing is not None and not is_refused_as_future(int(row.tick[2]), time.time()):
                await self._until_due(int(row.tick[2]), self._pacing)
                if self._gained.is_set():
                    return False
            lane.add(row)
            if lane.is_full:
                await lane.flush()
        return not self._gained.is_set()

    def _lane_of(self, row: Row | BadRow) -> Lane | None:
        """Count the row; None if it is stored already or its partition is not held."""
        partition = row.partition
        self.census.rows[partition] += 1
        self.census.rejected += isinstance(row, BadRow)
        lane = self._lanes.get(partition)
        return lane if lane is not None and lane.is_open and self.census.rows[partition] > self._stored[partition] else None

    async def _until_due(self, ts_ms: int, pacing: Pacing) -> None:
        while (seconds := pacing.wait_seconds(ts_ms, time.monotonic())) > 0 and not self._gained.is_set():
            await self._flush()
            # A little longer than needed: at high speeds rows come in batches, not each with a timer of its own.
            await wait_or_stop(self._gained, min(max(seconds, LEAST_WAIT_SECONDS), LONGEST_WAIT_SECONDS))

    async def _flush(self) -> None:
        for lane in self._lanes.values():
            await lane.flush()


def is_refused_as_future(ts_ms: int, now_seconds: float) -> bool:
    """Whether `append` will refuse the row: it is sent at once, since waiting for it would hold up all that follow."""
    return ts_ms > now_seconds * 1000 + FUTURE_MS


class BadRowLog:
    """Warnings that name the first bad rows of each second, and then say how many more there were."""

    def __init__(self) -> None:
        self._second = 0.0
        self._said = 0
        self._unsaid = 0

    def say(self, row: BadRow, now: float) -> None:
        """Log `row`, or count it if enough was logged within the second before `now`."""
        if now - self._second >= 1:
            self.end_second()
            self._second = now
        if self._said < WARNINGS_PER_SECOND:
            self._said += 1
            log.warning("row rejected", reason=row.reason)
        else:
            self._unsaid += 1

    def end_second(self) -> None:
        """Log what was only counted."""
        if self._unsaid:
            log.warning("more rows rejected", rows=self._unsaid)
        self._said = self._unsaid = 0
