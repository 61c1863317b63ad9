"""Models of XGBoost and LightGBM: every objective, kind of booster and treatment of missing values and categories."""

from __future__ import annotations

import numpy as np
from harness import check, columns, folder, row_count, table, targets, training_rows


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
    ]
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
    for index, (name, parameters) in enumerate(variants):
        for gaps in (False, True):
            settings = dict(parameters)
            kind = str(settings.pop("kind"))
            settings.setdefault("objective", name if ":" in name else "reg:squarederror")
            settings.setdefault("max_depth", 3 + index % 4)
            if settings["objective"].startswith("multi"):
                settings["num_class"] = 4
            train = table(training_rows, gaps, 100 + index)
            matrix = xgb.DMatrix(train, targets(train, kind))
            if settings["objective"].startswith("rank"):
                matrix.set_group([training_rows // 10] * 10)
            model = xgb.train(settings, matrix, 12)
            path = folder / ("model.ubj" if index % 2 and (major, minor) >= (1, 6) else "model.json")
            model.save_model(str(path))
            rows = table(row_count, gaps, 200 + index)
            matrix = xgb.DMatrix(rows)
            margin = model.predict(matrix, output_margin=True)
            answers = {"raw": margin}
            if settings["objective"].startswith(("reg:", "count", "survival")):
                answers["prediction"] = model.predict(matrix)
            if settings["objective"] == "binary:logistic":
                answers["p_1"] = model.predict(matrix)
            if settings["objective"] in ("multi:softmax", "binary:hinge"):
                answers["prediction"] = model.predict(matrix).astype(int)
            check(
                f"xgboost {version} {name}{', gaps' if gaps else ''}",
                str(path),
                [f"f{column}" for column in range(columns)],
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
    last = (
        {"iteration_range": (0, model.best_iteration + 1)}
        if int(version.split(".")[0]) >= 2
        else {"ntree_limit": model.best_iteration + 1}
    )
    names = [f"f{column}" for column in range(columns)]
    check(
        f"xgboost {version} best iteration",
        str(path),
        names,
        rows.tolist(),
        {"raw": model.predict(xgb.DMatrix(rows), output_margin=True, **last)},
        exact=("raw",),
    )
    if int(version.split(".")[0]) >= 2:
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
    wanted = np.stack([targets(train, "number"), targets(train, "share"), targets(train, "positive")], 1)
    for strategy in ("one_output_per_tree", "multi_output_tree"):
        model = xgb.train(
            {"multi_strategy": strategy, "max_depth": 4, "tree_method": "hist"}, xgb.DMatrix(train, wanted), 8
        )
        path = folder / "model.json"
        model.save_model(str(path))
        check(
            f"xgboost {version} {strategy}",
            str(path),
            [f"f{column}" for column in range(columns)],
            rows.tolist(),
            {"raw": model.predict(xgb.DMatrix(rows), output_margin=True)},
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
            10,
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
    import pandas as pd

    version = lgb.__version__
    variants = [
        ("regression", "number", {}),
        ("regression_l1", "number", {}),
        ("huber", "number", {}),
        ("quantile", "number", {"alpha": 0.7}),
        ("poisson", "count", {}),
        ("gamma", "positive", {}),
        ("tweedie", "positive", {}),
        ("binary", "binary", {}),
        ("binary", "binary", {"sigmoid": 2.5}),
        ("cross_entropy", "share", {}),
        ("multiclass", "classes", {"num_class": 4}),
        ("multiclassova", "classes", {"num_class": 4}),
        ("lambdarank", "binary", {}),
        ("binary", "binary", {"boosting": "dart"}),
        ("regression", "number", {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}),
        ("regression", "number", {"zero_as_missing": True}),
        ("regression", "number", {"use_missing": False}),
    ]
    names = [f"c{column}" for column in range(columns)]
    for index, (objective, kind, more) in enumerate(variants):
        for gaps in (False, True):
            settings = {"objective": objective, "verbose": -1, "num_leaves": 31, "seed": 1, **more}
            train = table(training_rows, gaps, 300 + index)
            data = lgb.Dataset(train, targets(train, kind), feature_name=names)
            if objective == "lambdarank":
                data.set_group([training_rows // 10] * 10)
            model = lgb.train(settings, data, 12)
            path = folder / "model.txt"
            model.save_model(str(path))
            rows = table(row_count, gaps, 400 + index)
            rows[: row_count // 20, 4] = 1e-36
            # A random forest averages its trees only on the way from the sum to the answer.
            forest = more.get("boosting") == "rf"
            answers = {"prediction": model.predict(rows)} if forest else {"raw": model.predict(rows, raw_score=True)}
            if objective in ("poisson", "gamma", "tweedie", "cross_entropy"):
                answers["prediction"] = model.predict(rows)
            if objective == "binary":
                answers["p_1"] = model.predict(rows)
            if objective.startswith("multiclass"):
                probabilities = model.predict(rows)
                answers.update({f"p_{place}": probabilities[:, place] for place in range(4)})
            check(
                f"lightgbm {version} {objective} {more}{', gaps' if gaps else ''}",
                str(path),
                names,
                rows.tolist(),
                answers,
            )

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
    for more in ({}, {"max_cat_to_onehot": 50}):
        data = lgb.Dataset(train, wanted, categorical_feature=["colour", "code"] if not more else "auto")
        model = lgb.train({"objective": "regression", "verbose": -1, "min_data_per_group": 5, **more}, data, 12)
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
