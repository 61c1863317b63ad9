"""What ``predict`` takes: rows, columns and data frames, and how a model wants them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.ma  # numpy would import it at its first use, where an exception can leave Python's import lock held

from ._tensors import DENSE_NAME, cell_texts, encode_array, has_truth_values, is_missing, is_text, named
from .errors import InvalidArgument
from .results import Array
from .v1 import inference_pb2 as pb


class Feature(NamedTuple):
    """An input of a model."""

    name: str
    #: True for a categorical feature; numbers otherwise.
    takes_text: bool


class Schema(NamedTuple):
    """The inputs of one version of a model, in its order."""

    version: int
    features: tuple[Feature, ...]

    @property
    def has_categories(self) -> bool:
        return True in [takes_text for _, takes_text in self.features]


class Table:
    """Inputs of any form, read once: columns by name, or all features of all rows in one array."""

    def __init__(self, columns: Sequence[tuple[str, Array]], rows: Array | None = None) -> None:
        self._columns = columns
        self._rows = rows

    @classmethod
    def read(cls, inputs: Any) -> Table:
        """Takes what ``predict`` takes.

        Raises:
            InvalidArgument: naming the column, what was expected and what was found.
        """
        if isinstance(inputs, Mapping):
            return cls(_read_columns([(name, inputs[name]) for name in inputs]))
        if hasattr(inputs, "columns") and hasattr(inputs, "__getitem__"):
            names = list(inputs.columns)
            if any(isinstance(name, str) for name in names):
                return cls(_read_columns([(name, _frame_column(inputs, index)) for index, name in enumerate(names)]))
            inputs = inputs.to_numpy()  # unnamed columns: just rows
        if isinstance(inputs, (list, tuple)) and inputs and isinstance(inputs[0], Mapping):
            return cls(_read_columns(_columns_of_records(inputs)))
        return cls([], _read_rows(inputs))

    def __len__(self) -> int:
        """Rows."""
        return int(self._rows.shape[0] if self._rows is not None else self._columns[0][1].shape[0])

    def named_columns(self) -> list[tuple[str, Array]]:
        """The columns; those of rows without names are ``x0``, ``x1`` and so on."""
        if self._rows is None:
            return list(self._columns)
        return [(f"x{index}", self._rows[:, index]) for index in range(self._rows.shape[1])]

    def __getitem__(self, rows: slice) -> Table:
        return Table(
            [(name, array[rows]) for name, array in self._columns], None if self._rows is None else self._rows[rows]
        )

    @property
    def is_positional(self) -> bool:
        """True if the values have no names, only places."""
        return self._rows is not None

    @property
    def is_fixed(self) -> bool:
        """True if the caller has named the tensor of the protocol: it is sent as it is."""
        return [name for name, _ in self._columns] == [DENSE_NAME]

    @property
    def depends_on_model(self) -> bool:
        """True if these inputs can mean something else to a model than they say, without an error.

        In an array of numbers a server takes those of a categorical feature for indexes of categories, where the
        caller has values; and whether a truth value among text is a number or a word, the feature decides.
        """
        return self._rows is not None and (not is_text(self._rows) or has_truth_values(self._rows))

    def extra_columns(self, schema: Schema) -> list[str]:
        """Names of columns that are no input of the model."""
        known = {_plain(feature.name) for feature in schema.features}
        return [name for name, _ in self._columns if _plain(name) not in known]

    def tensors(self, schema: Schema | None) -> list[pb.Tensor]:
        """As the model wants them, or, if it is not known, as they are."""
        if self._rows is not None:
            return self._tensors_of_rows(self._rows, schema)
        if schema is None or self.is_fixed:
            return [encode_array(name, array, None) for name, array in self._columns]
        takes_text = {_plain(feature.name): feature.takes_text for feature in schema.features}
        extra = set(self.extra_columns(schema))
        return [
            encode_array(name, array, takes_text.get(_plain(name)))
            for name, array in self._columns
            if name not in extra
        ]

    def text_tensors(self) -> list[pb.Tensor]:
        """Rows as text, of which every model reads the same values: for a model that may not be described."""
        assert self._rows is not None
        return [_text_rows(self._rows, [None] * self._rows.shape[1])]

    def _tensors_of_rows(self, rows: Array, schema: Schema | None) -> list[pb.Tensor]:
        if schema is None or len(schema.features) != rows.shape[1]:
            return [encode_array(DENSE_NAME, rows, None)]  # the server says what is wrong with it
        if is_text(rows):
            return [_text_rows(rows, [feature.takes_text for feature in schema.features])]
        if not schema.has_categories:
            return [encode_array(DENSE_NAME, rows, False)]
        return [
            encode_array(feature.name, rows[:, index], feature.takes_text)
            for index, feature in enumerate(schema.features)
        ]


def _text_rows(rows: Array, takes_text: Sequence[bool | None]) -> pb.Tensor:
    tensor = pb.Tensor(name=DENSE_NAME, type=pb.STRING, shape=rows.shape)
    columns = [list(cell_texts(DENSE_NAME, rows[:, index], wanted)) for index, wanted in enumerate(takes_text)]
    for row in zip(*columns):
        tensor.strings.extend(row)
    return tensor


def _plain(name: str) -> str:
    """A name as servers compare it: proto/README.md, "Values"."""
    return unicodedata.normalize("NFC", name.strip(" \t"))


def _frame_column(frame: Any, index: int) -> Any:
    """One column of a data frame, by position where the library can: names may be there twice."""
    return frame.iloc[:, index] if hasattr(frame, "iloc") else frame[list(frame.columns)[index]]


def _columns_of_records(records: Sequence[Any]) -> list[tuple[Any, Any]]:
    """The columns of a list of rows that are mappings. A feature absent from one row is missing there."""
    names: dict[Any, None] = {}
    for index, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise InvalidArgument(f"inputs: expected a mapping in row {index} like in other rows, found {record!r}")
        names.update(dict.fromkeys(record))
    return [(name, [record.get(name) for record in records]) for name in names]


def _read_rows(inputs: Any) -> Array:
    array = _as_array(inputs, DENSE_NAME)
    if array.ndim != 2:
        hint = "; write rows[None, :] for a single row" if array.ndim == 1 else ""
        raise InvalidArgument(
            f"inputs: expected a 2-D array [rows, features] or a mapping of columns, "
            f"found shape {list(array.shape)}{hint}"
        )
    return array


def _read_columns(columns: Iterable[tuple[Any, Any]]) -> list[tuple[str, Array]]:
    read: list[tuple[str, Array]] = []
    seen: set[str] = set()
    for name, values in columns:
        if not isinstance(name, str):
            raise InvalidArgument(f"inputs: expected column names as text, found {name!r}")
        if _plain(name) in seen:
            raise InvalidArgument(f"column {name!r}: expected each name once, found it twice")
        seen.add(_plain(name))
        array = _as_array(values, name)
        if name != DENSE_NAME and not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
            raise InvalidArgument(f"column {name!r}: expected shape [rows] or [rows, 1], found {list(array.shape)}")
        if read and array.shape[0] != read[0][1].shape[0]:
            raise InvalidArgument(
                f"column {name!r}: expected {read[0][1].shape[0]} rows like column {read[0][0]!r}, "
                f"found {array.shape[0]}"
            )
        read.append((name, array))
    if not read:
        raise InvalidArgument("inputs: expected at least one column, found none")
    return read


def _as_array(values: Any, name: str) -> Array:
    """An array of numbers, booleans or text; or of objects, whose missing values are None."""
    array = _any_array(values, name)
    if array.ndim == 0:  # one row, written as {"age": 39}
        array = array.reshape(1)
    if array.shape[0] == 0 or array.size == 0:
        raise InvalidArgument(
            f"{named(name)}: expected at least one row and one value, found shape {list(array.shape)}"
        )
    return array


def _any_array(values: Any, name: str) -> Array:
    if hasattr(values, "isna") and hasattr(values, "to_numpy"):
        # pandas: nullable types, categories and text come as objects, with one mask for what is missing. Not by way
        # of numbers: integers with a gap would become doubles, and lose digits.
        missing = np.asarray(values.isna(), dtype=bool)
        is_nullable = not isinstance(values.dtype, np.dtype)
        array = np.asarray(values.astype(object) if is_nullable and missing.any() else values.to_numpy())
        if array.dtype.kind not in "fiub":
            array = array.astype(object)
            array[missing] = None
        return array
    if isinstance(values, (str, bytes)) or values is None:
        array = np.empty((), dtype=object)
        array[()] = values
        return array
    if isinstance(values, np.ma.MaskedArray):
        return _unmasked(values)
    if isinstance(values, np.ndarray) or hasattr(values, "__array__"):
        array = np.asarray(values)
        if array.dtype.kind == "T":  # numpy 2's text of any length, which may have a value for missing
            objects = array.astype(object)
            for index, value in enumerate(objects.flat):
                if not isinstance(value, str) and is_missing(value):
                    objects.flat[index] = None
            return objects
        return array
    return _array_of_list(values, name)


def _unmasked(values: np.ma.MaskedArray[Any, Any]) -> Array:
    """The values, with nothing where the mask is set."""
    mask = np.ma.getmaskarray(values)
    data: Array = np.ma.getdata(values)
    if not mask.any():
        return _any_array(data, DENSE_NAME)
    if data.dtype.kind == "f":
        data = data.copy()
        data[mask] = np.nan
        return data
    objects = data.astype(object)
    objects[mask] = None
    return objects


def _unmasked_item(value: Any) -> Any:
    """An item of a list: masked values in it are None."""
    if value is np.ma.masked:
        return None
    if isinstance(value, np.ma.MaskedArray):
        return _unmasked(value)
    if isinstance(value, (list, tuple)):
        return [None if item is np.ma.masked else item for item in value]
    return value


def _array_of_list(values: Any, name: str) -> Array:
    try:
        if isinstance(values, (list, tuple)):
            values = [_unmasked_item(value) for value in values]
        # As objects first: np.asarray([1, "a"]) would silently turn the number into text, and [1, True] the truth
        # value into a number.
        array = np.asarray(values, dtype=object)
        if any(isinstance(value, (list, tuple, np.ndarray)) for value in array.flat):
            raise ValueError("rows of different lengths")
        kinds = {type(value) for value in array.flat}
        if kinds <= {bool, np.bool_}:
            array = array.astype(bool)
        elif not any(_stays_object(kind) for kind in kinds):
            array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{named(name)}: expected rows of equal length, found {error}") from None
    return array


def _stays_object(kind: type) -> bool:
    """Whether numpy would turn a value of this kind, beside others, into something else."""
    return issubclass(kind, (str, bytes, bool, np.bool_, type(None))) or kind.__name__ in ("NAType", "NaTType")
