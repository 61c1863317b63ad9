"""Reads the tensors of a bundle, by proto/bundle.md alone."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

import torch

GRAPH, WEIGHTS = 1, 2
ZSTD = 1
FLOAT32 = 1


def fields(message: bytes) -> dict[int, list]:
    """The fields of a protobuf message by their numbers: whole numbers, or bytes."""
    found: dict[int, list] = {}
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(message):
        key = varint()
        match key & 7:
            case 0:
                value: int | bytes = varint()
            case 2:
                size = varint()
                value = message[place : place + size]
                place += size
            case kind:
                size = {1: 8, 5: 4}[kind]
                value = message[place : place + size]
                place += size
        found.setdefault(key >> 3, []).append(value)
    return found


def packed(values: list) -> list[int]:
    """Whole numbers of a packed field."""
    numbers, value, shift = [], 0, 0
    for byte in b"".join(values):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(value)
            value = shift = 0
    return numbers


def unpacked(stored: bytes, size: int) -> bytes:
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_decompress.restype = ctypes.c_size_t
    library.ZSTD_decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    raw = ctypes.create_string_buffer(size)
    if library.ZSTD_decompress(raw, size, stored, len(stored)) != size:
        raise ValueError(f"expected a frame of {size} bytes")
    return raw.raw


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """The fp32 tensors of a bundle by their names."""
    file = path.read_bytes()
    start, size = struct.unpack_from("<QI", file, 32)
    sections = {}
    for section in fields(file[start : start + size])[6]:
        known = {number: values[0] for number, values in fields(section).items()}
        stored = file[known[4] : known[4] + known[5]]
        sections[known[1]] = unpacked(stored, known[6]) if known.get(2, 0) == ZSTD else stored
    found = {}
    for tensor in fields(sections[GRAPH])[5]:
        known = fields(tensor)
        if known[2][0] != FLOAT32 or known.get(6, [0])[0]:
            continue
        shape = packed(known[3])
        offset = known.get(4, [0])[0]
        count = torch.Size(shape).numel()
        numbers = torch.frombuffer(bytearray(sections[WEIGHTS][offset : offset + 4 * count]), dtype=torch.float32)
        found[known[1][0].decode()] = numbers.reshape(shape)
    return found
