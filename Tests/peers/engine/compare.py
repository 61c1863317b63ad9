"""Engine against ONNX Runtime, OpenBLAS and the limits of this CPU, measured in one process.

Usage: compare.py LIBRARY [--json]

The library is bench.c with the kernels. The process pins itself to one core. Ours is called through
C; what a call of ONNX Runtime's Python binding costs is measured with an identity model and
subtracted. Both sides take turns and the best round of each counts.
"""

import ctypes
import json
import logging
import os
import sys
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

ISAS = {"scalar": 0, "avx2": 1, "avx512vnni": 2, "neon": 3}
SECONDS = 0.15
TURNS = 5

AS_JSON = "--json" in sys.argv
lib = ctypes.CDLL(sys.argv[1])
lib.nt_isa_best.restype = ctypes.c_int
for function in ("nt_bench_peak", "nt_bench_read", "nt_bench_s8", "nt_bench_mlp_run", "nt_bench_empty_plan"):
    getattr(lib, function).restype = ctypes.c_double
lib.nt_bench_mlp_new.restype = ctypes.c_void_p

size, real = ctypes.c_size_t, ctypes.c_double


def report(name, ours, peer, peer_name, unit, needed):
    """`needed` is a bound on ours / peer: "<= x" for times, ">= x" for rates, None where none is asked."""
    ratio = ours / peer if peer else None
    holds = None
    if needed is not None and ratio is not None:
        bound = float(needed.split()[1])
        holds = ratio <= bound if needed.startswith("<=") else ratio >= bound
    if AS_JSON:
        row = {"name": name, "ours": ours, "peer": peer, "peer_name": peer_name, "unit": unit}
        print(json.dumps(row | {"ratio": ratio, "needed": needed, "holds": holds}), flush=True)
    else:
        mark = {True: "holds", False: "misses", None: ""}[holds]
        shown = "" if ratio is None else f"{ratio:6.2f}"
        against = "" if peer is None else f"{peer:10.2f}  {peer_name}"
        print(f"{name:38} {ours:10.2f} {unit:5} {against:34} {shown:>6}  {needed or '':8} {mark}", flush=True)


def limits(isa):
    peaks = {}
    for name, number in ISAS.items():
        for kind in ("int8", "fp32"):
            rate = lib.nt_bench_peak(number, kind == "int8", real(SECONDS))
            if rate:
                peaks[name, kind] = rate
                report(f"peak {kind} {name}", rate / 1e9, None, "", "G/s", None)
    bandwidth = {}
    for level, size_bytes in (("L1", 16 << 10), ("L2", 256 << 10), ("L3", 4 << 20), ("DRAM", 256 << 20)):
        bandwidth[size_bytes] = lib.nt_bench_read(size(size_bytes), real(SECONDS))
        report(f"read bandwidth {level}", bandwidth[size_bytes] / 1e9, None, "", "GB/s", None)
    return peaks.get((isa, "int8")), peaks.get((isa, "fp32"))


