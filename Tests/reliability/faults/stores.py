"""Publishes to a store in all the ways that people do, with a client that checks every answer meanwhile."""

from __future__ import annotations

import os
import re
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import wire
from bundles import MODEL, bundle
from harness import Server, until

STATE = re.compile(r'needletail_model_version_state\{model="([^"]*)",state="([^"]*)",version="(\d+)"\} 1')


def publish(store: Path, version: int, data: bytes | None = None, *, model: str = MODEL) -> None:
    """Publishes as the trainer does: the file appears whole or not at all."""
    folder = store / model
    folder.mkdir(exist_ok=True)
    temporary = folder / f".{version}.tmp"
    with open(temporary, "wb") as file:
        file.write(bundle(version, model=model) if data is None else data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, folder / f"{version}.ntb")


def remove_below(store: Path, version: int, *, model: str = MODEL) -> None:
    for path in (store / model).glob("*.ntb"):
        if int(path.stem) < version:
            path.unlink()


def states(server: Server, model: str = MODEL) -> dict[int, str]:
    """Returns the state of every version according to the metrics."""
    _, text = server.get("/metrics")
    return {int(version): state for name, state, version in STATE.findall(text) if name == model}


def serving(server: Server, model: str = MODEL) -> int:
    return int(server.metric("needletail_serving_version", model=model))


class Checker(threading.Thread):
    """Sends calls without pause. Every model answers its version number, so another number is a wrong answer, and so
    is a number below that of the answer before, unless that is allowed.
    """

    def __init__(self, server: Server, model: str = MODEL, *, pause: float = 0.0005, may_go_back: bool = False) -> None:
        super().__init__(daemon=True)
        self.caller = wire.Caller(server.address)
        self.body = wire.predict_body(model, [[1.0]])
        self.pause, self.may_go_back = pause, may_go_back
        self.answered = self.wrong = self.failed = 0
        self.newest = self.last = 0
        self.first_fault = ""
        self.is_stopping = False
        self.start()

    def run(self) -> None:
        while not self.is_stopping:
            try:
                found = self.caller.call(self.body)
            except OSError as error:
                if not self.is_stopping:
                    self._fail(str(error))
                return
            if found.code != wire.OK:
                self._fail(f"{found.code}: {found.message}")
                continue
            self.answered += 1
            value = number(found)
            if value != found.version or (found.version < self.newest and not self.may_go_back):
                self.wrong += 1
                self.first_fault = self.first_fault or f"version {found.version} answered {value} after {self.newest}"
            self.last = found.version
            self.newest = max(self.newest, found.version)
            time.sleep(self.pause)

    def _fail(self, reason: str) -> None:
        self.failed += 1
        self.first_fault = self.first_fault or reason
        time.sleep(0.01)

    def wait(self, version: int, seconds: float = 30) -> float:
        """Waits until this version has answered, and returns how long that took."""
        began = time.monotonic()
        end = began + seconds
        while self.newest < version:
            if time.monotonic() > end:
                raise TimeoutError(f"version {version} did not answer within {seconds:g} s; newest is {self.newest}")
            time.sleep(0.0005)
        return time.monotonic() - began

    def stop(self) -> None:
        self.is_stopping = True
        self.join(5)
        self.caller.close()


def number(answer: wire.Answer) -> float:
    """Returns the only number of the only tensor of an answer."""
    for key, value in wire.fields(answer.outputs):
        if key == 4 and isinstance(value, bytes):
            return float(struct.unpack("<f", value)[0])
    return float("nan")


def timed(action: Callable[[], None]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def wait_serving(server: Server, version: int, model: str = MODEL, seconds: float = 10) -> None:
    until(f"version {version} to serve", lambda: serving(server, model) == version, seconds)
