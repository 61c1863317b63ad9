"""Fine-tuning of what is added to an encoder, beside torch: narrow layers, and keys and values in front of a text's."""

from __future__ import annotations

import copy
import csv
from typing import TYPE_CHECKING

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradients import Training

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
    # Steps in front of the one that is compared: at the beginning the second layer is 0, which hides the first.
    epochs = 4

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


class Prefix(torch.nn.Module):
    """Keys and values that every token attends to: Li and Liang (2021)."""

    def __init__(self, tokens: int, width: int):
        super().__init__()
        self.keys = torch.nn.Parameter(torch.zeros(tokens, width))
        self.values = torch.nn.Parameter(torch.zeros(tokens, width))


def attend(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None,
    scaling: float | None = None, **_: object,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Attention of transformers with the prefix of a layer in front; mask: True where a token is."""
    rows, heads, tokens, width = query.shape
    front = [part.view(-1, heads, width).transpose(0, 1) for part in (module.prefix.keys, module.prefix.values)]
    key, value = (torch.cat([p.expand(rows, -1, -1, -1), x], 2) for p, x in zip(front, (key, value), strict=True))
    scores = query @ key.transpose(2, 3) * (scaling or width**-0.5)
    if mask is not None:
        every = torch.ones(rows, 1, tokens, front[0].shape[1], dtype=torch.bool)
        seen = torch.cat([every, mask.expand(rows, 1, tokens, -1)], 3)
        scores = scores.masked_fill(~seen, -torch.inf)
    return (torch.softmax(scores, 3) @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register("prefixed", attend)
AttentionMaskInterface.register("prefixed", sdpa_mask)


class Prefixes:
    """The mode `prefix` of one model."""

    mode = "prefix"
    epochs = 1

    def __init__(self, tokens: int):
        self.tokens = tokens

    @property
    def settings(self) -> dict[str, str]:
        return {"model__mode": self.mode, "model__prefix": f"{{ tokens: {self.tokens} }}"}

    def add(self, training: Training) -> None:
        own = "attention" if training.case.shape.architecture == "distilbert" else "attention.self"
        for index in range(training.case.shape.layers):
            layer = training.folder.model.base_model.get_submodule(f"{training.layers}{index}.{own}")
            layer.prefix = Prefix(self.tokens, training.case.shape.width)
        training.folder.model.config._attn_implementation = "prefixed"

    def learns(self, name: str) -> bool:
        return ".prefix." in name


def named(name: str, layers: str) -> str:
    """The bundle's name of a parameter of torch that is a prefix's; others are as they were."""
    if ".prefix." not in name:
        return name
    layer = name.removeprefix(layers).partition(".")[0]
    return f"layer {layer} attention.prefix.{name.rpartition('.')[2]}"


def fitted(training: Training, added: Bottlenecks | Prefixes, tensors: dict[str, torch.Tensor]) -> Training:
    """The same model with what is added, its numbers those of a bundle."""
    own = copy.copy(training)
    own.folder = copy.copy(training.folder)
    own.folder.model = copy.deepcopy(training.folder.model)
    added.add(own)
    own.parts(tensors)
    with torch.no_grad():
        for full, parameter in own.folder.model.named_parameters():
            name = named(full.removeprefix(own.folder.model.base_model_prefix + "."), own.layers)
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
    training: Training,
    added: Bottlenecks | Prefixes,
    steps: Callable[[Training, dict[str, str]], float],
    tolerance: float,
) -> bool:
    """Whether gradients, losses and answers are torch's, and nothing else of the model changed.

    Training begins with nothing added, which some derivatives do not show: they are taken some steps later.
    """
    began, _ = training.run(f"{added.mode}-0", **added.settings, training__learning_rate=1e-12)
    fast = added.settings | {"training__learning_rate": RATE}
    before, _ = training.run(f"{added.mode}-before", **fast, training__epochs=added.epochs)
    after, report = training.run(f"{added.mode}-after", **fast, training__epochs=added.epochs + 1)
    own = fitted(training, added, before)
    loss = own.loss()
    off_loss = abs(loss.item() - report["learning"][added.epochs]["loss"])
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
    # A difference of weights is rounded, which the gradients of what is added have to exceed by far.
    return kept and largest > 20 * off and max(off, off_loss, off_answers, losses) <= tolerance
