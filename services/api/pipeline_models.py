"""The shape of the answer of `GET /api/pipeline`, field by field; the answer is made of these."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services.api.models import Market, Moment

Seconds = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Service = Literal["fetcher", "analyzer", "persister"]


class Hold(BaseModel):
    """The group that keeps a stream from being trimmed: its oldest needed entry is the oldest of all groups."""

    group: str
    entries: Count | None = Field(description="That it has yet to read or to acknowledge; null if Redis cannot tell.")
    waiting_seconds: Seconds = Field(description="For how long the oldest of them has waited, by the clock of Redis.")
    is_required: bool = Field(description="Whether trimming never passes the group; any other is passed at 95 % of STREAM_CAP.")


class Group(BaseModel):
    """A consumer group."""

    name: str
    lag: Count | None = Field(description="Entries that it has not processed; null if Redis cannot tell.")
    pending: Count = Field(description="Entries that it was given and has not acknowledged.")
    last_id: str = Field(description="The entry up to which it has processed.", examples=["1795346662034-0"])
    waiting_seconds: Seconds | None = Field(
        description="For how long the oldest entry that it needs has waited, by the clock of Redis; null if it needs none."
    )
    is_required: bool = Field(description="Whether trimming never passes it.")


class Stream(BaseModel):
    """A stream of a partition."""

    length: Count = Field(description="Entries.")
    fill: Annotated[float, Field(ge=0)] = Field(
        description="`length` / `stream_cap`. At 1 writers wait, or a live source sheds; a call may overshoot by one batch."
    )
    per_second: Annotated[float, Field(ge=0)] = Field(description="Entries added a second, over the last ten seconds.")
    seq: Count | None = Field(description="Of the newest entry; null if there is none.")
    age_seconds: Seconds | None = Field(description="Since the newest entry was added, by the clock of Redis; null if there never was one.")
    pause_seconds: float | None = Field(
        description="Between the newest entry and the newest of those at least half a second before it: what is usual there, such as "
        "the length of a polling cycle. Null if there is no such entry."
    )
    source: str = Field(description="Of the newest entry, empty if there is none.", examples=["simulated"])
    shed: Count = Field(description="Ticks that a live source dropped at a full stream before the newest entry, of that entry's ticker.")
    groups: list[Group]
    held_by: Hold | None = Field(description="Who keeps the stream from being trimmed; null if every group has read everything.")


class Holder(BaseModel):
    """The process that holds the lease of a partition."""

    name: str = Field(description="`host:pid:chance`", examples=["api-7f:41:9c01ab"])
    still_seconds: Seconds = Field(
        description="For how long its counter was seen to stand still, by this API's own clock and only while it is asked. From "
        "`lease_seconds` on it is dead or stopped, and any live process of its service takes over."
    )
    wanted_by: str = Field(description="The process to which the partition is handed over next, empty for none.")


class DeadLetters(BaseModel):
    """Input that could not be processed: `tickstream deadletters list` shows it."""

    count: Count
    stream: str = Field(description="Of the newest: `ticks` if it was an entry there, empty if it never became one.")
    reason: str = Field(description="Of the newest, empty if there is none.")
    age_seconds: Seconds | None = Field(description="Since the newest was buried, by the clock of Redis; null if there is none.")


class Partition(BaseModel):
    """One partition."""

    partition: Count
    ticks: Stream
    enriched: Stream
    holders: dict[Service, Holder | None] = Field(description="By service; null: nobody holds the partition.")
    deadletters: DeadLetters


class Member(BaseModel):
    """A process of a service that shares partitions."""

    name: str
    still_seconds: Seconds = Field(
        description="As of a holder: from `lease_seconds` on it does not count, and the next process takes it away."
    )


class Gateway(BaseModel):
    """What a gateway process says of itself every two seconds. One that ends in order is gone at once."""

    name: str
    connections: Count
    messages_per_second: Annotated[float, Field(ge=0)] = Field(description="Sent to all its clients together.")
    lags: list[Count | None] = Field(
        description="By partition: entries of `enriched` that it had yet to read at its last look; null: not loaded yet."
    )
    is_stale: bool = Field(description="Whether it has told its clients that Redis is away.")
    silent_seconds: Seconds = Field(
        description="Since it said this, by the clock of Redis. Above six it is dead or stopped; after 60 it is forgotten."
    )


class StoredStream(BaseModel):
    """Up to where PostgreSQL holds a stream."""

    stream: str
    partition: Count
    seq: int = Field(description="Of the newest entry that was passed; 0 if none was.")
    newest_ts: Moment | None = Field(description="When the newest stored entry was added to the stream; null if there is none.")
    moved_ts: Moment = Field(description="When PostgreSQL was last written to for this stream, by its clock.")


class StreamEvent(BaseModel):
    """A row of `stream_events`: something was lost, refused or changed."""

    at: Moment
    kind: str = Field(examples=["rewind", "gap", "reset", "overrun", "rejected", "period"])
    stream: str
    partition: int
    first_seq: int | None
    last_seq: int | None


class Pipeline(BaseModel):
    """The whole pipeline in one moment, as an operator looks at it. Everybody who asks within a second gets the same."""

    ts: Moment = Field(description="When it was read, by the clock of Redis; by this API's while Redis is away.")
    down: list[Literal["redis", "postgresql"]] = Field(
        description="Servers that did not answer in time. Without Redis there are no partitions, members and gateways; without PostgreSQL "
        "`stored` and `events` are null."
    )
    lease_seconds: Annotated[float, Field(gt=0)] = Field(
        description="LEASE_SECONDS of this API: who stands still for longer is dead or stopped."
    )
    stream_cap: Annotated[int, Field(ge=1)] = Field(description="STREAM_CAP of this API: entries per partition and stream.")
    market: Market | None = Field(description="What was said last of the exchange; null if nothing was.")
    partitions: list[Partition]
    unknown: list[Count] = Field(
        description="Partitions that could not be read though they belong here: their node of a cluster is away, or a key has a wrong type."
    )
    members: dict[Service, list[Member]]
    gateways: list[Gateway]
    stored: list[StoredStream] | None = Field(description="Null while PostgreSQL is away.")
    events: list[StreamEvent] | None = Field(description="The newest five, newest first; null while PostgreSQL is away.")
