"""Times tokenizers on lines of real text: ours, Hugging Face's, and for WordPiece nanotoken, each on one thread."""

import argparse
import ctypes
import json
import os
import random
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

import nanotoken  # noqa: E402
import variants  # noqa: E402
from native import NativeTokenizer, library  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

# The share of Hugging Face's time that the tokenizers may take.
NEEDED = 0.15
ROUNDS = 5


def best_isa():
    flags = Path("/proc/cpuinfo").read_text().split()
    return "avx512vnni" if "avx512bw" in flags else "avx2" if "avx2" in flags else "scalar"


def ours(native, lines):
    """Seconds and tokens of the best round. Offsets are found too."""
    texts = [line.encode() for line in lines]
    ends, end = (ctypes.c_uint64 * len(texts))(), 0
    for index, text in enumerate(texts):
        end += len(text)
        ends[index] = end
    tokens = ctypes.c_size_t()
    encode = native.text.nt_time_encode
    encode.restype = ctypes.c_uint64
    encode.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, *[ctypes.c_size_t] * 2]
    encode.argtypes += [ctypes.POINTER(ctypes.c_size_t)]
    arguments = (native.vocabulary, native.scratch, b"".join(texts), ends, len(texts), ROUNDS, ctypes.byref(tokens))
    nanoseconds = encode(*arguments)
    assert nanoseconds > 0, "a line was refused"
    return nanoseconds / 1e9, tokens.value


def seconds(call):
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return best


def kinds_of(lines, count):
    """Samples of lines by what they are made of."""
    random.Random(3).shuffle(lines)
    english = [line for line in lines if line.isascii()]
    return {
        "ASCII": english[:count],
        "ASCII, 40 lines in one": [" ".join(english[at : at + 40]) for at in range(0, count, 40)],
        "accents": [line for line in lines if not line.isascii() and max(line) < "\u0250"][:count],
        "Cyrillic": [line for line in lines if sum("а" <= c <= "я" for c in line) > 20][:count],
        "Chinese, Japanese": [line for line in lines if sum("一" <= c <= "鿿" for c in line) > 8][:count],
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("descriptions", type=Path)
    parser.add_argument("minilm", type=Path)
    parser.add_argument("gpt2_merges", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--lines", type=int, default=20_000)
    options = parser.parse_args()
    text = library(options.library)
    descriptions = options.descriptions.read_text().split("\n")
    made = {
        "WordPiece": next(variants.wordpieces(options.minilm)).description,
        "BPE": next(variants.byte_levels(options.gpt2_merges, descriptions)).description,
        "Unigram": next(variants.unigrams(descriptions)).description,
    }
    if not options.json:
        print("nanoseconds a token")
    for model, description in made.items():
        reference = Tokenizer.from_str(json.dumps(description))
        native = NativeTokenizer(text, json.dumps(description), best_isa())
        for kind, lines in kinds_of(descriptions, options.lines).items():
            own, tokens = ours(native, lines)
            peers = {"tokenizers": seconds(lambda lines=lines, one=reference: one.encode_batch(lines))}
            peers["tokenizers without offsets"] = seconds(
                lambda lines=lines, one=reference: one.encode_batch_fast(lines)
            )
            if model == "WordPiece":
                fast = nanotoken.Tokenizer(reference)
                peers["nanotoken without offsets"] = seconds(
                    lambda lines=lines, one=fast: one.encode_batch(lines, parallel=False)
                )
            for name, peer in peers.items():
                needed = NEEDED if name == "tokenizers" else 1
                ratio, unit = own / peer, 1e9 / tokens
                if options.json:
                    record = {"name": f"{model}, {kind}", "ours": own * unit, "peer": peer * unit, "peer_name": name}
                    record |= {"unit": "ns a token", "ratio": ratio, "needed": needed, "holds": ratio <= needed}
                    print(json.dumps(record), flush=True)
                else:
                    verdict = "holds" if ratio <= needed else "falls short"
                    print(
                        f"  {model:10}{kind:24}{own * unit:8.1f}   {name:28}{peer * unit:8.1f}"
                        f"   {ratio:6.3f} of {needed:4}   {verdict}",
                        flush=True,
                    )


main()
