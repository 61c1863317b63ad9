"""How connections are made: names to addresses, and of several addresses the first that answers (RFC 8305)."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import encodings.idna  # noqa: F401 (imported by the first look-up otherwise: see numpy.ma in _inputs)
import itertools
import os
import selectors
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any, Callable, Union

from ._address import Address, TCPAddress
from ._deadline import Deadline
from ._forks import sever_in_children

#: Seconds after which the next address is tried beside those that have not answered: what RFC 8305 recommends.
NEXT_ADDRESS_SECONDS = 0.25
#: Milliseconds for which what was sent may stay unacknowledged before the kernel gives the connection up. Less than
#: the default time-out of a call (5 s), so that the call can still be made over another connection.
UNACKNOWLEDGED_MS_MAX = 4000
#: Keep-alive: an idle connection whose peer is gone is noticed after 10 + 2 * 3 s, long before a server's or a
#: firewall's idle time-out.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": UNACKNOWLEDGED_MS_MAX}

# Family and address of a socket.
Target = tuple[int, Any]
# What a resolver says.
Found = Union[list[Target], OSError]


def tune(connected: socket.socket) -> None:
    """Sets what a connection of ours wants from TCP: no delay, and news of a peer that is gone."""
    if connected.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        option = getattr(socket, name, None)  # Linux has all of them, other systems some.
        if option is not None:
            with contextlib.suppress(OSError):
                connected.setsockopt(socket.IPPROTO_TCP, option, value)


def interleaved(targets: Iterable[Target]) -> list[Target]:
    """The addresses with their families in turn, so that one dead family costs one wait."""
    families: dict[int, list[Target]] = {}
    for target in targets:
        families.setdefault(target[0], []).append(target)
    rounds = itertools.zip_longest(*families.values())
    return [target for turn in rounds for target in turn if target is not None]


def _targets(found: Iterable[tuple[Any, ...]]) -> list[Target]:
    return interleaved((int(family), address) for family, _, _, _, address in found)


# ---------------------------------------------------------------- blocking


def dial(address: Address, deadline: Deadline) -> socket.socket:
    """A connected socket.

    Raises:
        TimeOver: at the deadline, however many addresses there are.
        OSError: if no address answers; the error is that of the first.
    """
    if isinstance(address, TCPAddress):
        return _race(_resolve(address.host, address.port, deadline), deadline)
    return _race([(socket.AF_UNIX, address.path)], deadline)


class TimeOver(Exception):
    """The deadline of ``dial`` is over. Not an ``OSError``, which the kernel's own time-out (ETIMEDOUT) is."""


