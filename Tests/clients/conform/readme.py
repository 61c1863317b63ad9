"""Does what a client's README says under *First prediction*, as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

from servers import BINARIES

ROOT = Path(__file__).resolve().parents[3]
#: The address in each README, and what a program must print: the model's answer for a row whose target is 151.
ADDRESS = "127.0.0.1:6470"
PRINTED = re.compile(r"version 1: (\d+\.\d+)")
ANSWERS = (100.0, 300.0)


def first_prediction(client: str, address: str, scratch: Path) -> list[str]:
    """Writes the program, runs the commands behind it; returns what is wrong."""
    text = (ROOT / "clients" / client / "README.md").read_text()
    section = text.split("## First prediction\n", 1)[1].split("\n## ", 1)[0]
    program = re.search(r"^`([^`]+)`:\n\n```\w+\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert program and ADDRESS in program[2], f"{client}: expected a program for {ADDRESS}"
    shells = re.findall(r"^```sh\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    # Packages were installed for all clients at once.
    commands = "".join(line for line in shells[-1].splitlines(True) if not line.startswith("apt-get install"))
    directory = scratch / f"readme-{client}"
    directory.mkdir()
    for name in ("clients", "deploy", "proto"):
        (directory / name).symlink_to(ROOT / name)
    path = directory / program[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(program[2].replace(ADDRESS, address))
    began = time.monotonic()
    environment = dict(os.environ, PATH=f"{BINARIES}:{os.environ['PATH']}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=directory, env=environment, capture_output=True, text=True
    )
    printed = PRINTED.search(done.stdout)
    if done.returncode != 0 or not printed or not ANSWERS[0] < float(printed[1]) < ANSWERS[1]:
        return [f"README: expected {PRINTED.pattern!r}, found exit code {done.returncode}: {done.stdout}{done.stderr}"]
    print(f"{client}: its README leads to a prediction ({printed[1]}) in {time.monotonic() - began:.1f} s", flush=True)
    return []
