"""Measures the engine beside ONNX Runtime, OpenBLAS and the limits of this CPU in one process.

Usage: compare.py LIBRARY [--json]

The library is bench.c with the kernels. The process pins itself to one core. The engine is called through C; the
cost of a call through ONNX Runtime's Python binding is measured with an identity model and subtracted. Everything
takes turns for ROUNDS rounds, and the medians count. The limits of the CPU are measured anew in every round,
because those of a virtual machine change from minute to minute.
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

ISAS = {"scalar": 0, "avx2": 1, "avx512vnni": 2, "neon": 3, "neon-i8mm": 4, "amx": 5}
ROUNDS = 7
PRODUCT_SECONDS = 0.01
PLAN_SECONDS = 0.06
# Numbers of the loops in nt_bench_peak.
F32, S8, S8_XOR, S8_PSIGNB = range(4)

# What int8 plans may take by widths and batch, of what ONNX Runtime takes: without AVX-512 VNNI and with it.
NEEDED = {
    (64, 256, 128, 10): {1: None, 8: None, 32: "<= 0.5"},
    (512, 1024, 1024, 512, 10): {1: "<= 0.45", 8: "<= 0.72", 32: "<= 0.88"},
    (2048, 4096, 4096, 1000): {1: "<= 0.9", 32: "<= 0.82"},
}
NEEDED_WIDE = {
    (64, 256, 128, 10): {1: "<= 0.10", 8: "<= 0.20", 32: "<= 0.30"},
    (512, 1024, 1024, 512, 10): {1: "<= 0.30", 8: "<= 0.30", 32: "<= 0.30"},
    (2048, 4096, 4096, 1000): {1: "<= 0.75", 32: "<= 0.45"},
}

AS_JSON = "--json" in sys.argv
lib = ctypes.CDLL(sys.argv[1])
lib.nt_isa_best.restype = ctypes.c_int
lib.openblas_get_corename.restype = ctypes.c_void_p
for function in (
    "nt_bench_peak",
    "nt_bench_read",
    "nt_bench_rows",
    "nt_bench_s8_run",
    "nt_bench_s8_read",
    "nt_bench_f32_read",
    "nt_bench_f32_run",
    "nt_bench_f32_run_blas",
    "nt_bench_mlp_run",
    "nt_bench_empty_plan",
):
    getattr(lib, function).restype = ctypes.c_double
for function in ("nt_bench_s8_new", "nt_bench_f32_new", "nt_bench_mlp_new_s8", "nt_bench_mlp_new_f32"):
    getattr(lib, function).restype = ctypes.c_void_p

LEVELS = {"L1": 16 << 10, "L2": 256 << 10, "L3": 4 << 20, "DRAM": 256 << 20}

size, real = ctypes.c_size_t, ctypes.c_double


def report(name, ours, peer, peer_name, unit, needed):
    """Prints one row. `needed` bounds ours / peer: "<= x" for times, ">= x" for rates, None if there is no target."""
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


def medians(measurements):
    """Runs the named measurements in turns and returns the median of each."""
    found = {name: [] for name in measurements}
    for _ in range(ROUNDS):
        for name, measure in measurements.items():
            found[name].append(measure())
    return {name: float(np.median(values)) for name, values in found.items()}


def peak(number, mix):
    return lib.nt_bench_peak(number, mix, real(PRODUCT_SECONDS))


def limits(number):
    mixes = {"fp32": F32, "int8": S8, "int8, signs by XOR": S8_XOR, "int8, signs by PSIGNB": S8_PSIGNB}
    rates = medians({name: lambda mix=mix: peak(number, mix) for name, mix in mixes.items()})
    for name, rate in rates.items():
        if rate:
            report(f"peak {name}", rate / 1e9, None, "", "G/s", None)
    memory = {level: np.ones(count, np.uint8) for level, count in LEVELS.items()}
    rates = medians(
        {
            level: lambda bytes=bytes: lib.nt_bench_read(
                ctypes.c_void_p((bytes.ctypes.data + 63) // 64 * 64), size(bytes.size - 64), real(PRODUCT_SECONDS)
            )
            for level, bytes in memory.items()
        }
    )
    for level, rate in rates.items():
        if rate:
            report(f"read bandwidth {level}", rate / 1e9, None, "", "GB/s", None)


def products_int8(number, n, k, rows):
    """Compares each product with its roofline: what registers allow, or what reading the weights once takes, a byte for
    each multiply-add of a row. Products of eight rows and more run on AMX where the processor has it.
    """
    product = ctypes.c_void_p(lib.nt_bench_s8_new(number, size(max(rows)), size(n), size(k)))
    measurements = {
        "peak": lambda: peak(number, S8),
        "few": lambda: peak(ISAS["avx512vnni"] if number == ISAS["amx"] else number, S8),
        "bandwidth": lambda: lib.nt_bench_s8_read(product, real(PRODUCT_SECONDS)),
    }
    for m in rows:
        for nonnegative in (False, True):
            measurements[m, nonnegative] = lambda m=m, nonnegative=nonnegative: lib.nt_bench_s8_run(
                product, size(m), nonnegative, real(PRODUCT_SECONDS)
            )
    found = medians(measurements)
    for m in rows:
        for nonnegative in (False, True):
            name = f"int8 M={m} N={n} K={k}" + (" after ReLU" if nonnegative else "")
            rate = m * n * k / found[m, nonnegative] / 1e9
            is_tiled = number == ISAS["amx"] and m >= 8
            limit = found["peak"] if is_tiled else found["few"]
            roofline = min(limit, m * found["bandwidth"]) / 1e9
            part = 0.5 if is_tiled and m >= 32 else 0.85 if m <= 8 and not is_tiled else None
            if roofline:
                report(name, rate, roofline, "roofline", "G/s", part and f">= {part}")
    lib.nt_bench_product_free(product)


def products_fp32(number, n, k, rows):
    product = ctypes.c_void_p(lib.nt_bench_f32_new(number, size(max(rows)), size(n), size(k)))
    measurements = {
        "peak": lambda: peak(number, F32),
        "bandwidth": lambda: lib.nt_bench_f32_read(product, real(PRODUCT_SECONDS)),
    }
    for m in rows:
        measurements[m, "ours"] = lambda m=m: lib.nt_bench_f32_run(product, size(m), real(PRODUCT_SECONDS))
        measurements[m, "blas"] = lambda m=m: lib.nt_bench_f32_run_blas(product, size(m), real(PRODUCT_SECONDS))
    found = medians(measurements)
    for m in rows:
        ours, blas = (m * n * k / found[m, side] / 1e9 for side in ("ours", "blas"))
        report(f"fp32 M={m} N={n} K={k}", ours, blas, "OpenBLAS", "G/s", ">= 1")
        if found["peak"]:
            roofline = min(found["peak"], m * found["bandwidth"] / 4) / 1e9
            report(f"fp32 M={m} N={n} K={k}", ours, roofline, "roofline", "G/s", ">= 0.9")
    lib.nt_bench_product_free(product)


def row_operations(number):
    """Measures the operations between the products: quantisation, activations, softmax and layer norm. On AVX-512 and
    AMX both AVX-512 and AVX2 are measured.
    """
    operations = (
        "quantise",
        "quantise, magnitudes known",
        "logistic",
        "softmax",
        "argmax",
        "tanh",
        "gelu",
        "exp",
        "layer norm",
    )
    bounded = ("softmax", "gelu", "layer norm")
    rows, columns = 32, 1024
    is_wide = number in (ISAS["avx512vnni"], ISAS["amx"])
    ways = {"AVX-512": number, "AVX2": ISAS["avx2"]} if is_wide else {"": number}
    found = medians(
        {
            (name, way): lambda operation=operation, isa=isa: lib.nt_bench_rows(
                isa, operation, size(rows), size(columns), real(PRODUCT_SECONDS)
            )
            for operation, name in enumerate(operations)
            for way, isa in ways.items()
        }
    )
    for (name, way), each in found.items():
        rate = rows * columns / each / 1e9
        bound = (3.0 if way == "AVX-512" else 2.0) if name in bounded and number != ISAS["scalar"] else None
        label = f"{name}, {rows} × {columns}" + (f", {way}" if way else "")
        report(label, rate, bound, "bound" if bound else "", "G/s", bound and ">= 1")


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


def round_of(runtime, x):
    run, feed = runtime.run, {"x": x}
    run(None, feed)
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < PLAN_SECONDS:
        for _ in range(10):
            run(None, feed)
        calls += 10
    return spent / calls


def pointers(kind, arrays):
    return (kind * len(arrays))(*[array.ctypes.data_as(kind) for array in arrays])


def mlp(number, widths, needed, work):
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
    onnx.save(mlp_model(widths, weights, bias), f"{work}/fp32.onnx")
    quantize_dynamic(f"{work}/fp32.onnx", f"{work}/int8.onnx", weight_type=QuantType.QInt8, per_channel=True)
    columns = widths[0]
    identity = model_of([helper.make_node("Identity", ["x"], ["y"])], [], columns, columns)
    peers = {
        "int8": session(f"{work}/int8.onnx"),
        "fp32": session(f"{work}/fp32.onnx"),
        "binding": session(identity.SerializeToString()),
    }
    shape = (number, size(max(needed)), size(len(weights)), (ctypes.c_uint32 * len(widths))(*widths))
    floats = ctypes.POINTER(ctypes.c_float)
    plans = {
        "int8": lib.nt_bench_mlp_new_s8(
            *shape, pointers(ctypes.POINTER(ctypes.c_int8), int8), pointers(floats, scales), pointers(floats, bias)
        ),
        "fp32": lib.nt_bench_mlp_new_f32(*shape, pointers(floats, weights), pointers(floats, bias)),
    }
    plans = {kind: ctypes.c_void_p(plan) for kind, plan in plans.items()}
    for rows, bound in needed.items():
        x = random.standard_normal((rows, columns)).astype(np.float32)
        answers = {kind: np.empty((rows, widths[-1]), np.float32) for kind in plans}

        def ours(kind, rows=rows, x=x, answers=answers):
            y = answers[kind]
            return lib.nt_bench_mlp_run(
                plans[kind],
                size(rows),
                x.ctypes.data_as(ctypes.c_void_p),
                size(x.nbytes),
                y.ctypes.data_as(ctypes.c_void_p),
                size(y.nbytes),
                real(PLAN_SECONDS),
            )

        measurements = {("ours", kind): lambda kind=kind: ours(kind) for kind in plans}
        measurements |= {kind: lambda peer=peer, x=x: round_of(peer, x) for kind, peer in peers.items()}
        found = medians(measurements)
        reference = peers["fp32"].run(None, {"x": x})[0]
        for kind, y in answers.items():
            cosine = float((y * reference).sum() / np.linalg.norm(y) / np.linalg.norm(reference))
            assert cosine > 0.99, f"{name}: the {kind} plan's answer has cosine {cosine} to fp32"
            microseconds, theirs = found["ours", kind] * 1e6, (found[kind] - found["binding"]) * 1e6
            asked = bound if kind == "int8" else None
            report(f"MLP {name}, {kind}, batch {rows}", microseconds, theirs, f"ONNX Runtime {kind}", "µs", asked)
        if widths[0] == 64 and rows == 1:
            time_max = 0.6 if number in (ISAS["avx512vnni"], ISAS["amx"]) else 1.5
            report(f"MLP {name}, int8, batch 1, time", found["ours", "int8"] * 1e6, time_max, "bound", "µs", "<= 1")
    for plan in plans.values():
        lib.nt_bench_mlp_free(plan)


def main():
    logging.disable(logging.WARNING)  # the quantiser warns about a preparatory pass that changes nothing here
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    number = lib.nt_isa_best()
    isa = next(name for name, value in ISAS.items() if value == number)
    if not AS_JSON:
        blas = ctypes.string_at(lib.openblas_get_corename()).decode()
        print(f"kernels: {isa}; onnxruntime {onnxruntime.__version__}; OpenBLAS for {blas}; one thread on one core\n")
    limits(number)
    empty = medians({"empty": lambda: lib.nt_bench_empty_plan(real(PRODUCT_SECONDS))})["empty"]
    report("calling a plan without steps", empty * 1e6, 1.0, "bound", "µs", "<= 1")
    row_operations(number)
    for n, k in ((512, 512), (1024, 1024), (4096, 4096), (384, 1536)):
        products_int8(number, n, k, (1, 2, 3, 4, 6, 8, 12, 16, 32, 64))
    for n, k in ((512, 512), (1024, 512), (1024, 1024)):
        products_fp32(number, n, k, (1, 2, 3, 4, 6, 8, 16, 32))
    work = os.path.dirname(os.path.abspath(sys.argv[1]))
    is_wide = number in (ISAS["avx512vnni"], ISAS["amx"])
    needed = NEEDED_WIDE if is_wide else NEEDED
    for widths, bounds in needed.items():
        mlp(number, list(widths), bounds, work)


main()
