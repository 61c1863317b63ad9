"""Fine-tuning of what is added to an encoder, beside torch: narrow layers behind its layers."""

from __future__ import annotations

import copy
import csv
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradients import Training

EPOCHS = 4
RATE = 0.1
ACTIVATIONS = {"gelu": torch.nn.functional.gelu, "relu": torch.relu, "tanh": torch.tanh}
# Behind the attention, and behind the wide layers.
LAYERS = {
    "bert": {"output": "attention.output.dense", "outer": "output.dense"},
    "distilbert": {"output": "attention.out_lin", "outer": "ffn.lin2"},
}
LAYERS["roberta"] = LAYERS["bert"]


class Bottleneck(torch.nn.Module):
    """Two layers, few columns between them: Houlsby et al. (2019)."""

    def __init__(self, width: int, size: int, activation: str):
        super().__init__()
        self.down, self.up = torch.nn.Linear(width, size), torch.nn.Linear(size, width)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(self.activation(self.down(x)))


class Bottlenecks:
    """The mode `adapters` of one model."""

    mode = "adapters"

    def __init__(self, size: int, activation: str, targets: list[str]):
        self.size, self.activation, self.targets = size, activation, targets

    @property
    def settings(self) -> dict[str, str]:
        targets = ", ".join(self.targets)
        own = f"{{ size: {self.size}, activation: {self.activation}, targets: [{targets}] }}"
        return {"model__mode": self.mode, "model__adapters": own}

    def add(self, training: Training) -> None:
        for index in range(training.case.shape.layers):
            for target in self.targets:
                name = f"{training.layers}{index}.{LAYERS[training.case.shape.architecture][target]}"
                layer = training.folder.model.base_model.get_submodule(name)
                layer.adapter = Bottleneck(training.case.shape.width, self.size, self.activation)
                layer.register_forward_hook(lambda layer, _, y: y + layer.adapter(y))

    def learns(self, name: str) -> bool:
        """Whether a tensor of the body learns: the norms of the layers do, those of the tables do not."""
        return ".adapter." in name or ("norm" in name.lower() and not name.startswith("embeddings."))


def fitted(training: Training, added: Bottlenecks, tensors: dict[str, torch.Tensor]) -> Training:
    """The same model with what is added, its numbers those of a bundle."""
    own = copy.copy(training)
    own.folder = copy.copy(training.folder)
    own.folder.model = copy.deepcopy(training.folder.model)
    added.add(own)
    own.parts(tensors)
    with torch.no_grad():
        for full, parameter in own.folder.model.named_parameters():
            name = full.removeprefix(own.folder.model.base_model_prefix + ".")
            is_body = name.startswith(("embeddings.", own.layers))
            parameter.requires_grad_(not is_body or added.learns(name))
            parameter.grad = None
            if name in tensors and parameter.requires_grad:
                parameter.copy_(tensors[name])
    return own


def probabilities(path: str) -> torch.Tensor:
    """What a bundle answers for the rows of its test."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted(name for name in rows[0] if name.startswith("p_"))
    order = sorted(rows, key=lambda row: int(row["row"]))
    return torch.tensor([[float(row[name]) for name in names] for row in order])


def check(
    training: Training, added: Bottlenecks, steps: Callable[[Training, dict[str, str]], float], tolerance: float
) -> bool:
    """Whether gradients, losses and answers are torch's, and nothing else of the model changed.

    Training begins with nothing added, which some derivatives do not show: they are taken some steps later.
    """
    began, _ = training.run(f"{added.mode}-0", **added.settings, training__learning_rate=1e-12)
    fast = added.settings | {"training__learning_rate": RATE}
    before, _ = training.run(f"{added.mode}-before", **fast, training__epochs=EPOCHS)
    after, report = training.run(f"{added.mode}-after", **fast, training__epochs=EPOCHS + 1)
    own = fitted(training, added, before)
    loss = own.loss()
    off_loss = abs(loss.item() - report["learning"][EPOCHS]["loss"])
    loss.backward()
    gradients = own.named("grad")
    off, kept, largest = 0.0, True, 0.0
    for name, tensor in before.items():
        change = (tensor - after[name]) / RATE
        if name in gradients:
            off = max(off, (change - gradients[name]).abs().max().item())
            if added.learns(name):
                largest = max(largest, gradients[name].abs().max().item())
        else:
            kept &= bool((change == 0).all()) and bool((tensor == began[name]).all())
    with torch.no_grad():
        answers = torch.softmax(own.logits(), 1)
    found = probabilities(training.work / f"{added.mode}-before" / "predictions.csv")
    off_answers = (answers[: len(found)] - found).abs().max().item()
    losses = steps(fitted(training, added, began), added.settings)
    print(
        f"  {added.mode:8} {len(gradients)} tensors ± {off:.1e} of {largest:.1e}, loss ± {off_loss:.1e}, answers ± "
        f"{off_answers:.1e}, steps of AdamW ± {losses:.1e}" + ("" if kept else "; what should stay has changed"),
        flush=True,
    )
    return kept and largest > 1e-3 and max(off, off_loss, off_answers, losses) <= tolerance
