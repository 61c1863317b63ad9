"""The blocking client against a fake server."""

from __future__ import annotations

import threading
import time
from typing import Any

import needletail
import numpy as np
import pytest
from fake_server import FakeServer, Peer, answer_everything, eventually, unused_port
from needletail import Client, RetryPolicy
from needletail.v1 import inference_pb2 as pb

# By the name of the tensor: sent as it is, whatever the model wants, without asking for that first.
ROWS = {"features": np.array([[1.0, 2.0], [3.0, 4.0]])}
NO_RETRY = RetryPolicy(attempts=1)


def test_predict_returns_arrays_and_the_version() -> None:
    with FakeServer() as server, Client(server.address) as client:
        answer = client.predict("sums", ROWS)
        assert (answer.model, answer.version, answer.timing.batch_rows) == ("sums", 1, 2)
        np.testing.assert_array_equal(answer["prediction"], [3, 7])
        np.testing.assert_array_equal(answer.prediction, answer.outputs["prediction"])
        assert not hasattr(answer, "label")
        with pytest.raises(KeyError, match="no output 'label'; there are prediction"):
            answer["label"]


def test_a_unix_socket_will_do() -> None:
    with FakeServer(unix=True) as server, Client(server.address) as client:
        assert server.address.startswith("unix:")
        np.testing.assert_array_equal(client.predict("sums", ROWS).prediction, [3, 7])


def test_everything_asked_for_is_in_the_request() -> None:
    seen = []

    def script(peer: Peer) -> None:
        for _ in range(3):
            request = peer.expect()
            seen.append(request)
            peer.answer(request)

    with FakeServer(script) as server, Client(server.address) as client:
        client.predict("m", ROWS, version=7, outputs=["prediction"], routing_key="user-1", timeout=0.5)
        client.predict("m", ROWS, label="canary", timeout=None)
        client.predict("m", ROWS)
    assert (seen[0].predict.model, seen[0].predict.version, list(seen[0].predict.outputs)) == ("m", 7, ["prediction"])
    assert seen[0].predict.routing_key == "user-1"
    assert 0 < seen[0].timeout_us <= 500_000
    assert (seen[1].predict.label, seen[1].timeout_us) == ("canary", 0)
    assert seen[2].predict.WhichOneof("selector") is None
    assert 4_000_000 < seen[2].timeout_us <= 5_000_000
    assert len({request.id for request in seen}) == 3 and 0 not in {request.id for request in seen}


def test_arguments_that_make_no_sense_are_refused_without_a_server() -> None:
    with Client("127.0.0.1:1", retries=NO_RETRY) as client:
        with pytest.raises(needletail.InvalidArgument, match="found both"):
            client.predict("m", ROWS, version=1, label="canary")
        with pytest.raises(needletail.InvalidArgument, match="found 0"):
            client.predict("m", ROWS, version=0)
        with pytest.raises(needletail.InvalidArgument, match="list of names"):
            client.predict("m", ROWS, outputs="label")
        with pytest.raises(ValueError, match="timeout"):
            client.predict("m", ROWS, timeout=0)
    refused: list[dict[str, Any]] = [
        {"max_connections": 0}, {"timeout": -1.0}, {"connect_timeout": 0.0}, {"max_frame_bytes": 1 << 30},
    ]  # fmt: skip
    for settings in refused:
        with pytest.raises(ValueError, match="expected"):
            Client(**settings)


