#include <stdlib.h>

#include "nt_text_build.h"

/// Slots that a word may be away from its own. Seeds are tried until no word of a vocabulary is further.
#define DISTANCE_MAX 32u
#define SEEDS_MAX 16u

/// A key from bytes behind which nothing need be readable.
static nt_text_word_key key_of(const nt_text_key *token) {
  uint8_t bytes[NT_TEXT_KEY_BYTES] = {0};
  memcpy(bytes, token->bytes, token->count);
  return nt_text_word_key_of(bytes, token->count);
}

/// A word of more characters than the model takes is unknown, even if it is a token.
static bool is_word(const nt_text_key *token, uint32_t characters_max) {
  uint32_t characters = 0;
  for (uint32_t index = 0; index < token->count; index++) characters += (token->bytes[index] & 0xC0) != 0x80;
  return token->count > 0 && token->count <= NT_TEXT_KEY_BYTES && characters <= characters_max;
}

static bool fill(const nt_text_spec *spec, const nt_text_key *tokens, uint64_t mask, uint64_t seed,
                 nt_text_word_slot *slots) {
  memset(slots, 0, (mask + 1) * sizeof *slots);
  for (size_t index = 0; index < spec->tokens.count; index++) {
    if (!is_word(&tokens[index], spec->word_characters_max)) continue;
    nt_text_word_key key = key_of(&tokens[index]);
    uint64_t slot = nt_text_hash(key, seed) & mask;
    uint32_t distance = 0;
    while (slots[slot].count != 0 && distance++ < DISTANCE_MAX) slot = (slot + 1) & mask;
    if (slots[slot].count != 0) return false;
    slots[slot] = (nt_text_word_slot){key, tokens[index].count, tokens[index].value, 0};
  }
  return true;
}

nt_text_status nt_text_build_wordpiece(const nt_text_spec *spec, const nt_text_key *tokens,
                                       const nt_text_trie_builder *trie, nt_text_vocabulary *draft,
                                       nt_text_word_slot **slots) {
  if (spec->word_characters_max < 1 || spec->word_characters_max > NT_TEXT_WORD_CHARACTERS_MAX)
    return NT_TEXT_UNSUPPORTED;
  draft->word_characters_max = spec->word_characters_max;
  draft->continuing = 0;
  for (size_t index = 0; index < spec->continuing_prefix_bytes && draft->continuing != NT_TEXT_NONE; index++) {
    draft->continuing = nt_text_child(trie->units, draft->continuing, spec->continuing_prefix[index]);
  }
  uint64_t size = 64;
  while (size < 2 * spec->tokens.count) size *= 2;
  draft->slot_mask = size - 1;
  *slots = malloc(size * sizeof **slots);
  if (*slots == NULL) return NT_TEXT_NO_MEMORY;
  bool filled = false;
  for (uint64_t seed = 0; !filled && seed < SEEDS_MAX; seed++) {
    draft->seed = seed * 0xA0761D6478BD642Fu;
    filled = fill(spec, tokens, draft->slot_mask, draft->seed, *slots);
  }
  if (!filled) return NT_TEXT_UNSUPPORTED;
  for (uint32_t byte = 0; byte < 128; byte++) {
    nt_text_key one = {(const uint8_t[]){(uint8_t)byte}, 1, 0};
    uint32_t id = nt_text_find_key(tokens, spec->tokens.count, &one);
    draft->ascii_ids[byte] = id == NT_TEXT_NONE ? spec->unknown_id : id;
  }
  return NT_TEXT_OK;
}