def products(isa, peak_int8, peak_fp32):
    number = ISAS[isa]
    for n, k in ((512, 512), (1024, 1024), (4096, 4096), (384, 1536)):
        bytes_read = n * k
        bandwidth = lib.nt_bench_read(size(bytes_read), real(SECONDS))
        for m in (1, 2, 3, 4, 6, 8, 12, 16, 32, 64):
            each = lib.nt_bench_s8(number, size(m), size(n), size(k), real(SECONDS))
            if m == 1 and bandwidth:
                rate = bytes_read / each
                report(f"int8 M=1 N={n} K={k}", rate / 1e9, bandwidth / 1e9, "read bandwidth", "GB/s", ">= 0.85")
            elif peak_int8:
                rate = m * n * k / each
                report(f"int8 M={m} N={n} K={k}", rate / 1e9, peak_int8 / 1e9, "peak", "G/s", ">= 0.92")
    for n, k in ((512, 512), (1024, 512), (1024, 1024)):
        for m in (1, 2, 4, 6, 8, 16, 32):
            each = (real * 2)()
            lib.nt_bench_f32(number, size(m), size(n), size(k), real(4 * SECONDS), each)
            rates = [m * n * k / seconds / 1e9 for seconds in each]
            report(f"fp32 M={m} N={n} K={k}", rates[0], rates[1], "OpenBLAS", "G/s", ">= 1")
            if m >= 4 and peak_fp32:
                report(f"fp32 M={m} N={n} K={k}", rates[0], peak_fp32 / 1e9, "peak", "G/s", ">= 0.8")


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def mlp_model(widths, weights, bias):
    nodes, initializers, value = [], [], "x"
    for i, (w, b) in enumerate(zip(weights, bias)):
        initializers += [numpy_helper.from_array(w.T.copy(), f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        last = i + 1 == len(weights)
        nodes.append(helper.make_node("MatMul", [value, f"w{i}"], [f"m{i}"]))
        nodes.append(helper.make_node("Add", [f"m{i}", f"b{i}"], ["y" if last else f"a{i}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"a{i}"], [f"r{i}"]))
        value = f"r{i}"
    return model_of(nodes, initializers, widths[0], widths[-1])


def model_of(nodes, initializers, columns_in, columns_out):
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", columns_in])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", columns_out])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def best_of_runs(runtime, x):
    run, feed = runtime.run, {"x": x}
    run(None, feed)
    best, end = 1e9, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(10):
            run(None, feed)
        best = min(best, (time.perf_counter() - start) / 10)
    return best


def pointers(kind, arrays):
    return (kind * len(arrays))(*[array.ctypes.data_as(kind) for array in arrays])


def mlp(isa, widths, needed, work):
    random = np.random.default_rng(1)
    weights, bias, int8, scales = [], [], [], []
    for columns, outputs in zip(widths, widths[1:]):
        w = (random.standard_normal((outputs, columns)) / np.sqrt(columns)).astype(np.float32)
        scale = np.abs(w).max(axis=1) / np.float32(127)
        weights.append(w)
        bias.append((random.standard_normal(outputs) * 0.1).astype(np.float32))
        scales.append(scale)
        int8.append(np.round(w / scale[:, None]).astype(np.int8))
    name = "-".join(map(str, widths))
    fp32 = mlp_model(widths, weights, bias)
    onnx.save(fp32, f"{work}/fp32.onnx")
    quantize_dynamic(f"{work}/fp32.onnx", f"{work}/int8.onnx", weight_type=QuantType.QInt8, per_channel=True)
    peer = session(f"{work}/int8.onnx")
    exact = session(f"{work}/fp32.onnx")
    columns = widths[0]
    identity = session(
        model_of([helper.make_node("Identity", ["x"], ["y"])], [], columns, columns).SerializeToString()
    )
    rows_max = 32
    plan = ctypes.c_void_p(
        lib.nt_bench_mlp_new(
            ISAS[isa],
            size(rows_max),
            size(len(weights)),
            (ctypes.c_uint32 * len(widths))(*widths),
            pointers(ctypes.POINTER(ctypes.c_int8), int8),
            pointers(ctypes.POINTER(ctypes.c_float), scales),
            pointers(ctypes.POINTER(ctypes.c_float), bias),
        )
    )
    for rows, bound in needed.items():
        x = random.standard_normal((rows, columns)).astype(np.float32)
        y = np.empty((rows, widths[-1]), np.float32)
        ours, theirs, binding = [], [], []
        for _ in range(TURNS):
            ours.append(
                lib.nt_bench_mlp_run(
                    plan, size(rows), x.ctypes.data_as(ctypes.c_void_p), size(x.nbytes),
                    y.ctypes.data_as(ctypes.c_void_p), size(y.nbytes), real(SECONDS),
                )
            )  # fmt: skip
            theirs.append(best_of_runs(peer, x))
            binding.append(best_of_runs(identity, x))
        reference = exact.run(None, {"x": x})[0]
        cosine = float((y * reference).sum() / np.linalg.norm(y) / np.linalg.norm(reference))
        assert cosine > 0.99, f"{name}: the int8 plan's answer has cosine {cosine} to fp32"
        microseconds = np.median(ours) * 1e6
        peer_microseconds = (np.median(theirs) - np.median(binding)) * 1e6
        report(f"MLP {name}, batch {rows}", microseconds, peer_microseconds, "ONNX Runtime int8", "µs", bound)
        if widths[0] == 64 and rows == 1:
            report(f"MLP {name}, batch 1, time", microseconds, 1.5, "bound", "µs", "<= 1")
    lib.nt_bench_mlp_free(plan)


def main():
    logging.disable(logging.WARNING)  # the quantiser advises a pass that changes nothing here
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    number = lib.nt_isa_best()
    isa = next(name for name, value in ISAS.items() if value == number)
    if not AS_JSON:
        print(f"kernels: {isa}; onnxruntime {onnxruntime.__version__}; one thread on one core\n")
    peak_int8, peak_fp32 = limits(isa)
    empty = lib.nt_bench_empty_plan(number, real(SECONDS))
    report("calling a plan without steps", empty * 1e6, 1.0, "bound", "µs", "<= 1")
    products(isa, peak_int8, peak_fp32)
    work = os.path.dirname(os.path.abspath(sys.argv[1]))
    mlp(isa, [64, 256, 128, 10], {1: None, 8: None, 32: "<= 0.5"}, work)
    mlp(isa, [512, 1024, 1024, 512, 10], {1: "<= 0.45", 8: "<= 0.72", 32: "<= 0.88"}, work)
    mlp(isa, [2048, 4096, 4096, 1000], {1: "<= 0.9", 32: "<= 0.82"}, work)


main()
