"""Compares boosted trees of needletail-trainer with LightGBM's and XGBoost's, and forests with scikit-learn's.

Usage: trees.py TRAINER WORK [--long]

Without --long fewer tables and splits are taken, in two minutes instead of eight; bounds are wider then, because the
loss of one split says less.

Four kinds of comparison, each over several splits of a table, by the loss on the test rows (log loss, or root of the
mean squared error, or what was minimised):

- *alike*: the same number of trees, leaves, bins, learning rate and penalties, without early stopping. The three grow
  by the same rules and differ in bounds of bins and in rounding, so the losses must be close either way. LightGBM
  estimates the rows of a leaf from their hessians where it applies the smallest number of them, which matters where
  some rows are classified with certainty: for several classes that number is 1.
- *settings*: each loss, constraint and sampling against the like setting of LightGBM, as *alike*.
- *forests*: a random forest with its defaults against scikit-learn's, by the share of wrong answers.
- *defaults*: a run file without any setting against LightGBM without any, whose trees are 100. Ours must not be worse.

The tables are those that ship as examples, three that come with statsmodels, and some made by scikit-learn.
"""

import csv
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import lightgbm
import numpy as np
import statsmodels.datasets as public
import xgboost
from sklearn import datasets
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import log_loss, mean_poisson_deviance, mean_tweedie_deviance, ndcg_score

# Probabilities come as text of fp32, whose sums scikit-learn finds not close enough to 1.
warnings.filterwarnings("ignore", message="The y_prob values do not sum to one")

EXAMPLES = Path("deploy/examples")
IS_LONG = "--long" in sys.argv
# Largest ratio of our mean loss to a peer's: seeds of sampling move the losses by as much.
ALIKE, DEFAULTS, FORESTS = (1.03, 1.01, 1.06) if IS_LONG else (1.06, 1.06, 1.12)
# That of one split, or of groups that are ranked, of which a test part has 40.
ALIKE_FEW = 1.06 if IS_LONG else 1.12
# Rows from which a test part tells how alike two models are: the losses of some dozens say little.
ALIKE_ROWS = 1000
TREES = 100


class Table(NamedTuple):
    """One table of numbers and codes, with the target beside it."""

    name: str
    columns: np.ndarray
    target: np.ndarray
    categorical: tuple[int, ...] = ()
    splits: int = 3 if IS_LONG else 1
    weights: np.ndarray | None = None
    groups: np.ndarray | None = None

    @property
    def is_regression(self) -> bool:
        return self.target.dtype.kind == "f"

    @property
    def classes(self) -> int:
        return 0 if self.is_regression else int(self.target.max()) + 1


def example(name: str, dtype: type) -> Table:
    with (EXAMPLES / name / f"{name}.csv").open() as file:
        _, *rows = list(csv.reader(file))
    columns = np.array([[float(cell) for cell in row[:-1]] for row in rows])
    labels = [row[-1] for row in rows]
    target = np.array(labels, dtype=float) if dtype is float else np.unique(labels, return_inverse=True)[1]
    # A test part of wine has 27 rows.
    return Table(name, columns, target, splits=20 if len(rows) < 300 else 5 if IS_LONG else 3)


def with_gaps_and_categories(rows: int) -> Table:
    """Numbers of which a fifth is missing, partly for a reason, and two categories of 8 and 60 levels."""
    random = np.random.default_rng(5)
    x = random.normal(size=(rows, 6))
    few, many = random.integers(0, 8, rows), random.integers(0, 60, rows)
    effects = random.normal(size=60)
    score = x[:, 0] + np.sin(2 * x[:, 1]) * x[:, 2] + (few % 2) + effects[many] + 0.5 * random.normal(size=rows)
    x[random.random((rows, 6)) < 0.1] = np.nan
    x[score > np.quantile(score, 0.9), 3] = np.nan
    columns = np.column_stack([x, few, many])
    return Table("gaps and categories", columns, (score > np.median(score)).astype(int), categorical=(6, 7))


def tables() -> Iterator[Table]:
    for name, dtype in (("breast_cancer", int), ("wine", int), ("digits", int), ("diabetes", float)):
        yield example(name, dtype)
    yield affairs()
    yield hastie()
    yield with_gaps_and_categories(8000)
    if not IS_LONG:
        return
    health = public.randhie.load_pandas().data
    yield Table(
        "randhie, visits", health.drop(columns="mdvis").to_numpy(float), np.log1p(health["mdvis"].to_numpy(float))
    )
    votes = public.anes96.load_pandas().data
    yield Table(
        "anes96, party", votes.drop(columns="PID").to_numpy(float), votes["PID"].to_numpy(int).clip(1, 5) - 1, splits=5
    )
    yield friedman()
    x, y = datasets.make_classification(
        6000, 20, n_informative=8, n_redundant=4, n_classes=5, flip_y=0.1, random_state=1
    )
    yield Table("five classes", x, y)


