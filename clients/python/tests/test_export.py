"""The exporter against the libraries whose models it writes.

Trees in the format ``needletail.export`` are walked here, in Python, so that the files are right whatever reads them.
``Tests/import/run`` runs this where the libraries are installed.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

sklearn_ensemble = pytest.importorskip("sklearn.ensemble")
sklearn_pipeline = pytest.importorskip("sklearn.pipeline")
sklearn_preprocessing = pytest.importorskip("sklearn.preprocessing")
pd = pytest.importorskip("pandas")

import needletail.export  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

Array = npt.NDArray[np.float64]
random = np.random.default_rng(3)
rows = random.normal(size=(300, 3)).round(3)
score = rows[:, 0] + rows[:, 1] * rows[:, 2]
classes = np.digitize(score, [-0.5, 0.5])


def read(path: Path) -> dict[str, list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return {column[0]: list(column[1:]) for column in zip(*csv.reader(file))}


def numbers(path: Path, *names: str) -> Array:
    table = read(path)
    return np.array([[float(text) for text in table[name]] for name in names]).T


def walk(document: dict[str, Any], row: Any) -> list[float]:
    """The sums of the trees for a row, as the format's documentation defines them."""
    outputs, width = document["outputs"], document["leaf_width"]
    sums = list(document.get("start") or [0.0] * outputs)
    for tree in document["trees"]:
        node = 0
        while tree["left"][node] >= 0:
            value = row[tree["feature"][node]]
            if document["element"] == "float32" and not isinstance(value, str):
                value = float(np.float32(value))
            sets = tree.get("sets")
            if isinstance(value, float) and math.isnan(value):
                left = bool(tree["missing_left"][node])
            elif sets and sets[node] is not None:
                names = document["features"][tree["feature"][node]]["categories"]
                left = value in names and names.index(value) in sets[node]
            else:
                left = value <= tree["threshold"][node]
            node = tree["left" if left else "right"][node]
        for place in range(width):
            output = tree.get("output", 0) if width == 1 else place
            sums[output] += tree["value"][node * width + place]
    return [total / document.get("divisor", 1.0) for total in sums]


def test_a_forest_is_written_with_its_rows_and_its_answers(tmp_path: Path) -> None:
    model = sklearn_ensemble.RandomForestClassifier(7, max_depth=5, random_state=1).fit(rows, classes)
    paths = needletail.export.export(model, tmp_path / "forest.json", data=rows)
    assert [Path(path).name for path in paths] == ["forest.json", "forest.rows.csv", "forest.expected.csv"]
    document = json.loads(Path(paths[0]).read_text())
    assert document["format"] == "needletail.export"
    assert document["version"] == 1
    assert document["labels"] == ["0", "1", "2"]
    assert [feature["name"] for feature in document["features"]] == ["x0", "x1", "x2"]
    expected = model.predict_proba(rows)
    assert np.allclose([walk(document, row) for row in rows], expected, atol=1e-12)
    assert (numbers(Path(paths[2]), "p_0", "p_1", "p_2") == expected).all()
    assert (numbers(Path(paths[1]), "x0", "x1", "x2") == rows).all()


def test_boosting_is_written_with_its_raw_sums(tmp_path: Path) -> None:
    gaps = rows.copy()
    gaps[::7, 0] = np.nan
    model = sklearn_ensemble.HistGradientBoostingClassifier(max_iter=10).fit(gaps, classes)
    paths = needletail.export.export(model, tmp_path / "m.json", data=gaps)
    raw = model.decision_function(gaps)
    document = json.loads(Path(paths[0]).read_text())
    assert document["link"] == "softmax"
    assert np.allclose([walk(document, row) for row in gaps], raw, atol=1e-9)
    assert (numbers(Path(paths[2]), "raw_0", "raw_1", "raw_2") == raw).all()
    # A gap is an empty cell.
    assert read(Path(paths[1]))["x0"][7] == ""


