"""Makes and parses frames by hand: just enough of the protocol to break its rules on purpose."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

OK, DEADLINE_EXCEEDED, OVERLOADED, UNAVAILABLE = 0, 5, 6, 7


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, content: bytes | int) -> bytes:
    """Encodes a varint field or a length-delimited one."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def tensor(rows: list[list[float]]) -> bytes:
    data = b"".join(struct.pack(f"<{len(row)}f", *row) for row in rows)
    shape = varint(len(rows)) + varint(len(rows[0]))
    return field(1, b"features") + field(2, 1) + field(3, shape) + field(4, data)


def predict_body(model: str, rows: list[list[float]], outputs: tuple[str, ...] = ()) -> bytes:
    """Encodes a predict call without its id, for repeated use."""
    call = field(1, model.encode()) + field(4, tensor(rows)) + b"".join(field(5, name.encode()) for name in outputs)
    return field(3, call)


def request(id: int, body: bytes, timeout_us: int = 0) -> bytes:
    head = field(1, id) + (field(2, timeout_us) if timeout_us else b"")
    return frame(head + body)


HEALTH = field(4, b"")


def describe_body(model: str) -> bytes:
    """Encodes the question which version of a model serves, which costs the server no computation."""
    return field(7, field(1, model.encode()))


def fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
        elif kind == 2:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("a field beyond the end of its message")
            yield key >> 3, message[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {kind}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


class Answer(NamedTuple):
    id: int
    code: int
    message: str
    version: int
    # The outputs as they were on the wire, all tensors one after the other.
    outputs: bytes
    # Set in a GoAway only.
    last_id: int | None


def answer(payload: bytes) -> Answer:
    id = code = version = 0
    message, outputs, last_id = "", b"", None
    for number, value in fields(payload):
        if number == 1 and isinstance(value, int):
            id = value
        elif number == 2 and isinstance(value, bytes):
            for inner, content in fields(value):
                if inner == 1 and isinstance(content, int):
                    code = content
                elif inner == 2 and isinstance(content, bytes):
                    message = content.decode()
        elif number in (3, 7) and isinstance(value, bytes):
            for inner, content in fields(value):
                if inner == 2 and isinstance(content, int):
                    version = content
                elif (number, inner) == (3, 3) and isinstance(content, bytes):
                    outputs += content
        elif number == 9 and isinstance(value, bytes):
            last_id = next((v for n, v in fields(value) if n == 1 and isinstance(v, int)), 0)
    return Answer(id, code, message, version, outputs, last_id)


class Frames:
    """Cuts a stream of bytes into payloads."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        self.buffer += data
        payloads, at = [], 0
        while len(self.buffer) - at >= 4:
            (length,) = struct.unpack_from(">I", self.buffer, at)
            if len(self.buffer) - at - 4 < length:
                break
            payloads.append(bytes(self.buffer[at + 4 : at + 4 + length]))
            at += 4 + length
        del self.buffer[:at]
        return payloads


class Caller:
    """One connection that sends a call and waits for its answer."""

    def __init__(self, address: tuple[str, int], timeout: float = 10) -> None:
        self.socket = socket.create_connection(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.frames = Frames()
        self.id = 0
        self.waiting: list[Answer] = []

    def call(self, body: bytes, timeout_us: int = 0) -> Answer:
        self.id += 1
        self.socket.sendall(request(self.id, body, timeout_us))
        while True:
            found = self.receive()
            if found.id == self.id or found.id == 0:
                return found

    def receive(self) -> Answer:
        while not self.waiting:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the server closed the connection")
            self.waiting += [answer(payload) for payload in self.frames.feed(data)]
        return self.waiting.pop(0)

    def close(self) -> None:
        self.socket.close()
