"""Trees of XGBoost's and LightGBM's estimators at the end of a ``Pipeline``, in the terms of ``_sklearn``.

Alone they are saved in their libraries' own formats. Behind preprocessing their splits must be folded, so that they are
written like those of scikit-learn.
"""

from __future__ import annotations

import json
import math
from typing import Any

from ._pipeline import Function

_IDENTITY = (
    "reg:squarederror",
    "reg:absoluteerror",
    "reg:pseudohubererror",
    "reg:squaredlogerror",
    "reg:quantileerror",
)
_XGBOOST_LINKS = {
    **dict.fromkeys(_IDENTITY, "identity"),
    "binary:logistic": "binary",
    "multi:softprob": "softmax",
    "multi:softmax": "softmax",
    "count:poisson": "exponential",
    "reg:gamma": "exponential",
    "reg:tweedie": "exponential",
}
_LIGHTGBM_LINKS = {
    **dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), "identity"),
    "binary": "binary",
    "multiclass": "softmax",
    "poisson": "exponential",
    "gamma": "exponential",
    "tweedie": "exponential",
}


def xgboost(model: Any) -> tuple[dict[str, Any], Function]:
    """The trees, and how the library reads a number: in fp32."""
    import numpy

    learner = json.loads(bytes(model.get_booster().save_raw("json")))["learner"]
    objective, booster = learner["objective"]["name"], learner["gradient_booster"]
    if booster["name"] != "gbtree":
        raise ValueError(f"expected booster gbtree in a pipeline, found {booster['name']}")
    link = _known(objective, _XGBOOST_LINKS)
    if not (model.missing is None or math.isnan(model.missing)):
        raise ValueError(f"expected missing=nan, found {model.missing}")
    parameters, forest = learner["learner_model_param"], booster["model"]
    outputs = max(int(parameters.get("num_class", 0)), int(parameters.get("num_target", 1)), 1)
    trees = []
    for tree, output in zip(forest["trees"], forest["tree_info"]):
        if int(tree["tree_param"].get("size_leaf_vector", 0)) > 1 or any(tree.get("split_type", [])):
            raise ValueError("expected numeric splits and leaves of one value in a pipeline, found others")
        conditions = numpy.asarray(tree["split_conditions"], dtype=numpy.float32)
        trees.append(
            {
                "left": tree["left_children"],
                "right": tree["right_children"],
                "feature": [
                    0 if child < 0 else index for child, index in zip(tree["left_children"], tree["split_indices"])
                ],
                # x < t of two fp32 numbers is x ≤ the number before t.
                "threshold": numpy.nextafter(conditions, numpy.float32(-numpy.inf)).astype(float).tolist(),
                "missing_left": [bool(flag) for flag in tree["default_left"]],
                "value": conditions.astype(float).tolist(),
                "cover": tree["sum_hessian"],
                "output": output,
            }
        )
    best = learner.get("attributes", {}).get("best_iteration")
    if best is not None:
        parallel = max(int(forest["gbtree_model_param"].get("num_parallel_tree", 1)), 1)
        trees = trees[: (int(best) + 1) * parallel * outputs]
    scores = [numpy.float32(number) for number in parameters["base_score"].strip("[]").split(",")]
    start = [_margin(score, link) for score in (scores if len(scores) == outputs else scores * outputs)]
    return {**_ensemble(link, trees, outputs), "sums": "float32", "start": start}, as_float32


def _margin(score: Any, link: str) -> float:
    """What the sum starts with: ``base_score`` stands in the space of the answers."""
    import numpy

    if link == "binary":
        return float(numpy.float32(-math.log(float(numpy.float32(1) / score - numpy.float32(1)))))
    if link == "exponential":
        return float(numpy.float32(math.log(float(score))))
    return float(score)


def lightgbm(model: Any) -> tuple[dict[str, Any], Function]:
    """The trees, and how the library reads a number: within 1e-35 of 0 it is 0."""
    dump = model.booster_.dump_model(num_iteration=model.best_iteration_ or -1)
    words = str(dump.get("objective", "regression")).split()
    link = _known(words[0], _LIGHTGBM_LINKS)
    if "sqrt" in words or any(word.startswith("sigmoid:") and float(word[8:]) != 1 for word in words):
        raise ValueError(f"expected an objective without reg_sqrt and with sigmoid 1, found {' '.join(words)}")
    outputs = int(dump["num_tree_per_iteration"])
    infos = dump["tree_info"]
    trees = [_lightgbm_tree(info["tree_structure"], index % outputs) for index, info in enumerate(infos)]
    ensemble = _ensemble(link, trees, outputs)
    if dump.get("average_output"):
        ensemble["divisor"] = float(len(trees) // outputs)
    return ensemble, _without_tiny


def _lightgbm_tree(root: dict[str, Any], output: int) -> dict[str, Any]:
    keys = ("left", "right", "feature", "threshold", "missing_left", "value", "cover")
    tree: dict[str, Any] = {key: [] for key in keys}
    nodes = [root]
    place = 0
    while place < len(nodes):
        node = nodes[place]
        place += 1
        is_split = "split_feature" in node
        threshold, gap_left = 0.0, False
        if is_split:
            if node["decision_type"] != "<=" or node["missing_type"] == "Zero":
                raise ValueError("expected numeric splits without zero_as_missing in a pipeline, found others")
            threshold = float(node["threshold"])
            # Without missing values in the training data, NaN is read as 0.
            gap_left = bool(node["default_left"]) if node["missing_type"] == "NaN" else threshold >= 0
        elif "leaf_coeff" in node:
            raise ValueError("expected constant leaves, found linear ones")
        tree["left"].append(len(nodes) if is_split else -1)
        tree["right"].append(len(nodes) + 1 if is_split else -1)
        tree["feature"].append(int(node["split_feature"]) if is_split else 0)
        tree["threshold"].append(threshold)
        tree["missing_left"].append(gap_left)
        tree["value"].append(0.0 if is_split else float(node["leaf_value"]))
        # A tree of one leaf has no count.
        tree["cover"].append(int(node["internal_count"] if is_split else node.get("leaf_count", 1)))
        if is_split:
            nodes += [node["left_child"], node["right_child"]]
    return {**tree, "output": output}


def _ensemble(link: str, trees: list[dict[str, Any]], outputs: int) -> dict[str, Any]:
    return {"link": link, "element": "float64", "outputs": outputs, "leaf_width": 1, "trees": trees}


def _known(objective: str, links: dict[str, str]) -> str:
    if objective not in links:
        raise ValueError(f"expected one of the objectives {', '.join(links)} in a pipeline, found {objective}")
    return links[objective]


def as_float32(values: Any) -> Any:
    """What XGBoost and the trees of ``sklearn.tree`` compare with their thresholds."""
    import numpy

    with numpy.errstate(over="ignore"):
        return values.astype(numpy.float32).astype(float)


def _without_tiny(values: Any) -> Any:
    import numpy

    return numpy.where(numpy.abs(values) <= float(numpy.float32(1e-35)), 0.0, values)
