"""What callers of the model `wine` do, and what becomes of the cases.

    world.py ADDRESS DIRECTORY

A delivery is some wines, each a little off one of the table's; all are asked in one call, which has a name. A second
later the laboratory knows what they were, and reports it under that name. Once DIRECTORY/drift exists, proline comes in
grams and no longer in milligrams. Once DIRECTORY/stop exists, it ends. A call that fails ends it, with status 1.
"""

import collections
import csv
import random
import sys
import time
from pathlib import Path

from needletail import Client, Outcome

#: Wines of one delivery.
WINES = 32
#: Seconds from one delivery to the next.
PAUSE = 0.05
#: Seconds that the laboratory takes.
DELAY = 1.0

address, directory = sys.argv[1], Path(sys.argv[2])
with (Path(__file__).parents[1] / "wine/wine.csv").open(newline="") as file:
    table = list(csv.DictReader(file))
draws = random.Random(1)


def wine() -> dict[str, str | float]:
    """One that the table does not have: each figure lies within some per cent of a real one's."""
    row: dict[str, str | float] = dict(draws.choice(table))
    for name, value in row.items():
        if name != "cultivar":
            row[name] = float(value) * draws.gauss(1, 0.03)
    if (directory / "drift").exists():
        row["proline"] = float(row["proline"]) / 1000
    return row


waiting: collections.deque[tuple[float, list[Outcome]]] = collections.deque()
calls = reported = joined = 0
with Client(address) as client:
    while not (directory / "stop").exists():
        wines = [wine() for _ in range(WINES)]
        truths = [str(row.pop("cultivar")) for row in wines]
        name = f"delivery-{calls}"
        client.predict("wine", wines, key=name)
        calls += 1
        known = [Outcome(name, truth, row) for row, truth in enumerate(truths)]
        waiting.append((time.monotonic() + DELAY, known))
        while waiting and waiting[0][0] <= time.monotonic():
            outcomes = waiting.popleft()[1]
            reported += len(outcomes)
            joined += client.feedback("wine", outcomes).joined
        time.sleep(PAUSE)
print(f"{calls} calls, none failed; {joined} of {reported} outcomes found their predictions")
if joined < reported:
    sys.exit(1)
