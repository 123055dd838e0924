"""What a line of a replayed file is: a row, a bad row, or no row."""

import io
import re
from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fetcher.providers.replay import BadRow, Pacing, Reader, Row, digest
from shared.csv_ticks import LONGEST_LINE, epoch_ms
from shared.errors import InvalidEntry
from shared.events import PRICE, Tick, parse_tick

HEADER = b"ticker,price,ts,volume\n"


def read(data: bytes, partitions: int = 4, tickers: Collection[str] | None = None) -> list[Row | BadRow]:
    return [row for rows in Reader(io.BytesIO(data), partitions, tickers).slices() for row in rows]


def only(data: bytes) -> Row | BadRow:
    (row,) = read(data)
    return row


def test_good_row_becomes_a_tick() -> None:
    row = only(HEADER + b"BRK.B,497.550,1700000000123,12\n")
    assert row == Row(crc32(b"BRK.B") % 4, 2, ("BRK.B", "497.55", "1700000000123", "replay", "12", "", ""))


def test_columns_may_stand_in_any_order_and_volume_may_be_missing() -> None:
    row = only(b"ts,price,ticker\n5,1.5,KO\n")
    assert isinstance(row, Row)
    assert row.tick == ("KO", "1.5", "5", "replay", "", "", "")


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbfticker,price,ts\r\nKO,1,5\r\n", b"ticker, price, ts\nKO,1,5", b'"ticker",price,ts\n\n \r\nKO,1,5\n\n']
)
def test_mark_line_ends_and_blank_lines_do_not_matter(data: bytes) -> None:
    row = only(data)
    assert isinstance(row, Row)
    assert row.tick[:3] == ("KO", "1", "5")


def test_lines_are_counted_as_an_editor_counts_them() -> None:
    assert [row.line for row in read(HEADER + b"\nKO,1,5,\n\n\nbad\nKO,1,5,\n")] == [3, 6, 7]


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (b"", "ticker is missing"),
        (b"ticker,price\n", "ts is missing"),
        (b"ticker,price,ts,open\n", "column 'open' is unknown"),
        (b"ticker,price,ts,ts\n", "a name is doubled"),
        (b"\x1f\x8b\x08 compressed", "byte 2 is not UTF-8"),
        (b"ticker,price,ts" + b" " * LONGEST_LINE, "longer than 65536 bytes"),
        (b'ticker,price,"ts\n', "quotes"),
    ],
)
def test_wrong_header_is_refused_by_name(header: bytes, complaint: str) -> None:
    with pytest.raises(InvalidEntry, match=r"^line 1: ") as refused:
        read(header)
    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"KO,1", "2 columns instead of 4"),
        (b"KO,1,5,1,1", "5 columns instead of 4"),
        (b"ko,1,5,", "ticker 'ko' is not allowed"),
        (b"KO ,1,5,", "ticker 'KO ' is not allowed"),
        (b",1,5,", "ticker '' is not allowed"),
        (b"KO\x00,1,5,", "is not allowed"),
        (b"KO,,5,", "price '' is not a number"),
        (b"KO,nan,5,", "price 'nan' is not a number"),
        (b"KO,0.00,5,", "price 0 is not above 0"),
        (b"KO,-1,5,", "price '-1' is not a number"),
        (b"KO,1000000000000,5,", "price '1000000000000' is not a number"),
        (b"KO,1.123456789,5,", "more than 8 decimals"),
        (b"KO,1,,", "ts '' is neither"),
        (b"KO,1,yesterday,", "ts 'yesterday' is neither"),
        (b"KO,1,1969-12-31,", "ts '1969-12-31' is out of range"),
        (b"KO,1,100000000000000,", "has more than 14 digits"),
        (b"KO,1,5,much", "volume 'much' is not a number"),
        (b"KO,1,5,\xff", "byte 8 is not UTF-8"),
        (b'"KO,1,5,', "quotes"),
        (b'"KO"x,1,5,', "quotes"),
        (b"K" * (LONGEST_LINE + 1), "longer than 65536 bytes"),
    ],
)
def test_bad_line_is_rejected_with_its_number_and_reason(line: bytes, complaint: str) -> None:
    first, bad, last = read(HEADER + b"KO,1,5,\n" + line + b"\nKO,2,6,\n")
    assert isinstance(first, Row)
    assert isinstance(bad, BadRow)
    assert bad.line == 3
    assert bad.reason.startswith("line 3: ")
    assert complaint in bad.reason
    assert isinstance(last, Row)
    assert last.line == 4


