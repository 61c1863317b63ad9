"""The tokenizers that are compared: a real vocabulary with every setting, and vocabularies trained on the spot."""

import base64
import copy
import itertools
import json
import random
from typing import NamedTuple

import sentencepieces
import texts
from tokenizers import Tokenizer, models, pre_tokenizers, trainers


class Variant(NamedTuple):
    """A tokenizer.json, and how to call it."""

    name: str
    description: dict
    special: bool = True
    pairs: bool = False
    characters: bool = False

    def lines(self, step, first):
        """Lines besides those that all tokenizers see: one for every `step`-th character."""
        return itertools.islice(texts.all_characters(), first % step, None, step) if self.characters else ()


def added(content, id_, **properties):
    names = ("single_word", "lstrip", "rstrip", "normalized")
    return {"id": id_, "content": content, "special": False} | {name: properties.get(name, False) for name in names}


def extend(description, *tokens):
    """Adds tokens, with the model's id where it has them, else with new ones."""
    vocabulary = description["model"]["vocab"]
    if isinstance(vocabulary, list):
        vocabulary = {token: id_ for id_, (token, _) in enumerate(vocabulary)}
    new = itertools.count(max([len(vocabulary) - 1, *(token["id"] for token in description["added_tokens"])]) + 1)
    made = [
        token | {"id": vocabulary[token["content"]] if token["content"] in vocabulary else next(new)}
        for token in tokens
    ]
    return description | {"added_tokens": description["added_tokens"] + made}


def truncated(description, tokens, strategy):
    return description | {"truncation": {"direction": "Right", "max_length": tokens, "strategy": strategy, "stride": 0}}


def normalised(description, **settings):
    made = copy.deepcopy(description)
    made["normalizer"] |= settings
    return made


def wordpieces(folder):
    minilm = json.loads((folder / "tokenizer.json").read_text()) | {"padding": None, "truncation": None}
    extended = extend(
        minilm,
        added("Debian", 0, single_word=True),
        added("naïve", 0, normalized=True),
        added("the é", 0, normalized=True, rstrip=True),
        added("<mask>", 0, lstrip=True),
        added("了", 0, rstrip=True, lstrip=True),
        added("lib", 0, single_word=True, normalized=True),
        added("  ", 0),
        added("</s></s>", 0),
        added("</s>", 0, rstrip=True),
    )
    short = copy.deepcopy(minilm)
    short["model"]["max_input_chars_per_word"] = 7
    bert = {"type": "BertProcessing", "cls": ["[CLS]", 101], "sep": ["[SEP]", 102]}
    cased = {"lowercase": False, "strip_accents": None}
    yield Variant("WordPiece, MiniLM", minilm, characters=True)
    yield Variant("WordPiece, longest first to 17", truncated(minilm, 17, "LongestFirst"), pairs=True)
    yield Variant("WordPiece, longest first to 12", truncated(minilm, 12, "LongestFirst"), pairs=True)
    yield Variant("WordPiece, only the first to 9", truncated(minilm, 9, "OnlyFirst"), pairs=True)
    yield Variant("WordPiece, only the second to 30", truncated(minilm, 30, "OnlySecond"), pairs=True)
    yield Variant("WordPiece, to the special tokens", truncated(minilm, 3, "LongestFirst"), pairs=True)
    yield Variant("WordPiece, without special tokens", truncated(minilm, 8, "LongestFirst"), special=False, pairs=True)
    yield Variant("WordPiece, added tokens", extended, pairs=True)
    yield Variant("WordPiece, added tokens to 11", truncated(extended, 11, "LongestFirst"), pairs=True)
    yield Variant("WordPiece, words of 7 characters", short)
    yield Variant("WordPiece, BertProcessing", minilm | {"post_processor": bert}, pairs=True)
    yield Variant("WordPiece, no template", minilm | {"post_processor": None}, pairs=True)
    yield Variant("WordPiece, cased", normalised(minilm, **cased), characters=True)
    yield Variant("WordPiece, accents kept", normalised(minilm, strip_accents=False), characters=True)
    yield Variant("WordPiece, accents stripped, cased", normalised(minilm, lowercase=False, strip_accents=True))
    yield Variant("WordPiece, not cleaned", normalised(minilm, clean_text=False), characters=True)
    yield Variant("WordPiece, ideographs joined", normalised(minilm, handle_chinese_chars=False))


def alphabet():
    """The characters of GPT-2's alphabet by the bytes that they stand for, in the order of GPT-2's ids."""
    visible = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    return [chr(byte) for byte in visible] + [chr(0x100 + index) for index in range(len(others))]


def bpe(merges, special, **settings):
    """A byte-level tokenizer.json from merges in the order of their ranks."""
    tokens = [*special, *alphabet(), *dict.fromkeys(left + right for left, right in merges)]
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None}
    model |= {"end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    model |= {"vocab": {token: id_ for id_, token in enumerate(tokens)}, "merges": [list(merge) for merge in merges]}
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    description = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added(token, id_, lstrip=token == "<mask>") for id_, token in enumerate(special)],
        "normalizer": None,
        "pre_tokenizer": byte_level | {"add_prefix_space": False},
        "post_processor": byte_level | {"add_prefix_space": True, "trim_offsets": False},
        "decoder": None,
        "model": model,
    }
    return description | settings


