"""The models that are compared, and the code that lleaves and tl2cgen compile of them: made once and kept.

Usage: models.py STEM [--all], which makes those of a shape; --all also what takes long.

Each predicts a number, so that the answer is the sum of the trees and nothing stands behind it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TRAINING_ROWS, TIMED_ROWS = 60_000, 1_024
CATEGORIES = 24
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "needletail" / "peers-trees"


@dataclass(frozen=True)
class Shape:
    """Trees, their depth and the columns of one comparison, for which each library trains a model."""

    trees: int
    depth: int
    columns: int
    rows: str = ""
    # Whether it is part of a run without --all: 2,000 trees of depth 10 are trained for minutes.
    is_long: bool = False

    @property
    def name(self) -> str:
        return f"{self.trees} × {self.depth} × {self.columns}" + (f", {self.rows}" if self.rows else "")

    @property
    def stem(self) -> str:
        return f"{self.trees}x{self.depth}x{self.columns}" + (f"-{self.rows}" if self.rows else "")

    @property
    def is_categorical(self) -> bool:
        return self.rows == "categories"

    @property
    def categorical_columns(self) -> list[int]:
        return list(range(0, self.columns, 4)) if self.is_categorical else []


SHAPES = [
    Shape(100, 6, 28),
    Shape(500, 6, 28),
    Shape(500, 6, 28, "missing"),
    Shape(500, 6, 28, "categories"),
    Shape(500, 8, 200),
    Shape(2000, 10, 28, is_long=True),
]


def rows_of(shape: Shape, count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    x = random.standard_normal((count, shape.columns)).astype(np.float32)
    x[:, 1::4] = np.exp(x[:, 1::4])
    x[:, 2::7] = np.round(x[:, 2::7] * 8)
    for column in shape.categorical_columns:
        x[:, column] = random.integers(0, CATEGORIES, count)
    if shape.rows == "missing":
        x[random.random(x.shape) < 0.1] = np.nan
    return x


def targets_of(shape: Shape, x: np.ndarray, seed: int) -> np.ndarray:
    z = np.nan_to_num(x)
    for column in shape.categorical_columns:
        # The effect of a category has nothing to do with its number.
        z[:, column] = np.random.default_rng(column).standard_normal(CATEGORIES)[z[:, column].astype(int)]
    score = z[:, 0] * z[:, 3] + np.sin(2 * z[:, 4]) + 0.5 * np.log1p(np.abs(z[:, 1])) * z[:, 7] - np.tanh(z[:, 2] / 8)
    score += (z[:, 8:20] * np.cos(z[:, 9:21])).sum(1) * 0.4
    return score + np.random.default_rng(seed).standard_normal(len(z))


def training_rows(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    x = rows_of(shape, TRAINING_ROWS, 1)
    return x, targets_of(shape, x, 2)


def timed_rows(shape: Shape) -> np.ndarray:
    return np.ascontiguousarray(rows_of(shape, TIMED_ROWS, 3))


def lightgbm_model(shape: Shape) -> Path:
    import lightgbm

    path = CACHE / f"lightgbm-{lightgbm.__version__}-{shape.stem}.txt"
    if not path.exists():
        x, y = training_rows(shape)
        parameters: dict[str, Any] = {
            "objective": "regression", "num_leaves": 2**shape.depth, "max_depth": shape.depth, "learning_rate": 0.05,
            "verbose": -1, "min_data_in_leaf": 20, "seed": 1, "cat_smooth": 1, "min_data_per_group": 20,
        }  # fmt: skip
        data = lightgbm.Dataset(x, y, categorical_feature=shape.categorical_columns)
        finish(path, lightgbm.train(parameters, data, shape.trees).save_model)
    return path


def xgboost_model(shape: Shape) -> Path:
    import xgboost

    path = CACHE / f"xgboost-{xgboost.__version__}-{shape.stem}.json"
    if not path.exists():
        x, y = training_rows(shape)
        types = ["c" if column in shape.categorical_columns else "q" for column in range(shape.columns)]
        data = xgboost.DMatrix(x, y, feature_types=types, enable_categorical=True)
        parameters = {
            "objective": "reg:squarederror", "max_depth": shape.depth, "eta": 0.05, "seed": 1, "tree_method": "hist",
            "min_child_weight": 1, "max_cat_to_onehot": 4,
        }  # fmt: skip
        finish(path, xgboost.train(parameters, data, shape.trees).save_model, suffix=".json")
    return path


def catboost_split(model: Path) -> Path:
    """Names the model of one split that is made beside another."""
    return model.with_name(model.stem + ".split.cbm")


def catboost_model(shape: Shape) -> Path:
    """Writes the model twice: .cbm for CatBoost itself, .json for the import; and one of a single split."""
    import catboost

    def train(trees: int, depth: int) -> catboost.CatBoostRegressor:
        model = catboost.CatBoostRegressor(
            iterations=trees, depth=depth, learning_rate=0.05, verbose=False, random_seed=1, allow_writing_files=False
        )
        return model.fit(x, y)

    path = CACHE / f"catboost-{catboost.__version__}-{shape.stem}.cbm"
    if not path.exists() or not catboost_split(path).exists():
        x, y = training_rows(shape)
        finish(catboost_split(path), train(1, 1).save_model)
        model = train(shape.trees, shape.depth)
        model.save_model(str(path.with_suffix(".json")), format="json")
        finish(path, model.save_model)
    return path


def ydf_model(shape: Shape) -> Path:
    """YDF reads no other library's model, so it trains one of the same shape."""
    import ydf

    path = CACHE / f"ydf-{ydf.__version__}-{shape.stem}"
    if not path.exists():
        x, y = training_rows(shape)
        learner = ydf.GradientBoostedTreesLearner(
            label="y", task=ydf.Task.REGRESSION, num_trees=shape.trees, max_depth=shape.depth + 1, shrinkage=0.05,
            validation_ratio=0.0, early_stopping="NONE", min_examples=5,
        )  # fmt: skip
        finish(path, learner.train(ydf_frame(shape, x) | {"y": y.astype(np.float32)}).save)
    return path