def visits() -> Table:
    health = public.randhie.load_pandas().data
    return Table("visits", health.drop(columns="mdvis").to_numpy(float), health["mdvis"].to_numpy(float))


def friedman() -> Table:
    x, y = datasets.make_friedman1(5000, n_features=10, noise=1, random_state=1)
    return Table("friedman", x, y.astype(float))


def hastie() -> Table:
    x, y = datasets.make_hastie_10_2(6000, random_state=1)
    return Table("hastie", x, (y > 0).astype(int))


def affairs() -> Table:
    data = public.fair.load_pandas().data
    return Table("fair, affairs", data.drop(columns="affairs").to_numpy(float), (data["affairs"] > 0).to_numpy(int))


def weighted(table: Table) -> Table:
    return table._replace(
        name=table.name + " with weights", weights=np.random.default_rng(2).exponential(size=len(table.target)).round(3)
    )


def ranked() -> Table:
    """Groups of 5 to 40 rows, whose relevance depends on columns and on what the group asks for."""
    random = np.random.default_rng(8)
    groups = np.repeat(np.arange(400), random.integers(5, 41, 400))
    x = random.normal(size=(len(groups), 8))
    x[:, 0] = random.normal(size=400)[groups]
    score = x[:, 1] + x[:, 2] * x[:, 0] + np.abs(x[:, 3]) + random.normal(size=len(groups))
    return Table("ranked", x, np.clip(np.floor(score), 0, 4), groups=groups)


class Run:
    """One run of the trainer: the rows that it used, and its answers for the test rows."""

    def __init__(
        self,
        trainer: str,
        work: Path,
        table: Table,
        seed: int,
        model: str = "",
        training: str = "",
        family: str = "gbdt",
    ) -> None:
        data, run_file, output = work / f"{table.name}.csv", work / "run.yaml", work / "out"
        if not data.exists():
            write(table, data)
        types = "".join(f"    x{i}: {{ type: categorical }}\n" for i in table.categorical)
        task = "regression" if table.is_regression else "classification"
        roles = ", weight: w" if table.weights is not None else ""
        roles += ", group: q" if table.groups is not None else ""
        run_file.write_text(
            f"data: {{ files: [{json.dumps(str(data.resolve()))}] }}\n"
            f"features:\n  unknown: zeros\n{'  columns:' if types else ''}\n{types}"
            f"target: {{ column: y, task: {task}{roles} }}\nsplit: {{ seed: {seed} }}\n"
            f"model: {{ family: {family}{model} }}\ntraining: {{ seed: {seed}{training} }}\n"
        )
        subprocess.run([trainer, "train", str(run_file), "--output", str(output), "--quiet"], check=True)
        with (output / "split.csv").open() as file:
            parts = np.array([row["part"] for row in csv.DictReader(file)])
        self.train, self.test = np.flatnonzero(parts == "train"), np.flatnonzero(parts == "test")
        with (output / "predictions.csv").open() as file:
            answers = list(csv.DictReader(file))
        if table.is_regression:
            self.answers = np.array([float(row["prediction"]) for row in answers])
        else:
            names = [name for name in answers[0] if name.startswith("p_")]
            self.answers = np.array([[float(row[name]) for name in names] for row in answers])


def write(table: Table, path: Path) -> None:
    with path.open("w") as file:
        writer = csv.writer(file)
        names = [f"x{i}" for i in range(table.columns.shape[1])]
        roles = [(name, v) for name, v in (("w", table.weights), ("q", table.groups)) if v is not None]
        writer.writerow([*names, *(name for name, _ in roles), "y"])
        for number, (row, y) in enumerate(zip(table.columns, table.target, strict=True)):
            cells = [
                "" if np.isnan(v) else f"c{int(v)}" if i in table.categorical else repr(float(v))
                for i, v in enumerate(row)
            ]
            cells += [str(v[number]) for _, v in roles]
            writer.writerow([*cells, repr(float(y)) if table.is_regression else f"k{int(y)}"])


Judge = Callable[[Table, np.ndarray, np.ndarray], float]


def loss(table: Table, rows: np.ndarray, answers: np.ndarray) -> float:
    truth = table.target[rows]
    weights = None if table.weights is None else table.weights[rows]
    if table.is_regression:
        return float(np.sqrt(np.average((answers - truth) ** 2, weights=weights)))
    return float(log_loss(truth, answers, labels=range(table.classes), sample_weight=weights))


