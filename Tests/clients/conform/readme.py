"""Does what a client's README says under *First prediction* and *Outcomes*, as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

from servers import BINARIES

ROOT = Path(__file__).resolve().parents[3]
ADDRESS = "127.0.0.1:6470"
#: What the program of a section must print: the model's answer for a row whose target is 151, and that the server has
#: joined its outcome.
PRINTED = {"First prediction": re.compile(r"version 1: ([12]\d\d\.\d+)"), "Outcomes": re.compile(r"joined (1)\b")}


def examples(client: str, address: str, scratch: Path) -> list[str]:
    """Does what each section says; returns what is wrong."""
    directory = scratch / f"readme-{client}"
    directory.mkdir()
    for name in ("clients", "deploy", "proto"):
        (directory / name).symlink_to(ROOT / name)
    return [problem for section in PRINTED for problem in example(client, section, address, directory)]


def example(client: str, title: str, address: str, directory: Path) -> list[str]:
    """Writes the program of a section, runs the commands behind it; returns what is wrong."""
    text = (ROOT / "clients" / client / "README.md").read_text()
    section = text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    program = re.search(r"^`([^`]+)`:\n\n```\w+\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert program and ADDRESS in program[2], f"{client}: expected a program for {ADDRESS}"
    shells = re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    # Packages were installed for all clients at once.
    commands = "".join(line for line in shells[-1].splitlines(True) if not line.startswith("apt-get install"))
    path = directory / program[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(program[2].replace(ADDRESS, address))
    began = time.monotonic()
    environment = dict(os.environ, PATH=f"{BINARIES}:{os.environ['PATH']}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=directory, env=environment, capture_output=True, text=True
    )
    wanted = PRINTED[title]
    printed = wanted.search(done.stdout)
    if done.returncode != 0 or not printed:
        found = f"exit code {done.returncode}: {done.stdout}{done.stderr}"
        return [f"README, {title}: expected {wanted.pattern!r}, found {found}"]
    print(f"{client}: its README leads to {printed[0]!r} in {time.monotonic() - began:.1f} s", flush=True)
    return []
