"""Tensors of the protocol from what Python programs hold, and numpy arrays from tensors."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
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


def encode_inputs(inputs: Any) -> list[pb.Tensor]:
    """Tensors for what ``predict`` takes: rows, a mapping of columns, or a data frame.

    Raises:
        InvalidArgument: naming the column, what was expected and what was found.
    """
    if isinstance(inputs, Mapping):
        return _encode_columns([(name, inputs[name]) for name in inputs])
    if hasattr(inputs, "columns") and hasattr(inputs, "__getitem__"):
        names = list(inputs.columns)
        if any(isinstance(name, str) for name in names):
            return _encode_columns([(name, inputs[name]) for name in names])
        inputs = inputs.to_numpy()  # unnamed columns: just rows
    return [_encode_rows(inputs)]


def _encode_rows(rows: Any) -> pb.Tensor:
    array = _as_array(rows, DENSE_NAME)
    if array.ndim != 2:
        hint = "; write rows[None, :] for a single row" if array.ndim == 1 else ""
        raise InvalidArgument(
            f"inputs: expected a 2-D array [rows, features] or a mapping of columns, "
            f"found shape {list(array.shape)}{hint}"
        )
    return _encode_array(DENSE_NAME, array)


def _encode_columns(columns: Sequence[tuple[Any, Any]]) -> list[pb.Tensor]:
    if not columns:
        raise InvalidArgument("inputs: expected at least one column, found none")
    tensors: list[pb.Tensor] = []
    for name, values in columns:
        if not isinstance(name, str):
            raise InvalidArgument(f"inputs: expected column names as text, found {name!r}")
        array = _as_array(values, name)
        if array.ndim == 0:  # one row, written as {"age": 39}
            array = array.reshape(1)
        if name != DENSE_NAME and not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
            raise InvalidArgument(f"column {name!r}: expected shape [rows] or [rows, 1], found {list(array.shape)}")
        tensors.append(_encode_array(name, array))
        if tensors[-1].shape[0] != tensors[0].shape[0]:
            raise InvalidArgument(
                f"column {name!r}: expected {tensors[0].shape[0]} rows like column {tensors[0].name!r}, "
                f"found {tensors[-1].shape[0]}"
            )
    return tensors


def _as_array(values: Any, name: str) -> Array:
    """An array of numbers, booleans or text; or of objects, whose missing values are None."""
    if hasattr(values, "isna") and hasattr(values, "to_numpy"):
        # pandas: nullable types, categories and text all come as objects, with one mask for
        # what is missing.
        array = np.asarray(values.to_numpy())
        if array.dtype.kind not in "fiub":
            array = array.astype(object)
            array[np.asarray(values.isna(), dtype=bool)] = None
        return array
    if isinstance(values, (str, bytes)) or values is None:
        array = np.empty((), dtype=object)
        array[()] = values
        return array
    if isinstance(values, np.ndarray):
        return values
    if hasattr(values, "__array__"):
        return np.asarray(values)
    try:
        # As objects first: np.asarray([1, "a"]) would silently turn the number into text.
        array = np.asarray(values, dtype=object)
        if any(isinstance(value, (list, tuple, np.ndarray)) for value in array.flat):
            raise ValueError("rows of different lengths")
        if array.size and not any(value is None or isinstance(value, (str, bytes)) for value in array.flat):
            array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{_named(name)}: expected rows of equal length, found {error}") from None
    return array


def _encode_array(name: str, array: Array) -> pb.Tensor:
    if array.ndim == 0 or array.shape[0] == 0 or array.size == 0:
        raise InvalidArgument(
            f"{_named(name)}: expected at least one row and one value, found shape {list(array.shape)}"
        )
    if array.dtype.kind == "O":
        array = _resolve_objects(name, array)
    tensor = pb.Tensor(name=name, shape=array.shape)
    if array.dtype.kind in "US":
        tensor.type = pb.STRING
        if array.dtype.kind == "S":
            tensor.strings.extend(bytes(value) for value in array.flat)
        else:
            tensor.strings.extend(str(value).encode() for value in array.flat)
        return tensor
    if array.dtype.kind == "O":  # text with missing values, after _resolve_objects
        tensor.type = pb.STRING
        tensor.strings.extend(array.flat)
        return tensor
    little: np.dtype[Any] = array.dtype.newbyteorder("<")
    dtype = _WIDENED.get(little, little)
    if dtype == np.dtype("<u8"):
        if int(array.max()) >= 2**63:
            raise InvalidArgument(f"{_named(name)}: expected integers below 2**63, found {int(array.max())}")
        dtype = np.dtype("<i8")
    data_type = _TYPE_BY_DTYPE.get(dtype)
    if data_type is None:
        raise InvalidArgument(f"{_named(name)}: expected numbers, booleans or text, found {array.dtype}")
    tensor.type = data_type  # type: ignore[assignment]
    tensor.data = np.ascontiguousarray(array, dtype=dtype).tobytes()
    return tensor


def _resolve_objects(name: str, array: Array) -> Array:
    """Numbers as float64 with NaN for missing, or UTF-8 text as objects with b"" for missing."""
    has_text = any(isinstance(value, (str, bytes)) for value in array.flat)
    result: Array = np.empty(array.shape, dtype=object if has_text else np.float64)
    out = result.reshape(-1)
    for index, value in enumerate(array.flat):
        missing = value is None or (isinstance(value, float) and math.isnan(value))
        if has_text:
            if missing:
                out[index] = b""
            elif isinstance(value, (str, bytes)):
                out[index] = value.encode() if isinstance(value, str) else value
            elif name == DENSE_NAME and array.ndim == 2:
                # Rows of mixed columns: the server reads numbers from text.
                out[index] = _number_text(name, value).encode()
            else:
                raise InvalidArgument(
                    f"{_named(name)}: expected text in row {index} like in other rows, found {value!r}"
                )
        elif missing:
            out[index] = math.nan
        else:
            out[index] = _number(name, value)
    return result


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidArgument(f"{_named(name)}: expected numbers, booleans or text, found {value!r}") from None


def _number_text(name: str, value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "1" if value else "0"
    try:
        return str(operator.index(value))
    except TypeError:
        return repr(_number(name, value))


def _named(name: str) -> str:
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
