#!/usr/bin/env python3
"""Interrupts the Python client at random instructions and looks for lasting damage.

    Tests/clients/interrupt [--count N] [--only NAME] [--seed N]

Every interruption is an exception that the client does not expect. The call that it strikes may fail with it; nothing
else may: no slot is lost, no call hangs, no answer is wrong, and the calls beside it succeed.

    instructions   blocking client, a tracer raises at the n-th instruction of a call
    threads        blocking client, several threads on two connections, PyThreadState_SetAsyncExc at random times
    tasks          asyncio client, a tracer raises at the n-th instruction of four concurrent calls
    uvloop         the same on uvloop
    cancellations  asyncio client, tasks in an endless loop are cancelled at random times: all must end
    greenlets      gevent, greenlets are killed at random times
    forks          fork in the middle of calls: in other threads, and in a signal handler on top of a call
    kills          the server is killed and started again under load
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import faulthandler
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "clients" / "python" / "tests"))

if "--greenlets" in sys.argv:
    from gevent import monkey

    monkey.patch_all()

import needletail  # noqa: E402 (gevent patches what is imported after it)
import numpy as np  # noqa: E402
from needletail import AsyncClient, Client, RetryPolicy  # noqa: E402

PACKAGE = str(Path(needletail.__file__).parent)
LOOPS = str(Path(asyncio.__file__).parent)
#: Seconds that no call of this script takes unless it hangs: their time-out is shorter.
HANG_SECONDS = 60
#: Retries enough for all the calls beside the one that is interrupted.
RETRIES = RetryPolicy(attempts=8, budget_ratio=8, budget_burst=1000)


class Soft(Exception):
    """An interruption as task queues raise it: a soft time limit."""


class Hard(BaseException):
    """An interruption that `except Exception` does not see, as Ctrl-C is one."""


INTERRUPTIONS = (Soft, Hard)


class Tally:
    """What happened, and what should not have."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.injected = self.struck = self.answers = 0
        self.wrong = self.lost_slots = self.hangs = self.beside = 0
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        if len(self.notes) < 5:
            self.notes.append(text)

    def line(self) -> str:
        return (
            f"{self.name:14}{self.injected:7} interruptions, {self.struck:6} struck a call, {self.answers:7} answers: "
            f"{self.wrong} wrong, {self.lost_slots} slots lost, {self.hangs} hangs, {self.beside} other calls failed"
        )

    @property
    def damage(self) -> int:
        return self.wrong + self.lost_slots + self.hangs + self.beside


class Model:
    """A model of the server with the answers that are right."""

    def __init__(self, address: str, names: list[str], rows: Any, labels: list[str]) -> None:
        self.address, self.names, self.rows, self.labels = address, names, rows, labels

    def inputs(self, index: int, form: int) -> Any:
        """One row, in several forms that take different ways through the client."""
        row = self.rows[index : index + 1]
        columns = {name: row[:, column] for column, name in enumerate(self.names)}
        forms: list[Callable[[], Any]] = [
            lambda: row,
            lambda: {"features": row},
            lambda: columns,
            lambda: [dict(zip(self.names, row[0].tolist()))],
            lambda: row.astype(str),
        ]
        return forms[form % len(forms)]()

    def is_right(self, index: int, answer: Any) -> bool:
        return answer.label.tolist() == [self.labels[index]] and answer.model == "wine"


class Injector:
    """Raises at the n-th instruction of the client's frames, and of those that they call, in this thread."""

    def __init__(self) -> None:
        self.left = 0
        self.count = 0
        self.kind: type[BaseException] = Soft
        self.has_fired = False

    def arm(self, instruction: int, kind: type[BaseException]) -> None:
        self.left, self.kind, self.count, self.has_fired = instruction, kind, 0, False
        sys.settrace(self._enter)

    def disarm(self) -> None:
        sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        caller = frame.f_back
        file = frame.f_code.co_filename
        # The insides of asyncio are left alone: a task whose wake-up is interrupted there never runs again, whatever
        # it waits for.
        if not file.startswith(PACKAGE) and (caller is None or caller.f_trace is None or file.startswith(LOOPS)):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            self.count += 1
            if self.count == self.left:
                self.has_fired = True
                sys.settrace(None)
                raise self.kind(f"at instruction {self.left} in {frame.f_code.co_name}")
        return self._step


