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
import faulthandler
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "clients" / "python" / "tests"))

import blocking  # noqa: E402
import loops  # noqa: E402 (first: it has gevent replace what blocks, if asked to)
import numpy as np  # noqa: E402
import processes  # noqa: E402
from harness import HANG_SECONDS, INTERRUPTIONS, Model, Tally  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="interruptions of each kind (default: 10000)")
    parser.add_argument("--only", help="this kind only")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--greenlets", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.greenlets:
        loops.greenlets_here(options.count, options.seed)
        return 0
    from real_server import Server

    print(f"Python {sys.version.split()[0]}, numpy {np.__version__}, seed {options.seed}", flush=True)
    damage = 0
    # An interruption of a destructor or of a weak reference's callback ends only that, and is reported here.
    sys.unraisablehook = lambda event: (
        None if isinstance(event.exc_value, INTERRUPTIONS) else sys.__unraisablehook__(event)
    )
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory))
        try:
            model = Model(server.address, server.names, server.rows, server.labels)
            # A fork costs a process, a kill a start of the server: fewer of them.
            kinds: dict[str, tuple[int, Callable[[int, random.Random], Tally]]] = {
                "instructions": (options.count, lambda count, dice: blocking.instructions(model, count, dice)),
                "threads": (options.count, lambda count, dice: blocking.threads(model, count, dice)),
                "tasks": (options.count, lambda count, dice: loops.tasks(model, count, dice)),
                "uvloop": (options.count, lambda count, dice: loops.with_uvloop(model, count, dice)),
                "cancellations": (options.count, lambda count, dice: loops.cancellations(model, count, dice)),
                "greenlets": (options.count, lambda count, dice: loops.greenlets(model, count, dice)),
                "forks": (max(options.count // 20, 10), lambda count, dice: processes.forks(model, count, dice)),
                "kills": (
                    max(options.count // 500, 2),
                    lambda count, dice: processes.kills(model, count, dice, server),
                ),
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
