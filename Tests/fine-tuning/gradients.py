#!/usr/bin/env python3
"""Fine-tunes encoders with random weights, and holds every gradient and the losses of training to torch's.

    gradients.py TRAINER WORK

A step of plain gradient descent leaves the gradient of each tensor as a difference of weights, which the bundle holds:
within 1e-4 of torch's, for every layer. Eight steps of AdamW, with decay, clipping and a learning rate that falls, have
torch's losses within 1e-4. So have narrow layers and prefixes that are added to the body, and what is served answers as
torch does. Low-rank matrices change the layers that they are asked for and no others, by their rank.
Prints a line for each, exits 1 where one fails.
"""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import additions
import bundle
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "hugging-face"))
import models

TOLERANCE = 1e-4
ROWS = 24
RATE = 0.1
STEPS = 8


@dataclass
class Case:
    """A model, and how its tokens are pooled."""

    shape: models.Shape
    pooling: str
    added: additions.Bottlenecks | additions.Prefixes | None = None

    @property
    def classes(self) -> int:
        return self.shape.labels

    @property
    def name(self) -> str:
        return f"{self.shape.architecture} {self.shape.layers}x{self.shape.width} {self.pooling} {self.classes}"


def classifier(architecture: str, labels: int, *sizes: int) -> models.Shape:
    return models.Shape(architecture, *sizes, head="classification", labels=labels)


CASES = [
    Case(classifier("bert", 3, 64, 2, 4, 128), "cls", additions.Bottlenecks(8, "gelu", ["output", "outer"])),
    Case(classifier("bert", 2, 48, 3, 4, 80), "mean", additions.Prefixes(5)),
    Case(classifier("distilbert", 4, 64, 2, 4, 128), "cls", additions.Bottlenecks(5, "relu", ["outer"])),
    Case(classifier("roberta", 3, 64, 2, 4, 128), "cls", additions.Prefixes(3)),
    Case(classifier("bert", 1, 40, 2, 5, 72), "cls"),
]


