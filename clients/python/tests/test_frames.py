"""Frames and addresses."""

from __future__ import annotations

import pytest
from needletail import InvalidArgument, ProtocolError
from needletail._address import TCPAddress, UnixAddress, parse_address
from needletail._frames import FrameDecoder, encode_frame


def test_a_frame_is_its_big_endian_length_and_its_bytes() -> None:
    assert encode_frame(b"abc", 16) == b"\x00\x00\x00\x03abc"


def test_frames_come_out_whole_however_they_are_cut() -> None:
    stream = encode_frame(b"one", 16) + encode_frame(b"twotwo", 16)
    for cut in range(len(stream) + 1):
        decoder = FrameDecoder(16)
        assert decoder.feed(stream[:cut]) + decoder.feed(stream[cut:]) == [b"one", b"twotwo"]
        assert not decoder.is_mid_frame
    decoder = FrameDecoder(16)
    assert [frame for byte in stream for frame in decoder.feed(bytes([byte]))] == [b"one", b"twotwo"]


def test_half_a_frame_stays_until_the_rest_comes() -> None:
    decoder = FrameDecoder(16)
    assert decoder.feed(b"\x00\x00\x00\x05ab") == []
    assert decoder.is_mid_frame
    assert decoder.feed(b"cde") == [b"abcde"]


@pytest.mark.parametrize(
    "stream, found",
    [(b"\x00\x00\x00\x00", "found 0"), (b"\x00\x00\x00\x11", "found 17"), (b"HTTP/1.1 400", "found 1213486160")],
)
def test_lengths_out_of_bounds_end_the_stream(stream: bytes, found: str) -> None:
    with pytest.raises(ProtocolError, match=found):
        FrameDecoder(16).feed(stream)


def test_a_request_too_long_is_refused_before_it_is_sent() -> None:
    assert len(encode_frame(b"x" * 16, 16)) == 20
    with pytest.raises(InvalidArgument, match="at most 16 bytes .*found 17"):
        encode_frame(b"x" * 17, 16)


def test_addresses_are_tcp_or_unix() -> None:
    assert parse_address("db:6470") == TCPAddress("db", 6470)
    assert parse_address("[::1]:6470") == TCPAddress("::1", 6470)
    assert parse_address("unix:/run/nt.sock") == UnixAddress("/run/nt.sock")
    for text in ("db:6470", "[::1]:6470", "unix:/run/nt.sock"):
        assert str(parse_address(text)) == text


@pytest.mark.parametrize("text", ["", "db", ":6470", "db:", "db:0", "db:65536", "db:x", "db:-1", "::1:6470", "unix:"])
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="address: expected"):
        parse_address(text)