def _resolve(host: str, port: int, deadline: Deadline) -> list[Target]:
    targets = _numeric(host, port)
    if targets is not None:
        return targets
    found: list[Found] = []
    gate = threading.Lock()
    gate.acquire()

    def deliver(outcome: Found) -> None:
        found.append(outcome)
        gate.release()

    _look_up(host, port, deliver)
    remaining = deadline.remaining()
    if not gate.acquire(timeout=-1 if remaining is None else min(remaining, threading.TIMEOUT_MAX)):
        raise TimeOver
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def _numeric(host: str, port: int) -> list[Target] | None:
    """The address, if the host is one; None: it is a name."""
    try:
        return _targets(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
    except (socket.gaierror, UnicodeError):
        return None


def _look_up(host: str, port: int, deliver: Callable[[Found], object]) -> None:
    """Asks for the addresses of a name in a thread of its own, for the resolver knows no deadline.

    The thread is a bare one: those of ``threading`` and of executors are started under locks of the whole process,
    which an exception at a bad moment would leave held.
    """

    def look_up() -> None:
        try:
            outcome: Found = _targets(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            outcome = error
        except UnicodeError as error:  # no name at all, such as one with an empty part
            outcome = OSError(f"no host name: {error}")
        with contextlib.suppress(RuntimeError):  # the event loop that asked is closed
            deliver(outcome)

    _thread.start_new_thread(look_up, ())


def _race(targets: list[Target], deadline: Deadline) -> socket.socket:
    waiting = list(targets)
    racing: list[socket.socket] = []
    errors: list[OSError] = []
    winner: socket.socket | None = None
    next_at = time.monotonic()
    selector = selectors.DefaultSelector()
    try:
        while winner is None:
            now = time.monotonic()
            if waiting and (now >= next_at or not racing):
                next_at = now + NEXT_ADDRESS_SECONDS
                try:
                    candidate = _begin(waiting.pop(0))
                except OSError as error:
                    errors.append(error)
                else:
                    racing.append(candidate)
                    selector.register(candidate, selectors.EVENT_WRITE)
                continue
            if not racing:
                raise errors[0] if errors else OSError("the name has no address")
            pause = deadline.remaining()
            if pause is not None and pause <= 0:
                raise TimeOver
            if waiting:
                pause = next_at - now if pause is None else min(pause, next_at - now)
            for key, _ in selector.select(pause):
                tried: Any = key.fileobj
                code = tried.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    winner = tried
                    break
                errors.append(OSError(code, os.strerror(code)))
                selector.unregister(tried)
                racing.remove(tried)
                tried.close()
                next_at = now  # an address that refuses is not waited for
        return winner
    finally:
        selector.close()
        for other in racing:
            if other is not winner:
                other.close()


def _begin(target: Target) -> socket.socket:
    """A socket on its way to the address."""
    family, address = target
    candidate = socket.socket(family, socket.SOCK_STREAM)
    sever_in_children(candidate)
    try:
        candidate.setblocking(False)
        try:
            candidate.connect(address)
        except BlockingIOError:
            if family == socket.AF_UNIX:  # not under way, but turned away: the listener's queue is full
                raise
    except BaseException:
        candidate.close()
        raise
    return candidate


# ---------------------------------------------------------------- asyncio


async def dial_async(address: Address) -> socket.socket:
    """A connected socket, as ``dial`` gives. Its time ends when its task is cancelled."""
    loop = asyncio.get_running_loop()
    if not isinstance(address, TCPAddress):
        return await _dial_one(loop, (socket.AF_UNIX, address.path))
    targets = _numeric(address.host, address.port)
    if targets is None:
        found: asyncio.Future[Found] = loop.create_future()

        def deliver(outcome: Found) -> None:
            loop.call_soon_threadsafe(lambda: None if found.done() else found.set_result(outcome))

        _look_up(address.host, address.port, deliver)
        outcome = await found
        if isinstance(outcome, OSError):
            raise outcome
        targets = outcome
    waiting = list(targets)
    racing: list[asyncio.Task[socket.socket]] = []
    errors: list[OSError] = []
    try:
        while waiting or racing:
            if waiting:
                racing.append(loop.create_task(_dial_one(loop, waiting.pop(0))))
            pause = NEXT_ADDRESS_SECONDS if waiting else None
            done, _ = await asyncio.wait(racing, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                racing.remove(task)
                try:
                    return task.result()
                except OSError as error:
                    errors.append(error)
        raise errors[0] if errors else OSError("the name has no address")
    finally:
        for task in racing:
            task.cancel()
            task.add_done_callback(_discard)


async def _dial_one(loop: asyncio.AbstractEventLoop, target: Target) -> socket.socket:
    family, address = target
    candidate = socket.socket(family, socket.SOCK_STREAM)
    sever_in_children(candidate)
    try:
        candidate.setblocking(False)
        await loop.sock_connect(candidate, address)
        candidate.getpeername()  # raises on a Unix socket that was turned away, which event loops take for connected
    except BaseException:
        candidate.close()
        raise
    return candidate


def _discard(task: asyncio.Task[socket.socket]) -> None:
    """Closes the socket of an attempt that came second."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
