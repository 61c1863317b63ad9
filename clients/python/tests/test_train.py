"""`needletail.train` against real programs."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from needletail.train import Classifier, Regressor, TrainingFailed
from real_server import BINARIES, EXAMPLES

pytestmark = pytest.mark.skipif(not BINARIES, reason="NEEDLETAIL_BIN is not set")


def customers(rows: int = 800) -> tuple[pd.DataFrame, pd.Series]:
    """Numbers, text, truth values and gaps; who leaves depends on plan and age."""
    random = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "age": random.integers(18, 80, rows).astype(float),
            "plan": random.choice(["basic", "gold", "NA, with comma", 'a "quoted" one'], rows),
            "online": random.random(rows) < 0.5,
            "spent": random.normal(size=rows),
        }
    )
    leaves = (frame["plan"] == "basic") & (frame["age"] < 40) | (frame["spent"] > 1.5)
    frame.loc[random.random(rows) < 0.1, "age"] = np.nan
    frame.loc[random.random(rows) < 0.1, "plan"] = None
    return frame, leaves.map({True: "leaves", False: "stays"})


def test_a_classifier_learns_from_a_frame_and_answers_with_its_labels() -> None:
    frame, labels = customers()
    with Classifier(training={"patience": 20}).fit(frame[:600], labels[:600]) as model:
        assert model.classes_.tolist() == ["leaves", "stays"]
        assert model.feature_names_in_.tolist() == ["age", "plan", "online", "spent"]
        assert model.score(frame[600:], labels[600:]) > 0.85
        shares = model.predict_proba(frame[600:])
        assert shares.shape == (200, 2)
        np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
        assert (model.classes_[shares.argmax(axis=1)] == model.predict(frame[600:])).all()
        assert model.feature_importances_.argmin() == 2  # `online` decides nothing


@pytest.mark.parametrize("values", [[3, -1, 10], [True, False], [0.5, 2.0], ["b", "a", " spaced"]])
def test_labels_come_back_as_they_were_given(values: list[Any]) -> None:
    random = np.random.default_rng(2)
    codes = random.integers(0, len(values), 300)
    rows = codes[:, None] + random.normal(scale=0.05, size=(300, 2))
    labels = [values[code] for code in codes]
    with Classifier("random_forest", model={"trees": 5}).fit(rows, labels) as model:
        found = model.predict(rows)
        assert found.tolist() == labels
        assert {type(value) for value in found.tolist()} == {type(value) for value in values}


def test_a_regressor_answers_what_the_trainer_measured(tmp_path: Path) -> None:
    frame = pd.read_csv(EXAMPLES / "diabetes" / "diabetes.csv")
    target = frame.columns[-1]
    rows, numbers = frame.drop(columns=target), frame[target]
    with Regressor("linear_regression", test_fraction=0.2).fit(rows, numbers) as model:
        assert model.score(rows, numbers) == pytest.approx(model.metrics_["test"]["r2"], abs=0.1)
        # The reference: least squares by numpy on the same scale, good to the noise of the split.
        x = np.column_stack([rows.to_numpy(), np.ones(len(rows))])
        best = x @ np.linalg.lstsq(x, numbers.to_numpy(), rcond=None)[0]
        assert np.corrcoef(best, model.predict(rows))[0, 1] > 0.98


def test_rows_without_names_weights_and_groups_are_taken() -> None:
    random = np.random.default_rng(3)
    rows = random.normal(size=(400, 3)).astype(np.float32)
    y = rows[:, 0] * 2
    weights = np.where(np.arange(400) % 2 == 0, 1.0, 0.0)
    y[1::2] = 100  # without weight
    with Regressor(training={"patience": 0}).fit(rows, y, sample_weight=weights, groups=np.arange(400) // 4) as model:
        assert model.n_features_in_ == 3
        assert not hasattr(model, "feature_names_in_")
        assert np.abs(model.predict(rows)[::2] - y[::2]).mean() < 1


def test_gaps_are_filled_in_for_families_that_take_none() -> None:
    frame, labels = customers()
    with Classifier("logistic_regression").fit(frame, labels) as model:
        assert model.score(frame, labels) > 0.7


def test_a_pickled_estimator_answers_the_same() -> None:
    frame, labels = customers(300)
    with Classifier(model={"trees": 20}).fit(frame, labels) as model:
        expected = model.predict_proba(frame)
        restored = pickle.loads(pickle.dumps(model))
        with restored:
            np.testing.assert_array_equal(restored.predict_proba(frame), expected)


def test_a_published_bundle_is_that_of_the_estimator(tmp_path: Path) -> None:
    frame, labels = customers(300)
    model = Classifier(name="churn", model={"trees": 5}).fit(frame, labels)
    store = tmp_path / "store"
    store.mkdir()
    assert [model.publish(store), model.publish(store), model.publish(store, version=7)] == [1, 2, 7]
    model.save(tmp_path / "saved.ntb")
    assert (tmp_path / "saved.ntb").read_bytes() == model.bundle_
    assert sorted(path.name for path in (store / "churn").glob("*.ntb")) == ["1.ntb", "2.ntb", "7.ntb"]


def test_what_the_trainer_refuses_is_said_in_its_words() -> None:
    frame, labels = customers(300)
    with pytest.raises(TrainingFailed, match='^model: expected a known key, found "treees", did you mean "trees"?'):
        Classifier(model={"treees": 5}).fit(frame, labels)
    with pytest.raises(TrainingFailed, match="at least 2 classes"):
        Classifier().fit(frame, ["one"] * 300)
    with pytest.raises(ValueError, match="y: expected 300 values, one a row, found 299"):
        Classifier().fit(frame, labels[:299])
    with pytest.raises(ValueError, match="y: expected numbers, found nan"):
        Regressor().fit(frame, [np.nan] * 300)
    with pytest.raises(ValueError, match="labels that differ as text, found 'true' and True"):
        Classifier().fit(frame, np.array(["true", True, "x"] * 100, dtype=object))
    with pytest.raises(FileNotFoundError, match="NEEDLETAIL_BIN"):
        Classifier(programs="/nowhere").fit(frame, labels)
    with pytest.raises(ValueError, match="Classifier: expected fit"):
        Classifier().predict(frame)


def test_parameters_are_read_and_set_by_name() -> None:
    model = Classifier("mlp", seed=4, training={"epochs": 3})
    parameters = model.get_params()
    assert (parameters["family"], parameters["seed"], parameters["training"]) == ("mlp", 4, {"epochs": 3})
    assert model.set_params(seed=5).seed == 5
    assert type(model)(**copy.deepcopy(model.get_params())).get_params() == model.get_params()
    with pytest.raises(ValueError, match="speed"):
        model.set_params(speed=1)


def test_an_estimator_is_a_step_of_a_pipeline_and_can_be_searched() -> None:
    pytest.importorskip("sklearn")
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures

    random = np.random.default_rng(4)
    rows = random.normal(size=(240, 2))
    y = rows[:, 0] * rows[:, 1] > 0
    steps = make_pipeline(PolynomialFeatures(2, include_bias=False), Classifier("logistic_regression"))
    search = GridSearchCV(steps, {"classifier__model": [{"c": 1e-4}, {"c": 10.0}]}, cv=2, error_score="raise")
    search.fit(rows, y)
    assert search.best_params_ == {"classifier__model": {"c": 10.0}}
    assert search.score(rows, y) > 0.9


def test_the_server_of_an_estimator_ends_with_its_process() -> None:
    script = (
        "import numpy as np\n"
        "from needletail.train import Regressor\n"
        "rows = np.arange(200.0).reshape(100, 2)\n"
        "model = Regressor(model={'trees': 3}).fit(rows, rows[:, 0])\n"
        "model.predict(rows)\n"
        "print(model._server._stop.peek()[2][1].pid)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)
