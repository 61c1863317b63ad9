"""The settings of both clients for a server, checked once."""

from __future__ import annotations

import dataclasses
import ssl

from ._address import Address, TCPAddress, parse_address
from ._deadline import Deadline
from ._frames import FRAME_BYTES_HARD_CAP
from .retry import RetryPolicy


@dataclasses.dataclass(frozen=True)
class TLS:
    """How to make sure of the server, and to show who the client is.

    Args:
        ca: PEM file of who must have issued the server's certificate; None: whom the system trusts.
        certificate: PEM file of the client's own certificate, for servers that ask for one (mTLS).
        key: PEM file of its private key.
        server_name: The name that the server's certificate must carry; None: the host of the address.
    """

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    server_name: str | None = None

    def context(self) -> ssl.SSLContext:
        """Reads the files.

        Raises:
            OSError: if one of them cannot be read or used (``ssl.SSLError`` is one).
        """
        if (self.certificate is None) != (self.key is None):
            raise ValueError("tls: expected a certificate and its key, found one of them")
        context = ssl.create_default_context(cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context


@dataclasses.dataclass(frozen=True)
class Settings:
    """Shared by a client and its connections."""

    address: Address
    timeout: float | None
    connect_timeout: float
    frame_bytes_max: int
    retries: RetryPolicy
    #: None: calls travel unencrypted.
    context: ssl.SSLContext | None
    server_name: str | None
    api_key: str | None

    @classmethod
    def check(
        cls,
        address: str,
        *,
        timeout: float | None,
        connect_timeout: float,
        frame_bytes_max: int,
        retries: RetryPolicy,
        tls: bool | TLS | ssl.SSLContext,
        api_key: str | None,
    ) -> Settings:
        """Refuses settings that cannot work."""
        parsed = parse_address(address)
        Deadline(timeout)
        if connect_timeout <= 0:
            raise ValueError(f"connect_timeout: expected seconds above 0, found {connect_timeout}")
        if not 1 <= frame_bytes_max <= FRAME_BYTES_HARD_CAP:
            raise ValueError(f"max_frame_bytes: expected 1 to {FRAME_BYTES_HARD_CAP}, found {frame_bytes_max}")
        if api_key is not None and not api_key.strip():
            raise ValueError("api_key: expected a key, found an empty text")
        context: ssl.SSLContext | None = None
        server_name: str | None = None
        if tls is not False:
            if not isinstance(parsed, TCPAddress):
                raise ValueError(
                    f"tls: expected a TCP address, found {parsed}: calls over Unix sockets are not encrypted"
                )
            server_name = parsed.host
            if isinstance(tls, ssl.SSLContext):
                context = tls
            else:
                options = TLS() if tls is True else tls
                context = options.context()
                server_name = options.server_name or parsed.host
        return cls(
            parsed, timeout, connect_timeout, frame_bytes_max, retries, context, server_name,
            None if api_key is None else api_key.strip(),
        )  # fmt: skip
