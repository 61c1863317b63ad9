"""Puts the trainer and the server into the wheel where ``NEEDLETAIL_PROGRAMS`` names their directory.

Without it the wheel is for every platform and needs programs that were installed otherwise. ``deploy/wheel`` sets it.
"""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROGRAMS = ("needletail-trainer", "needletail-server")


class ProgramsHook(BuildHookInterface):  # type: ignore[type-arg]
    """A wheel with programs is for the system that it was built on."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        directory = os.environ.get("NEEDLETAIL_PROGRAMS")
        if self.target_name != "wheel" or not directory:
            return
        if version == "editable":
            raise ValueError("NEEDLETAIL_PROGRAMS: expected a wheel, found an editable installation")
        for program in PROGRAMS:
            path = Path(directory, program)
            if not os.access(path, os.X_OK):
                raise ValueError(f"NEEDLETAIL_PROGRAMS: expected a program {path}, found none")
            build_data["force_include"][str(path)] = f"needletail/programs/{program}"
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
