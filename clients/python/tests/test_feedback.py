"""Reporting outcomes."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from fake_server import FakeServer, Peer
from needletail import (
    AsyncClient,
    Client,
    FeedbackReport,
    InvalidArgument,
    Outcome,
    OutcomeProblem,
    ProtocolError,
    Unimplemented,
    _feedback,
)
from needletail.v1 import inference_pb2 as pb
from test_golden import payload


def test_outcomes_are_encoded_as_the_vector() -> None:
    request = pb.Request.FromString(payload("feedback"))
    outcomes = [
        Outcome("order-8812", "größe"),
        Outcome("order-8813", 0, row=2**32 - 1),
        Outcome("order-8814", np.float64(-1.25), row=1),
        Outcome("order-8815", ""),
    ]
    [call] = _feedback.calls("wine", outcomes)
    assert call.payload(request.id, request.timeout_us) == payload("feedback")


def test_the_answer_is_read_as_the_vector() -> None:
    [call] = _feedback.calls("wine", [Outcome("a", 1), Outcome("b", 1)])
    report = call.answer(pb.Response.FromString(payload("feedback-answer")))
    assert report == FeedbackReport(
        1, 2, 3, 4, 5, 2**32 - 1,
        (OutcomeProblem(1, "unknown", "outcomes[1]: expected a name"), OutcomeProblem(0, "", "")),
    )  # fmt: skip
    assert call.answer(pb.Response.FromString(payload("feedback-answer-default"))) == FeedbackReport()


def test_a_problem_is_one_of_the_outcomes() -> None:
    [call] = _feedback.calls("wine", [Outcome("a", 1)])
    with pytest.raises(ProtocolError, match="expected one of 1 outcomes, found number 1"):
        call.answer(pb.Response.FromString(payload("feedback-answer")))


@pytest.mark.parametrize("outcome", [Outcome("a", 1, row=-1), Outcome("a", 1, row=2**32), Outcome("a", None)])  # type: ignore[arg-type]
def test_what_no_outcome_can_be_is_said_at_once(outcome: Outcome) -> None:
    with pytest.raises(InvalidArgument, match=r"outcomes\[1\]"):
        list(_feedback.calls("m", [Outcome("a", 1), outcome]))


def _half(peer: Peer) -> None:
    """Joins the first outcome of each call and no other one."""
    while (request := peer.read()) is not None:
        response = pb.Response(id=request.id)
        told = request.feedback.outcomes
        response.feedback.joined, response.feedback.unknown = 1, len(told) - 1
        response.feedback.problems.add(index=1, result="unknown", message="outcomes[1]: expected another")
        peer.send(response)


def test_many_outcomes_are_several_calls_and_one_report() -> None:
    outcomes = [Outcome(f"call {number}", 1.5) for number in range(2500)]

    async def ask(address: str) -> FeedbackReport:
        async with AsyncClient(address) as client:
            return await client.feedback("m", outcomes)

    with FakeServer(_half) as server:
        with Client(server.address) as client:
            report = client.feedback("m", outcomes)
        assert asyncio.run(ask(server.address)) == report
    assert (report.joined, report.unknown) == (3, 2497)
    assert [problem.index for problem in report.problems] == [1, 1025, 2049]
    assert [problem.message[:14] for problem in report.problems] == [
        "outcomes[1]: e",
        "outcomes[1025]",
        "outcomes[2049]",
    ]


def test_no_outcomes_are_no_call() -> None:
    with Client("127.0.0.1:1") as client:
        assert client.feedback("m", []) == FeedbackReport()


def test_a_server_that_remembers_nothing_says_so() -> None:
    def refuse(peer: Peer) -> None:
        while (request := peer.read()) is not None:
            response = pb.Response(id=request.id)
            response.status.code = pb.UNIMPLEMENTED
            peer.send(response)

    with FakeServer(refuse) as server, Client(server.address) as client, pytest.raises(Unimplemented):
        client.feedback("m", [Outcome("a", 1)])


def test_a_prediction_carries_its_key() -> None:
    keys = []

    def note(peer: Peer) -> None:
        while (request := peer.read()) is not None:
            keys.append((request.predict.key, request.predict.routing_key))
            response = pb.Response(id=request.id)
            response.predict.version = 1
            peer.send(response)

    with FakeServer(note) as server, Client(server.address) as client:
        client.predict("m", {"features": np.zeros((1, 2), np.float32)}, key="order-1")
        client.predict("m", {"features": np.zeros((1, 2), np.float32)}, routing_key="user")
    assert keys == [("order-1", ""), ("", "user")]


def test_of_several_calls_only_the_first_has_a_name() -> None:
    asked = []

    def note(peer: Peer) -> None:
        while (request := peer.read()) is not None:
            predict = request.predict
            asked.append((predict.inputs[0].shape[0], predict.version, predict.key, predict.routing_key))
            response = pb.Response(id=request.id)
            response.predict.version = 3
            peer.send(response)

    with FakeServer(note) as server, Client(server.address, max_rows=2) as client:
        client.predict("m", {"features": np.zeros((5, 2), np.float32)}, key="order-1", routing_key="user")
    assert asked == [(2, 0, "order-1", "user"), (2, 3, "", ""), (1, 3, "", "")]
