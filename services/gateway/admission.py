"""Who is let in, before the upgrade: the right path, no token in the URL, an allowed origin, a free place. Pure.

Places are counted per process. Whoever arrives is counted until it leaves, whatever happens in between, so a count never
leaks; and a connection that says nothing takes a place like any other, so silent ones are bounded, too.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from math import ceil
from random import random
from typing import NamedTuple
from urllib.parse import parse_qsl

from services.gateway.close_codes import hint_seconds
from services.gateway.origins import Origins

PATH = "/ws/stocks"
HEALTH_PATH = "/healthz"
IN_URL = ("token", "access_token")
LEAST_SPARE = 16
REPORT_SECONDS = 10.0
SHOWN = 100


class Reason(StrEnum):
    """Why a connection was refused before it was a WebSocket."""

    PATH = "path"
    TOKEN_IN_URL = "token_in_url"
    ORIGIN = "origin"
    ADDRESS = "address"
    FULL = "full"
    DROPPED = "dropped"


class Refusal(NamedTuple):
    """An HTTP answer: what to tell the client, and what to count."""

    status: HTTPStatus
    reason: Reason
    text: str
    detail: str = ""
    """For the operator's log: what was asked for in vain. Never anything of a URL."""
    retry_after_seconds: int | None = None


class Asked(NamedTuple):
    """What a request says of itself. `hosts` and `origins` are all headers of that name: two of them are a trick."""

    path: str
    query: str
    hosts: Sequence[str]
    origins: Sequence[str]


def refuse(asked: Asked, allowed: Origins) -> Refusal | None:
    """Judge a request by itself; None: it may have a place, if there is one."""
    if asked.path not in (PATH, f"{PATH}/"):
        return Refusal(HTTPStatus.NOT_FOUND, Reason.PATH, f"not found; the stream is at {PATH}/")
    if any(name.lower() in IN_URL for name, _ in parse_qsl(asked.query, keep_blank_values=True)):
        # Proxies and browsers keep URLs. Answering as if nothing were there would leave it so for good.
        text = (
            "a token in a URL ends up in logs, take another: give it as `Authorization: Bearer`, as subprotocols `bearer, <token>` "
            'or in a first message {"action":"auth","token":…}'
        )
        return Refusal(HTTPStatus.BAD_REQUEST, Reason.TOKEN_IN_URL, text)
    if asked.origins and not (len(asked.origins) == len(asked.hosts) == 1 and allowed.allow(asked.origins[0], asked.hosts[0])):
        text = "pages of this origin may not connect; GATEWAY_ALLOWED_ORIGINS tells which may"
        return Refusal(HTTPStatus.FORBIDDEN, Reason.ORIGIN, text, asked.origins[0])
    return None


@dataclass(frozen=True)
class Caps:
    """Connections at once, in all and of one client; 0: no limit."""

    connections: int = 10_000
    per_address: int = 0


@dataclass
class Place:
    """What one connection takes: a place from its arrival, and one of the capped ones once it is let in."""

    peer: str
    client: str | None = None
    is_taken: bool = True


@dataclass
class Taken:
    """How many places are taken, in all and by whom."""

    total: int = 0
    by: Counter[str] = field(default_factory=Counter)

    def add(self, who: str) -> None:
        """One more."""
        self.total += 1
        self.by[who] += 1

    def remove(self, who: str) -> None:
        """One less; nobody is remembered who has none."""
        self.total -= 1
        self.by[who] -= 1
        if not self.by[who]:
            del self.by[who]

    def reaches(self, connections: int, per_address: int, who: str) -> Reason | None:
        """Which of the limits is reached; 0 is none. An empty `who` speaks for many and has no limit of its own."""
        if who and 0 < per_address <= self.by[who]:
            return Reason.ADDRESS
        return Reason.FULL if 0 < connections <= self.total else None


class Places:
    """Counts who is there and who was let in, and says when it is full."""

    def __init__(self, caps: Caps, jitter: Callable[[], float] = random) -> None:
        self._caps = caps
        self._jitter = jitter
        self.present = Taken()
        self.admitted = Taken()

    @property
    def unfinished(self) -> int:
        """How many connected and have yet to be let in."""
        return self.present.total - self.admitted.total

    def arrive(self, peer: str) -> Place | None:
        """Count a connection that says nothing yet; None: there are so many that it must be dropped."""
        if self.present.reaches(_with_spare(self._caps.connections), _with_spare(self._caps.per_address), peer):
            return None
        self.present.add(peer)
        return Place(peer)

    def admit(self, place: Place, client: str) -> Refusal | None:
        """Let in a connection that asked for a WebSocket, or say why not."""
        full = self.admitted.reaches(self._caps.connections, self._caps.per_address, client)
        if full is None:
            self.admitted.add(client)
            place.client = client
            return None
        again = ceil(hint_seconds(self._jitter))
        if full is Reason.ADDRESS:
            return Refusal(HTTPStatus.TOO_MANY_REQUESTS, full, "too many connections of this address", client, again)
        return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, full, "no place is free, try later", client, again)

    def leave(self, place: Place) -> None:
        """Count a connection that is gone; a second time does nothing."""
        if not place.is_taken:
            return
        place.is_taken = False
        self.present.remove(place.peer)
        if place.client is not None:
            self.admitted.remove(place.client)


def _with_spare(cap: int) -> int:
    """The cap of connections, with room for those that are about to be let in or refused, and for health checks."""
    return cap + max(LEAST_SPARE, cap // 10) if cap else 0


class Refusals:
    """What was refused since the last report: a flood is one log line now and then, not one for each of its waves."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._details: dict[str, str] = {}
        self._reported_at = float("-inf")

    def note(self, reason: str, detail: str = "") -> None:
        """Count one; of the details of a reason the newest is shown."""
        self._counts[reason] += 1
        if detail:
            self._details[f"last_{reason}"] = detail[:SHOWN]

    def report(self, now: float) -> Mapping[str, int | str] | None:
        """What to log at `now` seconds of a monotonic clock, if anything."""
        if not self._counts or now - self._reported_at < REPORT_SECONDS:
            return None
        report: dict[str, int | str] = {**self._counts, **self._details}
        self._reported_at = now
        self._counts.clear()
        self._details.clear()
        return report
