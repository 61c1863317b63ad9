#include <stdlib.h>

#include "nt_text_build.h"

/// The character behind the last of the alphabet: 256 and the 68 bytes that are not visible.
#define ALPHABET_END 0x144u

/// Characters of GPT-2's alphabet: U+0100 and on stand for the bytes that are no visible character of Latin-1.
static void make_alphabet(uint8_t bytes[ALPHABET_END], bool known[ALPHABET_END]) {
  uint32_t next = 0x100;
  memset(known, 0, ALPHABET_END * sizeof *known);
  for (uint32_t byte = 0; byte < 256; byte++) {
    bool visible = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    uint32_t character = visible ? byte : next++;
    bytes[character] = (uint8_t)byte;
    known[character] = true;
  }
}

/// The bytes that a token stands for, in `bytes`. False: it has a character that is not of the alphabet.
static bool read_token(const nt_text_key *token, const uint8_t *alphabet, const bool *known, uint8_t *bytes,
                       uint32_t *count) {
  *count = 0;
  for (uint32_t at = 0; at < token->count;) {
    uint32_t size, code = nt_text_decode(token->bytes + at, &size);
    if (code >= ALPHABET_END || !known[code]) return false;
    bytes[(*count)++] = alphabet[code];
    at += size;
  }
  return true;
}

/// Spaces that begin and end a token: of the alphabet, or real ones.
static void count_spaces(const nt_text_key *token, uint16_t spaces[2]) {
  uint32_t size, leading = 0, trailing = 0;
  for (uint32_t at = 0; at < token->count; at += size, leading++) {
    uint32_t code = nt_text_decode(token->bytes + at, &size);
    if (code != 0x120 && !(nt_text_character_of(code)->flags & NT_TEXT_IS_SPACE)) break;
  }
  for (uint32_t at = token->count; at > 0; at -= size, trailing++) {
    uint32_t code = nt_text_decode_before(token->bytes, at, &size);
    if (code != 0x120 && !(nt_text_character_of(code)->flags & NT_TEXT_IS_SPACE)) break;
  }
  spaces[0] = (uint16_t)(leading < UINT16_MAX ? leading : UINT16_MAX);
  spaces[1] = (uint16_t)(trailing < UINT16_MAX ? trailing : UINT16_MAX);
}

/// Lays merges into slots, each no further than the builder allows from its own.
static bool fill_merges(const nt_text_spec *spec, const uint32_t *results, uint64_t mask, uint64_t seed,
                        nt_text_merge *slots) {
  memset(slots, 0xFF, (mask + 1) * sizeof *slots);
  for (size_t index = 0; index < spec->merge_count; index++) {
    nt_text_word_key key = {spec->merges[index][0], spec->merges[index][1]};
    uint64_t slot = nt_text_hash(key, seed) & mask;
    uint32_t distance = 0;
    while (slots[slot].rank != NT_TEXT_NONE && distance++ < NT_TEXT_DISTANCE_MAX) slot = (slot + 1) & mask;
    if (slots[slot].rank != NT_TEXT_NONE) return false;
    slots[slot] = (nt_text_merge){spec->merges[index][0], spec->merges[index][1], (uint32_t)index, results[index]};
  }
  return true;
}

/// The id of the token of each merge's two tokens in a row.
static nt_text_status find_results(const nt_text_spec *spec, const nt_text_key *tokens, const nt_text_key *by_id,
                                   size_t ids, uint32_t *results, size_t *where) {
  uint32_t longest = 0;
  for (size_t index = 0; index < spec->tokens.count; index++) {
    if (tokens[index].count > longest) longest = tokens[index].count;
  }
  uint8_t *both = malloc(2 * (size_t)longest + 1);
  if (both == NULL) return NT_TEXT_NO_MEMORY;
  nt_text_status status = NT_TEXT_OK;
  for (size_t index = 0; index < spec->merge_count && status == NT_TEXT_OK; index++) {
    *where = index;
    uint32_t left = spec->merges[index][0], right = spec->merges[index][1];
    if (left >= ids || right >= ids || by_id[left].bytes == NULL || by_id[right].bytes == NULL) {
      status = NT_TEXT_BAD_MERGE;
      break;
    }
    memcpy(both, by_id[left].bytes, by_id[left].count);
    memcpy(both + by_id[left].count, by_id[right].bytes, by_id[right].count);
    nt_text_key key = {both, by_id[left].count + by_id[right].count, 0};
    results[index] = nt_text_find_key(tokens, spec->tokens.count, &key);
    if (results[index] == NT_TEXT_NONE) status = NT_TEXT_BAD_MERGE;
  }
  free(both);
  return status;
}

