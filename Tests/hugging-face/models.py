"""Folders of models with random weights, and the answers of transformers, for `needletail-trainer import`."""

from __future__ import annotations

import csv
import json
import math
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import tokenizers
import torch
import transformers
from tokenizers import Tokenizer

FIXTURES = Path(__file__).resolve().parents[1] / "text" / "fixtures"
TOKENIZERS = {"bert": "word-pieces", "distilbert": "word-pieces", "roberta": "byte-pairs", "xlm-roberta": "unigrams"}
KINDS = {"embedding": "Model", "classification": "ForSequenceClassification"}
KINDS |= {"entities": "ForTokenClassification", "answer": "ForQuestionAnswering"}
ENTITY_LABELS = ["O", "B-PER", "I-PER", "I-LOC", "B-LOC", "MISC"]
ENTITY_KINDS = ["PER", "LOC", "MISC"]
ENTITIES_MAX, ANSWER_TOKENS_MAX = 64, 15
CLASSES = {"bert": "Bert", "distilbert": "DistilBert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta"}
WORDS = [
    "The",
    "quick",
    "brown",
    "fox",
    "naïve",
    "Übergänge",
    "modèle",
    "模型",
    "服务",
    "é",
    "e\u0301",
    "again,",
    "tokens",
]
WORDS += ["tokenised", "x!", "42", "<mask>", "[MASK]"]


@dataclass
class Shape:
    """Architecture, sizes, head, and how the folder is imported."""

    architecture: str
    width: int
    layers: int
    heads: int
    inner: int
    head: str = "embedding"
    labels: int = 0
    problem: str | None = None
    pooling: str = "mean"
    normalised: bool = True
    pair: bool = False
    dtype: str = "float32"
    adapter: bool = False
    extra: dict = field(default_factory=dict)

    @property
    def name(self) -> str:
        words = [self.architecture, f"{self.layers}x{self.width}", self.head]
        words += [self.pooling] if self.head == "embedding" else []
        words += [self.problem or f"{self.labels} labels"] if self.head == "classification" else []
        words += ["pair"] * self.pair + ["adapter"] * self.adapter + [self.dtype] * (self.dtype != "float32")
        return " ".join(words)


SHAPES = [
    Shape("bert", 32, 1, 2, 64),
    Shape("bert", 48, 2, 4, 80, pooling="max", normalised=False),
    Shape("bert", 128, 3, 8, 256, pooling="cls", dtype="float16"),
    Shape("distilbert", 64, 2, 4, 128),
    Shape("roberta", 64, 2, 4, 128, pooling="cls"),
    Shape("xlm-roberta", 80, 2, 5, 160),
    Shape("bert", 64, 2, 4, 128, head="classification", labels=3),
    Shape("bert", 64, 2, 4, 128, head="classification", labels=2, pair=True),
    Shape("bert", 32, 2, 2, 64, head="classification", labels=1),
    Shape("bert", 32, 2, 2, 64, head="classification", labels=4, problem="multi_label_classification"),
    Shape("bert", 32, 2, 2, 64, head="classification", labels=2, extra={"hidden_act": "relu"}),
    Shape("distilbert", 64, 2, 4, 128, head="classification", labels=3),
    Shape("distilbert", 48, 1, 3, 96, head="classification", labels=1, problem="regression"),
    Shape("roberta", 64, 2, 4, 128, head="classification", labels=3, dtype="bfloat16"),
    Shape("roberta", 64, 2, 4, 128, head="classification", labels=2, pair=True),
    Shape("xlm-roberta", 80, 2, 5, 160, head="classification", labels=3),
    Shape("bert", 64, 2, 4, 128, head="entities"),
    Shape("distilbert", 48, 2, 4, 96, head="entities"),
    Shape("bert", 64, 2, 4, 128, head="answer", pair=True),
    Shape("distilbert", 48, 2, 4, 96, head="answer", pair=True),
    Shape("roberta", 64, 2, 4, 128, head="answer", pair=True),
    Shape("bert", 64, 2, 4, 128, head="classification", labels=3, adapter=True),
    Shape("roberta", 64, 2, 4, 128, head="classification", labels=2, adapter=True),
    Shape("distilbert", 64, 2, 4, 128, adapter=True),
]


