"""Peers that are gone without a word, addresses that do not answer, and names that take long."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

import needletail
import numpy as np
import pytest
from fake_server import FakeServer
from needletail import AsyncClient, Client, RetryPolicy

ROWS = {"features": np.array([[1.0, 2.0]])}
NO_RETRY = RetryPolicy(attempts=1)


class Proxy:
    """Forwards connections to a server, until it forgets those it has: they stay open and say nothing."""

    def __init__(self, address: str) -> None:
        self._target = ("127.0.0.1", int(address.rpartition(":")[2]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._generation = 0
        self._opened: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def forget(self) -> None:
        self._generation += 1

    def close(self) -> None:
        for opened in [self._listener, *self._opened]:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._opened += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=(source, sink, self._generation), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, generation: int) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if generation == self._generation:
                    sink.sendall(data)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with FakeServer() as server:
        between = Proxy(server.address)
        yield between
        between.close()


def test_connections_that_a_proxy_forgot_cost_one_call_and_not_one_each(proxy: Proxy) -> None:
    with Client(proxy.address, max_connections=8, timeout=1.2, retries=NO_RETRY) as client:
        together = threading.Barrier(8)

        def ask() -> None:
            together.wait(5)
            client.predict("m", ROWS)

        for _ in range(20):  # until all of the pool's connections are there
            threads = [threading.Thread(target=ask) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
            if len(client._pool._own().idle) == 8:
                break
        assert len(client._pool._own().idle) >= 4
        proxy.forget()
        outcomes: list[type] = []
        for _ in range(8):
            try:
                outcomes.append(type(client.predict("m", ROWS)))
            except needletail.DeadlineExceeded as error:
                outcomes.append(type(error))
        assert outcomes == [needletail.DeadlineExceeded] + [needletail.Prediction] * 7


def test_an_asyncio_client_drops_all_connections_that_a_proxy_forgot(proxy: Proxy) -> None:
    async def main() -> None:
        async with AsyncClient(proxy.address, connections=3, timeout=1.2, retries=NO_RETRY) as client:
            for _ in range(5):
                await asyncio.gather(*(client.predict("m", ROWS) for _ in range(6)))
            proxy.forget()
            with pytest.raises(needletail.DeadlineExceeded):
                await client.predict("m", ROWS)
            for _ in range(4):
                assert (await client.predict("m", ROWS)).version == 1

    asyncio.run(main())


def test_connections_ask_the_kernel_for_news_of_dead_peers() -> None:
    with FakeServer() as server, Client(server.address) as client:
        client.predict("m", ROWS)
        opened = client._pool._own().idle[-1]._socket
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 30
        assert 0 < opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) < 5000


# ---------------------------------------------------------------- addresses


@pytest.fixture
def black_hole() -> Iterator[tuple[str, int]]:
    """An address that does not answer: the queue of its listener is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.2", 0))
        listener.listen(0)
        crowd = []
        for _ in range(4):
            waiting = socket.socket()
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
            crowd.append(waiting)
        yield listener.getsockname()
        for waiting in crowd:
            waiting.close()


def name(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> str:
    """A name with these addresses, for the clients of this test."""
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host != "several.test":
            return real(host, port, *arguments, **options)
        if options.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not an address")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return "several.test:6470"


def seconds_to_ask(address: str, **settings: Any) -> float:
    begin = time.monotonic()
    with Client(address, **settings) as client:
        client.predict("m", ROWS)
    return time.monotonic() - begin


def seconds_to_ask_async(address: str, **settings: Any) -> float:
    async def main() -> float:
        begin = time.monotonic()
        async with AsyncClient(address, **settings) as client:
            await client.predict("m", ROWS)
        return time.monotonic() - begin

    return asyncio.run(main())


BOTH = pytest.mark.parametrize("asked", [seconds_to_ask, seconds_to_ask_async])


@BOTH
def test_an_address_that_does_not_answer_costs_a_quarter_of_a_second(
    asked: Callable[..., float], black_hole: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeServer() as server:
        good = ("127.0.0.1", int(server.address.rpartition(":")[2]))
        address = name(monkeypatch, black_hole, good)
        assert 0.2 < asked(address, retries=NO_RETRY) < 0.9


@BOTH
def test_an_address_that_refuses_costs_nothing(asked: Callable[..., float], monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer() as server:
        port = int(server.address.rpartition(":")[2])
        address = name(monkeypatch, ("127.0.0.3", port), ("127.0.0.1", port))
        assert asked(address, retries=NO_RETRY) < 0.2


@BOTH
def test_one_time_out_bounds_all_addresses(
    asked: Callable[..., float], black_hole: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = name(monkeypatch, *[black_hole] * 4)
    begin = time.monotonic()
    with pytest.raises(needletail.DeadlineExceeded, match="while connecting"):
        asked(address, timeout=0.5, connect_timeout=2)
    assert 0.45 < time.monotonic() - begin < 0.9
    begin = time.monotonic()
    with pytest.raises(needletail.ConnectionFailed, match="within 0.4 s"):
        asked(address, timeout=5, connect_timeout=0.4, retries=NO_RETRY)
    assert 0.35 < time.monotonic() - begin < 0.8


@BOTH
def test_a_resolver_that_does_not_answer_holds_no_call_beyond_its_deadline(
    asked: Callable[..., float], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def look_up(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if not options.get("flags", 0) & socket.AI_NUMERICHOST:
            release.wait(10)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    begin = time.monotonic()
    with pytest.raises(needletail.DeadlineExceeded):
        asked("slow.test:6470", timeout=0.3)
    assert time.monotonic() - begin < 1
    release.set()
    with pytest.raises(needletail.ConnectionFailed, match="no such name"):
        asked("no.test:6470", retries=NO_RETRY)


@BOTH
def test_a_unix_socket_whose_queue_is_full_turns_a_call_away(asked: Callable[..., float], tmp_path: Any) -> None:
    path = str(tmp_path / "full.sock")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as crowd:
        listener.bind(path)
        listener.listen(0)
        for _ in range(4):
            waiting = crowd.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(path)
        with pytest.raises(needletail.ConnectionFailed):
            asked(f"unix:{path}", timeout=2, retries=NO_RETRY)
