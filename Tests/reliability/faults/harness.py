"""Provides programs, models, servers and load to the scripts in the directory above."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from figures import Figures, note

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "deploy" / "examples"


def arguments(description: str, prepare: Callable[[argparse.ArgumentParser], None] | None = None) -> argparse.Namespace:
    """Parses the options that every script has. `description` is the script's docstring."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="NEEDLETAIL_BIN names the directory of the three programs; without it they are built.",
    )  # fmt: skip
    parser.add_argument("--full", action="store_true", help="the full size, not the one of Tests/run")
    parser.add_argument("--json", action="store_true", help="one object a line instead of a table")
    if prepare:
        prepare(parser)
    return parser.parse_args()


def packages(*names: str) -> None:
    """Installs missing Debian packages."""
    subprocess.run(
        ["bash", "-c", 'source "$0"; needletail_packages "$@"', str(ROOT / "Tests/lib/packages.sh"), *names],
        check=True, stdout=sys.stderr,
    )  # fmt: skip


def programs() -> Path:
    if found := os.environ.get("NEEDLETAIL_BIN"):
        return Path(found)
    subprocess.run([ROOT / "Tests/unit/build-release"], check=True, stdout=sys.stderr)
    shown = subprocess.run(
        ["swift", "build", "-c", "release", "--show-bin-path"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return Path(shown.stdout.strip())


def processors() -> tuple[int, int]:
    """Returns one processor for the server and one for the load; the same if there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def descriptors(needed: int) -> int:
    """Raises this process's descriptor limit as far as possible and returns how many connections fit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    fits = hard - 200
    if fits < needed:
        note(f"only {fits:,} connections instead of {needed:,}: the limit of open files is {hard:,}")
    return min(needed, fits)


class Workspace:
    """A temporary directory with programs, models and servers, all of which are removed at the end."""

    def __init__(self, name: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"needletail-{name}."))
        self.programs = programs()
        self.servers: list[Server] = []
        self.children: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> Workspace:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        for server in self.servers:
            if failure and not server.is_alive():
                note(f"server {server.pid} ended with {server.process.returncode}; its last lines:")
                note("".join(server.log().splitlines(keepends=True)[-30:]))
        for child in self.children:
            if child.poll() is None:
                child.kill()
                child.wait()
        for server in self.servers:
            server.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __getstate__(self) -> dict[str, Any]:
        """Pickles the workspace for a worker process, without the servers and children of this one."""
        return self.__dict__ | {"servers": [], "children": []}

    # models

    def store(self, name: str = "store") -> Path:
        path = self.directory / name
        path.mkdir(exist_ok=True)
        return path

    def train(self, yaml: str, *options: str, store: Path | None = None) -> None:
        run = Path(tempfile.mkdtemp(dir=self.directory))
        (run / "train.yaml").write_text(yaml)
        command = [self.programs / "needletail-trainer", "train", run / "train.yaml", "--output", run / "out"]
        done = subprocess.run(
            [*command, "--publish", store or self.store(), *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if done.returncode != 0:
            sys.exit(f"training failed:\n{done.stdout.decode()}")

    def digits(self, model: str = "digits", hidden: str = "[256, 128]", *, epochs: int = 4, seed: int = 1) -> None:
        """Trains a multilayer perceptron with int8 weights on the shipped digits: 64 pixels, 10 classes."""
        self.train(
            f"""
data: {{ files: ["{EXAMPLES}/digits/digits.csv"] }}
target: {{ column: digit, task: classification }}
preprocessing: {{ scale: min_max }}
model: {{ family: mlp, hidden: {hidden}, activation: relu }}
training: {{ epochs: {epochs}, batch_size: 64, learning_rate: 0.003, seed: {seed} }}
quantisation: {{ precision: int8, max_loss_points: 100 }}
publish: {{ model: {model} }}
"""
        )

    def wide(self, model: str = "wide", classes: int = 500) -> None:
        """Trains a model with one feature and many classes, whose answers are far larger than its calls."""
        rows = "\n".join(f"{i / classes + j / 1000},c{i}" for i in range(classes) for j in range(6))
        (self.directory / "wide.csv").write_text(f"x,y\n{rows}\n")
        self.train(
            f"""
data: {{ files: ["{self.directory}/wide.csv"] }}
target: {{ column: y, task: classification }}
model: {{ family: mlp, hidden: [4], activation: relu }}
training: {{ epochs: 1, batch_size: 64, learning_rate: 0.001, seed: 1 }}
publish: {{ model: {model} }}
"""
        )

    # servers and load

    def server(self, *flags: str, **options: Any) -> Server:
        server = Server(self, *flags, **options)
        self.servers.append(server)
        return server

    def bench(self, server: Server, *options: str, cpu: int | None = None) -> dict[str, Any]:
        """Runs `needletail bench` once and returns its JSON. Raises if it found a wrong answer."""
        child = self.bench_start(server, *options, cpu=cpu)
        out, complaints = child.communicate()
        try:
            return dict(json.loads(out))
        except ValueError:
            raise RuntimeError(f"needletail bench ended with {child.returncode}: {complaints}") from None

    def bench_start(self, server: Server, *options: str, cpu: int | None = None) -> subprocess.Popen[str]:
        pinned = [] if cpu is None else ["taskset", "-c", str(cpu)]
        address = f"127.0.0.1:{server.port}"
        child = subprocess.Popen(
            [*pinned, self.programs / "needletail", "bench", "--json", "--server", address, *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_raise_descriptors,
        )  # fmt: skip
        self.children.append(child)
        return child


def _raise_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Server:
    """A server process, whose addresses are read from its log."""

    def __init__(
        self, work: Workspace, *flags: str, store: Path | None = None, settings: dict[str, Any] | None = None,
        cpu: int | None = None, prefix: tuple[str, ...] = (), environment: dict[str, str] | None = None,
        wait: bool = True,
    ) -> None:  # fmt: skip
        self.log_path = work.directory / f"server-{os.getpid()}-{random.randrange(1 << 48):x}.log"
        command: list[Any] = [*prefix, work.programs / "needletail-server", "--log-format", "json"]
        command += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--allow-unsigned"]
        command += ["--store", store or work.store(), *(("--grace", "0") if "--grace" not in flags else ()), *flags]
        # Stores of these tests may be empty or broken at the start.
        command += ["--readiness", "lenient"]
        if cpu is not None:
            command = ["taskset", "-c", str(cpu), *command]
        if settings:
            # JSON is YAML.
            path = self.log_path.with_suffix(".yaml")
            path.write_text(json.dumps(settings))
            command += ["--config", path]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_raise_descriptors,
                env=os.environ | (environment or {}),
            )  # fmt: skip
        self.pid = self.process.pid
        try:
            self.port = self._address("listening")
            self.admin = self._address("admin listening")
            self.address = ("127.0.0.1", self.port)
            if wait:
                until("the server to be ready", self.is_ready)
        except BaseException:
            # No other thread knows this child yet.
            self.kill()
            raise

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def _address(self, message: str) -> int:
        pattern = re.compile(rf'"message":"{message}".*?"address":"127\.0\.0\.1:(\d+)"')

        def find() -> int | None:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server did not start:\n{self.log()}")
            found = pattern.search(self.log())
            return int(found[1]) if found else None

        return int(until(f"the server to say {message!r}", find))

    # what a server reports

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def is_ready(self) -> bool:
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def metrics(self) -> dict[str, float]:
        """Returns every sample, keyed by its name with its labels."""
        samples = {}
        for line in self.get("/metrics")[1].splitlines():
            if not line.startswith("#") and " " in line:
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def metric(self, name: str, **labels: str) -> float:
        """Returns the sum of all samples with these labels."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            value
            for sample, value in self.metrics().items()
            if sample.split("{")[0] == name and all(label in sample for label in wanted)
        )

    # what a server costs

    def resident(self) -> int:
        """Returns resident bytes as the kernel counts them."""
        return self._status("VmRSS")

    def peak(self) -> int:
        return self._status("VmHWM")

    def _status(self, key: str) -> int:
        found = re.search(rf"^{key}:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text(), re.M)
        if not found:
            raise RuntimeError(f"no {key} of process {self.pid}")
        return int(found[1]) * 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def processor_seconds(self) -> float:
        parts = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")

    def processor_milliseconds(self) -> float:
        """Returns the processor time of all threads with microsecond precision, unlike ``processor_seconds``."""
        tasks = Path(f"/proc/{self.pid}/task")
        return sum(int((tasks / task.name / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e6

    def thread_seconds(self, name: str) -> tuple[float, float]:
        """Returns the user and kernel time of the threads whose names begin with this prefix."""
        user = system = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            if (task / "comm").read_text().startswith(name):
                parts = (task / "stat").read_text().rpartition(")")[2].split()
                user, system = user + int(parts[11]), system + int(parts[12])
        return user / os.sysconf("SC_CLK_TCK"), system / os.sysconf("SC_CLK_TCK")

    def is_alive(self) -> bool:
        return self.process.poll() is None

    # how a server ends

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self, timeout: float = 40) -> int:
        if self.is_alive():
            self.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def kill(self) -> None:
        if self.is_alive():
            self.process.kill()
        self.process.wait()


def until(what: str, probe: Callable[[], Any], seconds: float = 30, pause: float = 0.01) -> Any:
    end = time.monotonic() + seconds
    while not (found := probe()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(pause)
    return found


def connect(address: tuple[str, int], source: str = "", receive_bytes: int = 0) -> socket.socket:
    """Opens a connection. A small `receive_bytes` keeps the kernel from buffering for a peer that does not read."""
    connection = socket.socket()
    try:
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        if source:
            connection.bind((source, 0))
        connection.settimeout(10)
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def median(values: list[float]) -> float:
    return statistics.median(values)


def main(script: Callable[[], Figures]) -> None:
    sys.exit(script().end())
