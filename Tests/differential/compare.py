"""Compares models of needletail-trainer with scikit-learn's, trained on the same rows of the example sets.

Linear and logistic models are convex: both must find the same optimum, so their answers for the test
rows agree to 1e-4 relative. Least squares problems without a unique solution are compared with NumPy's
solution of least norm. A neural network is judged by its accuracy only.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Self

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import MinMaxScaler, StandardScaler

EXAMPLES = Path("deploy/examples")
TOLERANCE = 1e-4


class Run:
    """One training run of numeric columns, the target last, and the rows it used."""

    def __init__(self, trainer: str, directory: Path, run_file: Path, data: Path, *sets: str) -> None:
        self.directory = directory
        command = [trainer, "train", str(run_file), "--output", str(directory), "--quiet"]
        for assignment in sets:
            command += ["--set", assignment]
        subprocess.run(command, check=True)
        self.metrics = json.loads((self.directory / "metrics.json").read_text())
        with data.open() as file:
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

    @classmethod
    def example(cls, trainer: str, work: Path, name: str, *sets: str) -> Self:
        """The run file that ships with an example set, with some settings changed."""
        directory = work / "-".join([name, *(s.replace("/", "_") for s in sets)])
        return cls(trainer, directory, EXAMPLES / name / "train.yaml", EXAMPLES / name / f"{name}.csv", *sets)

    @classmethod
    def written(cls, trainer: str, work: Path, name: str, data: Path, target: str, settings: str) -> Self:
        """A run file of its own, in which `settings` holds the sections beside data and target."""
        run_file = work / f"{name}.yaml"
        run_file.write_text(
            f"data: {{ files: [{json.dumps(str(data.resolve()))}] }}\ntarget: {{ column: {target} }}\n{settings}"
        )
        return cls(trainer, work / name, run_file, data)

    def check_test_rows(self) -> None:
        with (self.directory / "test.csv").open() as file:
            header, *rows = list(csv.reader(file))
        assert header == self.features, f"test.csv: expected {self.features}, found {header}"
        assert np.array_equal(np.array(rows, dtype=float), self.inputs["test"])

    def column(self, name: str) -> np.ndarray:
        return np.array([float(row[name]) for row in self.predictions])

    def probabilities(self) -> np.ndarray:
        return np.stack([self.column(f"p_{label}") for label in self.metrics["labels"]], axis=1)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the expected value but not to less than a hundredth."""
    return float(np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 1e-2)))


def linear(run: Run, model) -> float:
    scaler = StandardScaler().fit(run.inputs["train"])
    model.fit(scaler.transform(run.inputs["train"]), run.targets["train"].astype(float))
    return relative(run.column("prediction"), model.predict(scaler.transform(run.inputs["test"])))


def synthetic(work: Path, name: str, columns: np.ndarray, target: np.ndarray) -> Path:
    """Writes columns x0, x1, ... and a last one y."""
    path = work / f"{name}.csv"
    with path.open("w") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{i}" for i in range(columns.shape[1])), "y"])
        # repr gives the shortest text that reads back as the same number.
        writer.writerows([*map(repr, map(float, row)), repr(float(y))] for row, y in zip(columns, target, strict=True))
    return path


LEAST_SQUARES = "model: { family: linear_regression }\npreprocessing: { scale: none }\n"


def least_squares(trainer: str, work: Path, name: str, columns: np.ndarray, target: np.ndarray) -> float:
    """Unscaled columns against NumPy's solution of least norm, on centred columns in double precision."""
    data = synthetic(work, name, columns, target)
    run = Run.written(trainer, work, name, data, "y", LEAST_SQUARES)
    inputs = run.inputs["train"]
    targets = run.targets["train"].astype(float)
    weights = np.linalg.lstsq(inputs - inputs.mean(axis=0), targets - targets.mean(), rcond=None)[0]
    test = run.inputs["test"]
    return relative(run.column("prediction"), (test - inputs.mean(axis=0)) @ weights + targets.mean())


def category_means(trainer: str, work: Path) -> float:
    """One category of 300 levels: least squares then predicts every level's mean."""
    random = np.random.default_rng(7)
    levels = np.concatenate([np.arange(300), random.integers(0, 300, 1200)])
    target = random.normal(size=300)[levels] + 0.1 * random.normal(size=len(levels))
    data = work / "agents.csv"
    data.write_text("agent,y\n" + "".join(f"agent{a},{y!r}\n" for a, y in zip(levels, map(float, target), strict=True)))
    run_file = work / "agents.yaml"
    run_file.write_text(
        "data: { files: [agents.csv] }\ntarget: { column: y, task: regression }\nfeatures: { unknown: refuse }\n"
        "model: { family: linear_regression }\n"
    )
    directory = work / "agents"
    subprocess.run([trainer, "train", str(run_file), "--output", str(directory), "--quiet"], check=True)
    with (directory / "split.csv").open() as file:
        train = [int(row["row"]) - 1 for row in csv.DictReader(file) if row["part"] == "train"]
    with (directory / "predictions.csv").open() as file:
        predictions = [(int(row["row"]) - 1, float(row["prediction"])) for row in csv.DictReader(file)]
    means = {level: target[[row for row in train if levels[row] == level]].mean() for level in set(levels[train])}
    return relative(
        np.array([found for _, found in predictions]), np.array([means[levels[row]] for row, _ in predictions])
    )


