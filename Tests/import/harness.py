"""Rows, targets and the comparison that all libraries share; its arguments are those of `compare.py`."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import warnings

import numpy as np

root = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(root / "clients/python/src/needletail"))
import export as needletail_export  # noqa: E402  this package alone: the client around it needs protobuf

warnings.filterwarnings("ignore")
trainer, folder, row_count = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
#: The long mode has models as people train them; the short one has many small ones.
is_long = row_count >= 50_000
training_rows, rounds = (6000, 60) if is_long else (1500, 12)
columns = 6
failures: list[str] = []
compared: list[str] = []


def table(rows: int, gaps: bool, seed: int) -> np.ndarray:
    """Numbers of several magnitudes, with ties; every tenth is missing where there are gaps."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(rows, columns))
    values[:, 1] *= 1e6
    values[:, 2] = np.round(values[:, 2], 1)
    values[:, 3] = generator.integers(0, 5, rows)
    values[:, 4] *= 1e-6
    values[generator.random((rows, columns)) < 0.02] = 0
    if gaps:
        values[generator.random((rows, columns)) < 0.1] = np.nan
    return values


def targets(values: np.ndarray, kind: str) -> np.ndarray:
    plain = np.nan_to_num(values)
    score = plain[:, 0] + plain[:, 2] * plain[:, 3] / 3 + plain[:, 1] / 1e6
    if kind == "number":
        return score
    if kind == "positive":
        return np.exp(score / 4) + 0.01
    if kind == "count":
        return np.floor(np.exp(np.clip(score / 3, -2, 2)))
    if kind == "share":
        return 1 / (1 + np.exp(-score))
    if kind == "targets":
        return np.stack([score, np.exp(score / 4), 1 / (1 + np.exp(-plain[:, 3]))], 1)
    if kind == "labels":
        return np.stack([score > 0, plain[:, 0] > plain[:, 2], plain[:, 3] > 2], 1).astype(int)
    if kind == "classes":
        return np.digitize(score, [-1, 0.5, 2]).astype(int)
    return (score > 0).astype(int)


def check(
    name: str,
    path: str,
    names: list[str],
    rows: list[list[object]],
    answers: dict[str, np.ndarray],
    *options: str,
    exact: tuple[str, ...] = (),
) -> None:
    """Imports a model and compares the answers; those named as exact must be equal in each row, as labels are."""
    data, expected = folder / "rows.csv", folder / "expected.csv"
    needletail_export._write_csv(str(data), names, [[needletail_export._cell(value) for value in row] for row in rows])
    needletail_export._write_csv(str(expected), *needletail_export._table(answers))
    compare(name, path, data, expected, *options, exact=exact)


def check_export(name: str, model: object, rows: object) -> None:
    """Exports a model with rows and answers, as its users do, and imports the three files."""
    try:
        paths = needletail_export.export(model, folder / "model.json", data=rows)
    except (TypeError, ValueError) as error:
        compared.append(name)
        fail(name, str(error))
    else:
        compare(name, *paths)


def fail(name: str, reason: str) -> None:
    failures.append(name)
    print(f"FAILED {name}: {reason}")


def compare(name: str, path: str, data: object, expected: object, *options: str, exact: tuple[str, ...] = ()) -> None:
    files = ["--data", str(data), "--expected", str(expected), "--output", str(folder / "m.ntb")]
    command = [trainer, "import", path, *files, "--json", "--model", "m", *options]
    run = subprocess.run(command, capture_output=True, text=True)
    compared.append(name)
    if run.returncode != 0:
        fail(name, run.stderr.strip())
        return
    report = json.loads(run.stdout)
    differences = report["largest_difference"]
    unequal = {column: value for column, value in differences.items() if exact and column.startswith(exact) and value}
    if unequal:
        fail(name, f"expected equal sums, found differences {unequal}")
        return
    largest = max(differences.values(), default=0)
    relative = max(
        (value for column, value in report["largest_relative_difference"].items() if column.startswith("raw")),
        default=0,
    )
    if relative > 1e-6:
        fail(name, f"expected sums within 1e-6 of the library's, relative to them, found {relative:.1e}")
        return
    print(
        f"{name:66s} {report['trees']:5d} trees {report['rows_compared']:7d} rows  "
        f"sums within {relative:.1e}, all within {largest:.1e}"
    )
