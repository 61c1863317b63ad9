"""Prints the figures of a script: one row a figure with its bound, the measured value, and whether the bound holds."""

from __future__ import annotations

import json
import sys


class Figures:
    """Collects the rows of one script.

    A *required* row is right or wrong (lost calls, crashes, memory of a fixed size): missing one fails the script.
    Other rows are times, which a busy machine may spoil: a miss is shown and does not fail.
    """

    def __init__(self, name: str, as_json: bool) -> None:
        self.name, self.as_json = name, as_json
        self.failures = self.misses = 0
        if not as_json:
            print(f"{'figure':<52} {'asked':>18} {'seen':>18}   holds", flush=True)

    def row(self, figure: str, asked: str, seen: str, holds: bool | None = None, *, required: bool = False) -> None:
        """Adds a row. `holds` None: the value is shown without a bound."""
        if holds is False:
            self.failures += required
            self.misses += not required
        if self.as_json:
            row = {"script": self.name, "figure": figure, "asked": asked, "seen": seen}
            print(json.dumps(row | {"holds": holds, "required": required}), flush=True)
            return
        mark = {True: "yes", False: "NO" if required else "no (a time)", None: ""}[holds]
        print(f"{figure:<52} {asked:>18} {seen:>18}   {mark}".rstrip(), flush=True)

    def at_most(
        self, figure: str, seen: float, bound: float, unit: str = "", *, places: int = 0, required: bool = False
    ) -> None:
        self.row(
            figure, f"≤ {_text(bound, places)}{unit}", _text(seen, places) + unit, seen <= bound, required=required
        )

    def at_least(
        self, figure: str, seen: float, bound: float, unit: str = "", *, places: int = 0, required: bool = False
    ) -> None:
        self.row(
            figure, f"≥ {_text(bound, places)}{unit}", _text(seen, places) + unit, seen >= bound, required=required
        )

    def told(self, figure: str, seen: str) -> None:
        self.row(figure, "", seen)

    def none_of(self, figure: str, seen: int) -> None:
        """Adds a required row for something that must never happen."""
        self.row(figure, "0", f"{seen:,}", seen == 0, required=True)

    def end(self) -> int:
        """Prints the last line and returns the exit status."""
        if not self.as_json:
            if self.failures:
                print(f"{self.name}: FAILED, {self.failures} of the rows that say right or wrong do not hold")
            elif self.misses:
                print(f"{self.name}: passed; {self.misses} of the times do not hold on this machine, now")
            else:
                print(f"{self.name}: passed")
        return 1 if self.failures else 0


def _text(value: float, places: int) -> str:
    return f"{value:,.{places}f}"


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