def test_other_calls() -> None:
    state = pb.ModelStatus(model="m", serving_version=2)
    state.versions.add(version=3, state=pb.REJECTED, reason="bad_hash", since_ms=1_700_000_000_000)
    state.versions.add(version=2, state=pb.LIVE, digest="ab", signer="ci", resident_bytes=99)

    def script(peer: Peer) -> None:
        for _ in range(4):
            request = peer.expect()
            response = pb.Response(id=request.id)
            if request.HasField("health"):
                response.health.live = True
                response.health.models.append(state)
            elif request.HasField("list_models"):
                response.list_models.models.append(state)
                response.list_models.problems.add(path="m/x.ntb", reason="not a version")
            elif request.HasField("metrics"):
                response.metrics.text = "up 1\n"
            else:
                assert request.describe_model.label == "stable"
                answer = response.describe_model
                answer.model, answer.version, answer.state, answer.task = "m", 2, pb.LIVE, "classification"
                answer.inputs.add(name="plan", type=pb.STRING, shape=[0], categories=["a", "b"], optional=True)
                answer.outputs.add(name="probabilities", type=pb.FLOAT32, shape=[0, 2])
                answer.labels.extend(["no", "yes"])
                answer.metrics["accuracy"] = 0.97
                answer.lineage["seed"] = "1"
                answer.plan.append("dense")
            peer.send(response)

    with FakeServer(script, describe=None) as server, Client(server.address) as client:
        health = client.health()
        assert (health.live, health.ready, health.models[0].versions[1].state) == (True, False, "live")
        models = client.models()
        assert len(models) == 1 and models[0].serving_version == 2
        assert (models[0].versions[0].state, models[0].versions[0].reason) == ("rejected", "bad_hash")
        assert models[0].versions[0].since.year == 2023
        assert models.problems[0].path == "m/x.ntb"
        assert client.metrics() == "up 1\n"
        description = client.describe("m", label="stable")
        assert (description.task, description.labels, description.metrics) == (
            "classification",
            ("no", "yes"),
            {"accuracy": 0.97},
        )
        assert (description.inputs[0].type, description.inputs[0].categories) == ("string", ("a", "b"))
        assert (description.outputs[0].type, description.outputs[0].shape) == ("float32", (0, 2))


def test_a_status_is_raised_as_its_class_and_the_connection_stays() -> None:
    def script(peer: Peer) -> None:
        peer.refuse(peer.expect(), pb.NOT_FOUND, 'model: expected one of "a", found "b"')
        answer_everything(peer)

    with FakeServer(script) as server, Client(server.address) as client:
        with pytest.raises(needletail.NotFound, match='expected one of "a", found "b"') as caught:
            client.predict("b", ROWS)
        assert caught.value.code == needletail.StatusCode.NOT_FOUND
        client.predict("a", ROWS)
        assert server.connections == 1


def test_nothing_is_connected_before_the_first_call_and_connections_are_reused() -> None:
    with FakeServer() as server, Client(server.address) as client:
        time.sleep(0.05)
        assert server.connections == 0
        for _ in range(20):
            client.predict("m", ROWS)
        assert server.connections == 1


# ---------------------------------------------------------------- retries


def test_overload_is_retried_after_the_time_the_server_names() -> None:
    def script(peer: Peer) -> None:
        peer.refuse(peer.expect(), pb.OVERLOADED, retry_after_us=100_000)
        answer_everything(peer)

    with FakeServer(script) as server, Client(server.address) as client:
        begin = time.monotonic()
        client.predict("m", ROWS)
        assert time.monotonic() - begin >= 0.1
        assert server.connections == 1


def test_overload_that_lasts_is_raised_with_retry_after() -> None:
    requests = []

    def script(peer: Peer) -> None:
        for _ in range(3):
            requests.append(peer.expect())
            peer.refuse(requests[-1], pb.OVERLOADED, retry_after_us=1_000)
        assert peer.read() is None

    with FakeServer(script) as server, Client(server.address, retries=RetryPolicy(attempts=3)) as client:
        with pytest.raises(needletail.Overloaded) as caught:
            client.predict("m", ROWS)
        assert caught.value.retry_after == 0.001
        assert len(requests) == 3


def test_the_deadline_covers_retries_and_shrinks_with_them() -> None:
    budgets = []

    def script(peer: Peer) -> None:
        for _ in range(2):
            request = peer.expect()
            budgets.append(request.timeout_us)
            peer.refuse(request, pb.OVERLOADED, retry_after_us=200_000)
        answer_everything(peer)

    with FakeServer(script) as server, Client(server.address) as client:
        begin = time.monotonic()
        with pytest.raises(needletail.Overloaded):
            client.predict("m", ROWS, timeout=0.35)
        # It does not wait for a retry that would come too late.
        assert time.monotonic() - begin < 0.34
    assert len(budgets) == 2
    assert budgets[1] <= budgets[0] - 200_000


def test_a_refused_connection_is_retried_until_the_server_is_there() -> None:
    port = unused_port()
    with Client(f"127.0.0.1:{port}", retries=NO_RETRY) as client:
        with pytest.raises(needletail.ConnectionFailed, match=f"127.0.0.1:{port}: Connection refused"):
            client.predict("m", ROWS)
    with Client("unix:/nowhere/needletail.sock", retries=NO_RETRY) as client:
        with pytest.raises(needletail.ConnectionFailed, match="No such file"):
            client.predict("m", ROWS)


