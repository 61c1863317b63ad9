"""The trainer and the server, as processes of an estimator's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

from ..client import Client


class TrainingFailed(ValueError):
    """The trainer refused: the message is its own, and names what was expected and found."""


#: Programs that a wheel of ``deploy/wheel`` brings along; in other wheels there is no such directory.
OWN = Path(__file__).resolve().parent.parent / "programs"


def find(programs: str | os.PathLike[str] | None, name: str) -> str:
    """The path of a program: in the directory that the caller or ``NEEDLETAIL_BIN`` names, else that of the wheel, else
    on ``PATH``.

    Raises:
        FileNotFoundError: saying where it was looked for.
    """
    directory = programs if programs is not None else os.environ.get("NEEDLETAIL_BIN") or None
    if directory is None and os.access(OWN / name, os.X_OK):
        return str(OWN / name)
    path = shutil.which(name, path=None if directory is None else os.fspath(directory))
    if path is None:
        places = "the directories of PATH" if directory is None else os.fspath(directory)
        raise FileNotFoundError(
            f"{name}: expected it in {places}, found none; set programs=, or the environment variable NEEDLETAIL_BIN"
        )
    return path


def run_trainer(programs: str | os.PathLike[str] | None, arguments: Sequence[str], *, verbose: bool = False) -> str:
    """Runs the trainer and returns what it printed.

    Raises:
        TrainingFailed: if it ends with an error.
    """
    command = [find(programs, "needletail-trainer"), *arguments]
    if arguments[0] == "train":
        command.append("--json")
    errors = None if verbose else subprocess.PIPE
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True)
    if done.returncode != 0:
        lines = (done.stderr or "").strip().splitlines()
        message = lines[-1] if lines else f"needletail-trainer ended with status {done.returncode}"
        # The run file is the estimator's, of one line: its place says nothing to the caller.
        raise TrainingFailed(message.replace("Error: ", "", 1).replace(f"{arguments[1]}:1: ", ""))
    return done.stdout


class PrivateServer:
    """A server of one bundle, on a Unix socket that only this user may open.

    It stops with :meth:`close`, when it is garbage, or when the process ends.
    """

    #: Seconds that a start may take: large models are checked and timed.
    START_SECONDS = 120.0

    def __init__(self, programs: str | os.PathLike[str] | None, model: str, bundle: bytes) -> None:
        program = find(programs, "needletail-server")
        self._pid = os.getpid()
        directory = tempfile.mkdtemp(prefix="needletail-")
        store = Path(directory, "store", model)
        store.mkdir(parents=True)
        (store / "1.ntb").write_bytes(bundle)
        log = Path(directory, "log")
        with log.open("w") as output:
            process = subprocess.Popen(
                [program, "--store", str(store.parent), "--allow-unsigned", "--grace", "0", "--listen", "none",
                 "--admin", "none", "--unix", f"{directory}/calls", "--log-format", "json"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.client = Client(f"unix:{directory}/calls", timeout=None)
        self._stop = weakref.finalize(self, _stop, self.client, process, directory, self._pid)
        self._wait(process, log)

    @property
    def is_ours(self) -> bool:
        """False in a forked child, which starts a server of its own."""
        return os.getpid() == self._pid

    def close(self) -> None:
        if self.is_ours:
            self._stop()

    def _wait(self, process: subprocess.Popen[bytes], log: Path) -> None:
        end = time.monotonic() + self.START_SECONDS
        while process.poll() is None and time.monotonic() < end:
            if any(_message(line) == "ready" for line in log.read_text().splitlines(keepends=True)):
                return
            # The server has no other way to say it to a process that is not its parent's shell.
            time.sleep(0.005)
        text = log.read_text().strip()
        self._stop()
        raise RuntimeError(f"needletail-server: expected it to be ready, found: {text[-2000:]}")


def _message(line: str) -> str:
    if not (line.startswith("{") and line.endswith("\n")):
        return ""
    return str(json.loads(line).get("message", ""))


def _stop(client: Client, process: subprocess.Popen[bytes], directory: str, pid: int) -> None:
    if os.getpid() != pid:
        return
    client.close()
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    shutil.rmtree(directory, ignore_errors=True)
