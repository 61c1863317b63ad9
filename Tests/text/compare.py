#!/usr/bin/env python3
"""Compares ids, offsets, words and token types with Hugging Face's tokenizers on real and adversarial lines.

    compare.py LIBRARY DESCRIPTIONS MINILM GPT2_MERGES [--lines N] [--seed N] [--isa NAME] [--trainer PROGRAM]

DESCRIPTIONS has lines of real text in many languages, MINILM is a folder with the tokenizer.json of MiniLM,
GPT2_MERGES the vocab.bpe of GPT-2. N lines are shared among all kinds of tokenizers. With PROGRAM, which is
needletail-trainer, the product's own reader of tokenizer.json makes each tokenizer, too, and tokenises some of the
lines. Prints the first differences and exits 1 if there is one.
"""

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import texts  # noqa: E402
import variants  # noqa: E402
from native import NONE, NativeTokenizer, library  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

SHOWN = 5
# Lines of each tokenizer that the product reads and answers as JSON.
PRODUCT_LINES = 250


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
    return found if isinstance(found, int) else in_characters(found, first, second)


def in_characters(found, first, second):
    """Tokens with the characters that they cover, and None for the words of special tokens."""
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


def compare_product(name, trainer, description, reference, lines, special, pairs):
    """Counts differences of what `needletail-trainer tokenize` makes of the lines."""
    texts_of = [(line, lines[index - 1] if pairs and index % 2 else None) for index, line in enumerate(lines)]
    asked = "".join(json.dumps({"text": first, "pair": second}) + "\n" for first, second in texts_of)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(description)
        file.flush()
        command = [trainer, "tokenize", file.name, "--json", "--jsonl", *([] if special else ["--no-special"])]
        answer = subprocess.run(command, input=asked, capture_output=True, text=True, check=True).stdout
    answers = [json.loads(line) for line in answer.splitlines()]
    if len(answers) != len(lines):
        sys.exit(f"{name}: expected {len(lines)} answers of {trainer}, found {len(answers)}")
    differ = 0
    for (first, second), answer in zip(texts_of, answers, strict=True):
        expected = theirs(reference, first, second, special)
        if "error" in answer or isinstance(expected, str):
            same = ("error" in answer) == isinstance(expected, str)
        else:
            ids, words = answer["ids"], [NONE if word is None else word for word in answer["words"]]
            sequences = sequences_of(reference, first, second, special)
            found = (ids, answer["starts"], answer["ends"], words, answer["types"], sequences)
            same = len(sequences) == len(ids) and in_characters(found, first, second) == expected
        if same:
            continue
        differ += 1
        if differ <= SHOWN:
            print(f"{name}: {first!r} {second!r}\n  expected {expected}\n  product  {answer}", file=sys.stderr)
    return differ


def sequences_of(reference, first, second, special):
    return [sequence or 0 for sequence in reference.encode(first, second, add_special_tokens=special).sequence_ids]


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
    parser.add_argument("--trainer")
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
        if options.trainer is not None:
            some = chance.sample(counted, min(len(counted), PRODUCT_LINES))
            found += compare_product(
                variant.name, options.trainer, description, reference, some, variant.special, variant.pairs
            )
        differ += found
        print(f"{variant.name:44}{len(counted):9} lines {found:6} differ", flush=True)
    print(f"{total} lines, {differ} differ, {time.monotonic() - began:.0f} s")
    return 1 if differ else 0


sys.exit(main())