class Training:
    """One model, its rows, and runs of the trainer on them."""

    def __init__(self, trainer: str, work: Path, case: Case, seed: int):
        self.trainer, self.case, self.work = trainer, case, work / case.name.replace(" ", "-")
        self.folder = models.Folder(case.shape, self.work, seed, texts=4)
        chance = random.Random(seed)
        self.texts = [" ".join(chance.choices(models.WORDS, k=chance.randint(1, 20))) + f" {n}" for n in range(ROWS)]
        self.targets = [chance.gauss(5, 2) if case.classes == 1 else row % case.classes for row in range(ROWS)]
        with (self.work / "rows.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "target", "part"])
            for row, (text, target) in enumerate(zip(self.texts, self.targets, strict=True)):
                named = target if case.classes == 1 else f"class {target}"
                writer.writerow([text, named, "train"])
                if row < 2 * case.classes:
                    writer.writerow([text, named, "test"])

    def run(self, name: str, **settings: object) -> tuple[dict[str, torch.Tensor], dict]:
        """Tensors of the bundle, and the report."""
        task = "regression" if self.case.classes == 1 else "classification"
        (self.work / "run.yaml").write_text(
            f"""
            data: {{ files: [rows.csv] }}
            features: {{ columns: {{ text: {{ type: text }} }} }}
            target: {{ column: target, task: {task} }}
            split: {{ column: part }}
            model: {{ family: encoder, base: {self.folder.path}, pooling: {self.case.pooling}, dropout: 0 }}
            training:
              {{ epochs: 1, batch_size: 1000, patience: 0, optimiser: sgd, momentum: 0, weight_decay: 0, warmup: 0,
                gradient_clip: 0, schedule: constant, threads: 1 }}
            quantisation: {{ precision: fp32 }}
            tracking: {{ record: false }}
            """
        )
        sets = [f"--set={key.replace('__', '.')}={value}" for key, value in settings.items()]
        command = [self.trainer, "train", str(self.work / "run.yaml"), "--output", str(self.work / name), *sets]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stderr}")
        report = json.loads((self.work / name / "report.json").read_text())
        return bundle.tensors(self.work / name / "model.ntb"), report

    # Torch's side.

    def parts(self, first: dict[str, torch.Tensor]) -> None:
        """Sets what the trainer drew: the scores, and perhaps the layer in front of them."""
        names = {"bert": "classifier", "distilbert": "classifier", "roberta": "classifier.out_proj"}
        scores = self.folder.model.get_submodule(names[self.case.shape.architecture])
        deviation, mean = self.scale
        with torch.no_grad():
            scores.weight.copy_(first["scores.weight"] / deviation)
            scores.bias.copy_((first["scores.bias"] - mean) / deviation)
        self.scores = scores

    @property
    def scale(self) -> tuple[float, float]:
        """Deviation and mean of the targets, at which they are learned."""
        if self.case.classes > 1:
            return 1, 0
        targets = torch.tensor(self.targets, dtype=torch.float64)
        return targets.std(correction=0).item(), targets.mean().item()

    @property
    def layers(self) -> str:
        return "transformer.layer." if self.case.shape.architecture == "distilbert" else "encoder.layer."

    def logits(self) -> torch.Tensor:
        found = [self.folder.tokenizer.encode(text) for text in self.texts]
        longest = max(len(one.ids) for one in found)
        ids = torch.zeros(ROWS, longest, dtype=torch.long)
        mask = torch.zeros(ROWS, longest)
        if self.case.shape.architecture == "roberta":
            ids += self.folder.model.config.pad_token_id
        for row, one in enumerate(found):
            ids[row, : len(one.ids)] = torch.tensor(one.ids)
            mask[row, : len(one.ids)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self.case.pooling == "mean":
            state = self.folder.model.base_model(**inputs).last_hidden_state * mask[:, :, None]
            return self.scores(state.sum(1) / mask.sum(1)[:, None])
        return self.folder.model(**inputs).logits

    def loss(self) -> torch.Tensor:
        logits = self.logits()
        if self.case.classes == 1:
            deviation, mean = self.scale
            targets = torch.tensor([(target - mean) / deviation for target in self.targets])
            return ((logits[:, 0] - targets) ** 2).mean()
        return torch.nn.functional.cross_entropy(logits, torch.tensor(self.targets))

    def named(self, kind: str) -> dict[str, torch.Tensor]:
        """Weights or gradients of torch's parameters, under the names of the bundle's tensors."""
        prefix = self.folder.model.base_model_prefix + "."
        own = {}
        for name, parameter in self.folder.model.named_parameters():
            value = parameter.grad if kind == "grad" else parameter.detach()
            if value is not None:
                own[additions.named(name.removeprefix(prefix), self.layers)] = value
        distilled = self.case.shape.architecture == "distilbert"
        found = {}
        if "embeddings.word_embeddings.weight" in own:
            found["words.weight"] = own.pop("embeddings.word_embeddings.weight")
            found["positions.weight"] = own.pop("embeddings.position_embeddings.weight")
            if not distilled:
                # A single text is of type 0, whose row the bundle adds to each position.
                found["positions.weight"] = (
                    found["positions.weight"] + own.pop("embeddings.token_type_embeddings.weight")[0]
                )
        for layer in range(self.case.shape.layers):
            start = f"{self.layers}{layer}.attention."
            names = ["q_lin", "k_lin", "v_lin"] if distilled else ["self.query", "self.key", "self.value"]
            for part in ["weight", "bias"]:
                stacked = [own.pop(f"{start}{name}.{part}", None) for name in names]
                if stacked[0] is not None:
                    found[f"layer {layer} q, k, v.{part}"] = torch.cat(stacked)
        for name, value in own.items():
            if name.startswith(("classifier.out_proj.", "classifier.")) and "dense" not in name:
                part = name.rpartition(".")[2]
                deviation, mean = self.scale
                shift = mean if kind != "grad" and part == "bias" else 0
                found[f"scores.{part}"] = value * deviation + shift
            else:
                found[name] = value
        return found


def worst(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> tuple[float, str]:
    """The largest difference of two sets of tensors, and where it is."""
    absent = set(expected) ^ set(found)
    if absent:
        sys.exit(f"expected the same tensors, found only on one side: {sorted(absent)}")
    return max(((found[name] - expected[name]).abs().max().item(), name) for name in expected)


def check(trainer: str, work: Path, case: Case, seed: int) -> bool:
    training = Training(trainer, work, case, seed)
    first, _ = training.run("first", training__learning_rate=1e-12)
    second, report = training.run("second", training__learning_rate=RATE)
    training.parts(first)
    start = training.named("data")
    unused = [name for name in start if case.pooling == "mean" and name.startswith("pooler.")]
    for name in unused:
        del start[name]
    begins, _ = worst(first, start)
    loss = training.loss()
    loss.backward()
    gradients = training.named("grad")
    # Targets of a regression are learned at a scale, which the scores that are served undo.
    descended = {name: (first[name] - second[name]) / RATE for name in first}
    off, place = worst(descended, gradients)
    off_loss = abs(loss.item() - report["learning"][0]["loss"])
    again, _ = training.run("again", training__learning_rate=RATE, training__gradient_checkpointing="true",
                            training__accumulation=3)  # fmt: skip
    apart, _ = worst(again, second)
    # In front of the steps, which move torch's side.
    good = case.added is None or additions.check(training, case.added, steps, TOLERANCE)
    losses = steps(training, {})
    print(
        f"{case.name:24} {len(gradients)} tensors ± {off:.1e} ({place}), loss ± {off_loss:.1e}, "
        f"in parts ± {apart:.1e}, {STEPS} steps of AdamW ± {losses:.1e}",
        flush=True,
    )
    return good and begins < 1e-6 and max(off, off_loss, apart, losses) <= TOLERANCE and low_rank(training, first)


def steps(training: Training, mode: dict[str, str]) -> float:
    """The largest difference of a loss in some steps of AdamW."""
    settings = {"epochs": STEPS, "optimiser": "adamw", "weight_decay": 0.05, "gradient_clip": 1, "learning_rate": 1e-3}
    settings |= {"schedule": "linear", "warmup": 0.25}
    _, report = training.run("adamw", **mode, **{f"training__{key}": value for key, value in settings.items()})
    plain, decaying = [], []
    for name, parameter in training.folder.model.named_parameters():
        if not parameter.requires_grad:
            continue
        norm = "norm" in name.lower()
        (plain if norm or name.endswith(".bias") else decaying).append(parameter)
    optimiser = torch.optim.AdamW([{"params": decaying, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0}])
    warm = int(STEPS * 0.25)
    largest = 0.0
    for step in range(STEPS):
        share = (step + 1) / warm if step < warm else 1 - (step - warm) / (STEPS - warm)
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * share
        optimiser.zero_grad()
        loss = training.loss()
        largest = max(largest, abs(loss.item() - report["learning"][step]["loss"]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in plain + decaying if p.grad is not None], 1)
        optimiser.step()
    return largest


def low_rank(training: Training, first: dict[str, torch.Tensor]) -> bool:
    """Whether low-rank matrices change the layers asked for and no others, by at most their rank."""
    lora = "{ rank: 3, alpha: 6, targets: [query, value] }"
    tuned, report = training.run("lora", model__mode="lora", model__lora=lora, training__epochs=3,
                                 training__learning_rate=RATE)  # fmt: skip
    width = training.case.shape.width
    good = True
    for name, tensor in tuned.items():
        change = tensor - first[name]
        if name.endswith("q, k, v.weight"):
            for part, learns in [(0, True), (1, False), (2, True)]:
                own = change[part * width : (part + 1) * width].double()
                sizes = torch.linalg.svdvals(own)
                good &= (
                    bool(sizes[0] > 1e-5 and sizes[3] < 1e-3 * sizes[0] + 1e-6) if learns else bool((own == 0).all())
                )
        elif name.startswith(("layer", "encoder.", "transformer.", "embeddings.", "words", "positions")):
            good &= bool((change == 0).all())
    modes = {mode["mode"]: mode for mode in report["cost"]["modes"]}
    good &= modes["lora"]["learning"] < modes["full"]["learning"] == report["cost"]["parameters"]
    if not good:
        print(f"{training.case.name}: low-rank matrices changed what they should not, or not what they should")
    return good


def main() -> int:
    trainer, work = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    began = time.monotonic()
    good = True
    for seed, case in enumerate(CASES):
        good &= check(trainer, work, case, seed)
    print(f"{time.monotonic() - began:.0f} s")
    return 0 if good else 1


sys.exit(main())
