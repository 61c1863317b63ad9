"""Compares the figures of report.json with scikit-learn's: report.py TRAINER WORK-DIRECTORY.

The answers of predictions.csv go in on both sides, so that only the definitions are compared.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sklearn.datasets import load_breast_cancer

EXAMPLES = Path("deploy/examples")
# Answers are fp32; figures are computed from them in double precision.
TOLERANCE = 1e-9
results = []


def expect(name, found, expected, tolerance=TOLERANCE):
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    same = found.shape == expected.shape and bool(np.all(np.abs(found - expected) <= tolerance))
    results.append(same)
    print(f"{'ok  ' if same else 'FAIL'}  {name}" + ("" if same else f": expected {expected}, found {found}"))


def answer(text):
    """The fp32 number that a text was written for; as a double the text itself is another number."""
    return float(np.float32(text))


def run(trainer, work, name, *sets):
    directory = work / name
    arguments = [argument for value in (*sets, "tracking.record=false") for argument in ("--set", value)]
    command = [trainer, "train", f"deploy/examples/{name}/train.yaml", "--output", directory, "--quiet", *arguments]
    subprocess.run(command, check=True)
    report = json.loads((directory / "report.json").read_text())
    with (directory / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    return directory, report, rows


def classes(name, report, rows):
    labels = report["labels"]
    truth = np.array([labels.index(row["target"]) for row in rows])
    predicted = np.array([int(row["class"]) for row in rows])
    p = np.array([[answer(row[f"p_{label}"]) for label in labels] for row in rows])
    expect(f"{name}: confusion matrix", report["confusion"], metrics.confusion_matrix(truth, predicted))
    each = metrics.precision_recall_fscore_support(truth, predicted)
    for key, values in zip(("precision", "recall", "f1", "support"), each, strict=True):
        expect(f"{name}: {key} of each class", [one[key] for one in report["classes"]], values)
    for average in ("macro", "weighted"):
        found = report["averages"][average]
        expected = metrics.precision_recall_fscore_support(truth, predicted, average=average)[:3]
        expect(f"{name}: {average} means", [found["precision"], found["recall"], found["f1"]], expected)
    expect(
        f"{name}: balanced accuracy, Matthews' correlation",
        [report["averages"]["balanced_accuracy"], report["averages"]["mcc"]],
        [metrics.balanced_accuracy_score(truth, predicted), metrics.matthews_corrcoef(truth, predicted)],
    )
    wanted = [1] if len(labels) == 2 else range(len(labels))
    for k, roc, pr in zip(wanted, report["roc"], report["precision_recall"], strict=True):
        positive = truth == k
        expect(f"{name}, {labels[k]}: area under the ROC curve", roc["auc"], metrics.roc_auc_score(positive, p[:, k]))
        false, true, _ = metrics.roc_curve(positive, p[:, k])
        expect(f"{name}, {labels[k]}: ROC curve", roc["points"], np.stack([false, true], axis=1))
        expect(
            f"{name}, {labels[k]}: average precision",
            pr["average_precision"],
            metrics.average_precision_score(positive, p[:, k]),
        )
        precision, recall, _ = metrics.precision_recall_curve(positive, p[:, k])
        if len(recall) <= 200:
            expected = np.stack([recall, precision], axis=1)[::-1]
            expect(f"{name}, {labels[k]}: precision and recall", pr["points"], expected)
    areas = report["areas"]
    if len(labels) > 2:
        # scikit-learn wants rows that add up to 1 more exactly than fp32 does.
        q = p / p.sum(axis=1, keepdims=True)
        for average in ("macro", "weighted"):
            expected = metrics.roc_auc_score(truth, q, multi_class="ovr", average=average)
            expect(f"{name}: {average} area, one against the others", areas[f"auc_{average}"], expected, 1e-6)
        one_hot = np.eye(len(labels))[truth]
        expected = metrics.average_precision_score(one_hot, p)
        expect(f"{name}: mean average precision", areas["average_precision_macro"], expected)
    calibration = report["calibration"]
    if len(labels) == 2:
        chosen, came_true = p[:, 1], truth == 1
        expect(f"{name}: Brier score", calibration["brier"], metrics.brier_score_loss(came_true, chosen))
        thresholds(name, report, rows, truth, p[:, 1])
    else:
        chosen, came_true = p[np.arange(len(p)), predicted], truth == predicted
        expect(
            f"{name}: Brier score", calibration["brier"], np.mean(np.sum((p - np.eye(len(labels))[truth]) ** 2, axis=1))
        )
    bins = [one for one in calibration["bins"] if one["count"]]
    share, mean = calibration_curve(came_true, chosen, n_bins=10)
    expect(f"{name}: calibration, what came true", [one["share"] for one in bins], share)
    expect(f"{name}: calibration, probabilities", [one["mean_probability"] for one in bins], mean)
    counts = np.array([one["count"] for one in bins])
    expected = np.sum(counts * np.abs(share - mean)) / np.sum(counts)
    expect(f"{name}: expected calibration error", calibration["expected_calibration_error"], expected)


def thresholds(name, report, rows, truth, p):
    for one in report["thresholds"][::10]:
        # Halves in fp32 are halves in fp64; other hundredths are not, but no answer lies between the two.
        predicted = p >= one["threshold"]
        expected = [
            metrics.precision_score(truth, predicted, zero_division=0),
            metrics.recall_score(truth, predicted),
            metrics.f1_score(truth, predicted),
            metrics.balanced_accuracy_score(truth, predicted),
            metrics.matthews_corrcoef(truth, predicted),
        ]
        found = [one[key] for key in ("precision", "recall", "f1", "balanced_accuracy", "mcc")]
        expect(f"{name}: figures at the threshold {one['threshold']}", found, expected)
    chosen = report["threshold"]
    expected = metrics.f1_score(truth, p >= chosen["threshold"])
    expect(f"{name}: F1 of the test rows at the chosen threshold", chosen["test"]["f1"], expected)
    served = [row["class"] == "1" for row in rows]
    expect(f"{name}: the served class keeps to the threshold", served, p >= chosen["threshold"])


def numbers(report, rows):
    truth = np.array([float(row["target"]) for row in rows])
    predicted = np.array([answer(row["prediction"]) for row in rows])
    residuals = truth - predicted
    found = report["residuals"]
    expect(
        "diabetes: residuals, mean and deviation",
        [found["mean"], found["deviation"]],
        [residuals.mean(), residuals.std()],
    )
    quantiles = list(found["quantiles"].items())
    expected = np.quantile(residuals, [float(key) for key, _ in quantiles])
    expect("diabetes: quantiles of residuals", [value for _, value in quantiles], expected)
    counts, _ = np.histogram(residuals, bins=len(found["histogram"]))
    expect("diabetes: histogram of residuals", found["histogram"], counts)
    test = report["test"]
    expected = [metrics.r2_score(truth, predicted), metrics.mean_absolute_error(truth, predicted)]
    expect("diabetes: R² and mean absolute error", [test["r2"], test["mae"]], expected)


def subgroups(report, rows):
    """The groups of a column of numbers are quarters of its values in the test rows."""
    for column in report["subgroups"]:
        expect(f"subgroups of {column['column']}: rows", sum(one["rows"] for one in column["groups"]), len(rows))
        weighted = sum(one["rows"] * one["figures"]["accuracy"] for one in column["groups"]) / len(rows)
        expect(f"subgroups of {column['column']}: accuracies add up", weighted, report["test"]["accuracy"])


def labelled(work, directory, report, **columns):
    """The rows of test.csv with their truth, the half of the table that they are in, and more columns."""
    with (directory / "test.csv").open() as test, (directory / "predictions.csv").open() as predictions:
        rows, answers = list(csv.reader(test)), list(csv.DictReader(predictions))
    table = work / "labelled.csv"
    with table.open("w") as file:
        writer = csv.writer(file)
        writer.writerow([*rows[0], report["target"], "half", *columns])
        for index, (row, answer) in enumerate(zip(rows[1:], answers, strict=True)):
            half = "first" if index * 2 < len(answers) else "second"
            writer.writerow([*row, answer["target"], half, *(column[index] for column in columns.values())])
    return table


def judge(trainer, directory, table, *arguments):
    command = [trainer, "evaluate", directory / "model.ntb", "--data", table, "--json", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def evaluate(trainer, work, directory, report):
    """The bundle judged on the rows of test.csv with their truth says what the run said of it."""
    found = judge(trainer, directory, labelled(work, directory, report), "--subgroup", "half")
    for key, value in report["test"].items():
        expect(f"evaluate: {key}", found["test"][key], value)
    expect("evaluate: confusion matrix", found["confusion"], report["confusion"])
    counts = [one["rows"] for one in found["subgroups"][0]["groups"]]
    expected = [report["rows"]["test"] // 2, -(-report["rows"]["test"] // 2)]
    expect("evaluate: rows by a column that is no feature", sorted(counts), expected)


def weighted(trainer, work):
    """Rows count by a column times the weights of their classes: `sample_weight` of scikit-learn."""
    data = load_breast_cancer()
    random = np.random.default_rng(5)
    weights = random.integers(0, 4, size=len(data.target)).astype(float) / 2
    table = work / "weighted.csv"
    with table.open("w") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{k}" for k in range(5)), "w", "kind"])
        for row, weight, target in zip(data.data[:, :5], weights, data.target, strict=True):
            writer.writerow([*map(repr, map(float, row)), weight, ["bad", "good"][target]])
    (work / "weighted.yaml").write_text(
        f"data: {{ files: [{table}] }}\ntarget: {{ column: kind, weight: w }}\n"
        "model: { family: logistic_regression }\ntraining: { class_weights: balanced }\n"
        "evaluation: { threshold_for: f1 }\ntracking: { record: false }\n"
    )
    directory = work / "weighted"
    command = [trainer, "train", work / "weighted.yaml", "--output", directory, "--quiet"]
    subprocess.run(command, check=True)
    report = json.loads((directory / "report.json").read_text())
    with (directory / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (directory / "split.csv").open() as file:
        train = [int(row["row"]) - 1 for row in csv.DictReader(file) if row["part"] == "train"]
    # scikit-learn's `balanced` counts rows; here they count by their weights, as repeated rows would.
    totals = np.bincount(data.target[train], weights[train])
    classes = totals.sum() / (2 * totals)
    chosen = [int(row["row"]) - 1 for row in rows]
    truth = data.target[chosen]
    sample = weights[chosen] * np.float32(classes)[truth]
    predicted = np.array([int(row["class"]) for row in rows])
    p = np.array([[answer(row["p_bad"]), answer(row["p_good"])] for row in rows])
    # scikit-learn wants rows that add up to 1 more exactly than fp32 does.
    q = p / p.sum(axis=1, keepdims=True)
    keys = ("precision", "recall", "f1", "support")
    each = metrics.precision_recall_fscore_support(truth, predicted, sample_weight=sample)
    found = report["test_weighted"]
    macro = metrics.precision_recall_fscore_support(truth, predicted, average="macro", sample_weight=sample)
    expect("weighted: accuracy", found["accuracy"], metrics.accuracy_score(truth, predicted, sample_weight=sample))
    expect("weighted: means over classes", [found[f"{key}_macro"] for key in keys[:3]], macro[:3])
    expect("weighted: log loss", found["log_loss"], metrics.log_loss(truth, q, sample_weight=sample), 1e-6)
    expect("weighted: area", found["auc"], metrics.roc_auc_score(truth, p[:, 1], sample_weight=sample))
    own = report["by_weight"]
    for key, values in zip(keys, each, strict=True):
        expect(f"weighted: {key} of each class", [one[key] for one in own["classes"]], values)
    expect(
        "weighted: balanced accuracy, Matthews' correlation",
        [own["averages"]["balanced_accuracy"], own["averages"]["mcc"]],
        [
            metrics.balanced_accuracy_score(truth, predicted, sample_weight=sample),
            metrics.matthews_corrcoef(truth, predicted, sample_weight=sample),
        ],
    )
    plain = [metrics.accuracy_score(truth, predicted), metrics.roc_auc_score(truth, p[:, 1])]
    expect("weighted: figures of rows that count alike", [report["test"]["accuracy"], report["test"]["auc"]], plain)
    table = labelled(work, directory, report, w=weights[chosen])
    found = judge(trainer, directory, table, "--weight", "w", "--subgroup", "half")
    weighted_curves(found["by_weight"], truth, predicted, p[:, 1], weights[chosen])
    groups(found, truth, predicted, weights[chosen], metrics.accuracy_score, "accuracy")


def weighted_curves(found, truth, predicted, p, sample):
    """Sums of halves are exact, so that both sides leave out the same points on a line."""
    expected = metrics.confusion_matrix(truth, predicted, sample_weight=sample)
    expect("weighted: confusion matrix", found["confusion"], expected)
    false, true, _ = metrics.roc_curve(truth, p, sample_weight=sample)
    expect("weighted: ROC curve", found["roc"][0]["points"], np.stack([false, true], axis=1))
    expect("weighted: ROC area", found["roc"][0]["auc"], metrics.roc_auc_score(truth, p, sample_weight=sample))
    precision, recall, _ = metrics.precision_recall_curve(truth, p, sample_weight=sample)
    curve = found["precision_recall"][0]
    expect("weighted: precision and recall", curve["points"], np.stack([recall, precision], axis=1)[::-1])
    expected = metrics.average_precision_score(truth, p, sample_weight=sample)
    expect("weighted: average precision", curve["average_precision"], expected)
    calibration = found["calibration"]
    expected = metrics.brier_score_loss(truth, p, sample_weight=sample)
    expect("weighted: Brier score", calibration["brier"], expected)
    # calibration_curve takes no weights; rows repeated as often as their halves say are the same.
    twice = np.repeat(np.arange(len(truth)), (2 * sample).astype(int))
    share, mean = calibration_curve(truth[twice], p[twice], n_bins=10)
    bins = [one for one in calibration["bins"] if one["count"]]
    expect("weighted: calibration, what came true", [one["share"] for one in bins], share)
    expect("weighted: calibration, probabilities", [one["mean_probability"] for one in bins], mean)
    counts = np.array([one["count"] for one in bins])
    expected = np.sum(counts * np.abs(share - mean)) / np.sum(sample)
    expect("weighted: expected calibration error", calibration["expected_calibration_error"], expected)
    for one in found["thresholds"][::25]:
        at = p >= one["threshold"]
        expected = [
            metrics.f1_score(truth, at, sample_weight=sample),
            metrics.balanced_accuracy_score(truth, at, sample_weight=sample),
            metrics.matthews_corrcoef(truth, at, sample_weight=sample),
        ]
        found_here = [one[key] for key in ("f1", "balanced_accuracy", "mcc")]
        expect(f"weighted: figures at the threshold {one['threshold']}", found_here, expected)


def groups(report, truth, predicted, sample, metric, key):
    """Rows of the first half of the table, and of the second."""
    first = np.arange(len(truth)) * 2 < len(truth)
    for one in report["subgroups"][0]["groups"]:
        rows = first if one["group"] == "first" else ~first
        expected = [sample[rows].sum(), metric(truth[rows], predicted[rows], sample_weight=sample[rows])]
        found = [one["weight"], one["figures_weighted"][key]]
        expect(f"weighted: weight and {key} of the {one['group']} half", found, expected)


def weighted_numbers(trainer, work, directory, report, rows):
    """The residuals of a regression by weight: `average`, `quantile` and `histogram` of NumPy with weights."""
    truth = np.array([float(row["target"]) for row in rows])
    predicted = np.array([answer(row["prediction"]) for row in rows])
    sample = np.random.default_rng(6).integers(0, 4, size=len(truth)) / 2
    table = labelled(work, directory, report, w=sample)
    found = judge(trainer, directory, table, "--weight", "w", "--subgroup", "half")
    groups(found, truth, predicted, sample, metrics.mean_absolute_error, "mae")
    own = found["by_weight"]["residuals"]
    counted = sample > 0
    residuals, weights = (truth - predicted)[counted], sample[counted]
    mean = np.average(residuals, weights=weights)
    deviation = np.sqrt(np.average((residuals - mean) ** 2, weights=weights))
    expect("weighted: residuals, mean and deviation", [own["mean"], own["deviation"]], [mean, deviation])
    quantiles = list(own["quantiles"].items())
    expected = np.quantile(residuals, [float(key) for key, _ in quantiles], weights=weights, method="inverted_cdf")
    expect("weighted: quantiles of residuals", [value for _, value in quantiles], expected)
    expected, _ = np.histogram(residuals, bins=len(own["histogram"]), weights=weights)
    expect("weighted: histogram of residuals", own["histogram"], expected)


def main(trainer, work):
    sets = ("evaluation.threshold_for=f1", "evaluation.subgroups=[mean_radius]")
    directory, report, rows = run(trainer, work, "breast_cancer", *sets)
    classes("breast_cancer", report, rows)
    subgroups(report, rows)
    evaluate(trainer, work, directory, report)
    _, report, rows = run(trainer, work, "digits")
    classes("digits", report, rows)
    directory, report, rows = run(trainer, work, "diabetes")
    numbers(report, rows)
    weighted_numbers(trainer, work, directory, report, rows)
    weighted(trainer, work)
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
