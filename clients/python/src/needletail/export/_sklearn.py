"""Trees of scikit-learn's estimators, alone or behind preprocessing, as ``needletail-trainer import`` reads them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from . import _boosters
from ._pipeline import Preparation, category_name


def document(model: Any, names: list[str] | None) -> dict[str, Any]:
    """The object that is written for an estimator, or a ``Pipeline`` that ends with one."""
    import sklearn

    pipeline = model if type(model).__name__ == "Pipeline" else None
    if pipeline is not None:
        model = pipeline.steps[-1][1]
    name = type(model).__name__
    writers: dict[str, Callable[[Any], dict[str, Any]]] = {
        "DecisionTreeClassifier": _forest,
        "DecisionTreeRegressor": _forest,
        "ExtraTreeClassifier": _forest,
        "ExtraTreeRegressor": _forest,
        "ExtraTreesClassifier": _forest,
        "ExtraTreesRegressor": _forest,
        "GradientBoostingClassifier": _boosting,
        "GradientBoostingRegressor": _boosting,
        "HistGradientBoostingClassifier": _histogram_boosting,
        "HistGradientBoostingRegressor": _histogram_boosting,
        "IsolationForest": _isolation_forest,
        "RandomForestClassifier": _forest,
        "RandomForestRegressor": _forest,
    }
    boosters = {
        "LGBMClassifier": _boosters.lightgbm,
        "LGBMRegressor": _boosters.lightgbm,
        "XGBClassifier": _boosters.xgboost,
        "XGBRegressor": _boosters.xgboost,
    }
    if pipeline is not None and name in boosters:
        library = type(model).__module__.split(".")[0]
        source = f"{library} {__import__(library).__version__} behind scikit-learn {sklearn.__version__}"
        takes_gaps = True
        ensemble, cast = boosters[name](model)
    elif name in writers:
        source = f"scikit-learn {sklearn.__version__}"
        takes_gaps = _takes_gaps(model)
        ensemble = writers[name](model)
        cast = _boosters.as_float32 if ensemble["element"] == "float32" else _unchanged
    else:
        known = (*writers, *boosters) if pipeline is not None else tuple(writers)
        raise TypeError(f"expected one of {', '.join(known)}, found {name}")
    inner = getattr(model, "_preprocessor", None)
    raw = pipeline if pipeline is not None else model
    names = names or [f"x{index}" for index in range(raw.n_features_in_)]
    if pipeline is None and inner is None:
        missing = "impute" if takes_gaps else "refuse"
        features: list[dict[str, Any]] = [{"name": feature, "missing": missing} for feature in names]
    else:
        preparation = Preparation(names)
        for _, step in pipeline.steps[:-1] if pipeline is not None else []:
            preparation.add(step)
        if preparation.is_sparse and name.startswith("XGB"):
            raise ValueError(
                "expected dense rows for XGBoost, which reads the zeros of sparse ones as missing, found sparse ones; "
                "OneHotEncoder(sparse_output=False) and ColumnTransformer(sparse_threshold=0) make dense ones"
            )
        preparation.add(inner)
        ensemble["trees"] = preparation.fold(ensemble["trees"], cast, takes_gaps)
        ensemble["element"] = "float64"
        features = [column.document() for column in preparation.sources]
    written = {
        "format": "needletail.export",
        "version": 1,
        "source": source,
        "objective": name,
        "features": features,
        **ensemble,
    }
    if hasattr(model, "classes_"):
        written["labels"] = [category_name(value) for value in model.classes_]
    return written


def _unchanged(values: Any) -> Any:
    return values


def _takes_gaps(model: Any) -> bool:
    """Whether the estimator accepts missing values: its tags say so, in two ways over the versions."""
    try:
        if hasattr(model, "__sklearn_tags__"):
            return bool(model.__sklearn_tags__().input_tags.allow_nan)
        return bool(model._get_tags()["allow_nan"])
    except (AttributeError, KeyError):
        return False


def _tree(tree: Any, values: Any, output: int = 0) -> dict[str, Any]:
    """One tree of ``sklearn.tree``, with values of the caller's for each node."""
    import numpy

    is_leaf = tree.children_left < 0
    missing = getattr(tree, "missing_go_to_left", None)
    return {
        "left": tree.children_left.tolist(),
        "right": tree.children_right.tolist(),
        "feature": [0 if leaf else int(feature) for leaf, feature in zip(is_leaf, tree.feature)],
        "threshold": _finite(numpy.where(is_leaf, 0.0, tree.threshold)),
        "missing_left": [False] * tree.node_count if missing is None else [bool(flag) for flag in missing],
        "value": [float(number) for number in values.ravel()],
        "cover": tree.weighted_n_node_samples.tolist(),
        "output": output,
    }


def _finite(thresholds: Any) -> list[float]:
    """Thresholds as JSON has them: the infinite one that splits missing values from all others becomes the largest."""
    import numpy

    largest = numpy.finfo(float).max
    return [float(number) for number in numpy.clip(thresholds, -largest, largest)]


