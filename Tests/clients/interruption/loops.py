"""The asyncio client, and the blocking one under gevent."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import warnings
from pathlib import Path

if "--greenlets" in sys.argv:
    from gevent import monkey

    monkey.patch_all()

import needletail  # noqa: E402 (gevent patches what is imported after it)
import numpy as np  # noqa: E402
from harness import HANG_SECONDS, INTERRUPTIONS, RETRIES, Injector, Model, Tally, slots_held  # noqa: E402
from needletail import AsyncClient, Client  # noqa: E402


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


def greenlets(model: Model, count: int, dice: random.Random) -> Tally:
    """In a process of its own, where gevent has replaced what blocks."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("main.py")),
        "--greenlets",
        "--count",
        str(count),
        "--seed",
        str(dice.randrange(1 << 30)),
    ]
    given = {"address": model.address, "names": model.names, "rows": model.rows.tolist(), "labels": model.labels}
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


def greenlets_here(count: int, seed: int) -> None:
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
