"""What was read of the pipeline, and the answer made of it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from services.api import pipeline_models as models
from services.api.models import Market as SaidOfMarket
from shared.events import Market
from shared.pipeline import Heard, PartitionState, StreamState, parsed

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MS = int((datetime(9999, 1, 1, tzinfo=UTC) - EPOCH).total_seconds() * 1000)
"""A stranger's entry id may lie beyond any calendar."""


@dataclass(frozen=True)
class Stored:
    """What PostgreSQL tells: rows of `queries.sql`."""

    cursors: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Reading:
    """All that could be read in one go."""

    at_ms: int
    down: tuple[str, ...]
    """Servers that told nothing."""
    partitions: Sequence[PartitionState]
    unknown: tuple[int, ...]
    """Partitions that could not be read."""
    members: Mapping[str, Mapping[str, float]]
    """Service to its processes, each with the seconds for which it was seen to stand still."""
    still_seconds: Mapping[tuple[str, int], float]
    """Service and partition to the seconds for which its lease was seen to stand still."""
    gateways: Sequence[Heard]
    market: Market | None
    stored: Stored | None


def encode(reading: Reading, *, lease_seconds: float, stream_cap: int) -> bytes:
    """The answer, as JSON."""
    stored = reading.stored
    answer = models.Pipeline.model_validate(
        {
            "ts": moment(reading.at_ms),
            "down": reading.down,
            "lease_seconds": lease_seconds,
            "stream_cap": stream_cap,
            "market": reading.market and _market(reading.market),
            "partitions": [_partition(state, reading.still_seconds, stream_cap) for state in reading.partitions],
            "unknown": reading.unknown,
            "members": {service: _members(found) for service, found in reading.members.items()},
            "gateways": [_gateway(heard) for heard in reading.gateways],
            "stored": None if stored is None else [_stored(row) for row in stored.cursors],
            "events": None if stored is None else [dict(row) for row in stored.events],
        }
    )
    return answer.model_dump_json().encode()


def moment(ms: int) -> datetime:
    """A time, of epoch milliseconds."""
    return EPOCH + timedelta(milliseconds=min(ms, LAST_MS))


def _market(said: Market) -> SaidOfMarket:
    times = {name: moment(int(text)) if (text := getattr(said, name)) else None for name in ("next_open", "next_close", "ts")}
    return SaidOfMarket.model_validate({**said._asdict(), **times})


def _partition(state: PartitionState, still_seconds: Mapping[tuple[str, int], float], cap: int) -> dict[str, object]:
    holders = {
        service: {"name": holding.owner, "still_seconds": round(still_seconds[service, state.partition], 3), "wanted_by": holding.wanted_by}
        if holding.token
        else None
        for service, holding in state.holdings.items()
    }
    return {
        "partition": state.partition,
        "ticks": _stream(state.ticks, cap),
        "enriched": _stream(state.enriched, cap),
        "holders": holders,
        "deadletters": asdict(state.deadletters),
    }


def _stream(stream: StreamState, cap: int) -> dict[str, object]:
    held_by = stream.held_by
    return {**asdict(stream), "fill": round(stream.length / cap, 4), "held_by": held_by and asdict(held_by)}


def _members(still_seconds: Mapping[str, float]) -> list[dict[str, object]]:
    return [{"name": name, "still_seconds": round(seconds, 3)} for name, seconds in still_seconds.items()]


def _gateway(heard: Heard) -> dict[str, object]:
    return {**heard.report._asdict(), "silent_seconds": heard.age_seconds}


def _stored(row: Mapping[str, Any]) -> dict[str, object]:
    newest_ms, _ = parsed(row["position"])
    return {
        "stream": row["stream"],
        "partition": row["partition"],
        "seq": row["seq"],
        "newest_ts": moment(newest_ms) if newest_ms else None,
        "moved_ts": row["updated_at"],
    }
