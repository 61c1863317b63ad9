"""The tokenizers that are compared: a real vocabulary with every setting, and vocabularies trained on the spot."""

import copy
import itertools
import json
from typing import NamedTuple

import texts


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


def truncated(description, tokens, strategy):
    return description | {"truncation": {"direction": "Right", "max_length": tokens, "strategy": strategy, "stride": 0}}


def normalised(description, **settings):
    made = copy.deepcopy(description)
    made["normalizer"] |= settings
    return made


def wordpieces(folder):
    minilm = json.loads((folder / "tokenizer.json").read_text()) | {"padding": None, "truncation": None}
    size = len(minilm["model"]["vocab"])
    more = [
        added("Debian", size, single_word=True),
        added("naïve", size + 1, normalized=True),
        added("the é", size + 2, normalized=True, rstrip=True),
        added("<mask>", size + 3, lstrip=True),
        added("了", size + 4, rstrip=True, lstrip=True),
        added("lib", size + 5, single_word=True, normalized=True),
        added("  ", size + 6),
        added("</s></s>", size + 7),
        added("</s>", size + 8, rstrip=True),
    ]
    extended = minilm | {"added_tokens": minilm["added_tokens"] + more}
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


def all_of(folder, descriptions):
    """Every tokenizer, made from the folder of MiniLM and from lines of real text."""
    del descriptions
    yield from wordpieces(folder)