def test_a_connection_lost_under_a_call_is_retried_on_another() -> None:
    def script(peer: Peer) -> None:
        request = peer.expect()
        if peer.number > 1:
            peer.answer(request)
            answer_everything(peer)

    with FakeServer(script) as server, Client(server.address) as client:
        np.testing.assert_array_equal(client.predict("m", ROWS).prediction, [3, 7])
        assert server.connections == 2

    with FakeServer(script) as server, Client(server.address, retries=RetryPolicy(retry_lost=False)) as client:
        with pytest.raises(needletail.ConnectionLost) as caught:
            client.predict("m", ROWS)
        assert caught.value.sent
        assert server.connections == 1


def test_half_an_answer_and_then_the_end_is_a_lost_connection() -> None:
    def script(peer: Peer) -> None:
        peer.expect()
        peer.send_bytes(b"\x00\x00\x00\x20half")

    with FakeServer(script) as server, Client(server.address, retries=NO_RETRY) as client:
        with pytest.raises(needletail.ConnectionLost, match="closed the connection before the answer"):
            client.predict("m", ROWS)


def test_an_idle_connection_that_the_server_closed_costs_no_retry() -> None:
    def script(peer: Peer) -> None:
        peer.answer(peer.expect())

    with FakeServer(script) as server, Client(server.address, retries=NO_RETRY) as client:
        for count in range(1, 4):
            client.predict("m", ROWS)
            assert server.connections == count
            time.sleep(0.02)


# ---------------------------------------------------------------- GoAway


def test_go_away_on_an_idle_connection_moves_the_next_call_to_a_new_one() -> None:
    told = threading.Event()

    def script(peer: Peer) -> None:
        request = peer.expect()
        peer.answer(request)
        if peer.number == 1:
            peer.go_away(last_id=request.id)
            told.set()
            assert peer.read() is None, "the client used a connection after GoAway"
        else:
            answer_everything(peer)

    with FakeServer(script) as server, Client(server.address, retries=NO_RETRY) as client:
        client.predict("m", ROWS)
        assert told.wait(5)
        time.sleep(0.02)
        client.predict("m", ROWS)
        assert server.connections == 2


def test_a_call_above_the_last_id_is_made_again_elsewhere() -> None:
    def script(peer: Peer) -> None:
        request = peer.expect()
        if peer.number == 1:
            peer.go_away(last_id=request.id - 1)
            peer.until_closed()
        else:
            peer.answer(request)
            answer_everything(peer)

    retries = RetryPolicy(retry_lost=False)
    with FakeServer(script) as server, Client(server.address, retries=retries) as client:
        np.testing.assert_array_equal(client.predict("m", ROWS).prediction, [3, 7])
        assert server.connections == 2


def test_a_call_up_to_the_last_id_still_gets_its_answer() -> None:
    def script(peer: Peer) -> None:
        request = peer.expect()
        peer.go_away(last_id=request.id)
        peer.answer(request)
        assert peer.read() is None

    with FakeServer(script) as server, Client(server.address, retries=NO_RETRY) as client:
        np.testing.assert_array_equal(client.predict("m", ROWS).prediction, [3, 7])
        assert server.connections == 1


# ---------------------------------------------------------------- deadlines


def test_a_call_without_an_answer_ends_at_its_deadline() -> None:
    with FakeServer(Peer.until_closed) as server, Client(server.address) as client:
        begin = time.monotonic()
        with pytest.raises(needletail.DeadlineExceeded):
            client.predict("m", ROWS, timeout=0.1)
        assert 0.1 <= time.monotonic() - begin < 1


def test_a_late_answer_is_not_taken_for_that_of_the_next_call() -> None:
    def script(peer: Peer) -> None:
        late = peer.expect()
        request = peer.expect()
        peer.answer(late, version=1)
        peer.answer(request, version=2)

    with FakeServer(script) as server, Client(server.address) as client:
        with pytest.raises(needletail.DeadlineExceeded):
            client.predict("m", ROWS, timeout=0.05)
        assert client.predict("m", ROWS).version == 2
        assert server.connections == 1


def test_a_server_that_says_nothing_for_long_loses_its_connection() -> None:
    with FakeServer(Peer.until_closed) as server, Client(server.address, retries=NO_RETRY) as client:
        with pytest.raises(needletail.DeadlineExceeded):
            client.predict("m", ROWS, timeout=1.05)
        with pytest.raises(needletail.DeadlineExceeded):
            client.predict("m", ROWS, timeout=0.05)
        assert server.connections == 2


