"""The stream `gateways`: what each gateway process says of itself every other second. For operators; nobody decides anything by it.

The id of an entry is Redis' own time, so that no clock of another machine tells how old a report is. Each gateway has one entry, which
it replaces; what one that was killed has left behind is passed over, and trimmed by the others.
"""

import json
from typing import cast

from redis.asyncio import Redis

from shared import streams
from shared.pipeline import GatewayReport, Heard, parsed, seconds_since
from shared.redis.cluster import at

KEPT_SECONDS = 60.0
"""How long one that says nothing more is still told of."""
MOST_READ = 1000


async def say(redis: Redis, report: GatewayReport, previous_id: str | None) -> str:
    """Replace the entry `previous_id` by a new one; return its id."""
    key = streams.GATEWAYS
    async with at(redis, key) as server, server.pipeline(transaction=False) as pipe:
        pipe.xadd(key, {"name": report.name, "report": json.dumps(report[1:])})
        if previous_id is not None:
            pipe.xdel(key, previous_id)
            pipe.xtrim(key, minid=str(max(0, parsed(previous_id)[0] - int(KEPT_SECONDS * 1000))), approximate=False)
        said: str = (await pipe.execute())[0]
        return said


async def leave(redis: Redis, name: str) -> None:
    """Take away every entry of a gateway that ends: the id of its last one may not be known, if that answer was lost."""
    key = streams.GATEWAYS
    async with at(redis, key) as server:
        entries = cast(list[tuple[str, dict[str, str]]], await server.xrevrange(key, count=MOST_READ))
        own = [entry_id for entry_id, fields in entries if fields.get("name") == name]
        if own:
            await server.xdel(key, *own)


async def read_gateways(redis: Redis) -> list[Heard]:
    """The newest report of each gateway of which anything was heard within KEPT_SECONDS, by name."""
    key = streams.GATEWAYS
    async with at(redis, key) as server, server.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.xrevrange(key, count=MOST_READ)
        (seconds, microseconds), entries = await pipe.execute()
    now_ms = seconds * 1000 + microseconds // 1000
    newest: dict[str, Heard] = {}
    for entry_id, fields in entries:
        age_seconds = seconds_since(entry_id, now_ms)
        report = _parse(fields)
        if report is not None and age_seconds <= KEPT_SECONDS:
            newest.setdefault(report.name, Heard(report, age_seconds))
    return [newest[name] for name in sorted(newest)]


def _parse(fields: dict[str, str]) -> GatewayReport | None:
    """None for what a stranger, or a gateway of another version, wrote in another form."""
    try:
        connections, messages_per_second, lags, is_stale = json.loads(fields["report"])
        return GatewayReport(fields["name"], int(connections), float(messages_per_second), tuple(lags), bool(is_stale))
    except (KeyError, TypeError, ValueError):
        return None