def absolute(table: Table, rows: np.ndarray, answers: np.ndarray) -> float:
    return float(np.mean(np.abs(answers - table.target[rows])))


def huber(table: Table, rows: np.ndarray, answers: np.ndarray) -> float:
    distance = np.abs(answers - table.target[rows])
    return float(np.mean(np.where(distance <= 1, distance**2 / 2, distance - 0.5)))


def pinball(table: Table, rows: np.ndarray, answers: np.ndarray) -> float:
    distance = table.target[rows] - answers
    return float(np.mean(np.maximum(0.8 * distance, -0.2 * distance)))


def poisson(table: Table, rows: np.ndarray, answers: np.ndarray) -> float:
    return float(mean_poisson_deviance(table.target[rows], answers))


def tweedie(table: Table, rows: np.ndarray, answers: np.ndarray) -> float:
    return float(mean_tweedie_deviance(table.target[rows], answers, power=1.5))


def disorder(table: Table, rows: np.ndarray, answers: np.ndarray) -> float:
    """1 − NDCG@10, the mean over groups."""
    assert table.groups is not None
    groups, truth = table.groups[rows], table.target[rows]
    found = []
    for group in np.unique(groups):
        own = groups == group
        if truth[own].max() > 0 and own.sum() > 1:
            found.append(ndcg_score([2 ** truth[own] - 1], [answers[own]], k=10))
    return 1 - float(np.mean(found))


def lightgbm_loss(table: Table, run: Run, judge: Judge = loss, **settings: object) -> float:
    x, y = table.columns, table.target
    more: dict[str, object] = {}
    if table.weights is not None:
        more["sample_weight"] = table.weights[run.train]
    kind = lightgbm.LGBMRegressor if table.is_regression else lightgbm.LGBMClassifier
    if table.groups is not None:
        # Groups stand together in the table, and so they do among the rows of a part.
        kind, more["group"] = lightgbm.LGBMRanker, np.unique(table.groups[run.train], return_counts=True)[1]
    model = kind(verbose=-1, n_jobs=1, **settings)
    model.fit(x[run.train], y[run.train], categorical_feature=list(table.categorical), **more)
    answer = model.predict if table.is_regression else model.predict_proba
    return judge(table, run.test, answer(x[run.test]))


def xgboost_loss(table: Table, run: Run, **settings: object) -> float:
    kind = xgboost.XGBRegressor if table.is_regression else xgboost.XGBClassifier
    model = kind(
        n_estimators=TREES, learning_rate=0.1, max_bin=255, tree_method="hist", reg_lambda=1, min_child_weight=1e-3,
        n_jobs=1, **settings,
    )  # fmt: skip
    model.fit(table.columns[run.train], table.target[run.train])
    answer = model.predict if table.is_regression else model.predict_proba
    return loss(table, run.test, answer(table.columns[run.test]))


def wrong(table: Table, rows: np.ndarray, answers: np.ndarray) -> float:
    """Share of wrong classes, or root of the mean squared error."""
    return (
        loss(table, rows, answers) if table.is_regression else float(np.mean(answers.argmax(1) != table.target[rows]))
    )


def forest_wrong(table: Table, run: Run, seed: int) -> float:
    """That of scikit-learn's forest with its own defaults, but columns by node as ours where numbers are predicted."""
    kind = RandomForestRegressor(max_features=0.5) if table.is_regression else RandomForestClassifier()
    kind.set_params(n_jobs=1, random_state=seed).fit(table.columns[run.train], table.target[run.train])
    answer = kind.predict if table.is_regression else kind.predict_proba
    return wrong(table, run.test, answer(table.columns[run.test]))


class Setting(NamedTuple):
    """Settings of ours, and LightGBM's that mean the same."""

    name: str
    table: Table
    model: str
    training: str
    peer: dict[str, object]
    judge: Judge = loss


