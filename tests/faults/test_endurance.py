"""Random faults, a little of them; and the judge of such runs, who must see every kind of fault there is."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import SystemRandom

import pytest

from tests.faults.endurance.judge import Found, Verdict, compare
from tests.faults.endurance.market import Event, Market
from tests.faults.endurance.run import run

FIRST_SEQ = 7


def wanted() -> list[Event]:
    """Events of a market of one partition."""
    market = Market(1, 1, 3)
    market.events[0] = [Event(str(n), "AAPL", str(10 + n), str(9 + n), "bullish" if n == 4 else "") for n in range(1, 9)]
    return market.events[0]


def entries() -> list[Found]:
    """What stands there if all is well."""
    return [Found(FIRST_SEQ + place, event) for place, event in enumerate(wanted())]


def judged(found: list[Found], *, is_judged: bool = True) -> tuple[int, int, int, int]:
    verdict = compare("rows", found, wanted(), FIRST_SEQ, is_judged=is_judged)
    assert verdict.is_clean == (not verdict.examples)
    return verdict.lost, verdict.duplicated, verdict.reordered, verdict.wrong


def test_what_is_whole_and_in_order_is_clean() -> None:
    assert judged(entries()) == (0, 0, 0, 0)


def test_ticks_are_compared_without_what_only_an_analyzer_knows() -> None:
    bare = [found._replace(event=found.event._replace(sma="", alert="")) for found in entries()]
    assert judged(bare, is_judged=False) == (0, 0, 0, 0)
    assert judged(bare)[3] == len(bare)


@pytest.mark.parametrize("place", [0, 3, 7])
def test_an_entry_that_is_missing_is_lost(place: int) -> None:
    found = entries()
    del found[place]
    assert judged(found)[0] == 1


def test_an_entry_that_stands_there_twice_is_duplicated() -> None:
    assert judged([*entries(), entries()[2]])[1] == 1


def test_two_entries_in_the_wrong_order_are_reordered() -> None:
    found = entries()
    found[2], found[3] = found[3], found[2]
    assert judged(found)[2] == 1


CHANGES: list[tuple[str, Callable[[Found], Found]]] = [
    ("seq", lambda found: found._replace(seq=found.seq + 1)),
    ("price", lambda found: found._replace(event=found.event._replace(price="1"))),
    ("ticker", lambda found: found._replace(event=found.event._replace(ticker="MSFT"))),
    ("average", lambda found: found._replace(event=found.event._replace(sma=""))),
    ("alert", lambda found: found._replace(event=found.event._replace(alert="bearish"))),
]


@pytest.mark.parametrize("change", [change for _, change in CHANGES], ids=[name for name, _ in CHANGES])
def test_an_entry_with_another_value_is_wrong(change: Callable[[Found], Found]) -> None:
    found = entries()
    found[3] = change(found[3])
    assert judged(found)[3] == 1


def test_an_entry_that_was_never_sent_is_wrong() -> None:
    stranger = Found(99, Event("99", "AAPL", "1", "", ""))
    assert judged([*entries(), stranger])[3] == 1


def test_verdicts_add_up_and_keep_the_first_examples() -> None:
    total = Verdict()
    for number in range(9):
        other = Verdict(lost=1)
        other.note_wrong(f"example {number}")
        total.add(other)
    assert (total.lost, total.wrong, total.examples) == (9, 9, [f"example {number}" for number in range(5)])


def test_a_market_is_the_same_for_the_same_seed_and_crosses_its_averages(tmp_path: Path) -> None:
    texts = []
    for seed in (5, 5, 6):
        market = Market(seed, 4, 5)
        market.write_episode(tmp_path / "first.csv", 1000)
        market.write_episode(tmp_path / "second.csv", 1000)
        texts.append((tmp_path / "second.csv").read_text())
        assert market.rows == 2000
        assert {event.alert for events in market.events for event in events} == {"", "bullish", "bearish"}
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_random_faults_lose_nothing_double_nothing_and_change_no_value(tmp_path: Path) -> None:
    seed = SystemRandom().randrange(10**6)
    print(f"the same faults again: make faults SEED={seed}")
    report = await run(seed, 5, tmp_path, rows=6000)
    print(report)
    assert report.verdict.is_clean, report.verdict.examples
    assert report.seen >= report.ticks > 0
    assert report.counts.total() > 0


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_run_that_is_ended_early_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    def is_begun() -> bool:
        return any(tmp_path.rglob("*-fetcher.log"))

    def left() -> list[str]:
        processes = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [entry.name for entry in processes if str(tmp_path).encode() in _read(entry / "environ") + _read(entry / "cmdline")]

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.endurance",
        env={**os.environ, "TMPDIR": str(tmp_path), "MINUTES": "5"}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            while not is_begun():
                await asyncio.sleep(0.05)
        process.send_signal(number)
        async with asyncio.timeout(60):
            assert b"ended before its time" in await process.stderr.read()
            assert await process.wait() == 1
            while left():  # the fork server's helper sees it end a moment later
                await asyncio.sleep(0.05)
    finally:
        for pid in left():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    assert os.listdir(tmp_path) == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended, or is of another account
        return b""
