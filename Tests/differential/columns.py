"""Compares each step of preprocessing with scikit-learn's: columns.py TRAINER WORK-DIRECTORY.

A ridge regression behind one step is its witness: fitted to the columns that scikit-learn makes of the same rows, it
must answer alike. Every run compares what it serves, too: reading its bundle back, the trainer asks the engine for the
golden samples and compares bits.
"""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.feature_extraction import FeatureHasher
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

# More training rows than quantiles: as many would put each knot on a row but for rounding, which moves ends of ties.
ROWS = 3000
# Steps round to fp32 once, and weights of a ridge regression follow.
TOLERANCE = 2e-4
results = []


def table(seed):
    """Random numbers of several shapes, one of them with gaps, and categories; targets that depend on all."""
    random = np.random.default_rng(seed)
    columns = {
        "skewed": np.exp(random.normal(size=ROWS) * 1.5),
        "signed": random.normal(size=ROWS) ** 3 * 10,
        "ties": random.integers(0, 6, ROWS).astype(float),
        "gaps": np.where(random.random(ROWS) < 0.2, np.nan, random.normal(size=ROWS) * 7 + 3),
    }
    levels = random.integers(0, 30, ROWS)
    # Two digits each, so that the order of values is that of texts.
    columns["level"] = np.array([f"k{level:02}" for level in levels])
    columns["group"] = np.array(["abcde"[i] for i in random.integers(0, 5, ROWS)])
    effect = random.normal(size=30)[levels]
    score = np.log(columns["skewed"]) + effect + 0.3 * random.normal(size=ROWS)
    return columns, score


def train(trainer, work, name, columns, target, settings, task="regression"):
    """Answers of one run for its test rows, with the rows that trained and tested."""
    directory = work / name
    directory.mkdir()
    with (directory / "data.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "y"])
        for row in zip(*columns.values(), target, strict=True):
            writer.writerow(["" if v != v else v if isinstance(v, str) else repr(float(v)) for v in row])
    family = "linear_regression, l2: 1" if task == "regression" else "logistic_regression, c: 1"
    (directory / "run.yaml").write_text(
        f"data: {{ files: [data.csv] }}\ntarget: {{ column: y, task: {task} }}\n"
        f"model: {{ family: {family} }}\ntracking: {{ record: false }}\n{settings}\n"
    )
    out = directory / "out"
    subprocess.run([trainer, "train", directory / "run.yaml", "--output", out, "--quiet"], check=True)
    with (out / "split.csv").open() as file:
        parts = list(csv.DictReader(file))
    rows = {part: np.array([int(r["row"]) - 1 for r in parts if r["part"] == part]) for part in ("train", "test")}
    with (out / "predictions.csv").open() as file:
        predictions = list(csv.DictReader(file))
    assert [int(row["row"]) - 1 for row in predictions] == list(rows["test"])
    labels = json.loads((out / "report.json").read_text()).get("labels") or []
    if task == "regression":
        return rows, np.array([float(row["prediction"]) for row in predictions])
    return rows, np.array([[float(row[f"p_{label}"]) for label in labels] for row in predictions])


def expect(name, found, expected):
    difference = float(np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 1e-2)))
    passed = found.shape == expected.shape and difference <= TOLERANCE
    results.append(passed)
    print(f"{'ok  ' if passed else 'FAIL'}  {name:<44}  largest relative difference {difference:.1e}")


def ridge(columns, target, rows):
    """Answers of scikit-learn's ridge regression on columns that were made of all rows."""
    model = Ridge(alpha=1).fit(columns[rows["train"]], target[rows["train"]])
    return model.predict(columns[rows["test"]])


def fitted(transformer, values, rows):
    values = np.asarray(values).reshape(ROWS, -1)
    result = transformer.fit(values[rows["train"]]).transform(values)
    return result.toarray() if hasattr(result, "toarray") else np.asarray(result, dtype=float)


