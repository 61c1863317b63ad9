"""Answers are matched by id; GoAway and stray frames are understood. No sockets here."""

from __future__ import annotations

import struct

import pytest
from needletail import ConnectionLost, InvalidArgument, ProtocolError, Unavailable
from needletail._session import Outcome, Session, Waiter
from needletail.v1 import inference_pb2 as pb


def frame(response: pb.Response) -> bytes:
    body = response.SerializeToString()
    return struct.pack(">I", len(body)) + body


class Calls:
    """A session and those who wait for its calls, by id."""

    def __init__(self, count: int) -> None:
        self.session = Session(1 << 20)
        self.waiters = {}
        for _ in range(count):
            waiter = Waiter()
            self.session.begin(self.session.next_id(), waiter, now=0)
            self.waiters[waiter.id] = waiter

    def receive(self, data: bytes, now: float) -> list[tuple[int, Outcome]]:
        return [(waiter.id, outcome) for waiter, outcome in self.session.receive(data, now)]

    def abandon(self, call_id: int, now: float) -> bool:
        return self.session.abandon(self.waiters[call_id], now)

    @property
    def in_flight(self) -> int:
        return self.session.in_flight

    @property
    def is_draining(self) -> bool:
        return self.session.is_draining


session_with_calls = Calls


def test_answers_may_come_in_any_order() -> None:
    session = session_with_calls(3)
    outcomes = session.receive(frame(pb.Response(id=3)) + frame(pb.Response(id=1)), now=0)
    assert [call_id for call_id, _ in outcomes] == [3, 1]
    assert session.in_flight == 1


def test_an_answer_to_an_abandoned_call_is_ignored_once() -> None:
    session = session_with_calls(1)
    assert not session.abandon(1, now=0.1)
    assert session.receive(frame(pb.Response(id=1)), now=0.2) == []
    with pytest.raises(ProtocolError, match="found 1"):
        session.receive(frame(pb.Response(id=1)), now=0.3)


def test_a_call_whose_frame_is_gone_waits_no_more_and_its_answer_is_ignored() -> None:
    session = session_with_calls(2)
    del session.waiters[1]
    assert session.in_flight == 1
    assert session.receive(frame(pb.Response(id=1)), now=0.2) == []
    assert [call_id for call_id, _ in session.receive(frame(pb.Response(id=2)), now=0.3)] == [2]
    assert session.in_flight == 0


def test_an_answer_to_a_call_never_made_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="expected that of a call in flight, found 9"):
        session_with_calls(1).receive(frame(pb.Response(id=9)), now=0)


def test_go_away_refuses_the_calls_that_were_not_executed_and_lets_others_finish() -> None:
    session = session_with_calls(3)
    outcomes = session.receive(frame(pb.Response(go_away=pb.GoAway(last_id=1))), now=0)
    assert [call_id for call_id, _ in outcomes] == [2, 3]
    assert all(isinstance(outcome, Unavailable) for _, outcome in outcomes)
    assert session.is_draining and session.in_flight == 1
    assert [call_id for call_id, _ in session.receive(frame(pb.Response(id=1)), now=0)] == [1]
    assert session.receive(frame(pb.Response(id=2)), now=0) == []


def test_a_refused_frame_is_the_only_call_in_flight_if_there_is_one() -> None:
    refusal = pb.Response(status=pb.Status(code=pb.INVALID_ARGUMENT, message="frame too long"))
    session = session_with_calls(1)
    [(call_id, outcome)] = session.receive(frame(refusal), now=0)
    assert call_id == 1 and isinstance(outcome, InvalidArgument)
    assert session.is_draining
    with pytest.raises(ConnectionLost, match="frame too long"):
        session_with_calls(2).receive(frame(refusal), now=0)
    idle = session_with_calls(0)
    assert idle.receive(frame(refusal), now=0) == [] and idle.is_draining


@pytest.mark.parametrize("stream", [b"\x00\x00\x00\x02\xff\xff", b"\xff\xff\xff\xff", frame(pb.Response(health={}))])
def test_garbage_is_a_protocol_error(stream: bytes) -> None:
    with pytest.raises(ProtocolError):
        session_with_calls(1).receive(stream, now=0)


def test_a_connection_silent_for_long_is_dead_and_one_that_talks_is_not() -> None:
    session = session_with_calls(1)
    assert session.abandon(1, now=1.5)

    talking = session_with_calls(2)
    talking.receive(frame(pb.Response(id=2)), now=1.0)
    assert not talking.abandon(1, now=1.5)

    brief = session_with_calls(2)
    assert not brief.abandon(1, now=0.5)
    assert brief.abandon(2, now=1.2)
