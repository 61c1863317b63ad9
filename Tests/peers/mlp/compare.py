"""Measures training of networks beside PyTorch: compare.py TRAINER WORK-DIRECTORY [--json].

Both sides get the same rows, standardised, and the same layers, batches, AdamW and epochs; neither stops early. Time is
that of the epochs: between the lines of needletail-trainer that name its stages, which counts preprocessing against it,
and around the loop of PyTorch, whose rows are tensors before. PyTorch gets AdamW's fused kernel, its fastest.
"""

import csv
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

ROUNDS = 3


@dataclass(frozen=True)
class Shape:
    """One network and its table."""

    name: str
    rows: int
    columns: int
    hidden: tuple[int, ...]
    classes: int
    batch: int
    epochs: int

    @property
    def held(self) -> int:
        """Rows that judge."""
        return self.rows // 5


SHAPES = [
    Shape("digits, 64-128-64-10, batch 32", 6000, 64, (128, 64), 10, 32, 5),
    Shape("numbers, 20-64-1, batch 128", 20_000, 20, (64,), 0, 128, 8),
    Shape("classes, 30-64-64-2, batch 64", 10_000, 30, (64, 64), 2, 64, 6),
    Shape("wide, 100-256-128-5, batch 256", 20_000, 100, (256, 128), 5, 256, 4),
]
RATE, DECAY = 0.002, 0.01


def make(shape: Shape, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose target a small network can learn, with noise."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(shape.rows + shape.held, shape.columns)).astype(np.float32)
    outputs = max(shape.classes, 1)
    hidden = np.tanh(x @ random.normal(size=(shape.columns, 16)) / np.sqrt(shape.columns))
    score = hidden @ random.normal(size=(16, outputs)) + 0.3 * random.normal(size=(len(x), outputs))
    if shape.classes == 0:
        return x, score[:, 0].astype(np.float32)
    # Two classes are told apart by the sign, so that both have rows enough.
    return x, (score[:, 1] > score[:, 0]).astype(int) if shape.classes == 2 else score.argmax(axis=1)


def ours(trainer: str, work: Path, shape: Shape, seed: int) -> dict[str, float]:
    sets = [f"training.seed={seed}", "evaluation.report=false", "tracking.record=false"]
    arguments = [argument for value in sets for argument in ("--set", value)]
    process = subprocess.Popen(
        [trainer, "train", str(work / "run.yaml"), "--output", str(work / "out"), *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    started = seconds = float("nan")
    assert process.stderr
    for line in process.stderr:
        if line.startswith("fitting"):
            started = time.monotonic()
        if line.startswith("measuring on"):
            seconds = time.monotonic() - started
    if process.wait() != 0:
        raise SystemExit(f"{trainer}: expected exit status 0, found {process.returncode}")
    figures = json.loads((work / "out" / "metrics.json").read_text())["test_fp32"]
    loss = figures["log_loss"] if shape.classes else figures["mse"]
    return {"seconds": seconds, "loss": loss}


def prepare(shape: Shape, work: Path) -> tuple[np.ndarray, np.ndarray]:
    x, y = make(shape, 5)
    with (work / "data.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{i}" for i in range(shape.columns)), "part", "y"])
        for i, row in enumerate(x):
            target = f"c{y[i]}" if shape.classes else repr(float(y[i]))
            writer.writerow([*map(repr, row.tolist()), "train" if i < shape.rows else "test", target])
    (work / "run.yaml").write_text(
        f"data: {{ files: data.csv }}\ntarget: {{ column: y }}\nsplit: {{ column: part }}\n"
        f"model: {{ family: mlp, hidden: {list(shape.hidden)} }}\n"
        f"training: {{ epochs: {shape.epochs}, batch_size: {shape.batch}, learning_rate: {RATE}, patience: 0, "
        f"schedule: constant, weight_decay: {DECAY}, gradient_clip: 0 }}\nquantisation: {{ precision: fp32 }}\n"
    )
    return x, y


def theirs(shape: Shape, x: np.ndarray, y: np.ndarray, seed: int, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    train, test = x[: shape.rows], x[shape.rows :]
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    inputs, held = (torch.from_numpy((part - mean) / deviation) for part in (train, test))
    offset, scale = (0.0, 1.0) if shape.classes else (float(y[: shape.rows].mean()), float(y[: shape.rows].std()))
    targets = torch.from_numpy(y[: shape.rows] if shape.classes else ((y[: shape.rows] - offset) / scale)[:, None])
    sizes = [shape.columns, *shape.hidden, max(shape.classes, 1)]
    layers: list[torch.nn.Module] = []
    for before, after in zip(sizes, sizes[1:], strict=False):
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU()]
        torch.nn.init.kaiming_normal_(layers[-2].weight, nonlinearity="relu")
        torch.nn.init.zeros_(layers[-2].bias)
    network = torch.nn.Sequential(*layers[:-1])
    loss_of = torch.nn.CrossEntropyLoss() if shape.classes else torch.nn.MSELoss()
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    started = time.monotonic()
    for _ in range(shape.epochs):
        order = torch.randperm(shape.rows)
        for start in range(0, shape.rows, shape.batch):
            chosen = order[start : start + shape.batch]
            optimiser.zero_grad()
            loss = loss_of(network(inputs[chosen]), targets[chosen])
            loss.backward()
            optimiser.step()
    seconds = time.monotonic() - started
    with torch.no_grad():
        answers = network(held)
        if shape.classes:
            return {"seconds": seconds, "loss": float(loss_of(answers, torch.from_numpy(y[shape.rows :])))}
        errors = answers[:, 0].numpy() * scale + offset - y[shape.rows :]
        return {"seconds": seconds, "loss": float(np.mean(errors**2))}


def main(trainer: str, work: Path, options: list[str]) -> None:
    as_json = "--json" in options
    if not as_json:
        print(f"{'':40} {'ours':>9} {'':2} {'peer':>9} {'':22} ratio")
    for shape in SHAPES:
        x, y = prepare(shape, work)
        own = [ours(trainer, work, shape, seed) for seed in range(1, ROUNDS + 1)]
        for threads in (1, 2):
            peer = [theirs(shape, x, y, seed, threads) for seed in range(1, ROUNDS + 1)]
            # Losses of two seeds differ by some per cent; their means over three by less than a tenth.
            for figure, unit, bound in (("seconds", "s", 0.5), ("loss", "", 1.1)):
                a, b = (statistics.mean(run[figure] for run in runs) for runs in (own, peer))
                needed, holds, label = f"<= {bound}", a <= b * bound, f"{shape.name}, {figure}"
                name = f"pytorch, {threads} thread{'s' if threads > 1 else ''}"
                if as_json:
                    row = {"name": label, "ours": a, "peer": b, "peer_name": name, "unit": unit, "ratio": a / b}
                    print(json.dumps(row | {"needed": needed, "holds": holds}), flush=True)
                else:
                    mark = "holds" if holds else "misses"
                    line = f"{label:40} {a:9.4f} {unit:2} {b:9.4f} {name:22} {a / b:5.3f}  {needed} {mark}"
                    print(line, flush=True)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "2"
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