def trained_merges(descriptions, size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(random.Random(1).sample(descriptions, 40_000), trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]


def byte_levels(gpt2_merges, descriptions):
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    gpt2 = bpe([line.split() for line in gpt2_merges.read_text().splitlines()[1:] if line], ["<|endoftext|>"])
    trained = bpe(trained_merges(descriptions, 8000), special)
    byte_level = trained["pre_tokenizer"]
    roberta = {"type": "RobertaProcessing", "cls": ["<s>", 0], "sep": ["</s>", 2]}
    roberta |= {"trim_offsets": True, "add_prefix_space": False}
    like_roberta = trained | {"post_processor": roberta}
    prefixed = like_roberta | {
        "pre_tokenizer": byte_level | {"add_prefix_space": True},
        "post_processor": roberta | {"add_prefix_space": True},
    }
    extended = extend(
        prefixed,
        added(" zwei", 0, normalized=True),
        added("the", 0, single_word=True, lstrip=True, rstrip=True),
        added("  ", 0, normalized=True),
        added("package", 0, normalized=True, lstrip=True),
    )
    ignoring = copy.deepcopy(trained)
    ignoring["model"]["ignore_merges"] = True
    # Without the merges of its first half, many tokens of the other half are out of reach.
    ignoring["model"]["merges"] = [m for i, m in enumerate(trained["model"]["merges"]) if i % 3]
    untrimmed = roberta | {"trim_offsets": False}
    yield Variant("BPE, GPT-2", gpt2, pairs=True, characters=True)
    yield Variant("BPE, GPT-2, trimmed", gpt2 | {"post_processor": byte_level | {"add_prefix_space": False}})
    yield Variant("BPE, RoBERTa", like_roberta, pairs=True, characters=True)
    yield Variant("BPE, RoBERTa, prefix space", prefixed, pairs=True, characters=True)
    yield Variant("BPE, RoBERTa, to 15", truncated(prefixed, 15, "LongestFirst"), pairs=True)
    yield Variant("BPE, RoBERTa, to 16, no special", truncated(prefixed, 16, "LongestFirst"), special=False, pairs=True)
    yield Variant("BPE, RoBERTa, untrimmed", prefixed | {"post_processor": untrimmed})
    yield Variant("BPE, RoBERTa, other prefix spaces", prefixed | {"post_processor": roberta})
    yield Variant("BPE, added tokens", extended, pairs=True)
    yield Variant("BPE, merges ignored", ignoring)


def unigram(pieces, charsmap, **model):
    """A tokenizer.json like that of XLM-RoBERTa."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = [[token, 0.0] for token in special] + [[p, score] for p, score in pieces if p not in special]
    template = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    template += [{"SpecialToken": {"id": "</s>", "type_id": 0}}]
    second = [template[2], {"Sequence": {"id": "B", "type_id": 0}}, template[2]]
    ids = {token: {"id": token, "ids": [special.index(token)], "tokens": [token]} for token in ("<s>", "</s>")}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added(token, id_, lstrip=token == "<mask>") for id_, token in enumerate(special)],
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": template,
            "pair": template + second,
            "special_tokens": ids,
        },
        "decoder": None,
        "model": {"type": "Unigram", "unk_id": 3, "vocab": vocabulary, "byte_fallback": False} | model,
    }


def unigrams(descriptions):
    lines = random.Random(2).sample(descriptions, 20_000)
    xlm = unigram(*sentencepieces.trained(lines, 8000))
    metaspace = xlm["pre_tokenizer"]["pretokenizers"][1]
    charsmap = xlm["normalizer"]
    strip = {"type": "Strip", "strip_left": False, "strip_right": True}
    collapse = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}
    # As SentencePiece models are converted today.
    converted = xlm | {
        "normalizer": {"type": "Sequence", "normalizers": [charsmap, strip, collapse]},
        "pre_tokenizer": metaspace,
    }
    stripped = strip | {"strip_left": True}
    both = {"type": "Sequence", "normalizers": [charsmap, stripped, collapse | {"content": " "}]}
    first = metaspace | {"prepend_scheme": "first"}
    whole = converted | {"pre_tokenizer": metaspace | {"split": False}}
    extended = extend(
        xlm,
        added("Debian", 0, single_word=True),
        added("Ⅷ a", 0, normalized=True),
        added("package", 0, normalized=True, lstrip=True, rstrip=True),
    )
    bytes_ = [(f"<0x{byte:02X}>", -20.0) for byte in range(256)]
    falling = unigram(*sentencepieces.trained(lines, 3000), byte_fallback=True)
    falling["model"]["vocab"] += [list(entry) for entry in bytes_]
    partly = copy.deepcopy(falling)
    partly["model"]["vocab"] = [entry for entry in falling["model"]["vocab"] if entry[0] != "<0xE4>"]
    yield Variant("Unigram, XLM-RoBERTa", xlm, pairs=True, characters=True)
    yield Variant("Unigram, converted", converted, pairs=True, characters=True)
    yield Variant("Unigram, mark in front of the first", converted | {"pre_tokenizer": first})
    yield Variant("Unigram, no mark in front", converted | {"pre_tokenizer": metaspace | {"prepend_scheme": "never"}})
    yield Variant("Unigram, not split", whole, pairs=True)
    yield Variant("Unigram, stripped", converted | {"normalizer": both})
    yield Variant("Unigram, first and stripped", converted | {"normalizer": both, "pre_tokenizer": first})
    yield Variant("Unigram, not normalised", xlm | {"normalizer": None})
    yield Variant("Unigram, to 14", truncated(xlm, 14, "LongestFirst"), pairs=True)
    yield Variant("Unigram, added tokens", extended, pairs=True)
    yield Variant("Unigram, bytes", falling, characters=True)
    yield Variant("Unigram, all bytes but one", partly)


def all_of(minilm, gpt2_merges, descriptions):
    """Every tokenizer, made from the folder of MiniLM, the merges of GPT-2 and lines of real text."""
    yield from wordpieces(minilm)
    yield from byte_levels(gpt2_merges, descriptions)
    yield from unigrams(descriptions)
