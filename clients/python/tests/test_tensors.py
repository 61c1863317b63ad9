"""Inputs become tensors, tensors become arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from needletail import InvalidArgument, ProtocolError
from needletail._inputs import Table
from needletail._tensors import decode_tensor
from needletail.v1 import inference_pb2 as pb


def encode_inputs(inputs: Any) -> list[pb.Tensor]:
    return Table.read(inputs).tensors(None)


def only(tensors: list[pb.Tensor]) -> pb.Tensor:
    assert len(tensors) == 1
    return tensors[0]


@pytest.mark.parametrize(
    "dtype, data_type",
    [
        ("f4", pb.FLOAT32), ("f8", pb.FLOAT64), ("i1", pb.INT8), ("i2", pb.INT16), ("i4", pb.INT32),
        ("i8", pb.INT64), ("u1", pb.UINT8), ("?", pb.BOOL), (">f4", pb.FLOAT32), (">i8", pb.INT64),
        ("f2", pb.FLOAT32), ("u2", pb.INT32), ("u4", pb.INT64), ("u8", pb.INT64),
    ],
)  # fmt: skip
def test_numbers_keep_their_type_and_value(dtype: str, data_type: int) -> None:
    rows = np.array([[0, 1, 1], [1, 0, 1]], dtype=dtype)
    tensor = only(encode_inputs(rows))
    assert (tensor.name, tensor.type, list(tensor.shape)) == ("features", data_type, [2, 3])
    np.testing.assert_array_equal(decode_tensor(tensor), rows)


def test_rows_that_are_not_contiguous_are_sent_row_by_row() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    for view in (rows.T, rows[::2], rows[:, ::-1]):
        np.testing.assert_array_equal(decode_tensor(only(encode_inputs(view))), view)


def test_lists_of_rows_are_rows() -> None:
    np.testing.assert_array_equal(decode_tensor(only(encode_inputs([[1, 2], [3, 4]]))), [[1, 2], [3, 4]])
    with_missing = only(encode_inputs([[1, None], [3, 4.5]]))
    assert with_missing.type == pb.FLOAT64
    np.testing.assert_array_equal(decode_tensor(with_missing), [[1, math.nan], [3, 4.5]])


def test_rows_with_text_are_sent_as_text() -> None:
    tensor = only(encode_inputs([[39, "basic", None], [52.5, None, True]]))
    assert (tensor.type, list(tensor.shape)) == (pb.STRING, [2, 3])
    assert list(tensor.strings) == [b"39", b"basic", b"", b"52.5", b"", b"true"]


def test_a_mapping_is_columns_in_its_order() -> None:
    tensors = encode_inputs(
        {"age": [39, 52], "height": np.array([[1.5], [2.0]]), "plan": ["basic", None], "active": [True, False]}
    )
    assert [(t.name, t.type, list(t.shape)) for t in tensors] == [
        ("age", pb.INT64, [2]),
        ("height", pb.FLOAT64, [2, 1]),
        ("plan", pb.STRING, [2]),
        ("active", pb.BOOL, [2]),
    ]
    assert list(tensors[2].strings) == [b"basic", b""]


def test_missing_numbers_become_nan() -> None:
    column = decode_tensor(only(encode_inputs({"age": [39, None, math.nan]})))
    np.testing.assert_array_equal(column, [39.0, math.nan, math.nan])


def test_single_values_are_one_row() -> None:
    tensors = encode_inputs({"age": 39, "plan": "bäsic", "height": None})
    assert [list(t.shape) for t in tensors] == [[1], [1], [1]]
    assert list(tensors[1].strings) == ["bäsic".encode()]
    # Nothing but missing values: text, which servers read for numbers and categories alike.
    assert (tensors[2].type, list(tensors[2].strings)) == (pb.STRING, [b""])


def test_arrays_of_text_are_text() -> None:
    assert list(only(encode_inputs({"plan": np.array(["a", "bb"])})).strings) == [b"a", b"bb"]
    assert list(only(encode_inputs({"plan": np.array([b"a", b"bb"])})).strings) == [b"a", b"bb"]


def test_a_data_frame_is_columns() -> None:
    frame = pd.DataFrame(
        {
            "age": [39.0, None],
            "count": pd.array([1, None], dtype="Int64"),
            "plan": pd.Categorical(["basic", None]),
            "city": pd.array(["Ulm", None], dtype="string"),
            "small": np.array([1, 2], dtype=np.int16),
        }
    )
    tensors = {tensor.name: tensor for tensor in encode_inputs(frame)}
    np.testing.assert_array_equal(decode_tensor(tensors["age"]), [39, math.nan])
    np.testing.assert_array_equal(decode_tensor(tensors["count"]), [1, math.nan])
    assert list(tensors["plan"].strings) == [b"basic", b""]
    assert list(tensors["city"].strings) == [b"Ulm", b""]
    assert tensors["small"].type == pb.INT16


def test_a_data_frame_without_names_is_rows() -> None:
    rows = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(decode_tensor(only(encode_inputs(pd.DataFrame(rows)))), rows)


@pytest.mark.parametrize(
    "inputs, message",
    [
        (np.zeros(64), r"expected a 2-D array .* found shape \[64\]; write rows\[None, :\]"),
        (np.zeros((1, 2, 3)), r"found shape \[1, 2, 3\]"),
        (np.zeros((0, 3)), r"at least one row .* found shape \[0, 3\]"),
        ([[1, 2], [3]], "rows of equal length"),
        ([[1, object()]], "expected numbers, booleans or text"),
        (np.zeros((1, 1), dtype=complex), "found complex128"),
        (np.full((1, 1), 2**63, dtype=np.uint64), r"below 2\*\*63, found 9223372036854775808"),
        ({}, "at least one column"),
        ({1: [2]}, "column names as text, found 1"),
        ({"age": [1, 2], "plan": ["a"]}, "column 'plan': expected 2 rows like column 'age', found 1"),
        ({"age": np.zeros((2, 2))}, r"column 'age': expected shape \[rows\] or \[rows, 1\], found \[2, 2\]"),
        ({"plan": ["a", object()]}, "column 'plan': expected numbers, booleans or text, found <object"),
        ({"age": []}, "column 'age': expected at least one row"),
    ],
)
def test_inputs_that_are_no_tensors_are_refused_by_name(inputs: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        encode_inputs(inputs)


def test_outputs_are_writable_and_of_their_own() -> None:
    tensor = pb.Tensor(name="p", type=pb.FLOAT32, shape=[2], data=np.array([1, 2], dtype="<f4").tobytes())
    array = decode_tensor(tensor)
    array[0] = 5
    assert decode_tensor(tensor)[0] == 1
    labels = decode_tensor(pb.Tensor(name="label", type=pb.STRING, shape=[2], strings=[b"a", "ß".encode()]))
    assert labels.tolist() == ["a", "ß"]


@pytest.mark.parametrize(
    "tensor, message",
    [
        (pb.Tensor(name="p", type=pb.FLOAT32, shape=[2], data=b"1234"), "expected 8 bytes .* found 4"),
        (pb.Tensor(name="p", type=pb.FLOAT32, shape=[2**62, 2**62], data=b"1234"), "found 4"),
        (pb.Tensor(name="p", type=pb.STRING, shape=[2], strings=[b"a"]), "expected 2 strings .* found 1"),
        (pb.Tensor(name="p", type=pb.STRING, shape=[1], strings=[b"\xff"]), "expected UTF-8"),
        (pb.Tensor(name="p", shape=[0]), "expected a known element type, found 0"),
    ],
)
def test_outputs_that_disagree_with_themselves_are_refused(tensor: pb.Tensor, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        decode_tensor(tensor)
