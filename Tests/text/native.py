"""The tokenizers of Sources/CNeedletailText through ctypes, made from the JSON of a Hugging Face tokenizer."""

import base64
import ctypes
import json
from ctypes import POINTER, Structure, byref, c_bool, c_char_p, c_double, c_size_t, c_uint8, c_uint32, c_void_p

NONE = 0xFFFFFFFF
ISAS = {"scalar": 0, "avx2": 1, "avx512vnni": 2, "neon": 3}


class Strings(Structure):
    _fields_ = [("bytes", c_char_p), ("ends", POINTER(c_uint32)), ("count", c_size_t)]


class Added(Structure):
    _fields_ = [("id", c_uint32), ("properties", c_uint32)]


class Piece(Structure):
    _fields_ = [("kind", c_uint32), ("id", c_uint32), ("type", c_uint8)]


class Template(Structure):
    _fields_ = [("pieces", POINTER(Piece)), ("count", c_size_t)]


class Spec(Structure):
    _fields_ = [
        ("model", c_uint32),
        ("tokens", Strings),
        ("ids", POINTER(c_uint32)),
        ("unknown_id", c_uint32),
        ("drops_unknown", c_bool),
        ("continuing_prefix", c_char_p),
        ("continuing_prefix_bytes", c_size_t),
        ("word_characters_max", c_uint32),
        ("merges", c_void_p),
        ("merge_count", c_size_t),
        ("ignore_merges", c_bool),
        ("add_prefix_space", c_bool),
        ("trim_offsets", c_bool),
        ("trim_prefix_space", c_bool),
        ("scores", POINTER(c_double)),
        ("byte_fallback", c_bool),
        ("charsmap", c_char_p),
        ("charsmap_bytes", c_size_t),
        ("strip_left", c_bool),
        ("strip_right", c_bool),
        ("collapse_spaces", c_bool),
        ("splits_spaces", c_bool),
        ("splits_marks", c_bool),
        ("prepend", c_uint32),
        ("clean_text", c_bool),
        ("space_ideographs", c_bool),
        ("strip_accents", c_bool),
        ("lowercase", c_bool),
        ("added", Strings),
        ("added_properties", POINTER(Added)),
        ("single", Template),
        ("pair", Template),
        ("truncation", c_uint32),
        ("tokens_max", c_uint32),
    ]


class Text(Structure):
    _fields_ = [("bytes", c_char_p), ("count", c_size_t)]


class Tokens(Structure):
    _fields_ = [
        ("count", c_size_t),
        ("ids", POINTER(c_uint32)),
        ("starts", POINTER(c_uint32)),
        ("ends", POINTER(c_uint32)),
        ("words", POINTER(c_uint32)),
        ("types", POINTER(c_uint8)),
        ("sequences", POINTER(c_uint8)),
    ]


def strings(values):
    ends, end = (c_uint32 * len(values))(), 0
    for index, value in enumerate(values):
        end += len(value)
        ends[index] = end
    return Strings(b"".join(values), ends, len(values))


def library(path):
    text = ctypes.CDLL(path)
    text.nt_text_build.argtypes = [POINTER(Spec), c_uint32, POINTER(c_void_p), POINTER(c_size_t)]
    text.nt_text_free.argtypes = [c_void_p]
    text.nt_text_vocabulary_bytes.argtypes = [c_void_p]
    text.nt_text_vocabulary_bytes.restype = c_size_t
    text.nt_text_scratch_bytes.argtypes = [c_void_p, c_size_t, c_size_t]
    text.nt_text_scratch_bytes.restype = c_size_t
    text.nt_text_scratch_make.argtypes = [c_void_p, c_size_t, c_size_t, c_void_p]
    text.nt_text_scratch_make.restype = c_void_p
    text.nt_text_encode.argtypes = [c_void_p, c_void_p, Text, POINTER(Text), c_bool, POINTER(Tokens), POINTER(c_size_t)]
    return text