def settings() -> Iterator[Setting]:
    yield Setting("absolute error", friedman(), ", loss: absolute", "", {"objective": "regression_l1"}, absolute)
    yield Setting("Huber's loss", friedman(), ", loss: huber", "", {"objective": "huber", "alpha": 1}, huber)
    quantile = {"objective": "quantile", "alpha": 0.8}
    yield Setting("quantile 0.8", friedman(), ", loss: quantile, quantile: 0.8", "", quantile, pinball)
    yield Setting("Poisson", visits(), ", loss: poisson", "", {"objective": "poisson"}, poisson)
    power = {"objective": "tweedie", "tweedie_variance_power": 1.5}
    yield Setting("Tweedie", visits(), ", loss: tweedie", "", power, tweedie)
    yield Setting("ranking", ranked(), ", loss: rank", "", {}, disorder)
    yield Setting("weights, classes", weighted(hastie()), "", "", {})
    yield Setting("weights, numbers", weighted(friedman()), "", "", {})
    balanced = {"class_weight": "balanced"}
    yield Setting("balanced", affairs(), "", ", class_weights: balanced", balanced)
    rising = {"monotone_constraints": [0, 0, 0, 1, 1, 0, 0, 0, 0, 0]}
    yield Setting("rising", friedman(), ", rising: [x3, x4]", "", rising)
    pairs = {"interaction_constraints": [[0, 1], [2], [3], [4], [5, 6], [7], [8], [9]]}
    yield Setting("interactions", friedman(), ", interactions: [[x0, x1], [x5, x6]]", "", pairs)
    part = {"subsample": 0.7, "subsample_freq": 1, "colsample_bytree": 0.6}
    yield Setting("samples", friedman(), "", ", row_sample: 0.7, column_sample: 0.6", part)
    yield Setting("columns by node", hastie(), "", ", node_column_sample: 0.5", {"feature_fraction_bynode": 0.5})
    yield Setting("level by level", hastie(), ", growth: level, depth: 4", "", {"max_depth": 4})
    yield Setting("l1", hastie(), "", ", l1: 3", {"reg_alpha": 3})


def same(model: str = "", training: str = "", rows_min: int = 20) -> tuple[str, str]:
    """Settings as LightGBM's and XGBoost's, with more beside them."""
    rest = "" if ", column_sample" in training else ", column_sample: 1"
    return (
        f", trees: {TREES}, leaves: 31{model}",
        f", learning_rate: 0.1, patience: 0, l2: 1, rows_min: {rows_min}{rest}{training}",
    )


def main(trainer: str, work: Path) -> int:
    failed = count = 0

    def compare(
        name: str, ours: list[float], peer: str, theirs: list[float], ratio_max: float, slack: float = 0
    ) -> None:
        nonlocal failed, count
        a, b = float(np.mean(ours)), float(np.mean(theirs))
        holds = a <= b * ratio_max + slack
        count, failed = count + 1, failed + (not holds)
        mark = "ok  " if holds else "FAIL"
        print(
            f"{mark}  {name:<32} {a:.5f}  {peer} {b:.5f}  ratio {a / b if b else 1:.4f}, at most {ratio_max}",
            flush=True,
        )

    def runs(table: Table, judge: Judge, *settings: str, family: str = "gbdt") -> tuple[list[Run], list[float]]:
        found = [Run(trainer, work, table, seed, *settings, family=family) for seed in range(1, table.splits + 1)]
        return found, [judge(table, run.test, run.answers) for run in found]

    def compare_alike(table: Table) -> None:
        rows_min = 1 if table.classes > 2 else 20
        found, ours = runs(table, loss, *same(rows_min=rows_min))
        alike = {"n_estimators": TREES, "reg_lambda": 1, "min_child_samples": rows_min}
        theirs = [lightgbm_loss(table, run, **alike) for run in found]
        compare(f"{table.name}, alike", ours, "LightGBM", theirs, ALIKE)
        # XGBoost bounds leaves by their hessians only, and has another hessian for several classes.
        if not table.categorical and table.classes <= 2:
            found, ours = runs(table, loss, *same(rows_min=1))
            limits = {"max_depth": 0, "max_leaves": 31, "grow_policy": "lossguide"}
            theirs = [xgboost_loss(table, run, **limits) for run in found]
            compare(f"{table.name}, alike", ours, "XGBoost ", theirs, ALIKE)

    for table in tables():
        if len(table.target) >= ALIKE_ROWS:
            compare_alike(table)
        found, ours = runs(table, loss)
        compare(f"{table.name}, defaults", ours, "LightGBM", [lightgbm_loss(table, run) for run in found], DEFAULTS)
        # scikit-learn's takes no gaps and categories.
        if not table.categorical:
            found, ours = runs(table, wrong, family="random_forest")
            theirs = [forest_wrong(table, run, seed) for seed, run in enumerate(found)]
            compare(f"{table.name}, forest", ours, "sklearn ", theirs, FORESTS, slack=0.01)
    for setting in settings():
        table = setting.table
        found, ours = runs(table, setting.judge, *same(setting.model, setting.training))
        alike = {"n_estimators": TREES, "reg_lambda": 1} | setting.peer
        theirs = [lightgbm_loss(table, run, setting.judge, **alike) for run in found]
        bound = ALIKE_FEW if setting.table.groups is not None or not IS_LONG else ALIKE
        compare(f"{table.name}, {setting.name}", ours, "LightGBM", theirs, bound)
    print(f"{count - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
