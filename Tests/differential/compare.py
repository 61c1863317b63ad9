"""Compares models of needletail-trainer with scikit-learn's, trained on the same rows of the example sets.

Linear and logistic models are convex: both must find the same optimum, so their answers for the test
rows agree to 1e-4 relative. A neural network is judged by its accuracy only.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import MinMaxScaler, StandardScaler

EXAMPLES = Path("deploy/examples")
TOLERANCE = 1e-4


class Run:
    """One training run and the rows it used."""

    def __init__(self, trainer: str, work: Path, name: str, *sets: str) -> None:
        self.directory = work / "-".join([name, *(s.replace("/", "_") for s in sets)])
        command = [trainer, "train", str(EXAMPLES / name / "train.yaml"), "--output", str(self.directory), "--quiet"]
        for assignment in sets:
            command += ["--set", assignment]
        subprocess.run(command, check=True)
        self.metrics = json.loads((self.directory / "metrics.json").read_text())
        with (EXAMPLES / name / f"{name}.csv").open() as file:
            header, *rows = list(csv.reader(file))
        with (self.directory / "split.csv").open() as file:
            parts = list(csv.DictReader(file))
        with (self.directory / "predictions.csv").open() as file:
            self.predictions = list(csv.DictReader(file))
        self.features = header[:-1]
        table = {
            part: [rows[int(r["row"]) - 1] for r in parts if r["part"] == part]
            for part in ("train", "validation", "test")
        }
        self.inputs = {part: np.array([[float(c) for c in row[:-1]] for row in rows]) for part, rows in table.items()}
        self.targets = {part: np.array([row[-1] for row in rows]) for part, rows in table.items()}
        # What the trainer says it predicted for must be the rows we read.
        assert [int(r["row"]) for r in self.predictions] == [int(r["row"]) for r in parts if r["part"] == "test"]
        self.check_test_rows()

    def check_test_rows(self) -> None:
        with (self.directory / "test.csv").open() as file:
            header, *rows = list(csv.reader(file))
        assert header == self.features, f"test.csv: expected {self.features}, found {header}"
        assert np.array_equal(np.array(rows, dtype=float), self.inputs["test"])

    def column(self, name: str) -> np.ndarray:
        return np.array([float(row[name]) for row in self.predictions])

    def probabilities(self) -> np.ndarray:
        return np.stack([self.column(f"p_{i}") for i in range(len(self.metrics["labels"]))], axis=1)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the expected value but not to less than a hundredth."""
    return float(np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 1e-2)))


def linear(run: Run, model) -> float:
    scaler = StandardScaler().fit(run.inputs["train"])
    model.fit(scaler.transform(run.inputs["train"]), run.targets["train"].astype(float))
    return relative(run.column("prediction"), model.predict(scaler.transform(run.inputs["test"])))


def logistic(run: Run, c: float) -> float:
    scaler = StandardScaler().fit(run.inputs["train"])
    model = LogisticRegression(C=c, tol=1e-10, max_iter=100_000)
    model.fit(scaler.transform(run.inputs["train"]), run.targets["train"])
    assert list(model.classes_) == run.metrics["labels"]
    return relative(run.probabilities(), model.predict_proba(scaler.transform(run.inputs["test"])))


def network_accuracies(run: Run) -> tuple[float, float]:
    scaler = MinMaxScaler().fit(run.inputs["train"])
    model = MLPClassifier((128, 64), learning_rate_init=0.003, batch_size=32, max_iter=60, random_state=1)
    model.fit(scaler.transform(run.inputs["train"]), run.targets["train"])
    return run.metrics["test"]["accuracy"], model.score(scaler.transform(run.inputs["test"]), run.targets["test"])


def main(trainer: str, work: Path) -> int:
    results: list[tuple[str, str, bool]] = []

    def close(name: str, difference: float) -> None:
        results.append((name, f"largest relative difference {difference:.1e}", difference <= TOLERANCE))

    close("diabetes, least squares", linear(Run(trainer, work, "diabetes"), LinearRegression()))
    for l2 in (1.0, 100.0):
        close(f"diabetes, ridge {l2:g}", linear(Run(trainer, work, "diabetes", f"model.l2={l2}"), Ridge(alpha=l2)))
    for name in ("wine", "breast_cancer"):
        for c in (0.1, 1.0, 10.0):
            close(f"{name}, logistic C = {c:g}", logistic(Run(trainer, work, name, f"model.c={c}"), c))

    run = Run(trainer, work, "digits")
    ours, theirs = network_accuracies(run)
    # Two networks of the same shape from different seeds differ by a row or four of 270.
    results.append(("digits, MLP", f"accuracy {ours:.4f}, scikit-learn {theirs:.4f}", ours >= theirs - 0.015))
    results.append(
        ("digits, MLP absolute", f"accuracy {ours:.4f} in {run.metrics['precision']}, at least 0.96", ours >= 0.96)
    )
    loss = (run.metrics["test_fp32"]["accuracy"] - ours) * 100
    results.append(("digits, quantised", f"{loss:.2f} points below fp32, at most 0.2", loss <= 0.2))

    width = max(len(name) for name, _, _ in results)
    for name, text, passed in results:
        print(f"{'ok  ' if passed else 'FAIL'}  {name:<{width}}  {text}")
    failed = sum(not passed for _, _, passed in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
