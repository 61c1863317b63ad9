"""Models trained by ``needletail-trainer`` from arrays and data frames, with scikit-learn's conventions.

::

    from needletail.train import Classifier

    model = Classifier(family="gbdt", training={"learning_rate": 0.05}).fit(frame, labels)
    model.score(held_frame, held_labels)
    model.predict_proba(held_frame)
    model.publish("store", key="publisher.key")

:class:`Classifier` and :class:`Regressor` are estimators: they have ``get_params`` and ``set_params``, can be cloned,
pickled, searched over, and stand at the end of a ``Pipeline``. Rows are what :meth:`needletail.Client.predict` takes:
raw values, with text, truth values and gaps, because preprocessing is part of the model.

``fit`` runs the trainer, which keeps some rows to judge the model by (``metrics_``). ``predict`` asks a server of the
estimator's own, on a Unix socket, that is started when it is first needed: its answers are those of any server that
the bundle is published to, to the bit. ``close``, the end of a ``with`` block, or the end of the process stops it.

The programs are those of the directory ``programs``, of the environment variable ``NEEDLETAIL_BIN``, of a wheel that
brings them along, or of ``PATH``.

Parameters:
    family: ``gbdt``, ``random_forest``, ``mlp``, ``linear_regression``, ``logistic_regression``, …: the families
        of the handbook's page *Training*.
    name: Of the model in a store.
    model, training, features, preprocessing, quantisation: Sections of the run file, with its names and defaults.
        Without ``features``, unknown categories are accepted, and gaps are filled in for families that take none.
    validation_fraction: Share of the rows that training is steered by, where the family does.
    test_fraction: Share of the rows that only judge the model: ``metrics_``.
    seed: For whatever is random.
    programs: Directory of ``needletail-trainer`` and ``needletail-server``.
    verbose: True shows the trainer's progress on standard error.

Attributes after ``fit``:
    bundle_: The trained bundle, as bytes.
    metrics_: Figures of the run, as ``metrics.json`` has them.
    n_features_in_, feature_names_in_: Of the rows that it was fitted on.
    feature_importances_: Share of each feature in the gains of all splits, for families of trees.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .._inputs import Table
from ..results import Array, Prediction
from ._data import label_texts, write_rows
from ._programs import PrivateServer, TrainingFailed, run_trainer

try:  # An estimator of scikit-learn where that is installed, else one of the same shape.
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
except ImportError:
    from ._estimator import BaseEstimator, ClassifierMixin, RegressorMixin

__all__ = ["Classifier", "Regressor", "TrainingFailed"]

Self = TypeVar("Self", bound="_Estimator")


class _Estimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What classifiers and regressors share."""

    _task = ""

    def __init__(
        self,
        family: str = "gbdt",
        *,
        name: str = "model",
        model: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
        preprocessing: Mapping[str, Any] | None = None,
        quantisation: Mapping[str, Any] | None = None,
        validation_fraction: float = 0.15,
        test_fraction: float = 0.1,
        seed: int = 1,
        programs: str | os.PathLike[str] | None = None,
        verbose: bool = False,
    ) -> None:
        self.family = family
        self.name = name
        self.model = model
        self.training = training
        self.features = features
        self.preprocessing = preprocessing
        self.quantisation = quantisation
        self.validation_fraction = validation_fraction
        self.test_fraction = test_fraction
        self.seed = seed
        self.programs = programs
        self.verbose = verbose

    # ---------------------------------------------------------------- training

    def fit(
        self: Self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> Self:  # The names are scikit-learn's.
        """Trains on rows and their targets.

        Args:
            X: Rows, as :meth:`needletail.Client.predict` takes them.
            y: One target a row: anything hashable for classes, numbers for regression.
            sample_weight: One number from 0 a row, for families that take weights.
            groups: One value a row; rows of the same group are in the same part of the split.

        Raises:
            TrainingFailed: with the trainer's sentence about what is wrong.
            ValueError: if there are not as many targets as rows.
        """
        self.close()
        table = Table.read(X)
        with tempfile.TemporaryDirectory(prefix="needletail-") as directory:
            place = Path(directory)
            roles: dict[str, Array] = {}
            for role, values in (("weight", sample_weight), ("group", groups)):
                if values is not None:
                    roles[role] = np.asarray(values)
            columns, names = write_rows(place / "rows.csv", table, self._targets(y), roles)
            (place / "run.yaml").write_text(
                json.dumps(self._run_file(columns, names), ensure_ascii=False), encoding="utf-8"
            )
            output = place / "out"
            run_trainer(
                self.programs, ["train", str(place / "run.yaml"), "--output", str(output)], verbose=self.verbose
            )
            self.bundle_ = (output / "model.ntb").read_bytes()
            self.metrics_: dict[str, Any] = json.loads((output / "metrics.json").read_text())
        self._fitted(table, [column.name for column in columns])
        return self

    def _targets(self, y: Any) -> list[str]:
        raise NotImplementedError

    def _run_file(self, columns: Sequence[Any], names: Mapping[str, str]) -> dict[str, Any]:
        features = dict(self.features or {})
        if self.features is None:
            features["unknown"] = "zeros"
            if any(column.has_gaps for column in columns) and self.family not in ("gbdt", "random_forest"):
                features["missing"] = "median"
        declared = {column.name: {"type": column.type} for column in columns}
        for column, policy in (features.get("columns") or {}).items():
            declared[column] = {**declared.get(column, {}), **policy}
        features["columns"] = declared
        run: dict[str, Any] = {
            "data": {"files": "rows.csv", "missing": []},
            "features": features,
            "target": {"column": names["target"], "task": self._task},
            "split": {
                "train": 1 - self.validation_fraction - self.test_fraction,
                "validation": self.validation_fraction,
                "test": self.test_fraction,
                "seed": self.seed,
            },
            "model": {"family": self.family, **(self.model or {})},
            "training": {"seed": self.seed, **(self.training or {})},
            "publish": {"model": self.name},
            # A fit is one of many in a search or a cross-validation, and its files are gone at its end.
            "evaluation": {"report": False},
            "tracking": {"record": False},
        }
        run["target"].update({role: names[role] for role in ("weight", "group") if role in names})
        for key in ("preprocessing", "quantisation"):
            if getattr(self, key) is not None:
                run[key] = dict(getattr(self, key))
        return run

    def _fitted(self, table: Table, names: Sequence[str]) -> None:
        self.n_features_in_ = len(names)
        self.__dict__.pop("feature_names_in_", None)
        if not table.is_positional:
            self.feature_names_in_ = np.array(names, dtype=object)
        shares = {entry["feature"]: entry["gain_share"] for entry in self.metrics_.get("importance") or []}
        self.__dict__.pop("feature_importances_", None)
        if shares:
            self.feature_importances_ = np.array([shares.get(name, 0.0) for name in names])

    # ---------------------------------------------------------------- answers

    def _answers(self, X: Any, output: str) -> Prediction:
        """Asks the estimator's own server."""
        if not hasattr(self, "bundle_"):
            raise NotFittedError(f"{type(self).__name__}: expected fit() before this call")
        server: PrivateServer | None = self.__dict__.get("_server")
        if server is None or not server.is_ours:
            server = PrivateServer(self.programs, self.name, self.bundle_)
            self.__dict__["_server"] = server
        return server.client.predict(self.name, _by_place(X), outputs=[output], timeout=None)

    def close(self) -> None:
        """Stops the estimator's own server. The next prediction starts another."""
        server: PrivateServer | None = self.__dict__.pop("_server", None)
        if server is not None:
            server.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_server"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    # ---------------------------------------------------------------- publishing

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the bundle."""
        if not hasattr(self, "bundle_"):
            raise NotFittedError(f"{type(self).__name__}: expected fit() before this call")
        Path(path).write_bytes(self.bundle_)

    def publish(
        self, store: str | os.PathLike[str], *, key: str | os.PathLike[str] | None = None, version: int | None = None
    ) -> int:
        """Puts the bundle into a store, under the next version unless told otherwise, and returns the version.

        Args:
            store: The store's directory.
            key: Signs the bundle; an unsigned one is served only with ``--allow-unsigned``.
            version: The version; must be free.
        """
        with tempfile.TemporaryDirectory(prefix="needletail-") as directory:
            path = Path(directory) / "model.ntb"
            self.save(path)
            arguments = ["publish", str(path), "--store", os.fspath(store), "--json"]
            if key is not None:
                arguments += ["--key", os.fspath(key)]
            if version is not None:
                arguments += ["--version", str(version)]
            found: int = json.loads(run_trainer(self.programs, arguments))["version"]
            return found


class NotFittedError(ValueError, AttributeError):
    """An estimator was asked before it was fitted."""


def _by_place(X: Any) -> Any:
    """Rows without names get the names of the training's, which are their places."""
    table = Table.read(X)
    return {name: array for name, array in table.named_columns()} if table.is_positional else X


class Classifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """A classifier of ``needletail-trainer``, with the parameters of the module's page.

    ``classes_`` has the values of ``y`` in the order of the columns of ``predict_proba``.
    """

    _task = "classification"

    def _targets(self, y: Any) -> list[str]:
        texts, self._value_by_text = label_texts(y)
        return texts

    def _fitted(self, table: Table, names: Sequence[str]) -> None:
        super()._fitted(table, names)
        self.classes_ = _array([self._value_by_text[label] for label in self.metrics_["labels"]])

    def predict(self, X: Any) -> Array:
        """The most likely class of each row, as in ``y``."""
        places = self._answers(X, "class").class_index
        found: Array = self.classes_[places]
        return found

    def predict_proba(self, X: Any) -> npt.NDArray[np.float32]:
        """Probability of every class, [rows, classes] in the order of ``classes_``."""
        return self._answers(X, "probabilities").probabilities


class Regressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """A regressor of ``needletail-trainer``, with the parameters of the module's page."""

    _task = "regression"

    def _targets(self, y: Any) -> list[str]:
        values = np.asarray(y, dtype=np.float64)
        if values.ndim != 1:
            raise ValueError(f"y: expected one number a row, found shape {list(values.shape)}")
        if not np.isfinite(values).all():
            raise ValueError(f"y: expected numbers, found {values[~np.isfinite(values)][0]}")
        return [repr(value) for value in values.tolist()]

    def predict(self, X: Any) -> npt.NDArray[np.float32]:
        """The predicted number of each row."""
        return self._answers(X, "prediction").prediction


def _array(values: Sequence[Any]) -> Array:
    """An array of the values' own type, or of objects if they have no common one."""
    if len({type(value) for value in values}) == 1:
        return np.asarray(values)
    found: Array = np.empty(len(values), dtype=object)
    found[:] = values
    return found
