"""Measures the server beside a bare echo, FastAPI and Triton, which take turns; medians count.

Usage: compare.py DIRECTORY TRITON-PYTHON [--json]

DIRECTORY holds the compiled echo and receives temporary files. TRITON-PYTHON is the python of an environment with
nvidia-pytriton, or empty. All serve a multilayer perceptron 64-256-128-10: Needletail in int8, ONNX Runtime in
fp32, which is faster there for so small a model. The weights of the peers are random, because their values do not
affect the time. One processor is the server's, another the load generator's.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "reliability" / "faults"))
import wire
from harness import Server, Workspace, processors

WORK, TRITON, AS_JSON = Path(sys.argv[1]), sys.argv[2], "--json" in sys.argv
HERE = Path(__file__).resolve().parent
ROUNDS, SECONDS, CONNECTIONS = 5, 1, 16
# Turns of the server and the bare echo within each round; a turn takes about 20 ms.
TURN_CALLS, TURNS = 1000, 20
TIMEOUT_US = 10_000_000
SPIN_MICROSECONDS = 50
WIDTHS = (64, 256, 128, 10)
SAMPLE = [float(i % 17) for i in range(WIDTHS[0])]
HERE_CPU, THERE_CPU = processors()


def report(name: str, ours: float, peer: float | None, peer_name: str, unit: str, needed: str | None) -> None:
    """Prints one row. `needed` bounds ours / peer; None if there is no target."""
    ratio = ours / peer if peer else None
    holds = None
    if needed and ratio is not None:
        bound = float(needed.split()[1])
        holds = ratio <= bound if needed.startswith("<=") else ratio >= bound
    if AS_JSON:
        row = {"name": name, "ours": ours, "peer": peer, "peer_name": peer_name, "unit": unit}
        print(json.dumps(row | {"ratio": ratio, "needed": needed, "holds": holds}), flush=True)
        return
    mark = {True: "holds", False: "misses", None: ""}[holds]
    against = f"{peer:12,.1f}  {peer_name}" if peer is not None else f"{'':12}  {peer_name}"
    shown = f"{ratio:8.2f}" if ratio is not None else ""
    print(f"{name:52} {ours:12,.1f} {unit:5} {against:40} {shown:>8}  {needed or '':8} {mark}".rstrip(), flush=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pinned(cpu: int, *command: Any, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(["taskset", "-c", str(cpu), *map(str, command)], text=True, **options)


def figures(command: subprocess.Popen[str]) -> list[float]:
    out, complaints = command.communicate()
    if command.returncode != 0:
        sys.exit(f"echo: {complaints}")
    return [float(word) for word in out.split()]


def load(port: int, call: Path, connections: int) -> tuple[float, float]:
    """Returns answers per second and their p50 in microseconds, with the client on a processor of its own."""
    command = (WORK / "echo", "load", port, call, connections, SECONDS)
    rate, p50, _ = figures(pinned(THERE_CPU, *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    return rate, p50


class Echo:
    """A bare echo with the bytes of our call and answer, and a C client that times it and the server alike."""

    def __init__(self, work: Workspace, server: Server) -> None:
        self.server = server
        body = wire.predict_body("digits", [SAMPLE])
        self.call = WORK / "call"
        self.call.write_bytes(wire.request(1, body, TIMEOUT_US))
        self.request_bytes = self.call.stat().st_size
        with socket.create_connection(server.address) as connection:
            connection.sendall(self.call.read_bytes())
            (length,) = struct.unpack(">I", connection.recv(4, socket.MSG_WAITALL))
            self.answer_bytes = 4 + len(connection.recv(length, socket.MSG_WAITALL))
        self.process = pinned(
            HERE_CPU, WORK / "echo", "serve", self.request_bytes, self.answer_bytes, stdout=subprocess.PIPE
        )
        work.children.append(self.process)
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())

    def both(self) -> list[tuple[float, float]]:
        """Returns the p50 of round trips to the server and to the echo, in turns, all on one processor."""
        command = (WORK / "echo", "time", self.call, TURN_CALLS, TURNS, self.server.address[1], self.port)
        found = figures(pinned(HERE_CPU, *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return list(zip(found[::2], found[1::2]))

    def rates(self) -> tuple[float, float]:
        """Returns answers per second to one C client, for the server and for the echo."""
        ports = self.server.address[1], self.port
        served, echoed = (load(port, self.call, CONNECTIONS)[0] for port in ports)
        return served, echoed


class HTTPPeer:
    """A peer over HTTP, with a C client that keeps it busy."""

    def __init__(self, work: Workspace, name: str, request: bytes, ready: str, port: int, start: Any) -> None:
        self.name, self.port = name, port
        self.request = WORK / f"{port}.http"
        self.request.write_bytes(request)
        self.log = WORK / f"{port}.log"
        with open(self.log, "w") as log:
            self.process = start(stdout=log, stderr=log)
        work.children.append(self.process)
        end = time.monotonic() + 40
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}", timeout=2).read()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    tail = " / ".join(self.log.read_text(errors="replace").splitlines()[-3:])
                    raise RuntimeError(f"did not start: {tail or 'it said nothing'}") from None
                time.sleep(0.1)

    def load(self, connections: int) -> tuple[float, float]:
        return load(self.port, self.request, connections)


def http(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def fastapi(work: Workspace, model: Path) -> HTTPPeer:
    port = free_port()
    request = http("/predict", json.dumps({"x": [SAMPLE]}).encode(), "Content-Type: application/json")
    return HTTPPeer(
        work, "FastAPI, ONNX Runtime", request, "/docs", port,
        lambda **options: pinned(HERE_CPU, sys.executable, HERE / "fastapi_peer.py", model, port, **options),
    )  # fmt: skip


def triton(work: Workspace, model: Path) -> HTTPPeer:
    if not TRITON:
        raise RuntimeError("nvidia-pytriton cannot be installed here: pip told why above")
    found = subprocess.run(
        [TRITON, "-c", "import sys, sysconfig; print(sysconfig.get_path('purelib'), '%d.%d' % sys.version_info[:2])"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    packages, version = found.stdout.split()
    home = Path(packages) / "pytriton" / "tritonserver"
    stub = home / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        raise RuntimeError(f"nvidia-pytriton has no Python backend for Python {version}")
    backend, repository = WORK / "backends" / "python", WORK / "repository" / "mlp"
    shutil.copytree(home / "backends" / "python", backend)
    shutil.copy(stub, backend)
    (repository / "1").mkdir(parents=True)
    shutil.copy(HERE / "triton_model.py", repository / "1" / "model.py")
    (repository / "config.pbtxt").write_text(
        'backend: "python"\nmax_batch_size: 64\n'
        f'input [{{ name: "x" data_type: TYPE_FP32 dims: [{WIDTHS[0]}] }}]\n'
        f'output [{{ name: "y" data_type: TYPE_FP32 dims: [{WIDTHS[-1]}] }}]\n'
        "instance_group [{ count: 1 kind: KIND_CPU }]\ndynamic_batching {}\n"
    )
    environment = os.environ | {
        "PYTHONPATH": packages,
        "LD_LIBRARY_PATH": f"{packages}/nvidia_pytriton.libs",
        "PATH": f"{Path(TRITON).parent}:{os.environ['PATH']}",
        "PEER_MODEL": str(model),
    }
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "x", "shape": [1, WIDTHS[0]], "datatype": "FP32",
                    "parameters": {"binary_data_size": WIDTHS[0] * 4},
                }
            ],
            "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
        }
    ).encode()  # fmt: skip
    port = free_port()
    return HTTPPeer(
        work, "Triton, Python backend, ONNX Runtime",
        http(
            "/v2/models/mlp/infer", head + struct.pack(f"<{WIDTHS[0]}f", *SAMPLE),
            f"Inference-Header-Content-Length: {len(head)}", "Content-Type: application/octet-stream",
        ),
        "/v2/health/ready", port,
        lambda **options: pinned(
            HERE_CPU, home / "bin" / "tritonserver", "--model-repository", WORK / "repository",
            "--backend-directory", WORK / "backends", "--http-address", "127.0.0.1", "--http-port", port,
            "--allow-grpc=false", "--allow-metrics=false", env=environment, **options,
        ),
    )  # fmt: skip


def mlp(path: Path) -> Path:
    random = np.random.default_rng(1)
    nodes, initializers, value = [], [], "x"
    for i, (columns, outputs) in enumerate(zip(WIDTHS, WIDTHS[1:])):
        weights = (random.standard_normal((columns, outputs)) / np.sqrt(columns)).astype(np.float32)
        initializers += [
            numpy_helper.from_array(weights, f"w{i}"), numpy_helper.from_array(np.zeros(outputs, np.float32), f"b{i}"),
        ]  # fmt: skip
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"a{i}"]))
        value = f"a{i}"
        if i + 2 < len(WIDTHS):
            nodes.append(helper.make_node("Relu", [value], [f"r{i}"]))
            value = f"r{i}"
    nodes.append(helper.make_node("Softmax", [value], ["y"]))
    graph = helper.make_graph(
        nodes, "mlp", [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", WIDTHS[0]])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", WIDTHS[-1]])], initializers,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def main() -> None:
    with Workspace("peers-serving") as work:
        work.digits()
        server = work.server("--threads", "1", cpu=HERE_CPU)
        echo = Echo(work, server)
        # Free to move, so that a lone call has to wake a processor, as it has to on a machine of one's own.
        settings = {"serving": {"spin_microseconds": SPIN_MICROSECONDS}}
        sleeping, spinning = work.server("--threads", "1"), work.server("--threads", "1", settings=settings)
        spinning_here = work.server("--threads", "1", settings=settings, cpu=HERE_CPU)
        model = mlp(WORK / "mlp.onnx")
        peers, missing = [], []
        for name, start in (("FastAPI, ONNX Runtime", fastapi), ("Triton, Python backend", triton)):
            try:
                peers.append(start(work, model))
            except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
                missing.append((name, str(error)))

        def ours(connections: int, depth: int, cpu: int | None, of: Server = server) -> dict[str, Any]:
            options = ("--closed", "--connections", str(connections), "--depth", str(depth))
            times = ("--duration", f"{SECONDS}s", "--warmup", "300ms", "--timeout", f"{TIMEOUT_US // 1_000_000}s")
            return work.bench(of, "digits", *options, *times, cpu=cpu)

        if not AS_JSON:
            print(
                f"calls of {echo.request_bytes} bytes, answers of {echo.answer_bytes}; server on processor {HERE_CPU}, "
                f"generator on {THERE_CPU}; medians of {ROUNDS} rounds, all in turns\n"
            )
        alone: list[dict[str, Any]] = []
        echoes: list[tuple[float, float]] = []
        rates: list[tuple[float, float]] = []
        single: list[dict[str, Any]] = []
        shallow: list[dict[str, Any]] = []
        deep: list[dict[str, Any]] = []
        waking: list[dict[str, Any]] = []
        looking: list[dict[str, Any]] = []
        looking_apart: list[dict[str, Any]] = []
        loads: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for _ in range(ROUNDS):
            echoes += echo.both()
            rates.append(echo.rates())
            alone.append(ours(1, 1, HERE_CPU))
            single.append(ours(1, 1, THERE_CPU))
            shallow.append(ours(CONNECTIONS, 1, THERE_CPU))
            deep.append(ours(CONNECTIONS, 16, THERE_CPU))
            waking.append(ours(1, 1, None, sleeping))
            looking.append(ours(1, 1, None, spinning))
            looking_apart.append(ours(1, 1, THERE_CPU, spinning_here))
            for peer in peers:
                for connections in (1, CONNECTIONS):
                    loads.setdefault((peer.name, connections), []).append(peer.load(connections))

        def rate(runs: list[dict[str, Any]]) -> float:
            return statistics.median(run["goodput_rows"] for run in runs)

        def p50(runs: list[dict[str, Any]]) -> float:
            return statistics.median(run["latency_us"]["p50"] for run in runs)

        here, bare = (statistics.median(each) for each in zip(*echoes))
        report("p50, batch 1, client on the same processor", here, bare, "bare echo, same client", "µs", None)
        beyond = statistics.median(served - echoed for served, echoed in echoes)
        report("the same, beyond the echo", beyond, 6.0, "bound", "µs", "<= 1")
        calm = sorted(echoes, key=lambda turn: turn[1])[: len(echoes) // 5]
        calm_bare = statistics.median(echoed for _, echoed in calm)
        beyond = statistics.median(served - echoed for served, echoed in calm)
        report("beyond it, where it was quickest", beyond, calm_bare, "the echo in that fifth of the turns", "µs", None)
        report("the same call by needletail bench", p50(alone), None, "its own work included", "µs", None)
        report(
            f"p50, 1 connection, unpinned, spinning {SPIN_MICROSECONDS} µs", p50(looking), p50(waking),
            "without spinning", "µs", None,
        )  # fmt: skip
        # Where a scheduler puts the two threads of a call on one processor, as it does in many virtual machines, no
        # processor has to wake, and nothing is left to gain. Apart, one has to.
        report(
            f"p50, 1 connection, on two processors, spinning {SPIN_MICROSECONDS} µs", p50(looking_apart), p50(single),
            "without spinning", "µs", "<= 0.6",
        )  # fmt: skip
        report(f"predictions, {CONNECTIONS} connections, depth 1", rate(shallow), 100_000, "bound", "/s", ">= 1")
        served, echoed = (statistics.median(each) for each in zip(*rates))
        report("the same, asked by a client in C", served, echoed, "bare echo, same client", "/s", None)
        report(f"rows, {CONNECTIONS} connections, depth 16", rate(deep), 400_000, "bound", "/s", ">= 1")
        for peer in peers:
            for connections, runs, needed in ((1, single, None), (CONNECTIONS, shallow, ">= 15")):
                theirs = loads[peer.name, connections]
                many = f"{connections} connection{'s' if connections > 1 else ''}"
                report(
                    f"predictions, {many}", rate(runs), statistics.median(each[0] for each in theirs), peer.name, "/s",
                    needed,
                )  # fmt: skip
                report(f"p50, {many}", p50(runs), statistics.median(each[1] for each in theirs), peer.name, "µs", None)
        for name, why in missing:
            if AS_JSON:
                row = {"name": f"predictions, {CONNECTIONS} connections", "ours": rate(shallow), "peer": None}
                print(json.dumps(row | {"peer_name": f"{name}: skipped, {why}", "unit": "/s", "ratio": None,
                                        "needed": ">= 15", "holds": None}))  # fmt: skip
            else:
                print(f"SKIPPED {name}: {why}")


main()