def test_preprocessing_is_folded_into_the_splits(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": rows[:, 0], "colour": random.choice(["red", "blue", "green"], len(rows))})
    compose = pytest.importorskip("sklearn.compose")
    prepare = compose.ColumnTransformer(
        [
            ("number", sklearn_preprocessing.StandardScaler(), ["a"]),
            ("text", sklearn_preprocessing.OneHotEncoder(handle_unknown="ignore"), ["colour"]),
        ]
    )
    model = sklearn_pipeline.make_pipeline(
        prepare, sklearn_ensemble.GradientBoostingRegressor(n_estimators=20, random_state=1)
    ).fit(frame, score + (frame["colour"] == "red"))
    paths = needletail.export.export(model, tmp_path / "m.json", data=frame)
    document = json.loads(Path(paths[0]).read_text())
    assert [feature["name"] for feature in document["features"]] == ["a", "colour"]
    assert set(document["features"][1]["categories"]) == {"red", "blue", "green"}
    strange = pd.concat([frame, pd.DataFrame({"a": [0.25], "colour": ["mauve"]})])
    found = [walk(document, row)[0] for row in strange.itertuples(index=False)]
    assert np.allclose(found, model.predict(strange), atol=1e-12)


def test_xgboost_is_saved_in_its_own_format_with_margins(tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    model = xgboost.XGBClassifier(n_estimators=5, max_depth=3).fit(rows, (score > 0).astype(int))
    with pytest.raises(ValueError, match=r"\.json or \.ubj"):
        needletail.export.export(model, tmp_path / "m.model")
    paths = needletail.export.export(model, tmp_path / "m.json", data=rows)
    margin = model.predict(rows, output_margin=True)
    assert (numbers(Path(paths[2]), "raw")[:, 0].astype(np.float32) == margin).all()
    assert set(read(Path(paths[2]))) == {"raw", "p_0", "p_1"}
    booster = needletail.export.export(model.get_booster(), tmp_path / "b.ubj", data=rows)
    assert (numbers(Path(booster[2]), "raw")[:, 0].astype(np.float32) == margin).all()


def test_lightgbm_is_saved_as_text_with_raw_scores(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    frame = pd.DataFrame(rows, columns=["a", "b", "c"])
    model = lightgbm.LGBMRegressor(n_estimators=5, objective="poisson", verbose=-1).fit(frame, np.exp(score / 4))
    paths = needletail.export.export(model, tmp_path / "m.txt", data=frame)
    assert Path(paths[0]).read_text().startswith("tree\n")
    assert (numbers(Path(paths[2]), "raw")[:, 0] == model.predict(frame, raw_score=True)).all()
    assert (numbers(Path(paths[2]), "prediction")[:, 0] == model.predict(frame)).all()
    # The mean of a forest, whose raw score is a sum.
    forest = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6, "verbose": -1}
    booster = lightgbm.train(forest, lightgbm.Dataset(frame, score), 6)
    paths = needletail.export.export(booster, tmp_path / "f.txt", data=frame)
    assert np.allclose(numbers(Path(paths[2]), "raw")[:, 0], booster.predict(frame), atol=1e-12)


def test_catboost_is_saved_with_names_of_categories(tmp_path: Path) -> None:
    catboost = pytest.importorskip("catboost")
    frame = pd.DataFrame({"a": rows[:, 0], "colour": random.choice(["red", "blue"], len(rows))})
    model = catboost.CatBoostClassifier(
        iterations=5, depth=3, verbose=0, allow_writing_files=False, one_hot_max_size=5, cat_features=["colour"]
    ).fit(frame, (score > 0).astype(int))
    paths = needletail.export.export(model, tmp_path / "m.json", data=frame)
    assert "red" in Path(paths[0]).read_text()
    raw = model.predict(frame, prediction_type="RawFormulaVal")
    assert (numbers(Path(paths[2]), "raw")[:, 0] == raw).all()


def test_other_models_are_refused_by_name(tmp_path: Path) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    with pytest.raises(TypeError, match="found LinearRegression"):
        needletail.export.export(linear.LinearRegression().fit(rows, score), tmp_path / "m.json")
    with pytest.raises(TypeError, match="found dict"):
        needletail.export.export({}, tmp_path / "m.json")
    several = sklearn_ensemble.RandomForestRegressor(2).fit(rows, rows)
    with pytest.raises(ValueError, match="one output, found 3"):
        needletail.export.export(several, tmp_path / "m.json")
    assert not list(tmp_path.iterdir())
