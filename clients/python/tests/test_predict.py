"""Which calls a prediction takes: asking what the model wants, saying it again, and many rows."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterable
from typing import Any, Callable

import needletail
import numpy as np
import pytest
from fake_server import Describe, FakeServer, Peer
from needletail import AsyncClient, Client, Prediction
from needletail.v1 import inference_pb2 as pb


def ask(address: str, inputs: list[Any], **settings: Any) -> list[Prediction]:
    with Client(address, timeout=5, **settings) as client:
        return [client.predict("m", one) for one in inputs]


def ask_async(address: str, inputs: list[Any], **settings: Any) -> list[Prediction]:
    async def main() -> list[Prediction]:
        async with AsyncClient(address, timeout=5, **settings) as client:
            return [await client.predict("m", one) for one in inputs]

    return asyncio.run(main())


BOTH = pytest.mark.parametrize("asked", [ask, ask_async])
Asked = Callable[..., "list[Prediction]"]

NUMBER = pb.TensorSpec(name="age", type=pb.FLOAT32, shape=[0])
CATEGORY = pb.TensorSpec(name="plan", type=pb.STRING, shape=[0], categories=["1", "2"])


class Book:
    """A server that writes down what it is asked, and answers with the number of rows."""

    def __init__(self, specs: Iterable[pb.TensorSpec] = (NUMBER, CATEGORY), describes: bool = True) -> None:
        self.described: list[pb.DescribeModelRequest] = []
        self.asked: list[pb.PredictRequest] = []
        self.specs = list(specs)
        self.describes = describes
        self.version_of: Callable[[pb.PredictRequest], int] = lambda request: request.version or 1
        self.refuses: Callable[[pb.PredictRequest], str] = self._refuses

    def describe(self, request: pb.DescribeModelRequest) -> Iterable[pb.TensorSpec]:
        self.described.append(pb.DescribeModelRequest.FromString(request.SerializeToString()))
        return self.specs

    def script(self, peer: Peer) -> None:
        while True:
            request = peer.read()
            if request is None:
                return
            if request.HasField("describe_model"):
                peer.refuse(request, pb.PERMISSION_DENIED)
                continue
            asked = pb.PredictRequest.FromString(request.predict.SerializeToString())
            self.asked.append(asked)
            reason = self.refuses(asked)
            if reason:
                peer.refuse(request, pb.INVALID_ARGUMENT, reason)
                continue
            rows = int(asked.inputs[0].shape[0])
            response = pb.Response(id=request.id)
            response.predict.model, response.predict.version = "m", self.version_of(asked)
            data = np.arange(rows, dtype="<f4").tobytes()
            response.predict.outputs.add(name="prediction", type=pb.FLOAT32, shape=[rows], data=data)
            peer.send(response)

    def _refuses(self, request: pb.PredictRequest) -> str:
        """As a server does: a categorical column must be text, an unknown one is refused."""
        kinds = {spec.name: spec.type for spec in self.specs}
        for tensor in request.inputs:
            if tensor.name == "features":
                continue
            if tensor.name not in kinds:
                return f"unknown input {tensor.name}"
            if kinds[tensor.name] == pb.STRING and tensor.type != pb.STRING:
                return f"input {tensor.name}: expected type STRING"
        return ""

    def server(self) -> FakeServer:
        describe: Describe | None = self.describe if self.describes else None
        return FakeServer(self.script, describe=describe)


def texts(tensor: pb.Tensor) -> list[str]:
    return [text.decode() for text in tensor.strings]


@BOTH
def test_plain_integer_rows_of_a_model_with_categories_are_values(asked: Asked) -> None:
    book = Book()
    with book.server() as server:
        asked(server.address, [[[39, 1], [52, 2]]])
    [request] = book.asked
    assert [(tensor.name, tensor.type) for tensor in request.inputs] == [("age", pb.INT64), ("plan", pb.STRING)]
    assert texts(request.inputs[1]) == ["1", "2"]


@BOTH
def test_what_a_model_takes_is_asked_once_and_not_for_named_inputs(asked: Asked) -> None:
    book = Book([NUMBER])
    with book.server() as server:
        asked(server.address, [np.zeros((1, 1))] * 5)
        assert (len(book.described), len(book.asked)) == (1, 5)
        asked(server.address, [{"age": [1]}, {"features": [[1]]}])
        assert (len(book.described), len(book.asked)) == (1, 7)


@BOTH
def test_a_new_version_is_asked_what_it_takes_before_its_answer_counts(asked: Asked) -> None:
    book = Book([NUMBER])
    book.refuses = lambda request: ""
    versions = iter([1, 2, 2, 2])
    book.version_of = lambda request: next(versions)

    def describe(request: pb.DescribeModelRequest) -> Iterable[pb.TensorSpec]:
        book.described.append(request)
        return [CATEGORY] if request.version == 2 else [NUMBER]

    book.describe = describe  # type: ignore[method-assign]
    with book.server() as server:
        answers = asked(server.address, [[[1]], [[1]], [[1]]])
    assert [answer.version for answer in answers] == [1, 2, 2]
    # The first answer of version 2 was to the number 1 as the index of a category: it was asked again.
    assert [request.inputs[0].name for request in book.asked] == ["features", "features", "plan", "plan"]


@BOTH
def test_a_key_that_may_not_describe_sends_rows_as_text(asked: Asked) -> None:
    book = Book(describes=False)
    with book.server() as server:
        asked(server.address, [np.array([[39, 1], [np.nan, 2]])] * 2)
    for request in book.asked:
        [tensor] = request.inputs
        assert (tensor.name, tensor.type, list(tensor.shape)) == ("features", pb.STRING, [2, 2])
        assert texts(tensor) == ["39", "1", "", "2"]


@BOTH
def test_columns_that_are_refused_are_sent_again_as_the_model_wants_them(asked: Asked) -> None:
    book = Book()
    with book.server() as server:
        asked(server.address, [{"age": [39], "plan": [1]}, {"age": [39], "plan": [True]}])
    assert [texts(request.inputs[1]) for request in book.asked] == [[], ["1"], ["true"]]
    assert len(book.described) == 1


@BOTH
def test_what_stays_wrong_is_refused_with_the_servers_words(asked: Asked) -> None:
    book = Book()
    book.refuses = lambda request: "row 0: unknown category"
    with book.server() as server, pytest.raises(needletail.InvalidArgument, match="row 0: unknown category"):
        asked(server.address, [{"age": [39], "plan": ["a"]}])
    assert len(book.asked) == 1
    with book.server() as server, pytest.raises(needletail.InvalidArgument, match="row 0: unknown category"):
        asked(server.address, [[[39, 1]]])


@BOTH
def test_unknown_columns_are_left_out_with_a_warning_that_names_them(asked: Asked) -> None:
    book = Book()
    with book.server() as server:
        with pytest.warns(
            needletail.ExtraColumns, match="left out columns that it does not know: 'id', 'churned'"
        ) as seen:
            asked(server.address, [{"id": [7], "age": [39], "plan": ["1"], "churned": [0]}])
    assert seen[0].filename == __file__
    assert [tensor.name for tensor in book.asked[-1].inputs] == ["age", "plan"]


@BOTH
def test_no_warning_without_unknown_columns(asked: Asked) -> None:
    with Book().server() as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        asked(server.address, [{"age": [39], "plan": [1]}, [{"age": 39, "plan": 1}]])


# ---------------------------------------------------------------- many rows


@BOTH
def test_many_rows_are_several_calls_to_one_version(asked: Asked) -> None:
    book = Book([NUMBER])
    book.version_of = lambda request: request.version or 7
    with book.server() as server:
        [answer] = asked(server.address, [{"age": np.arange(10_000)}])
    assert [int(request.inputs[0].shape[0]) for request in book.asked] == [4096, 4096, 1808]
    assert [request.version for request in book.asked] == [0, 7, 7]
    assert (answer.version, answer.prediction.shape) == (7, (10_000,))
    np.testing.assert_array_equal(answer.prediction[[0, 4095, 4096, 9999]], [0, 4095, 0, 1807])


@BOTH
def test_the_rows_of_one_call_can_be_set(asked: Asked) -> None:
    book = Book([NUMBER])
    with book.server() as server:
        asked(server.address, [{"age": np.arange(10)}], max_rows=4)
    assert [int(request.inputs[0].shape[0]) for request in book.asked] == [4, 4, 2]


@BOTH
def test_a_server_that_takes_fewer_rows_is_asked_for_as_many_as_it_takes(asked: Asked) -> None:
    sizes: list[int] = []

    def script(peer: Peer) -> None:
        while True:
            request = peer.read()
            if request is None:
                return
            rows = int(request.predict.inputs[0].shape[0])
            sizes.append(rows)
            response = pb.Response(id=request.id)
            if rows > 5:
                status = response.status
                status.code, status.message = pb.INVALID_ARGUMENT, "a sentence that nobody reads"
                limit = pb.ExceededLimit(name="rows_max", maximum=5, found=rows)
                status.detail.CopyFrom(pb.ErrorDetail(field="age", limit=limit))
            else:
                data = np.full(rows, 1, dtype="<f4").tobytes()
                response.predict.model, response.predict.version = "m", 1
                response.predict.outputs.add(name="prediction", type=pb.FLOAT32, shape=[rows], data=data)
            peer.send(response)

    with FakeServer(script) as server:
        [answer] = asked(server.address, [{"age": np.arange(12.0)}])
    assert (sizes, len(answer.prediction)) == ([12, 5, 5, 2], 12)


@BOTH
def test_rows_that_fit_into_no_frame_together_are_several_calls(asked: Asked) -> None:
    book = Book([NUMBER])
    with book.server() as server:
        [answer] = asked(server.address, [{"age": np.arange(1000)}], max_frame_bytes=4096)
    assert sum(int(request.inputs[0].shape[0]) for request in book.asked) == len(answer.prediction) == 1000


@BOTH
def test_rows_whose_version_is_retired_meanwhile_are_all_asked_again(asked: Asked) -> None:
    book = Book([NUMBER])
    latest = [1]
    book.version_of = lambda request: latest[0]

    def script(peer: Peer) -> None:
        while True:
            request = peer.read()
            if request is None:
                return
            book.asked.append(request.predict)
            if request.predict.version == 1:
                latest[0] = 2
                peer.refuse(request, pb.NOT_FOUND, "version 1 was retired")
                continue
            response = pb.Response(id=request.id)
            response.predict.model, response.predict.version = "m", latest[0]
            rows = int(request.predict.inputs[0].shape[0])
            data = np.full(rows, latest[0], dtype="<f4").tobytes()
            response.predict.outputs.add(name="prediction", type=pb.FLOAT32, shape=[rows], data=data)
            peer.send(response)

    with FakeServer(script) as server:
        [answer] = asked(server.address, [{"age": np.arange(10)}], max_rows=4)
    assert (answer.version, answer.prediction.tolist()) == (2, [2] * 10)


def test_many_calls_at_once_ask_once_what_the_model_takes() -> None:
    book = Book([NUMBER])

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            await asyncio.gather(*(client.predict("m", [[float(i)]]) for i in range(100)))

    with book.server() as server:
        asyncio.run(main())
    assert (len(book.described), len(book.asked)) == (1, 100)
