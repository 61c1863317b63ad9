#!/usr/bin/env python3
"""Writes Sources/CNeedletailText/nt_text_tables.generated.c, or with --check compares it with what would be written.

What a tokenizer does with a character hangs on four Unicode versions at once: the crates inside Hugging Face's
`tokenizers` 0.23 take categories from Unicode 8, decompositions and combining classes from Unicode 9, letters and
numbers of regular expressions from Unicode 16, lower case and grapheme clusters from Unicode 17. No `unicodedata` has
them all, so that the library itself is asked about each of the 1,112,064 characters. Where both know a character, they
agree with Python's `unicodedata`, which --check compares too. Whether a character joins the one before is asked as
well; which kind of joining it is, and what no short text can tell, says the package `regex`.
"""

import argparse
import struct
import sys
import unicodedata
from pathlib import Path

import regex
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

OUTPUT = Path(__file__).resolve().parents[2] / "Sources/CNeedletailText/nt_text_tables.generated.c"
CHARACTERS = [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
FLAGS = ("REMOVED", "SPACE", "PUNCTUATION", "MARK", "LETTER", "NUMBER", "WORD", "IDEOGRAPH")
LEAF, MIDDLE = 64, 64
# U+0130 alone becomes two characters in lower case: "i" and a dot above.
TWO_CHARACTERS = 0x7FFFFFFF
HANGUL = range(0xAC00, 0xD7A4)


# Classes of grapheme clusters, in the order of nt_text_unicode.h, and above them those of Indic conjuncts.
CLUSTERS = ("Other", "CR", "LF", "Control", "Extend", "ZWJ", "Regional_Indicator", "Prepend", "SpacingMark")
CLUSTERS += ("L", "V", "T", "LV", "LVT", "Pictographic")
JOINING = ("Extend", "ZWJ", "SpacingMark")
CONJUNCTS = ("None", "Consonant", "Linker", "Extend")


def counting_normalizer():
    """A precompiled normaliser that makes one Y of each grapheme cluster below 6 bytes.

    Its trie has a key for each byte that begins a character, so that every cluster begins with a key.
    """
    units, root = [0] * 1024, 256
    units[0] = root << 10
    for byte in [*range(1, 0x80), *range(0xC2, 0xF5)]:
        unit = root ^ byte
        units[unit] = ((512 + byte) ^ unit) << 10 | 1 << 8 | byte
        units[512 + byte] = 1 << 31
    blob = struct.pack(f"<{len(units)}I", *units)
    charsmap = struct.pack("<I", len(blob)) + blob + b"Y\0"
    return normalizers.Precompiled(charsmap).normalize_str


def cluster_classes():
    """The class of each character, with that of conjuncts above it."""
    count = counting_normalizer()
    names = {name: regex.compile(rf"\p{{GCB={name}}}") for name in CLUSTERS[1:-1]}
    pictographic = regex.compile(r"\p{Extended_Pictographic}")
    conjuncts = {name: regex.compile(rf"\p{{InCB={name}}}") for name in CONJUNCTS[1:]}
    for c in CHARACTERS:
        found = next((name for name, pattern in names.items() if pattern.match(c)), "Other")
        joins = c != "\0" and count("x" + c) == "Y"
        if found in JOINING and not joins:
            found = "Other"
        assert joins == (found in JOINING), c
        if found == "Other" and pictographic.match(c):
            found = "Pictographic"
        conjunct = next((name for name, pattern in conjuncts.items() if pattern.match(c)), "None")
        yield CLUSTERS.index(found) | CONJUNCTS.index(conjunct) << 4


def bert(**chosen):
    names = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
    return normalizers.BertNormalizer(**{name: chosen.get(name, False) for name in names})


def combining_classes():
    """A character's class by the order in which it is sorted beside marks of every class."""
    nfd = normalizers.NFD().normalize_str
    marks = {}
    for code in range(0x300, 0x1E000):
        if unicodedata.ucd_3_2_0.combining(chr(code)):
            marks.setdefault(unicodedata.ucd_3_2_0.combining(chr(code)), chr(code))
    first, last = min(marks), max(marks)
    decomposed = [c for c in CHARACTERS if len(nfd(c)) == 1 and nfd(c) == c]
    sorted_marks = sorted(
        c for c in decomposed if nfd(c + marks[first])[0] != c or nfd(marks[last] + c)[0] != marks[last]
    )
    classes = {}
    for c in sorted_marks:
        equal = [k for k, mark in marks.items() if nfd(c + mark) == c + mark and nfd(mark + c) == mark + c]
        between = [k for k in marks if nfd(c + marks[k])[0] != c]
        classes[c] = equal[0] if equal else max(between) + 1
    return classes


def probe():
    """Flags, class, decomposition, lower case and cluster of each character."""
    clean, strip, lower = bert(clean_text=True), bert(strip_accents=True), bert(lowercase=True)
    ideographs, nfd = bert(handle_chinese_chars=True), normalizers.NFD()
    splitter = pre_tokenizers.BertPreTokenizer()
    letters = pre_tokenizers.Split(Regex(r"\p{L}"), "removed")
    numbers = pre_tokenizers.Split(Regex(r"\p{N}"), "removed")
    words = Tokenizer(models.WordLevel({"zq": 0, "?": 1}, "?"))
    words.add_tokens([AddedToken("zq", single_word=True, normalized=False)])
    classes = combining_classes()
    for c, cluster in zip(CHARACTERS, cluster_classes(), strict=True):
        pieces = [piece for piece, _ in splitter.pre_tokenize_str("a" + c + "b")]
        holds = (
            clean.normalize_str(c) == "",
            pieces == ["a", "b"],
            len(pieces) == 3,
            strip.normalize_str(c) == "",
            len(letters.pre_tokenize_str("\1" + c + "\1")) == 2,
            len(numbers.pre_tokenize_str("\1" + c + "\1")) == 2,
            words.encode(c + "zq").ids != [1, 0],
            ideographs.normalize_str(c) != c,
        )
        lowered = lower.normalize_str(c)
        assert len(lowered) == 1 or (c, lowered) == ("\u0130", "i\u0307"), c
        delta = ord(lowered) - ord(c) if len(lowered) == 1 else TWO_CHARACTERS
        whole = nfd.normalize_str(c)
        parts = "" if whole == c or ord(c) in HANGUL else whole
        yield ord(c), sum(1 << bit for bit, set_ in enumerate(holds) if set_), classes.get(c, 0), parts, delta, cluster
        spaced = f" {whole} " if holds[7] else whole
        grown = len(lower.normalize_str(spaced).encode()) / len(c.encode())
        assert grown <= 3, (c, grown)


def agree_with_python(found):
    """What Python's Unicode says of characters that Unicode 8 had already, seldom changed since, must be the same."""
    nfd = {code: parts for code, _, _, parts, _, _ in found}
    differ = [
        code
        for code, flags, _, _, _, _ in found
        if unicodedata.ucd_3_2_0.category(chr(code)) != "Cn"
        and bool(flags & 1 << FLAGS.index("LETTER")) != unicodedata.category(chr(code)).startswith("L")
    ]
    differ += [
        code
        for code, parts in nfd.items()
        if parts and unicodedata.normalize("NFD", chr(code)) != parts and code not in HANGUL
    ]
    if differ:
        sys.exit(f"expected what unicodedata says, found another for {[hex(code) for code in differ[:20]]}")


def numbers_of(kind, name, values):
    lines, line = [], " "
    for value in values:
        text = f" {value},"
        if len(line) + len(text) > 120:
            lines.append(line)
            line = " "
        line += text
    return f"const {kind} {name}[] = {{\n" + "\n".join(lines + [line]) + "\n};\n"


def deduplicated(values, size):
    """Numbers of the distinct runs of `size` values, and the runs one after another."""
    runs, order = {}, []
    for start in range(0, len(values), size):
        order.append(runs.setdefault(tuple(values[start : start + size]), len(runs)))
    return order, [value for run in runs for value in run]


def source():
    found = list(probe())
    agree_with_python(found)
    pool, places, records = [], {"": 0}, {(0, 0, 0, 0, 0, 0): 0}
    leaves = [0] * 0x110000
    for code, flags, combining, parts, delta, cluster in found:
        if parts not in places:
            places[parts] = len(pool)
            pool.extend(ord(part) for part in parts)
        record = (delta, places[parts], len(parts), flags, combining, cluster)
        leaves[code] = records.setdefault(record, len(records))
    middle, leaf_values = deduplicated(leaves, LEAF)
    top, middle_values = deduplicated(middle, MIDDLE)
    assert len(records) < 1 << 16 and max(middle) < 1 << 16 and max(top) < 1 << 8 and len(pool) < 1 << 16
    fields = "\n".join(f"    {{{', '.join(map(str, record))}}}," for record in records)
    return (
        "// Written by Tests/text/tables.py: what Hugging Face's tokenizers do with each character.\n"
        '#include "nt_text_unicode.h"\n\n'
        f"const nt_text_character nt_text_characters[] = {{\n{fields}\n}};\n"
        + numbers_of("uint8_t", "nt_text_top", top)
        + numbers_of("uint16_t", "nt_text_middle", middle_values)
        + numbers_of("uint16_t", "nt_text_leaves", leaf_values)
        + numbers_of("uint32_t", "nt_text_parts", pool)
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    expected = source()
    if not options.check:
        OUTPUT.write_text(expected)
    elif OUTPUT.read_text() != expected:
        sys.exit(f"{OUTPUT.name}: expected what tables.py writes, found another text; run Tests/text/tables.py")


main()
