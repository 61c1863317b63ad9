"""Writes small tokenizers of every kind to `fixtures/`, and what Hugging Face's library makes of texts with them.

fixtures.py    needs tokenizers and sentencepiece

Unit tests read the tokenizers, cut and change them, and compare ids, offsets, words and token types.
"""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

import sentencepieces
import variants
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

FOLDER = Path(__file__).resolve().parent / "fixtures"
LINES = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "Predictions in microseconds on ordinary CPUs, without a failed request.",
    "Ein Modell wird geladen, geprüft und erst dann bedient; naïve Übergänge gibt es nicht.",
    "Un modèle est chargé, vérifié, puis servi: ça va très vite.",
    "模型 被 加载 和 检查 之后 才 提供 服务。",
    "tokens tokenizers tokenising tokenised models modelled loading loaded serving served",
]
TEXTS = [
    ["The quick brown fox."],
    ["naïve tokenizers, Übergänge & ça!"],
    ["模型服务 loaded  twice \t\n"],
    ["<mask> [MASK] unseen \U0001f600 é e\u0301"],
    [""],
    ["a first text", "and a second one, served"],
    ["x" * 120],
]


def word_pieces() -> dict:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(LINES * 4, trainer)
    bert = {"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]}
    return json.loads(tokenizer.to_str()) | {"post_processor": bert}


def byte_pairs() -> dict:
    roberta = {"type": "RobertaProcessing", "cls": ["<s>", 0], "sep": ["</s>", 2]}
    roberta |= {"trim_offsets": True, "add_prefix_space": False}
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    made = variants.bpe(variants.trained_merges(LINES * 7000, 400), special, post_processor=roberta)
    return variants.truncated(made, 24, "LongestFirst")


def unigrams() -> dict:
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        # Characters to characters, in hexadecimal: a small map in place of the 240 KB of NFKC.
        rules.write("65 301\tE9\nDC\tFC\nFF21\t41\n3C\t\n")
        rules.flush()
        trained = sentencepieces.trained(LINES * 4, 250, normalization_rule_tsv=rules.name)
    return variants.unigram(*trained)


def byte_offsets(text: str, spans: list) -> list[list[int]]:
    places = [len(text[:index].encode()) for index in range(len(text) + 1)]
    return [[places[start], places[end]] for start, end in spans]


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    expected = []
    for name, make in {"word-pieces": word_pieces, "byte-pairs": byte_pairs, "unigrams": unigrams}.items():
        random.seed(1)
        description = json.dumps(make(), ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(description + "\n")
        tokenizer = Tokenizer.from_str(description)
        for texts in TEXTS:
            found = tokenizer.encode(*texts)
            spans = zip(found.sequence_ids, found.offsets, strict=True)
            offsets = [byte_offsets(texts[sequence or 0], [span])[0] for sequence, span in spans]
            expected.append(
                {"tokenizer": name, "texts": texts, "ids": found.ids, "offsets": offsets, "words": found.word_ids}
                | {"types": found.type_ids}
            )
    (FOLDER / "expected.jsonl").write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in expected))


main()
