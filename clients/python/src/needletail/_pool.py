"""A bounded pool of blocking connections, for any number of threads."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import threading
from typing import Callable

from ._connection import Connection
from ._deadline import Deadline
from ._slots import RECHECK_SECONDS, Holder, Slots
from .errors import PoolExhausted


class Lease(Holder):
    """What a call has of the pool: a slot, and perhaps a connection. It lives in the frame of the call."""

    __slots__ = ("connection",)

    def __init__(self) -> None:
        super().__init__()
        self.connection: Connection | None = None


class ConnectionPool:
    """Hands out connections, makes new ones up to a bound, drops broken ones.

    Connections are made when they are needed, and the one used last is handed out first, so that
    spare ones idle long enough for the server to close them.

    No lock, and no count: who has a slot is told by what lives (see ``Slots``), and a connection is either idle, or
    belongs to one lease, or is gone; each step from one to another is a single operation of the interpreter's own
    code. An exception between two steps loses a connection, which closes, and never a slot.

    A forked child starts with an empty pool: two processes on one connection would read each other's answers.
    """

    def __init__(self, connections_max: int, connect: Callable[[Deadline], Connection]) -> None:
        self._connections_max = connections_max
        self._connect = connect
        self._is_closed = False
        # One process, one entry, so that a child that is forked has contents of its own.
        self._contents: dict[int, _Contents] = {}

    def take(self, lease: Lease, deadline: Deadline) -> Connection:
        """A connection for one call, which the lease holds until ``give_back``.

        Raises:
            PoolExhausted: if none gets free before the deadline.
            NeedletailError: if a new one cannot be made.
        """
        contents = self._own()
        while not self._wait_for_slot(contents, lease, deadline):
            contents = self._own()
        while True:
            # A connection counts against the bound while a lease or the list of idle ones has it. None is made
            # unless none is idle, and then each belongs to a lease with a slot: there are never more than slots.
            try:
                lease.connection = contents.idle.pop()
            except IndexError:
                lease.connection = self._connect(deadline)
                return lease.connection
            if lease.connection.is_usable():
                return lease.connection
            lease.connection.close()

    def give_back(self, lease: Lease) -> None:
        """Ends a lease, whatever it has and however often it is called."""
        if lease.token is None and lease.connection is None:
            return
        contents = self._own()
        try:
            connection, lease.connection = lease.connection, None
            if connection is not None:
                # Checked now and not only at the next use, so that a connection that received GoAway closes at once.
                # One of a parent is not usable in its forked child.
                if connection.is_usable():
                    contents.idle.append(connection)
                    if self._is_closed:
                        contents.close_idle()
                else:
                    connection.close()
                    if connection.is_silent:
                        contents.drop_suspects(connection.sent_at)
        finally:
            contents.slots.leave(lease)

    def close(self) -> None:
        """Closes idle connections now, and those in use when they come back."""
        self._is_closed = True
        contents = self._own()
        contents.close_idle()
        contents.slots.wake_all()

    def _own(self) -> _Contents:
        """The contents of this process's pool."""
        process = os.getpid()
        contents = self._contents.get(process)
        if contents is None:
            contents = self._contents.setdefault(process, _Contents(self._connections_max))
            for other in [other for other in list(self._contents) if other != process]:
                parents = self._contents.pop(other, None)
                if parents is not None:
                    parents.close_idle()
        return contents

    def _wait_for_slot(self, contents: _Contents, lease: Lease, deadline: Deadline) -> bool:
        """Waits for the lease's turn. False: this is a forked child by now, and these slots are its parent's."""
        slots = contents.slots
        slots.enter(lease)
        if slots.has_slot(lease) and not self._is_closed:
            return True
        # A lock of this call alone, and not a queue.SimpleQueue: in Python 3.9 the time-out of that becomes "for ever"
        # when a signal handler takes longer.
        gate = threading.Lock()
        gate.acquire()
        lease.wake_by(functools.partial(_open, gate))
        while True:
            if self._is_closed:
                raise RuntimeError("the client is closed")
            if self._contents.get(os.getpid()) is not contents:
                return False
            if slots.has_slot(lease):
                return True
            remaining = deadline.remaining()
            if remaining is not None and remaining <= 0:
                raise PoolExhausted(
                    f"connections: expected one to get free in time, found {self._connections_max} of "
                    f"{self._connections_max} in use (max_connections)"
                )
            gate.acquire(timeout=RECHECK_SECONDS if remaining is None else min(remaining, RECHECK_SECONDS))


def _open(gate: threading.Lock) -> None:
    with contextlib.suppress(RuntimeError):  # it is open
        gate.release()


class _Contents:
    """The pool of one process."""

    def __init__(self, connections_max: int) -> None:
        self.slots = Slots(connections_max)
        self.idle: collections.deque[Connection] = collections.deque()

    def close_idle(self) -> None:
        while True:
            try:
                self.idle.pop().close()
            except IndexError:
                return

    def drop_suspects(self, since: float) -> None:
        """Closes idle connections that have said nothing since then.

        One death of silence is often that of all: a proxy or a firewall between has forgotten them. Each would cost
        a call its whole time otherwise.
        """
        for _ in range(len(self.idle)):
            try:
                connection = self.idle.popleft()
            except IndexError:
                return
            if connection.heard_at < since:
                connection.close()
            else:
                self.idle.append(connection)
