#!/usr/bin/env python3
"""Imports static embeddings that model2vec wrote, and compares the answers with the library's.

    static.py TRAINER WORK       each folder in fp32, which must answer within 1e-5, and with int8
    static.py --fixture FOLDER   writes the small folder that unit tests and the handbook's examples read

Tokenizers of three kinds, with weights and without, with a vector for each token and with shared ones, of four types,
normalised and not. Prints a line for each, exits 1 where one fails.
"""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from model2vec import StaticModel
from tokenizers import Tokenizer

FIXTURES = Path(__file__).resolve().parents[1] / "text" / "fixtures"
TOLERANCE = 1e-5
COSINE = 0.995
# Tokens that the library cuts texts off to.
TOKENS_MAX = 512
WORDS = ["The", "quick", "brown", "fox", "naïve", "Übergänge", "模型", "服务", "é", "e\u0301", "again,", "x!", "42"]
WORDS += ["tokens", "zebra", "[MASK]", "[UNK]", "<unk>", "🦜"]


@dataclass
class Shape:
    """A tokenizer, and what the folder has beside the vectors."""

    tokenizer: str
    width: int = 64
    dtype: str = "float32"
    weighted: bool = False
    vectors: int = 0
    normalised: bool = True

    @property
    def name(self) -> str:
        words = [self.tokenizer, str(self.width), self.dtype] + ["weighted"] * self.weighted
        words += [f"{self.vectors} vectors"] * bool(self.vectors) + ["normalised"] * self.normalised
        return " ".join(words)


SHAPES = [
    Shape("word-pieces"),
    Shape("word-pieces", normalised=False),
    Shape("word-pieces", 256, weighted=True, vectors=50),
    Shape("word-pieces", 32, "float64", weighted=True, normalised=False),
    Shape("word-pieces", 32, "float16", vectors=20),
    Shape("word-pieces", 32, "int8"),
    Shape("byte-pairs", weighted=True, normalised=False),
    Shape("byte-pairs", 48, "float16"),
    Shape("unigrams"),
    Shape("unigrams", 100, weighted=True, vectors=30, normalised=False),
]


def made(shape: Shape, seed: int) -> StaticModel:
    chance = np.random.default_rng(seed)
    tokenizer = Tokenizer.from_file(str(FIXTURES / f"{shape.tokenizer}.json"))
    count = tokenizer.get_vocab_size()
    vectors = chance.normal(size=(shape.vectors or count, shape.width))
    vectors = np.rint(vectors * 40).clip(-127, 127) if shape.dtype == "int8" else vectors
    weights = chance.uniform(0, 2, size=count) if shape.weighted else None
    mapping = chance.integers(0, shape.vectors, size=count) if shape.vectors else None
    return StaticModel(
        vectors.astype(shape.dtype), tokenizer, {"model_type": "model2vec"}, shape.normalised,
        weights=weights, token_mapping=mapping,
    )  # fmt: skip


def texts(seed: int, count: int = 60) -> list[str]:
    chance = random.Random(seed)
    found = [" ".join(chance.choices(WORDS, k=chance.randint(1, 30))) for _ in range(count - 4)]
    return [*found, "", "zebra", "🦜", " ".join(chance.choices(WORDS, k=900))]


def answers(model: StaticModel, lines: list[str]) -> np.ndarray:
    """The mean that `encode` takes, in fp64 where it would be that of halves; its own answers must be close to it.

    `encode` cuts a long text off twice, first behind so many characters: here it is tokens alone.
    """
    rows = []
    for line in lines:
        ids = model.tokenizer.encode(line, add_special_tokens=False).ids[:TOKENS_MAX]
        ids = np.array([id_ for id_ in ids if id_ != model.unk_token_id], dtype=int)
        vectors = model.embedding[ids if model.token_mapping is None else model.token_mapping[ids]].astype(np.float64)
        if model.weights is not None:
            vectors *= model.weights[ids][:, None]
        mean = vectors.mean(0) if len(ids) else np.zeros(model.dim)
        length = np.linalg.norm(mean) if model.normalize else 1
        rows.append(mean / length if length else mean)
    found = np.array(rows)
    # The last text is the only one that is cut off.
    own = model.encode(lines[:-1], max_length=None)
    assert np.abs(own - found[:-1]).max() <= 2e-3 * max(1, np.abs(found).max()), "the library answers otherwise"
    return found


def write(folder: Path, model: StaticModel, lines: list[str]) -> None:
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    with (folder / "texts.csv").open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([["text"], *([line] for line in lines)])
    with (folder / "answers.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([f"embedding_{index}" for index in range(model.dim)])
        writer.writerows(answers(model, lines).tolist())


def imported(trainer: str, folder: Path, *options: str) -> dict:
    files = ["--data", str(folder / "texts.csv"), "--expected", str(folder / "answers.csv")]
    command = [trainer, "import", str(folder), "--json", "--model", "m", "--output", str(folder / "m.ntb"), *files]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def check(trainer: str, work: Path, shape: Shape, seed: int) -> bool:
    folder, lines = work / shape.name.replace(" ", "-"), texts(seed)
    write(folder, made(shape, seed), lines)
    exact = imported(trainer, folder, "--precision", "fp32")
    similarity = imported(trainer, folder)["int8_similarity"]
    int8 = "fp32 kept" if similarity is None else f"{similarity:.5f}"
    print(f"{shape.name:52} fp32 ± {exact['largest_difference']:.1e}  int8 {int8}", flush=True)
    good = exact["rows_compared"] == len(lines) and exact["largest_difference"] <= TOLERANCE
    return good and (similarity is None or similarity >= COSINE)


def main() -> int:
    if sys.argv[1] == "--fixture":
        write(Path(sys.argv[2]), made(Shape("word-pieces", 8, "float16", weighted=True), 3), texts(3, 12))
        return 0
    trainer, work = sys.argv[1], Path(sys.argv[2])
    return 0 if all([check(trainer, work, shape, seed) for seed, shape in enumerate(SHAPES)]) else 1


sys.exit(main())
