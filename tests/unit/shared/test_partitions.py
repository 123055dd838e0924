"""The partition of a ticker is fixed for a deployment: these values may never change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.partitions import partition_of
from shared.settings import DEFAULT_TICKERS

# CRC-32 as gzip writes it at the end of its output, modulo 4.
GOLDEN = {
    "AAPL": 0, "MSFT": 3, "AMZN": 2, "GOOGL": 3, "TSLA": 3, "META": 1, "NVDA": 3, "NFLX": 3,
    "BRK.B": 0, "JNJ": 1, "V": 0, "PG": 0, "DIS": 0, "JPM": 1, "KO": 0,
}  # fmt: skip


def test_the_default_tickers_stay_where_they_are() -> None:
    assert {ticker: partition_of(ticker, 4) for ticker in DEFAULT_TICKERS.split(",")} == GOLDEN


@pytest.mark.parametrize(("partitions", "partition"), [(1, 0), (4, 2), (64, 38), (2**32, 0xCBF43926)])
def test_the_checksum_is_the_crc_32_of_the_catalogues(partitions: int, partition: int) -> None:
    """The check value of CRC-32/ISO-HDLC is that of the text 123456789."""
    assert partition_of("123456789", partitions) == partition


def test_a_ticker_is_taken_as_utf_8() -> None:
    assert partition_of("É", 2**32) == 0x356AADF6


@given(st.text(), st.integers(1, 64))
def test_every_ticker_has_a_partition(ticker: str, partitions: int) -> None:
    assert 0 <= partition_of(ticker, partitions) < partitions
