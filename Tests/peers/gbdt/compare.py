"""Measures training of boosted trees beside other libraries: time, memory and held-out loss.

Usage: compare.py TRAINER WORK [--json] [--all]
       compare.py --peer NAME WORK        one training of a library, in a process of its own

500 trees of 63 leaves on 28 columns of numbers, or 200 columns of 0 and 1 that write 20 categories out, two classes,
two threads, learning rate 0.1, 255 bins, no penalty, no early stopping; CatBoost grows oblivious trees of depth 6
instead. Time is that from the rows in memory to the model, binning included. Memory is the largest resident set up to
that moment, the rows that the process holds included. The programs take turns, and the medians of the rounds count.
"""

import csv
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

COLUMNS, TREES, LEAVES, RATE, THREADS = 28, 500, 63, 0.1, 2


class Shape(NamedTuple):
    """One table; rounds are as many as its time allows."""

    rows: int
    rounds: int
    is_sparse: bool = False
    is_long: bool = False

    def __str__(self) -> str:
        return f"{self.rows} x {200 if self.is_sparse else COLUMNS}{' sparse' if self.is_sparse else ''}"


SHAPES = [Shape(100_000, 3), Shape(100_000, 3, is_sparse=True), Shape(1_000_000, 1, is_long=True)]
# Peers beside LightGBM are for information, and on the small table only.
OTHERS = ("xgboost", "catboost", "ydf")


