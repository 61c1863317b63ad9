"""Talks to Redis as far as the tests need it."""

from __future__ import annotations

import socket
from typing import Any


class Redis:
    """One connection, without a library: the tests put things into Redis that no library would send."""

    def __init__(self, port: int, password: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.input = self.socket.makefile("rb")
        self("AUTH", password)
        self("SELECT", 2)

    def __call__(self, *words: Any) -> Any:
        command = b"*%d\r\n" % len(words)
        for word in words:
            data = word if isinstance(word, bytes) else str(word).encode("latin-1")
            command += b"$%d\r\n%s\r\n" % (len(data), data)
        self.socket.sendall(command)
        return self._reply()

    def _reply(self) -> Any:
        line = self.input.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis has closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.input.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))]
        raise ConnectionError(rest.decode())
