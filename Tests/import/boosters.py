"""Models of XGBoost and LightGBM: every objective, kind of booster and treatment of missing values and categories."""

from __future__ import annotations

import numpy as np
from harness import check, columns, folder, needletail_export, rounds, row_count, table, targets, training_rows

names = [f"f{column}" for column in range(columns)]


def labels(probabilities: np.ndarray) -> np.ndarray:
    """The class that the libraries' estimators answer: the first of the most probable ones."""
    if probabilities.ndim == 1:
        return (probabilities > 0.5).astype(int)
    return probabilities.argmax(axis=1)


def xgboost_models() -> None:
    import xgboost as xgb

    version = xgb.__version__
    major, minor = (int(part) for part in version.split(".")[:2])
    objectives = [
        ("reg:squarederror", "number"),
        ("reg:logistic", "share"),
        ("binary:logistic", "binary"),
        ("binary:logitraw", "binary"),
        ("binary:hinge", "binary"),
        ("count:poisson", "count"),
        ("reg:gamma", "positive"),
        ("reg:tweedie", "positive"),
        ("multi:softprob", "classes"),
        ("multi:softmax", "classes"),
        ("reg:squaredlogerror", "positive"),
        ("survival:cox", "positive"),
        ("rank:pairwise", "binary"),
        ("rank:ndcg", "binary"),
        ("rank:map", "binary"),
    ]
    if (major, minor) >= (1, 2):
        objectives.append(("survival:aft", "positive"))
    if (major, minor) >= (1, 7):
        objectives += [("reg:absoluteerror", "number"), ("reg:pseudohubererror", "number")]
    variants: list[tuple[str, dict[str, object]]] = [(objective, {"kind": kind}) for objective, kind in objectives]
    variants += [
        ("dart", {"booster": "dart", "rate_drop": 0.4, "kind": "number"}),
        ("dart, classes", {"booster": "dart", "rate_drop": 0.4, "objective": "multi:softprob", "kind": "classes"}),
        ("forest", {"num_parallel_tree": 4, "subsample": 0.5, "kind": "binary", "objective": "binary:logistic"}),
        (
            "lossguide, deep",
            {"grow_policy": "lossguide", "max_leaves": 200, "max_depth": 0, "tree_method": "hist", "kind": "number"},
        ),
        ("base score 0.3", {"objective": "binary:logistic", "base_score": 0.3, "kind": "binary"}),
    ]
    if major >= 2:
        quantile = {"objective": "reg:quantileerror", "kind": "number", "tree_method": "hist"}
        variants += [
            ("quantile", {**quantile, "quantile_alpha": 0.7}),
            ("quantiles", {**quantile, "quantile_alpha": [0.2, 0.5, 0.9]}),
        ]
    for index, (name, parameters) in enumerate(variants):
        for gaps in (False, True):
            settings = dict(parameters)
            kind = str(settings.pop("kind"))
            settings.setdefault("objective", name if ":" in name else "reg:squarederror")
            settings.setdefault("max_depth", 3 + index % 4)
            if settings["objective"].startswith("multi"):
                settings["num_class"] = 4
            if settings["objective"] == "survival:cox":
                # Larger steps end in leaves that are no numbers.
                settings["eta"] = 0.05
            train = table(training_rows, gaps, 100 + index)
            matrix = xgb.DMatrix(train, targets(train, kind))
            if settings["objective"].startswith("rank"):
                matrix.set_group([training_rows // 10] * 10)
            if settings["objective"] == "survival:aft":
                times = targets(train, kind)
                matrix.set_float_info("label_lower_bound", times)
                matrix.set_float_info("label_upper_bound", np.where(np.arange(len(times)) % 5 == 0, np.inf, times))
            model = xgb.train(settings, matrix, rounds)
            path = folder / ("model.ubj" if index % 2 and (major, minor) >= (1, 6) else "model.json")
            model.save_model(str(path))
            rows = table(row_count, gaps, 200 + index)
            matrix = xgb.DMatrix(rows)
            answers = {"raw": model.predict(matrix, output_margin=True)}
            if settings["objective"].startswith(("reg:", "count", "survival")):
                answers["prediction"] = model.predict(matrix)
            if settings["objective"] == "binary:logistic":
                answers["p_1"] = model.predict(matrix)
                answers["prediction"] = labels(answers["p_1"])
            if settings["objective"] == "multi:softprob":
                answers["p"] = model.predict(matrix)
                answers["prediction"] = labels(answers["p"])
            if settings["objective"] in ("multi:softmax", "binary:hinge"):
                answers["prediction"] = model.predict(matrix).astype(int)
            check(
                f"xgboost {version} {name}{', gaps' if gaps else ''}",
                str(path),
                names,
                rows.tolist(),
                answers,
                exact=("raw",),
            )
    xgboost_early_stopping(xgb, version)
    if major >= 2:
        xgboost_targets(xgb, version)
        xgboost_categories(xgb, version, major, minor)


def xgboost_early_stopping(xgb: object, version: str) -> None:
    train, valid = table(training_rows, False, 31), table(300, False, 32)
    random = np.random.default_rng(7)
    noise = random.integers(0, 2, training_rows), random.integers(0, 2, 300)
    model = xgb.train(
        {"objective": "binary:logistic", "eta": 0.9},
        xgb.DMatrix(train, noise[0]),
        60,
        evals=[(xgb.DMatrix(valid, noise[1]), "valid")],
        early_stopping_rounds=5,
        verbose_eval=False,
    )
    path = folder / "model.json"
    model.save_model(str(path))
    rows = table(row_count, False, 33)
    is_range = tuple(int(part) for part in version.split(".")[:2]) >= (1, 4)
    last = {"iteration_range": (0, model.best_iteration + 1)} if is_range else {"ntree_limit": model.best_iteration + 1}
    check(
        f"xgboost {version} best iteration",
        str(path),
        names,
        rows.tolist(),
        {"raw": model.predict(xgb.DMatrix(rows), output_margin=True, **last)},
        exact=("raw",),
    )
    if is_range:
        check(
            f"xgboost {version} all iterations",
            str(path),
            names,
            rows.tolist(),
            {"raw": model.predict(xgb.DMatrix(rows), output_margin=True, iteration_range=(0, 0))},
            "--iterations",
            "all",
            exact=("raw",),
        )


def xgboost_targets(xgb: object, version: str) -> None:
    train, rows = table(training_rows, True, 41), table(row_count, True, 42)
    for strategy in ("one_output_per_tree", "multi_output_tree"):
        for objective, kind in (("reg:squarederror", "targets"), ("binary:logistic", "labels")):
            settings = {"multi_strategy": strategy, "max_depth": 4, "tree_method": "hist", "objective": objective}
            model = xgb.train(settings, xgb.DMatrix(train, targets(train, kind)), rounds)
            path = folder / "model.json"
            model.save_model(str(path))
            check(
                f"xgboost {version} {strategy}, {objective}",
                str(path),
                names,
                rows.tolist(),
                {
                    "raw": model.predict(xgb.DMatrix(rows), output_margin=True),
                    "prediction": model.predict(xgb.DMatrix(rows)),
                },
                exact=("raw",),
            )


def xgboost_categories(xgb: object, version: str, major: int, minor: int) -> None:
    import pandas as pd

    def frame(rows: int, seed: int) -> object:
        generator = np.random.default_rng(seed)
        values = table(rows, True, seed)
        colours = pd.Categorical(
            generator.choice(["red", "green", "blue", "grey"], rows), categories=["blue", "green", "grey", "red"]
        )
        sizes = pd.Categorical(generator.choice(40, rows), categories=list(range(40)))
        return pd.DataFrame({"colour": colours, "size": sizes, "a": values[:, 0], "b": values[:, 2]})

    train = frame(training_rows, 51)
    wanted = (train["colour"].cat.codes + train["size"].cat.codes % 7 + np.nan_to_num(train["a"])).to_numpy()
    for limit in (1, 100):
        model = xgb.train(
            {"max_depth": 5, "max_cat_to_onehot": limit, "tree_method": "hist"},
            xgb.DMatrix(train, wanted, enable_categorical=True),
            rounds,
        )
        path = folder / ("model.json" if limit == 1 else "model.ubj")
        model.save_model(str(path))
        rows = frame(row_count, 52)
        margin = model.predict(xgb.DMatrix(rows, enable_categorical=True), output_margin=True)
        if (major, minor) >= (3, 1):
            cells = rows.astype(object).values.tolist()
        else:
            # Until 3.0 the file has no names of categories: the columns are their codes.
            codes = rows.copy()
            codes["colour"], codes["size"] = rows["colour"].cat.codes, rows["size"].cat.codes
            cells = codes.values.tolist()
        check(
            f"xgboost {version} categories, one-hot to {limit}",
            str(path),
            list(rows.columns),
            cells,
            {"raw": margin},
            exact=("raw",),
        )


def lightgbm_models() -> None:
    import lightgbm as lgb

    version = lgb.__version__
    rf = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}
    variants: list[tuple[str, str, dict[str, object]]] = [
        ("regression", "number", {}),
        ("regression_l1", "number", {}),
        ("huber", "number", {}),
        ("fair", "number", {}),
        ("quantile", "number", {"alpha": 0.7}),
        ("mape", "positive", {}),
        ("poisson", "count", {}),
        ("gamma", "positive", {}),
        ("tweedie", "positive", {}),
        ("binary", "binary", {}),
        ("binary", "binary", {"sigmoid": 2.5}),
        ("cross_entropy", "share", {}),
        ("cross_entropy_lambda", "share", {}),
        ("multiclass", "classes", {"num_class": 4}),
        ("multiclassova", "classes", {"num_class": 4}),
        ("lambdarank", "binary", {}),
        ("regression", "number", {"reg_sqrt": True}),
        ("fair", "number", {"reg_sqrt": True}),
        ("binary", "binary", {"boosting": "dart"}),
        ("regression", "number", rf),
        ("binary", "binary", rf),
        ("multiclass", "classes", {"num_class": 4, **rf}),
        ("regression", "number", {"zero_as_missing": True}),
        ("regression", "number", {"use_missing": False}),
    ]
    release = tuple(int(part) for part in version.split(".")[:2])
    if release >= (3, 0):
        variants.append(("rank_xendcg", "binary", {}))
    if release >= (3, 2):
        linear = {"linear_tree": True}
        variants += [
            ("regression", "number", linear),
            ("regression", "number", {"reg_sqrt": True, **linear}),
            ("binary", "binary", linear),
            ("multiclass", "classes", {"num_class": 4, **linear}),
            ("poisson", "count", {"boosting": "dart", **linear}),
        ]
    for index, (objective, kind, more) in enumerate(variants):
        for gaps in (False, True):
            settings = {"objective": objective, "verbose": -1, "num_leaves": 31, "seed": 1, **more}
            train = table(training_rows, gaps, 300 + index)
            data = lgb.Dataset(train, targets(train, kind), feature_name=names)
            if objective in ("lambdarank", "rank_xendcg"):
                data.set_group([training_rows // 10] * 10)
            model = lgb.train(settings, data, rounds)
            path = folder / "model.txt"
            model.save_model(str(path))
            rows = table(row_count, gaps, 400 + index)
            rows[: row_count // 20, 4] = 1e-36
            # The exporter takes the mean of a random forest's sums, as the library does for its answers.
            answers = {"raw": needletail_export._raw(model, rows)}
            predicted = model.predict(rows)
            if objective == "binary":
                answers.update({"p_1": predicted, "prediction": labels(predicted)})
            elif objective.startswith("multiclass"):
                answers.update({"p": predicted, "prediction": labels(predicted)})
            else:
                answers["prediction"] = predicted
            words = ", ".join(f"{key} {value}" for key, value in more.items())
            check(
                f"lightgbm {version} {objective} {words}{', gaps' if gaps else ''}",
                str(path),
                names,
                rows.tolist(),
                answers,
            )
    lightgbm_categories(lgb, version)


def lightgbm_categories(lgb: object, version: str) -> None:
    import pandas as pd

    def frame(rows: int, seed: int) -> object:
        generator = np.random.default_rng(seed)
        values = table(rows, True, seed)
        colours = pd.Categorical(
            generator.choice(["red", "green", "blue", "grey"], rows), categories=["blue", "green", "grey", "red"]
        )
        return pd.DataFrame(
            {"colour": colours, "a": values[:, 0], "code": generator.integers(0, 70, rows), "b": values[:, 2]}
        )

    train = frame(training_rows, 61)
    wanted = (train["colour"].cat.codes + train["code"] % 7 + np.nan_to_num(train["a"])).to_numpy()
    linear = [{"linear_tree": True}] if tuple(int(part) for part in version.split(".")[:2]) >= (3, 2) else []
    for more in ({}, {"max_cat_to_onehot": 50}, *linear):
        data = lgb.Dataset(train, wanted, categorical_feature=["colour", "code"] if not more else "auto")
        model = lgb.train({"objective": "regression", "verbose": -1, "min_data_per_group": 5, **more}, data, rounds)
        path = folder / "model.txt"
        model.save_model(str(path))
        rows = frame(row_count, 62)
        check(
            f"lightgbm {version} categories {more}",
            str(path),
            list(rows.columns),
            rows.astype(object).values.tolist(),
            {"raw": model.predict(rows, raw_score=True)},
        )
