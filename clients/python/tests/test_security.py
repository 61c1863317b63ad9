"""Keys and TLS, against a server that wants them."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any, Callable

import needletail
import numpy as np
import pytest
from fake_server import FakeServer, Peer
from needletail import TLS, AsyncClient, Client
from needletail.v1 import inference_pb2 as pb

# By the name of the tensor: sent as it is, whatever the model wants, without asking for that first.
ROWS = {"features": np.array([[1.0, 2.0]])}


def wants_key(key: str) -> Callable[[Peer], None]:
    """The script of a server that answers whoever has shown ``key``."""

    def script(peer: Peer) -> None:
        known = False
        while True:
            request = peer.read()
            if request is None:
                return
            if request.WhichOneof("call") == "authenticate":
                known = request.authenticate.api_key == key
                if known:
                    peer.send(pb.Response(id=request.id, authenticate=pb.AuthenticateResponse(principal="ci")))
                    continue
            if known:
                peer.answer(request)
            else:
                peer.refuse(request, pb.UNAUTHENTICATED, "authenticate first")

    return script


def ask(address: str, **settings: Any) -> float:
    with Client(address, **settings) as client:
        return float(client.predict("m", ROWS).prediction[0])


def ask_async(address: str, **settings: Any) -> float:
    async def main() -> float:
        async with AsyncClient(address, **settings) as client:
            return float((await client.predict("m", ROWS)).prediction[0])

    return asyncio.run(main())


BOTH = pytest.mark.parametrize("asked", [ask, ask_async])


@BOTH
def test_the_key_is_shown_before_the_first_call(asked: Callable[..., float]) -> None:
    with FakeServer(wants_key("right")) as server:
        assert asked(server.address, api_key="right\n") == 3.0
        with pytest.raises(needletail.Unauthenticated, match="authenticate first"):
            asked(server.address, api_key="wrong")
        with pytest.raises(needletail.Unauthenticated):
            asked(server.address)


@BOTH
def test_every_connection_shows_it(asked: Callable[..., float]) -> None:
    seen: list[int] = []

    def one_call_each(peer: Peer) -> None:
        request = peer.expect()
        assert request.authenticate.api_key == "k"
        seen.append(peer.number)
        peer.send(pb.Response(id=request.id, authenticate=pb.AuthenticateResponse(principal="ci")))
        peer.answer(peer.expect())

    with FakeServer(one_call_each) as server:
        assert asked(server.address, api_key="k") == 3.0
        assert asked(server.address, api_key="k") == 3.0
    assert seen == [1, 2]


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="TCP"):
        Client("unix:/run/x.sock", tls=True)
    with pytest.raises(ValueError, match="one of them"):
        Client(tls=TLS(certificate="c.pem"))
    with pytest.raises(ValueError, match="api_key"):
        Client(api_key=" ")
    with pytest.raises(OSError):
        Client(tls=TLS(ca=str(tmp_path / "none.pem")))
    with pytest.raises(OSError):
        AsyncClient(tls=TLS(ca=str(tmp_path / "none.pem")))


# ------------------------------------------------------------ TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A CA, another one, and a certificate for 127.0.0.1, made by openssl for this run."""
    directory = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for name in ("ca", "other"):
        # Python 3.13 asks for the key usage of a CA, and for the name of the issuer's key below.
        openssl(
            "req", "-x509", *curve, "-subj", f"/CN={name}", "-days", "2", "-keyout", f"{name}.key",
            "-addext", "keyUsage=critical,keyCertSign", "-out", f"{name}.pem",
        )  # fmt: skip
    openssl(
        "req", "-new", *curve, "-subj", "/CN=server", "-addext", "subjectAltName=IP:127.0.0.1,DNS:db.internal",
        "-keyout", "server.key", "-out", "server.csr",
    )  # fmt: skip
    openssl(
        "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
        "-copy_extensions", "copy", "-days", "2", "-out", "server.pem",
    )  # fmt: skip
    return {name: str(directory / name) for name in ("ca.pem", "other.pem", "server.pem", "server.key")}


def encrypted(
    certificates: dict[str, str], script: Callable[[Peer], None], *, mutual: bool = False
) -> Callable[[Peer], None]:
    """The same script behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates["server.pem"], certificates["server.key"])
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates["ca.pem"])

    def wrapped(peer: Peer) -> None:
        peer.socket = context.wrap_socket(peer.socket, server_side=True)
        script(peer)

    return wrapped


@BOTH
def test_calls_travel_encrypted_to_the_server_that_was_meant(
    asked: Callable[..., float], certificates: dict[str, str]
) -> None:
    with FakeServer(encrypted(certificates, wants_key("k"))) as server:
        assert asked(server.address, tls=TLS(ca=certificates["ca.pem"]), api_key="k") == 3.0
        assert asked(server.address, tls=TLS(ca=certificates["ca.pem"], server_name="db.internal"), api_key="k") == 3.0
        for wrong in (TLS(ca=certificates["other.pem"]), TLS(ca=certificates["ca.pem"], server_name="x.org"), True):
            with pytest.raises(needletail.ConnectionFailed, match="(?i)certificate"):
                asked(server.address, tls=wrong, api_key="k", retries=needletail.RetryPolicy(attempts=1))


@BOTH
def test_a_server_that_asks_for_a_certificate_gets_it(
    asked: Callable[..., float], certificates: dict[str, str]
) -> None:
    own = TLS(ca=certificates["ca.pem"], certificate=certificates["server.pem"], key=certificates["server.key"])
    with FakeServer(encrypted(certificates, wants_key("k"), mutual=True)) as server:
        assert asked(server.address, tls=own, api_key="k") == 3.0
        with pytest.raises(needletail.NeedletailError):
            asked(
                server.address,
                tls=TLS(ca=certificates["ca.pem"]),
                api_key="k",
                retries=needletail.RetryPolicy(attempts=1),
            )


def test_an_encrypted_connection_is_used_again(certificates: dict[str, str]) -> None:
    with FakeServer(encrypted(certificates, wants_key("k"))) as server:
        with Client(server.address, tls=TLS(ca=certificates["ca.pem"]), api_key="k") as client:
            for _ in range(5):
                client.predict("m", ROWS)
            threads = [threading.Thread(target=client.predict, args=("m", ROWS)) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert server.connections <= 2
