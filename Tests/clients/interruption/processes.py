"""The blocking client in processes that fork, and on a server that is killed."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
import warnings
from typing import Any

import needletail
from harness import HANG_SECONDS, RETRIES, Model, Tally, slots_held
from needletail import Client


def forks(model: Model, count: int, dice: random.Random) -> Tally:
    tally = Tally("forks")
    client = Client(model.address, max_connections=3, timeout=10, retries=RETRIES)
    stop = threading.Event()
    children: list[int] = []
    warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads

    def checked(index: int, form: int) -> None:
        try:
            answer = client.predict("wine", model.inputs(index, form))
        except needletail.NeedletailError as error:
            tally.beside += 1
            tally.note(repr(error))
        else:
            tally.answers += 1
            if not model.is_right(index, answer):
                tally.wrong += 1

    def work(worker: int) -> None:
        own = random.Random(worker)
        while not stop.is_set():
            checked(own.randrange(len(model.labels)), own.randrange(5))

    parent = os.getpid()

    def fork(*_: object) -> None:
        children.append(os.fork())

    def end_of_child() -> None:
        """Three more calls in the child. Its exit status is the number of those that went wrong."""
        faults = tally.wrong + tally.beside
        for index in range(3):
            checked(index, index)
        os._exit(min(99, tally.wrong + tally.beside - faults + slots_held(client)))

    workers = [threading.Thread(target=work, args=(worker,)) for worker in range(3)]
    for thread in workers:
        thread.start()
    before = signal.signal(signal.SIGALRM, fork)
    for number in range(count):
        tally.injected += 1
        children.clear()
        if number % 2:  # on top of a call of this thread, which both processes then go on with
            faults = tally.wrong + tally.beside
            signal.setitimer(signal.ITIMER_REAL, 0.0002 + dice.random() * 0.003)
            while not children:
                checked(dice.randrange(len(model.labels)), dice.randrange(5))
            if os.getpid() != parent:
                if tally.wrong + tally.beside > faults:
                    print(f"  child {number}: {tally.notes[-1:]}", file=sys.stderr, flush=True)
                    os._exit(88)
                end_of_child()
        else:
            fork()
            if os.getpid() != parent:
                end_of_child()
        tally.struck += 1
        deadline = time.monotonic() + 20
        while True:
            ended, status = os.waitpid(children[0], os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                if code:
                    tally.wrong += 1
                    tally.note(f"child {number} ended with {code}")
                break
            if time.monotonic() > deadline:
                os.kill(children[0], signal.SIGKILL)
                os.waitpid(children[0], 0)
                tally.hangs += 1
                tally.note(f"child {number} hangs")
                break
            time.sleep(0.002)
    signal.signal(signal.SIGALRM, before)
    stop.set()
    for thread in workers:
        thread.join(HANG_SECONDS)
        tally.hangs += thread.is_alive()
    tally.lost_slots += slots_held(client)
    client.close()
    return tally


def kills(model: Model, count: int, dice: random.Random, server: Any) -> Tally:
    tally = Tally("kills")
    client = Client(model.address, max_connections=3, timeout=10, retries=RETRIES)
    stop = threading.Event()
    successes = [0]

    def work(worker: int) -> None:
        own = random.Random(worker)
        while not stop.is_set():
            index = own.randrange(len(model.labels))
            try:
                answer = client.predict("wine", model.inputs(index, own.randrange(5)))
            except needletail.Unavailable:
                tally.struck += 1
                stop.wait(0.01)
            except needletail.NeedletailError as error:
                tally.beside += 1
                tally.note(repr(error))
            else:
                tally.answers += 1
                successes[0] += 1
                tally.wrong += not model.is_right(index, answer)

    workers = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
    for thread in workers:
        thread.start()
    for _ in range(count):
        time.sleep(0.1 + dice.random() * 0.1)
        server.kill()
        server.start(model.address)
        tally.injected += 1
        before, deadline = successes[0], time.monotonic() + 20
        while successes[0] < before + 50 and time.monotonic() < deadline:
            time.sleep(0.01)
        if successes[0] < before + 50:
            tally.hangs += 1
            tally.note("no calls after the server came back")
    stop.set()
    for thread in workers:
        thread.join(HANG_SECONDS)
        tally.hangs += thread.is_alive()
    tally.lost_slots += slots_held(client)
    client.close()
    return tally
