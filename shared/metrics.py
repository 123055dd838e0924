"""Every metric, declared once with what it means; nobody else names or makes one.

Names begin with `tickstream_`, units are base units, counters end in `_total`. A process shows those of its own service
and those that all have. Hot paths touch a metric once per batch, never per tick. `docs/metrics.md` is made from this.
"""

import platform
from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from shared.version import version

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
EVERY = "every service"
FETCHER, ANALYZER, PERSISTER, GATEWAY, API = "fetcher", "analyzer", "persister", "gateway", "api"
SERVICES = (EVERY, FETCHER, ANALYZER, PERSISTER, GATEWAY, API)

CALL_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Bounds for calls that mostly take milliseconds."""
HOP_BOUNDS_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
BATCH = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter and histogram, that nobody asks for


class Declared(NamedTuple):
    """A metric and what is said of it."""

    service: str
    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    metric: Counter | Gauge | Histogram


DECLARED: list[Declared] = []


def _counter(service: str, name: str, meaning: str, *labels: str) -> Counter:
    metric = Counter(name, meaning, labels, registry=None)
    DECLARED.append(Declared(service, name, "counter", labels, meaning, metric))
    return metric


def _gauge(service: str, name: str, meaning: str, *labels: str) -> Gauge:
    metric = Gauge(name, meaning, labels, registry=None)
    DECLARED.append(Declared(service, name, "gauge", labels, meaning, metric))
    return metric


def _histogram(service: str, name: str, meaning: str, *labels: str, bounds: tuple[float, ...] = CALL_SECONDS) -> Histogram:
    metric = Histogram(name, meaning, labels, buckets=bounds, registry=None)
    DECLARED.append(Declared(service, name, "histogram", labels, meaning, metric))
    return metric


BUILD_INFO = _gauge(EVERY, "tickstream_build_info", "Always 1; the labels tell what runs.", "service", "version", "python")
READY = _gauge(EVERY, "tickstream_ready", "1 if this check of /readyz holds, else 0.", "check")
LOOP_LAG = _histogram(
    EVERY, "tickstream_event_loop_lag_seconds", "How much later than due the event loop came to a task, looked at twice a second."
)
LOOP_LAG_NOW = _gauge(
    EVERY, "tickstream_event_loop_lag_now_seconds", "The newest such lag; while the loop stands still, for how long it has stood."
)
LEASES_HELD = _gauge(EVERY, "tickstream_leases_held", "Partitions this process works on; 0 in a stand-by.", "service")
LEASE_CHANGES = _counter(
    EVERY,
    "tickstream_lease_changes_total",
    "Leases `taken` free, `stolen` from a holder with more when asked for, `taken_over` from one that stood still, `handed_over` to "
    "another that asked, `lost` to another, `released`.",
    "service",
    "change",
)
LEASE_MEMBERS = _gauge(
    EVERY, "tickstream_lease_members", "Live processes of the service that share its partitions, as this one sees them.", "service"
)
HOP_SECONDS = _histogram(
    EVERY,
    "tickstream_hop_seconds",
    "From the writing of an entry (its id, by Redis' clock) until this service was done with it, of the newest entry of each batch. "
    "The clocks of the machines must agree.",
    "hop",
    bounds=HOP_BOUNDS_SECONDS,
)
NEWEST_ENTRY_AGE = _gauge(
    EVERY,
    "tickstream_newest_entry_age_seconds",
    "Age, now, of the newest entry this process is done with; absent before the first. Also grows when there is nothing new.",
    "hop",
)

FETCHER_TICKS = _counter(FETCHER, "tickstream_fetcher_ticks_appended_total", "Ticks that were appended.")
FETCHER_APPENDS = _counter(FETCHER, "tickstream_fetcher_appends_total", "Calls of `append` by their answer.", "answer")
FETCHER_APPEND_SECONDS = _histogram(FETCHER, "tickstream_fetcher_append_seconds", "How long `append` took to answer.")
FETCHER_BATCH_TICKS = _histogram(FETCHER, "tickstream_fetcher_batch_ticks", "Ticks in a call of `append`.", bounds=BATCH)
FETCHER_REFUSED = _counter(
    FETCHER, "tickstream_fetcher_ticks_refused_total", "Ticks dead-lettered because their ts was more than 5 s in the future."
)
FETCHER_SHED = _counter(
    FETCHER, "tickstream_fetcher_ticks_shed_total", "Ticks a live source dropped for newer ones because a stream was full."
)
FETCHER_DEADLETTERS = _counter(
    FETCHER, "tickstream_fetcher_rows_deadlettered_total", "Rows of a replay, or answers of a provider, that were no ticks."
)
FETCHER_ANSWERS = _counter(
    FETCHER,
    "tickstream_fetcher_provider_answers_total",
    "Answers of the provider: `ok`, `unknown` symbol, `zero`, `older` than the one before, `malformed`, `limited`, `unauthorized`, "
    "`forbidden`, `server_error`, `timeout`, `unreachable`, `unexpected` status.",
    "outcome",
)
FETCHER_CALL_SECONDS = _histogram(FETCHER, "tickstream_fetcher_provider_call_seconds", "How long a call of the provider took.")
FETCHER_CYCLE_SECONDS = _gauge(
    FETCHER, "tickstream_fetcher_cycle_seconds", "How often each ticker is polled: FETCH_INTERVAL_SECONDS, stretched if the quota needs it."
)
FETCHER_CALLS_WAITING = _gauge(FETCHER, "tickstream_fetcher_calls_waiting", "Calls of the provider that wait for the quota.")
FETCHER_MARKET_STATUS = _gauge(
    FETCHER, "tickstream_fetcher_market_status", "1 for the status the exchange has: `open`, `pre`, `post` or `closed`.", "status"
)

ANALYZER_TICKS = _counter(ANALYZER, "tickstream_analyzer_ticks_total", "Ticks that were analyzed and committed.")
ANALYZER_ALERTS = _counter(ANALYZER, "tickstream_analyzer_alerts_total", "Crossovers committed: `bullish` or `bearish`.", "direction")
ANALYZER_COMMITS = _counter(ANALYZER, "tickstream_analyzer_commits_total", "Calls of `commit` by their answer.", "answer")
ANALYZER_COMMIT_SECONDS = _histogram(ANALYZER, "tickstream_analyzer_commit_seconds", "How long `commit` took to answer.")
ANALYZER_BATCH_ENTRIES = _histogram(ANALYZER, "tickstream_analyzer_batch_entries", "Entries in a committed batch.", bounds=BATCH)
ANALYZER_LAG = _gauge(
    ANALYZER, "tickstream_analyzer_lag_entries", "Ticks appended but not read, as of the last read; held partitions only.", "partition"
)
ANALYZER_DEADLETTERS = _counter(ANALYZER, "tickstream_analyzer_entries_deadlettered_total", "Entries of `ticks` that were no ticks.")
ANALYZER_MISSING = _counter(ANALYZER, "tickstream_analyzer_ticks_missing_total", "Ticks that were deleted before they were read.")
ANALYZER_TRIMMED = _counter(ANALYZER, "tickstream_analyzer_trimmed_entries_total", "Entries trimmed behind their readers.", "stream")
ANALYZER_OVERRUN = _counter(
    ANALYZER,
    "tickstream_analyzer_overrun_entries_total",
    "Entries trimmed at 95 % of STREAM_CAP although a group that is not required had yet to read them.",
    "stream",
    "group",
)
ANALYZER_FULLNESS = _gauge(
    ANALYZER,
    "tickstream_analyzer_stream_fullness_ratio",
    "Entries in a stream as a part of STREAM_CAP; held partitions only.",
    "stream",
    "partition",
)
ANALYZER_HELD = _gauge(
    ANALYZER,
    "tickstream_analyzer_stream_held_ratio",
    "Entries that cannot be trimmed because `group` has yet to read them, as a part of STREAM_CAP, of the group that stands lowest; "
    "held partitions only.",
    "stream",
    "partition",
    "group",
)
ANALYZER_RELOADS = _counter(ANALYZER, "tickstream_analyzer_reloads_total", "Times a partition was not as remembered, and was loaded again.")

PERSISTER_ROWS = _counter(PERSISTER, "tickstream_persister_rows_stored_total", "Rows stored in PostgreSQL.", "stream")
PERSISTER_BATCH_ENTRIES = _histogram(PERSISTER, "tickstream_persister_batch_entries", "Entries in a stored batch.", "stream", bounds=BATCH)
PERSISTER_TRANSACTIONS = _counter(
    PERSISTER,
    "tickstream_persister_transactions_total",
    "Transactions: `stored`; `elsewhere`, another persister had stored it; `failed`, tried again from the cursor.",
    "outcome",
)
PERSISTER_TRANSACTION_SECONDS = _histogram(
    PERSISTER, "tickstream_persister_transaction_seconds", "How long a transaction took that stored a batch.", "stream"
)
PERSISTER_REJECTED = _counter(
    PERSISTER, "tickstream_persister_rows_rejected_total", "Entries noted in `stream_events` instead of being stored.", "stream"
)
PERSISTER_EVENTS = _counter(
    PERSISTER, "tickstream_persister_stream_events_total", "Rows written to `stream_events`; a kind unknown here is `other`.", "kind"
)
PERSISTER_DROPPED = _counter(
    PERSISTER, "tickstream_persister_rows_dropped_total", "Rows dropped because they were older than RETENTION_DAYS.", "table"
)
PERSISTER_LAG = _gauge(
    PERSISTER,
    "tickstream_persister_lag_entries",
    "Entries written but not read, as of the last read (on `enriched`, dead-lettered ticks count too); held partitions only.",
    "stream",
    "partition",
)

GATEWAY_CLIENTS = _gauge(GATEWAY, "tickstream_gateway_clients", "Clients connected.")
GATEWAY_HANDSHAKES = _gauge(
    GATEWAY, "tickstream_gateway_handshakes", "Connections that have yet to be let in; many of them that stay: somebody holds places."
)
GATEWAY_REFUSED = _counter(
    GATEWAY,
    "tickstream_gateway_refused_total",
    "Connections refused: `path`, `token_in_url`, `origin`, `address` (its cap), `full` (the cap), `dropped` (far above a cap), and tokens "
    "by their fault: `token_missing`, `token_malformed`, `token_algorithm`, `token_signature`, `token_claims`, `token_expired`, "
    "`token_not_yet_valid`, `token_audience`.",
    "reason",
)
GATEWAY_SUBSCRIPTIONS = _gauge(GATEWAY, "tickstream_gateway_subscriptions", "Different sets of tickers that clients hold.")
GATEWAY_MESSAGES = _counter(GATEWAY, "tickstream_gateway_messages_sent_total", "Messages sent to clients.")
GATEWAY_BYTES = _counter(GATEWAY, "tickstream_gateway_sent_bytes_total", "Bytes of messages sent to clients, as framed and compressed.")
GATEWAY_ALERTS = _counter(GATEWAY, "tickstream_gateway_alerts_total", "Alerts read to be sent, each counted once for all clients.")
GATEWAY_FLUSH_SECONDS = _histogram(GATEWAY, "tickstream_gateway_flush_seconds", "How long a flush took to encode and write.")
GATEWAY_CLOSES = _counter(GATEWAY, "tickstream_gateway_closes_total", "Connections the gateway closed, by close code.", "code")
GATEWAY_SKIPS = _counter(
    GATEWAY, "tickstream_gateway_updates_skipped_total", "Prices that a newer one replaced in the outbox of a slow client."
)
GATEWAY_OUTBOX_LARGEST = _gauge(
    GATEWAY, "tickstream_gateway_outbox_largest", "Messages, prices and alerts that wait for one client, at most."
)
GATEWAY_OUTBOX_WAITING = _gauge(GATEWAY, "tickstream_gateway_outbox_waiting", "The same, over all clients together.")
GATEWAY_ENTRIES_SKIPPED = _counter(
    GATEWAY, "tickstream_gateway_entries_skipped_total", "Entries of `enriched` that were no events and were passed over."
)
GATEWAY_INCARNATIONS = _counter(
    GATEWAY, "tickstream_gateway_incarnations_total", "New incarnations seen: `continue`, `rewind` or `reset`.", "outcome"
)
GATEWAY_GAPS = _counter(
    GATEWAY, "tickstream_gateway_gaps_total", "Times that entries of `enriched`, or the ticks behind them, were deleted unread."
)
GATEWAY_RESUMES = _counter(
    GATEWAY,
    "tickstream_gateway_resumes_total",
    "Clients that came back with a cursor: `recovered`, or why not: `unreadable`, `lost` (its incarnation, or what followed it), "
    "`trimmed` (out of the window), `future` (not reached here in time).",
    "outcome",
)
GATEWAY_INDEXED_ALERTS = _gauge(GATEWAY, "tickstream_gateway_indexed_alerts", "Alerts in memory for clients that come back.")
GATEWAY_SCAN_SECONDS = _histogram(
    GATEWAY, "tickstream_gateway_scan_seconds", "How long it took to collect the retained alerts of a partition."
)
GATEWAY_REDIS_STALE = _gauge(GATEWAY, "tickstream_gateway_redis_stale", "1 while clients are told that prices may be out of date.")

API_REQUESTS = _counter(
    API,
    "tickstream_api_requests_total",
    "Requests by route, its template (`other`: no route), and status; 499: the client left before the whole answer was sent.",
    "route",
    "status",
)
API_REQUEST_SECONDS = _histogram(
    API, "tickstream_api_request_seconds", "From the head of a request to the last byte of its answer, by route.", "route"
)


def shown_by(service: str) -> Iterator[Declared]:
    """The metrics of a service: its own and those that all have."""
    return (declared for declared in DECLARED if declared.service in (EVERY, service))


def registry_of(service: str) -> CollectorRegistry:
    """What a process of the service shows, with the standard figures of a process (CPU seconds, memory, open files)."""
    registry = CollectorRegistry()
    for declared in shown_by(service):
        registry.register(declared.metric)
    ProcessCollector(registry=registry)
    BUILD_INFO.labels(service, version(), platform.python_version()).set(1)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """The page that Prometheus reads, of CONTENT_TYPE."""
    return generate_latest(registry)
