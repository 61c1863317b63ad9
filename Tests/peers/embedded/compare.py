"""Measures a call of libneedletail with one row beside a run of its plan.

Usage: compare.py TIMER BUNDLE [--json]

TIMER runs the bare plan and the function of C in turns, in one process; here the same model is asked from Python.
Medians of rounds count.
"""

import argparse
import json
import statistics
import subprocess
import time

import needletail
import numpy as np

ROUNDS, CALLS = 15, 20_000


def microseconds(call) -> float:
    """Median over the rounds of what a call takes."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        for _ in range(CALLS):
            call()
        rounds.append((time.perf_counter_ns() - start) / CALLS / 1000)
    return statistics.median(rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="Tests/peers/run embedded")
    parser.add_argument("timer")
    parser.add_argument("bundle")
    parser.add_argument("--json", action="store_true", help="one object a line instead of a table")
    options = parser.parse_args()
    run = subprocess.run([options.timer, options.bundle], check=True, capture_output=True, text=True)
    timed = json.loads(run.stdout)
    plan = timed["plan"] / 1000
    rows = [("C, one row", timed["call"] / 1000, "bare plan", "<= 1.3 x", timed["call"] <= 1.3 * timed["plan"])]
    model = needletail.load(options.bundle, allow_unsigned=True)
    for dtype in (np.float32, np.float64):
        row = np.ones((1, len(model.describe().inputs)), dtype=dtype)
        taken = microseconds(lambda row=row: model.predict(row))
        rows.append((f"Python, one row of {np.dtype(dtype)}", taken, "bare plan", "<= 4 us", taken <= 4))
    for name, ours, peer, needed, holds in rows:
        if options.json:
            record = {"name": f"embedded: {name}", "ours": ours, "peer": plan, "peer_name": peer, "unit": "us"}
            print(json.dumps(record | {"ratio": ours / plan, "needed": needed, "holds": holds}))
        else:
            verdict = "holds" if holds else "MISSED"
            print(f"{name:28} {ours:7.3f} us  {peer} {plan:7.3f} us  {ours / plan:5.2f} x  {needed:9} {verdict}")


main()
