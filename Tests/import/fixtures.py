"""Writes the small models in `fixtures/`, which unit tests cut and change.

fixtures.py    needs numpy, pandas, scikit-learn, xgboost, lightgbm and catboost

Run it again where a format grows something that the importer reads. The trees are other ones with each version of a
library; no test depends on them.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pandas as pd

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parents[1] / "clients/python/src/needletail"))
import export as needletail_export  # noqa: E402  this package alone: the client around it needs protobuf

folder = here / "fixtures"
folder.mkdir(exist_ok=True)
random = np.random.default_rng(5)
rows = 400
frame = pd.DataFrame(
    {
        "age": np.where(random.random(rows) < 0.1, np.nan, random.integers(18, 90, rows)),
        "income": np.round(random.lognormal(3, 1, rows), 2),
        "colour": pd.Categorical(random.choice(["red", "green", "blue"], rows)),
    }
)
score = np.nan_to_num(frame["age"]) / 30 + np.log(frame["income"]) + 2 * (frame["colour"] == "red")
binary = (score > score.median()).astype(int)
classes = np.digitize(score, [score.quantile(0.3), score.quantile(0.7)])
numbers = frame[["age", "income"]]


def xgboost_models() -> None:
    import xgboost as xgb

    data = xgb.DMatrix(frame, binary, enable_categorical=True)
    settings = {"objective": "binary:logistic", "max_depth": 2, "max_cat_to_onehot": 1, "eta": 0.5}
    model = xgb.train(settings, data, 3)
    model.save_model(folder / "xgboost.json")
    model.save_model(folder / "xgboost.ubj")
    dart = {"objective": "multi:softprob", "num_class": 3, "booster": "dart", "rate_drop": 0.5, "max_depth": 2}
    xgb.train(dart, xgb.DMatrix(numbers, classes), 2).save_model(folder / "xgboost-dart.json")


def lightgbm_models() -> None:
    import lightgbm as lgb

    settings = {"verbose": -1, "num_leaves": 4, "min_data_per_group": 5, "cat_smooth": 1}
    binary_model = lgb.train({**settings, "objective": "binary"}, lgb.Dataset(frame, binary), 3)
    binary_model.save_model(folder / "lightgbm.txt")
    forest = {
        **settings,
        "objective": "multiclass",
        "num_class": 3,
        "boosting": "rf",
        "bagging_freq": 1,
        "bagging_fraction": 0.6,
    }
    lgb.train(forest, lgb.Dataset(numbers, classes), 2).save_model(folder / "lightgbm-forest.txt")
    linear = {**settings, "objective": "regression", "linear_tree": True, "reg_sqrt": True}
    lgb.train(linear, lgb.Dataset(numbers, score), 3).save_model(folder / "lightgbm-linear.txt")


def catboost_models() -> None:
    import catboost

    table = frame.astype({"colour": str})
    settings = {"iterations": 3, "depth": 2, "verbose": 0, "allow_writing_files": False, "one_hot_max_size": 10}
    pool = catboost.Pool(table, binary, cat_features=["colour"])
    model = catboost.CatBoost({**settings, "loss_function": "Logloss"})
    model.fit(pool)
    model.save_model(str(folder / "catboost.json"), format="json", pool=pool)
    model = catboost.CatBoost({**settings, "loss_function": "MultiClass", "grow_policy": "Lossguide", "max_leaves": 4})
    model.fit(numbers, classes)
    model.save_model(str(folder / "catboost-lossguide.json"), format="json")


def sklearn_models() -> None:
    from sklearn import ensemble

    forest = ensemble.RandomForestClassifier(3, max_depth=2, random_state=1).fit(numbers, classes)
    needletail_export.export(forest, folder / "sklearn-forest.json")
    boosting = ensemble.HistGradientBoostingRegressor(max_iter=3, max_depth=2, random_state=1).fit(numbers, score)
    needletail_export.export(boosting, folder / "sklearn-boosting.json")


for write in (xgboost_models, lightgbm_models, catboost_models, sklearn_models):
    write()
