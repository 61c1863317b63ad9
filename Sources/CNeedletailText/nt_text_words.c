#include <stdlib.h>

#include "nt_text_build.h"

/// A key from bytes behind which nothing need be readable.
static nt_text_word_key key_of(const nt_text_key *word) {
  uint8_t bytes[NT_TEXT_KEY_BYTES] = {0};
  memcpy(bytes, word->bytes, word->count);
  return nt_text_word_key_of(bytes, word->count);
}

static bool fill(const nt_text_key *words, size_t count, uint64_t mask, uint64_t seed, nt_text_word_slot *slots) {
  memset(slots, 0, (mask + 1) * sizeof *slots);
  for (size_t index = 0; index < count; index++) {
    nt_text_word_key key = key_of(&words[index]);
    uint64_t slot = nt_text_hash(key, seed) & mask;
    uint32_t distance = 0;
    while (slots[slot].count != 0 && distance++ < NT_TEXT_DISTANCE_MAX) slot = (slot + 1) & mask;
    if (slots[slot].count != 0) return false;
    slots[slot] = (nt_text_word_slot){key, words[index].count, words[index].value, 0};
  }
  return true;
}

nt_text_status nt_text_fill_words(const nt_text_key *words, size_t count, nt_text_vocabulary *draft,
                                  nt_text_word_slot **slots) {
  uint64_t size = 64;
  while (size < 2 * count) size *= 2;
  draft->slot_mask = size - 1;
  *slots = malloc(size * sizeof **slots);
  if (*slots == NULL) return NT_TEXT_NO_MEMORY;
  bool filled = false;
  for (uint64_t seed = 0; !filled && seed < NT_TEXT_SEEDS_MAX; seed++) {
    draft->seed = seed * 0xA0761D6478BD642Fu;
    filled = fill(words, count, draft->slot_mask, draft->seed, *slots);
  }
  return filled ? NT_TEXT_OK : NT_TEXT_UNSUPPORTED;
}

void nt_text_remember(nt_text_cached_word *entry, nt_text_word_key key, size_t bytes, const uint32_t *ids,
                      const uint16_t *ends, size_t count) {
  if (count > NT_TEXT_CACHED_TOKENS) return;
  entry->key = key;
  entry->word_bytes = (uint8_t)bytes;
  entry->count = (uint8_t)count;
  for (size_t index = 0; index < count; index++) {
    entry->ids[index] = ids[index];
    entry->ends[index] = (uint8_t)ends[index];
  }
}
