#!/usr/bin/env python3
"""Imports models of transformers with random weights, and MiniLM, and compares the answers with the library's.

    compare.py TRAINER WORK MINILM DESCRIPTIONS [--long] [--only WORDS]

Each model is imported in fp32, which must answer within 1e-4 of torch, and with int8. MiniLM answers 1,000 real
sentences: within 1e-4 in fp32, and in int8 with a mean cosine of at least 0.995. Entities and answers are served, too,
and compared as callers read them. Prints a line for each, exits 1 where one fails.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import models
import served
import torch
from tokenizers import Tokenizer
from transformers import BertModel

TOLERANCE = 1e-4
COSINE = 0.995


def imported(trainer: str, folder: Path, *options: str) -> dict:
    command = [trainer, "import", str(folder), "--json", "--output", str(folder / "model.ntb"), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def check(trainer: str, made: models.Folder) -> bool:
    """Compares the answers of one model."""
    options = ["--data", str(made.path / "texts.csv"), "--expected", str(made.path / "answers.csv"), "--model", "m"]
    if made.shape.pair and made.shape.head != "answer":
        options.append("--pair")
    if made.adapter is not None:
        options += ["--adapter", str(made.adapter)]
    exact = imported(trainer, made.path, *options, "--precision", "fp32")
    rounded = imported(trainer, made.path, *options)
    good = exact["rows_compared"] == len(made.texts) and exact["largest_difference"] <= TOLERANCE
    similarity = rounded["int8_similarity"]
    int8 = "fp32 kept" if similarity is None else f"{similarity:.5f}"
    print(f"{made.shape.name:58} fp32 ± {exact['largest_difference']:.1e}  int8 {int8}", flush=True)
    return good


def minilm(trainer: str, folder: Path, work: Path, descriptions: Path, count: int) -> bool:
    """The real MiniLM on real sentences."""
    lines = [line for line in descriptions.read_text().split("\n") if line]
    texts = random.Random(3).sample(lines, count)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    # sentence_bert_config.json says 256; the 128 of tokenizer.json are what it replaces.
    tokenizer.enable_truncation(256)
    model = BertModel.from_pretrained(folder).eval()
    shape = models.Shape("bert", 384, 6, 12, 1536)
    with (work / "sentences.csv").open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["text"], *([text] for text in texts)])
    with (work / "embeddings.csv").open("w", newline="") as file, torch.no_grad():
        writer = csv.writer(file)
        writer.writerow([f"embedding_{index}" for index in range(384)])
        for text in texts:
            ids = torch.tensor([tokenizer.encode(text).ids])
            tokens = model(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
            writer.writerow(models.pooled(tokens, shape).tolist())
    found = imported(
        trainer, folder, "--data", str(work / "sentences.csv"), "--expected", str(work / "embeddings.csv"),
        "--model", "minilm", "--output", str(work / "minilm.ntb"),
    )  # fmt: skip
    cosine, difference = found["library_similarity"], found["largest_difference"]
    print(f"MiniLM, {count} sentences: fp32 ± {difference:.1e}, int8 mean cosine {cosine:.5f}, {found['quantisation']}")
    return difference <= TOLERANCE and cosine >= COSINE and found["rows_compared"] == count


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("trainer")
    parser.add_argument("work", type=Path)
    parser.add_argument("minilm", type=Path)
    parser.add_argument("descriptions", type=Path)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    good = True
    placed: list[models.Folder] = []
    for round_ in range(5 if options.long else 1):
        for index, shape in enumerate(models.SHAPES):
            if options.only not in shape.name:
                continue
            folder = options.work / str(round_)
            made = models.Folder(shape, folder, 100 * round_ + index)
            good &= check(options.trainer, made)
            if shape.head in ("entities", "answer"):
                placed.append(made)
    if placed:
        good &= served.check(options.trainer, options.work, placed)
    if options.only in "MiniLM":
        good &= minilm(
            options.trainer, options.minilm, options.work, options.descriptions, 10_000 if options.long else 1000
        )
    print(f"{time.monotonic() - began:.0f} s")
    return 0 if good else 1


sys.exit(main())
