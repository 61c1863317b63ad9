"""Times the reading of CSV beside pandas and Polars on one file in memory, each on one thread."""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

os.environ["POLARS_MAX_THREADS"] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import polars as pl  # noqa: E402

NEEDED_MB_A_SECOND = 300


def write(path: Path, rows: int) -> None:
    """Twenty columns of numbers with digits, six of small whole numbers, four of words."""
    random = np.random.default_rng(1)
    columns = {f"x{i}": random.normal(size=rows).round(6) for i in range(20)}
    columns |= {f"n{i}": random.integers(0, 1000, rows) for i in range(6)}
    columns |= {f"w{i}": random.choice([f"word{j}" for j in range(50)], rows) for i in range(4)}
    pd.DataFrame(columns).to_csv(path, index=False)


def best(body: Callable[[], object], times: int = 3) -> float:
    found = []
    for _ in range(times):
        start = time.perf_counter()
        body()
        found.append(time.perf_counter() - start)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("timer")
    parser.add_argument("work", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=300_000)
    options = parser.parse_args()
    path = options.work / "table.csv"
    write(path, options.rows)
    megabytes = path.stat().st_size / 1e6
    output = subprocess.run([options.timer, path], check=True, capture_output=True, text=True).stdout
    split, untyped, columns = (float(word) for word in output.split())
    ours, both = megabytes / columns, megabytes / untyped
    pandas = megabytes / best(lambda: pd.read_csv(path))
    polars = megabytes / best(lambda: pl.read_csv(path, n_threads=1))
    rows = [
        ("splitting into fields", megabytes / split, NEEDED_MB_A_SECOND, "needed"),
        ("reading columns", ours, NEEDED_MB_A_SECOND, "needed"),
        ("reading columns", ours, pandas, "pandas, C engine"),
        ("reading columns", ours, polars, "Polars, one thread"),
        # The trainer looks at every row before it says what a column holds; pandas does so too, Polars at 100.
        ("finding types, reading", both, pandas, "pandas, C engine"),
        ("finding types, reading", both, polars, "Polars, one thread"),
    ]
    if not options.json:
        print(f"{megabytes:.0f} MB, {options.rows} rows of 30 columns; MB/s")
    for name, own, peer, peer_name in rows:
        holds = own >= peer
        if options.json:
            record = {
                "name": f"csv {name}",
                "ours": own,
                "peer": peer,
                "peer_name": peer_name,
                "unit": "MB/s",
                "ratio": own / peer,
                "needed": 1,
                "holds": holds,
            }
            print(json.dumps(record))
        else:
            print(f"  {name:24}{own:8.0f}   {peer_name:20}{peer:8.0f}   {'holds' if holds else 'falls short'}")


main()