def numbers(trainer, work, columns, target):
    steps = {
        "robust": RobustScaler(),
        "power": PowerTransformer(),
        "quantile_uniform": QuantileTransformer(n_quantiles=1000, subsample=None),
        "quantile_normal": QuantileTransformer(n_quantiles=1000, subsample=None, output_distribution="normal"),
    }
    for scale, step in steps.items():
        for name in ("skewed", "signed", "ties"):
            own = {name: columns[name]}
            rows, found = train(trainer, work, f"{scale}-{name}", own, target, f"preprocessing: {{ scale: {scale} }}")
            expect(f"{scale} of {name}", found, ridge(fitted(step, columns[name], rows), target, rows))
    rows, found = train(trainer, work, "log", {"skewed": columns["skewed"]}, target, "preprocessing: { scale: log }")
    logarithms = FunctionTransformer(np.log1p).transform(columns["skewed"])
    expect("log of skewed", found, ridge(fitted(StandardScaler(), logarithms, rows), target, rows))
    for policy, strategy in (("median", "median"), ("mean", "mean"), ("most_frequent", "most_frequent")):
        own = {"gaps": columns["gaps"], "ties": columns["ties"]}
        settings = f"features: {{ missing: {policy}, missing_flags: true }}"
        rows, found = train(trainer, work, f"flags-{policy}", own, target, settings)
        filled = fitted(
            SimpleImputer(strategy=strategy, add_indicator=True), np.stack(list(own.values()), axis=1), rows
        )
        expect(f"flags beside {policy}", found, ridge(fitted(StandardScaler(), filled, rows), target, rows))
    own = {name: columns[name] for name in ("signed", "ties")}
    settings = "features: { interactions: [[signed, ties]] }"
    rows, found = train(trainer, work, "products", own, target, settings)
    products = PolynomialFeatures(interaction_only=True, include_bias=False).fit_transform(
        np.stack(list(own.values()), axis=1)
    )
    expect("product of two numbers", found, ridge(fitted(StandardScaler(), products, rows), target, rows))


def categories(trainer, work, columns, target):
    level = {"level": columns["level"]}
    plain = "preprocessing: { scale: none }"
    for encoding, step in (("ordinal", OrdinalEncoder()), ("one_hot", OneHotEncoder())):
        settings = f"features: {{ encoding: {encoding} }}\n{plain}"
        rows, found = train(trainer, work, encoding, level, target, settings)
        expect(encoding, found, ridge(fitted(step, columns["level"], rows), target, rows))
    for buckets in (8, 64):
        settings = f"features: {{ encoding: hash, buckets: {buckets} }}\n{plain}"
        rows, found = train(trainer, work, f"hash-{buckets}", level, target, settings)
        hasher = FeatureHasher(buckets, input_type="string", alternate_sign=False)
        hashed = hasher.transform([[text] for text in columns["level"]]).toarray()
        expect(f"hash into {buckets} buckets", found, ridge(hashed, target, rows))
    settings = f"features: {{ encoding: frequency }}\n{plain}"
    rows, found = train(trainer, work, "frequency", level, target, settings)
    names, counts = np.unique(columns["level"][rows["train"]], return_counts=True)
    share = dict(zip(names, counts / counts.sum(), strict=True))
    expect("frequency", found, ridge(np.array([[share[t]] for t in columns["level"]]), target, rows))


def encoded_targets(trainer, work, columns, target):
    """The encoding that is served. The model in front of it learned from folds, whose rows a seed chooses, so that only
    the order of answers and their line are compared: one encoded column is answered by a straight line."""
    level = {"level": columns["level"]}
    for smooth in ("auto", 20.0):
        smoothing = "" if smooth == "auto" else f", smoothing: {smooth}"
        settings = f"features: {{ encoding: target{smoothing} }}\npreprocessing: {{ scale: none }}"
        rows, found = train(trainer, work, f"target-{smooth}", level, target, settings)
        encoder = TargetEncoder(target_type="continuous", smooth=smooth)
        encoder.fit(columns["level"][rows["train"]].reshape(-1, 1), target[rows["train"]])
        encoded = encoder.transform(columns["level"][rows["test"]].reshape(-1, 1))[:, 0]
        line = np.polyval(np.polyfit(encoded, found, 1), encoded)
        expect(f"target encoding, smooth {smooth}", found, line)
    # Two encodings of three classes leave a plane of log-odds.
    classes = np.digitize(target, np.quantile(target, [1 / 3, 2 / 3]))
    named = np.array([f"class {c}" for c in classes])
    settings = "features: { encoding: target }\npreprocessing: { scale: none }"
    rows, found = train(trainer, work, "target-classes", level, named, settings, task="classification")
    encoder = TargetEncoder(target_type="multiclass")
    encoder.fit(columns["level"][rows["train"]].reshape(-1, 1), named[rows["train"]])
    encoded = encoder.transform(columns["level"][rows["test"]].reshape(-1, 1))
    design = np.column_stack([encoded, np.ones(len(encoded))])
    odds = np.log(found[:, 1:] / found[:, :1])
    plane = design @ np.linalg.lstsq(design, odds, rcond=None)[0]
    expect("target encoding of three classes", found[:, 1:] / found[:, :1], np.exp(plane))


