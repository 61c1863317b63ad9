"""The golden vectors of the protocol: the same bytes that every implementation is tested with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import needletail
import pytest
from google.protobuf import json_format
from needletail import _calls
from needletail._calls import Call
from needletail._frames import FRAME_BYTES_HARD_CAP, FrameDecoder, encode_frame
from needletail._inputs import Table
from needletail._session import Session, Waiter
from needletail._tensors import decode_tensor
from needletail.errors import error_for_status
from needletail.v1 import inference_pb2 as pb

GOLDEN = Path(__file__).resolve().parents[3] / "proto" / "golden"

if not (GOLDEN / "index.json").exists():
    pytest.skip("the golden vectors stand in the repository, not in the package", allow_module_level=True)

INDEX: list[dict[str, Any]] = json.loads((GOLDEN / "index.json").read_text())


def vectors(**wanted: object) -> pytest.MarkDecorator:
    """Test parameters: the entries of the index that have these values."""
    found = [entry for entry in INDEX if all(entry.get(key) == value for key, value in wanted.items())]
    assert found, f"no golden vector with {wanted}"
    return pytest.mark.parametrize("entry", found, ids=[entry["name"] for entry in found])


def load(name: str) -> bytes:
    return (GOLDEN / f"{name}.bin").read_bytes()


def payload(name: str) -> bytes:
    [frame] = FrameDecoder(FRAME_BYTES_HARD_CAP).feed(load(name))
    return frame


@vectors(kind="request")
def test_requests_mean_what_the_index_says(entry: dict[str, Any]) -> None:
    request = pb.Request.FromString(payload(entry["name"]))
    expected = json_format.ParseDict(entry["message"], pb.Request())
    if entry["canonical"]:
        assert request == expected
        assert encode_frame(request.SerializeToString(deterministic=True), FRAME_BYTES_HARD_CAP) == load(entry["name"])
    else:
        # What is unknown is ignored, but kept: it shows in a comparison of messages.
        assert json_format.MessageToDict(request) == json_format.MessageToDict(expected)


@vectors(kind="response")
def test_responses_mean_what_the_index_says(entry: dict[str, Any]) -> None:
    response = pb.Response.FromString(payload(entry["name"]))
    assert response == json_format.ParseDict(entry["message"], pb.Response())
    assert encode_frame(response.SerializeToString(deterministic=True), FRAME_BYTES_HARD_CAP) == load(entry["name"])


def _no_selector_call(name: str) -> Call[Any]:
    calls: dict[str, Call[Any]] = {
        "health": _calls.health(),
        "metrics": _calls.metrics(),
        "list-models": _calls.list_models(),
    }
    return calls[name]


@pytest.mark.parametrize("name", ["health", "metrics", "list-models"])
def test_calls_without_arguments_are_encoded_as_the_vectors(name: str) -> None:
    request = pb.Request.FromString(payload(name))
    assert _no_selector_call(name).payload(request.id, request.timeout_us) == payload(name)


@pytest.mark.parametrize("name", ["describe-model", "describe-model-version", "describe-model-label"])
def test_describe_calls_are_encoded_as_the_vectors(name: str) -> None:
    request = pb.Request.FromString(payload(name))
    wanted = request.describe_model
    call = _calls.describe_model(wanted.model, version=wanted.version or None, label=wanted.label or None)
    assert call.payload(request.id, request.timeout_us) == payload(name)


def test_the_authenticate_call_and_its_answer_are_as_the_vectors() -> None:
    request = pb.Request.FromString(payload("authenticate"))
    call = _calls.authenticate(request.authenticate.api_key)
    assert request.authenticate.api_key == "secret"
    assert call.payload(request.id, request.timeout_us) == payload("authenticate")
    assert call.answer(pb.Response.FromString(payload("authenticate-answer"))) == "ci"


@pytest.mark.parametrize("name", ["predict-dense", "predict-columns", "predict-label"])
def test_predict_calls_are_encoded_as_the_vectors(name: str) -> None:
    request = pb.Request.FromString(payload(name))
    wanted = request.predict
    inputs = {tensor.name: decode_tensor(tensor) for tensor in wanted.inputs}
    call = _calls.predict(
        wanted.model,
        Table.read(inputs).tensors(None),
        version=wanted.version or None,
        label=wanted.label or None,
        outputs=list(wanted.outputs),
        routing_key=wanted.routing_key,
    )
    assert call.payload(request.id, request.timeout_us) == payload(name)


@vectors(kind="response", canonical=True)
def test_answers_are_read_and_statuses_are_raised(entry: dict[str, Any]) -> None:
    message = json_format.ParseDict(entry["message"], pb.Response())
    session = Session(FRAME_BYTES_HARD_CAP)
    call_id = message.id or 7
    waiter = Waiter()
    session.begin(call_id, waiter, now=0)
    outcomes = [(ended.id, outcome) for ended, outcome in session.receive(load(entry["name"]), now=0)]
    if message.HasField("go_away"):
        assert session.is_draining
        assert [answered for answered, _ in outcomes] == ([call_id] if call_id > message.go_away.last_id else [])
        return
    [(answered, outcome)] = outcomes
    assert answered == call_id
    if message.status.code != pb.OK:
        expected = error_for_status(message.status.code, message.status.message, message.status.retry_after_us)
        if isinstance(outcome, pb.Response):
            with pytest.raises(type(expected)) as caught:
                _calls.health().answer(outcome)
            outcome = caught.value
        assert type(outcome) is type(expected)
        assert (outcome.message, outcome.retry_after) == (expected.message, expected.retry_after)
        return
    assert isinstance(outcome, pb.Response)
    result = message.WhichOneof("result")
    if result == "predict":
        answer = _calls.predict("m", [], version=None, label=None, outputs=(), routing_key="").answer(outcome)
        assert (answer.model, answer.version) == (message.predict.model, message.predict.version)
        for tensor in message.predict.outputs:
            assert answer[tensor.name].shape == tuple(tensor.shape)
    elif result == "describe_model":
        description = _calls.describe_model("m", version=None, label=None).answer(outcome)
        assert description.metrics == dict(message.describe_model.metrics)
    elif result in ("events", "rollout"):
        pass  # The Python client makes no such call; that its classes read the answer is tested above.
    elif result in ("health", "metrics", "list_models"):
        _no_selector_call(result.replace("_", "-")).answer(outcome)


@vectors(kind="malformed", reaction="close")
def test_frames_with_an_impossible_length_end_the_connection(entry: dict[str, Any]) -> None:
    with pytest.raises(needletail.ProtocolError, match="frame length"):
        FrameDecoder(FRAME_BYTES_HARD_CAP).feed(load(entry["name"]))


@vectors(kind="malformed", reaction="wait")
def test_half_a_frame_is_waited_for(entry: dict[str, Any]) -> None:
    decoder = FrameDecoder(FRAME_BYTES_HARD_CAP)
    assert decoder.feed(load(entry["name"])) == []
    assert decoder.is_mid_frame


@vectors(kind="stream")
def test_a_stream_is_cut_into_its_frames(entry: dict[str, Any]) -> None:
    frames = FrameDecoder(FRAME_BYTES_HARD_CAP).feed(load(entry["name"]))
    assert frames == [payload(name) for name in entry["frames"]]