/// Every merge by its pair, for which each has to come once.
static nt_text_status build_merges(const nt_text_spec *spec, const uint32_t *results, nt_text_vocabulary *draft,
                                   nt_text_merge *merges, size_t *where) {
  bool filled = false;
  for (uint64_t seed = 0; !filled && seed < NT_TEXT_SEEDS_MAX; seed++) {
    draft->merge_seed = seed * 0xA0761D6478BD642Fu;
    filled = fill_merges(spec, results, draft->merge_mask, draft->merge_seed, merges);
  }
  if (!filled) return NT_TEXT_UNSUPPORTED;
  for (size_t index = 0; index < spec->merge_count; index++) {
    const nt_text_merge *merge =
        nt_text_merge_of(merges, draft->merge_mask, draft->merge_seed, spec->merges[index][0], spec->merges[index][1]);
    *where = index;
    if (merge->rank != index) return NT_TEXT_BAD_MERGE;
  }
  draft->merges = merges;
  return NT_TEXT_OK;
}

/// Tokens as the bytes that they stand for, and the token of each byte.
static nt_text_status read_tokens(const nt_text_spec *spec, const nt_text_key *tokens, nt_text_vocabulary *draft,
                                  nt_text_parts_of_bpe *parts, size_t *where) {
  uint8_t alphabet[ALPHABET_END], *bytes = parts->bytes;
  bool known[ALPHABET_END];
  make_alphabet(alphabet, known);
  for (uint32_t byte = 0; byte < 256; byte++) draft->byte_ids[byte] = NT_TEXT_NONE;
  for (size_t index = 0; index < spec->tokens.count; index++) {
    uint32_t count;
    if (!read_token(&tokens[index], alphabet, known, bytes, &count)) continue;
    if (count == 1) draft->byte_ids[bytes[0]] = tokens[index].value;
    parts->keys[parts->key_count++] = (nt_text_key){bytes, count, tokens[index].value};
    bytes += count;
  }
  for (uint32_t byte = 0; byte < 256; byte++) {
    *where = byte;
    if (draft->byte_ids[byte] == NT_TEXT_NONE) return NT_TEXT_NO_BYTE_TOKEN;
  }
  qsort(parts->keys, parts->key_count, sizeof *parts->keys, nt_text_compare);
  return NT_TEXT_OK;
}

/// The tokens of up to 16 bytes that are what their own bytes are merged to, or all if the vocabulary says so.
static size_t choose_words(const nt_text_vocabulary *draft, const nt_text_parts_of_bpe *parts, nt_text_key *words) {
  size_t chosen = 0;
  for (size_t index = 0; index < parts->key_count; index++) {
    const nt_text_key *key = &parts->keys[index];
    uint32_t ids[NT_TEXT_KEY_BYTES], ends[NT_TEXT_KEY_BYTES];
    if (key->count == 0 || key->count > NT_TEXT_KEY_BYTES) continue;
    bool merged = nt_text_merge_word(draft, NULL, NULL, key->bytes, key->count, ids, ends) == 1 && ids[0] == key->value;
    if (merged || draft->ignore_merges) words[chosen++] = *key;
  }
  return chosen;
}

nt_text_status nt_text_build_bpe(const nt_text_spec *spec, const nt_text_key *tokens, size_t ids,
                                 nt_text_vocabulary *draft, nt_text_parts_of_bpe *parts, nt_text_key *words,
                                 size_t *word_count, size_t *where) {
  draft->ignore_merges = spec->ignore_merges;
  draft->add_prefix_space = spec->add_prefix_space;
  draft->trim_offsets = spec->trim_offsets;
  draft->trim_prefix_space = spec->trim_prefix_space;
  if (spec->merge_count > NT_TEXT_MERGES_MAX) return NT_TEXT_BAD_SIZE;
  uint64_t size = 64;
  while (size < 2 * spec->merge_count) size *= 2;
  draft->merge_mask = size - 1;
  size_t count = spec->tokens.count;
  parts->merges = malloc(size * sizeof *parts->merges);
  parts->spaces = calloc(ids + 1, sizeof *parts->spaces);
  parts->bytes = malloc((count == 0 ? 0 : spec->tokens.ends[count - 1]) + 1);
  parts->keys = malloc((count + 1) * sizeof *parts->keys);
  nt_text_key *by_id = calloc(ids + 1, sizeof *by_id);
  uint32_t *results = malloc((spec->merge_count + 1) * sizeof *results);
  nt_text_status status = NT_TEXT_NO_MEMORY;
  if (parts->merges && parts->spaces && parts->bytes && parts->keys && by_id && results) {
    for (size_t index = 0; index < count; index++) {
      by_id[tokens[index].value] = tokens[index];
      count_spaces(&tokens[index], parts->spaces[tokens[index].value]);
    }
    status = find_results(spec, tokens, by_id, ids, results, where);
  }
  if (status == NT_TEXT_OK) status = build_merges(spec, results, draft, parts->merges, where);
  if (status == NT_TEXT_OK) status = read_tokens(spec, tokens, draft, parts, where);
  if (status == NT_TEXT_OK) *word_count = choose_words(draft, parts, words);
  free(by_id);
  free(results);
  return status;
}
