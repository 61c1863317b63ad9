"""One connection of an event loop, with many calls in flight."""

from __future__ import annotations

import asyncio
import copy
import os
import socket
import ssl
import time
from typing import Any

from . import _calls
from ._calls import Call
from ._deadline import Deadline
from ._dialing import dial_async, tune
from ._frames import encode_frame
from ._session import Outcome, Session, Waiter
from ._settings import Settings
from .errors import ConnectionFailed, ConnectionLost, DeadlineExceeded, NeedletailError, Unauthenticated
from .v1 import inference_pb2 as pb

#: Seconds after which whoever waits looks again although nobody woke it. What is waited for shows in the state of
#: connections and slots, and wake-ups are for speed: one that an exception swallowed costs this much and no more.
LOOK_SECONDS = 1.0


def wake(future: asyncio.Future[None], _: object = None) -> None:
    """Ends ``nap``."""
    if not future.done():
        future.set_result(None)


async def nap(future: asyncio.Future[None], deadline: Deadline) -> None:
    """Returns when somebody wakes, at the deadline, or when it is time to look again.

    A future, and not ``asyncio.wait_for``: up to Python 3.11 that returns the result of a task that is cancelled at
    the moment it gets one, so that the cancellation is lost and the task goes on.
    """
    remaining = deadline.remaining()
    timer = asyncio.get_running_loop().call_later(
        LOOK_SECONDS if remaining is None else min(remaining, LOOK_SECONDS), wake, future
    )
    try:
        await future
    finally:
        timer.cancel()


class AsyncWaiter(Waiter):
    """A call that waits for its answer. It lives in the frame of the call."""

    __slots__ = ("outcome", "woken")

    def __init__(self) -> None:
        super().__init__()
        self.outcome: Outcome | None = None
        self.woken: asyncio.Future[None] | None = None

    def look(self) -> None:
        """Wakes the call to look at its outcome, or at its connection."""
        if self.woken is not None:
            wake(self.woken)