def logistic(run: Run, c: float) -> float:
    scaler = StandardScaler().fit(run.inputs["train"])
    model = LogisticRegression(C=c, tol=1e-10, max_iter=100_000)
    model.fit(scaler.transform(run.inputs["train"]), run.targets["train"])
    assert list(model.classes_) == run.metrics["labels"]
    return relative(run.probabilities(), model.predict_proba(scaler.transform(run.inputs["test"])))


def nearest_centroids(trainer: str, work: Path, name: str, target: str) -> tuple[int, int]:
    """Rows of the test split whose label differs from scikit-learn's, and rows altogether."""
    data = EXAMPLES / name / f"{name}.csv"
    settings = "model: { family: nearest_centroid, metric: euclidean }\n"
    run = Run.written(trainer, work, f"{name}-centroids", data, target, settings)
    scaler = StandardScaler().fit(run.inputs["train"])
    model = NearestCentroid().fit(scaler.transform(run.inputs["train"]), run.targets["train"])
    expected = model.predict(scaler.transform(run.inputs["test"]))
    found = [row["label"] for row in run.predictions]
    return sum(a != b for a, b in zip(found, expected, strict=True)), len(found)


def network_accuracies(run: Run) -> tuple[float, float]:
    scaler = MinMaxScaler().fit(run.inputs["train"])
    model = MLPClassifier((128, 64), learning_rate_init=0.003, batch_size=32, max_iter=60, random_state=1)
    model.fit(scaler.transform(run.inputs["train"]), run.targets["train"])
    return run.metrics["test"]["accuracy"], model.score(scaler.transform(run.inputs["test"]), run.targets["test"])


def main(trainer: str, work: Path) -> int:
    results: list[tuple[str, str, bool]] = []

    def close(name: str, difference: float) -> None:
        results.append((name, f"largest relative difference {difference:.1e}", difference <= TOLERANCE))

    close("diabetes, least squares", linear(Run.example(trainer, work, "diabetes"), LinearRegression()))
    for l2 in (1.0, 100.0):
        close(
            f"diabetes, ridge {l2:g}", linear(Run.example(trainer, work, "diabetes", f"model.l2={l2}"), Ridge(alpha=l2))
        )
    for name in ("wine", "breast_cancer"):
        for c in (0.1, 1.0, 10.0):
            close(f"{name}, logistic C = {c:g}", logistic(Run.example(trainer, work, name, f"model.c={c}"), c))

    random = np.random.default_rng(3)
    base = random.normal(size=(400, 4))
    noise = 0.1 * random.normal(size=400)
    close(
        "least squares, dependent columns",
        least_squares(
            trainer, work, "dependent", np.hstack([base, base @ random.normal(size=(4, 3))]), base.sum(axis=1) + noise
        ),
    )
    close(
        "least squares, numbers up to 1e20",
        least_squares(trainer, work, "large", base * 1e20, base.sum(axis=1) * 1e3 + noise),
    )
    close(
        "least squares, numbers down to 1e-30",
        least_squares(trainer, work, "tiny", base * 1e-30, base.sum(axis=1) + noise),
    )
    close(
        "least squares, condition 1e3",
        least_squares(
            trainer,
            work,
            "condition",
            np.hstack([base, base[:, :1] + 1e-3 * random.normal(size=(400, 1))]),
            base.sum(axis=1) + noise,
        ),
    )
    close("least squares, 300 categories", category_means(trainer, work))

    for name, target in (("wine", "cultivar"), ("breast_cancer", "diagnosis"), ("digits", "digit")):
        wrong, rows = nearest_centroids(trainer, work, name, target)
        results.append((f"{name}, nearest centroid", f"{wrong} of {rows} labels differ", wrong == 0))

    run = Run.example(trainer, work, "digits")
    ours, theirs = network_accuracies(run)
    # Two networks of the same shape from different seeds differ by a row or four of 270.
    results.append(("digits, MLP", f"accuracy {ours:.4f}, scikit-learn {theirs:.4f}", ours >= theirs - 0.015))
    results.append(
        ("digits, MLP absolute", f"accuracy {ours:.4f} in {run.metrics['precision']}, at least 0.96", ours >= 0.96)
    )
    normalised = Run.example(trainer, work, "digits", "model.batch_norm=true").metrics["test"]["accuracy"]
    text = f"accuracy {normalised:.4f}, scikit-learn {theirs:.4f}"
    results.append(("digits, MLP with batch normalisation", text, normalised >= theirs - 0.015))
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
