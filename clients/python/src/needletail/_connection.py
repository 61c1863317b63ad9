"""One blocking connection, used by one thread at a time."""

from __future__ import annotations

import socket
import ssl
import time
from typing import Any

from . import _calls
from ._address import TCPAddress
from ._calls import Call
from ._deadline import Deadline
from ._frames import encode_frame
from ._session import Outcome, Session
from ._settings import Settings
from .errors import ConnectionFailed, ConnectionLost, DeadlineExceeded, NeedletailError, Unauthenticated
from .v1 import inference_pb2 as pb

_RECEIVE_BYTES = 1 << 16


class Connection:
    """A connected socket and its session.

    One call is in flight at a time. A call that times out leaves the connection usable: the late
    answer is recognised by its id and ignored.
    """

    def __init__(self, settings: Settings, deadline: Deadline) -> None:
        """Connects, encrypts and shows the key, whatever of it the settings ask for.

        Raises:
            ConnectionFailed: if nothing listens there, or ``connect_timeout`` seconds are over.
            DeadlineExceeded: if the call's own deadline is over first.
            Unauthenticated: if the server knows no such key, or no such certificate.
        """
        address, connect_timeout = settings.address, settings.connect_timeout
        frame_bytes_max = settings.frame_bytes_max
        self._frame_bytes_max = frame_bytes_max
        self._session = Session(frame_bytes_max)
        self._is_broken = False
        remaining = deadline.remaining()
        timeout = connect_timeout if remaining is None else min(remaining, connect_timeout)
        if timeout <= 0:
            raise DeadlineExceeded(f"the time was over before connecting to {address}")
        try:
            self._socket = _connect(settings, timeout)
        except socket.timeout:
            if timeout < connect_timeout:
                raise DeadlineExceeded(f"the time was over while connecting to {address}") from None
            raise ConnectionFailed(f"could not connect to {address} within {connect_timeout} s") from None
        except OSError as error:
            raise ConnectionFailed(f"could not connect to {address}: {error.strerror or error}") from error
        if settings.api_key is not None:
            try:
                call = _calls.authenticate(settings.api_key)
                call.answer(self.call(call, deadline.within(connect_timeout)))
            except BaseException:
                self.close()
                raise

    def call(self, call: Call[Any], deadline: Deadline) -> pb.Response:
        """Sends a request and waits for its answer.

        Raises:
            NeedletailError: see ``errors``; ``is_usable`` tells whether the connection survived.
        """
        call_id = self._session.next_id()
        frame = encode_frame(call.payload(call_id, deadline.timeout_us()), self._frame_bytes_max)
        self._session.begin(call_id, time.monotonic())
        # An exception from here on, KeyboardInterrupt included, can leave half a frame sent or an
        # answer unread, so the connection counts as broken until one of the exits below clears this.
        self._is_broken = True
        outcome = self._send(frame, call_id, deadline)
        while outcome is None:
            try:
                data = self._receive(deadline)
            except _TimedOut:
                self._is_broken = self._session.abandon(call_id, time.monotonic())
                raise DeadlineExceeded("no answer within the time given") from None
            except ssl.SSLError as error:
                # With TLS 1.3 a server looks at the certificate when the handshake is over for its client.
                raise Unauthenticated(f"the server refused the connection: {error.reason or error}") from error
            except OSError as error:
                raise ConnectionLost(f"the connection broke before the answer: {error.strerror}", sent=True) from error
            if not data:
                raise ConnectionLost("the server closed the connection before the answer", sent=True)
            outcome = self._take(data, call_id)
        self._is_broken = False
        if isinstance(outcome, NeedletailError):
            raise outcome
        return outcome

    def is_usable(self) -> bool:
        """Whether another call can be made.

        Looks, without waiting, for what came in the meantime: late answers, a GoAway, the end.
        """
        if self._is_broken or self._session.is_draining:
            return False
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
            return True
        except (OSError, NeedletailError):
            return False

    def close(self) -> None:
        """Closes the socket. Does not tell the peer by other means, so that a forked child may
        close its copy without harm to its parent."""
        self._is_broken = True
        self._socket.close()

    def _send(self, frame: bytes, call_id: int, deadline: Deadline) -> Outcome | None:
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
            # A server that refuses a frame says why before it closes.
            try:
                self._socket.settimeout(0)
                outcome = self._take(self._socket.recv(_RECEIVE_BYTES), call_id)
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

    def _take(self, data: bytes, call_id: int) -> Outcome | None:
        for answered, outcome in self._session.receive(data, time.monotonic()):
            if answered == call_id:
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


def _connect(settings: Settings, timeout: float) -> socket.socket:
    address = settings.address
    if isinstance(address, TCPAddress):
        connected = socket.create_connection((address.host, address.port), timeout=timeout)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if settings.context is None:
            return connected
        try:
            return settings.context.wrap_socket(connected, server_hostname=settings.server_name)
        except BaseException:
            connected.close()
            raise
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.settimeout(timeout)
        connected.connect(address.path)
    except BaseException:
        connected.close()
        raise
    return connected
