// Shared by the files of the tokenizers: what a vocabulary and a scratch hold.
#pragma once

#include <assert.h>
#include <string.h>

#include "nt_text.h"
#include "nt_text_unicode.h"

#define NT_TEXT_INLINE static inline __attribute__((always_inline))

/// Normalised bytes that one byte of a text may become: BERT decomposes U+0390 from 2 bytes to 6, and nothing further.
/// `Tests/text/tables.py` checks that of every character.
#define NT_TEXT_GROWTH 3u
/// For Unigram, whose map may hold anything. A text that grows further is refused.
#define NT_TEXT_UNIGRAM_GROWTH 4u
/// Bytes behind every buffer that keys of 16 and blocks of 64 are read from.
#define NT_TEXT_PADDING 64u
/// Bytes of a word that is looked up whole, and remembered whole.
#define NT_TEXT_KEY_BYTES 16u
/// Tokens of a word that is remembered.
#define NT_TEXT_CACHED_TOKENS 7u
/// Words that a scratch remembers: 4,096 lines of a cache, an eighth of the second level on servers of today.
#define NT_TEXT_CACHED_WORDS 4096u

// MARK: - trie

/// The bit of `base` that says that a token ends at a node: a walk reads values only where there are some.
#define NT_TEXT_ENDS_TOKEN (1u << 31)

/// One node. Its child by a byte is node `base ^ byte`, if that node's `check` is this node.
typedef struct nt_text_unit {
  uint32_t base, check;
} nt_text_unit;

typedef struct nt_text_trie {
  const nt_text_unit *units;
  /// The token that ends at each node, or NT_TEXT_NONE.
  const uint32_t *values;
} nt_text_trie;

/// A trie before it lies in a vocabulary.
typedef struct nt_text_trie_builder {
  nt_text_unit *units;
  uint32_t *values;
  size_t count;
} nt_text_trie_builder;

NT_TEXT_INLINE uint32_t nt_text_child(const nt_text_unit *units, uint32_t node, uint8_t byte) {
  uint32_t child = (units[node].base & ~NT_TEXT_ENDS_TOKEN) ^ byte;
  return units[child].check == node ? child : NT_TEXT_NONE;
}

/// A key and its value. Keys are sorted by their bytes and differ.
typedef struct nt_text_key {
  const uint8_t *bytes;
  uint32_t count, value;
} nt_text_key;

/// Builds a trie with `malloc`. False: no memory, or more nodes than 32 bits number.
bool nt_text_trie_build(const nt_text_key *keys, size_t count, nt_text_trie_builder *trie);

// MARK: - words

/// Up to 16 bytes of a word, zeros behind.
typedef struct nt_text_word_key {
  uint64_t low, high;
} nt_text_word_key;

/// A token that is a whole word. `count` is 0 where the slot is free.
typedef struct nt_text_word_slot {
  nt_text_word_key key;
  uint32_t count, id;
  uint64_t unused;
} nt_text_word_slot;

/// A word of several tokens. `word_bytes` is 0 where the entry is free; no tokens: the word is unknown.
typedef struct nt_text_cached_word {
  nt_text_word_key key;
  uint32_t ids[NT_TEXT_CACHED_TOKENS];
  uint8_t ends[NT_TEXT_CACHED_TOKENS];
  uint8_t word_bytes, count;
  uint8_t unused[11];
} nt_text_cached_word;
_Static_assert(sizeof(nt_text_cached_word) == 64, "a remembered word is one line of the cache");

/// Reads up to 16 bytes; 16 are readable.
NT_TEXT_INLINE nt_text_word_key nt_text_word_key_of(const uint8_t *bytes, size_t count) {
  static const uint8_t mask[32] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
  nt_text_word_key key, kept;
  memcpy(&key, bytes, sizeof key);
  memcpy(&kept, mask + NT_TEXT_KEY_BYTES - count, sizeof kept);
  return (nt_text_word_key){key.low & kept.low, key.high & kept.high};
}