def configuration(shape: Shape, vocabulary: int) -> transformers.PretrainedConfig:
    common = {"vocab_size": vocabulary, "max_position_embeddings": 80} | shape.extra
    if shape.labels:
        common |= {"num_labels": shape.labels, "problem_type": shape.problem}
        common["id2label"] = {index: f"class {index}" for index in range(shape.labels)}
    if shape.head == "entities":
        common |= {"num_labels": len(ENTITY_LABELS), "id2label": dict(enumerate(ENTITY_LABELS))}
    made = getattr(transformers, CLASSES[shape.architecture] + "Config")
    if shape.architecture == "distilbert":
        sizes = {"dim": shape.width, "n_layers": shape.layers, "n_heads": shape.heads, "hidden_dim": shape.inner}
        return made(**common, **sizes)
    sizes = {"hidden_size": shape.width, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads}
    types = 1 if "roberta" in shape.architecture else 2
    return made(**common, **sizes, intermediate_size=shape.inner, type_vocab_size=types)


def shaken(model: torch.nn.Module, scale: float = 0.15) -> torch.nn.Module:
    """No parameter stays what initialisation made of it: biases of zero would hide faults."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * scale)
    return model.eval()


def sentences(seed: int, count: int, words: list[str] = WORDS) -> list[str]:
    chance = random.Random(seed)
    made = [" ".join(chance.choices(words, k=chance.randint(1, 30))) for _ in range(count - 3)]
    return [*made, "", "x", " ".join(chance.choices(words, k=120))]


def sentence_modules(folder: Path, shape: Shape) -> None:
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")] + [("2_Normalize", "Normalize")] * shape.normalised
    listed = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    modes = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "sqrt": "mean_sqrt_len_tokens"}
    pooling = {f"pooling_mode_{key}": mode == shape.pooling for mode, key in modes.items()}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling | {"word_embedding_dimension": shape.width}))


def pooled(tokens: torch.Tensor, shape: Shape) -> torch.Tensor:
    vector = {"mean": tokens.mean(0), "max": tokens.max(0).values, "cls": tokens[0]}[shape.pooling]
    return torch.nn.functional.normalize(vector, dim=0) if shape.normalised else vector


def answer(found: tokenizers.Encoding, text: str, starts: list[float], ends: list[float]) -> tuple[float, float, float]:
    """The best place in the second text, in bytes, and its score: plain loops over the pipeline's definition."""
    own = [index for index, sequence in enumerate(found.sequence_ids) if sequence == 1]
    if not own:
        return 0, 0, 0
    counted = own if 0 in own else [0, *own]

    def share(logits: list[float], index: int) -> float:
        return 1 / sum(math.exp(logits[other] - logits[index]) for other in counted)

    pairs = [(s, e) for s in own for e in own if s <= e < s + ANSWER_TOKENS_MAX]
    start, end = max(pairs, key=lambda pair: starts[pair[0]] + ends[pair[1]])
    places = [len(text[:place].encode()) for place in (found.offsets[start][0], found.offsets[end][1])]
    return places[0], places[1], share(starts, start) * share(ends, end)


