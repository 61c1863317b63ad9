"""Compares `needletail explain` with the contributions that XGBoost, LightGBM and CatBoost compute themselves.

explain.py TRAINER FOLDER ROWS    the program `needletail` lies beside TRAINER

Every contribution and base value may differ by a millionth of the largest one: XGBoost computes them in fp32. For
models of scikit-learn, which has none of its own, the program checks on every row that they add up to the score.
"""

from __future__ import annotations

import csv
import pathlib
import subprocess
import time

import numpy as np
from harness import (
    compared,
    fail,
    failures,
    folder,
    needletail_export,
    row_count,
    table,
    targets,
    trainer,
    training_rows,
)

client = str(pathlib.Path(trainer).with_name("needletail"))
tolerance = 1e-6


def run(name: str, *command: str) -> bool:
    """Runs a program, and says whether it ended well."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        fail(name, done.stderr.strip())
    return done.returncode == 0


def explain(name: str, path: str, names: list[str], rows: list[list[object]], expected: np.ndarray | None) -> None:
    """Imports and explains; `expected` is rows × outputs × (features + base value)."""
    compared.append(name)
    data, bundle, found_path = folder / "rows.csv", folder / "m.ntb", folder / "found.csv"
    needletail_export._write_csv(str(data), names, [[needletail_export._cell(value) for value in row] for row in rows])
    if not run(name, trainer, "import", path, "--quiet", "--model", "m", "--output", str(bundle)):
        return
    began = time.monotonic()
    if not run(name, client, "explain", str(bundle), "--data", str(data), "--output", str(found_path)):
        return
    seconds = time.monotonic() - began
    with open(found_path, newline="") as file:
        lines = list(csv.reader(file))
    if lines[0] != ["row", "output", "base", "score", *names]:
        fail(name, f"expected a column for each feature, found {lines[0]}")
        return
    numbers = np.array([[float(cell) for cell in line[2:]] for line in lines[1:]])
    adding = np.abs(numbers[:, 0] + numbers[:, 2:].sum(axis=1) - numbers[:, 1]).max() / np.abs(numbers[:, 1]).max()
    if adding > 1e-5:
        fail(name, f"expected contributions that add up to the score, found a difference of {adding:.1e}")
        return
    if expected is None:
        print(f"{name:58s} {len(rows):7d} rows explained in {seconds:.2f} s, sums within {adding:.1e}")
        return
    found = np.concatenate([numbers[:, 2:], numbers[:, :1]], axis=1).reshape(expected.shape)
    largest = np.abs(found - expected).max() / np.abs(expected).max()
    if not largest <= tolerance:
        fail(name, f"expected contributions within {tolerance:.0e} of the largest, found {largest:.1e}")
        return
    print(f"{name:58s} {len(rows):7d} rows explained in {seconds:.2f} s  largest difference {largest:.1e}")


def frame(rows: int, seed: int) -> object:
    """Numbers with gaps and a column of categories."""
    import pandas as pd

    values = pd.DataFrame(table(rows, True, seed), columns=[f"f{column}" for column in range(6)])
    generator = np.random.default_rng(seed)
    values["colour"] = pd.Categorical(generator.choice(["red", "green", "blue", "grey", "white"], rows))
    return values


def shaded(values: object, kind: str) -> np.ndarray:
    return targets(values.iloc[:, :6].to_numpy() + 2 * (values["colour"] == "red").to_numpy()[:, None], kind)


def xgboost_models() -> None:
    import xgboost as xgb

    variants = [
        ("reg:squarederror", "number", {}),
        ("binary:logistic", "binary", {"base_score": 0.3}),
        ("count:poisson", "count", {"max_depth": 9}),
        ("multi:softprob", "classes", {"num_class": 4}),
        ("reg:squarederror", "number", {"booster": "dart", "rate_drop": 0.4}),
        ("binary:logistic", "binary", {"num_parallel_tree": 4, "subsample": 0.5}),
        (
            "reg:squarederror",
            "number",
            {"grow_policy": "lossguide", "max_leaves": 200, "max_depth": 0, "tree_method": "hist"},
        ),
        ("binary:logistic", "binary", {"max_cat_to_onehot": 1, "categories": True}),
        ("multi:softprob", "classes", {"num_class": 4, "max_cat_to_onehot": 100, "categories": True}),
    ]
    for index, (objective, kind, more) in enumerate(variants):
        settings = {"objective": objective, "max_depth": 5, **more}
        if settings.pop("categories", False):
            train, rows = frame(training_rows, 700 + index), frame(row_count, 800 + index)
            matrix = xgb.DMatrix(train, shaded(train, kind), enable_categorical=True)
            asked, cells = xgb.DMatrix(rows, enable_categorical=True), rows.values.tolist()
            names = list(rows.columns)
        else:
            train, rows = table(training_rows, index % 2 == 0, 700 + index), table(row_count, True, 800 + index)
            matrix, asked = xgb.DMatrix(train, targets(train, kind)), xgb.DMatrix(rows)
            names, cells = [f"f{column}" for column in range(6)], rows.tolist()
        model = xgb.train(settings, matrix, 12)
        path = folder / "model.json"
        model.save_model(str(path))
        explain(
            f"xgboost {xgb.__version__} {objective} {more}"[:58],
            str(path),
            names,
            cells,
            model.predict(asked, pred_contribs=True, approx_contribs=False),
        )


def lightgbm_models() -> None:
    import lightgbm as lgb

    variants = [
        ("regression", "number", {}),
        ("binary", "binary", {"num_leaves": 63}),
        ("poisson", "count", {}),
        ("multiclass", "classes", {"num_class": 4}),
        ("multiclass", "classes", {"num_class": 4, "categories": True, "min_data_per_group": 5, "cat_smooth": 1}),
        ("binary", "binary", {"boosting": "dart", "drop_rate": 0.4}),
        (
            "regression",
            "number",
            {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7, "boost_from_average": False},
        ),
        ("binary", "binary", {"categories": True, "min_data_per_group": 5, "cat_smooth": 1}),
        ("binary", "binary", {"zero_as_missing": True}),
    ]
    for index, (objective, kind, more) in enumerate(variants):
        settings = {"objective": objective, "verbose": -1, **more}
        if settings.pop("categories", False):
            train, rows = frame(training_rows, 900 + index), frame(row_count, 950 + index)
            data, names, cells = lgb.Dataset(train, shaded(train, kind)), list(rows.columns), rows.values.tolist()
        else:
            train, rows = table(training_rows, index % 2 == 0, 900 + index), table(row_count, True, 950 + index)
            data, names = lgb.Dataset(train, targets(train, kind)), [f"Column_{column}" for column in range(6)]
            cells = rows.tolist()
        model = lgb.train(settings, data, 12)
        path = folder / "model.txt"
        model.save_model(str(path))
        expected = model.predict(rows, pred_contrib=True)
        if settings.get("boosting") == "rf":
            # The library adds contributions up where its answers are means.
            expected = expected / model.current_iteration()
        explain(
            f"lightgbm {lgb.__version__} {objective} {more}"[:58],
            str(path),
            names,
            cells,
            expected.reshape(row_count, -1, len(names) + 1),
        )


def catboost_models() -> None:
    import catboost

    for index, (loss, kind, more) in enumerate(
        [("RMSE", "number", {}), ("Logloss", "binary", {"depth": 3}), ("MultiClass", "classes", {"depth": 4})]
    ):
        train, rows = table(training_rows, True, 980 + index), table(row_count, True, 990 + index)
        settings = {"loss_function": loss, "iterations": 12, "verbose": 0, "allow_writing_files": False, **more}
        model = catboost.CatBoost(settings).fit(train, targets(train, kind))
        path = folder / "model.json"
        model.save_model(str(path), format="json")
        expected = model.get_feature_importance(catboost.Pool(rows), type="ShapValues")
        explain(
            f"catboost {catboost.__version__} {loss} {more}",
            str(path),
            [str(column) for column in range(6)],
            rows.tolist(),
            expected.reshape(row_count, -1, 7),
        )


def sklearn_models() -> None:
    from sklearn import ensemble

    for index, (estimator, kind) in enumerate(
        [
            (ensemble.RandomForestClassifier(n_estimators=20, max_depth=8, random_state=1), "classes"),
            (ensemble.GradientBoostingRegressor(n_estimators=30, random_state=1), "number"),
            (ensemble.HistGradientBoostingClassifier(max_iter=20), "binary"),
        ]
    ):
        train, rows = table(training_rows, False, 1000 + index), table(row_count, False, 1010 + index)
        estimator.fit(train, targets(train, kind))
        path = folder / "model.json"
        needletail_export.export(estimator, path)
        names = [f"x{column}" for column in range(6)]
        explain(type(estimator).__name__, str(path), names, rows.tolist(), None)


if __name__ == "__main__":
    xgboost_models()
    lightgbm_models()
    catboost_models()
    sklearn_models()
    print(f"{len(compared) - len(failures)} of {len(compared)} models explain their answers as their libraries do")
    raise SystemExit(1 if failures else 0)