def together(trainer, work, columns, target):
    """All at once, with gaps, against a scikit-learn pipeline of the same steps."""
    named = np.where(target > np.median(target), "yes", "no")
    settings = (
        "features:\n  missing: median\n  columns:\n    skewed: { scale: power }\n    ties: { scale: none }\n"
        "    gaps: { missing_flags: true }\n    group: { encoding: ordinal, scale: none }\n"
    )
    own = {name: columns[name] for name in ("skewed", "ties", "gaps", "level", "group")}
    rows, found = train(trainer, work, "together", own, named, settings, task="classification")
    gaps = fitted(StandardScaler(), fitted(SimpleImputer(strategy="median"), columns["gaps"], rows), rows)
    flag = fitted(StandardScaler(), np.isnan(columns["gaps"]).astype(float), rows)
    design = np.column_stack(
        [
            fitted(PowerTransformer(), columns["skewed"], rows),
            columns["ties"],
            gaps,
            fitted(OneHotEncoder(), columns["level"], rows),
            fitted(OrdinalEncoder(), columns["group"], rows),
            flag,
        ]
    )
    model = LogisticRegression(C=1, tol=1e-10, max_iter=100_000).fit(design[rows["train"]], named[rows["train"]])
    expect("six steps together", found, model.predict_proba(design[rows["test"]]))


# Rows and levels of the table that took 5.1 GB and no end; scikit-learn takes 258 MB for its sparse matrix.
WIDE_ROWS, WIDE_LEVELS, WIDE_BYTES_MAX = 102_000, 3_940, 600 << 20


def wide(trainer, work):
    """A category of thousands of levels: memory of each family (VmHWM of its process), and answers near level means."""
    random = np.random.default_rng(9)
    levels = random.integers(0, WIDE_LEVELS, WIDE_ROWS)
    number = random.normal(size=WIDE_ROWS)
    score = random.normal(size=WIDE_LEVELS)[levels] * 3 + number + 0.3 * random.normal(size=WIDE_ROWS)
    with (work / "wide.csv").open("w") as file:
        file.write("level,number,y,above\n")
        for row in zip(levels, number, score, score > 0, strict=True):
            file.write(f"k{row[0]},{row[1]:.4f},{row[2]:.4f},{'yes' if row[3] else 'no'}\n")
    for family, target, training in (
        ("linear_regression", "y", ""),
        ("logistic_regression", "above", "training: { tolerance: 0.00001 }"),
        ("mlp, hidden: [16]", "above", "training: { epochs: 2, batch_size: 256, patience: 0, learning_rate: 0.01 }"),
    ):
        name = family.split(",")[0]
        drop = "above" if target == "y" else "y"
        run_file = work / f"wide-{name}.yaml"
        run_file.write_text(
            f"data: {{ files: [wide.csv], drop: [{drop}] }}\ntarget: {{ column: {target} }}\n"
            f"features: {{ unknown: zeros }}\nmodel: {{ family: {family} }}\n"
            f"tracking: {{ record: false }}\n{training}\n"
        )
        out = work / f"wide-{name}"
        begin = time.monotonic()
        process = subprocess.Popen([trainer, "train", run_file, "--output", out, "--quiet"])
        _, status, usage = os.wait4(process.pid, 0)
        seconds, peak = time.monotonic() - begin, usage.ru_maxrss * 1024
        figures = json.loads((out / "metrics.json").read_text())["test"] if status == 0 else {}
        good = figures.get("r2", figures.get("accuracy", 0)) >= 0.9
        results.append(status == 0 and good and peak <= WIDE_BYTES_MAX)
        print(
            f"{'ok  ' if results[-1] else 'FAIL'}  {name}, {WIDE_ROWS:,} rows x {WIDE_LEVELS:,} levels: "
            f"{peak / 2**20:.0f} MB of at most {WIDE_BYTES_MAX >> 20}, {seconds:.1f} s, {figures}"
        )


def main(trainer: str, work: Path) -> int:
    for seed in (1, 2):
        columns, target = table(seed)
        own = work / str(seed)
        own.mkdir()
        numbers(trainer, own, columns, target)
        categories(trainer, own, columns, target)
        encoded_targets(trainer, own, columns, target)
        together(trainer, own, columns, target)
    wide(trainer, work)
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
