"""Entities and answers, put together from the outputs that a server gives for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_server import FakeServer, Peer
from needletail import Answer, Client, Entity
from needletail.v1 import inference_pb2 as pb

#: Entities of the texts that a call may have: kind, text, first character and score.
KNOWN: dict[str, list[tuple[str, str, int, float]]] = {
    "Ada in Köln": [("PER", "Ada", 0, 0.5), ("LOC", "Köln", 7, 0.25)],
    "nobody": [],
    "Ada": [("PER", "Ada", 0, 0.75)],
}


def add(response: pb.Response, name: str, values: list[list[Any]]) -> None:
    """Adds one part of the entities of some rows, which have equally many."""
    shape = [len(values), len(values[0])]
    flat = [value for row in values for value in row]
    if name in ("label", "text"):
        tensor = response.predict.outputs.add(name=f"entity_{name}", type=pb.STRING, shape=shape)
        tensor.strings.extend(value.encode() for value in flat)
        return
    data_type, dtype = (pb.FLOAT32, "<f4") if name == "score" else (pb.INT64, "<i8")
    data = np.array(flat, dtype=dtype).tobytes()
    response.predict.outputs.add(name=f"entity_{name}", type=data_type, shape=shape, data=data)


def script(peer: Peer) -> None:
    """Answers as a server does: rows are filled up to the one of the call that has the most."""
    while (request := peer.read()) is not None:
        if request.HasField("describe_model"):
            peer.refuse(request, pb.PERMISSION_DENIED)
            continue
        texts = [text.decode() for text in request.predict.inputs[0].strings]
        width = max(len(KNOWN[text]) for text in texts)
        rows = [KNOWN[text] + [("", "", 0, 0.0)] * (width - len(KNOWN[text])) for text in texts]
        response = pb.Response(id=request.id)
        response.predict.model, response.predict.version = "people", 1
        add(response, "label", [[one[0] for one in row] for row in rows])
        add(response, "text", [[one[1] for one in row] for row in rows])
        add(response, "start", [[one[2] for one in row] for row in rows])
        add(response, "end", [[one[2] + len(one[1]) for one in row] for row in rows])
        add(response, "score", [[one[3] for one in row] for row in rows])
        peer.send(response)


@pytest.mark.parametrize("max_rows", [1, 2, 4096])
def test_entities_of_each_row(max_rows: int) -> None:
    """Calls that are cut have rows of other widths, and give one answer."""
    asked = ["nobody", "Ada", "Ada in Köln", "nobody"]
    with FakeServer(script) as server, Client(server.address, timeout=5, max_rows=max_rows) as client:
        answer = client.predict("people", {"text": asked})
    assert answer["entity_text"].shape == (4, 2)
    assert answer.entities == [
        [],
        [Entity("PER", "Ada", 0, 3, 0.75)],
        [Entity("PER", "Ada", 0, 3, 0.5), Entity("LOC", "Köln", 7, 11, 0.25)],
        [],
    ]
    for text, entities in zip(asked, answer.entities):
        assert all(text[entity.start : entity.end] == entity.text for entity in entities)
    assert not hasattr(answer, "answers")


def test_nothing_found() -> None:
    with FakeServer(script) as server, Client(server.address, timeout=5) as client:
        assert client.predict("people", {"text": ["nobody", "nobody"]}).entities == [[], []]


def test_answers_of_each_row() -> None:
    def answering(peer: Peer) -> None:
        while (request := peer.read()) is not None:
            response = pb.Response(id=request.id)
            response.predict.model, response.predict.version = "reading", 1
            tensor = response.predict.outputs.add(name="answer_text", type=pb.STRING, shape=[2])
            tensor.strings.extend([b"Ada", b""])
            for name, values in (("start", [4, 0]), ("end", [7, 0])):
                data = np.array(values, dtype="<i8").tobytes()
                response.predict.outputs.add(name=f"answer_{name}", type=pb.INT64, shape=[2], data=data)
            data = np.array([0.5, 0], dtype="<f4").tobytes()
            response.predict.outputs.add(name="answer_score", type=pb.FLOAT32, shape=[2], data=data)
            peer.send(response)

    with FakeServer(answering) as server, Client(server.address, timeout=5) as client:
        answer = client.predict("reading", {"question": ["Who?", "?"], "context": ["It, Ada", "x"]})
    assert answer.answers == [Answer("Ada", 4, 7, 0.5), Answer("", 0, 0, 0.0)]
    assert not hasattr(answer, "entities")