def _forest(model: Any) -> dict[str, Any]:
    """One tree, or a mean of trees. Leaves of a classifier hold the share of each class."""
    if model.n_outputs_ != 1:
        raise ValueError(f"expected a model of one output, found {model.n_outputs_}")
    is_classifier = hasattr(model, "classes_")
    trees = [estimator.tree_ for estimator in getattr(model, "estimators_", [model])]
    exported = []
    for tree in trees:
        values = tree.value[:, 0, :]
        if is_classifier:
            # Before 1.3 the values are counts, from then on shares.
            totals = values.sum(axis=1, keepdims=True)
            totals[totals == 0] = 1
            values = values / totals
        exported.append(_tree(tree, values))
    width = len(model.classes_) if is_classifier else 1
    return {
        "link": "probabilities" if is_classifier else "identity",
        "element": "float32",
        "outputs": width,
        "leaf_width": width,
        "divisor": float(len(trees)),
        "trees": exported,
    }


def _boosting(model: Any) -> dict[str, Any]:
    import numpy

    is_classifier = hasattr(model, "classes_")
    if is_classifier and model.loss not in ("log_loss", "deviance"):
        raise ValueError(f"expected the loss log_loss, found {model.loss}")
    if model.init not in (None, "zero"):
        raise ValueError("expected the default init, or 'zero', found an estimator")
    # The sums begin alike for every row: with the log-odds of the classes, or the mean.
    row = numpy.zeros((1, model.n_features_in_), dtype=numpy.float32)
    start = numpy.asarray(model._raw_predict_init(row), dtype=float).ravel()
    trees = [
        _tree(estimator.tree_, model.learning_rate * estimator.tree_.value[:, 0, 0], output)
        for stage in model.estimators_
        for output, estimator in enumerate(stage)
    ]
    return {
        "link": ("binary" if len(start) == 1 else "softmax") if is_classifier else "identity",
        "element": "float32",
        "outputs": len(start),
        "leaf_width": 1,
        "start": start.tolist(),
        "trees": trees,
    }


def _histogram_boosting(model: Any) -> dict[str, Any]:
    import numpy

    if getattr(model, "_preprocessor", None) is None and any(
        model.is_categorical_ if model.is_categorical_ is not None else []
    ):
        raise ValueError("expected categorical features of scikit-learn 1.4 or later, found those of an older version")
    known_bits, places = model._bin_mapper.make_known_categories_bitsets()
    trees = []
    for stage in model._predictors:
        for output, predictor in enumerate(stage):
            nodes = predictor.nodes
            is_leaf = nodes["is_leaf"].astype(bool)
            trees.append(
                {
                    "left": numpy.where(is_leaf, -1, nodes["left"].astype(int)).tolist(),
                    "right": numpy.where(is_leaf, -1, nodes["right"].astype(int)).tolist(),
                    "feature": numpy.where(is_leaf, 0, nodes["feature_idx"].astype(int)).tolist(),
                    "threshold": _finite(numpy.where(is_leaf, 0.0, nodes["num_threshold"])),
                    "missing_left": nodes["missing_go_to_left"].astype(bool).tolist(),
                    "sets": [
                        {
                            "left": _members(predictor.raw_left_cat_bitsets[node["bitset_idx"]]),
                            "known": _members(known_bits[places[node["feature_idx"]]]),
                        }
                        if node["is_categorical"] and not node["is_leaf"]
                        else None
                        for node in nodes
                    ],
                    "value": nodes["value"].astype(float).tolist(),
                    "cover": nodes["count"].tolist(),
                    "output": output,
                }
            )
    start = numpy.ravel(model._baseline_prediction).astype(float)
    link = "identity"
    if hasattr(model, "classes_"):
        link = "binary" if len(start) == 1 else "softmax"
    elif model.loss in ("poisson", "gamma"):
        link = "exponential"
    return {
        "link": link,
        "element": "float64",
        "outputs": len(start),
        "leaf_width": 1,
        "start": start.tolist(),
        "trees": trees,
    }


def _members(words: Any) -> set[int]:
    """The numbers in a set of 8 words of 32 bits."""
    return {32 * place + bit for place, word in enumerate(words) for bit in range(32) if int(word) >> bit & 1}


def _isolation_forest(model: Any) -> dict[str, Any]:
    """The anomaly score of Liu, Ting and Zhou (2008), 2 to the power of −depth / c(n): minus ``score_samples``."""
    import numpy

    if any(len(columns) != model.n_features_in_ for columns in model.estimators_features_):
        raise ValueError("expected trees that see all features, found max_features below 1")

    def average_path(count: float) -> float:
        if count <= 2:
            return max(0.0, count - 1.0)
        return 2.0 * (math.log(count - 1.0) + numpy.euler_gamma) - 2.0 * (count - 1.0) / count

    scale = -math.log(2.0) / (len(model.estimators_) * average_path(model._max_samples))
    trees = []
    for estimator in model.estimators_:
        tree = estimator.tree_
        depth = numpy.zeros(tree.node_count)
        for node in range(tree.node_count):
            for child in (tree.children_left[node], tree.children_right[node]):
                if child >= 0:
                    depth[child] = depth[node] + 1
        rest = numpy.array([average_path(count) for count in tree.n_node_samples])
        trees.append(_tree(tree, scale * (depth + rest)))
    return {"link": "exponential", "element": "float32", "outputs": 1, "leaf_width": 1, "trees": trees}
