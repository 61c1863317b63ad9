"""The blocking client: exceptions at instructions, and in threads at random times."""

from __future__ import annotations

import ctypes
import faulthandler
import random
import threading
import time

import needletail
from harness import HANG_SECONDS, INTERRUPTIONS, RETRIES, Injector, Model, Tally, slots_held
from needletail import Client


def instructions(model: Model, count: int, dice: random.Random) -> Tally:
    tally = Tally("instructions")
    injector = Injector()
    client = Client(model.address, max_connections=2, timeout=10, retries=RETRIES)
    lengths: dict[tuple[int, bool], int] = {}

    def ask(index: int, form: int, instruction: int) -> None:
        begun = time.monotonic()
        try:
            injector.arm(instruction, dice.choice(INTERRUPTIONS))
            try:
                answer = client.predict("wine", model.inputs(index, form))
            finally:
                injector.disarm()
            tally.answers += 1
            if not model.is_right(index, answer):
                tally.wrong += 1
                tally.note(f"row {index} in form {form}: {answer.label} at instruction {instruction}")
        except INTERRUPTIONS:
            tally.struck += 1
        except needletail.NeedletailError as error:
            tally.beside += 1
            tally.note(f"{error!r} at instruction {instruction} of form {form}")
        if time.monotonic() - begun > 9:
            tally.hangs += 1

    while tally.injected < count:
        form, is_new = dice.randrange(5), dice.random() < 0.2
        index = dice.randrange(len(model.labels))
        if is_new:  # the way over a new connection
            client._pool._own().close_idle()
        length = lengths.get((form, is_new))
        if length is None:
            ask(index, form, 1 << 60)  # the instructions of such a call
            lengths[form, is_new] = injector.count
            continue
        ask(index, form, 1 + dice.randrange(length))
        if injector.has_fired:
            tally.injected += 1
            if slots_held(client):
                tally.lost_slots += 1
                tally.note("a slot was held after a call")
        # Two calls at once, as many as there are slots: nothing is lost, and nobody waits.
        if tally.injected % 50 == 0 and not _answers_at_once(client, model, 2):
            tally.lost_slots += 1
    print(f"  {min(lengths.values())} to {max(lengths.values())} instructions a call", flush=True)
    client.close()
    return tally


def _answers_at_once(client: Client, model: Model, calls: int) -> bool:
    """Whether so many calls at the same time are answered."""
    together = threading.Barrier(calls)
    right: list[bool] = []

    def ask() -> None:
        together.wait(10)
        right.append(model.is_right(0, client.predict("wine", model.inputs(0, 1), timeout=8)))

    threads = [threading.Thread(target=ask) for _ in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return len(right) == calls and all(right)


def threads(model: Model, count: int, dice: random.Random) -> Tally:
    tally = Tally("threads")
    client = Client(model.address, max_connections=2, timeout=20, retries=RETRIES)
    stop = threading.Event()
    progress = [0] * 6

    def calls(worker: int, own: random.Random) -> None:
        while not stop.is_set():
            index = own.randrange(len(model.labels))
            try:
                answer = client.predict("wine", model.inputs(index, own.randrange(5)))
            except needletail.NeedletailError as error:
                tally.beside += 1
                tally.note(repr(error))
            else:
                tally.answers += 1
                if not model.is_right(index, answer):
                    tally.wrong += 1
                    tally.note(f"row {index}: {answer.label}")
            progress[worker] += 1

    def work(worker: int) -> None:
        own = random.Random(worker)
        while not stop.is_set():
            try:
                calls(worker, own)
            except INTERRUPTIONS:
                tally.struck += 1

    def outer(worker: int) -> None:
        while not stop.is_set():
            try:
                work(worker)
            except INTERRUPTIONS:  # in the handler above
                continue

    workers = [threading.Thread(target=outer, args=(worker,)) for worker in range(len(progress))]
    for thread in workers:
        thread.start()
    while tally.injected < count:
        before = progress.copy()
        for _ in range(200):
            target = dice.choice(workers)
            kind = ctypes.py_object(dice.choice(INTERRUPTIONS))
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(target.ident or 0), kind)
            tally.injected += 1
            time.sleep(dice.random() * 0.004)
        deadline = time.monotonic() + HANG_SECONDS / 2
        while any(now == then for now, then in zip(progress, before)) and time.monotonic() < deadline:
            time.sleep(0.01)
        stuck = sum(now == then for now, then in zip(progress, before))
        if stuck:
            tally.hangs += stuck
            faulthandler.dump_traceback(all_threads=True)
            break
    stop.set()
    for thread in workers:
        thread.join(HANG_SECONDS)
        tally.hangs += thread.is_alive()
    if slots_held(client) or not _answers_at_once(client, model, 2):
        tally.lost_slots += 1
    client.close()
    return tally
