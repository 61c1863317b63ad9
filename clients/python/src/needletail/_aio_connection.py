"""One connection of an event loop, with many calls in flight."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from typing import Any

from . import _calls
from ._address import TCPAddress
from ._calls import Call
from ._deadline import Deadline
from ._frames import encode_frame
from ._session import Session
from ._settings import Settings
from .errors import ConnectionFailed, ConnectionLost, DeadlineExceeded, NeedletailError, Unauthenticated
from .v1 import inference_pb2 as pb


class AsyncConnection(asyncio.Protocol):
    """A transport, its session and the futures of those who wait. Loop-confined."""

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._session = Session(frame_bytes_max)
        self._loop = asyncio.get_running_loop()
        self._futures: dict[int, asyncio.Future[pb.Response]] = {}
        self._transport: asyncio.Transport | None = None
        self._is_closed = False
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    async def open(cls, settings: Settings, deadline: Deadline) -> AsyncConnection:
        """Connects, encrypts and shows the key, whatever of it the settings ask for.

        Raises:
            ConnectionFailed: if nothing listens there, or ``connect_timeout`` seconds are over.
            DeadlineExceeded: if the call's own deadline is over first.
            Unauthenticated: if the server knows no such key, or no such certificate.
        """
        connection = await cls._connect(settings, deadline)
        if settings.api_key is not None:
            try:
                call = _calls.authenticate(settings.api_key)
                call.answer(await connection.call(call, deadline.within(settings.connect_timeout)))
            except BaseException:
                await connection.close()
                raise
        return connection

    @classmethod
    async def _connect(cls, settings: Settings, deadline: Deadline) -> AsyncConnection:
        address, connect_timeout = settings.address, settings.connect_timeout
        frame_bytes_max = settings.frame_bytes_max
        loop = asyncio.get_running_loop()
        remaining = deadline.remaining()
        timeout = connect_timeout if remaining is None else min(remaining, connect_timeout)
        try:
            if isinstance(address, TCPAddress):
                connecting = loop.create_connection(
                    lambda: cls(frame_bytes_max), address.host, address.port,
                    ssl=settings.context, server_hostname=settings.server_name,
                )  # fmt: skip
            else:
                connecting = loop.create_unix_connection(lambda: cls(frame_bytes_max), address.path)
            _, connection = await asyncio.wait_for(connecting, timeout)
            return connection
        except asyncio.TimeoutError:
            if timeout < connect_timeout:
                raise DeadlineExceeded(f"the time was over while connecting to {address}") from None
            raise ConnectionFailed(f"could not connect to {address} within {connect_timeout} s") from None
        except OSError as error:
            raise ConnectionFailed(f"could not connect to {address}: {error.strerror or error}") from error

    @property
    def is_usable(self) -> bool:
        """Whether another call can be made."""
        return not self._is_closed and not self._session.is_draining

    @property
    def in_flight(self) -> int:
        """Calls that wait for their answer."""
        return self._session.in_flight

    async def call(self, call: Call[Any], deadline: Deadline) -> pb.Response:
        """Sends a request and waits for its answer."""
        if not self._writable.is_set():
            try:
                await asyncio.wait_for(self._writable.wait(), deadline.remaining())
            except asyncio.TimeoutError:
                raise DeadlineExceeded("the time was over before the request was sent") from None
        if self._transport is None or not self.is_usable:
            raise ConnectionLost("the connection closed before the request was sent", sent=False)
        call_id = self._session.next_id()
        frame = encode_frame(call.payload(call_id, deadline.timeout_us()), self._frame_bytes_max)
        self._session.begin(call_id, time.monotonic())
        future: asyncio.Future[pb.Response] = self._loop.create_future()
        self._futures[call_id] = future
        remaining = deadline.remaining()
        timer = None if remaining is None else self._loop.call_later(remaining, self._time_out, call_id)
        try:
            self._transport.write(frame)
            return await future
        finally:
            if timer is not None:
                timer.cancel()
            # Still there: the caller was cancelled.
            if self._futures.pop(call_id, None) is not None:
                self._abandon(call_id)

    async def close(self) -> None:
        """Closes and waits until the transport is gone; who waits for an answer gets ConnectionLost."""
        self._fail(ConnectionLost("the client was closed", sent=True))
        await self._closed

    # ------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        opened = transport.get_extra_info("socket")
        if opened is not None and opened.family in (socket.AF_INET, socket.AF_INET6):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        try:
            outcomes = self._session.receive(data, time.monotonic())
        except NeedletailError as error:
            self._fail(error)
            return
        for call_id, outcome in outcomes:
            future = self._futures.pop(call_id, None)
            if future is None or future.done():
                continue
            if isinstance(outcome, NeedletailError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._close_if_drained()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        if isinstance(error, ssl.SSLError):
            # With TLS 1.3 a server looks at the certificate when the handshake is over for its client.
            self._fail(Unauthenticated(f"the server refused the connection: {error.reason or error}"))
        what = f"the connection broke ({error})" if error else "the server closed the connection"
        self._fail(ConnectionLost(f"{what} before the answer", sent=True))
        if not self._closed.done():
            self._closed.set_result(None)

    # ------------------------------------------------------------ ends

    def _time_out(self, call_id: int) -> None:
        future = self._futures.pop(call_id, None)
        if future is not None and not future.done():
            future.set_exception(DeadlineExceeded("no answer within the time given"))
            self._abandon(call_id)

    def _abandon(self, call_id: int) -> None:
        if self._session.abandon(call_id, time.monotonic()):
            self._fail(ConnectionLost("the server has been silent for too long", sent=True))
        self._close_if_drained()

    def _close_if_drained(self) -> None:
        if self._session.is_draining and self._session.in_flight == 0:
            self._fail(ConnectionLost("the server is stopping", sent=False))

    def _fail(self, error: NeedletailError) -> None:
        """The end of the connection: closes it and tells everybody who waits."""
        self._is_closed = True
        self._writable.set()  # those who wait to write look at is_usable next
        if self._transport is not None:
            self._transport.abort()
        futures, self._futures = self._futures, {}
        for future in futures.values():
            if not future.done():
                # One exception object must not be raised in several tasks: tracebacks would mix.
                future.set_exception(_copy(error))


def _copy(error: NeedletailError) -> NeedletailError:
    if isinstance(error, ConnectionLost):
        return ConnectionLost(error.message, sent=error.sent)
    return type(error)(error.message, retry_after=error.retry_after)
