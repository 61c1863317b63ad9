"""A bounded pool of blocking connections, for any number of threads."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Callable

from ._connection import Connection
from ._deadline import Deadline
from .errors import PoolExhausted


class ConnectionPool:
    """Hands out connections, makes new ones up to a bound, drops broken ones.

    Connections are made when they are needed, and the one used last is handed out first, so that
    spare ones idle long enough for the server to close them.

    After ``fork`` the child starts with an empty pool: two processes on one connection would read
    each other's answers.
    """

    def __init__(self, connections_max: int, connect: Callable[[Deadline], Connection]) -> None:
        self._connections_max = connections_max
        self._connect = connect
        self._is_closed = False
        self._start_empty()
        _pools.add(self)

    def _start_empty(self) -> None:
        # A new lock, too: in a forked child the old one may be held by a thread that is not there.
        self._changed = threading.Condition(threading.Lock())
        self._idle: list[Connection] = []
        # Idle, in use, and being made. Replaced, not reset, after a fork: see `connection`.
        self._count = _Count()

    @contextlib.contextmanager
    def connection(self, deadline: Deadline) -> Iterator[Connection]:
        """A connection for one call; it goes back, or is dropped if it broke.

        Raises:
            PoolExhausted: if none gets free before the deadline.
            NeedletailError: if a new one cannot be made.
        """
        count = self._count
        connection = self._acquire(deadline)
        try:
            yield connection
        finally:
            self._release(connection, count)

    def close(self) -> None:
        """Closes idle connections now, and those in use when they come back."""
        with self._changed:
            self._is_closed = True
            idle, self._idle = self._idle, []
            self._count.value -= len(idle)
            self._changed.notify_all()
        for connection in idle:
            connection.close()

    def _acquire(self, deadline: Deadline) -> Connection:
        while True:
            candidate = None
            with self._changed:
                while True:
                    if self._is_closed:
                        raise RuntimeError("the client is closed")
                    if self._idle:
                        candidate = self._idle.pop()
                        break
                    if self._count.value < self._connections_max:
                        self._count.value += 1
                        break
                    if not self._changed.wait(deadline.remaining()) and not deadline.has_room_for(0):
                        raise PoolExhausted(
                            f"connections: expected one to get free in time, found {self._count.value} of "
                            f"{self._connections_max} in use (max_connections)"
                        )
            if candidate is None:
                try:
                    return self._connect(deadline)
                except BaseException:
                    self._forget_one()
                    raise
            if candidate.is_usable():
                return candidate
            candidate.close()
            self._forget_one()

    def _release(self, connection: Connection, count: _Count) -> None:
        if count is not self._count:  # a fork happened in between: not ours to keep
            connection.close()
            return
        # Checked now and not only at the next use, so that a connection that received GoAway closes at once.
        keep = connection.is_usable()
        with self._changed:
            if keep and not self._is_closed:
                self._idle.append(connection)
                self._changed.notify()
                return
        connection.close()
        self._forget_one()

    def _forget_one(self) -> None:
        with self._changed:
            self._count.value -= 1
            self._changed.notify()

    def _after_fork_in_child(self) -> None:
        idle = self._idle
        self._start_empty()
        for connection in idle:
            connection.close()


class _Count:
    """Connections of one process."""

    def __init__(self) -> None:
        self.value = 0


_pools: weakref.WeakSet[ConnectionPool] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for pool in list(_pools):
        pool._after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