def slots_held(client: Client) -> int:
    return sum(len(contents.slots) for contents in client._pool._contents.values())


# ---------------------------------------------------------------- blocking


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


# ---------------------------------------------------------------- asyncio


def tasks(model: Model, count: int, dice: random.Random, name: str = "tasks") -> Tally:
    tally = Tally(name)
    injector = Injector()
    lengths: dict[int, int] = {}

    async def ask(client: AsyncClient, form: int) -> None:
        index = dice.randrange(len(model.labels))
        try:
            answer = await client.predict("wine", model.inputs(index, form))
        except INTERRUPTIONS:
            tally.struck += 1
        except needletail.NeedletailError as error:
            tally.beside += 1
            tally.note(repr(error))
        else:
            tally.answers += 1
            if not model.is_right(index, answer):
                tally.wrong += 1

    async def main() -> None:
        # What a callback or a task raises is reported here otherwise; it is what this test raises.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        client = AsyncClient(model.address, connections=2, max_in_flight=3, timeout=10, retries=RETRIES)
        while tally.injected < count:
            form = dice.randrange(5)
            calls = [asyncio.ensure_future(ask(client, form)) for _ in range(4)]
            if dice.random() < 0.1 and client._bound is not None:  # the way over a new connection
                for connection in client._bound.connections:
                    connection.fail(needletail.ConnectionLost("dropped by the test", sent=True))
            length = lengths.get(form, 1 << 60)
            injector.arm(1 + dice.randrange(length) if form in lengths else length, dice.choice(INTERRUPTIONS))
            try:
                done, pending = await asyncio.wait(calls, timeout=HANG_SECONDS / 2)
            finally:
                injector.disarm()
            tally.injected += injector.has_fired
            if form not in lengths:
                lengths[form] = injector.count
            tally.hangs += len(pending)
            for call in pending:
                call.print_stack()
                waiting = call.get_coro()
                while waiting is not None and hasattr(waiting, "cr_await"):
                    print(f"  waits in {waiting.cr_frame}", file=sys.stderr)
                    waiting = waiting.cr_await
            for call in [*pending, *done]:
                call.cancel()
                # An interruption of this test's own task is none of a call.
                if call.done() and not call.cancelled() and isinstance(call.exception(), INTERRUPTIONS):
                    tally.struck += 1
            if client._bound is not None and len(client._bound.turns):
                await asyncio.sleep(0)
                if len(client._bound.turns):
                    tally.lost_slots += 1
                    tally.note("a turn was held after all calls")
            if pending:
                break
        await client.close()

    asyncio.run(main())
    if lengths:
        print(f"  {min(lengths.values())} to {max(lengths.values())} instructions in four calls", flush=True)
    return tally


def with_uvloop(model: Model, count: int, dice: random.Random) -> Tally:
    import uvloop

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        before = asyncio.get_event_loop_policy()
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        try:
            return tasks(model, count, dice, "uvloop")
        finally:
            asyncio.set_event_loop_policy(before)


def cancellations(model: Model, count: int, dice: random.Random) -> Tally:
    tally = Tally("cancellations")

    async def main() -> None:
        client = AsyncClient(model.address, max_in_flight=20, timeout=10, retries=RETRIES)

        async def endless() -> None:
            while True:
                index = dice.randrange(len(model.labels))
                answer = await client.predict("wine", model.inputs(index, 1))
                tally.answers += 1
                tally.wrong += not model.is_right(index, answer)

        while tally.injected < count:
            calls = [asyncio.ensure_future(endless()) for _ in range(min(100, count))]
            await asyncio.sleep(0.02)
            for call in calls:
                if dice.random() < 0.5:
                    await asyncio.sleep(0)
                call.cancel()
            tally.injected += len(calls)
            done, pending = await asyncio.wait(calls, timeout=2)
            tally.struck += len([call for call in done if call.cancelled()])
            tally.beside += len([call for call in done if not call.cancelled()])
            tally.hangs += len(pending)  # tasks that went on
            for call in pending:
                call.cancel()
            if client._bound is not None and not pending:
                tally.lost_slots += len(client._bound.turns)
        await client.close()

    asyncio.run(main())
    return tally


# ---------------------------------------------------------------- greenlets, forks, kills


