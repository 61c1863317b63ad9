"""The asyncio client."""

from __future__ import annotations

import asyncio
import copy
import functools
import os
import ssl
from collections.abc import Iterable
from types import TracebackType
from typing import Any, TypeVar

from . import _calls, _feedback
from ._aio_connection import LOOK_SECONDS, AsyncConnection, nap, wake
from ._base import DEFAULT_ADDRESS, UNSET, BaseClient, Timeout
from ._calls import Call
from ._deadline import Deadline
from ._feedback import FeedbackReport, Outcome
from ._frames import FRAME_BYTES_MAX_DEFAULT
from ._predict import ROWS_MAX_DEFAULT
from ._settings import TLS
from ._slots import Holder, Slots
from .errors import ConnectionFailed, ConnectionLost, DeadlineExceeded, NeedletailError, PoolExhausted, Unavailable
from .results import Health, ModelDescription, ModelList, Prediction, ServerInfo
from .retry import RetryPolicy

T = TypeVar("T")

#: Tasks that may be interrupted one after the other before a call that waits for them gives up.
_INTERRUPTIONS_MAX = 5


class AsyncClient(BaseClient):
    """A client for asyncio: many calls in flight on few connections, matched by id.

    ::

        async with needletail.AsyncClient("127.0.0.1:6470") as client:
            answers = await asyncio.gather(*(client.predict("digits", rows) for rows in batches))

    It belongs to the event loop of its first call, be it asyncio's own or uvloop's; a forked child
    may use it in a loop of its own, with connections of its own. Cancelling a call is safe: its
    answer is ignored when it comes.

    Args:
        connections: How many connections there may be. One is enough for most; another is made
            only when all have calls in flight. A server works on one connection on one core.
        max_in_flight: Calls at the same time, over all connections; further ones wait for their
            turn until their deadline.

    All other arguments are those of :class:`~needletail.Client`, and so are the calls.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout: float | None = 5.0,
        connections: int = 1,
        max_in_flight: int = 1024,
        connect_timeout: float = 1.0,
        retries: RetryPolicy = RetryPolicy(),
        max_frame_bytes: int = FRAME_BYTES_MAX_DEFAULT,
        tls: bool | TLS | ssl.SSLContext = False,
        api_key: str | None = None,
        max_rows: int = ROWS_MAX_DEFAULT,
    ) -> None:
        super().__init__(
            address, timeout=timeout, connect_timeout=connect_timeout, retries=retries,
            max_frame_bytes=max_frame_bytes, tls=tls, api_key=api_key, max_rows=max_rows,
        )  # fmt: skip
        if connections < 1:
            raise ValueError(f"connections: expected at least 1, found {connections}")
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight: expected at least 1, found {max_in_flight}")
        self._connections_max = connections
        self._max_in_flight = max_in_flight
        self._is_closed = False
        self._bound: _Bound | None = None

    async def predict(
        self,
        model: str,
        inputs: Any,
        *,
        version: int | None = None,
        label: str | None = None,
        outputs: Iterable[str] = (),
        routing_key: str = "",
        key: str = "",
        traceparent: str = "",
        timeout: Timeout = UNSET,
    ) -> Prediction:
        """Asks a model; see :meth:`needletail.Client.predict`."""
        steps = self._steps(model, inputs, version, label, outputs, routing_key, key, traceparent)
        try:
            call = next(steps)
            deadline = self._deadline(timeout)
            while True:
                try:
                    if call.result == "describe_model":
                        answer = await self._describe(call, deadline)
                    else:
                        answer = await self._call(call, deadline)
                except NeedletailError as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(answer)
        except StopIteration as end:
            prediction: Prediction = end.value
            return prediction

    async def feedback(self, model: str, outcomes: Iterable[Outcome], *, timeout: Timeout = UNSET) -> FeedbackReport:
        """Reports what became of predictions, so that the server can say how good a model is; see
        :meth:`needletail.Client.feedback`."""
        report = FeedbackReport()
        for call in _feedback.calls(model, outcomes):
            report += await self._run(call, timeout)
        return report

    async def health(self, *, timeout: Timeout = UNSET) -> Health:
        """Whether the server lives and is ready, and the state of every model."""
        return await self._run(_calls.health(), timeout)

    async def models(self, *, timeout: Timeout = UNSET) -> ModelList:
        """The models with their versions, why a version was rejected, and stray files in the store."""
        return await self._run(_calls.list_models(), timeout)

    async def describe(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout: Timeout = UNSET
    ) -> ModelDescription:
        """Inputs, outputs, labels, signer, lineage and training metrics of a model."""
        return await self._run(_calls.describe_model(model, version=version, label=label), timeout)

    async def metrics(self, *, timeout: Timeout = UNSET) -> str:
        """The server's metrics as Prometheus text."""
        return await self._run(_calls.metrics(), timeout)

    async def server_info(self, *, timeout: Timeout = UNSET) -> ServerInfo:
        """Version, features and limits of the server; :class:`~needletail.Unimplemented` from one without this call."""
        return await self._run(_calls.server_info(), timeout)

    async def close(self) -> None:
        """Closes the connections. Calls that are under way fail with ``ConnectionLost``."""
        self._is_closed = True
        bound = self._bound
        if bound is not None and bound.process == os.getpid() and not bound.loop.is_closed():
            if bound.loop is not asyncio.get_running_loop():
                raise RuntimeError("an AsyncClient belongs to the event loop of its first call; close it there")
            bound.turns.wake_all()
            tasks = [task for task in (bound.opening, *bound.asking.values()) if task is not None]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=LOOK_SECONDS)
            for connection in bound.connections:
                await connection.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, call: Call[T], timeout: Timeout) -> T:
        return await self._call(call, self._deadline(timeout))

    async def _call(self, call: Call[T], deadline: Deadline) -> T:
        bound = self._bind()
        attempts = self._begin(call, deadline)
        holder = Holder()
        try:
            try:
                await self._turn(bound, holder, deadline)
                while True:
                    connection: AsyncConnection | None = None
                    try:
                        # Choosing and beginning the call happen in one step of the loop: the task that chooses
                        # next sees this call in flight.
                        connection = await self._connection(bound, deadline)
                        return call.answer(await connection.call(call, deadline))
                    except NeedletailError as error:
                        if connection is not None and connection.is_silent:
                            bound.drop_suspects(connection.sent_at)
                        wait = attempts.wait_after(error)
                        if wait is None:
                            raise
                    await asyncio.sleep(wait)
            finally:
                bound.turns.leave(holder)
        finally:
            # Nothing is left to do here, unless an exception struck in the `finally` above.
            holder.token = None

    def _bind(self) -> _Bound:
        if self._is_closed:
            raise RuntimeError("the client is closed")
        loop = asyncio.get_running_loop()
        bound = self._bound
        if bound is None or bound.process != os.getpid():
            bound = self._bound = _Bound(loop, self._connections_max, self._max_in_flight)
        elif bound.loop is not loop:
            raise RuntimeError("an AsyncClient belongs to the event loop of its first call; make one per loop")
        return bound

    async def _turn(self, bound: _Bound, holder: Holder, deadline: Deadline) -> None:
        bound.turns.enter(holder)
        while not bound.turns.has_slot(holder):
            if self._is_closed:
                raise RuntimeError("the client is closed")
            remaining = deadline.remaining()
            if remaining is not None and remaining <= 0:
                raise PoolExhausted(
                    f"calls in flight: expected a turn in time, found {self._max_in_flight} (max_in_flight)"
                )
            woken = bound.loop.create_future()
            holder.wake_by(functools.partial(wake, woken))
            await nap(woken, deadline)

    async def _connection(self, bound: _Bound, deadline: Deadline) -> AsyncConnection:
        """The connection for the next call. It is made by a task of its own, which other calls wait for as well and
        which goes on if one of them is cancelled or its time is over."""
        while True:
            if self._is_closed:
                raise RuntimeError("the client is closed")
            connection = bound.least_busy()
            if connection is not None:
                return connection
            opening = bound.opening
            if opening is None or opening.done():
                opening = bound.opening = bound.loop.create_task(self._open(bound))
                opening.add_done_callback(_retrieve)
            late = f"the time was over while connecting to {self._settings.address}"
            try:
                await _outcome(opening, deadline, late)
            except _Interrupted as error:
                raise ConnectionFailed(f"could not connect to {self._settings.address}: {error}") from error

    async def _describe(self, call: Call[T], deadline: Deadline) -> T:
        """What a model takes. One question for all calls that ask at the same time, in a task of its own."""
        bound = self._bind()
        for _ in range(_INTERRUPTIONS_MAX):
            asking = bound.asking.get(call.body)
            if asking is None or asking.done():
                asking = bound.asking[call.body] = bound.loop.create_task(self._run(call, UNSET))
                asking.add_done_callback(functools.partial(bound.forget_question, call.body))
            try:
                answer: T = await _outcome(asking, deadline, "the time was over before the model was described")
                return answer
            except _Interrupted:
                continue
        raise Unavailable("the model could not be described: interrupted again and again")

    async def _open(self, bound: _Bound) -> None:
        connection = AsyncConnection(self._settings.frame_bytes_max)
        # Known before it is there, so that whatever ends this task leaves no connection behind.
        bound.connections.append(connection)
        try:
            await connection.open(self._settings)
            self._schemas.forget()
        except BaseException:
            connection.fail(ConnectionLost("the connection was not made", sent=False))
            raise


