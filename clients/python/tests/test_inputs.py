"""What a model gets of rows, records, columns and frames: the values that they hold, in the form that it wants."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from needletail import InvalidArgument
from needletail._inputs import Feature, Schema, Table
from needletail._tensors import decode_tensor
from needletail.v1 import inference_pb2 as pb

GOLDEN = Path(__file__).resolve().parents[3] / "proto" / "golden" / "values.json"
#: A number, and a category.
MODEL = Schema(1, (Feature("age", False), Feature("plan", True)))
NUMBERS = Schema(1, (Feature("a", False), Feature("b", False)))


def sent(inputs: Any, schema: Schema | None = None) -> dict[str, list[Any]]:
    """What a server gets, by name: texts, or numbers with None for missing."""
    return {tensor.name: cells(tensor) for tensor in Table.read(inputs).tensors(schema)}


def cells(tensor: pb.Tensor) -> list[Any]:
    if tensor.type == pb.STRING:
        return [text.decode() for text in tensor.strings]
    flat = decode_tensor(tensor).reshape(-1).tolist()
    return [None if isinstance(value, float) and math.isnan(value) else value for value in flat]


# ---------------------------------------------------------------- missing values


def test_masked_numbers_are_missing() -> None:
    ages = np.ma.masked_array([39, 52, 7], mask=[False, True, False])
    assert sent({"age": ages}) == {"age": [39, None, 7]}
    floats = np.ma.masked_array(
        np.array([[1.5, 2.5], [3.5, 4.5]], dtype=np.float32), mask=[[False, True], [False, False]]
    )
    assert sent(floats) == {"features": [1.5, None, 3.5, 4.5]}
    assert sent({"age": np.ma.masked_array([39, 52])}) == {"age": [39, 52]}
    assert sent([floats[0], floats[1]]) == {"features": [1.5, None, 3.5, 4.5]}
    assert sent({"on": np.ma.masked_array([True, False], mask=[False, True])}) == {"on": [1, None]}


def test_masked_text_is_missing() -> None:
    assert sent({"plan": np.ma.masked_array(["a", "b"], mask=[True, False])}) == {"plan": ["", "b"]}
    assert sent({"plan": ["a", np.ma.masked]}) == {"plan": ["a", ""]}


def test_the_data_under_a_mask_stays_as_it_was() -> None:
    ages = np.ma.masked_array([1.0, 2.0], mask=[False, True])
    sent({"age": ages})
    assert ages.data.tolist() == [1.0, 2.0]


@pytest.mark.skipif(not hasattr(np.dtypes if hasattr(np, "dtypes") else np, "StringDType"), reason="numpy 1")
def test_text_of_numpy_2_is_text_with_its_missing_value() -> None:
    kind = np.dtypes.StringDType
    assert sent({"plan": np.array(["a", "a long text"], dtype=kind())}) == {"plan": ["a", "a long text"]}
    for missing in (None, math.nan, pd.NA):
        column = np.array(["a", missing], dtype=kind(na_object=missing))
        assert sent({"plan": column}) == {"plan": ["a", ""]}
    rows = np.array([["1", "basic"]], dtype=kind())
    assert sent(rows) == {"features": ["1", "basic"]}


@pytest.mark.parametrize("nothing", [None, math.nan, np.nan, pd.NA, pd.NaT, np.float32("nan")])
def test_a_column_without_any_value_can_be_of_any_feature(nothing: Any) -> None:
    for column in (
        [nothing, nothing],
        np.array([nothing, nothing], dtype=object),
        pd.Series([nothing] * 2, dtype=object),
    ):
        assert sent({"plan": column}, MODEL) == {"plan": ["", ""]}
        assert sent({"age": column}, MODEL) == {"age": [None, None]}
    # Numbers of their own type first, for which a server that has a category there refuses them.
    assert sent({"plan": [None, None]}) == {"plan": ["", ""]}


def test_a_one_row_frame_with_a_gap_is_taken() -> None:
    frame = pd.DataFrame({"age": [39], "plan": pd.array([None], dtype="string")})
    assert sent(frame) == {"age": [39], "plan": [""]}


# ---------------------------------------------------------------- categories


def test_integers_truth_values_and_numbers_of_a_category_are_its_text() -> None:
    values = [1, 12345678901234567, -3]
    assert sent({"plan": values}, MODEL) == {"plan": ["1", "12345678901234567", "-3"]}
    assert sent({"plan": np.array(values)}, MODEL) == {"plan": ["1", "12345678901234567", "-3"]}
    assert sent({"plan": [12345678901234567, None]}, MODEL) == {"plan": ["12345678901234567", ""]}
    assert sent({"plan": np.array([0.1, 2.0, np.nan])}, MODEL) == {"plan": ["0.1", "2", ""]}
    assert sent({"plan": np.array([0.1], dtype=np.float32)}, MODEL) == {"plan": ["0.10000000149011612"]}
    assert sent({"plan": [True, False, None]}, MODEL) == {"plan": ["true", "false", ""]}
    assert sent({"plan": pd.Series([True, False])}, MODEL) == {"plan": ["true", "false"]}
    assert sent({"plan": pd.array([1, None], dtype="Int64")}, MODEL) == {"plan": ["1", ""]}


def test_truth_values_of_a_number_are_one_and_nought() -> None:
    assert sent({"age": [True, None]}, MODEL) == {"age": [1, None]}
    assert sent({"age": ["7", True]}, MODEL) == {"age": ["7", "1"]}


def test_text_and_numbers_may_stand_in_one_column() -> None:
    assert sent({"plan": ["a", 1, 2.5, True, None]}) == {"plan": ["a", "1", "2.5", "true", ""]}


def test_plain_rows_hold_values_and_never_indexes_of_categories() -> None:
    for rows in ([[39, 1], [52, 2]], np.array([[39, 1], [52, 2]]), pd.DataFrame([[39, 1], [52, 2]])):
        assert sent(rows, MODEL) == {"age": [39, 52], "plan": ["1", "2"]}
    assert sent([[39, True]], MODEL) == {"age": [39], "plan": ["true"]}
    assert sent([[True, "a"]], MODEL) == {"features": ["1", "a"]}


def test_plain_rows_of_a_model_without_categories_travel_as_numbers() -> None:
    rows = np.array([[1.5, 2.5]], dtype=np.float32)
    [tensor] = Table.read(rows).tensors(NUMBERS)
    assert (tensor.name, tensor.type) == ("features", pb.FLOAT32)


def test_rows_of_another_width_are_left_for_the_server_to_refuse() -> None:
    assert sent([[1, 2, 3]], MODEL) == {"features": [1, 2, 3]}


def test_a_named_tensor_is_sent_as_it_is() -> None:
    table = Table.read({"features": [[39, 1]]})
    assert table.is_fixed and not table.depends_on_model
    assert [cells(tensor) for tensor in table.tensors(MODEL)] == [[39, 1]]


def test_columns_that_the_model_does_not_know_are_left_out() -> None:
    table = Table.read({"id": [1], "age": [39], " plan ": ["a"]})
    assert table.extra_columns(MODEL) == ["id"]
    assert [tensor.name for tensor in table.tensors(MODEL)] == ["age", " plan "]


def test_names_are_compared_as_servers_compare_them() -> None:
    model = Schema(1, (Feature("caf\u00e9", True),))
    assert Table.read({"cafe\u0301": [1]}).extra_columns(model) == []
    assert sent({"cafe\u0301": [1]}, model) == {"cafe\u0301": ["1"]}
    with pytest.raises(InvalidArgument, match="each name once"):
        Table.read({"caf\u00e9": [1], "cafe\u0301 ": [2]})


# ---------------------------------------------------------------- records and slices


def test_a_list_of_mappings_is_rows_by_name() -> None:
    records = [{"age": 39, "plan": "a"}, {"plan": None}, {"age": 7, "plan": "b"}]
    assert sent(records) == {"age": [39, None, 7], "plan": ["a", "", "b"]}
    with pytest.raises(InvalidArgument, match="row 1 like in other rows, found 3"):
        Table.read([{"age": 39}, 3])


def test_a_slice_of_a_table_has_these_rows_of_every_column() -> None:
    table = Table.read({"age": np.arange(10), "plan": [str(i) for i in range(10)]})
    assert (len(table), len(table[4:7])) == (10, 3)
    assert [cells(tensor) for tensor in table[4:7].tensors(None)] == [[4, 5, 6], ["4", "5", "6"]]
    rows = Table.read(np.arange(6).reshape(3, 2))
    assert cells(rows[1:].tensors(NUMBERS)[0]) == [2, 3, 4, 5]


def test_polars_frames_are_columns() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"age": [39, None], "plan": ["a", None], "on": [True, False]})
    assert sent(frame) == {"age": [39, None], "plan": ["a", ""], "on": [True, False]}


def test_text_that_is_no_unicode_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgument, match="column 'plan': expected text"):
        sent({"plan": ["\ud800"]})


# ---------------------------------------------------------------- the rules that all parts share


def values() -> list[Any]:
    cells: list[dict[str, Any]] = json.loads(GOLDEN.read_text())["cells"] if GOLDEN.exists() else []
    return [pytest.param(cell, id=cell["name"]) for cell in cells if cell["json"] is not None]


@pytest.mark.parametrize("cell", values())
def test_a_value_of_json_is_sent_as_the_text_that_it_is(cell: dict[str, Any]) -> None:
    """A value read from JSON, then given to the client, is to a categorical feature what the file says."""
    value = json.loads(cell["json"])
    [text] = sent({"plan": [value]}, MODEL)["plan"]
    written = cell["json"]
    if isinstance(value, str):
        assert text == value
    elif value is None:
        assert text == ""
    elif isinstance(value, (bool, int)):
        assert text == written
    else:  # JSON's reader in Python keeps a double, not its spelling
        assert float(text) == value
