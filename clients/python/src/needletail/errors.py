"""Errors: one class per status code of the protocol, so that ``except`` can choose.

Every error that a call can raise is a :class:`NeedletailError`::

    try:
        answer = client.predict("digits", rows)
    except needletail.Overloaded as error:
        shed(error.retry_after)
    except needletail.NeedletailError as error:
        log.warning("%s: %s", error.code.name, error.message)
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any


class StatusCode(enum.IntEnum):
    """The closed list of status codes, numbered as in ``proto/needletail/v1/inference.proto``."""

    OK = 0
    INVALID_ARGUMENT = 1
    NOT_FOUND = 2
    UNAUTHENTICATED = 3
    PERMISSION_DENIED = 4
    DEADLINE_EXCEEDED = 5
    OVERLOADED = 6
    UNAVAILABLE = 7
    INTERNAL = 8
    UNIMPLEMENTED = 9


@dataclasses.dataclass(frozen=True)
class ExceededLimit:
    """A limit of the server that a request exceeds."""

    #: As the attributes of :class:`~needletail.ServerLimits` are named; newer servers may know more.
    name: str
    maximum: int
    #: What the request has, as far as it was counted.
    found: int


@dataclasses.dataclass(frozen=True)
class ErrorDetail:
    """The part of a request that an error is about, for programs; ``message`` says the same to people."""

    #: A feature, an input tensor or a field of the call, such as ``"model"`` or ``"outputs"``; empty: of none.
    field: str = ""
    #: The row of the call that was sent, counted from 0; None: no single row.
    row: int | None = None
    limit: ExceededLimit | None = None


class NeedletailError(Exception):
    """A call that has no answer.

    Attributes:
        code: The status code; the class says the same.
        message: One sentence: the field, what was expected, what was found.
        retry_after: Seconds after which the server wants to be asked again, or None.
        detail: What the error is about, or None where the server does not say.
    """

    code: StatusCode = StatusCode.INTERNAL
    detail: ErrorDetail | None = None

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are rebuilt from their arguments otherwise, without those given by keyword: a worker of a
        # process pool could not hand such an error to its parent.
        return _rebuild, (type(self), self.args, dict(self.__dict__))


def _rebuild(kind: type[NeedletailError], arguments: tuple[Any, ...], state: dict[str, Any]) -> NeedletailError:
    """The error that was pickled or copied, whatever its constructor takes."""
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(state)
    return error


class InvalidArgument(NeedletailError, ValueError):
    """The request is wrong and stays wrong. Also raised before anything is sent, for inputs
    that no tensor can be made of."""

    code = StatusCode.INVALID_ARGUMENT


class NotFound(NeedletailError, LookupError):
    """No such model, version, label or output."""

    code = StatusCode.NOT_FOUND


class Unauthenticated(NeedletailError):
    """The server wants an API key first."""

    code = StatusCode.UNAUTHENTICATED


class PermissionDenied(NeedletailError):
    """This key may not do this."""

    code = StatusCode.PERMISSION_DENIED


class DeadlineExceeded(NeedletailError, TimeoutError):
    """The time given by ``timeout=`` was over, here or in the server, before there was an answer."""

    code = StatusCode.DEADLINE_EXCEEDED


class PoolExhausted(DeadlineExceeded):
    """All connections of the pool were in use until the deadline; nothing was sent."""


class Overloaded(NeedletailError):
    """The server refused the call without executing it; ``retry_after`` says when to come back."""

    code = StatusCode.OVERLOADED


class Unavailable(NeedletailError):
    """The call was not executed: the server starts, stops, or cannot be reached."""

    code = StatusCode.UNAVAILABLE


class ConnectionFailed(Unavailable, ConnectionError):
    """No connection could be made."""


class ConnectionLost(Unavailable, ConnectionError):
    """The connection broke under a call.

    Attributes:
        sent: True if the whole request had been handed to the connection, so that the server may
            have executed it; False if it certainly did not.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class InternalError(NeedletailError):
    """A fault of the server."""

    code = StatusCode.INTERNAL


class ProtocolError(InternalError):
    """What came over the connection is not the Needletail protocol; the connection is dropped."""


class Unimplemented(NeedletailError):
    """The server does not know this call."""

    code = StatusCode.UNIMPLEMENTED


class BundleRefused(NeedletailError):
    """``needletail.load`` did not open a bundle.

    Attributes:
        reason: A word for programs: ``"untrusted"``, ``"bad_hash"``, ``"truncated"``, ``"io"`` and so on, the names
            of libneedletail's codes in lower case.
    """

    code = StatusCode.INVALID_ARGUMENT

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


_CLASSES: dict[int, type[NeedletailError]] = {
    StatusCode.INVALID_ARGUMENT: InvalidArgument,
    StatusCode.NOT_FOUND: NotFound,
    StatusCode.UNAUTHENTICATED: Unauthenticated,
    StatusCode.PERMISSION_DENIED: PermissionDenied,
    StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    StatusCode.OVERLOADED: Overloaded,
    StatusCode.UNAVAILABLE: Unavailable,
    StatusCode.INTERNAL: InternalError,
    StatusCode.UNIMPLEMENTED: Unimplemented,
}


def error_for_status(
    code: int, message: str, retry_after_us: int = 0, detail: ErrorDetail | None = None
) -> NeedletailError:
    """The error that a status other than OK stands for.

    A code that this client does not know (a newer server) is an :class:`InternalError`.
    """
    kind = _CLASSES.get(code)
    if kind is None:
        return InternalError(f"status code {code} is unknown to this client: {message}")
    retry_after = retry_after_us / 1e6 if retry_after_us else None
    error = kind(message, retry_after=retry_after)
    error.detail = detail
    return error
