"""Tensors of the protocol from arrays, and arrays from tensors."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from .errors import InvalidArgument, ProtocolError
from .results import Array
from .v1 import inference_pb2 as pb

#: The tensor that holds all features of a row at once.
DENSE_NAME = "features"

_DTYPE_BY_TYPE: dict[int, np.dtype[Any]] = {
    pb.FLOAT32: np.dtype("<f4"),
    pb.FLOAT64: np.dtype("<f8"),
    pb.INT8: np.dtype("<i1"),
    pb.INT16: np.dtype("<i2"),
    pb.INT32: np.dtype("<i4"),
    pb.INT64: np.dtype("<i8"),
    pb.UINT8: np.dtype("<u1"),
    pb.BOOL: np.dtype("?"),
}
_TYPE_BY_DTYPE = {dtype: data_type for data_type, dtype in _DTYPE_BY_TYPE.items()}
# Types that the protocol lacks and that a larger one holds exactly.
_WIDENED: dict[np.dtype[Any], np.dtype[Any]] = {
    np.dtype("<f2"): np.dtype("<f4"),
    np.dtype("<u2"): np.dtype("<i4"),
    np.dtype("<u4"): np.dtype("<i8"),
}


def type_name(data_type: int) -> str:
    """The numpy name of an element type, or "string"."""
    if data_type == pb.STRING:
        return "string"
    dtype = _DTYPE_BY_TYPE.get(data_type)
    return dtype.name if dtype is not None else f"type {data_type}"


# ---------------------------------------------------------------- inputs


def encode_array(name: str, array: Array, takes_text: bool | None) -> pb.Tensor:
    """The tensor of an array of numbers, truth values or text; or of objects of all three, with None for missing.

    ``takes_text`` tells what the model wants of this feature: text (a categorical feature), numbers, or that it is
    not known. Text is sent wherever there is text and to whom it may concern, for a server reads numbers from text
    as well.

    Raises:
        InvalidArgument: naming the column, what was expected and what was found.
    """
    if takes_text or array.dtype.kind in "US" or (array.dtype.kind == "O" and not _is_numeric(array, takes_text)):
        tensor = pb.Tensor(name=name, type=pb.STRING, shape=array.shape)
        tensor.strings.extend(cell_texts(name, array, takes_text))
        return tensor
    if array.dtype.kind == "O":
        array = _numbers(name, array)
    tensor = pb.Tensor(name=name, shape=array.shape)
    little: np.dtype[Any] = array.dtype.newbyteorder("<")
    dtype = _WIDENED.get(little, little)
    if dtype == np.dtype("<u8"):
        if int(array.max()) >= 2**63:
            raise InvalidArgument(f"{named(name)}: expected integers below 2**63, found {int(array.max())}")
        dtype = np.dtype("<i8")
    data_type = _TYPE_BY_DTYPE.get(dtype)
    if data_type is None:
        raise InvalidArgument(f"{named(name)}: expected numbers, booleans or text, found {array.dtype}")
    tensor.type = data_type  # type: ignore[assignment]
    tensor.data = np.ascontiguousarray(array, dtype=dtype).tobytes()
    return tensor


def cell_texts(name: str, array: Array, takes_text: bool | None) -> Iterator[bytes]:
    """The cells as text, as proto/README.md says under "Values": nothing for missing, integers in digits."""
    kind = array.dtype.kind
    if kind not in "USOfiub":
        raise InvalidArgument(f"{named(name)}: expected numbers, booleans or text, found {array.dtype}")
    for value in array.flat:
        if isinstance(value, str):
            try:
                yield value.encode()
            except UnicodeEncodeError:
                raise InvalidArgument(f"{named(name)}: expected text, found {value!r}, which is no Unicode") from None
        elif isinstance(value, bytes):
            yield bytes(value)
        elif is_missing(value):
            yield b""
        elif isinstance(value, (bool, np.bool_)):
            if takes_text is False:  # servers before the rules of "Values" read no truth values from text
                yield b"1" if value else b"0"
            else:
                yield b"true" if value else b"false"
        else:
            try:
                yield str(operator.index(value)).encode()
            except TypeError:
                # The shortest text that reads back as the same number: that of 2.0 is "2".
                text = repr(_number(name, value))
                yield (text[:-2] if text.endswith(".0") else text).encode()


def is_missing(value: Any) -> bool:
    """None, a NaN of any type, pandas' NA and NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, (str, bytes)):
        return False
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return False


def has_truth_values(array: Array) -> bool:
    """Whether there are some among cells that are sent as text."""
    return array.dtype.kind == "O" and any(isinstance(value, (bool, np.bool_)) for value in array.flat)


def is_text(array: Array) -> bool:
    """Whether some cell is text."""
    if array.dtype.kind == "O":
        return any(isinstance(value, (str, bytes)) for value in array.flat)
    return array.dtype.kind in "US"


def _is_numeric(array: Array, takes_text: bool | None) -> bool:
    """Whether objects can be sent as numbers. A column without any value can only if it is known to be numeric."""
    if is_text(array):
        return False
    return takes_text is False or not all(is_missing(value) for value in array.flat)


def _numbers(name: str, array: Array) -> Array:
    """Numbers as float64 with NaN for missing."""
    result: Array = np.empty(array.shape, dtype=np.float64)
    out = result.reshape(-1)
    for index, value in enumerate(array.flat):
        out[index] = math.nan if is_missing(value) else _number(name, value)
    return result


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidArgument(f"{named(name)}: expected numbers, booleans or text, found {value!r}") from None


def named(name: str) -> str:
    """How messages call an input."""
    return "inputs" if name == DENSE_NAME else f"column {name!r}"


# ---------------------------------------------------------------- outputs


def decode_tensor(tensor: pb.Tensor) -> Array:
    """A numpy array of its own memory; text becomes an array of str.

    Raises:
        ProtocolError: if type, shape and bytes disagree.
    """
    shape = tuple(tensor.shape)
    elements = math.prod(shape)
    if tensor.type == pb.STRING:
        if len(tensor.strings) != elements:
            raise ProtocolError(
                f"output {tensor.name!r}: expected {elements} strings for shape {list(shape)}, "
                f"found {len(tensor.strings)}"
            )
        try:
            return np.array([value.decode() for value in tensor.strings], dtype=np.str_).reshape(shape)
        except UnicodeDecodeError as error:
            raise ProtocolError(f"output {tensor.name!r}: expected UTF-8, found {error}") from None
    dtype = _DTYPE_BY_TYPE.get(tensor.type)
    if dtype is None:
        raise ProtocolError(f"output {tensor.name!r}: expected a known element type, found {int(tensor.type)}")
    if len(tensor.data) != elements * dtype.itemsize:
        raise ProtocolError(
            f"output {tensor.name!r}: expected {elements * dtype.itemsize} bytes for shape {list(shape)} of "
            f"{dtype.name}, found {len(tensor.data)}"
        )
    # astype copies: the memory of the message goes away, and callers may want to write.
    return np.frombuffer(tensor.data, dtype=dtype).reshape(shape).astype(dtype.newbyteorder("="))
