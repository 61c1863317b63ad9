"""Compares penalised, weighted, Poisson and quantile models with scikit-learn's: linear.py TRAINER WORK-DIRECTORY.

All are convex: both sides must find the same optimum, so that their answers for the test rows agree. scikit-learn's
own tolerances are set as low as its solvers reach.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
)
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ROWS = 1500
LEVELS = 80


class Table:
    """Four columns of numbers, one of many categories, weights from 0, and targets of every kind."""

    def __init__(self, work: Path) -> None:
        random = np.random.default_rng(11)
        self.numbers = random.normal(size=(ROWS, 4)) * [1, 20, 0.01, 3] + [0, 500, 0, -2]
        # Every level is in the training rows, whose number does not decide.
        self.levels = np.concatenate([np.arange(LEVELS)] * 8 + [random.integers(0, LEVELS, ROWS - 8 * LEVELS)])
        self.weights = random.integers(0, 4, size=ROWS).astype(float)
        effects = random.normal(size=LEVELS)
        score = self.numbers @ [0.5, 0.02, 30, 0] + effects[self.levels] - 10
        heavy = random.standard_t(3, size=ROWS)
        self.targets = {
            "value": score + heavy,
            "visits": random.poisson(np.exp(0.4 * np.clip(score, -5, 5))).astype(float),
            "sold": np.where(score + heavy > 1, "yes", "no"),
            "kind": np.array(["low", "middle", "high"])[np.digitize(score + heavy, [-0.7, 0.7])],
        }
        self.work = work
        for name, targets in self.targets.items():
            with (work / f"{name}.csv").open("w") as file:
                writer = csv.writer(file)
                writer.writerow(["a", "b", "c", "d", "level", "w", name])
                for row in range(ROWS):
                    cells = [repr(float(x)) for x in self.numbers[row]]
                    target = targets[row] if targets.dtype.kind == "U" else repr(float(targets[row]))
                    writer.writerow([*cells, f"l{self.levels[row]:02}", repr(float(self.weights[row])), target])


class Fit:
    """One training of one target, and the rows in scikit-learn's form."""

    def __init__(self, trainer: str, table: Table, number: int, target: str, model: str, training: str,
                 weighted: bool, wide: bool) -> None:  # fmt: skip
        run_file, directory = table.work / f"{number}.yaml", table.work / f"{number}"
        task = "regression" if target in ("value", "visits") else "classification"
        drop = [] if wide else ["level"]
        drop += [] if weighted else ["w"]
        run_file.write_text(
            f"data: {{ files: [{target}.csv], drop: {json.dumps(drop)} }}\n"
            f"target: {{ column: {target}, task: {task}{', weight: w' if weighted else ''} }}\n"
            "features: { unknown: zeros }\nsplit: { train: 0.7, validation: 0, test: 0.3 }\n"
            f"model: {{ {model} }}\ntraining: {{ {training} }}\nevaluation: {{ report: false }}\n"
            "tracking: { record: false }\n"
        )
        subprocess.run([trainer, "train", str(run_file), "--output", str(directory), "--quiet"], check=True)
        with (directory / "split.csv").open() as file:
            parts = list(csv.DictReader(file))
        rows = {part: [int(r["row"]) - 1 for r in parts if r["part"] == part] for part in ("train", "test")}
        with (directory / "predictions.csv").open() as file:
            predictions = list(csv.DictReader(file))
        assert [int(r["row"]) - 1 for r in predictions] == rows["test"]
        names = [n for n in predictions[0] if n == "prediction" or n.startswith("p_")]
        self.found = np.array([[float(r[n]) for n in names] for r in predictions])
        scaler = StandardScaler().fit(table.numbers[rows["train"]])
        encoder = OneHotEncoder(sparse_output=False).fit(table.levels[:, None])
        self.inputs = {
            part: np.hstack(
                [scaler.transform(table.numbers[own])]
                + ([encoder.transform(table.levels[own][:, None])] if wide else [])
            )
            for part, own in rows.items()
        }
        self.targets = {part: table.targets[target][own] for part, own in rows.items()}
        self.weights = table.weights[rows["train"]] if weighted else None

    def difference(self, model) -> float:
        """Largest difference of answers, relative to their size but not to less than a hundredth of the largest."""
        model.fit(self.inputs["train"], self.targets["train"], sample_weight=self.weights)
        if hasattr(model, "predict_proba"):
            expected = model.predict_proba(self.inputs["test"])
        else:
            expected = model.predict(self.inputs["test"])[:, None]
        floor = 0.01 * np.max(np.abs(expected))
        return float(np.max(np.abs(self.found - expected) / np.maximum(np.abs(expected), floor)))


