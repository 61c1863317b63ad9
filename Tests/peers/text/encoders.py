"""Times MiniLM as a served bundle beside ONNX Runtime, OpenVINO and CTranslate2, each on one thread.

Usage: encoders.py BUNDLE MINILM WORK [--json] [--seconds S]

Ours is called with texts, in this process, through libneedletail: its time has the tokenizer in it. The peers are given
ids, and a batch of mixed lengths is padded for them to its longest text. All take turns, and medians count.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import sys
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import minilm  # noqa: E402
import needletail  # noqa: E402
import numpy as np  # noqa: E402
import onnx  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

LENGTHS = [8, 16, 32, 128, 256]
# The share of the best peer's time that one text may take.
NEEDED = {8: 0.5, 16: 0.5, 32: 0.5, 128: 0.6, 256: 0.6}
# A batch of mixed lengths is at least 1.8 times faster than a padded one.
NEEDED_MIXED = 1 / 1.8
# Answers in int8 stay close to those of fp32 even for words in no order; what is timed must be the same model.
COSINE = 0.95


class Texts:
    """Texts of so many tokens each, special ones included, and what the peers are given for them."""

    def __init__(self, tokenizer: Tokenizer, words: list[str], lengths: list[int], chance: random.Random):
        self.lengths = lengths
        self.texts = [" ".join(chance.choices(words, k=length - 2)) for length in lengths]
        self.rows = [tokenizer.encode(text).ids for text in self.texts]
        assert [len(row) for row in self.rows] == lengths
        longest = max(lengths)
        self.ids = np.array([row + [0] * (longest - len(row)) for row in self.rows], dtype=np.int64)
        self.mask = np.array([[1] * length + [0] * (longest - length) for length in lengths], dtype=np.int64)

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        return {"input_ids": self.ids, "attention_mask": self.mask}


def onnx_runtime(work: Path) -> dict:
    """Optimised as for BERT, in fp32 and with dynamic int8."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer

    made = optimizer.optimize_model(
        str(work / "minilm.onnx"), model_type="bert", num_heads=minilm.HEADS, hidden_size=384, opt_level=0
    )
    fused = made.get_fused_operator_statistics()
    print(f"ONNX Runtime fused { ({name: count for name, count in fused.items() if count}) }", file=sys.stderr)
    made.save_model_to_file(str(work / "optimised.onnx"))
    # Products of 7 bits: without VNNI those of 8 overflow, and with it they take as long.
    quantize_dynamic(
        work / "optimised.onnx", work / "int8.onnx", weight_type=QuantType.QInt8, per_channel=True, reduce_range=True,
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    peers = {}
    for name, file in (("ONNX Runtime fp32", "optimised.onnx"), ("ONNX Runtime int8", "int8.onnx")):
        session = onnxruntime.InferenceSession(str(work / file), options, providers=["CPUExecutionProvider"])
        peers[name] = lambda texts, session=session: session.run(["embedding"], texts.inputs)[0]
    return peers


def openvino(work: Path, calibration: list[Texts]) -> dict:
    """fp32, bf16 where the processor has it, and int8 as NNCF makes it for transformers."""
    import nncf
    import openvino as ov

    core = ov.Core()
    model = core.read_model(work / "minilm.onnx")
    data = nncf.Dataset([texts.inputs for texts in calibration])
    # Its progress bars are no part of the table.
    with contextlib.redirect_stdout(sys.stderr):
        rounded = nncf.quantize(model, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(calibration))
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    wanted = {"OpenVINO fp32": (model, "f32"), "OpenVINO int8": (rounded, "f32")}
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        wanted["OpenVINO bf16"] = (model, "bf16")
        wanted["OpenVINO int8 and bf16"] = (rounded, "bf16")
    else:
        print("OpenVINO: this processor has no bf16", file=sys.stderr)
    peers = {}
    for name, (made, precision) in wanted.items():
        compiled = core.compile_model(made, "CPU", settings | {"INFERENCE_PRECISION_HINT": precision})
        request = compiled.create_infer_request()
        peers[name] = lambda texts, request=request: request.infer(texts.inputs)["embedding"].copy()
    return peers


def ctranslate2(folder: Path, work: Path, tokenizer: Tokenizer) -> dict:
    import ctranslate2

    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])]
    minilm.write_ctranslate2(folder, work / "ctranslate2", tokens)
    encoder = ctranslate2.Encoder(
        str(work / "ctranslate2"), device="cpu", compute_type="int8", inter_threads=1, intra_threads=1
    )

    def answer(texts: Texts) -> np.ndarray:
        state = np.asarray(encoder.forward_batch(texts.rows).last_hidden_state)
        mask = texts.mask[:, :, None].astype(np.float32)
        mean = (state * mask).sum(1) / mask.sum(1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    return {"CTranslate2 int8": answer}


def measured(systems: dict, texts: Texts, seconds: float) -> dict[str, float]:
    """Milliseconds of each system, which take turns until the time is over."""
    taken = {name: [] for name in systems}
    for call in systems.values():
        call(texts)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(taken["ours"]) < 3:
        for name, call in systems.items():
            began = time.perf_counter_ns()
            call(texts)
            taken[name].append((time.perf_counter_ns() - began) / 1e6)
    return {name: statistics.median(times) for name, times in taken.items()}


def report(name: str, ours: float, peer_name: str, peer: float, needed: float, is_best: bool, as_json: bool) -> None:
    ratio = ours / peer
    if as_json:
        record = {"name": f"MiniLM, {name}", "ours": ours, "peer": peer, "peer_name": peer_name, "unit": "ms"}
        print(json.dumps(record | {"ratio": ratio, "needed": needed, "holds": ratio <= needed}), flush=True)
        return
    verdict = "holds" if ratio <= needed else "falls short"
    best = "best" if is_best else ""
    print(
        f"  {name:34}{ours:8.2f}   {peer_name:24}{peer:8.2f}   {ratio:6.3f} of {needed:.3f}   {verdict:12}{best}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle")
    parser.add_argument("minilm", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=12, help="time of each row of the table")
    options = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(options.minilm / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    chance = random.Random(5)
    words = sorted(word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha() and len(word) > 2)
    model = needletail.load(options.bundle, allow_unsigned=True)
    minilm.write_onnx(options.minilm, options.work / "minilm.onnx")
    calibration = [Texts(tokenizer, words, [chance.randint(6, 64)], chance) for _ in range(64)]
    peers = onnx_runtime(options.work)
    peers |= openvino(options.work, calibration)
    peers |= ctranslate2(options.minilm, options.work, tokenizer)
    systems = {"ours": lambda texts: model.predict({"text": texts.texts})["embedding"]} | peers

    rows = [(f"one text of {length} tokens", [length], NEEDED[length]) for length in LENGTHS]
    for count in (8, 16):
        lengths = [LENGTHS[index % len(LENGTHS)] for index in range(count)]
        rows.append((f"{count} texts of 8 to 256 tokens", lengths, NEEDED_MIXED))
    exact = peers["ONNX Runtime fp32"](calibration[0])
    for name, call in systems.items():
        cosine = float((call(calibration[0]) * exact).sum())
        assert cosine >= COSINE, f"{name}: expected the answer of MiniLM, found a cosine of {cosine}"
    if not options.json:
        print("milliseconds, one thread")
    for name, lengths, needed in rows:
        times = measured(systems, Texts(tokenizer, words, lengths, chance), options.seconds)
        best = min(peers, key=lambda peer: times[peer])
        for peer in peers:
            report(name, times["ours"], peer, times[peer], needed, peer == best, options.json)


main()
