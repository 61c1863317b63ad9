"""Exports models of scikit-learn, XGBoost, LightGBM and CatBoost for ``needletail-trainer import``.

    import needletail.export

    needletail.export.export(model, "churn.json", data=frame)

writes the model to ``churn.json``, and with ``data`` also the rows to ``churn.rows.csv`` and the library's answers for
them to ``churn.expected.csv``. Then

    needletail-trainer import churn.json --data churn.rows.csv --expected churn.expected.csv

makes a bundle of it, and refuses to where one answer differs. It needs the library of the model, and numpy.

XGBoost, LightGBM and CatBoost write their own formats. Trees of scikit-learn, and a ``Pipeline`` that ends with trees
of scikit-learn, XGBoost or LightGBM, are written as one JSON object, with the preprocessing folded into the splits:

============  ====================================================================================================
format        ``needletail.export``; ``version`` is 1
source        library and version; ``objective`` is the estimator's class
link          what becomes of the sums: ``identity``, ``exponential``, ``probabilities``, ``softmax`` or ``binary``
element       ``float32`` or ``float64``: type of a feature when it is compared
outputs       number of sums; ``leaf_width`` is 1, or ``outputs`` where a leaf has a value for each
features      objects with ``name``, and ``missing``: ``refuse`` where the estimator takes no gaps, else ``impute``;
              ``categories`` of a column of text, and ``unknown``: ``refuse`` or ``zeros`` for what is none of them
labels        class labels; absent for regression
start         what the sums begin with; ``divisor`` divides them at the end; ``sums`` is ``float32`` or ``float64``
trees         objects with an element for each node: ``left`` and ``right`` (-1 at a leaf), ``feature``, ``threshold``
              (x ≤ threshold goes left), ``missing_left`` and ``value`` (``leaf_width`` for each node); ``sets`` has
              the codes of categories that go left, or null for a numeric split; ``cover`` is the weight of the training
              rows that reached a node, without which answers cannot be explained; ``output`` is the sum that the tree
              adds to
============  ====================================================================================================
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Sequence
from typing import Any

from . import _sklearn
from ._pipeline import category_name

__all__ = ["export"]


def export(model: Any, path: str | os.PathLike[str], data: Any = None) -> list[str]:
    """Writes a model for ``needletail-trainer import`` and returns the paths of the files written.

    ``data`` are rows as the model's ``predict`` takes them: an array, or a data frame, whose columns name the features.
    Raises ``TypeError`` for a model of another kind, and ``ValueError`` for one that cannot be exported, saying why.
    """
    path = os.fspath(path)
    names = _names(model, data)
    library = type(model).__module__.split(".")[0]
    if library == "xgboost":
        if not path.endswith((".json", ".ubj")):
            raise ValueError(f"expected a path that ends with .json or .ubj for a model of XGBoost, found {path}")
        (model.get_booster() if hasattr(model, "get_booster") else model).save_model(path)
    elif library == "lightgbm":
        getattr(model, "booster_", model).save_model(path)
    elif library == "catboost":
        model.save_model(path, format="json", pool=_catboost_pool(model, data))
    elif library == "sklearn":
        # Whole before the file is opened: a model that is refused leaves what stood there.
        text = json.dumps(_sklearn.document(model, names), allow_nan=False)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        raise TypeError(
            f"expected a model of scikit-learn, XGBoost, LightGBM or CatBoost, found {type(model).__qualname__}"
        )
    if data is None:
        return [path]
    base = os.path.splitext(path)[0]
    if library == "lightgbm":
        names = list(getattr(model, "booster_", model).feature_name())
    rows = data.values.tolist() if hasattr(data, "columns") else [list(row) for row in data]
    if names is None:
        prefix = {"xgboost": "f", "sklearn": "x"}.get(library, "")
        names = [f"{prefix}{index}" for index in range(len(rows[0]))]
    _write_csv(base + ".rows.csv", names, [[_cell(value) for value in row] for row in rows])
    _write_csv(base + ".expected.csv", *_answers(model, library, data))
    return [path, base + ".rows.csv", base + ".expected.csv"]


# ---------------------------------------------------------------- rows and answers


def _names(model: Any, data: Any) -> list[str] | None:
    """Names of the features: those of a data frame, or those that the estimator remembers."""
    columns = getattr(data, "columns", None)
    if columns is None:
        columns = getattr(model, "feature_names_in_", None)
    return None if columns is None else [str(name) for name in columns]


def _catboost_pool(model: Any, data: Any) -> Any:
    """The rows as CatBoost's own type: it writes the names of categories only if it sees them."""
    if data is None:
        return None
    import catboost

    return catboost.Pool(data, cat_features=model.get_cat_feature_indices())


def _plain(value: Any) -> Any:
    """A numpy scalar as Python's own number."""
    return value.item() if hasattr(value, "item") else value


def _cell(value: Any) -> str:
    value = _plain(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _write_csv(path: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def _answers(model: Any, library: str, data: Any) -> tuple[list[str], list[list[str]]]:
    """What the library itself answers for the rows, as the columns that ``--expected`` takes.

    The sums before the link are among them wherever the library tells them: they show that every bit is right, where
    answers behind a link may differ in the last one.
    """
    columns: dict[str, Any] = {}
    raw = _raw(model, data)
    if raw is not None:
        columns["raw"] = raw
    # Boosters of XGBoost and LightGBM answer as their objective says; their sums tell all.
    if library in ("xgboost", "lightgbm") and not hasattr(model, "get_params"):
        return _table(columns)
    if hasattr(model, "predict_proba") and getattr(model, "classes_", None) is not None:
        probabilities = model.predict_proba(data)
        names = [category_name(label) for label in model.classes_]
        columns.update({f"p_{name}": probabilities[:, index] for index, name in enumerate(names)})
    elif hasattr(model, "score_samples"):
        columns["prediction"] = -model.score_samples(data)
    else:
        columns["prediction"] = model.predict(data)
    return _table(columns)


def _raw(model: Any, data: Any) -> Any:
    """The sums of the trees before the link; None where the library does not tell them."""
    last = model.steps[-1][1] if type(model).__name__ == "Pipeline" else model
    library = type(last).__module__.split(".")[0]
    if library == "xgboost":
        if hasattr(last, "get_booster"):
            return model.predict(data, output_margin=True)
        import xgboost

        return model.predict(xgboost.DMatrix(data, enable_categorical=True), output_margin=True)
    if library == "lightgbm":
        raw = model.predict(data, raw_score=True)
        booster = getattr(last, "booster_", last)
        if "\naverage_output\n" in booster.model_to_string():
            # Scores of a random forest are sums, of which only the answers are the mean.
            raw = raw / (booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration())
        return raw
    if library == "catboost":
        return model.predict(data, prediction_type="RawFormulaVal")
    if type(last).__name__ in ("GradientBoostingClassifier", "HistGradientBoostingClassifier"):
        return model.decision_function(data)
    return None


def _table(columns: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    header: list[str] = []
    series: list[list[float]] = []
    for name, values in columns.items():
        if getattr(values, "ndim", 1) == 2:
            header += [f"{name}_{index}" for index in range(values.shape[1])]
            series += values.T.tolist()
        else:
            header.append(name)
            series.append(values.tolist())
    return header, [[repr(value) for value in row] for row in zip(*series)]
