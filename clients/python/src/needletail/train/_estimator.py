"""What scikit-learn's base classes do, where scikit-learn is not installed."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

import numpy as np

Self = TypeVar("Self", bound="BaseEstimator")


class BaseEstimator:
    """Parameters are those of the constructor, kept in attributes of the same names."""

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's parameters; none of them is an estimator, so ``deep`` changes nothing."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self: Self, **parameters: Any) -> Self:
        """Sets parameters by name."""
        names = self._names()
        for name, value in parameters.items():
            if name not in names:
                raise ValueError(f"{type(self).__name__}: expected one of {', '.join(names)}, found {name}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_params().items())})"


class ClassifierMixin:
    """The score of classifiers."""

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy."""
        found = np.asarray(self.predict(X)) == np.asarray(y)  # type: ignore[attr-defined]
        return float(np.average(found, weights=sample_weight))


class RegressorMixin:
    """The score of regressors."""

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R², the share of the variance that the answers explain."""
        truth = np.asarray(y, dtype=np.float64)
        errors = (truth - np.asarray(self.predict(X))) ** 2  # type: ignore[attr-defined]
        spread = (truth - np.average(truth, weights=sample_weight)) ** 2
        weight = np.ones(len(truth)) if sample_weight is None else np.asarray(sample_weight)
        return float(1 - np.sum(weight * errors) / np.sum(weight * spread))
