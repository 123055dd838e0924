"""Runs with a fault in the middle, and the proof where Redis lost what it had accepted: all is there in the end, and each loss was told."""

from collections import defaultdict
from collections.abc import Sequence

from tests.e2e.pipeline import Pipeline, Service
from tests.e2e.proof import ENRICHED_ROWS, EVENTS, TICK_ROWS, Proof, assert_same, enriched_row, tick_row

Row = tuple[str | None, ...]


async def hurry(pipeline: Pipeline, fetcher: Service) -> None:
    """End a slow replay, and let another process play the rest as fast as it goes."""
    await pipeline.until(fetcher.heeds_signals, "the fetcher to have started")
    fetcher.terminate()
    assert await fetcher.finish() == 0
    assert await pipeline.start("fetcher", REPLAY_SPEED="0").finish() == 0


async def check_after_loss(proof: Proof) -> set[tuple[str, int]]:
    """Check that streams, lists and groups equal f(file), that each entry has its row, and that every other row is told of.

    Return the (stream, partition) of which stored rows were lost.
    """
    ticks, enriched = await proof.check_redis()
    wanted: dict[str, list[Row]] = {"ticks": [], "enriched": []}
    for p, events in enumerate(proof.expected.events):
        tick_ids, enriched_ids = [entry_id for entry_id, _ in ticks[p]], [entry_id for entry_id, _ in enriched[p]]
        named = zip(await proof.labels("ticks", p), tick_ids, events, strict=True)
        wanted["ticks"] += [tick_row(str(p), *each) for each in named]
        labels = await proof.labels("enriched", p)
        wanted["enriched"] += [enriched_row(str(p), *each) for each in zip(labels, enriched_ids, tick_ids, events, strict=True)]
    told = await _told(proof)
    lost: set[tuple[str, int]] = set()
    for stream, query in (("ticks", TICK_ROWS), ("enriched", ENRICHED_ROWS)):
        there = set(wanted[stream])
        rows = [tuple(row) for row in await proof.fetch(query)]
        assert_same(f"rows of {stream}", [row for row in rows if row in there], wanted[stream])
        lost |= _check_lost(stream, [row for row in rows if row not in there], told)
    assert set(told) == lost, "told, but nothing was lost"
    return lost


async def _told(proof: Proof) -> dict[tuple[str, int], list[tuple[str, int, int]]]:
    """Stream and partition to the (incarnation, first seq, last seq) of each rewind; there must be no other event of those streams."""
    told = defaultdict(list)
    for event in await proof.fetch(EVENTS):
        if event["stream"] in ("ticks", "enriched"):
            assert event["kind"] == "rewind", dict(event)
            told[event["stream"], event["partition"]].append((event["incarnation"], event["first_seq"], event["last_seq"]))
    return dict(told)


def _check_lost(stream: str, rows: Sequence[Row], told: dict[tuple[str, int], list[tuple[str, int, int]]]) -> set[tuple[str, int]]:
    """Rows of a lost suffix stay, under their own incarnation, and lie in a range that was told."""
    lost = set()
    for incarnation, partition, seq, *_ in rows:
        key = (stream, int(str(partition)))
        ranges = told.get(key, [])
        assert any(name == incarnation and first <= int(str(seq)) <= last for name, first, last in ranges), (key, incarnation, seq, ranges)
        lost.add(key)
    return lost
