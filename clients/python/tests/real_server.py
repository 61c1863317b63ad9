"""A real server for tests and scripts, made of the programs in the directory that NEEDLETAIL_BIN names."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

BINARIES = os.environ.get("NEEDLETAIL_BIN", "")
EXAMPLES = Path(__file__).resolve().parents[3] / "deploy" / "examples"


class Server:
    """A server process with one model, `wine`, and what the trainer answered for its test rows."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (directory / "store").mkdir()
        run = self.train("wine", EXAMPLES / "wine" / "train.yaml")
        with open(run / "test.csv", newline="") as file:
            self.names, *cells = csv.reader(file)
        self.rows = np.array(cells, dtype=np.float64)
        with open(run / "predictions.csv", newline="") as file:
            self.labels = [row["label"] for row in csv.DictReader(file)]
        self.unix = f"unix:{directory}/calls.sock"
        self.address: str = self.start("127.0.0.1:0")

    def train(self, model: str, configuration: Path) -> Path:
        """Trains a model and puts it into the store; returns the directory of the run."""
        run = self._directory / model
        run_program(
            "needletail-trainer", "train", configuration, "--output", run, "--publish", self._directory / "store"
        )
        return run

    def start(self, address: str) -> str:
        """Starts the process and waits until it is ready; returns where it listens."""
        log = self._directory / "server.log"
        with open(log, "w") as output:
            self.process = subprocess.Popen(
                [f"{BINARIES}/needletail-server", "--store", str(self._directory / "store"), "--allow-unsigned",
                 "--grace", "0", "--listen", address, "--admin", "none", "--unix", f"{self._directory}/calls.sock",
                 "--log-format", "json"],
                stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        return str(self._until_ready(log)["listening"]["address"])

    def _until_ready(self, log: Path) -> dict[str, Any]:
        end = time.monotonic() + 30
        while time.monotonic() < end and self.process.poll() is None:
            found = {}
            for line in log.read_text().splitlines(keepends=True):
                if line.startswith("{") and line.endswith("\n"):
                    event = json.loads(line)
                    found[event["message"]] = event
            if "listening" in found and "ready" in found:
                return found
            time.sleep(0.02)
        self.close()
        raise AssertionError(f"the server is not ready: {log.read_text()}")

    def kill(self) -> None:
        """Ends the process at once."""
        self.process.kill()
        self.process.wait(30)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()


def run_program(program: str, *arguments: object) -> None:
    """Runs one of the programs to its end."""
    done = subprocess.run([f"{BINARIES}/{program}", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