def linear(**settings) -> str:
    return "family: linear_regression, " + ", ".join(f"{key}: {value}" for key, value in settings.items())


def logistic(**settings) -> str:
    return "family: logistic_regression, " + ", ".join(f"{key}: {value}" for key, value in settings.items())


def cases():
    """Name, target, model, training, scikit-learn's model, tolerance."""
    for penalty, ratio in ((0.01, 1), (0.1, 1), (0.05, 0.5), (0.2, 0.1)):
        model = Lasso(penalty) if ratio == 1 else ElasticNet(penalty, l1_ratio=ratio)
        model.set_params(tol=1e-12, max_iter=1_000_000)
        settings = linear(penalty=penalty, l1_ratio=ratio)
        yield f"elastic net {penalty:g}, L1 {ratio:g}", "value", settings, "tolerance: 1e-11", model, 1e-4
    yield "least squares", "value", linear(), "", LinearRegression(), 1e-4
    yield "ridge 30", "value", linear(l2=30), "", Ridge(30), 1e-4
    for penalty in (1e-4, 0.1):
        model = PoissonRegressor(alpha=penalty, tol=1e-10, max_iter=100_000)
        settings = linear(loss="poisson", penalty=penalty, l1_ratio=0)
        yield f"Poisson, penalty {penalty:g}", "visits", settings, "tolerance: 1e-10", model, 1e-4
    for share, penalty in ((0.5, 0.002), (0.9, 0.002), (0.1, 0.02)):
        model = QuantileRegressor(quantile=share, alpha=penalty, solver="highs")
        settings = linear(loss="quantile", quantile=share, penalty=penalty, l1_ratio=1)
        yield f"quantile {share:g}, penalty {penalty:g}", "value", settings, "tolerance: 1e-10", model, 1e-4
    for target in ("sold", "kind"):
        for c, ratio in ((1.0, 0), (0.1, 1), (0.5, 0.5)):
            solver = "lbfgs" if ratio == 0 else "saga"
            model = LogisticRegression(C=c, l1_ratio=ratio, solver=solver, tol=1e-9, max_iter=100_000)
            yield f"logistic, C {c:g}, L1 {ratio:g}", target, logistic(c=c, l1_ratio=ratio), "", model, 1e-4
    weights = {"no": 1.5, "yes": 4.0}
    for given, text in (("balanced", "balanced"), (weights, "{ no: 1.5, yes: 4 }")):
        model = LogisticRegression(C=1.0, tol=1e-9, max_iter=100_000, class_weight=given)
        yield f"logistic, class weights {text}", "sold", logistic(c=1), f"class_weights: {text}", model, 1e-4


def main(trainer: str, work: Path) -> int:
    table = Table(work)
    failed = count = 0
    for wide in (False, True):
        for weighted in (False, True):
            for name, target, model, training, peer, tolerance in cases():
                # scikit-learn's own solution of dependent columns is none that others can be held to.
                if wide and name in ("least squares",):
                    continue
                fit = Fit(trainer, table, count, target, model, training, weighted, wide)
                difference = fit.difference(peer)
                passed = difference <= tolerance
                label = f"{name}, {target}{', weighted' if weighted else ''}{', 80 levels' if wide else ''}"
                print(f"{'ok  ' if passed else 'FAIL'}  {label:<64} largest relative difference {difference:.1e}")
                sys.stdout.flush()
                failed += not passed
                count += 1
    print(f"{count - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
