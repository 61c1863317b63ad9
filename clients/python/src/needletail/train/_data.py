"""Rows and targets as a CSV file for the trainer."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._inputs import Table
from .._tensors import cell_texts, has_truth_values, is_missing, is_text
from ..results import Array


class Column(NamedTuple):
    """A feature of the file."""

    name: str
    #: ``numeric``, ``categorical`` or ``bool``, as a run file declares it.
    type: str
    has_gaps: bool


def write_rows(
    path: Path, table: Table, targets: Sequence[str], roles: Mapping[str, Array]
) -> tuple[list[Column], dict[str, str]]:
    """Writes features, targets and the columns of roles.

    Returns:
        The features, and the name of the column of each role; ``target`` among them.

    Raises:
        ValueError: if a column has another number of rows.
    """
    arrays = table.named_columns()
    for word, count in (("y", len(targets)), *((f"{role}s", len(values)) for role, values in roles.items())):
        if count != len(table):
            raise ValueError(f"{word}: expected {len(table)} values, one a row, found {count}")
    columns: list[Column] = []
    cells: list[list[str]] = []
    taken = {name for name, _ in arrays}
    for name, array in arrays:
        kind = _kind(array)
        texts = [cell.decode() for cell in cell_texts(name, array.reshape(-1), kind == "categorical")]
        columns.append(Column(name, kind, "" in texts))
        # Quotes make text of any word; an empty cell is missing, as it is in a call.
        cells.append([_quoted(text) if text and kind == "categorical" else text for text in texts])
    names = {"target": _free("target", taken)}
    cells.append([_quoted(text) for text in targets])
    for role, values in roles.items():
        names[role] = _free(role, taken)
        if role == "weight":
            cells.append([repr(value) for value in np.asarray(values, dtype=np.float64).tolist()])
        else:
            cells.append([_quoted(text) for text in label_texts(values)[0]])
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(_quoted(name) for name in [*(column.name for column in columns), *names.values()]) + "\n")
        for row in zip(*cells):
            # A line of one empty cell would be a blank one.
            file.write((",".join(row) or '""') + "\n")
    return columns, names


def _kind(array: Array) -> str:
    if array.dtype.kind == "b":
        return "bool"
    if is_text(array):
        return "categorical"
    if has_truth_values(array) and all(
        isinstance(value, (bool, np.bool_)) or is_missing(value) for value in array.flat
    ):
        return "bool"
    return "numeric"


def _free(name: str, taken: set[str]) -> str:
    """A name that no column has yet."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def label_texts(values: Any) -> tuple[list[str], dict[str, Any]]:
    """A text for each value, and the values by their texts.

    Raises:
        ValueError: where a value is missing, or two have one text.
    """
    array = values.to_numpy() if hasattr(values, "to_numpy") else np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"y: expected one value a row, found shape {list(array.shape)}")
    texts: list[str] = []
    text_of: dict[Hashable, str] = {}
    value_of: dict[str, Any] = {}
    for row, value in enumerate(array.tolist() if array.dtype.kind in "biufUS" else array):
        if value not in text_of:
            if is_missing(value):
                raise ValueError(f"y: expected a value in row {row}, found none")
            text = _label(value)
            if text in value_of:
                raise ValueError(f"y: expected labels that differ as text, found {value_of[text]!r} and {value!r}")
            text_of[value], value_of[text] = text, value
        texts.append(text_of[value])
    return texts, value_of


def _label(value: Any) -> str:
    """The text by which a server names a label: without spaces around it, true and false in lower case."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode().strip(" \t")
    if isinstance(value, str):
        return value.strip(" \t")
    try:
        return str(operator.index(value))
    except TypeError:
        text = str(value)
        return text[:-2] if isinstance(value, float) and text.endswith(".0") else text
