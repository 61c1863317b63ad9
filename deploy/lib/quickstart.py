"""What deploy/quickstart checks from Python: answers against the trainer's own, alone and under a hot swap.

    quickstart.py ready ADDRESS MODEL=VERSION...
    quickstart.py quality RUN
    quickstart.py compare ADDRESS MODEL RUN
    quickstart.py compare-cli ANSWERS.jsonl RUN
    quickstart.py traffic ADDRESS MODEL RUN-OF-VERSION-1 RUN-OF-VERSION-2 --started FILE --report FILE

RUN is the directory a training run left behind: test.csv holds raw test rows, predictions.csv the
answers that the trainer's own engine gave for them, metrics.json its figures.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import needletail
import numpy as np

TOLERANCE = 1e-6


def fail(text: str) -> None:
    sys.exit(f"✗ {text}")


class Run:
    """A training run: test rows by feature, and the trainer's answers for them."""

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory)
        with open(self.directory / "test.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        self.names, cells = rows[0], rows[1:]
        self.columns: dict[str, Any] = {
            name: _column([row[index] for row in cells]) for index, name in enumerate(self.names)
        }
        with open(self.directory / "predictions.csv", newline="", encoding="utf-8") as file:
            answers = list(csv.DictReader(file))
        if len(answers) != len(cells):
            fail(f"{directory}: {len(cells)} test rows but {len(answers)} predictions")
        self.rows = len(answers)
        self.is_classification = "label" in answers[0]
        if self.is_classification:
            self.labels = np.array([answer["label"] for answer in answers])
            self.classes = np.array([int(answer["class"]) for answer in answers])
            # A column for each class, in the order of the classes.
            names = [name for name in answers[0] if name.startswith("p_")]
            numbers = [[float(answer[name]) for name in names] for answer in answers]
        else:
            numbers = [float(answer["prediction"]) for answer in answers]
        # The trainer writes as many digits as it takes to read the same fp32 number back.
        self.numbers = np.array(numbers, dtype=np.float32).astype(np.float64)

    def inputs(self, rows: slice) -> dict[str, Any]:
        return {name: column[rows] for name, column in self.columns.items()}

    def difference(self, rows: slice, answer: needletail.Prediction) -> float:
        """Largest difference to the trainer's numbers; infinite if a class or label is another."""
        if self.is_classification:
            if not np.array_equal(answer.label, self.labels[rows]):
                return float("inf")
            if not np.array_equal(answer.class_index, self.classes[rows]):
                return float("inf")
        found = answer["probabilities" if self.is_classification else "prediction"]
        if found.shape != self.numbers[rows].shape or not np.all(np.isfinite(found)):
            return float("inf")
        # Relative for numbers beyond 1, such as a diabetes score of 150: fp32 has 7 digits.
        scale = np.maximum(1.0, np.abs(self.numbers[rows]))
        return float(np.max(np.abs(found.astype(np.float32).astype(np.float64) - self.numbers[rows]) / scale))


def _column(cells: list[str]) -> Any:
    """Numbers with NaN for missing, or text as it is."""
    try:
        return np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        return np.array(cells)


def ready(address: str, versions: list[str]) -> None:
    wanted = dict(entry.split("=") for entry in versions)
    deadline = time.monotonic() + 30
    with needletail.Client(address) as client:
        while True:
            health = client.health()
            serving = {model.model: str(model.serving_version) for model in health.models}
            if health.ready and all(serving.get(model) == version for model, version in wanted.items()):
                print(
                    "✓ ready: " + ", ".join(f"{model} version {version}" for model, version in sorted(serving.items()))
                )
                return
            if time.monotonic() > deadline:
                reasons = [f"{m.model} {v.version}: {v.state} {v.reason}" for m in health.models for v in m.versions]
                fail(f"not ready in time: expected {wanted}, found {serving}; {'; '.join(reasons)}")
            time.sleep(0.05)


def quality(directory: str) -> None:
    metrics = json.loads((Path(directory) / "metrics.json").read_text())
    accuracy, fp32 = metrics["test"]["accuracy"], metrics["test_fp32"]["accuracy"]
    if metrics["quantisation"]["int8_layers"] < 1:
        fail(f"expected int8 weights, found {metrics['precision']}: {metrics['quantisation']['decision']}")
    if accuracy < 0.96:
        fail(f"int8 test accuracy: expected at least 0.96, found {accuracy:.4f}")
    if (fp32 - accuracy) * 100 > 0.5 + 1e-9:
        fail(f"int8 test accuracy: expected within 0.5 points of fp32 ({fp32:.4f}), found {accuracy:.4f}")
    print(f"✓ {metrics['precision']} test accuracy {accuracy:.4f}, fp32 {fp32:.4f}: within 0.5 points")


def compare(address: str, model: str, directory: str) -> None:
    run = Run(directory)
    with needletail.Client(address) as client:
        whole = run.difference(slice(0, run.rows), client.predict(model, run.inputs(slice(0, run.rows))))
        single = max(
            run.difference(slice(row, row + 1), client.predict(model, run.inputs(slice(row, row + 1))))
            for row in range(run.rows)
        )
    _judge(f"{model}: {run.rows} test rows, as one batch and one by one", max(whole, single), run)


def compare_cli(path: str, directory: str) -> None:
    run = Run(directory)
    answers = [json.loads(line) for line in Path(path).read_text().splitlines()]
    if [answer["row"] for answer in answers] != list(range(1, run.rows + 1)):
        fail(f"{path}: expected one answer for each of {run.rows} rows, found {len(answers)}")
    outputs = {
        name: np.array([answer[name] for answer in answers])
        for name in (["label", "class", "probabilities"] if run.is_classification else ["prediction"])
    }
    answer = needletail.Prediction(answers[0]["model"], answers[0]["version"], outputs, needletail.Timing(0, 0, 0))
    _judge(f"{answer.model}: {run.rows} test rows", run.difference(slice(0, run.rows), answer), run)


def _judge(what: str, difference: float, run: Run) -> None:
    same = "classes equal, " if run.is_classification else ""
    if difference > TOLERANCE:
        fail(f"{what}: expected the trainer's answers within {TOLERANCE}, found a difference of {difference}")
    print(f"✓ {what}: {same}largest difference to the trainer {difference:g}")


def traffic(address: str, model: str, first: str, second: str, started: str, report: str) -> None:
    """Asks from four threads until both versions have answered enough, then checks every answer."""
    threads, enough, limit_seconds = 4, 500, 300
    run = Run(first)
    lock = threading.Lock()
    answers: list[tuple[slice, needletail.Prediction]] = []
    failures: list[str] = []
    counts = {1: 0, 2: 0}
    stop = threading.Event()

    # One attempt: a request that fails must show as failed.
    with needletail.Client(address, max_connections=threads, retries=needletail.RetryPolicy(attempts=1)) as client:

        def ask(seed: int) -> None:
            random = np.random.default_rng(seed)
            while not stop.is_set():
                begin = int(random.integers(run.rows))
                rows = slice(begin, min(run.rows, begin + int(random.integers(1, 17))))
                try:
                    answer = client.predict(model, run.inputs(rows))
                except needletail.NeedletailError as error:
                    with lock:
                        failures.append(str(error))
                    continue
                with lock:
                    answers.append((rows, answer))
                    counts[answer.version] = counts.get(answer.version, 0) + 1

        workers = [threading.Thread(target=ask, args=(seed,)) for seed in range(threads)]
        deadline = time.monotonic() + limit_seconds
        for worker in workers:
            worker.start()
        while counts[1] < enough and not failures and time.monotonic() < deadline:
            time.sleep(0.01)
        Path(started).touch()
        while counts[2] < enough and not failures and time.monotonic() < deadline:
            time.sleep(0.01)
        stop.set()
        for worker in workers:
            worker.join()

    # Only now: the second version was trained while the traffic ran.
    by_version = {1: run}
    if Path(second, "predictions.csv").exists():
        by_version[2] = Run(second)
    mixed = 0
    for rows, answer in answers:
        expected = by_version.get(answer.version)
        if expected is None or expected.difference(rows, answer) > TOLERANCE:
            mixed += 1
    summary = (
        f"{len(answers) + len(failures)} requests: {counts[1]} answered by version 1, {counts[2]} by version 2, "
        f"{len(failures)} failed, {mixed} mixed"
    )
    Path(report).write_text(summary + "\n")
    if failures:
        fail(f"{summary}; the first failure: {failures[0]}")
    if mixed:
        fail(f"{summary}: expected every answer to be that of the version it names")
    if min(counts[1], counts[2]) < enough:
        fail(f"{summary}: expected at least {enough} on each version within {limit_seconds} s")
    # Otherwise "not mixed" would say nothing.
    if np.array_equal(by_version[1].numbers, by_version[2].numbers):
        fail("versions 1 and 2 give the same answers: expected different ones from different seeds")
    print(f"✓ {summary}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("ready")
    command.add_argument("address")
    command.add_argument("versions", nargs="+")
    command = commands.add_parser("quality")
    command.add_argument("directory")
    command = commands.add_parser("compare")
    command.add_argument("address")
    command.add_argument("model")
    command.add_argument("directory")
    command = commands.add_parser("compare-cli")
    command.add_argument("path")
    command.add_argument("directory")
    command = commands.add_parser("traffic")
    command.add_argument("address")
    command.add_argument("model")
    command.add_argument("first")
    command.add_argument("second")
    command.add_argument("--started", required=True)
    command.add_argument("--report", required=True)
    arguments = vars(parser.parse_args())
    name = arguments.pop("command")
    {"ready": ready, "quality": quality, "compare": compare, "compare-cli": compare_cli, "traffic": traffic}[name](
        **arguments
    )


if __name__ == "__main__":
    main()
