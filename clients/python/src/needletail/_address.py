"""Where a server listens."""

from __future__ import annotations

import dataclasses
from typing import Union


@dataclasses.dataclass(frozen=True)
class TCPAddress:
    """``host:port``; an IPv6 host stands in brackets: ``[::1]:6470``."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclasses.dataclass(frozen=True)
class UnixAddress:
    """``unix:/path/of/the.sock``."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = Union[TCPAddress, UnixAddress]


def parse_address(text: str) -> Address:
    """Reads ``host:port``, ``[v6]:port`` or ``unix:/path``.

    Raises:
        ValueError: naming what was expected and what was found.
    """
    if text.startswith("unix:"):
        path = text[len("unix:") :]
        if not path:
            raise ValueError(f"address: expected a path after 'unix:', found {text!r}")
        return UnixAddress(path)
    host, separator, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"address: expected an IPv6 host in brackets, as in '[::1]:6470', found {text!r}")
    if not separator or not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ValueError(f"address: expected 'host:port' or 'unix:/path', found {text!r}")
    return TCPAddress(host, int(port))
