"""What both clients know about one connection. No I/O: bytes and times in, outcomes out."""

from __future__ import annotations

import math
import weakref
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


class Waiter:
    """Who waits for an answer: one call, which holds the only reference to it."""

    __slots__ = ("__weakref__", "id")

    def __init__(self) -> None:
        #: The id under which the call was sent; 0 before that.
        self.id = 0


class Session:
    """Matches answers to calls by id and understands GoAway.

    Owned by one connection; not thread-safe. It refers to waiters weakly: a call that ends in any way, an exception
    at any point included, is one that nobody waits for, without having to say so.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        self._decoder = FrameDecoder(frame_bytes_max)
        self._next_id = 1
        # Calls without an answer by id, with the time they were sent at; ids grow, so that the first is the oldest.
        self._sent: dict[int, tuple[float, weakref.ref[Waiter]]] = {}
        # Those of them that somebody waits for. References remove themselves when their waiter dies.
        self._live: set[weakref.ref[Waiter]] = set()
        self._heard_at = -math.inf
        self._is_draining = False

    @property
    def is_draining(self) -> bool:
        """True if no new call may be made: the server said GoAway, or refused a frame."""
        return self._is_draining

    @property
    def in_flight(self) -> int:
        """Calls that wait for their answer."""
        return len(self._live)

    @property
    def heard_at(self) -> float:
        """Time at which the last bytes arrived."""
        return self._heard_at

    def waiters(self) -> list[Waiter]:
        """Who waits for an answer."""
        waiting = [reference() for reference in list(self._live)]
        return [waiter for waiter in waiting if waiter is not None]

    def next_id(self) -> int:
        """An id for a call; it counts as in flight only after ``begin``."""
        call_id = self._next_id
        self._next_id += 1
        return call_id

    def begin(self, call_id: int, waiter: Waiter, now: float) -> None:
        """The call is about to be sent."""
        waiter.id = call_id
        reference = weakref.ref(waiter, self._live.discard)
        self._live.add(reference)
        self._sent[call_id] = (now, reference)

    def abandon(self, waiter: Waiter, now: float) -> bool:
        """Nobody waits for this call any more; its answer, should it come, is ignored.

        Returns:
            True if the connection looks dead and should be dropped.
        """
        entry = self._sent.get(waiter.id)
        if entry is None:
            return False
        self._live.discard(entry[1])
        oldest, _ = next(iter(self._sent.values()))
        return (
            now - max(oldest, self._heard_at) >= SILENCE_SECONDS_MAX
            or len(self._sent) - len(self._live) > ABANDONED_MAX
        )

    def receive(self, data: bytes, now: float) -> list[tuple[Waiter, Outcome]]:
        """Takes what came over the connection; returns the calls that are over and how they ended.

        An exception at an arbitrary point of this method leaves the session in no known state: its connection must
        be dropped then.

        Raises:
            ProtocolError: if this is not the protocol.
            ConnectionLost: if the server refused a frame and it cannot be told which.
        """
        self._heard_at = now
        outcomes: list[tuple[Waiter, Outcome]] = []
        for frame in self._decoder.feed(data):
            response = decode_response(frame)
            if response.id == 0:
                outcomes += self._unsolicited(response)
                continue
            entry = self._sent.pop(response.id, None)
            if entry is None:
                raise ProtocolError(f"id: expected that of a call in flight, found {response.id}")
            waiter = self._end(entry[1])
            if waiter is not None:
                outcomes.append((waiter, response))
        return outcomes

    def _end(self, reference: weakref.ref[Waiter]) -> Waiter | None:
        """The waiter, if it still waits; from now on it does not."""
        if reference not in self._live:
            return None
        self._live.discard(reference)
        return reference()

    def _unsolicited(self, response: pb.Response) -> list[tuple[Waiter, Outcome]]:
        self._is_draining = True
        if response.status.code != pb.OK:
            # The server could not even read the id. With one call in flight it is that one.
            error = status_error(response)
            if len(self._live) > 1:
                raise ConnectionLost(f"the server refused a frame: {error}", sent=True)
            return [(waiter, error) for waiter in self._end_above(0)]
        if response.WhichOneof("result") != "go_away":
            raise ProtocolError("id: expected that of a call, found 0 on something other than GoAway")
        # Should an answer to one of them still come, no caller waits for it.
        stopping = "the server is stopping and did not execute the call"
        return [(waiter, Unavailable(stopping)) for waiter in self._end_above(response.go_away.last_id)]

    def _end_above(self, last_id: int) -> list[Waiter]:
        ended = [self._end(reference) for call_id, (_, reference) in self._sent.items() if call_id > last_id]
        return [waiter for waiter in ended if waiter is not None]
