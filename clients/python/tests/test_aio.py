"""The asyncio client against a fake server."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Coroutine
from typing import Any

import needletail
import numpy as np
import pytest
from fake_server import FakeServer, Peer, answer_everything, unused_port
from needletail import AsyncClient, Client, RetryPolicy
from needletail.v1 import inference_pb2 as pb

# By the name of the tensor: sent as it is, whatever the model wants, without asking for that first.
ROWS = {"features": np.array([[1.0, 2.0]])}
NO_RETRY = RetryPolicy(attempts=1)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 20))


def test_predict_returns_arrays_and_the_version() -> None:
    async def main() -> None:
        async with AsyncClient(server.address) as client:
            answer = await client.predict("m", ROWS, version=3, timeout=1)
            assert (answer.model, answer.version, answer.prediction.tolist()) == ("m", 1, [3])
            assert (await client.health()).live
            assert await client.metrics() == "up 1\n"
            with pytest.raises(needletail.Unimplemented):
                await client.models()
            with pytest.raises(needletail.Unimplemented):
                await client.describe("m")

    for unix in (False, True):
        with FakeServer(unix=unix, describe=None) as server:
            run(main())


def test_calls_share_one_connection_and_answers_may_come_in_any_order() -> None:
    def script(peer: Peer) -> None:
        requests = [peer.expect() for _ in range(10)]
        for request in reversed(requests):
            peer.answer(request)

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            answers = await asyncio.gather(*(client.predict("m", np.array([[1.0, float(i)]])) for i in range(10)))
            assert [answer.prediction[0] for answer in answers] == [1 + i for i in range(10)]

    with FakeServer(script) as server:
        run(main())
        assert server.connections == 1


def test_further_connections_are_made_only_when_all_are_busy() -> None:
    ready = threading.Barrier(2)

    def script(peer: Peer) -> None:
        request = peer.expect()
        ready.wait(5)  # passes only when both connections have a call
        peer.answer(request)
        answer_everything(peer)

    async def main() -> None:
        async with AsyncClient(server.address, connections=2) as client:
            await asyncio.gather(client.predict("m", ROWS), client.predict("m", ROWS))
            for _ in range(5):
                await client.predict("m", ROWS)

    with FakeServer(script) as server:
        run(main())
        assert server.connections == 2


def test_overload_is_retried_after_the_time_the_server_names() -> None:
    def script(peer: Peer) -> None:
        peer.refuse(peer.expect(), pb.OVERLOADED, retry_after_us=100_000)
        answer_everything(peer)

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            begin = time.monotonic()
            await client.predict("m", ROWS)
            assert time.monotonic() - begin >= 0.1

    with FakeServer(script) as server:
        run(main())


def test_go_away_moves_refused_calls_and_lets_accepted_ones_finish() -> None:
    def script(peer: Peer) -> None:
        if peer.number == 1:
            requests = [peer.expect() for _ in range(4)]
            peer.go_away(last_id=requests[1].id)
            for request in requests[:2]:
                peer.answer(request, version=1)
            assert peer.read() is None, "expected the client to close after its last answer"
        else:
            for _ in range(2):
                peer.answer(peer.expect(), version=2)
            peer.until_closed()

    async def main() -> None:
        async with AsyncClient(server.address, retries=RetryPolicy(retry_lost=False)) as client:
            answers = await asyncio.gather(*(client.predict("m", ROWS) for _ in range(4)))
            assert [answer.version for answer in answers] == [1, 1, 2, 2]

    with FakeServer(script) as server:
        run(main())
        assert server.connections == 2


def test_a_deadline_ends_one_call_and_not_its_neighbours() -> None:
    def script(peer: Peer) -> None:
        late = peer.expect()
        other = peer.expect()
        time.sleep(0.15)
        peer.answer(late, version=1)
        peer.answer(other, version=2)
        peer.answer(peer.expect(), version=3)

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            late, other = await asyncio.gather(
                client.predict("m", ROWS, timeout=0.05), client.predict("m", ROWS), return_exceptions=True
            )
            assert isinstance(late, needletail.DeadlineExceeded)
            assert isinstance(other, needletail.Prediction) and other.version == 2
            assert (await client.predict("m", ROWS)).version == 3

    with FakeServer(script) as server:
        run(main())
        assert server.connections == 1


def test_a_cancelled_call_leaves_the_connection_in_order() -> None:
    arrived = threading.Event()

    def script(peer: Peer) -> None:
        cancelled = peer.expect()
        arrived.set()
        request = peer.expect()
        peer.answer(cancelled, version=1)
        peer.answer(request, version=2)

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            task = asyncio.ensure_future(client.predict("m", ROWS))
            await asyncio.get_running_loop().run_in_executor(None, arrived.wait, 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await client.predict("m", ROWS)).version == 2

    with FakeServer(script) as server:
        run(main())
        assert server.connections == 1


def test_a_lost_connection_fails_or_retries_all_its_calls() -> None:
    def script(peer: Peer) -> None:
        if peer.number == 1:
            for _ in range(3):
                peer.expect()
        else:
            answer_everything(peer)

    async def retried() -> None:
        async with AsyncClient(server.address) as client:
            answers = await asyncio.gather(*(client.predict("m", ROWS) for _ in range(3)))
            assert [answer.prediction.tolist() for answer in answers] == [[3]] * 3

    async def failed() -> None:
        async with AsyncClient(server.address, retries=RetryPolicy(retry_lost=False)) as client:
            errors = await asyncio.gather(*(client.predict("m", ROWS) for _ in range(3)), return_exceptions=True)
            assert [type(error) for error in errors] == [needletail.ConnectionLost] * 3
            assert len({id(error) for error in errors}) == 3

    for main in (retried, failed):
        with FakeServer(script) as server:
            run(main())


@pytest.mark.parametrize("stream", [b"HTTP/1.1 400 Bad\r\n", b"\x00\x00\x00\x00", b"\x00\x00\x00\x02\xff\xff"])
def test_garbage_is_a_protocol_error_and_the_next_call_gets_a_new_connection(stream: bytes) -> None:
    def script(peer: Peer) -> None:
        request = peer.expect()
        if peer.number == 1:
            peer.send_bytes(stream)
            peer.until_closed()
        else:
            peer.answer(request)

    async def main() -> None:
        async with AsyncClient(server.address) as client:
            with pytest.raises(needletail.ProtocolError):
                await client.predict("m", ROWS)
            await client.predict("m", ROWS)

    with FakeServer(script) as server:
        run(main())


def test_nobody_there_is_said() -> None:
    port = unused_port()

    async def main() -> None:
        async with AsyncClient(f"127.0.0.1:{port}", retries=NO_RETRY) as client:
            with pytest.raises(needletail.ConnectionFailed, match=str(port)):
                await client.predict("m", ROWS)
        async with AsyncClient("unix:/nowhere/needletail.sock", retries=NO_RETRY) as client:
            with pytest.raises(needletail.ConnectionFailed, match="unix:/nowhere"):
                await client.predict("m", ROWS)

    run(main())


def test_calls_beyond_max_in_flight_wait_until_their_deadline() -> None:
    release = threading.Event()

    def script(peer: Peer) -> None:
        request = peer.expect()
        assert release.wait(5)
        peer.answer(request)
        answer_everything(peer)

    async def main() -> None:
        async with AsyncClient(server.address, max_in_flight=1) as client:
            first = asyncio.ensure_future(client.predict("m", ROWS))
            await asyncio.sleep(0.05)
            with pytest.raises(needletail.PoolExhausted):
                await client.predict("m", ROWS, timeout=0.1)
            release.set()
            assert (await first).version == 1
            assert (await client.predict("m", ROWS)).version == 1

    with FakeServer(script) as server:
        run(main())


def test_a_server_that_does_not_read_holds_no_call_beyond_its_deadline() -> None:
    release = threading.Event()

    def script(peer: Peer) -> None:
        release.wait(5)

    async def main() -> None:
        async with AsyncClient(server.address, retries=NO_RETRY) as client:
            rows = np.zeros((1000, 1000))
            outcomes = await asyncio.gather(
                *(client.predict("m", rows, timeout=0.2) for _ in range(4)), return_exceptions=True
            )
            assert [type(outcome) for outcome in outcomes] == [needletail.DeadlineExceeded] * 4
            release.set()

    with FakeServer(script) as server:
        run(main())


def test_a_client_belongs_to_one_loop_and_says_so() -> None:
    client = AsyncClient("127.0.0.1:1", retries=NO_RETRY)

    async def main() -> None:
        with pytest.raises(needletail.ConnectionFailed):
            await client.health()

    async def other() -> None:
        with pytest.raises(RuntimeError, match="event loop"):
            await client.health()
        await client.close()
        with pytest.raises(RuntimeError, match="closed"):
            await client.health()

    run(main())
    run(other())


def test_closing_fails_the_calls_under_way() -> None:
    async def main() -> None:
        client = AsyncClient(server.address, retries=NO_RETRY)
        calls: list[asyncio.Future[needletail.Prediction]] = [
            asyncio.ensure_future(client.predict("m", ROWS)) for _ in range(3)
        ]
        await asyncio.sleep(0.05)
        await client.close()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [needletail.ConnectionLost] * 3

    with FakeServer(Peer.until_closed) as server:
        run(main())


@pytest.mark.parametrize("name", ["predict", "health", "models", "describe", "metrics", "close"])
def test_both_clients_take_the_same_arguments(name: str) -> None:
    blocking, asynchronous = getattr(Client, name), getattr(AsyncClient, name)
    assert inspect.signature(blocking) == inspect.signature(asynchronous)
    assert inspect.iscoroutinefunction(asynchronous)


def test_both_clients_have_the_same_calls_and_settings() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    def settings(kind: type) -> dict[str, inspect.Parameter]:
        own = {"max_connections", "connections", "max_in_flight"}
        return {name: it for name, it in inspect.signature(kind).parameters.items() if name not in own}

    assert public(Client) == public(AsyncClient)
    assert settings(Client) == settings(AsyncClient)
