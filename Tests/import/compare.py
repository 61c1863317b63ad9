"""Trains models with other libraries, imports each, and compares every answer.

compare.py TRAINER FOLDER ROWS [LIBRARY...]

The expected answers are those of the library's own predict methods. Sums of XGBoost are fp32 and must be equal; those
of the others are fp64 and may differ by what one rounding to fp32 takes, and labels may never differ.
"""

from __future__ import annotations

import sys

import numpy as np
from boosters import labels, lightgbm_models, xgboost_models
from harness import (
    check,
    columns,
    compared,
    failures,
    folder,
    needletail_export,
    rounds,
    row_count,
    table,
    targets,
    training_rows,
)
from pipelines import sklearn_pipelines


def catboost_models() -> None:
    import catboost
    import pandas as pd

    version = catboost.__version__
    variants = [
        ("RMSE", "number", {}),
        ("MAE", "number", {}),
        ("Quantile", "number", {}),
        ("Poisson", "count", {}),
        ("Tweedie:variance_power=1.5", "positive", {}),
        ("Logloss", "binary", {}),
        ("MultiClass", "classes", {}),
        ("MultiClassOneVsAll", "classes", {}),
        ("MultiRMSE", "targets", {}),
        ("MultiRMSEWithMissingValues", "targets", {}),
        ("MultiLogloss", "labels", {}),
        ("MultiCrossEntropy", "labels", {}),
        ("MultiQuantile:alpha=0.2,0.5,0.9", "number", {}),
        ("MultiClass", "classes", {"grow_policy": "Lossguide"}),
        ("MultiLogloss", "labels", {"grow_policy": "Depthwise"}),
        ("CrossEntropy", "share", {}),
        ("Huber:delta=1", "number", {}),
        ("LogLinQuantile", "positive", {}),
        ("RMSE", "number", {"grow_policy": "Lossguide"}),
        ("Logloss", "binary", {"grow_policy": "Depthwise"}),
        ("RMSE", "number", {"nan_mode": "Max"}),
    ]
    for index, (loss, kind, more) in enumerate(variants):
        for gaps in (False, True):
            train = table(training_rows, gaps, 500 + index)
            model = catboost.CatBoost(
                {
                    "loss_function": loss,
                    "iterations": rounds,
                    "depth": 5,
                    "verbose": 0,
                    "allow_writing_files": False,
                    "thread_count": 2,
                    **more,
                }
            )
            model.fit(train, targets(train, kind))
            path = folder / "model.json"
            model.save_model(str(path), format="json")
            rows = table(row_count, gaps, 600 + index)
            raw = model.predict(rows, prediction_type="RawFormulaVal")
            answers = {"raw": raw}
            if kind in ("binary", "classes") and loss != "MultiClassOneVsAll":
                answers["p"] = model.predict(rows, prediction_type="Probability")
                answers["prediction"] = labels(answers["p"])
            elif kind == "labels":
                # Several labels of a row, each a number between 0 and 1.
                answers["prediction"] = model.predict(rows, prediction_type="Probability")
            elif loss in ("Poisson", "LogLinQuantile") or loss.startswith("Tweedie"):
                answers["prediction"] = model.predict(rows, prediction_type="Exponent")
            check(
                f"catboost {version} {loss} {more}{', gaps' if gaps else ''}",
                str(path),
                [str(column) for column in range(columns)],
                rows.tolist(),
                answers,
            )

    def frame(rows: int, seed: int) -> object:
        generator = np.random.default_rng(seed)
        values = table(rows, False, seed)
        return pd.DataFrame(
            {
                "colour": generator.choice(["red", "green", "blue", "grey"], rows),
                "a": values[:, 0],
                "shape": generator.choice(["round", "flat"], rows),
            }
        )

    train = frame(training_rows, 71)
    wanted = (train["colour"].str.len() * train["a"] + train["shape"].str.len()).to_numpy()
    pool = catboost.Pool(train, wanted, cat_features=["colour", "shape"])
    model = catboost.CatBoost(
        {
            "loss_function": "RMSE",
            "iterations": 15,
            "depth": 4,
            "one_hot_max_size": 10,
            "verbose": 0,
            "allow_writing_files": False,
        }
    )
    model.fit(pool)
    path = folder / "model.json"
    model.save_model(str(path), format="json", pool=pool)
    rows = frame(row_count, 72)
    check(
        f"catboost {version} categories",
        str(path),
        list(rows.columns),
        rows.values.tolist(),
        {"raw": model.predict(catboost.Pool(rows, cat_features=["colour", "shape"]))},
    )


def sklearn_models() -> None:
    from sklearn import ensemble, tree

    models = [
        (tree.DecisionTreeClassifier(max_depth=6), "classes"),
        (tree.DecisionTreeRegressor(), "number"),
        (ensemble.RandomForestClassifier(20, max_depth=8), "classes"),
        (ensemble.RandomForestRegressor(20), "number"),
        (ensemble.ExtraTreesClassifier(20), "binary"),
        (ensemble.ExtraTreesRegressor(10, max_depth=9), "number"),
        (ensemble.GradientBoostingClassifier(n_estimators=15), "binary"),
        (ensemble.GradientBoostingClassifier(n_estimators=15), "classes"),
        (ensemble.GradientBoostingRegressor(n_estimators=15, loss="huber"), "number"),
        (ensemble.HistGradientBoostingClassifier(max_iter=15), "binary"),
        (ensemble.HistGradientBoostingClassifier(max_iter=15), "classes"),
        (ensemble.HistGradientBoostingRegressor(max_iter=15), "number"),
        (ensemble.HistGradientBoostingRegressor(max_iter=15, loss="poisson"), "count"),
        (ensemble.IsolationForest(n_estimators=20, random_state=1), "number"),
    ]
    for model, kind in models:
        name = type(model).__name__
        gaps_allowed = name.startswith("HistGradient") or name.startswith(("RandomForest", "DecisionTree"))
        for gaps in (False, True) if gaps_allowed else (False,):
            train = table(training_rows, gaps, 81)
            model.fit(train, targets(train, kind))
            rows = table(row_count, gaps, 82)
            path = folder / "model.json"
            needletail_export.export(model, path)
            header, answers = needletail_export._answers(model, "sklearn", rows)
            columns_of = {
                column: np.array([float(row[place]) for row in answers]) for place, column in enumerate(header)
            }
            check(
                f"scikit-learn {name}, {kind}{', gaps' if gaps else ''}",
                str(path),
                [f"x{column}" for column in range(columns)],
                rows.tolist(),
                columns_of,
            )


makers = {
    "xgboost": [xgboost_models],
    "lightgbm": [lightgbm_models],
    "catboost": [catboost_models],
    "sklearn": [sklearn_models, sklearn_pipelines],
}
for library in sys.argv[4:] or makers:
    for make in makers[library]:
        make()
print(f"\n{len(compared) - len(failures)} passed, {len(failures)} failed")
sys.exit(1 if failures else 0)
