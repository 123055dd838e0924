"""Which partition a ticker belongs to: fixed for a deployment, because order is kept per partition."""

from zlib import crc32


def partition_of(ticker: str, partitions: int) -> int:
    """Return the partition of `ticker`: zlib's CRC-32 of its UTF-8 text, modulo the number of partitions."""
    return crc32(ticker.encode()) % partitions
