"""What is left of calls that an exception ends. Tests/clients/interrupt does it at random instructions, and often."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import functools
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from typing import Any

import needletail
import numpy as np
import pytest
from fake_server import FakeServer, Peer
from needletail import AsyncClient, Client, NeedletailError, RetryPolicy
from needletail._slots import Holder, Slots
from needletail.errors import StatusCode, error_for_status
from needletail.retry import RetryBudget

ROWS = {"features": np.array([[1.0, 2.0]])}


# ---------------------------------------------------------------- slots


def test_a_slot_goes_with_its_holder_however_that_ends() -> None:
    slots = Slots(1)
    first, second = Holder(), Holder()
    slots.enter(first)
    slots.enter(second)
    assert slots.has_slot(first) and not slots.has_slot(second)
    del first
    assert slots.has_slot(second)
    slots.leave(second)
    slots.leave(second)
    assert len(slots) == 0 and not slots.has_slot(second)


def test_slots_are_given_in_the_order_of_arrival_and_the_next_is_woken() -> None:
    slots = Slots(2)
    holders = [Holder() for _ in range(5)]
    woken: list[int] = []
    for index, holder in enumerate(holders):
        slots.enter(holder)
        holder.wake_by(functools.partial(woken.append, index))
    assert [slots.has_slot(holder) for holder in holders] == [True, True, False, False, False]
    slots.leave(holders[1])
    assert woken == [2] and slots.has_slot(holders[2])
    slots.leave(holders[3])  # gave up waiting: nobody's turn came
    slots.leave(holders[0])
    assert woken[-1] == 4 and slots.has_slot(holders[4])


def test_an_exception_that_somebody_keeps_holds_no_slot() -> None:
    kept = []
    with FakeServer(Peer.until_closed) as server:
        with Client(server.address, max_connections=1, retries=RetryPolicy(attempts=1)) as client:
            for _ in range(3):
                with pytest.raises(needletail.DeadlineExceeded) as caught:
                    client.predict("m", ROWS, timeout=0.05)
                kept.append(caught.value)
                assert not isinstance(caught.value, needletail.PoolExhausted)


def test_a_budget_of_retries_needs_no_lock() -> None:
    budget = RetryBudget(RetryPolicy(budget_ratio=0.25, budget_burst=2))
    assert [budget.withdraw() for _ in range(3)] == [True, True, False]
    for _ in range(7):
        budget.deposit()
    assert [budget.withdraw() for _ in range(2)] == [True, False]
    assert not any(isinstance(value, type(threading.Lock())) for value in vars(budget).values())


# ---------------------------------------------------------------- signals and forks


def test_a_signal_handler_that_raises_in_the_middle_of_a_call_ends_that_call_only() -> None:
    class TimeLimit(Exception):
        pass

    def handler(*_: Any) -> None:
        raise TimeLimit

    def script(peer: Peer) -> None:
        while True:
            request = peer.read()
            if request is None:
                return
            if request.predict.model == "slow":
                time.sleep(0.3)
            peer.answer(request)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with FakeServer(script) as server, Client(server.address, max_connections=1) as client:
            for _ in range(3):
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                with pytest.raises(TimeLimit):
                    client.predict("slow", ROWS)
                assert client.predict("m", {"features": [[4.0]]}, timeout=2).prediction.tolist() == [4]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_fork_on_top_of_a_call_leaves_the_answer_to_the_parent() -> None:
    children: list[int] = []

    def fork(*_: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
            children.append(os.fork())

    def script(peer: Peer) -> None:
        while True:
            request = peer.read()
            if request is None:
                return
            time.sleep(0.2)
            peer.answer(request)

    before = signal.signal(signal.SIGALRM, fork)
    try:
        with FakeServer(script) as server, Client(server.address, max_connections=1) as client:
            client.predict("m", ROWS)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            # Both processes go on with this call.
            answer = client.predict("m", {"features": [[20.0, 1.0]]}, timeout=5)
            if children[0] == 0:
                os._exit(0 if answer.prediction.tolist() == [21] else 1)
            assert answer.prediction.tolist() == [21]
            _, status = os.waitpid(children[0], 0)
            assert os.waitstatus_to_exitcode(status) == 0
            assert client.predict("m", ROWS).prediction.tolist() == [3]
            assert server.connections == 2
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_fork_while_a_call_waits_for_its_turn_does_not_have_the_child_wait_for_its_parents_threads() -> None:
    children: list[int] = []
    held = threading.Event()
    release = threading.Event()

    def fork(*_: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
            children.append(os.fork())

    def script(peer: Peer) -> None:
        while True:
            request = peer.read()
            if request is None:
                return
            if request.predict.model == "slow":
                held.set()
                release.wait(10)
            peer.answer(request)

    before = signal.signal(signal.SIGALRM, fork)
    try:
        with FakeServer(script) as server, Client(server.address, max_connections=1) as client:
            slow = threading.Thread(target=lambda: client.predict("slow", ROWS, timeout=20))
            slow.start()
            assert held.wait(5)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            threading.Timer(1.5, release.set).start()
            begin = time.monotonic()
            answer = client.predict("m", {"features": [[4.0]]}, timeout=5)
            if children[0] == 0:
                # Before the parent's thread is answered, which the child does not have.
                os._exit(0 if answer.prediction.tolist() == [4] and time.monotonic() - begin < 1 else 1)
            _, status = os.waitpid(children[0], 0)
            assert os.waitstatus_to_exitcode(status) == 0
            slow.join(10)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_an_asyncio_client_of_the_parent_serves_a_loop_of_the_child() -> None:
    async def ask(client: AsyncClient, value: float) -> list[float]:
        answer = await client.predict("m", {"features": [[value]]}, timeout=5)
        return [float(value) for value in answer.prediction]

    with FakeServer() as server:
        client = AsyncClient(server.address)
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(ask(client, 1.0)) == [1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            os._exit(0 if asyncio.run(ask(client, 2.0)) == [2] else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert loop.run_until_complete(ask(client, 3.0)) == [3]
        assert server.connections == 2
        loop.run_until_complete(client.close())
        loop.close()


def test_a_child_does_not_keep_its_parents_connections_open() -> None:
    ended = threading.Event()

    def script(peer: Peer) -> None:
        peer.answer(peer.expect())
        assert peer.read() is None
        ended.set()

    with FakeServer(script) as server, Client(server.address) as client:
        client.predict("m", ROWS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            time.sleep(5)
            os._exit(0)
        client.close()
        assert ended.wait(2), "the connection is still open in the child"
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


# ---------------------------------------------------------------- errors


ERRORS = [
    *(error_for_status(code, "m", 1500) for code in list(StatusCode)[1:]),
    needletail.ConnectionLost("lost", sent=True),
    needletail.ConnectionLost("lost", sent=False),
    needletail.ConnectionFailed("no"),
    needletail.PoolExhausted("full"),
    needletail.ProtocolError("what"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_can_be_pickled_and_copied(error: NeedletailError) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    assert str(copy.copy(error)) == str(error) and copy.deepcopy(error).args == error.args


def _lose() -> None:
    raise needletail.ConnectionLost("lost", sent=True)


def test_an_error_crosses_a_process_pool() -> None:
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        with pytest.raises(needletail.ConnectionLost, match="lost") as caught:
            pool.submit(_lose).result(timeout=60)
        assert caught.value.sent


# ---------------------------------------------------------------- greenlets

GREENLETS = """
from gevent import monkey
monkey.patch_all()
import sys
import gevent
import needletail

address = sys.argv[1]
client = needletail.Client(address, max_connections=2)

def endless():
    while True:
        client.predict("m", {"features": [[1.0, 2.0]]})

for _ in range(20):
    crowd = [gevent.spawn(endless) for _ in range(6)]
    gevent.sleep(0.01)
    gevent.killall(crowd, timeout=5)
    assert all(greenlet.dead for greenlet in crowd)
together = [gevent.spawn(client.predict, "m", {"features": [[4.0]]}, timeout=2) for _ in range(2)]
gevent.joinall(together, timeout=5, raise_error=True)
assert [greenlet.value.prediction.tolist() for greenlet in together] == [[4]] * 2
"""


def test_killed_greenlets_lose_no_slot() -> None:
    pytest.importorskip("gevent")
    with FakeServer() as server:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", GREENLETS, server.address],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert done.returncode == 0, done.stderr
