"""Runs the real publisher under strace, which kills it or makes chosen system calls fail."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import NamedTuple

from bundles import MODEL, bundle
from harness import Workspace

CALL = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)(?:\(| resumed)")

STRACE = ("strace", "-f", "-qq")
# System calls that touch files. Those for memory and threads are too many for the short size.
FILE_CALLS = ("openat", "newfstatat", "mkdir", "read", "write", "fsync", "link", "rename", "unlink")


class Call(NamedTuple):
    name: str
    # Ordinal of this call among those of its name, from 1.
    number: int


class Publisher:
    """Publishes version 2 into a store that holds version 1."""

    def __init__(self, work: Workspace) -> None:
        self.work = work
        self.bundle = work.directory / "model.ntb"
        self.bundle.write_bytes(bundle(2, weight_bytes=256 << 10))
        self.store = work.directory / "published"
        self.reset()
        trace = work.directory / "trace"
        done = self._run([*STRACE, "-o", str(trace)])
        if done.returncode != 0:
            raise RuntimeError(f"publishing failed without a fault: {done.stderr}")
        self.old, self.new = self.content(1), self.content(2)
        self.calls = self._calls(trace.read_text())

    def reset(self) -> None:
        shutil.rmtree(self.store, ignore_errors=True)
        (self.store / MODEL).mkdir(parents=True)
        (self.store / MODEL / "1.ntb").write_bytes(bundle(1))

    def content(self, version: int) -> bytes | None:
        path = self.store / MODEL / f"{version}.ntb"
        return path.read_bytes() if path.exists() else None

    def inject(self, call: Call, what: str) -> subprocess.CompletedProcess[str]:
        self.reset()
        return self._run([*STRACE, "-o", "/dev/null", "-e", f"inject={call.name}:{what}:when={call.number}"])

    def is_sound(self, *, must_be_new: bool = False) -> bool:
        """Checks that the old version is unchanged and the new one is either whole or absent."""
        if self.content(1) != self.old:
            return False
        found = self.content(2)
        return found == self.new or (found is None and not must_be_new)

    def again(self) -> subprocess.CompletedProcess[str]:
        """Publishes without a fault under the next free version."""
        return self._run([])

    def _run(self, prefix: list[str]) -> subprocess.CompletedProcess[str]:
        program = self.work.programs / "needletail-trainer"
        command = [*prefix, program, "publish", self.bundle, "--store", self.store]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def _calls(self, trace: str) -> list[Call]:
        """Returns every system call from the first that names the store; the calls before that only start the program.

        strace counts calls in each thread separately, and a kill affects the thread that reaches its count first.
        """
        counts: dict[tuple[str, str], int] = {}
        calls, has_begun = [], False
        for line in trace.splitlines():
            found = CALL.match(line)
            if not found or "resumed" in line:
                continue
            thread, name = found[1], found[2]
            counts[thread, name] = counts.get((thread, name), 0) + 1
            has_begun = has_begun or (f"{self.store}/" in line and "execve" not in line)
            call = Call(name, counts[thread, name])
            if has_begun and call not in calls:
                calls.append(call)
        return calls