class AsyncConnection(asyncio.Protocol):
    """A transport and its session. Loop-confined.

    An exception within one of its steps leaves it in no known state: half a frame may be written, or an answer lost.
    Flags tell from outside that such a step has begun and not ended; the connection is dropped then.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._session = Session(frame_bytes_max)
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self._transport: asyncio.Transport | None = None
        self._is_made = False
        self._is_ready = False
        #: True while a step is under way that must not stay half done.
        self._is_amid = False
        #: Why it is over; None: it is not.
        self._ended: NeedletailError | None = None
        self._is_gone = False
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._is_paused = False
        self._writers: list[asyncio.Future[None]] = []
        self._is_silent = False
        self._sent_at = time.monotonic()

    async def open(self, settings: Settings) -> None:
        """Connects, encrypts and shows the key, whatever of it the settings ask for. In a task of its own.

        Raises:
            ConnectionFailed: if nothing listens there, or ``connect_timeout`` seconds are over.
            Unauthenticated: if the server knows no such key, or no such certificate.
        """
        task = asyncio.current_task()
        assert task is not None
        is_over = []

        def expire() -> None:
            is_over.append(True)
            task.cancel()

        timer = self._loop.call_later(settings.connect_timeout, expire)
        try:
            await self._connect(settings)
            if settings.api_key is not None:
                call = _calls.authenticate(settings.api_key)
                call.answer(await self.call(call, Deadline(settings.connect_timeout)))
            self._is_ready = True
        except asyncio.CancelledError:
            if not is_over:
                raise
            raise ConnectionFailed(
                f"could not connect to {settings.address} within {settings.connect_timeout} s"
            ) from None
        except OSError as error:
            if isinstance(error, NeedletailError):
                raise
            raise ConnectionFailed(f"could not connect to {settings.address}: {error.strerror or error}") from error
        finally:
            timer.cancel()

    async def _connect(self, settings: Settings) -> None:
        opened = await dial_async(settings.address)
        tune(opened)
        # From here on the socket is the event loop's, which closes it: one that is closed under its transport leaves
        # the loop with a descriptor that is another's by then.
        if opened.family == socket.AF_UNIX:
            transport, _ = await self._loop.create_unix_connection(lambda: self, sock=opened)
        else:
            transport, _ = await self._loop.create_connection(
                lambda: self, sock=opened, ssl=settings.context, server_hostname=settings.server_name
            )
        if not self._is_made:
            # connection_made was interrupted. uvloop does not read from such a connection.
            transport.abort()
            raise ConnectionFailed(f"could not connect to {settings.address}: interrupted")

    @property
    def is_usable(self) -> bool:
        """Whether another call can be made."""
        return self._is_ready and self._is_sound

    @property
    def _is_sound(self) -> bool:
        return (
            self._ended is None
            and self._transport is not None
            and not self._is_amid
            and not self._session.is_draining
            and not self._is_transport_closing()
        )

    def _is_transport_closing(self) -> bool:
        """Whether the event loop has given the connection up. Its word for that, ``connection_lost``, may have been
        interrupted, so the transport is asked as well."""
        if self._transport is None:
            return False
        try:
            return self._transport.is_closing()
        except AttributeError:  # that of TLS up to Python 3.10, once its own transport is gone
            return True

    @property
    def is_opening(self) -> bool:
        """True before it can be used for the first time."""
        return not self._is_ready and self._ended is None

    @property
    def is_interrupted(self) -> bool:
        """True if an exception struck while it read, wrote or ended, and nobody has dropped it yet."""
        return self._ended is None and (self._is_amid or self._is_transport_closing())

    @property
    def in_flight(self) -> int:
        """Calls that wait for their answer."""
        return self._session.in_flight

    @property
    def is_silent(self) -> bool:
        """True if the server said nothing for so long that the connection is taken for dead."""
        return self._is_silent

    @property
    def sent_at(self) -> float:
        """Time of the last request."""
        return self._sent_at

    @property
    def heard_at(self) -> float:
        """Time at which the last bytes arrived."""
        return self._session.heard_at

    async def call(self, call: Call[Any], deadline: Deadline) -> pb.Response:
        """Sends a request and waits for its answer."""
        while self._must_wait_to_write():
            if self._is_over(deadline):
                raise DeadlineExceeded("the time was over before the request was sent")
            future = self._loop.create_future()
            self._writers.append(future)
            await nap(future, deadline)
        if self._transport is None or not self._is_sound:
            raise ConnectionLost("the connection closed before the request was sent", sent=False)
        call_id = self._session.next_id()
        frame = encode_frame(call.payload(call_id, deadline.timeout_us()), self._frame_bytes_max)
        waiter = AsyncWaiter()
        self._is_amid = True
        self._sent_at = time.monotonic()
        self._session.begin(call_id, waiter, self._sent_at)
        self._transport.write(frame)
        self._is_amid = False
        try:
            return await self._answer(waiter, deadline)
        except asyncio.CancelledError:
            self._abandon(waiter)
            raise

    async def _answer(self, waiter: AsyncWaiter, deadline: Deadline) -> pb.Response:
        while True:
            outcome = waiter.outcome
            if outcome is not None:
                if isinstance(outcome, NeedletailError):
                    raise outcome
                return outcome
            if self.is_interrupted:
                self.fail(ConnectionLost("the connection broke, or was interrupted, before the answer", sent=True))
            if self._ended is not None:
                # One exception object must not be raised in several tasks: tracebacks would mix.
                raise copy.copy(self._ended)
            if self._is_over(deadline):
                self._abandon(waiter)
                raise DeadlineExceeded("no answer within the time given")
            waiter.woken = self._loop.create_future()
            await nap(waiter.woken, deadline)

    @staticmethod
    def _is_over(deadline: Deadline) -> bool:
        remaining = deadline.remaining()
        return remaining is not None and remaining <= 0

    def _must_wait_to_write(self) -> bool:
        # The buffer is asked as well as the flag, which an exception may have left behind.
        return (
            self._is_paused
            and self._is_sound
            and self._transport is not None
            and self._transport.get_write_buffer_size() > 0
        )

    async def close(self) -> None:
        """Closes and waits until the transport is gone; who waits for an answer gets ConnectionLost."""
        self.fail(ConnectionLost("the client was closed", sent=True))
        if self._transport is not None and not self._is_gone:
            await nap(self._gone, Deadline(LOOK_SECONDS))

    # ------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Transports of other event loops (uvloop) are no subclasses of asyncio.Transport.
        self._transport = transport  # type: ignore[assignment]
        if self._ended is not None:  # the task that made it was interrupted or came too late
            transport.abort()  # type: ignore[attr-defined]
        self._is_made = True

    def data_received(self, data: bytes) -> None:
        if self._is_amid:
            self.fail(ConnectionLost("the client was interrupted while it read or wrote", sent=True))
            return
        self._is_amid = True
        try:
            outcomes = self._session.receive(data, time.monotonic())
        except NeedletailError as error:
            self.fail(error)
            return
        for waiter, outcome in outcomes:
            assert isinstance(waiter, AsyncWaiter)
            waiter.outcome = outcome
            waiter.look()
        self._is_amid = False
        self._close_if_drained()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        writers, self._writers = self._writers, []
        for writer in writers:
            wake(writer)

    def connection_lost(self, error: Exception | None) -> None:
        if isinstance(error, ssl.SSLError):
            # With TLS 1.3 a server looks at the certificate when the handshake is over for its client.
            self.fail(Unauthenticated(f"the server refused the connection: {error.reason or error}"))
        what = f"the connection broke ({error})" if error else "the server closed the connection"
        self.fail(ConnectionLost(f"{what} before the answer", sent=True))
        self._is_gone = True
        wake(self._gone)

    # ------------------------------------------------------------ ends

    def fail(self, error: NeedletailError) -> None:
        """The end of the connection: closes it and tells everybody who waits. The first error counts."""
        if self._ended is None:
            self._ended = error
        if self._process != os.getpid():
            return  # in a forked child, whose parent shares the event loop's own descriptors
        if self._transport is not None:
            self._transport.abort()
        for waiter in self._session.waiters():
            assert isinstance(waiter, AsyncWaiter)
            waiter.look()
        self.resume_writing()  # those who wait to write look at is_usable next

    def _abandon(self, waiter: AsyncWaiter) -> None:
        if self._session.abandon(waiter, time.monotonic()):
            self._is_silent = True
            self.fail(ConnectionLost("the server has been silent for too long", sent=True))
        self._close_if_drained()

    def _close_if_drained(self) -> None:
        if self._session.is_draining and self._session.in_flight == 0:
            self.fail(ConnectionLost("the server is stopping", sent=False))
