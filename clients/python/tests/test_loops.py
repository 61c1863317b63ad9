"""The asyncio client on other event loops, and tasks that are cancelled at any moment."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine
from typing import Any, Callable

import needletail
import numpy as np
import pytest
from fake_server import FakeServer, Peer, unused_port
from needletail import AsyncClient, RetryPolicy
from needletail._aio_connection import AsyncConnection

ROWS = {"features": np.array([[1.0, 2.0]])}
NO_RETRY = RetryPolicy(attempts=1)


def on_asyncio(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def on_uvloop(main: Coroutine[Any, Any, None]) -> None:
    uvloop = pytest.importorskip("uvloop")
    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()


LOOPS = pytest.mark.parametrize("run", [on_asyncio, on_uvloop])
Runner = Callable[[Coroutine[Any, Any, None]], None]


@LOOPS
@pytest.mark.parametrize("unix", [False, True])
def test_calls_are_answered_on_every_event_loop(run: Runner, unix: bool) -> None:
    async def main() -> None:
        async with AsyncClient(server.address, connections=2) as client:
            answers = await asyncio.gather(*(client.predict("m", ROWS) for _ in range(50)))
            assert [answer.prediction.tolist() for answer in answers] == [[3]] * 50

    with FakeServer(unix=unix) as server:
        run(asyncio.wait_for(main(), 20))


@LOOPS
def test_closing_ends_even_after_a_connection_that_failed(run: Runner) -> None:
    async def main() -> None:
        async with AsyncClient(f"127.0.0.1:{unused_port()}", retries=NO_RETRY) as client:
            with pytest.raises(needletail.ConnectionFailed):
                await client.predict("m", ROWS)
        async with AsyncClient("127.0.0.1:1", retries=NO_RETRY):
            pass

    run(asyncio.wait_for(main(), 5))


@LOOPS
def test_a_server_that_does_not_read_holds_no_call_beyond_its_deadline(run: Runner) -> None:
    release = threading.Event()

    def script(peer: Peer) -> None:
        release.wait(5)

    async def main() -> None:
        async with AsyncClient(server.address, retries=NO_RETRY) as client:
            rows = {"features": np.zeros((1000, 1000))}
            calls = [client.predict("m", rows, timeout=0.2) for _ in range(4)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [needletail.DeadlineExceeded] * 4
            release.set()

    with FakeServer(script) as server:
        run(asyncio.wait_for(main(), 20))


@LOOPS
def test_of_a_hundred_tasks_in_endless_loops_none_survives_its_cancellation(run: Runner) -> None:
    dice = random.Random(1)

    async def endless(client: AsyncClient) -> None:
        while True:
            await client.predict("m", ROWS, timeout=5)

    async def main() -> None:
        async with AsyncClient(server.address, max_in_flight=10) as client:
            tasks = [asyncio.ensure_future(endless(client)) for _ in range(100)]
            await asyncio.sleep(0.1)
            for task in tasks:
                if dice.random() < 0.5:
                    await asyncio.sleep(0)
                task.cancel()
            done, pending = await asyncio.wait(tasks, timeout=2)
            assert (len(done), len(pending)) == (100, 0)
            assert all(task.cancelled() for task in done)
            assert (await client.predict("m", ROWS)).prediction.tolist() == [3]

    with FakeServer() as server:
        run(asyncio.wait_for(main(), 30))


@LOOPS
def test_a_cancelled_call_does_not_take_the_connection_from_others_that_wait_for_it(run: Runner) -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            first = asyncio.ensure_future(client.predict("m", ROWS))
            second = asyncio.ensure_future(client.predict("m", ROWS))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            first.cancel()
            assert (await second).prediction.tolist() == [3]
            with pytest.raises(asyncio.CancelledError):
                await first

    with FakeServer() as server:
        run(asyncio.wait_for(main(), 20))
        assert server.connections == 1


@LOOPS
def test_a_connection_whose_end_is_interrupted_leaves_no_call_waiting(run: Runner, monkeypatch: Any) -> None:
    def interrupted(self: AsyncConnection, error: Exception | None) -> None:
        raise ArithmeticError("interrupted")

    def script(peer: Peer) -> None:
        peer.expect()

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        async with AsyncClient(server.address, retries=NO_RETRY) as client:
            begin = asyncio.get_running_loop().time()
            with pytest.raises(needletail.ConnectionLost):
                await client.predict("m", ROWS, timeout=10)
            assert asyncio.get_running_loop().time() - begin < 3

    monkeypatch.setattr(AsyncConnection, "connection_lost", interrupted)
    with FakeServer(script) as server:
        run(asyncio.wait_for(main(), 20))


@LOOPS
def test_a_connection_whose_beginning_is_interrupted_is_replaced(run: Runner, monkeypatch: Any) -> None:
    made = AsyncConnection.connection_made
    interruptions = [True]

    def interrupted(self: AsyncConnection, transport: asyncio.BaseTransport) -> None:
        if interruptions:
            interruptions.pop()
            raise ArithmeticError("interrupted")
        made(self, transport)

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        async with AsyncClient(server.address) as client:
            for _ in range(3):
                assert (await client.predict("m", ROWS, timeout=5)).prediction.tolist() == [3]

    monkeypatch.setattr(AsyncConnection, "connection_made", interrupted)
    with FakeServer() as server:
        run(asyncio.wait_for(main(), 20))


def test_no_wait_of_the_client_goes_through_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # asyncio.wait_for loses cancellations up to Python 3.11.
    async def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("asyncio.wait_for was used")

    async def main() -> None:
        async with AsyncClient(server.address, max_in_flight=1) as client:
            await asyncio.gather(*(client.predict("m", ROWS) for _ in range(3)))

    with FakeServer() as server:
        monkeypatch.setattr(asyncio, "wait_for", refused)
        asyncio.run(main())