def greenlets(model: Model, count: int, dice: random.Random) -> Tally:
    """In a process of its own, where gevent has replaced what blocks."""
    command = [sys.executable, __file__, "--greenlets", "--count", str(count), "--seed", str(dice.randrange(1 << 30))]
    given = {"address": model.address, "names": model.names, "rows": model.rows.tolist(), "labels": model.labels}
    import json

    tally = Tally("greenlets")
    try:
        done = subprocess.run(
            command, input=json.dumps(given), capture_output=True, text=True, timeout=HANG_SECONDS + count / 20
        )
        tally.__dict__.update(json.loads(done.stdout.splitlines()[-1]))
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        tally.hangs += 1
        tally.note(repr(error))
        if isinstance(error, (IndexError, ValueError)):
            tally.note(done.stderr[-2000:])
    return tally


def _greenlets_here(count: int, seed: int) -> None:
    import json

    import gevent

    given = json.load(sys.stdin)
    model = Model(given["address"], given["names"], np.array(given["rows"]), given["labels"])
    dice = random.Random(seed)
    tally = Tally("greenlets")
    client = Client(model.address, max_connections=3, timeout=10, retries=RETRIES)

    def endless() -> None:
        while True:
            index = dice.randrange(len(model.labels))
            answer = client.predict("wine", model.inputs(index, dice.randrange(5)))
            tally.answers += 1
            tally.wrong += not model.is_right(index, answer)

    while tally.injected < count:
        crowd = [gevent.spawn(endless) for _ in range(20)]
        gevent.sleep(dice.random() * 0.05)
        for greenlet in crowd:
            greenlet.kill(block=False)
            gevent.sleep(0)
        tally.injected += len(crowd)
        gevent.joinall(crowd, timeout=15)
        tally.hangs += sum(not greenlet.dead for greenlet in crowd)
        tally.struck += sum(isinstance(greenlet.value, gevent.GreenletExit) for greenlet in crowd)
        tally.beside += sum(greenlet.exception is not None for greenlet in crowd)
        for greenlet in crowd:
            if greenlet.exception is not None:
                tally.note(repr(greenlet.exception))
        tally.lost_slots += slots_held(client)
    tally.wrong += not model.is_right(0, client.predict("wine", model.inputs(0, 0)))
    print(json.dumps(tally.__dict__))


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="interruptions of each kind (default: 10000)")
    parser.add_argument("--only", help="this kind only")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--greenlets", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.greenlets:
        _greenlets_here(options.count, options.seed)
        return 0
    from real_server import Server

    print(f"Python {sys.version.split()[0]}, numpy {np.__version__}, seed {options.seed}", flush=True)
    damage = 0
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory))
        try:
            model = Model(server.address, server.names, server.rows, server.labels)
            # A fork costs a process, a kill a start of the server: fewer of them.
            kinds: dict[str, tuple[int, Callable[[int, random.Random], Tally]]] = {
                "instructions": (options.count, lambda count, dice: instructions(model, count, dice)),
                "threads": (options.count, lambda count, dice: threads(model, count, dice)),
                "tasks": (options.count, lambda count, dice: tasks(model, count, dice)),
                "uvloop": (options.count, lambda count, dice: with_uvloop(model, count, dice)),
                "cancellations": (options.count, lambda count, dice: cancellations(model, count, dice)),
                "greenlets": (options.count, lambda count, dice: greenlets(model, count, dice)),
                "forks": (max(options.count // 20, 10), lambda count, dice: forks(model, count, dice)),
                "kills": (max(options.count // 500, 2), lambda count, dice: kills(model, count, dice, server)),
            }
            if options.only and options.only not in kinds:
                parser.error(f"--only: expected one of {', '.join(kinds)}, found {options.only!r}")
            for name, (count, run) in kinds.items():
                if options.only not in (None, name):
                    continue
                # A hang beyond every time-out of the client: all stacks, and the end.
                faulthandler.dump_traceback_later(HANG_SECONDS * 2 + count / 5, exit=True)
                begun = time.monotonic()
                tally = run(count, random.Random(f"{options.seed} {name}"))
                faulthandler.cancel_dump_traceback_later()
                print(f"{tally.line()}, {time.monotonic() - begun:.0f} s", flush=True)
                for note in tally.notes:
                    print(f"  {note}")
                damage += tally.damage
        finally:
            server.close()
    print("no lasting damage" if damage == 0 else f"FAILED: {damage} faults")
    return 1 if damage else 0


if __name__ == "__main__":
    sys.exit(main())
