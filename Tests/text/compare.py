#!/usr/bin/env python3
"""Compares ids, offsets, words and token types with Hugging Face's tokenizers on real and adversarial lines.

    compare.py LIBRARY DESCRIPTIONS MINILM GPT2_MERGES [--lines N] [--seed N] [--isa NAME]

DESCRIPTIONS has lines of real text in many languages, MINILM is a folder with the tokenizer.json of MiniLM,
GPT2_MERGES the vocab.bpe of GPT-2. N lines are shared among all kinds of tokenizers. Prints the first differences and
exits 1 if there is one.
"""

import argparse
import itertools
import json
import os
import random
import sys
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import texts  # noqa: E402
import variants  # noqa: E402
from native import NONE, NativeTokenizer, library  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

SHOWN = 5


def character_places(text):
    """The character that each byte of a text is in, and the count of characters; None where both are the same."""
    if text.isascii():
        return None
    places = []
    for index, character in enumerate(text):
        places += [index] * len(character.encode())
    return [*places, len(text)]


def ours(native, first, second, special):
    found = native.encode(first.encode(), None if second is None else second.encode(), special)
    if isinstance(found, int):
        return found
    ids, starts, ends, words, types, sequences = found
    maps = [character_places(first), None if second is None else character_places(second)]
    spans = []
    for start, end, sequence in zip(starts, ends, sequences, strict=True):
        places = maps[sequence]
        # A token that ends inside a character covers it.
        spans.append(
            (start, end) if places is None else (places[start], places[end - 1] + 1 if end > start else places[end])
        )
    return ids, spans, [None if word == NONE else word for word in words], types


def theirs(reference, first, second, special):
    try:
        found = reference.encode(first, second, add_special_tokens=special)
    except BaseException as error:  # A panic of the library is no Exception.
        if isinstance(error, KeyboardInterrupt):
            raise
        return str(error)
    return found.ids, found.offsets, found.word_ids, found.type_ids


def compare(name, native, reference, lines, special, pairs, chance):
    """Counts differences on lines, or on pairs of neighbours."""
    differ = 0
    previous = ""
    for line in lines:
        second = None
        if pairs and chance.random() < 0.7:
            second = previous
        previous = line
        expected, found = theirs(reference, line, second, special), ours(native, line, second, special)
        # Both refuse: truncation that cannot be done, and text without an unknown token.
        same = isinstance(found, int) if isinstance(expected, str) else found == expected
        if same:
            continue
        differ += 1
        if differ <= SHOWN:
            print(f"{name}: {line!r} {second!r}\n  expected {expected}\n  found    {found}", file=sys.stderr)
    return differ


def lines_of(options, words, descriptions, seed, count):
    """Half real lines, half adversarial ones."""
    chance = random.Random(seed)
    for _ in range(count // 2):
        yield chance.choice(descriptions)
    yield from texts.adversarial(seed, count - count // 2, words)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("descriptions", type=Path)
    parser.add_argument("minilm", type=Path)
    parser.add_argument("gpt2_merges", type=Path)
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--isa", default="scalar")
    parser.add_argument("--only", default="")
    parser.add_argument("--all-characters", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    text = library(options.library)
    descriptions = options.descriptions.read_text().split("\n")
    words = sorted(
        set(itertools.chain.from_iterable(line.split() for line in random.Random(0).sample(descriptions, 3000)))
    )
    made = [
        one for one in variants.all_of(options.minilm, options.gpt2_merges, descriptions) if options.only in one.name
    ]
    total = differ = 0
    step = 1 if options.all_characters else 16
    for index, variant in enumerate(made):
        description = json.dumps(variant.description)
        reference = Tokenizer.from_str(description)
        native = NativeTokenizer(text, description, options.isa)
        chance = random.Random(options.seed + index)
        count = options.lines // len(made)
        lines = itertools.chain(
            lines_of(options, words, descriptions, options.seed * 1000 + index, count), variant.lines(step, index)
        )
        counted = list(lines)
        found = compare(variant.name, native, reference, counted, variant.special, variant.pairs, chance)
        total += len(counted)
        differ += found
        print(f"{variant.name:44}{len(counted):9} lines {found:6} differ", flush=True)
    print(f"{total} lines, {differ} differ, {time.monotonic() - began:.0f} s")
    return 1 if differ else 0


sys.exit(main())
