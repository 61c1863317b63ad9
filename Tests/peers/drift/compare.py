"""Compares live statistics with Evidently's: compare.py DRIVER [--json] [--seeds N].

Figures: Evidently's PSI and Jensen-Shannon distance of the cells that ours were counted in must be ours.

Detection: columns of 10,000 training rows, windows of 1,000 live rows, moved in three ways (the mean of a number, its
spread, the mix of six categories) by five sizes, the first of which is none. A window is found by us where its level is
a warning or an alert, by Evidently where its PSI, over cells of its own, is 0.1 or more.
"""

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from evidently.legacy.calculations.stattests.jensenshannon import _jensenshannon
from evidently.legacy.calculations.stattests.psi import _psi
from evidently.legacy.core import ColumnType

TRAINED, LIVE = 10_000, 1_000
SIZES = [0.0, 0.15, 0.3, 0.6, 1.2]
KINDS = ["mean", "spread", "mix"]
MIX = np.array([0.35, 0.25, 0.15, 0.12, 0.08, 0.05])


@dataclass
class Window:
    kind: str
    size: float
    trained: np.ndarray
    live: np.ndarray

    @property
    def type(self) -> ColumnType:
        return ColumnType.Categorical if self.kind == "mix" else ColumnType.Numerical

    def baseline(self) -> dict:
        """What the trainer records: tenths of the training rows, or counts of categories."""
        if self.kind == "mix":
            return {"counts": np.bincount(self.trained, minlength=len(MIX)).tolist()}
        edges = np.unique(np.quantile(self.trained, np.linspace(0, 1, 11)))
        return {"edges": edges.tolist(), "counts": np.histogram(self.trained, edges)[0].tolist()}


def windows(seeds: int) -> Iterator[Window]:
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        for kind in KINDS:
            for size in SIZES:
                if kind == "mix":
                    moved = MIX.copy()
                    moved[-1] += 0.2 * size
                    moved /= moved.sum()
                    trained = random.choice(len(MIX), TRAINED, p=MIX)
                    live = random.choice(len(MIX), LIVE, p=moved)
                else:
                    # A skewed number, as most are.
                    trained = random.gamma(3, 1, TRAINED)
                    mean, spread = (size * 1.7, 1) if kind == "mean" else (0, 1 + size)
                    live = 3 + mean + spread * (random.gamma(3, 1, LIVE) - 3)
                yield Window(kind, size, trained, live)


def figures(driver: str, some: list[Window]) -> list[dict]:
    lines = "".join(json.dumps(w.baseline() | {"live": w.live.tolist()}) + "\n" for w in some)
    done = subprocess.run([driver], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def repeated(counts: list[int]) -> pd.Series:
    return pd.Series(np.repeat(np.arange(len(counts)), counts))


def row(as_json: bool, name: str, ours: float, peer: float | None, needed: float, holds: bool) -> None:
    if as_json:
        row = {"name": name, "ours": ours, "peer": peer, "peer_name": "Evidently", "unit": "", "needed": needed}
        print(json.dumps(row | {"ratio": ours / peer if peer else None, "holds": holds}))
    else:
        beside = "" if peer is None else f"{peer:10.4g} Evidently"
        print(f"{name:52} {ours:10.4g} {beside:22} needed {needed:<8.3g} {'holds' if holds else 'MISSED'}")


def main(driver: str, options: list[str]) -> None:
    warnings.filterwarnings("ignore")
    as_json = "--json" in options
    seeds = int(options[options.index("--seeds") + 1]) if "--seeds" in options else 20
    some = list(windows(seeds))
    ours = figures(driver, some)

    worst = 0.0
    found: dict[tuple[str, float], list[tuple[bool, bool]]] = {}
    for window, mine in zip(some, ours, strict=True):
        counts = window.baseline()["counts"]
        cells = mine["cells"]
        # A column of categories has a cell for those that nobody named.
        reference = repeated(counts + [0] * (len(cells) - len(counts)))
        psi = float(_psi(reference, repeated(cells), ColumnType.Categorical, 0.1)[0])
        distance = float(_jensenshannon(reference, repeated(cells), ColumnType.Categorical, 0.1)[0])
        worst = max(worst, abs(psi - mine["psi"]), abs(distance - mine["jensenShannon"]))
        theirs = bool(_psi(pd.Series(window.trained), pd.Series(window.live), window.type, 0.1)[1])
        found.setdefault((window.kind, window.size), []).append((mine["level"] in ("warning", "alert"), theirs))
    row(as_json, "largest difference of a figure, same cells", worst, None, 1e-6, worst <= 1e-6)
    for (kind, size), pairs in found.items():
        mine, theirs = (float(np.mean([pair[side] for pair in pairs])) for side in (0, 1))
        if size == 0:
            row(as_json, f"{kind} unmoved: false alarms", mine, theirs, 0.01, mine <= 0.01)
        else:
            row(as_json, f"{kind} moved by {size}: found", mine, theirs, theirs, mine >= theirs)
    # What does not move, by the thousand: 1 % must be seen to be a bound.
    random = np.random.default_rng(seeds)
    still = [
        Window("mean", 0, random.gamma(3, 1, TRAINED), random.gamma(3, 1, rows))
        for rows in (100, 200, 500, LIVE)
        for _ in range(250)
    ]
    alarms = float(np.mean([mine["level"] in ("warning", "alert") for mine in figures(driver, still)]))
    row(as_json, "false alarms in 1,000 windows of 100 to 1,000 rows", alarms, None, 0.01, alarms <= 0.01)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
