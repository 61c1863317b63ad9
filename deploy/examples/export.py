#!/usr/bin/env python3
"""Exports the example data sets from scikit-learn as CSV, once.

The files are committed; this script shows where they come from:

    python3 -m pip install scikit-learn
    python3 deploy/examples/export.py
"""

import csv
from pathlib import Path

from sklearn import datasets

HERE = Path(__file__).resolve().parent


def number(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def write(name: str, columns: list[str], rows, target: str, targets) -> None:
    path = HERE / name / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*columns, target])
        for row, value in zip(rows, targets):
            writer.writerow([*(number(cell) for cell in row), value])
    print(f"{path.relative_to(HERE)}: {len(rows)} rows, {len(columns)} features")


def snake(name: str) -> str:
    return name.replace("/", "_per_").replace(" ", "_").lower()


def main() -> None:
    digits = datasets.load_digits()
    write("digits", [snake(n) for n in digits.feature_names], digits.data, "digit", digits.target)

    wine = datasets.load_wine()
    write(
        "wine",
        [snake(n) for n in wine.feature_names],
        wine.data,
        "cultivar",
        [wine.target_names[t] for t in wine.target],
    )

    diabetes = datasets.load_diabetes(scaled=False)
    sex = diabetes.feature_names.index("sex")
    rows = [[int(cell) if i == sex else cell for i, cell in enumerate(row)] for row in diabetes.data]
    write("diabetes", diabetes.feature_names, rows, "progression", [number(t) for t in diabetes.target])

    cancer = datasets.load_breast_cancer()
    write(
        "breast_cancer",
        [snake(n) for n in cancer.feature_names],
        cancer.data,
        "diagnosis",
        [cancer.target_names[t] for t in cancer.target],
    )


if __name__ == "__main__":
    main()
