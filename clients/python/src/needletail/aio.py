"""The asyncio client."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Iterable
from types import TracebackType
from typing import Any, TypeVar

from . import _calls
from ._aio_connection import AsyncConnection
from ._base import DEFAULT_ADDRESS, UNSET, BaseClient, Timeout
from ._calls import Call
from ._deadline import Deadline
from ._frames import FRAME_BYTES_MAX_DEFAULT
from ._settings import TLS
from .errors import DeadlineExceeded, NeedletailError, PoolExhausted
from .results import Health, ModelDescription, ModelList, Prediction
from .retry import RetryPolicy

T = TypeVar("T")


class AsyncClient(BaseClient):
    """A client for asyncio: many calls in flight on few connections, matched by id.

    ::

        async with needletail.AsyncClient("127.0.0.1:6470") as client:
            answers = await asyncio.gather(*(client.predict("digits", rows) for rows in batches))

    It belongs to the event loop of its first call, and is not for use after ``fork``. Cancelling
    a call is safe: its answer is ignored when it comes.

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
    ) -> None:
        super().__init__(
            address, timeout=timeout, connect_timeout=connect_timeout, retries=retries,
            max_frame_bytes=max_frame_bytes, tls=tls, api_key=api_key,
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
        timeout: Timeout = UNSET,
    ) -> Prediction:
        """Asks a model; see :meth:`needletail.Client.predict`."""
        call = _calls.predict(model, inputs, version=version, label=label, outputs=outputs, routing_key=routing_key)
        return await self._run(call, timeout)

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

    async def close(self) -> None:
        """Closes the connections. Calls that are under way fail with ``ConnectionLost``."""
        self._is_closed = True
        if self._bound is not None:
            open_connections, self._bound.connections = self._bound.connections, []
            for connection in open_connections:
                await connection.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, call: Call[T], timeout: Timeout) -> T:
        bound = self._bind()
        deadline, attempts = self._begin(call, timeout)
        await _before(
            deadline,
            bound.turns.acquire(),
            PoolExhausted(f"calls in flight: expected a turn in time, found {self._max_in_flight} (max_in_flight)"),
        )
        try:
            while True:
                try:
                    # Choosing and beginning the call happen in one step of the loop: the task that chooses
                    # next sees this call in flight.
                    connection = bound.least_busy(self._connections_max)
                    while connection is None:
                        await _before(
                            deadline,
                            self._connect(bound, deadline),
                            DeadlineExceeded(f"the time was over while connecting to {self._settings.address}"),
                        )
                        connection = bound.least_busy(self._connections_max)
                    return call.answer(await connection.call(call, deadline))
                except NeedletailError as error:
                    wait = attempts.wait_after(error)
                    if wait is None:
                        raise
                await asyncio.sleep(wait)
        finally:
            bound.turns.release()

    def _bind(self) -> _Bound:
        if self._is_closed:
            raise RuntimeError("the client is closed")
        loop = asyncio.get_running_loop()
        if self._bound is None:
            self._bound = _Bound(loop, self._max_in_flight)
        elif self._bound.loop is not loop:
            raise RuntimeError("an AsyncClient belongs to the event loop of its first call; make one per loop")
        return self._bound

    async def _connect(self, bound: _Bound, deadline: Deadline) -> None:
        # One at a time: calls that come meanwhile look whether the new connection will do.
        async with bound.connecting:
            if self._is_closed:
                raise RuntimeError("the client is closed")
            if bound.least_busy(self._connections_max) is None:
                connection = await AsyncConnection.open(self._settings, deadline)
                if self._is_closed:
                    await connection.close()
                    raise RuntimeError("the client is closed")
                bound.connections.append(connection)


class _Bound:
    """What belongs to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, max_in_flight: int) -> None:
        self.loop = loop
        self.connections: list[AsyncConnection] = []
        self.connecting = asyncio.Lock()
        self.turns = asyncio.Semaphore(max_in_flight)

    def least_busy(self, connections_max: int) -> AsyncConnection | None:
        """The connection to use, or None if one more should be made."""
        self.connections = [connection for connection in self.connections if connection.is_usable]
        best = min(self.connections, key=lambda connection: connection.in_flight, default=None)
        if best is not None and best.in_flight > 0 and len(self.connections) < connections_max:
            return None
        return best


async def _before(deadline: Deadline, work: Awaitable[T], late: NeedletailError) -> T:
    """Awaits, but no longer than to the deadline."""
    remaining = deadline.remaining()
    if remaining is None:
        return await work
    try:
        return await asyncio.wait_for(work, remaining)
    except asyncio.TimeoutError as error:
        if isinstance(error, NeedletailError):
            raise
        raise late from None
