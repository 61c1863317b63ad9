"""One blocking connection, used by one thread at a time."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from typing import Any

from . import _calls
from ._calls import Call
from ._deadline import Deadline
from ._dialing import TimeOver, dial, tune
from ._forks import sever_in_children
from ._frames import encode_frame
from ._session import Outcome, Session, Waiter
from ._settings import Settings
from .errors import ConnectionFailed, ConnectionLost, DeadlineExceeded, NeedletailError, Unauthenticated
from .v1 import inference_pb2 as pb

_RECEIVE_BYTES = 1 << 16
#: What the kernel says of a peer that does not answer, unlike one that refuses.
_SILENCE = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)


class Connection:
    """A connected socket and its session.

    One call is in flight at a time. A call that times out leaves the connection usable: the late
    answer is recognised by its id and ignored. Whatever else interrupts a call leaves it unusable.
    """

    def __init__(self, settings: Settings, deadline: Deadline) -> None:
        """Connects, encrypts and shows the key, whatever of it the settings ask for.

        Raises:
            ConnectionFailed: if nothing listens there, or ``connect_timeout`` seconds are over.
            DeadlineExceeded: if the call's own deadline is over first.
            Unauthenticated: if the server knows no such key, or no such certificate.
        """
        address, connect_timeout = settings.address, settings.connect_timeout
        self._frame_bytes_max = settings.frame_bytes_max
        self._session = Session(settings.frame_bytes_max)
        self._process = os.getpid()
        self._is_clean = False
        self._is_silent = False
        self._sent_at = time.monotonic()
        remaining = deadline.remaining()
        is_callers = remaining is not None and remaining < connect_timeout
        if remaining is not None and remaining <= 0:
            raise DeadlineExceeded(f"the time was over before connecting to {address}")
        try:
            self._socket = _connect(settings, deadline.within(connect_timeout))
        except (TimeOver, socket.timeout) as error:
            if isinstance(error, OSError) and error.errno is not None:  # the kernel's time-out, not ours
                raise ConnectionFailed(f"could not connect to {address}: {error.strerror}") from error
            if is_callers:
                raise DeadlineExceeded(f"the time was over while connecting to {address}") from None
            raise ConnectionFailed(f"could not connect to {address} within {connect_timeout} s") from None
        except OSError as error:
            raise ConnectionFailed(f"could not connect to {address}: {error.strerror or error}") from error
        self._is_clean = True
        if settings.api_key is not None:
            try:
                call = _calls.authenticate(settings.api_key)
                call.answer(self.call(call, deadline.within(connect_timeout)))
            except BaseException:
                self.close()
                raise

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

    def call(self, call: Call[Any], deadline: Deadline) -> pb.Response:
        """Sends a request and waits for its answer.

        Raises:
            NeedletailError: see ``errors``; ``is_usable`` tells whether the connection survived.
        """
        if not self._is_clean or self._process != os.getpid():
            raise ConnectionLost("the connection was interrupted before the request was sent", sent=False)
        # An exception from here on, KeyboardInterrupt included, can leave half a frame sent or an
        # answer unread, so the connection counts as broken until one of the exits below says otherwise.
        self._is_clean = False
        waiter = Waiter()
        call_id = self._session.next_id()
        try:
            frame = encode_frame(call.payload(call_id, deadline.timeout_us()), self._frame_bytes_max)
        except NeedletailError:
            self._is_clean = True  # nothing was sent
            raise
        self._sent_at = time.monotonic()
        self._session.begin(call_id, waiter, self._sent_at)
        outcome = self._send(frame, waiter, deadline)
        while outcome is None:
            try:
                data = self._receive(deadline)
            except _TimedOut:
                self._is_silent = self._session.abandon(waiter, time.monotonic())
                self._is_clean = not self._is_silent
                raise DeadlineExceeded("no answer within the time given") from None
            except ssl.SSLError as error:
                # With TLS 1.3 a server looks at the certificate when the handshake is over for its client.
                raise Unauthenticated(f"the server refused the connection: {error.reason or error}") from error
            except OSError as error:
                self._is_silent = error.errno in _SILENCE
                raise ConnectionLost(f"the connection broke before the answer: {error.strerror}", sent=True) from error
            if not data:
                raise ConnectionLost("the server closed the connection before the answer", sent=True)
            outcome = self._take(data, waiter)
        self._is_clean = True
        if isinstance(outcome, NeedletailError):
            raise outcome
        return outcome

    def is_usable(self) -> bool:
        """Whether another call can be made.

        Looks, without waiting, for what came in the meantime: late answers, a GoAway, the end.
        """
        if not self._is_clean or self._session.is_draining or self._process != os.getpid():
            return False
        self._is_clean = False  # Likewise: an exception between reading and understanding loses an answer.
        try:
            self._socket.settimeout(0)
            while True:
                data = self._socket.recv(_RECEIVE_BYTES)
                if not data:
                    return False
                self._session.receive(data, time.monotonic())
                if self._session.is_draining:
                    return False
        except (BlockingIOError, ssl.SSLWantReadError):
            self._is_clean = True
            return True
        except (OSError, NeedletailError):
            return False

    def close(self) -> None:
        """Closes the socket. Does not tell the peer by other means, so that a forked child may
        close its copy without harm to its parent."""
        self._is_clean = False
        self._socket.close()

    def _send(self, frame: bytes, waiter: Waiter, deadline: Deadline) -> Outcome | None:
        try:
            self._arm(deadline)
            try:
                self._socket.sendall(frame)
            except socket.timeout as error:
                raise _timed_out(error) from None
            return None
        except _TimedOut:
            raise DeadlineExceeded("the time was over before the request was sent") from None
        except OSError as error:
            self._is_silent = error.errno in _SILENCE
            # A server that refuses a frame says why before it closes.
            try:
                self._socket.settimeout(0)
                outcome = self._take(self._socket.recv(_RECEIVE_BYTES), waiter)
            except OSError:
                outcome = None
            if isinstance(outcome, NeedletailError):
                raise outcome from error
            raise ConnectionLost(f"the connection broke under the request: {error.strerror}", sent=False) from error

    def _receive(self, deadline: Deadline) -> bytes:
        self._arm(deadline)
        try:
            return self._socket.recv(_RECEIVE_BYTES)
        except socket.timeout as error:
            raise _timed_out(error) from None

    def _take(self, data: bytes, waiter: Waiter) -> Outcome | None:
        for answered, outcome in self._session.receive(data, time.monotonic()):
            if answered is waiter:
                return outcome
        return None

    def _arm(self, deadline: Deadline) -> None:
        remaining = deadline.remaining()
        if remaining is not None and remaining <= 0:  # settimeout(0) would mean "do not wait"
            raise _TimedOut
        self._socket.settimeout(remaining)


class _TimedOut(Exception):
    """The deadline is over. Unlike ``socket.timeout``, which since Python 3.10 is also what a
    connection raises that the kernel gave up on (ETIMEDOUT)."""


def _timed_out(error: OSError) -> Exception:
    return _TimedOut() if error.errno is None else ConnectionResetError(error.errno, error.strerror)


def _connect(settings: Settings, deadline: Deadline) -> socket.socket:
    connected = dial(settings.address, deadline)
    try:
        tune(connected)
        connected.settimeout(max(1e-3, deadline.remaining() or 0))
        if settings.context is None:
            return connected
        connected = settings.context.wrap_socket(
            connected, server_hostname=settings.server_name, do_handshake_on_connect=False
        )
        sever_in_children(connected)
        connected.do_handshake()
        return connected
    except BaseException:
        connected.close()
        raise
