"""bits.py WORK ADDRESS: needletail.load against the client of a server with the same bundles, bit by bit."""

import csv
import sys
import warnings
from pathlib import Path

import needletail
import numpy as np

work, address = Path(sys.argv[1]), sys.argv[2]
failures = []
# What was compared.
done = []


def outcome(ask):
    """Everything that a caller learns of a call, for comparison."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            answer = ask()
        except needletail.NeedletailError as error:
            return type(error).__name__, error.code, error.message
    arrays = {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in answer.outputs.items()}
    return answer.model, answer.version, arrays, [str(warning.message) for warning in said]


def compare(client, model, what, inputs, **options):
    done.append(what)
    there = outcome(lambda: client.predict(model.name, inputs, timeout=None, **options))
    here = outcome(lambda: model.predict(inputs, **options))
    if there != here:
        failures.append(f"{model.name}, {what}: server {str(there)[:300]}, here {str(here)[:300]}")


def compare_bundle(client, path):
    name = path.parent.name
    with open(work / "runs" / name / "test.csv", newline="", encoding="utf-8") as file:
        names, *cells = csv.reader(file)
    with needletail.load(path, trust=work / "trust.yaml", model=name, version=1) as model:
        compare(client, model, "text rows", cells)
        columns = {column: [row[index] or None for row in cells] for index, column in enumerate(names)}
        compare(client, model, "text columns", columns)
        compare(client, model, "records", [dict(zip(names, row)) for row in cells[:5]])
        compare(client, model, "one output", columns, outputs=[model.describe().outputs[-1].name])
        compare(client, model, "an unknown output", columns, outputs=["lable"])
        compare(client, model, "an extra column", columns | {"colour of the sky": ["blue"] * len(cells)})
        compare(client, model, "a missing column", dict(list(columns.items())[1:]))
        compare(client, model, "no rows", {column: [] for column in names})
        compare(client, model, "unequal columns", columns | {names[0]: columns[names[0]][:-1]})
        compare(client, model, "five thousand rows", {key: (values * 600)[:5000] for key, values in columns.items()})
        compare(client, model, "bytes that are no text", columns | {names[0]: [b"\xff\xfe"] * len(cells)})
        if any(spec.type == "string" for spec in model.describe().inputs):
            return
        rows = np.array(cells, dtype=np.float64)
        for dtype in (np.float64, np.float32, ">f4", np.float16, np.int64, np.int32, np.uint8, np.int8, bool):
            compare(client, model, f"rows of {np.dtype(dtype)}", rows.astype(dtype))
        for row in rows:
            compare(client, model, "one row of f64", row[None])
            compare(client, model, "one row of f32", row[None].astype(np.float32))
        compare(client, model, "rows in Fortran's order", np.asfortranarray(rows))
        compare(client, model, "every other row", rows[::2])
        compare(client, model, "the protocol's tensor", {"features": rows})
        compare(client, model, "a column too many", np.hstack([rows, rows[:, :1]]))
        compare(client, model, "one row a column short", rows[:1, 1:])
        compare(client, model, "one dimension", rows[0])
        compare(client, model, "no rows at all", rows[:0])
        for value in (np.nan, np.inf, -np.inf, 1e39):
            for dtype in (np.float64, np.float32):
                with np.errstate(over="ignore"):
                    wrong = rows[:3].astype(dtype)
                    wrong[-1, -1] = value
                compare(client, model, f"{value} in a row", wrong)
                compare(client, model, f"{value} in one row", wrong[2:])


bundles = sorted((work / "store").glob("*/1.ntb"))
with needletail.Client(address) as client:
    for bundle in bundles:
        compare_bundle(client, bundle)
        described, opened = client.describe(bundle.parent.name), needletail.load(bundle, trust=work / "trust.yaml")
        here = opened.describe()
        for field in ("model", "version", "state", "task", "inputs", "outputs", "labels", "digest", "signer", "created",
                      "metrics", "lineage", "precision", "isa", "plan"):  # fmt: skip
            done.append(field)
            if getattr(described, field) != getattr(here, field):
                failures.append(f"{bundle}: {field}: {getattr(described, field)!r}, here {getattr(here, field)!r}")
for failure in failures:
    print(f"FAILED  {failure}")
print(f"{len(done)} comparisons of {len(bundles)} bundles, {len(failures)} differ")
sys.exit(1 if failures or len(bundles) < 5 else 0)
