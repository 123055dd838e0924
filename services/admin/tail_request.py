"""What `tickstream tail` was asked for, read from its arguments. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from services.admin.arguments import WrongInput, check_ticker

STREAMS = ("ticks", "enriched")
BEGINNING = "0-0"
BIGGEST = 2**64 - 1
"""Both parts of an entry id are unsigned 64-bit numbers."""


@dataclass(frozen=True)
class Request:
    """Which entries to show, and how."""

    stream: str
    ticker: str
    """Empty: all."""
    after: str | None
    """The entry id after which to begin; None: only what is new."""
    as_json: bool


def read_request(stream: str, ticker: str, start: str, *, as_json: bool) -> Request:
    """Read the arguments; raise `WrongInput` for the first bad one."""
    if stream not in STREAMS:
        raise WrongInput(f"{stream[:64]!r} is no stream to show; choose {' or '.join(STREAMS)}")
    if ticker:
        check_ticker("--ticker", ticker)
    return Request(stream, ticker, read_start(start) if start else None, as_json)


def read_start(text: str) -> str:
    """Return the id right before the first entry that `--from` means: an id, its milliseconds alone, or a time; raise `WrongInput`."""
    ms, dash, sequence = text.partition("-")
    numbers = [ms, sequence] if dash else [ms, "0"]
    if all(number.isascii() and number.isdigit() for number in numbers):
        return _before(*(_bounded(number, text) for number in numbers))
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _wrong(text) from None
    # Not its timestamp(): that one is a float, and takes a time without an offset for local.
    ms_since_epoch = (at.replace(tzinfo=at.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return _before(max(0, ms_since_epoch), 0)


def _bounded(number: str, text: str) -> int:
    if len(number) > 20 or int(number) > BIGGEST:
        raise _wrong(text)
    return int(number)


def _before(ms: int, sequence: int) -> str:
    """XREAD gives what comes after an id, never the entry itself."""
    if sequence:
        return f"{ms}-{sequence - 1}"
    return f"{ms - 1}-{BIGGEST}" if ms else BEGINNING


def _wrong(text: str) -> WrongInput:
    return WrongInput(f"--from {text[:64]!r}: give 0, an entry id such as 1795346662034-0, or a time such as 2026-11-22T14:30:00Z")
