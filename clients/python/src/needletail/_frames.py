"""Frames: a big-endian 32-bit length, then so many bytes."""

from __future__ import annotations

import struct

from .errors import InvalidArgument, ProtocolError

#: The server's own default limit.
FRAME_BYTES_MAX_DEFAULT = 16 << 20
#: No setting goes beyond: a length above this is another protocol.
FRAME_BYTES_HARD_CAP = 64 << 20

_LENGTH = struct.Struct(">I")


def check_frame_length(length: int, frame_bytes_max: int) -> None:
    """Refuses a request that is too long, before it costs a connection.

    Raises:
        InvalidArgument: if the server would not take a frame this long.
    """
    if length > frame_bytes_max:
        raise InvalidArgument(
            f"request: expected at most {frame_bytes_max} bytes (max_frame_bytes), found {length}; "
            "send fewer rows at once"
        )


def encode_frame(payload: bytes, frame_bytes_max: int) -> bytes:
    """The payload with its length in front.

    Raises:
        InvalidArgument: as ``check_frame_length`` does.
    """
    check_frame_length(len(payload), frame_bytes_max)
    return _LENGTH.pack(len(payload)) + payload


class FrameDecoder:
    """Cuts a stream of bytes into frames. No I/O: bytes in, frames out.

    Memory grows with what arrives, never with what a length promises.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()

    @property
    def is_mid_frame(self) -> bool:
        """True if a frame has begun and is not whole yet."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Takes what was received and returns the frames that are whole now.

        Raises:
            ProtocolError: for a length of 0 or beyond the limit. The stream cannot be read on.
        """
        self._buffer += data
        frames: list[bytes] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if not 1 <= length <= self._frame_bytes_max:
                raise ProtocolError(
                    f"frame length: expected 1 to {self._frame_bytes_max} bytes, found {length}; "
                    "is this the port of a Needletail server?"
                )
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            frames.append(bytes(self._buffer[start + _LENGTH.size : end]))
            start = end
        if start:
            del self._buffer[:start]
        return frames
