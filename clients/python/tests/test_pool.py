"""The pool: bounded, shared by threads, not shared by processes."""

from __future__ import annotations

import os
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import needletail
import numpy as np
import pytest
from fake_server import FakeServer, Peer
from needletail import Client, RetryPolicy

# By the name of the tensor: sent as it is, whatever the model wants, without asking for that first.
ROWS = {"features": np.array([[1.0, 2.0]])}


def test_threads_share_at_most_so_many_connections_and_get_their_own_answers() -> None:
    with FakeServer() as server, Client(server.address, max_connections=3) as client:

        def work(index: int) -> None:
            for step in range(25):
                answer = client.predict("m", np.array([[float(index), float(step)]]))
                assert answer.prediction.tolist() == [index + step]

        with ThreadPoolExecutor(12) as threads:
            for result in [threads.submit(work, index) for index in range(12)]:
                result.result()
        assert 1 <= server.connections <= 3


def test_calls_beyond_the_bound_wait_until_their_deadline() -> None:
    held = threading.Event()
    release = threading.Event()

    def script(peer: Peer) -> None:
        request = peer.expect()
        held.set()
        assert release.wait(5)
        peer.answer(request)

    with FakeServer(script) as server, Client(server.address, max_connections=1) as client:
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(client.predict, "m", ROWS)
            assert held.wait(5)
            begin = time.monotonic()
            with pytest.raises(needletail.PoolExhausted, match="1 of 1 in use"):
                client.predict("m", ROWS, timeout=0.1)
            assert 0.1 <= time.monotonic() - begin < 1
            release.set()
            assert first.result().prediction.tolist() == [3]
        assert server.connections == 1


def test_a_waiting_call_gets_the_connection_that_comes_back() -> None:
    held = threading.Event()
    release = threading.Event()

    def script(peer: Peer) -> None:
        request = peer.expect()
        held.set()
        assert release.wait(5)
        peer.answer(request)
        peer.answer(peer.expect())

    with FakeServer(script) as server, Client(server.address, max_connections=1) as client:
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(client.predict, "m", ROWS)
            assert held.wait(5)
            second = threads.submit(client.predict, "m", ROWS, timeout=None)
            time.sleep(0.05)
            release.set()
            first.result()
            second.result(timeout=5)
        assert server.connections == 1


def test_failed_connections_do_not_use_up_the_pool() -> None:
    retries = RetryPolicy(attempts=1)
    with FakeServer() as server:
        server.stop_listening()
        with Client(server.address, max_connections=2, retries=retries) as client:
            for _ in range(5):
                with pytest.raises(needletail.ConnectionFailed):
                    client.predict("m", ROWS)
    with FakeServer(lambda peer: None) as server:
        with Client(server.address, max_connections=2, retries=retries) as client:
            for _ in range(5):
                with pytest.raises(needletail.ConnectionLost):
                    client.predict("m", ROWS)


def test_closing_wakes_those_who_wait() -> None:
    held = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect()
        held.set()
        peer.until_closed()

    with FakeServer(script) as server:
        client = Client(server.address, max_connections=1, retries=RetryPolicy(attempts=1))
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(client.predict, "m", ROWS, timeout=0.3)
            assert held.wait(5)
            second = threads.submit(client.predict, "m", ROWS, timeout=None)
            time.sleep(0.05)
            client.close()
            with pytest.raises(RuntimeError, match="closed"):
                second.result(timeout=5)
            with pytest.raises(needletail.DeadlineExceeded):
                first.result(timeout=5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_its_own_connections_and_its_parent_keeps_its_own() -> None:
    with FakeServer() as server, Client(server.address, max_connections=1) as client:
        client.predict("m", ROWS)
        if True:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
                child = os.fork()
            if child == 0:
                status = 1
                try:
                    answers = [client.predict("m", np.array([[20.0, float(i)]])).prediction[0] for i in range(3)]
                    status = 0 if answers == [20, 21, 22] else 2
                finally:
                    os._exit(status)
        for _ in range(20):
            assert client.predict("m", ROWS).prediction.tolist() == [3]
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert client.predict("m", ROWS).prediction.tolist() == [3]
        assert server.connections == 2
