"""Cursors of a page: the place of its last row in the order (ts, incarnation, partition, seq), newest first. Pure.

A place, not an offset: rows that arrive meanwhile push nothing onto the next page or off it.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from services.api.spans import END_OF_TIME

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_CHARACTERS = 200
_MICROSECOND = timedelta(microseconds=1)


class Place(NamedTuple):
    """A row's place in the order; what comes after it is older."""

    ts: datetime
    incarnation: str
    partition: int
    seq: int


class _Packed(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    ts_us: int
    incarnation: str
    partition: int
    seq: int


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Packed).decode


def before(end: datetime) -> Place:
    """The place behind which the newest row older than `end` comes first: no incarnation is less than empty text."""
    return Place(end, "", 0, 0)


def encode_cursor(place: Place) -> str:
    """The opaque, URL-safe text of a place."""
    packed = _Packed((place.ts - EPOCH) // _MICROSECOND, place.incarnation, place.partition, place.seq)
    return urlsafe_b64encode(_pack(packed)).rstrip(b"=").decode()


def decode_cursor(text: str) -> Place:
    """Read a cursor; raise `ValueError` for anything that `encode_cursor` did not make."""
    try:
        packed = _unpack(urlsafe_b64decode(text + "=" * (-len(text) % 4))) if len(text) <= MOST_CHARACTERS else None
    except (msgspec.DecodeError, NotBase64, UnicodeError, ValueError):
        packed = None
    if packed is None or not _is_possible(packed):
        raise ValueError("is not a cursor that this service gave out")
    place = Place(EPOCH + packed.ts_us * _MICROSECOND, packed.incarnation, packed.partition, packed.seq)
    if encode_cursor(place) != text:
        raise ValueError("is not a cursor that this service gave out")
    return place


def _is_possible(packed: _Packed) -> bool:
    """Whether PostgreSQL can compare with it; it refuses a NUL within text, and numbers beyond the columns' types."""
    return (
        abs(packed.ts_us) <= (END_OF_TIME - EPOCH) // _MICROSECOND
        and packed.ts_us >= -(EPOCH - datetime.min.replace(tzinfo=UTC)) // _MICROSECOND
        and packed.incarnation.isprintable()
        and 0 <= packed.partition < 2**15
        and 0 <= packed.seq < 2**63
    )