class Folder:
    """A model in a folder, its texts in texts.csv and the library's answers in answers.csv."""

    def __init__(self, shape: Shape, work: Path, seed: int, texts: int = 40):
        torch.manual_seed(seed)
        self.shape, self.path = shape, work / shape.name.replace(" ", "-")
        self.path.mkdir(parents=True)
        fixture = FIXTURES / f"{TOKENIZERS[shape.architecture]}.json"
        self.tokenizer = Tokenizer.from_file(str(fixture))
        kind = CLASSES[shape.architecture] + KINDS[shape.head]
        made = configuration(shape, self.tokenizer.get_vocab_size() + 5)
        self.model = shaken(getattr(transformers, kind)(made)).to(getattr(torch, shape.dtype))
        self.model.save_pretrained(self.path)
        self.model = self.model.float()
        shutil.copy(fixture, self.path / "tokenizer.json")
        if shape.head == "embedding":
            sentence_modules(self.path, shape)
        self.adapter = self.trained_adapter(work, seed) if shape.adapter else None
        offset = 2 if "roberta" in shape.architecture else 0
        self.tokenizer.enable_truncation(80 - offset)
        # The pipeline takes a letter whose mark is a character of its own for a part of the word before it.
        words = [word for word in WORDS if shape.head != "entities" or word != "e\u0301"]
        self.texts = sentences(seed, texts, words)
        self.pipeline: transformers.TokenClassificationPipeline | None = None
        self.write()

    def trained_adapter(self, work: Path, seed: int) -> Path:
        import peft

        task = "SEQ_CLS" if self.shape.head == "classification" else "FEATURE_EXTRACTION"
        layers = ["q_lin", "v_lin", "lin1"] if self.shape.architecture == "distilbert" else ["query", "value", "dense"]
        asked = peft.LoraConfig(task_type=task, r=4, lora_alpha=6, target_modules=layers, use_rslora=seed % 2 == 0)
        self.model = shaken(peft.get_peft_model(self.model, asked), 0.05)
        folder = work / (self.path.name + "-lora")
        self.model.save_pretrained(folder)
        # What was shaken beside the adapter is the base model now.
        base = self.path / "base"
        return self.with_base_of(folder, base)

    def with_base_of(self, folder: Path, scratch: Path) -> Path:
        """Saves the base model again, without the adapter's layers around it."""
        import peft

        plain = type(self.model.get_base_model())(self.model.get_base_model().config)
        states = {
            name.replace(".base_layer", "").replace("modules_to_save.default.", ""): value
            for name, value in self.model.get_base_model().state_dict().items()
            if "lora_" not in name and "original_module" not in name
        }
        plain.load_state_dict(states)
        plain.save_pretrained(self.path)
        self.model = peft.PeftModel.from_pretrained(plain.eval(), folder).eval()
        return folder

    def rows(self) -> list[tuple[str, ...]]:
        if not self.shape.pair:
            return [(text,) for text in self.texts]
        return list(zip(self.texts, self.texts[1:] + self.texts[:1], strict=True))

    @torch.no_grad()
    def answer(self, row: tuple[str, ...]) -> dict[str, float | str]:
        found = self.tokenizer.encode(*row)
        inputs = {"input_ids": torch.tensor([found.ids]), "attention_mask": torch.ones(1, len(found.ids))}
        if self.shape.architecture == "bert":
            inputs["token_type_ids"] = torch.tensor([found.type_ids])
        output = self.model(**inputs)
        if self.shape.head == "embedding":
            return {f"embedding_{i}": x for i, x in enumerate(pooled(output.last_hidden_state[0], self.shape).tolist())}
        if self.shape.head == "entities":
            return {f"entities_{i}": x for i, x in enumerate(self.entities(row[0]))}
        if self.shape.head == "answer":
            scores = output.start_logits[0].tolist(), output.end_logits[0].tolist()
            return {f"answer_{i}": x for i, x in enumerate(answer(found, row[1], *scores))}
        logits = output.logits[0]
        if self.shape.problem == "multi_label_classification":
            return {f"p_class {i}": p for i, p in enumerate(torch.sigmoid(logits).tolist())}
        if self.shape.labels == 1:
            return {"prediction": logits.item()}
        return {f"p_class {i}": p for i, p in enumerate(torch.softmax(logits, 0).tolist())}

    def entities(self, text: str) -> list[float]:
        """Kind, first byte, end and score of each entity, by the pipeline of transformers."""
        if self.pipeline is None:
            fast = transformers.PreTrainedTokenizerFast(
                tokenizer_object=Tokenizer.from_str(self.tokenizer.to_str()), model_max_length=80, unk_token="[UNK]"
            )
            names = ["input_ids", "attention_mask"] + ["token_type_ids"] * (self.shape.architecture == "bert")
            fast.model_input_names = names
            self.pipeline = transformers.TokenClassificationPipeline(
                model=self.model, tokenizer=fast, aggregation_strategy="first"
            )
        numbers: list[float] = []
        for found in (self.pipeline(text) if text else [])[:ENTITIES_MAX]:
            places = [len(text[: found[end]].encode()) for end in ("start", "end")]
            numbers += [ENTITY_KINDS.index(found["entity_group"]), *places, float(found["score"])]
        return numbers + [-1, 0, 0, 0] * (ENTITIES_MAX - len(numbers) // 4)

    def write(self) -> None:
        rows = self.rows()
        answers = [self.answer(row) for row in rows]
        with (self.path / "texts.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            names = ["question", "context"] if self.shape.head == "answer" else ["text", "pair"]
            writer.writerow(names[: len(rows[0])])
            # In quotes, so that an empty text is a text.
            csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
        with (self.path / "answers.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(answers[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(answers)
