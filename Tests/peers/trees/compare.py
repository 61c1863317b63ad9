"""Measures imported ensembles of trees beside the libraries that trained them, and beside compilers of trees.

Usage: compare.py LIBRARY ECHO [--json] [--all] [--only PART] [--no-server]

LIBRARY is peers.c, ECHO serving/echo.c. Every library trains a model of every shape, `needletail-trainer import` makes
a bundle of it, and ours is the plan of the bundle, run in process by needletail-tree-timer. All take turns on one
processor for ROUNDS rounds over the same 1,024 different rows, and medians count. Ours includes the copy of the rows
into the workspace.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import models
import numpy as np
from models import Shape
from peers import Peer, Peers

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "reliability" / "faults"))
import wire
from harness import Workspace

ROUNDS, BATCHES = 7, (1, 8, 64, 1000)
# A round of one participant takes about so long.
ROUND_NANOSECONDS = 15e6
LOADS = 9
TURN_CALLS, TURNS = 1000, 20
PROGRAMS = Path(os.environ["NEEDLETAIL_BIN"])
# Relative to lleaves, and to the best peer, by batch, on the processor's best kernels and on AVX2.
MAIN = Shape(500, 6, 28)
LLEAVES_NEEDED = {"": {1: "<= 0.08"}, "avx2": {1: "<= 0.22"}}
BEST_NEEDED = {"": {1: "<= 0.12", 64: "<= 0.18", 1000: "<= 0.10"}, "avx2": {64: "<= 0.35"}}
OTHERS_NEEDED = {"": "<= 0.25", "avx2": None}
LOAD_NEEDED_MS, CALL_NEEDED_US = 10.0, 1.5
NAME = "trees"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="Tests/peers/run trees"
    )
    parser.add_argument("library", type=Path)
    parser.add_argument("echo", type=Path)
    parser.add_argument("--json", action="store_true", help="one object a line instead of a table")
    parser.add_argument("--all", action="store_true", help="also what is compiled or trained for many minutes")
    parser.add_argument("--only", default="", metavar="PART", help="models whose name contains this")
    parser.add_argument("--no-server", action="store_true", help="leave whole server calls out")
    return parser.parse_args()


def report(
    name: str, ours: float, peer: float | None = None, peer_name: str = "", unit: str = "ns", needed: str | None = None
) -> None:
    """Prints one row. `needed` bounds ours / peer; None if there is no target."""
    ratio = ours / peer if peer and peer > 0 else None
    holds = None if needed is None or ratio is None else ratio <= float(needed.split()[1])
    if options.json:
        row = {"name": name, "ours": ours, "peer": peer, "peer_name": peer_name, "unit": unit}
        print(json.dumps(row | {"ratio": ratio, "needed": needed, "holds": holds}), flush=True)
        return
    mark = {True: "holds", False: "misses", None: ""}[holds]
    against = "" if peer is None else f"{peer:12,.1f}  {peer_name}"
    shown = "" if ratio is None else f"{ratio:7.3f}"
    print(f"{name:48} {ours:10,.1f} {unit:4} {against:42} {shown:>7}  {needed or '':8} {mark}".rstrip(), flush=True)


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Ours:
    """A plan of an imported model in a process of its own, which waits while others take their turn."""

    def __init__(self, bundle: Path, rows: Path, isa: str) -> None:
        environment = os.environ | ({"NEEDLETAIL_ISA": isa} if isa else {})
        self.process = subprocess.Popen(
            [PROGRAMS / "needletail-tree-timer", bundle, rows, str(LOADS)], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.facts = self.answer()

    def answer(self, question: str = "") -> Any:
        assert self.process.stdin and self.process.stdout
        if question:
            self.process.stdin.write(question + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"needletail-tree-timer ended with {self.process.wait()}")
        return json.loads(line)

    def time(self, batch: int, passes: int) -> float:
        return statistics.median(self.answer(f"{batch} {passes}"))

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def imported(model: Path, work: Path, name: str) -> Path:
    bundle = work / f"{name}.ntb"
    command = [PROGRAMS / "needletail-trainer", "import", model, "--model", name, "--output", bundle, "--quiet"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{model.name}: {done.stdout}")
    return bundle


def check(name: str, found: np.ndarray, peer: Peer) -> None:
    """Stops where a peer's answers are others than ours: its time would mean nothing."""
    if peer.answers is None:
        return
    scale = max(1.0, float(np.abs(peer.answers).max()))
    worst = float(np.abs(found - peer.answers).max())
    equal = int((found == peer.answers.astype(np.float32)).sum())
    note(f"  {name}: {equal} of {len(found)} answers have the bits of {peer.name}, worst difference {worst:.1e}")
    if not worst <= 2e-5 * scale:
        sys.exit(f"{name}: the answers of {peer.name} differ by {worst} from ours")