def test_a_server_that_does_not_read_cannot_hold_a_call_beyond_its_deadline() -> None:
    release = threading.Event()

    def script(peer: Peer) -> None:
        release.wait(5)

    with FakeServer(script) as server, Client(server.address, retries=NO_RETRY) as client:
        with pytest.raises(needletail.DeadlineExceeded, match="before the request was sent"):
            client.predict("m", {"features": np.zeros((1000, 2000))}, timeout=0.2)
        release.set()


# ---------------------------------------------------------------- what is not the protocol


@pytest.mark.parametrize(
    "stream",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x00\x00\x00", b"\x00\x00\x00\x03\xff\xff\xff"],
    ids=["http", "empty-frame", "no-protobuf"],
)
def test_garbage_is_a_protocol_error_and_ends_the_connection(stream: bytes) -> None:
    def script(peer: Peer) -> None:
        request = peer.expect()
        if peer.number == 1:
            peer.send_bytes(stream)
            peer.until_closed()
        else:
            peer.answer(request)

    with FakeServer(script) as server, Client(server.address) as client:
        with pytest.raises(needletail.ProtocolError):
            client.predict("m", ROWS)
        client.predict("m", ROWS)
        assert server.connections == 2


def test_an_answer_with_a_wrong_id_is_a_protocol_error() -> None:
    def script(peer: Peer) -> None:
        request = peer.expect()
        request.id += 100
        peer.answer(request)
        peer.until_closed()

    with FakeServer(script) as server, Client(server.address) as client:
        with pytest.raises(needletail.ProtocolError, match="id"):
            client.predict("m", ROWS)


def test_an_answer_to_another_call_is_a_protocol_error() -> None:
    def script(peer: Peer) -> None:
        peer.send(pb.Response(id=peer.expect().id, metrics=pb.MetricsResponse(text="x")))
        peer.send(pb.Response(id=peer.expect().id, predict=pb.PredictResponse(model="m")))

    with FakeServer(script) as server, Client(server.address) as client:
        with pytest.raises(needletail.ProtocolError, match="expected predict, found metrics"):
            client.predict("m", ROWS)
        with pytest.raises(needletail.ProtocolError, match="version"):
            client.predict("m", ROWS)


def test_an_answer_beyond_the_frame_limit_is_refused() -> None:
    def script(peer: Peer) -> None:
        request = peer.expect()
        peer.send(pb.Response(id=request.id, metrics=pb.MetricsResponse(text="x" * 5000)))
        peer.until_closed()

    with FakeServer(script) as server, Client(server.address, max_frame_bytes=4096) as client:
        with pytest.raises(needletail.ProtocolError, match="expected 1 to 4096 bytes, found 50"):
            client.metrics()
        with pytest.raises(needletail.InvalidArgument, match="at most 4096 bytes"):
            client.predict("m", {"features": np.zeros((1, 10_000))})


def test_a_frame_that_the_server_refuses_is_that_calls_error() -> None:
    def script(peer: Peer) -> None:
        peer.expect()
        response = pb.Response()
        response.status.code = pb.INVALID_ARGUMENT
        response.status.message = "frame length: expected at most 10, found 99"
        peer.send(response)

    with FakeServer(script) as server, Client(server.address) as client:
        with pytest.raises(needletail.InvalidArgument, match="at most 10, found 99"):
            client.predict("m", ROWS)
        assert server.connections == 1


# ---------------------------------------------------------------- closing


def test_a_closed_client_says_so() -> None:
    with FakeServer() as server:
        client = Client(server.address)
        client.predict("m", ROWS)
        client.close()
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.predict("m", ROWS)


def test_an_interrupted_call_does_not_leave_its_connection_behind() -> None:
    class Interrupt(BaseException):
        pass

    with FakeServer() as server, Client(server.address) as client:
        client.predict("m", ROWS)
        connection = client._pool._own().idle[-1]
        receive = connection._receive

        def interrupted(deadline: object) -> bytes:
            raise Interrupt

        connection._receive = interrupted  # type: ignore[method-assign]
        with pytest.raises(Interrupt):
            client.predict("m", ROWS)
        connection._receive = receive  # type: ignore[method-assign]
        client.predict("m", ROWS)
        eventually(lambda: server.connections == 2)
