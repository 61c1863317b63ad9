"""Pipelines of scikit-learn, whose preprocessing is folded into the trees: exported and compared as a user would."""

from __future__ import annotations

import numpy as np
import pandas as pd
from harness import check_export, row_count, table, targets, training_rows
from sklearn import compose, ensemble, feature_selection, impute, pipeline, preprocessing


def frame(rows: int, seed: int, strangers: bool) -> pd.DataFrame:
    """Numbers and texts with gaps, and some texts that the training data lacks where strangers are asked for."""
    generator = np.random.default_rng(seed)
    values = table(rows, True, seed)
    colours = np.array(["red", "green", "blue", "grey", *(["mauve"] if strangers else [])], dtype=object)
    colour = colours[generator.integers(0, len(colours), rows)]
    colour[generator.random(rows) < 0.1] = np.nan
    sizes = generator.choice(["S", "M", "L"], rows)
    names = {"a": values[:, 0], "b": values[:, 1], "colour": colour, "c": values[:, 4], "size": sizes}
    return pd.DataFrame({**names, "d": values[:, 2]}).astype({"colour": object, "size": object})


def prepared(categorical: object, *scalers: object) -> object:
    """Numbers imputed and scaled, texts encoded, one column as it is."""
    numbers = pipeline.make_pipeline(impute.SimpleImputer(strategy="median", add_indicator=True), *scalers)
    return compose.ColumnTransformer(
        [
            ("numbers", numbers, ["c", "a", "b"]),
            ("categories", categorical, ["size", "colour"]),
            ("rest", "passthrough", ["d"]),
        ]
    )


def sklearn_pipelines() -> None:
    scaler, span = preprocessing.StandardScaler(), preprocessing.MinMaxScaler((-1, 3))
    robust, absolute = preprocessing.RobustScaler(), preprocessing.MaxAbsScaler()
    one_hot = preprocessing.OneHotEncoder(handle_unknown="ignore")
    rare = preprocessing.OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=0.23, sparse_output=False)
    dropping = preprocessing.OneHotEncoder(drop="first")
    ordinal = preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    target = preprocessing.TargetEncoder(random_state=1)
    filled = pipeline.make_pipeline(impute.SimpleImputer(strategy="constant", fill_value="none"), one_hot)
    forest = ensemble.RandomForestClassifier(15, max_depth=9, random_state=3)
    boosting = ensemble.HistGradientBoostingClassifier(max_iter=15, random_state=3)
    regressor = ensemble.GradientBoostingRegressor(n_estimators=15)
    isolation = ensemble.IsolationForest(n_estimators=20, random_state=1)
    fill = impute.SimpleImputer()
    models = [
        ("one-hot, standardised", [prepared(one_hot, scaler), forest], "classes", True),
        ("rare categories, min-max", [prepared(rare, span), boosting], "binary", True),
        ("ordinal, robust", [prepared(ordinal, robust, scaler), forest], "classes", True),
        ("filled categories", [prepared(filled, absolute), boosting], "classes", True),
        ("target encoding", [prepared(target, scaler), boosting], "binary", True),
        ("scaled behind it all", [prepared(rare, scaler), span, forest], "binary", True),
        ("first category dropped", [prepared(dropping, span), forest], "binary", False),
        ("selected", [prepared(filled, scaler), fill, feature_selection.SelectKBest(k=6), forest], "binary", True),
        ("regression", [prepared(one_hot, scaler), fill, regressor], "number", True),
        ("isolation", [prepared(filled), fill, isolation], "number", True),
    ]
    for library, classifier, regressor in boosters():
        models += [
            (f"{library}, binary", [prepared(one_hot, scaler), classifier], "binary", True),
            (f"{library}, classes", [prepared(rare, robust), classifier], "classes", True),
            (f"{library}, regression", [prepared(ordinal, span), regressor], "number", True),
        ]
    for name, steps, kind, strangers in models:
        train = frame(training_rows, 91, False)
        wanted = targets(train[["a", "b", "d", "d"]].to_numpy(), kind)
        model = pipeline.make_pipeline(*steps).fit(train, wanted)
        check_export(f"scikit-learn pipeline: {name}", model, frame(row_count, 92, strangers))
    categorical_boosting()


def boosters() -> list[tuple[str, object, object]]:
    import lightgbm
    import xgboost

    settings = {"n_estimators": 15, "verbose": -1, "random_state": 3}
    return [
        ("XGBoost", xgboost.XGBClassifier(n_estimators=15), xgboost.XGBRegressor(n_estimators=15)),
        ("LightGBM", lightgbm.LGBMClassifier(**settings), lightgbm.LGBMRegressor(**settings)),
    ]


def categorical_boosting() -> None:
    """Categories that the estimator itself encodes: those of a data frame, and numbers of an array."""
    kinds = {"colour": "category", "size": "category"}
    train = frame(training_rows, 93, False).astype(kinds)
    wanted = targets(train[["a", "b", "d", "d"]].to_numpy(), "number") + train["size"].cat.codes
    model = ensemble.HistGradientBoostingRegressor(max_iter=15, categorical_features="from_dtype").fit(train, wanted)
    rows = frame(row_count, 94, False).astype(kinds)
    check_export("scikit-learn HistGradientBoosting, categories", model, rows)
    generator = np.random.default_rng(9)
    codes = np.column_stack([generator.integers(0, 40, training_rows), train["a"]])
    model = ensemble.HistGradientBoostingRegressor(max_iter=15, categorical_features=[0])
    model.fit(codes, codes[:, 0] % 5)
    rows = np.column_stack([generator.integers(0, 45, row_count), generator.normal(size=row_count)])
    check_export("scikit-learn HistGradientBoosting, codes", model, rows)