def template_of(pieces, special_ids):
    made = []
    for piece in pieces:
        if "Sequence" in piece:
            made.append(Piece(1 if piece["Sequence"]["id"] == "A" else 2, 0, piece["Sequence"]["type_id"]))
            continue
        token = piece["SpecialToken"]
        made += [Piece(0, id_, token["type_id"]) for id_ in special_ids[token["id"]]]
    return Template((Piece * len(made))(*made), len(made))


def around(cls, middle, sep, second_type):
    """The templates of BertProcessing and RobertaProcessing."""
    single = [Piece(0, cls, 0), Piece(1, 0, 0), Piece(0, sep, 0)]
    pair = [*single, *[Piece(0, sep, 0)] * middle, Piece(2, 0, second_type), Piece(0, sep, second_type)]
    return tuple(Template((Piece * len(pieces))(*pieces), len(pieces)) for pieces in (single, pair))


def set_processor(spec, processor):
    """Both templates of a post-processor, and how it trims offsets."""
    kind = None if processor is None else processor["type"]
    if kind == "Sequence":
        for one in processor["processors"]:
            set_processor(spec, one)
    elif kind == "TemplateProcessing":
        ids = {name: token["ids"] for name, token in processor["special_tokens"].items()}
        spec.single, spec.pair = template_of(processor["single"], ids), template_of(processor["pair"], ids)
    elif kind == "BertProcessing":
        spec.single, spec.pair = around(processor["cls"][1], 0, processor["sep"][1], 1)
    elif kind == "RobertaProcessing":
        spec.single, spec.pair = around(processor["cls"][1], 1, processor["sep"][1], 0)
    elif kind not in (None, "ByteLevel"):
        raise ValueError(f"post_processor: expected a kind that is known, found {kind}")
    if kind in ("RobertaProcessing", "ByteLevel"):
        spec.trim_offsets, spec.trim_prefix_space = processor["trim_offsets"], processor["add_prefix_space"]


def set_wordpiece(spec, description):
    model, normalizer = description["model"], description["normalizer"]
    prefix = model["continuing_subword_prefix"].encode()
    spec.continuing_prefix, spec.continuing_prefix_bytes = prefix, len(prefix)
    spec.word_characters_max = model["max_input_chars_per_word"]
    spec.clean_text, spec.space_ideographs = normalizer["clean_text"], normalizer["handle_chinese_chars"]
    spec.lowercase = normalizer["lowercase"]
    accents = normalizer["strip_accents"]
    spec.strip_accents = normalizer["lowercase"] if accents is None else accents


def set_bpe(spec, description):
    model, pre_tokenizer = description["model"], description["pre_tokenizer"]
    if pre_tokenizer["type"] != "ByteLevel" or not pre_tokenizer["use_regex"] or description["normalizer"]:
        raise ValueError("BPE: expected a byte-level pre-tokenizer with its regular expression and no normalizer")
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    ids = [model["vocab"][token] for merge in merges for token in merge]
    spec.merges = ctypes.cast((c_uint32 * len(ids))(*ids), c_void_p)
    spec.merge_count = len(merges)
    spec.ignore_merges = model["ignore_merges"]
    spec.add_prefix_space = pre_tokenizer["add_prefix_space"]