/// A number that every bit of a key has a part in: both halves multiplied, as in wyhash.
NT_TEXT_INLINE uint64_t nt_text_hash(nt_text_word_key key, uint64_t seed) {
  __uint128_t product = (__uint128_t)(key.low ^ 0x9E3779B97F4A7C15u ^ seed) * (key.high ^ 0xD1B54A32D192ED03u);
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

// MARK: - merges

/// A pair of ids, the rank of its merge and what it becomes. `rank` is NT_TEXT_NONE where the slot is free.
typedef struct nt_text_merge {
  uint32_t left, right, rank, id;
} nt_text_merge;

/// A part of a word that is being merged. `bytes` is 0 once it is part of another.
typedef struct nt_text_symbol {
  uint32_t id, previous, next, bytes;
} nt_text_symbol;

/// A merge that may be done, at the place of its left symbol.
typedef struct nt_text_candidate {
  uint32_t rank, place, id;
} nt_text_candidate;

// MARK: - paths

/// The best way to a place of a word: its score, where its last token begins, that token. `start` is NT_TEXT_NONE where
/// none is known. `next` is the next place on the way to the end.
typedef struct nt_text_path {
  double score;
  uint32_t start, id, next;
} nt_text_path;

/// A character map: a double array of darts-clone, and values that end with a zero.
typedef struct nt_text_charsmap {
  const uint32_t *units;
  size_t unit_count;
  const uint8_t *values;
} nt_text_charsmap;

#define NT_TEXT_DARTS_HAS_LEAF(unit) (((unit) >> 8 & 1) != 0)
#define NT_TEXT_DARTS_VALUE(unit) ((unit) & 0x7FFFFFFFu)
#define NT_TEXT_DARTS_LABEL(unit) ((unit) & 0x800000FFu)
#define NT_TEXT_DARTS_OFFSET(unit) ((unit) >> 10 << (((unit) & 0x200u) >> 6))

// MARK: - added tokens

typedef struct nt_text_added_set {
  nt_text_trie trie;
  /// 1 for each byte that an added token begins with.
  uint8_t first[256];
  /// How many such bytes there are, and the one where it is one.
  uint32_t firsts;
  uint8_t only;
} nt_text_added_set;

// MARK: - vocabulary and scratch

/// Splits ASCII text into blocks of 64: a bit in `words` for each byte of a word, in `marks` for each punctuation mark,
/// and a copy in lower case if wanted. False: a byte of the text is not ASCII, or cleaning removes it, and what was
/// written is of no use.
typedef bool (*nt_text_split)(const uint8_t *bytes, size_t count, bool lowercase, uint8_t *copy, uint64_t *words,
                              uint64_t *marks);
nt_text_split nt_text_split_for(nt_isa isa);

typedef struct nt_text_layout {
  nt_text_piece pieces[NT_TEXT_TEMPLATE_PIECES_MAX];
  size_t count;
  size_t specials;
} nt_text_layout;

struct nt_text_vocabulary {
  size_t bytes;
  nt_text_model model;
  nt_text_split split;
  nt_text_trie trie;
  uint32_t unknown_id;
  /// The id whose tokens are left out of the answer, NT_TEXT_NONE without one.
  uint32_t dropped_id;

  /// WordPiece: where tokens that go on inside a word hang, NT_TEXT_NONE without any.
  uint32_t continuing;
  uint32_t word_characters_max;
  const nt_text_word_slot *slots;
  uint64_t slot_mask, seed;
  /// The token of each ASCII character that is a word by itself.
  uint32_t ascii_ids[128];

  /// BPE: the token of each byte, and merges by their pairs.
  uint32_t byte_ids[256];
  const nt_text_merge *merges;
  uint64_t merge_mask, merge_seed;
  bool ignore_merges, add_prefix_space, trim_offsets, trim_prefix_space;
  /// Spaces that a token begins and ends with, by its id.
  const uint16_t (*spaces)[2];

  /// Unigram: scores by id, and that of an unknown character.
  const double *scores;
  double unknown_score;
  bool byte_fallback;
  nt_text_charsmap charsmap;
  bool strip_left, strip_right, collapse_spaces, splits_spaces, splits_marks;
  nt_text_prepend prepend;

  bool clean_text, space_ideographs, strip_accents, lowercase;
  /// What normalising makes of each ASCII character; 0x80 where it is removed, or anything else than one character.
  uint8_t ascii[128];

  /// Added tokens, by the index of their properties.
  nt_text_added_set raw_added, normalised_added;
  const nt_text_added *added;

  nt_text_layout single, pair;
  nt_text_truncation truncation;
  uint32_t tokens_max;
};

typedef struct nt_text_span {
  uint32_t start, end;
} nt_text_span;

struct nt_text_scratch {
  size_t bytes_max, tokens_max, normalised_max;
  /// The normalised text, and the bytes of the text that each of its bytes stands for.
  uint8_t *text;
  uint32_t *starts, *ends;
  /// What the splitting into blocks found.
  uint64_t *words, *marks;
  /// Characters that wait for their order: combining class, whether it begins what a character decomposes to, itself.
  uint64_t *pending, *sorted;
  /// The characters before decomposition that are behind them.
  nt_text_span *sources;
  /// BPE: a word of many symbols, and the heap of its merges.
  nt_text_symbol *symbols;
  nt_text_candidate *candidates;
  /// Unigram: a word with its marks, what its bytes stand for, and its paths.
  uint8_t *word;
  uint32_t *word_starts, *word_ends;
  nt_text_path *paths;
  nt_text_cached_word *cache;
  /// The answer, and tokens of the second text until the length of the first is known.
  uint32_t *token_ids, *token_starts, *token_ends, *token_words;
  uint8_t *token_types, *token_sequences;
  uint32_t *second_ids, *second_starts, *second_ends, *second_words;
};

/// The tokens of one text while it is encoded.
typedef struct nt_text_run {
  const nt_text_vocabulary *vocabulary;
  nt_text_scratch *scratch;
  const uint8_t *text;
  size_t bytes;
  /// Normalised byte i is byte `base` + i of the text; else the scratch's `starts` and `ends` say.
  bool identity;
  uint32_t base;
  /// BPE: 1 where a space was put in front of the part of the text that begins at `base`.
  uint32_t prefix;
  /// Tokens beyond `capacity` are counted, not kept.
  uint32_t *ids, *starts, *ends, *words;
  size_t capacity, count;
  /// The run is done when a word ends with so many tokens.
  size_t limit;
  uint32_t word;
  /// `unknown`: text without a token; `overflow`: text that grew beyond the scratch.
  bool done, unknown, overflow;
} nt_text_run;

/// Keeps a token that covers bytes `start` to `end` of the text.
NT_TEXT_INLINE void nt_text_keep(nt_text_run *run, uint32_t id, uint32_t start, uint32_t end) {
  size_t index = run->count++;
  if (__builtin_expect(index >= run->capacity, 0)) return;
  run->ids[index] = id;
  run->starts[index] = start;
  run->ends[index] = end;
  run->words[index] = run->word;
}

/// Keeps a token that covers normalised bytes `start` to `end`.
NT_TEXT_INLINE void nt_text_keep_normalised(nt_text_run *run, uint32_t id, size_t start, size_t end) {
  if (run->identity) {
    nt_text_keep(run, id, run->base + (uint32_t)start, run->base + (uint32_t)end);
  } else {
    nt_text_keep(run, id, run->scratch->starts[start], run->scratch->ends[end - 1]);
  }
}

/// Ends a word of the model.
NT_TEXT_INLINE void nt_text_end_word(nt_text_run *run) {
  run->word++;
  if (run->count >= run->limit) run->done = true;
}

/// The token that is a whole word of up to 16 bytes, NT_TEXT_NONE without one.
NT_TEXT_INLINE uint32_t nt_text_whole_word(const nt_text_vocabulary *vocabulary, nt_text_word_key key, size_t bytes,
                                           uint64_t hash) {
  for (uint64_t index = hash & vocabulary->slot_mask;; index = (index + 1) & vocabulary->slot_mask) {
    const nt_text_word_slot *slot = &vocabulary->slots[index];
    if (slot->key.low == key.low && slot->key.high == key.high && slot->count == bytes) return slot->id;
    if (slot->count == 0) return NT_TEXT_NONE;
  }
}

/// Where a word is remembered, if it is.
NT_TEXT_INLINE nt_text_cached_word *nt_text_cached(nt_text_scratch *scratch, uint64_t hash) {
  return &scratch->cache[hash >> 32 & (NT_TEXT_CACHED_WORDS - 1)];
}

NT_TEXT_INLINE bool nt_text_is_cached(const nt_text_cached_word *entry, nt_text_word_key key, size_t bytes) {
  return entry->key.low == key.low && entry->key.high == key.high && entry->word_bytes == bytes;
}

/// Remembers the tokens of a word, if they are few.
void nt_text_remember(nt_text_cached_word *entry, nt_text_word_key key, size_t bytes, const uint32_t *ids,
                      const uint16_t *ends, size_t count);

/// The merge of a pair, NULL without one.
NT_TEXT_INLINE const nt_text_merge *nt_text_merge_of(const nt_text_merge *merges, uint64_t mask, uint64_t seed,
                                                     uint32_t left, uint32_t right) {
  nt_text_word_key key = {left, right};
  for (uint64_t index = nt_text_hash(key, seed) & mask;; index = (index + 1) & mask) {
    const nt_text_merge *merge = &merges[index];
    if (merge->rank == NT_TEXT_NONE) return NULL;
    if (merge->left == left && merge->right == right) return merge;
  }
}

/// Normalises bytes `start` to `end` of the text as BERT does, and returns the count of normalised bytes.
size_t nt_text_normalise_bert(nt_text_run *run, size_t start, size_t end);
/// Splits normalised bytes into words and finds their tokens.
void nt_text_wordpiece(nt_text_run *run, size_t start, size_t end);
/// The same for bytes `start` to `end` of the text where they are ASCII and cleaning removes nothing; false elsewhere.
bool nt_text_wordpiece_ascii(nt_text_run *run, size_t start, size_t end);

/// Merges the bytes of one word, and returns its tokens with the place in the word where each ends: at most `bytes`.
/// `symbols` has room for that many, `candidates` for twice as many; both are only used for words above 32 bytes.
size_t nt_text_merge_word(const nt_text_vocabulary *vocabulary, nt_text_symbol *symbols, nt_text_candidate *candidates,
                          const uint8_t *word, size_t bytes, uint32_t *ids, uint32_t *ends);
/// Splits a part of the text between added tokens into words as GPT-2 does, and finds their tokens.
void nt_text_bpe(nt_text_run *run, size_t start, size_t end);
/// Keeps an added token of a vocabulary that trims offsets.
void nt_text_keep_added_trimmed(nt_text_run *run, uint32_t id, size_t start, size_t end);

/// Normalises bytes `start` to `end` of the text as SentencePiece does, and returns the count of normalised bytes.
size_t nt_text_normalise_charsmap(nt_text_run *run, size_t start, size_t end);
/// Splits normalised bytes into words, puts marks in front and finds their tokens.
void nt_text_unigram(nt_text_run *run, size_t start, size_t end);
