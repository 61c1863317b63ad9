#!/usr/bin/env python3
"""terms.py LIBRARY DESCRIPTIONS [--lines N]: the terms of Sources/CNeedletailText beside scikit-learn's vectorisers.

Terms, columns and weights of real lines and of adversarial ones, under every analyser and way of weighing. Lines with a
capital sigma are left out, for Python's lower case of it depends on what stands beside it, and those with characters
that this Python's Unicode does not know.
"""

import argparse
import ctypes
import random
import sys
import unicodedata
from ctypes import POINTER, Structure, byref, c_bool, c_char_p, c_float, c_size_t, c_uint8, c_uint32, c_void_p

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from texts import adversarial

UNITS = {"word": 0, "char": 1, "char_wb": 2}
NORMS = {None: 0, "l1": 1, "l2": 2}


class Analyser(Structure):
    _fields_ = [("unit", c_uint32), ("shortest", c_uint32), ("longest", c_uint32), ("keeps_case", c_bool)]


class Terms(Structure):
    _fields_ = [
        ("analyser", Analyser),
        ("bytes", c_char_p),
        ("ends", POINTER(c_uint32)),
        ("slots", POINTER(c_uint32)),
        ("slot_mask", c_uint32),
        ("columns", c_uint32),
        ("is_signed", c_bool),
        ("is_binary", c_bool),
        ("is_sublinear", c_bool),
        ("idf", POINTER(c_float)),
        ("norm", c_uint32),
    ]


class Scratch(Structure):
    _fields_ = [
        ("units", POINTER(c_uint8)),
        ("starts", POINTER(c_uint32)),
        ("columns", POINTER(c_uint32)),
        ("numbers", POINTER(c_float)),
    ]


class Library:
    def __init__(self, path):
        self.c = ctypes.CDLL(path)
        self.c.nt_terms_scratch_bytes.restype = c_size_t
        self.c.nt_terms_scratch_bytes.argtypes = [POINTER(Analyser), c_size_t]
        self.c.nt_terms_scratch_at.restype = Scratch
        self.c.nt_terms_scratch_at.argtypes = [POINTER(Analyser), c_size_t, c_void_p]
        self.c.nt_terms_of.restype = c_size_t
        self.c.nt_terms_of.argtypes = [POINTER(Terms), c_char_p, c_size_t, POINTER(Scratch)]
        self.c.nt_terms_insert.argtypes = [POINTER(Terms), POINTER(c_uint32), c_uint32]

    def rows(self, terms, lines):
        """Columns and weights of each line."""
        texts = [line.encode() for line in lines]
        most = max(map(len, texts))
        size = self.c.nt_terms_scratch_bytes(byref(terms.analyser), most)
        block = (c_uint32 * (size // 4 + 1))()
        scratch = self.c.nt_terms_scratch_at(byref(terms.analyser), most, block)
        for text in texts:
            count = self.c.nt_terms_of(byref(terms), text, len(text), byref(scratch))
            yield scratch.columns[:count], scratch.numbers[:count]

    def vocabulary(self, terms, words):
        """Fills the terms' table; what it points to is returned, to be kept."""
        spelled = [word.encode() for word in words]
        ends = (c_uint32 * len(spelled))(*np.cumsum([len(word) for word in spelled]).tolist())
        size = 2
        while size < 2 * len(spelled):
            size *= 2
        slots = (c_uint32 * size)()
        terms.bytes, terms.ends, terms.slot_mask, terms.columns = b"".join(spelled), ends, size - 1, len(spelled)
        for index in range(len(spelled)):
            self.c.nt_terms_insert(byref(terms), slots, index)
        terms.slots = slots
        return ends, slots


def compare(name, library, terms, lines, expected):
    """Every line's columns, and weights within fp32."""
    expected = expected.tocsr()
    expected.sort_indices()
    for row, (columns, weights) in enumerate(library.rows(terms, lines)):
        own = slice(*expected.indptr[row : row + 2])
        if list(expected.indices[own]) != columns:
            sys.exit(f"{name}: {lines[row]!r}: expected columns {expected.indices[own]}, found {columns}")
        if not np.allclose(expected.data[own], weights, rtol=2e-7, atol=1e-12):
            sys.exit(f"{name}: {lines[row]!r}: expected weights {expected.data[own]}, found {weights}")
    print(f"{name}: {len(lines)} lines, {expected.nnz} terms")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("descriptions")
    parser.add_argument("--lines", type=int, default=4_000)
    options = parser.parse_args()
    library = Library(options.library)
    chance = random.Random(18)
    with open(options.descriptions, encoding="utf-8") as file:
        real = file.read().split("\n")
    words = [word for line in real[:20_000] for word in line.split()]
    lines = ["", " ", "a", "İstanbul İ", *chance.sample(real, options.lines // 2)]
    lines += adversarial(18, options.lines // 2, words)
    lines = [line for line in lines if all(c != "\u03a3" and unicodedata.category(c) != "Cn" for c in line)]
    for analyzer, span, keeps_case in [
        ("word", (1, 1), False),
        ("word", (1, 3), False),
        ("word", (2, 2), True),
        ("char", (1, 4), False),
        ("char", (3, 3), True),
        ("char_wb", (2, 5), False),
        ("char_wb", (1, 1), False),
        ("char_wb", (4, 6), True),
    ]:
        analyser = Analyser(UNITS[analyzer], *span, keeps_case)
        how = {"analyzer": analyzer, "ngram_range": span, "lowercase": not keeps_case}
        words = " ".join(map(str, (analyzer, *span, "as it is" if keeps_case else "lower case")))

        model = TfidfVectorizer(**how, sublinear_tf=True, min_df=2)
        expected = model.fit_transform(lines)
        terms = Terms(analyser=analyser, is_sublinear=True, norm=2)
        kept = library.vocabulary(terms, model.get_feature_names_out())
        idf = (c_float * len(model.idf_))(*model.idf_)
        terms.idf = idf
        compare(f"tf-idf, {words}", library, terms, lines, expected)

        model = CountVectorizer(**how, binary=True, max_features=500)
        expected = TfidfTransformer(norm="l1", use_idf=False).fit_transform(model.fit_transform(lines))
        terms = Terms(analyser=analyser, is_binary=True, norm=1)
        kept = library.vocabulary(terms, model.get_feature_names_out())
        compare(f"binary, {words}", library, terms, lines, expected)
        del kept

        for buckets, signed, norm in [(1 << 20, True, "l2"), (1000, True, "l2"), (37, False, None)]:
            model = HashingVectorizer(**how, n_features=buckets, alternate_sign=signed, norm=norm)
            terms = Terms(analyser=analyser, columns=buckets, is_signed=signed, norm=NORMS[norm])
            compare(f"hashed to {buckets}, {words}", library, terms, lines, model.transform(lines))


main()