class _EndlessLine(io.BytesIO):
    """A header, then 64 MiB without a line end; nobody may ask for a whole line."""

    left = 64 << 20

    def readline(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert 0 < size <= LONGEST_LINE + 1
        if line := super().readline(size):
            return line
        size = min(size, self.left)
        self.left -= size
        return b"x" * size


def test_a_line_of_many_mebibytes_is_one_bad_row_and_never_in_memory() -> None:
    rows = [row for rows in Reader(_EndlessLine(HEADER), 4, None).slices() for row in rows]
    assert [type(row) for row in rows] == [BadRow]


def test_bad_row_belongs_to_the_partition_of_its_ticker_text() -> None:
    bad = only(HEADER + b"ko,1,5,\n")
    assert bad.partition == crc32(b"ko") % 4


def test_bad_row_without_ticker_text_belongs_to_partition_0() -> None:
    assert [row.partition for row in read(HEADER + b'\xff\n,,,\n"\n', partitions=64)] == [0, 0, 0]


def test_payload_is_plain_and_cut_just_above_what_is_kept() -> None:
    bad, cut = read(HEADER + b"\xc3\xa9\x00\xff,1,5,\n" + b"y" * 9000 + b"\n")
    assert isinstance(bad, BadRow)
    assert bad.payload == r"\xc3\xa9\x00\xff,1,5,"
    assert isinstance(cut, BadRow)
    assert cut.payload == "y" * 4097


def test_quoted_fields_are_read() -> None:
    row = only(HEADER + b'"KO","1.10","2024-01-02 03:04:05",""\n')
    assert isinstance(row, Row)
    assert row.tick[1:3] == ("1.1", "1704164645000")


def test_with_tickers_lines_of_others_are_no_rows_but_malformed_ones_are() -> None:
    data = HEADER + b"KO,1,5,\nAAPL,1,5,\nAAPL,broken\nko,1,5,\nKO,broken\n"
    reader = Reader(io.BytesIO(data), 4, ["KO"])
    rows = [row for rows in reader.slices() for row in rows]
    assert [(type(row), row.line) for row in rows] == [(Row, 2), (BadRow, 5), (BadRow, 6)]
    assert reader.others == 2


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0", "0"),
        ("007", "7"),
        ("1700000000123", "1700000000123"),
        ("1970-01-01", "0"),
        ("2024-01-02T03:04:05.678Z", "1704164645678"),
        ("2024-01-02T03:04:05.678999+00:00", "1704164645678"),
        ("2024-01-02T05:04:05+02:00", "1704164645000"),
        ("2024-01-02T03:04:05", "1704164645000"),
    ],
)
def test_times_are_iso_or_epoch_milliseconds(text: str, ms: str) -> None:
    assert epoch_ms(text) == ms


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(5000, 1, 1)))
def test_any_iso_time_is_read_to_the_millisecond(moment: datetime) -> None:
    since = moment - datetime(1970, 1, 1)
    assert int(epoch_ms(moment.isoformat())) == (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


fields = st.one_of(
    st.sampled_from(["KO", "AAPL", "1.50", "0", "7", "2024-01-02T03:04:05Z", "0001-01-01T00:00:00+14:00", "", '"', "1e3"]),
    st.text(max_size=12),
    st.binary(max_size=12).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
)
lines = st.lists(fields, min_size=1, max_size=6).map(lambda some: ",".join(some).replace("\n", "").encode("utf-8", "surrogateescape"))


@given(st.lists(lines, max_size=20), st.integers(1, 64), st.sampled_from(["\n", "\r\n"]))
def test_every_line_that_is_not_blank_is_exactly_one_row(some: list[bytes], partitions: int, end: str) -> None:
    rows = read(HEADER + end.encode().join(some), partitions)
    assert [row.line for row in rows] == [number for number, line in enumerate(some, 2) if line.strip()]
    for row in rows:
        assert 0 <= row.partition < partitions
        if isinstance(row, Row):
            parse_tick(Tick("1", *row.tick)._asdict())
            assert row.partition == crc32(row.tick[0].encode()) % partitions
        else:
            assert "\x00" not in row.payload
            assert row.payload.isascii()


@given(st.decimals(min_value="0.00000001", max_value="999999999999", places=8, allow_nan=False))
def test_a_good_price_keeps_its_value_in_canonical_text(price: Decimal) -> None:
    row = only(HEADER + f"KO,{price},5,{price}\n".encode())
    assert isinstance(row, Row)
    for text in (row.tick[1], row.tick[4]):
        assert re.fullmatch(PRICE, text)
        assert Decimal(text) == price


def test_digest_depends_on_content_and_tickers_alone() -> None:
    def name(data: bytes, tickers: Collection[str] | None) -> str | None:
        return list(digest(io.BytesIO(data), tickers))[-1]

    assert re.fullmatch("replay-[0-9a-f]{16}", name(b"a", None) or "")
    assert name(b"a", ["KO", "V"]) == name(b"a", ["V", "KO"])
    assert len({name(b"a", None), name(b"b", None), name(b"a", ["KO"]), name(b"a", ["V"])}) == 4


def test_rows_are_due_as_far_apart_as_they_happened_divided_by_the_speed() -> None:
    pacing = Pacing(speed=2)
    assert pacing.wait_seconds(10_000, now=50) == 0
    assert pacing.wait_seconds(14_000, now=50.5) == 1.5
    assert pacing.wait_seconds(9_000, now=51) < 0
