"""Makes bundles by hand from proto/bundle.md, for models whose answer tells which version gave it."""

from __future__ import annotations

import hashlib
import struct

from wire import field, varint

MODEL = "m"
SIGNATURE_CAPACITY = 2048


def bundle(version: int, answer: float | None = None, *, model: str = MODEL, weight_bytes: int = 0) -> bytes:
    """Makes an unsigned bundle of a regression of one feature, which answers its version number by default.

    `weight_bytes` adds a hidden layer of that many zeros, so that the bundle takes as long to load as a real one.
    """
    graph, weights = _graph(float(version) if answer is None else answer, weight_bytes)
    schema = field(1, field(1, b"x") + field(5, 0)) + field(2, b"y")
    return _assemble(model, version, [(1, 8, graph), (3, 8, schema), (2, 64, weights)])


def _graph(answer: float, weight_bytes: int) -> tuple[bytes, bytes]:
    width = int((weight_bytes // 4) ** 0.5) // 64 * 64
    bias = struct.pack("<f", answer)
    shapes = [(width, 1), (width, width), (1, width)] if width else [(1, 1)]
    values = field(2, field(1, b"row") + field(2, 1))
    nodes, tensors, section = b"", b"", bytearray()

    def tensor(shape: tuple[int, ...], data: bytes) -> bytes:
        section.extend(b"\0" * (-len(section) % 64))
        dimensions = b"".join(varint(length) for length in shape)
        found = field(1, b"t%d" % len(section)) + field(2, 1) + field(3, dimensions) + field(4, len(section))
        section.extend(data)
        return field(5, found)

    for index, (rows, columns) in enumerate(shapes):
        is_last = index == len(shapes) - 1
        name = b"prediction" if is_last else b"hidden%d" % index
        values += field(2, field(1, name) + field(2, rows))
        tensors += tensor((rows, columns), bytes(4 * rows * columns))
        dense = field(1, index) + (field(2, len(shapes) + 1) if is_last else b"")
        nodes += field(3, field(1, name) + field(2, index) + field(3, index + 1) + field(7, dense))
    tensors += tensor((1,), bias)
    output = field(4, field(1, b"prediction") + field(2, len(shapes)))
    return field(1, b"regression") + values + nodes + output + tensors, bytes(section)


def _assemble(model: str, version: int, sections: list[tuple[int, int, bytes]]) -> bytes:
    directory_bytes = 0
    while True:
        at = 64 + directory_bytes + SIGNATURE_CAPACITY
        entries, places = b"", []
        for number, alignment, data in sections:
            at += -at % alignment
            places.append(at)
            entries += field(
                6,
                field(1, number) + field(4, at) + field(5, len(data)) + field(6, len(data))
                + field(7, alignment) + field(8, hashlib.sha256(data).digest()),
            )  # fmt: skip
            at += len(data)
        directory = field(1, model.encode()) + field(2, version) + field(3, 1) + field(5, 1) + entries
        # Offsets are varints, so their lengths depend on the end of the directory: repeat until nothing moves.
        if len(directory) == directory_bytes:
            break
        directory_bytes = len(directory)
    head = b"\x89NTB\r\n\x1a\n" + struct.pack("<HHIQQQIIQ", 1, 0, 0, 0, 0, 64, directory_bytes, SIGNATURE_CAPACITY, at)
    file = bytearray(head + hashlib.sha256(head + directory).digest()[:8] + directory)
    file += bytes(SIGNATURE_CAPACITY)
    for place, (_, _, data) in zip(places, sections):
        file += bytes(place - len(file)) + data
    return bytes(file)


def resealed(file: bytes | bytearray) -> bytes:
    """Corrects the checksum of header and directory after a change."""
    (length,) = struct.unpack_from("<I", file, 40)
    checksum = hashlib.sha256(bytes(file[:56]) + bytes(file[64 : 64 + length])).digest()[:8]
    return bytes(file[:56]) + checksum + bytes(file[64:])
