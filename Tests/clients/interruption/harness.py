"""What all kinds of interruptions share: exceptions, the count of damage, a model whose answers are known."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import needletail
from needletail import Client, RetryPolicy

PACKAGE = str(Path(needletail.__file__).parent)
LOOPS = str(Path(asyncio.__file__).parent)
#: Seconds that no call of this script takes unless it hangs: their time-out is shorter.
HANG_SECONDS = 60
#: Retries enough for all the calls beside the one that is interrupted.
RETRIES = RetryPolicy(attempts=8, budget_ratio=8, budget_burst=1000)


class Soft(Exception):
    """An interruption as task queues raise it: a soft time limit."""


class Hard(BaseException):
    """An interruption that `except Exception` does not see, as Ctrl-C is one."""


INTERRUPTIONS = (Soft, Hard)


class Tally:
    """What happened, and what should not have."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.injected = self.struck = self.answers = 0
        self.wrong = self.lost_slots = self.hangs = self.beside = 0
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        if len(self.notes) < 5:
            self.notes.append(text)

    def line(self) -> str:
        return (
            f"{self.name:14}{self.injected:7} interruptions, {self.struck:6} struck a call, {self.answers:7} answers: "
            f"{self.wrong} wrong, {self.lost_slots} slots lost, {self.hangs} hangs, {self.beside} other calls failed"
        )

    @property
    def damage(self) -> int:
        return self.wrong + self.lost_slots + self.hangs + self.beside


class Model:
    """A model of the server with the answers that are right."""

    def __init__(self, address: str, names: list[str], rows: Any, labels: list[str]) -> None:
        self.address, self.names, self.rows, self.labels = address, names, rows, labels

    def inputs(self, index: int, form: int) -> Any:
        """One row, in several forms that take different ways through the client."""
        row = self.rows[index : index + 1]
        columns = {name: row[:, column] for column, name in enumerate(self.names)}
        forms: list[Callable[[], Any]] = [
            lambda: row,
            lambda: {"features": row},
            lambda: columns,
            lambda: [dict(zip(self.names, row[0].tolist()))],
            lambda: row.astype(str),
        ]
        return forms[form % len(forms)]()

    def is_right(self, index: int, answer: Any) -> bool:
        return answer.label.tolist() == [self.labels[index]] and answer.model == "wine"


class Injector:
    """Raises at the n-th instruction of the client's frames, and of those that they call, in this thread."""

    def __init__(self) -> None:
        self.left = 0
        self.count = 0
        self.kind: type[BaseException] = Soft
        self.has_fired = False

    def arm(self, instruction: int, kind: type[BaseException]) -> None:
        self.left, self.kind, self.count, self.has_fired = instruction, kind, 0, False
        sys.settrace(self._enter)

    def disarm(self) -> None:
        sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        caller = frame.f_back
        file = frame.f_code.co_filename
        # The insides of asyncio are left alone: a task whose wake-up is interrupted there never runs again, whatever
        # it waits for.
        if not file.startswith(PACKAGE) and (caller is None or caller.f_trace is None or file.startswith(LOOPS)):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            self.count += 1
            if self.count == self.left:
                self.has_fired = True
                sys.settrace(None)
                raise self.kind(f"at instruction {self.left} in {frame.f_code.co_name}")
        return self._step


def slots_held(client: Client) -> int:
    return sum(len(contents.slots) for contents in client._pool._contents.values())
