"""What both clients know about one connection. No I/O: bytes and times in, outcomes out."""

from __future__ import annotations

import math
from typing import Union

from ._calls import decode_response, status_error
from ._frames import FrameDecoder
from .errors import ConnectionLost, NeedletailError, ProtocolError, Unavailable
from .v1 import inference_pb2 as pb

#: A connection that was silent for so long, with calls waiting, is taken for dead when one of
#: them times out.
SILENCE_SECONDS_MAX = 1.0
#: Answers to abandoned calls that a connection may still receive: as many calls as a server
#: accepts on one connection.
ABANDONED_MAX = 4096

Outcome = Union[pb.Response, NeedletailError]


class Session:
    """Matches answers to calls by id and understands GoAway.

    Owned by one connection; not thread-safe.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        self._decoder = FrameDecoder(frame_bytes_max)
        self._next_id = 1
        # Id to the time it was sent at; ids grow, so that the first entry is the oldest.
        self._waiting: dict[int, float] = {}
        self._abandoned: dict[int, float] = {}
        self._heard_at = -math.inf
        self._is_draining = False

    @property
    def is_draining(self) -> bool:
        """True if no new call may be made: the server said GoAway, or refused a frame."""
        return self._is_draining

    @property
    def in_flight(self) -> int:
        """Calls that wait for their answer."""
        return len(self._waiting)

    def next_id(self) -> int:
        """An id for a call; it counts as in flight only after ``begin``."""
        call_id = self._next_id
        self._next_id += 1
        return call_id

    def begin(self, call_id: int, now: float) -> None:
        """The call is about to be sent."""
        self._waiting[call_id] = now

    def abandon(self, call_id: int, now: float) -> bool:
        """Nobody waits for this call any more; its answer, should it come, is ignored.

        Returns:
            True if the connection looks dead and should be dropped.
        """
        sent_at = self._waiting.pop(call_id, None)
        if sent_at is None:
            return False
        self._abandoned[call_id] = sent_at
        oldest = min(next(iter(calls.values())) for calls in (self._waiting, self._abandoned) if calls)
        return now - max(oldest, self._heard_at) >= SILENCE_SECONDS_MAX or len(self._abandoned) > ABANDONED_MAX

    def receive(self, data: bytes, now: float) -> list[tuple[int, Outcome]]:
        """Takes what came over the connection; returns the calls that are over and how they ended.

        Raises:
            ProtocolError: if this is not the protocol.
            ConnectionLost: if the server refused a frame and it cannot be told which.
        """
        self._heard_at = now
        outcomes: list[tuple[int, Outcome]] = []
        for frame in self._decoder.feed(data):
            response = decode_response(frame)
            if response.id == 0:
                outcomes += self._unsolicited(response)
            elif self._waiting.pop(response.id, None) is not None:
                outcomes.append((response.id, response))
            elif self._abandoned.pop(response.id, None) is None:
                raise ProtocolError(f"id: expected that of a call in flight, found {response.id}")
        return outcomes

    def _unsolicited(self, response: pb.Response) -> list[tuple[int, Outcome]]:
        self._is_draining = True
        if response.status.code != pb.OK:
            # The server could not even read the id. With one call in flight it is that one.
            error = status_error(response)
            if len(self._waiting) > 1:
                raise ConnectionLost(f"the server refused a frame: {error}", sent=True)
            refused = list(self._waiting)
            self._waiting.clear()
            return [(call_id, error) for call_id in refused]
        if response.WhichOneof("result") != "go_away":
            raise ProtocolError("id: expected that of a call, found 0 on something other than GoAway")
        last_id = response.go_away.last_id
        refused = [call_id for call_id in self._waiting if call_id > last_id]
        for call_id in refused:
            # If an answer still comes, no caller waits for it.
            self._abandoned[call_id] = self._waiting.pop(call_id)
        return [(call_id, Unavailable("the server is stopping and did not execute the call")) for call_id in refused]