def set_unigram(spec, description):
    """Normalizers and pre-tokenizers in the one order that there is, each at most once."""
    model, normalizer, pre_tokenizer = (description[name] for name in ("model", "normalizer", "pre_tokenizer"))
    spec.scores = (c_double * len(model["vocab"]))(*[score for _, score in model["vocab"]])
    spec.byte_fallback = model["byte_fallback"]
    steps = [] if normalizer is None else normalizer.get("normalizers", [normalizer])
    for step in steps:
        if step["type"] == "Precompiled":
            spec.charsmap = base64.b64decode(step["precompiled_charsmap"])
            spec.charsmap_bytes = len(base64.b64decode(step["precompiled_charsmap"]))
        elif step["type"] == "Strip":
            spec.strip_left, spec.strip_right = step["strip_left"], step["strip_right"]
        elif step["type"] == "Replace" and step["pattern"] == {"Regex": " {2,}"} and step["content"] in (" ", "▁"):
            spec.collapse_spaces = True
        else:
            raise ValueError(f"normalizer: expected one that is known, found {step}")
    for step in pre_tokenizer.get("pretokenizers", [pre_tokenizer]):
        if step["type"] == "WhitespaceSplit":
            spec.splits_spaces = True
        elif step["type"] == "Metaspace" and step["replacement"] == "▁":
            spec.splits_marks = step["split"]
            spec.prepend = ("never", "first", "always").index(step["prepend_scheme"])
        else:
            raise ValueError(f"pre_tokenizer: expected one that is known, found {step}")


def spec_of(description):
    """The specification of a tokenizer.json, with what it points to."""
    model = description["model"]
    kinds = {"WordPiece": set_wordpiece, "BPE": set_bpe, "Unigram": set_unigram}
    spec = Spec(model=list(kinds).index(model["type"]))
    if model["type"] == "Unigram":
        vocabulary = [(token, id_) for id_, (token, _) in enumerate(model["vocab"])]
        spec.unknown_id = NONE if model["unk_id"] is None else model["unk_id"]
    else:
        vocabulary = sorted(model["vocab"].items(), key=lambda entry: entry[1])
        spec.unknown_id = model["vocab"].get(model["unk_token"], NONE)
    spec.tokens = strings([token.encode() for token, _ in vocabulary])
    spec.ids = (c_uint32 * len(vocabulary))(*[id_ for _, id_ in vocabulary])
    kinds[model["type"]](spec, description)
    names = ("single_word", "lstrip", "rstrip", "normalized")
    added = description["added_tokens"]
    spec.added = strings([token["content"].encode() for token in added])
    spec.added_properties = (Added * len(added))(
        *[Added(token["id"], sum(token[name] << bit for bit, name in enumerate(names))) for token in added]
    )
    set_processor(spec, description["post_processor"])
    truncation = description["truncation"]
    if truncation is not None:
        spec.truncation = 1 + ("LongestFirst", "OnlyFirst", "OnlySecond").index(truncation["strategy"])
        spec.tokens_max = truncation["max_length"]
    return spec


class NativeTokenizer:
    """Encodes as `tokenizers.Tokenizer` does, with offsets in bytes."""

    def __init__(self, text, tokenizer_json, isa="scalar", bytes_max=1 << 20, tokens_max=1 << 20):
        self.text = text
        self.vocabulary, where = c_void_p(), c_size_t()
        status = text.nt_text_build(
            byref(spec_of(json.loads(tokenizer_json))), ISAS[isa], byref(self.vocabulary), byref(where)
        )
        if status != 0:
            raise ValueError(f"vocabulary: expected to be built, found status {status} at {where.value}")
        size = text.nt_text_scratch_bytes(self.vocabulary, bytes_max, tokens_max)
        self.memory = ctypes.create_string_buffer(size + 64)
        address = (ctypes.addressof(self.memory) + 63) // 64 * 64
        self.scratch = text.nt_text_scratch_make(self.vocabulary, bytes_max, tokens_max, address)

    def encode(self, first, second=None, special=True):
        """Ids, starts, ends, words, types and sequences; or the number of the status that refuses the text."""
        tokens, where = Tokens(), c_size_t()
        pair = None if second is None else byref(Text(second, len(second)))
        status = self.text.nt_text_encode(
            self.vocabulary, self.scratch, Text(first, len(first)), pair, special, byref(tokens), byref(where)
        )
        if status != 0:
            return status
        count = tokens.count
        lists = (tokens.ids, tokens.starts, tokens.ends, tokens.words, tokens.types, tokens.sequences)
        return tuple(values[:count] for values in lists)

    def __del__(self):
        self.text.nt_text_free(self.vocabulary)