class Measurement:
    """Times of one model, by participant and batch: ours by instruction set, and its peers."""

    def __init__(self, shape: Shape, library: str, ours: dict[str, Ours], others: list[Peer], rows: int) -> None:
        self.shape, self.library = shape, library
        self.ours: dict[tuple[str, int], float] = {}
        self.peers: dict[tuple[str, int], float] = {}
        for batch in BATCHES:
            found: dict[tuple[str, str], list[float]] = {}
            whole = rows // batch * batch
            turns: dict[str, tuple[int, int]] = {}
            for peer in others:
                if batch >= peer.batch_min:
                    turns[peer.name] = self.turn_of(peer, whole, batch)
            for _ in range(ROUNDS):
                for isa, plan in ours.items():
                    passes = max(2, round(ROUND_NANOSECONDS / (1000 * rows)))
                    found.setdefault(("ours", isa), []).append(plan.time(batch, passes))
                for peer in others:
                    if peer.name in turns:
                        count, passes = turns[peer.name]
                        each = [peer.time(count, batch) / count for _ in range(passes)]
                        found.setdefault(("peer", peer.name), []).append(statistics.median(each))
            for (side, name), times in found.items():
                (self.ours if side == "ours" else self.peers)[name, batch] = statistics.median(times)

    @staticmethod
    def turn_of(peer: Peer, rows: int, batch: int) -> tuple[int, int]:
        """Returns the rows of a pass and the passes of a turn, from a first try that also warms the caches."""
        count = min(rows, max(batch, 64))
        if peer.name.startswith("YDF"):
            return rows, 1
        each = max(1.0, abs(peer.time(count, batch)) / count)
        count = min(rows, max(batch, int(ROUND_NANOSECONDS / each) // batch * batch))
        return count, max(1, min(20, round(ROUND_NANOSECONDS / (each * count))))


def measure(shape: Shape, isas: list[str], work: Path, peers: Peers) -> tuple[list[Measurement], Path | None]:
    x = models.timed_rows(shape)
    rows = work / "rows.f32"
    x.tofile(rows)
    kinds: list[tuple[str, Any, Any]] = [
        ("LightGBM", models.lightgbm_model, lambda path: [*peers.lightgbm(path, x), *peers.lleaves(path, x)]),
        ("XGBoost", models.xgboost_model, lambda path: [*peers.xgboost(path, x), *peers.tl2cgen(path, x)]),
    ]
    if models.trains_catboost(shape):
        kinds.append(("CatBoost", models.catboost_model, lambda path: [*peers.catboost(path, x)]))
    found: list[Measurement] = []
    main_model = None
    for library, train, load in kinds:
        note(f"{shape.name}, {library}")
        path = train(shape)
        others: list[Peer] = load(path)
        if library == "LightGBM":
            others += peers.ydf(models.ydf_model(shape), shape, x)
        model = path.with_suffix(".json") if library == "CatBoost" else path
        bundle = imported(model, work, f"{library.lower()}-{shape.stem}")
        if library == "LightGBM" and shape == MAIN:
            main_model = path
        ours = {isa: Ours(bundle, rows, isa) for isa in isas}
        for isa, plan in ours.items():
            answers = np.array(plan.answer("answers"), np.float32)
            facts = plan.facts
            for peer in others if isa == isas[0] else []:
                check(f"{shape.name}, {library}", answers, peer)
            note(f"  {facts['isa']}: {facts['kernel']}")
            load_needed = "<= 1" if shape == MAIN and library != "CatBoost" else None
            name = f"{shape.name}, {library}, {facts['isa']}"
            loaded = statistics.median(facts["milliseconds"])
            report(f"{name}, load", loaded, LOAD_NEEDED_MS, "bound", "ms", load_needed)
            for peer in others:
                if peer.seconds_to_compile is not None:
                    report(f"{name}, load", loaded / 1e3, peer.seconds_to_compile, f"{peer.name}, compiling", "s")
            size = facts["packedBytes"] / 1024
            report(f"{name}, memory", size, model.stat().st_size / 1024, "the model file", "KiB")
        found.append(Measurement(shape, library, ours, others, len(x)))
        for plan in ours.values():
            plan.end()
    return found, main_model


def report_times(found: list[Measurement], isas: list[str]) -> None:
    shape = found[0].shape
    for batch in BATCHES:
        for isa in isas:
            mark = f", {isa}" if isa else ""
            bests: dict[str, float] = {}
            for each in found:
                for (name, size), time in each.peers.items():
                    if size != batch:
                        continue
                    needed = LLEAVES_NEEDED[isa].get(batch) if shape == MAIN and name == "lleaves" else None
                    title = f"{shape.name}, {each.library}, batch {batch}{mark}"
                    report(title, each.ours[isa, batch], time, name, "ns", needed)
                    # CatBoost's trees are of another kind, and its time is a difference.
                    if each.library != "CatBoost":
                        bests[name] = time
            slowest = max(each.ours[isa, batch] for each in found if each.library != "CatBoost")
            best = min(bests, key=lambda name: bests[name])
            needed = BEST_NEEDED[isa].get(batch) if shape == MAIN else OTHERS_NEEDED[isa]
            report(f"{shape.name}, batch {batch}{mark}, the best", slowest, bests[best], best, "ns", needed)


def call_of(model: str, row: list[float], path: Path) -> Path:
    path.write_bytes(wire.request(1, wire.predict_body(model, [row]), 10_000_000))
    return path


def report_calls(model: Path, row: list[float]) -> None:
    """Times whole calls of one row to a server that has a small perceptron and the model, in turns."""
    with Workspace("peers-trees") as work:
        work.digits()
        command = [PROGRAMS / "needletail-trainer", "import", model, "--model", NAME, "--publish", work.store()]
        subprocess.run([*command, "--output", work.directory / "trees.ntb", "--quiet"], check=True)
        cpu = max(os.sched_getaffinity(0))
        server = work.server("--threads", "1", cpu=cpu)
        calls = [
            call_of("digits", [float(i % 17) for i in range(64)], work.directory / "digits.call"),
            call_of(NAME, row, work.directory / "trees.call"),
        ]
        turns = [f"{server.port}={call}" for call in calls]
        command = ["taskset", "-c", cpu, options.echo, "time", calls[0], TURN_CALLS, TURNS * ROUNDS, *turns]
        done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
        times = np.array([float(word) for word in done.stdout.split()]).reshape(-1, 2)
        small, trees = np.median(times, axis=0)
        report(f"{MAIN.name}, whole server call, batch 1", trees, small, "int8 MLP 64-256-128-10", "µs")
        above = float(np.median(times[:, 1] - times[:, 0]))
        report("the same, above the MLP's", above, CALL_NEEDED_US, "bound", "µs", "<= 1")


def main() -> None:
    has_avx512 = "avx512_vbmi" in Path("/proc/cpuinfo").read_text()
    isas = ["", "avx2"] if has_avx512 else [""]
    shapes = [shape for shape in models.SHAPES if options.all or not shape.is_long]
    shapes = [shape for shape in shapes if options.only in shape.name]
    if not shapes:
        sys.exit(f"--only {options.only}: expected part of one of {[shape.name for shape in models.SHAPES]}")
    peers = Peers(str(options.library))
    for shape in shapes:
        note(f"{shape.name}: models and code, as far as an earlier run has not kept them")
        models.prepare_apart(shape, options.all)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    model = None
    with tempfile.TemporaryDirectory(prefix="needletail-peers-trees.") as work:
        for shape in shapes:
            found, main_model = measure(shape, isas, Path(work), peers)
            report_times(found, isas)
            model = main_model or model
    if model and not options.no_server:
        report_calls(model, models.timed_rows(MAIN)[0].tolist())


options = arguments()
main()