class _Bound:
    """What belongs to one event loop of one process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connections_max: int, max_in_flight: int) -> None:
        self.loop = loop
        self.process = os.getpid()
        self.connections: list[AsyncConnection] = []
        #: Makes a connection; one at a time.
        self.opening: asyncio.Task[None] | None = None
        #: Questions what a model takes, by the call.
        self.asking: dict[bytes, asyncio.Task[Any]] = {}
        self.turns = Slots(max_in_flight)
        self._connections_max = connections_max

    def least_busy(self) -> AsyncConnection | None:
        """The connection to use, or None if one more should be made."""
        is_opening = self.opening is not None and not self.opening.done()
        for connection in self.connections:
            if connection.is_interrupted or (connection.is_opening and not is_opening):
                connection.fail(ConnectionLost("the client was interrupted while it used the connection", sent=True))
        self.connections = [it for it in self.connections if it.is_usable or it.is_opening]
        usable = [connection for connection in self.connections if connection.is_usable]
        best = min(usable, key=lambda connection: connection.in_flight, default=None)
        if best is not None and best.in_flight > 0 and len(self.connections) < self._connections_max:
            return None
        return best

    def forget_question(self, body: bytes, task: asyncio.Task[Any]) -> None:
        _retrieve(task)
        if self.asking.get(body) is task:
            del self.asking[body]

    def drop_suspects(self, since: float) -> None:
        """Closes connections without calls that have said nothing since then: one death of silence is often that of
        all, when a proxy or a firewall between has forgotten them."""
        for connection in self.connections:
            if connection.in_flight == 0 and connection.heard_at < since:
                connection.fail(ConnectionLost("the server has been silent for too long", sent=True))


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Takes note of the outcome, for when no call waits for it any more."""
    if not task.cancelled():
        task.exception()


class _Interrupted(Exception):
    """A task that calls wait for ended by an exception that is none of this package's."""


async def _outcome(task: asyncio.Task[T], deadline: Deadline, late: str) -> T:
    """The result of a task that others wait for as well, and which goes on if this caller does not."""
    while not task.done():
        remaining = deadline.remaining()
        if remaining is not None and remaining <= 0:
            raise DeadlineExceeded(late)
        woken = task.get_loop().create_future()
        task.add_done_callback(functools.partial(wake, woken))
        await nap(woken, deadline)
    if task.cancelled():
        raise _Interrupted("cancelled")
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, NeedletailError):
        raise copy.copy(error)  # One exception object must not be raised in several tasks.
    raise _Interrupted(f"interrupted by {error!r}") from error
