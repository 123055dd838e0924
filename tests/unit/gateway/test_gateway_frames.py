"""What goes to the wire, read by the parser of websockets and by zlib."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode

from services.gateway import frames
from services.gateway.frames import FEWEST_COMPRESSED, PING, Frame, encode_frame, frame
from tests.unit.gateway.reading import read_frames, text_of

TEXTS = st.text(max_size=3000).map(str.encode)


@pytest.mark.parametrize("size", [*range(127), 127, 128, 255, 256, 65_534, 65_535, 65_536, 65_537, 200_000])
def test_frame_of_every_length_class_is_read_as_it_was_given(size: int) -> None:
    text = bytes(ord("a") + n % 26 for n in range(size))
    (read,) = read_frames(Frame(text).plain)
    assert (read.opcode, read.fin, read.rsv1, bytes(read.data)) == (Opcode.TEXT, True, False, text)


@pytest.mark.parametrize(("size", "header"), [(125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_length_takes_as_few_bytes_as_it_can(size: int, header: int) -> None:
    """RFC 6455, 5.2: the minimal number of bytes MUST be used."""
    assert len(encode_frame(frames.TEXT, bytes(size))) == header + size


def test_frames_that_follow_each_other_are_read_one_by_one() -> None:
    texts = [b"x" * size for size in (0, 125, 126, 65_536, 3)]
    read = read_frames(b"".join(each.plain for each in frame(texts)))
    assert [bytes(each.data) for each in read] == texts


@given(TEXTS)
def test_either_form_says_the_same(text: bytes) -> None:
    made = Frame(text)
    assert text_of(made) == text
    (read,) = read_frames(made.compressed, is_compressing=True)
    assert bytes(read.data) == text


@given(TEXTS)
def test_compressed_payload_is_one_deflated_message_without_its_tail(text: bytes) -> None:
    """RFC 7692, 7.2.2: a receiver appends the four bytes and inflates, with nothing remembered of messages before."""
    payload = frames.deflate(text)
    inflating = zlib.decompressobj(-15)
    assert inflating.decompress(payload + b"\x00\x00\xff\xff") == text
    assert not inflating.unused_data


@pytest.mark.parametrize("size", [FEWEST_COMPRESSED, 10_000, 3_000_000])
def test_compressed_frame_says_so_in_its_first_byte_and_is_smaller(size: int) -> None:
    made = Frame(b'{"price":1.25}' * (size // 14 + 1))
    assert made.compressed[0] == 0b1100_0001
    assert len(made.compressed) < len(made.plain)


def test_message_that_would_not_shrink_stays_plain_for_those_who_compress() -> None:
    small = Frame(b"{" * (FEWEST_COMPRESSED - 1))
    assert small.compressed is small.plain
    (read,) = read_frames(small.compressed, is_compressing=True)
    assert len(read.data) == FEWEST_COMPRESSED - 1


def test_message_is_compressed_once_and_only_if_somebody_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    compressed = []

    def count(payload: bytes | memoryview) -> bytes:
        compressed.append(len(payload))
        return b"deflated"

    monkeypatch.setattr(frames, "deflate", count)
    made = Frame(b"x" * 1000)
    assert made.plain
    assert compressed == []
    assert made.compressed is made.compressed
    assert compressed == [1000]


def test_ping_is_a_whole_frame() -> None:
    (read,) = read_frames(PING)
    assert (read.opcode, read.fin, bytes(read.data)) == (Opcode.PING, True, b"")


def test_payload_of_64_kib_is_measured_in_network_order() -> None:
    assert encode_frame(frames.TEXT, bytes(65_536))[2:10] == struct.pack("!Q", 65_536)
