"""Connections of a parent, in a forked child.

A child has copies of its parent's descriptors. One that read from such a copy would take an answer that is the
parent's, and a child that keeps a copy open keeps the connection open after its parent has closed it. ``fork`` may
come at a bad moment: in another thread in the middle of a call, or in a signal handler on top of a call, which then
goes on in the child as well. So a child cuts off all connections of its parent before it does anything else.
"""

from __future__ import annotations

import contextlib
import os
import socket
import weakref

_open: set[weakref.ref[socket.socket]] = set()


def sever_in_children(opened: socket.socket) -> None:
    """From now on a forked child finds this socket at its end. Its parent notices nothing."""
    _open.add(weakref.ref(opened, _open.discard))


def _sever() -> None:
    references = list(_open)
    _open.clear()
    if not references:
        return
    dead, other = socket.socketpair()
    try:
        # Without its other end a socket reads as ended, and a write to it fails.
        other.close()
        for reference in references:
            opened = reference()
            with contextlib.suppress(OSError):
                if opened is not None and opened.fileno() >= 0:
                    # The number stays taken, so that a read that the child is in the middle of ends here and does
                    # not go to another file.
                    os.dup2(dead.fileno(), opened.fileno(), inheritable=False)
    finally:
        dead.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_sever)