def ydf_frame(shape: Shape, x: np.ndarray) -> dict[str, np.ndarray]:
    return {
        f"f{i}": x[:, i].astype(int).astype(str) if i in shape.categorical_columns else x[:, i]
        for i in range(x.shape[1])
    }


def lleaves_code(model: Path) -> Path:
    return model.with_suffix(".lleaves")


def tl2cgen_code(model: Path) -> Path:
    return model.with_suffix(".tl2cgen.so")


def compile_lleaves(model: Path) -> None:
    import lleaves

    def write(path: str) -> None:
        lleaves.Model(model_file=str(model)).compile(cache=path, raw_score=True)

    compile_once(lleaves_code(model), write)


def compile_tl2cgen(model: Path) -> None:
    import tl2cgen
    import treelite

    def write(path: str) -> None:
        forest = treelite.frontend.load_xgboost_model(str(model))
        tl2cgen.export_lib(forest, toolchain="gcc", libpath=path, params={"parallel_comp": 16})

    compile_once(tl2cgen_code(model), write)


def compile_once(path: Path, write: Any) -> None:
    """Keeps the seconds that it took beside the code."""
    if path.exists():
        return
    start = time.perf_counter()
    finish(path, write, suffix=path.suffix)
    path.with_suffix(".seconds").write_text(f"{time.perf_counter() - start:.1f}")


def seconds_to_compile(path: Path) -> float:
    return float(path.with_suffix(".seconds").read_text())


def finish(path: Path, write: Any, suffix: str = "") -> None:
    """Writes under another name first, so that an interrupted run leaves no half of a file."""
    unfinished = path.with_name(path.stem + ".unfinished" + suffix)
    write(str(unfinished))
    unfinished.rename(path)


def trains_catboost(shape: Shape) -> bool:
    """CatBoost's oblivious trees; those of categories are made of statistics, which are not imported."""
    return not shape.is_categorical and not shape.is_long


def prepare(shape: Shape, is_all: bool) -> None:
    lightgbm, xgboost = lightgbm_model(shape), xgboost_model(shape)
    ydf_model(shape)
    if trains_catboost(shape):
        catboost_model(shape)
    # Code for 500 trees of depth 6 takes one minute or two, and one such model is enough.
    if is_all or (not shape.rows and shape.depth <= 6):
        compile_lleaves(lightgbm)
        compile_tl2cgen(xgboost)


def prepare_apart(shape: Shape, is_all: bool) -> None:
    """Runs `prepare` in a process of its own, which takes all processors where the measuring one has one."""
    subprocess.run(
        [sys.executable, __file__, shape.stem, *(["--all"] if is_all else [])], stdout=sys.stderr, check=True
    )


if __name__ == "__main__":
    CACHE.mkdir(parents=True, exist_ok=True)
    prepare(next(shape for shape in SHAPES if shape.stem == sys.argv[1]), "--all" in sys.argv)