def make(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns of different distributions, half of them noise or echoes, and classes that overlap."""
    random = np.random.default_rng(11)
    x = random.normal(size=(rows, COLUMNS))
    x[:, 7:14] = np.exp(0.5 * x[:, 7:14])
    x[:, 14:18] = np.round(4 * x[:, 14:18])
    x[:, 18:22] = x[:, :4] + 0.7 * x[:, 18:22]
    score = x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + 0.7 * x[:, 7] - 0.4 * x[:, 8] * (x[:, 3] > 0)
    score += 0.1 * x[:, 14] + 0.5 * np.abs(x[:, 4]) + 0.3 * x[:, 9] * x[:, 5] - 1.1
    return x.astype(np.float32).astype(float), (score + random.logistic(size=rows) * 0.6 > 0).astype(int)


def make_sparse(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Twenty categories of ten values, written out as columns of 0 and 1, with effects that depend on each other."""
    random = np.random.default_rng(12)
    codes = random.integers(0, 10, (rows, 20))
    single, double = random.normal(size=(20, 10)), random.normal(size=(5, 10, 10))
    score = 0.3 * sum(single[i][codes[:, i]] for i in range(20))
    score += 0.5 * sum(double[i][codes[:, 2 * i], codes[:, 2 * i + 1]] for i in range(5))
    x = np.zeros((rows, 200))
    for i in range(20):
        x[np.arange(rows), 10 * i + codes[:, i]] = 1
    return x, (score + random.logistic(size=rows) * 0.6 > 0).astype(int)


def log_loss(truth: np.ndarray, p: np.ndarray) -> float:
    p = np.clip(np.where(truth == 1, p, 1 - p), 1e-15, 1)
    return float(-np.mean(np.log(p)))


def peer(name: str, work: Path) -> None:
    x, y, train, test = (np.load(work / f"{part}.npy") for part in ("x", "y", "train", "test"))
    held, held_y = x[test], y[test]
    x, y = x[train], y[train]
    started = time.monotonic()
    if name == "lightgbm":
        import lightgbm

        model = lightgbm.train(
            {"objective": "binary", "num_leaves": LEAVES, "learning_rate": RATE, "num_threads": THREADS, "verbose": -1},
            lightgbm.Dataset(x, y),
            TREES,
        )
        predict = model.predict
    elif name == "xgboost":
        import xgboost

        model = xgboost.train(
            {
                "objective": "binary:logistic", "max_leaves": LEAVES, "max_depth": 0, "grow_policy": "lossguide",
                "eta": RATE, "lambda": 0, "max_bin": 255, "nthread": THREADS, "tree_method": "hist",
            },
            xgboost.QuantileDMatrix(x, y, max_bin=255, nthread=THREADS),
            TREES,
        )  # fmt: skip
        predict = lambda rows: model.predict(xgboost.DMatrix(rows))  # noqa: E731
    elif name == "catboost":
        import catboost

        model = catboost.CatBoostClassifier(
            iterations=TREES, depth=6, learning_rate=RATE, thread_count=THREADS, border_count=254, verbose=False,
            allow_writing_files=False,
        )  # fmt: skip
        model.fit(x, y)
        predict = lambda rows: model.predict_proba(rows)[:, 1]  # noqa: E731
    else:
        import ydf

        ydf.verbose(0)
        columns = {f"x{i}": x[:, i] for i in range(x.shape[1])}
        model = ydf.GradientBoostedTreesLearner(
            label="y", num_trees=TREES, shrinkage=RATE, growing_strategy="BEST_FIRST_GLOBAL", max_num_nodes=LEAVES,
            max_depth=-1, num_threads=THREADS, validation_ratio=0.0, early_stopping="NONE",
            discretize_numerical_columns=True, num_discretized_numerical_bins=255,
        ).train(columns | {"y": y})  # fmt: skip
        predict = lambda rows: model.predict({f"x{i}": rows[:, i] for i in range(rows.shape[1])})  # noqa: E731
    seconds = time.monotonic() - started
    # Not ru_maxrss, which begins with the peak of the process that started this one.
    memory = peak_memory(os.getpid())
    print(json.dumps({"seconds": seconds, "memory": memory, "loss": log_loss(held_y, np.asarray(predict(held)))}))


def peak_memory(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return math.nan


def ours(trainer: str, work: Path) -> dict[str, float]:
    """Runs the trainer, and takes time and memory between the lines that name its stages."""
    process = subprocess.Popen(
        [trainer, "train", str(work / "run.yaml"), "--output", str(work / "out")],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    started = seconds = memory = math.nan
    assert process.stderr
    for line in process.stderr:
        if line.startswith("fitting"):
            started = time.monotonic()
        if line.startswith("measuring"):
            seconds, memory = time.monotonic() - started, peak_memory(process.pid)
    if process.wait() != 0:
        raise SystemExit(f"{trainer}: expected exit status 0, found {process.returncode}")
    return {"seconds": seconds, "memory": memory}


def prepare(shape: Shape, trainer: str, work: Path) -> dict[str, float]:
    """Writes the table for all, lets the trainer split it, and returns the trainer's first measurement."""
    rows = shape.rows
    held = max(rows // 10, 20_000)
    x, y = (make_sparse if shape.is_sparse else make)(rows + held)
    with (work / "data.csv").open("w") as file:
        file.write(",".join(f"x{i}" for i in range(x.shape[1])) + ",y\n")
        for row, label in zip(x, y, strict=True):
            file.write(",".join(map(repr, row.tolist())) + f",{'no' if label == 0 else 'yes'}\n")
    share = held / (rows + held)
    (work / "run.yaml").write_text(
        f"data: {{ files: data.csv }}\ntarget: {{ column: y }}\n"
        f"split: {{ train: {1 - share!r}, validation: 0, test: {share!r} }}\n"
        f"model: {{ family: gbdt, trees: {TREES}, leaves: {LEAVES} }}\n"
        f"training: {{ learning_rate: {RATE}, patience: 0, column_sample: 1, l2: 0, threads: {THREADS} }}\n"
    )
    found = ours(trainer, work)
    with (work / "out" / "split.csv").open() as file:
        parts = np.array([row["part"] for row in csv.DictReader(file)])
    for part in ("train", "test"):
        np.save(work / f"{part}.npy", np.flatnonzero(parts == part))
    np.save(work / "x.npy", x)
    np.save(work / "y.npy", y)
    with (work / "out" / "predictions.csv").open() as file:
        answers = np.array([float(row["p_yes"]) for row in csv.DictReader(file)])
    found["loss"] = log_loss(y[parts == "test"], answers)
    return found


def main(trainer: str, work: Path, options: list[str]) -> None:
    as_json = "--json" in options
    if not as_json:
        print(f"{'':28} {'ours':>9} {'':5} {'peer':>9} {'':10} ratio")
    for shape in SHAPES:
        if shape.is_long and "--all" not in options:
            continue
        own = [prepare(shape, trainer, work)]
        names = ["lightgbm", *(() if shape.is_long else OTHERS)]
        theirs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for turn in range(shape.rounds):
            if turn > 0:
                own.append(own[0] | ours(trainer, work))
            for name in names if turn == 0 else names[:1]:
                command = [sys.executable, __file__, "--peer", name, str(work)]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                theirs[name].append(json.loads(output.splitlines()[-1]))
        for name in names:
            for figure, unit, bound in (("seconds", "s", 1.0), ("memory", "MiB", 1.0), ("loss", "", 1.003)):
                a = statistics.median(run[figure] for run in own)
                b = statistics.median(run[figure] for run in theirs[name])
                needed = f"<= {bound}" if name == "lightgbm" else None
                holds = a <= b * bound if needed else None
                label = f"{shape}, {figure}"
                if as_json:
                    row = {"name": label, "ours": a, "peer": b, "peer_name": name, "unit": unit, "ratio": a / b}
                    print(json.dumps(row | {"needed": needed, "holds": holds}), flush=True)
                else:
                    mark = {True: "holds", False: "misses", None: ""}[holds]
                    line = f"{label:28} {a:9.4f} {unit:5} {b:9.4f} {name:10} {a / b:5.3f}  {needed or '':9} {mark}"
                    print(line.rstrip(), flush=True)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    if sys.argv[1] == "--peer":
        peer(sys.argv[2], Path(sys.argv[3]))
    else:
        main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
