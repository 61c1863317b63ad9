"""An XGBoost model of one's own, imported and served by the README's commands, asked, and swapped under load.

served.py PROGRAMS FOLDER

Clients keep asking while retrained models are imported over the one that serves. No call may fail, each answer must be
that of XGBoost's model of the version that it names, and no client may get an older version than before.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import xgboost

root = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(root / "clients/python/src"))
from needletail import Client  # noqa: E402
from needletail.export import export  # noqa: E402

programs, folder = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
SWAPS, CLIENTS = 3, 4
#: Answers that each client must have had of a version before the next one comes.
ANSWERS_MIN = 200
#: What the machine may take for a swap, however busy it is.
SWAP_SECONDS_MAX = 60.0
#: Answers are fp32, and so is the link function behind equal sums.
TOLERANCE = 1e-6


def commands() -> tuple[str, str]:
    """The two commands of the README: to import a model, and to serve it."""
    text = (root / "README.md").read_text()
    block = re.search(
        r"^```sh\n(needletail-trainer import [^\n]*)\n(needletail-server [^\n]*)\n```$", text, re.MULTILINE
    )
    if block is None:
        sys.exit("README.md: expected a block of the two commands that import and serve a model, found none")
    return block[1], block[2]


def table(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": random.integers(18, 90, rows),
            "income": random.lognormal(10, 1, rows).round(2),
            "plan": pd.Categorical(random.choice(["basic", "family", "pro"], rows), ["basic", "family", "pro"]),
        }
    )


def train(seed: int) -> xgboost.XGBClassifier:
    """Another model for each seed, as one that is retrained on newer rows."""
    rows = table(2000, seed)
    churned = (rows["income"] / 1000 < rows["age"] - 20 * (rows["plan"] == "pro") + 7 * seed).astype(int)
    return xgboost.XGBClassifier(n_estimators=100, enable_categorical=True).fit(rows, churned)


class Caller(threading.Thread):
    """Asks without a pause, one and seven rows in turn, and compares each answer."""

    def __init__(self, address: str, rows: pd.DataFrame, expected: dict[int, np.ndarray]) -> None:
        super().__init__(daemon=True)
        self.address, self.rows, self.expected = address, rows, expected
        self.answered: dict[int, int] = {}
        self.fault = ""
        self.ends = threading.Event()

    def run(self) -> None:
        newest = 0
        parts = [self.rows.iloc[first : first + (1 if first % 2 else 7)] for first in range(0, len(self.rows) - 7)]
        try:
            with Client(self.address) as client:
                place = 0
                while not self.ends.is_set():
                    part = parts[place % len(parts)]
                    first, place = place % len(parts), place + 1
                    answer = client.predict("churn", part, timeout=5.0)
                    if answer.version < newest:
                        raise ValueError(f"version {answer.version} after version {newest}")
                    newest = answer.version
                    wanted = self.expected[answer.version][first : first + len(part)]
                    if np.abs(answer["probabilities"] - wanted).max() > TOLERANCE:
                        found = answer["probabilities"]
                        raise ValueError(f"version {answer.version}: expected {wanted}, found {found}")
                    self.answered[newest] = self.answered.get(newest, 0) + 1
        except Exception as error:
            self.fault = f"{type(error).__name__}: {error}"


def wait_for(what: str, holds: object, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"expected {what} within {seconds:.0f} s")
        time.sleep(0.01)


def listening(log: pathlib.Path) -> str:
    """Where the server listens, once it is ready."""
    events = {}
    for line in log.read_text().splitlines(keepends=True):
        if line.startswith("{") and line.endswith("\n"):
            event = json.loads(line)
            events[event["message"]] = event
    return events["listening"]["address"] if "ready" in events and "listening" in events else ""


def main() -> None:
    imports, serves = commands()
    rows = table(500, 99)
    expected: dict[int, np.ndarray] = {}

    def publish(version: int) -> None:
        model = train(version)
        expected[version] = model.predict_proba(rows)
        export(model, folder / "churn.ubj")
        done = subprocess.run(imports, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{imports}: {done.stderr}")

    publish(1)
    log = folder / "server.log"
    with open(log, "w") as output:
        server = subprocess.Popen(
            f"exec {serves} --listen 127.0.0.1:0 --admin none --grace 0 --log-format json",
            shell=True, cwd=folder, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    callers: list[Caller] = []
    try:
        wait_for("a server that is ready", lambda: server.poll() is not None or listening(log), 60)
        if server.poll() is not None:
            sys.exit(f"{serves}: ends with {server.returncode}: {log.read_text()}")
        callers = [Caller(listening(log), rows, expected) for _ in range(CLIENTS)]
        for caller in callers:
            caller.start()
        for version in range(1, SWAPS + 2):
            if version > 1:
                publish(version)
            wait_for(
                f"{ANSWERS_MIN} answers of version {version} for each client",
                lambda version=version: all(c.fault or c.answered.get(version, 0) >= ANSWERS_MIN for c in callers),
                SWAP_SECONDS_MAX,
            )
            if any(caller.fault for caller in callers):
                break
        for caller in callers:
            caller.ends.set()
        for caller in callers:
            caller.join(10)
    finally:
        server.terminate()
        server.wait(20)
    faults = [caller.fault for caller in callers if caller.fault]
    answers = sum(sum(caller.answered.values()) for caller in callers)
    versions = ", ".join(str(sum(c.answered.get(v, 0) for c in callers)) for v in expected)
    print(f"README: {SWAPS} swaps under {CLIENTS} clients, {answers} answers ({versions} by version)")
    if faults or server.returncode != 0:
        sys.exit("\n".join([*faults, f"the server ended with {server.returncode}"]))


main()
