// Parts of the builder: what each model adds to a vocabulary.
#pragma once

#include "nt_text_internal.h"

/// Orders keys by their bytes, then by their value.
int nt_text_compare(const void *left, const void *right);
/// The value of a key among sorted ones, NT_TEXT_NONE without it.
uint32_t nt_text_find_key(const nt_text_key *keys, size_t count, const nt_text_key *wanted);

/// Slots that a key may be away from its own. Seeds are tried until none is further, which bounds every look-up.
#define NT_TEXT_DISTANCE_MAX 32u
#define NT_TEXT_SEEDS_MAX 16u

/// What BPE's builder makes with `malloc`.
typedef struct nt_text_parts_of_bpe {
  nt_text_merge *merges;
  uint16_t (*spaces)[2];
  /// The tokens as the bytes that they stand for, sorted, and those bytes.
  nt_text_key *keys;
  size_t key_count;
  uint8_t *bytes;
} nt_text_parts_of_bpe;

/// Lays words of 1 to 16 bytes into slots, from `malloc`.
nt_text_status nt_text_fill_words(const nt_text_key *words, size_t count, nt_text_vocabulary *draft,
                                  nt_text_word_slot **slots);
/// Fills in what WordPiece needs, and chooses the tokens that are whole words.
nt_text_status nt_text_build_wordpiece(const nt_text_spec *spec, const nt_text_key *tokens,
                                       const nt_text_trie_builder *trie, nt_text_vocabulary *draft, nt_text_key *words,
                                       size_t *word_count);
/// Fills in what BPE needs, and chooses the tokens that are whole words.
nt_text_status nt_text_build_bpe(const nt_text_spec *spec, const nt_text_key *tokens, size_t ids,
                                 nt_text_vocabulary *draft, nt_text_parts_of_bpe *parts, nt_text_key *words,
                                 size_t *word_count, size_t *where);

/// Reads a character map into memory from `malloc`, and checks that all of it lies inside.
nt_text_status nt_text_read_charsmap(const nt_text_spec *spec, nt_text_charsmap *map, uint32_t **units,
                                     uint8_t **values, size_t *value_bytes, size_t *where);
/// Fills in what Unigram needs, with scores by id from `malloc`.
nt_text_status nt_text_build_unigram(const nt_text_spec *spec, const nt_text_key *tokens, size_t ids,
                                     nt_text_vocabulary *draft, double **scores, size_t *where);
/// Fills in what the character map makes of each ASCII character that stands alone.
void nt_text_set_ascii(nt_text_vocabulary *draft);
