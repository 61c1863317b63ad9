"""The peers, each on one thread and through its C function where it has one.

A peer is a name, and a function of a number of rows and of a batch to the nanoseconds of one pass over the rows.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import models
import numpy as np

POINTER, SIZE, REAL = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_double
# YDF measures itself for this long.
YDF_SECONDS = 0.05


@dataclass
class Peer:
    name: str
    time: Callable[[int, int], float]
    # Raw answers of all rows, to compare with ours; None where the model is another.
    answers: np.ndarray | None = None
    batch_min: int = 1
    seconds_to_compile: float | None = None


class Peers:
    """Loads the peers of one model; keeps alive what their C functions point to."""

    def __init__(self, library: str) -> None:
        self.library = ctypes.CDLL(library)
        self.kept: list[Any] = []

    def function(self, name: str, *arguments: Any) -> Any:
        function = getattr(self.library, name)
        function.restype, function.argtypes = REAL, list(arguments)
        return function

    def lightgbm(self, path: Path, x: np.ndarray) -> Iterator[Peer]:
        import lightgbm

        booster = lightgbm.Booster(model_file=str(path))
        library, columns, out = lightgbm.basic._LIB, x.shape[1], np.zeros(len(x))
        configuration = POINTER()
        library.LGBM_BoosterPredictForMatSingleRowFastInit(
            booster._handle, 1, 0, -1, 0, columns, b"num_threads=1", ctypes.byref(configuration)
        )
        self.kept += [booster, configuration, out, x]
        answers = booster.predict(x, raw_score=True, num_threads=1)
        single = self.function("peers_lightgbm_single", POINTER, POINTER, POINTER, SIZE, SIZE, POINTER)
        matrix = self.function("peers_lightgbm_matrix", POINTER, POINTER, POINTER, SIZE, SIZE, SIZE, POINTER)
        row_function = address(library.LGBM_BoosterPredictForMatSingleRowFast)
        matrix_function = address(library.LGBM_BoosterPredictForMat)
        yield Peer(
            "LightGBM, single row fast",
            lambda rows, _: single(row_function, configuration, x.ctypes.data, rows, columns, out.ctypes.data),
            answers,
        )
        yield Peer(
            "LightGBM, matrix",
            lambda rows, batch: matrix(
                matrix_function, booster._handle, x.ctypes.data, rows, columns, batch, out.ctypes.data
            ),
            answers,
            batch_min=8,
        )

    def lleaves(self, path: Path, x: np.ndarray) -> Iterator[Peer]:
        import lleaves

        compiled = models.lleaves_code(path)
        if not compiled.exists():
            return
        model = lleaves.Model(model_file=str(path))
        model.compile(cache=str(compiled), raw_score=True)
        wide, out = x.astype(np.float64), np.zeros(len(x))
        forest = self.function("peers_lleaves", POINTER, POINTER, SIZE, SIZE, SIZE, POINTER)
        self.kept += [model, wide, out]
        yield Peer(
            "lleaves",
            lambda rows, batch: forest(
                address(model._c_entry_func), wide.ctypes.data, rows, x.shape[1], batch, out.ctypes.data
            ),
            model.predict(wide, n_jobs=1),
            seconds_to_compile=models.seconds_to_compile(compiled),
        )

    def xgboost(self, path: Path, x: np.ndarray) -> Iterator[Peer]:
        import xgboost

        booster = xgboost.Booster(model_file=str(path))
        booster.set_param({"nthread": 1})
        out = np.zeros(len(x))
        dense = self.function("peers_xgboost", POINTER, POINTER, POINTER, SIZE, SIZE, SIZE, POINTER)
        function = address(xgboost.core._LIB.XGBoosterPredictFromDense)
        self.kept += [booster, out, x]
        matrix = xgboost.DMatrix(x, feature_types=booster.feature_types, enable_categorical=True)
        yield Peer(
            "XGBoost",
            lambda rows, batch: dense(
                function, booster.handle, x.ctypes.data, rows, x.shape[1], batch, out.ctypes.data
            ),
            booster.predict(matrix, output_margin=True),
        )

    def tl2cgen(self, path: Path, x: np.ndarray) -> Iterator[Peer]:
        compiled = models.tl2cgen_code(path)
        if not compiled.exists():
            return
        code, out = ctypes.CDLL(str(compiled)), np.zeros(len(x))
        row = self.function("peers_generated", POINTER, POINTER, SIZE, SIZE, POINTER)
        self.kept += [code, out]

        def run(rows: int, _: int) -> float:
            return row(address(code.predict), x.ctypes.data, rows, x.shape[1], out.ctypes.data)

        run(len(x), 1)
        yield Peer("tl2cgen", run, out.copy(), seconds_to_compile=models.seconds_to_compile(compiled))

    def ydf(self, path: Path, shape: models.Shape, x: np.ndarray) -> Iterator[Peer]:
        """Yields the engines of YDF's own model, timed by YDF, whose engines take rows that it has prepared before."""
        import ydf

        ydf.verbose(0)
        model = ydf.load_model(str(path))
        frame = models.ydf_frame(shape, x)
        self.kept += [model]
        for engine in model.list_compatible_engines():
            if "Generic" in engine:
                continue

            def run(rows: int, batch: int, engine: str = engine) -> float:
                model.force_engine(engine)
                found = model.benchmark(
                    frame, benchmark_duration=YDF_SECONDS, warmup_duration=0.01, batch_size=batch, num_threads=1
                )
                return found.duration_per_example * 1e9 * rows

            yield Peer("YDF " + engine.removeprefix("GradientBoostedTrees"), run)

    def catboost(self, path: Path, x: np.ndarray) -> Iterator[Peer]:
        """Yields CatBoost, whose package has no C function: its binding costs what a model of one split takes."""
        import catboost

        model, binding = (catboost.CatBoost().load_model(str(each)) for each in (path, models.catboost_split(path)))
        self.kept += [model, binding]

        def calls(of: catboost.CatBoost, rows: int, batch: int) -> float:
            start = time.perf_counter()
            for first in range(0, rows, batch):
                of.predict(x[first : first + batch], prediction_type="RawFormulaVal", thread_count=1)
            return (time.perf_counter() - start) * 1e9

        yield Peer(
            "CatBoost, less its binding",
            lambda rows, batch: calls(model, rows, batch) - calls(binding, rows, batch),
            model.predict(x, prediction_type="RawFormulaVal", thread_count=1),
        )


def address(function: Any) -> POINTER:
    return ctypes.cast(function, POINTER)
