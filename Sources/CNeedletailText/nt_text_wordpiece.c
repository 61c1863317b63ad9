// WordPiece: words between spaces and punctuation marks, then the longest token that begins what is left of a word.
#include "nt_text_internal.h"

/// Tokens of a word, with the place in the word where each ends.
typedef struct pieces {
  uint32_t count;
  uint32_t ids[NT_TEXT_WORD_CHARACTERS_MAX];
  uint16_t ends[NT_TEXT_WORD_CHARACTERS_MAX];
} pieces;

/// Finds the longest token at each place in turn. No tokens: the word is unknown.
static void find_pieces(const nt_text_vocabulary *vocabulary, const uint8_t *word, size_t bytes, pieces *found) {
  size_t from = 0;
  uint32_t root = 0;
  found->count = 0;
  while (from < bytes) {
    uint32_t node = root, longest = NT_TEXT_NONE;
    size_t longest_end = from;
    for (size_t index = from; index < bytes && node != NT_TEXT_NONE;) {
      node = nt_text_child(vocabulary->trie.units, node, word[index++]);
      if (node == NT_TEXT_NONE || !(vocabulary->trie.units[node].base & NT_TEXT_ENDS_TOKEN)) continue;
      longest = node;
      longest_end = index;
    }
    if (longest == NT_TEXT_NONE) {
      found->count = 0;
      return;
    }
    found->ids[found->count] = vocabulary->trie.values[longest];
    found->ends[found->count++] = (uint16_t)longest_end;
    from = longest_end;
    root = vocabulary->continuing;
  }
}

static bool is_too_long(const nt_text_run *run, size_t start, size_t end) {
  size_t bytes = end - start, characters = 0, characters_max = run->vocabulary->word_characters_max;
  if (bytes <= characters_max) return false;
  // Characters have 4 bytes at most, so that only what lies between needs to be counted.
  if (bytes > characters_max * 4) return true;
  for (size_t index = start; index < end; index++) characters += (run->scratch->text[index] & 0xC0) != 0x80;
  return characters > characters_max;
}

static void keep_unknown(nt_text_run *run, size_t start, size_t end) {
  run->unknown |= run->vocabulary->unknown_id == NT_TEXT_NONE;
  nt_text_keep_normalised(run, run->vocabulary->unknown_id, start, end);
}

/// A word that is no token, and is not remembered.
static __attribute__((noinline)) void take_pieces(nt_text_run *run, size_t start, size_t end,
                                                  nt_text_cached_word *entry, nt_text_word_key key) {
  if (is_too_long(run, start, end)) return keep_unknown(run, start, end);
  pieces found;
  find_pieces(run->vocabulary, run->scratch->text + start, end - start, &found);
  if (found.count == 0) keep_unknown(run, start, end);
  size_t from = start;
  for (uint32_t index = 0; index < found.count; index++) {
    nt_text_keep_normalised(run, found.ids[index], from, start + found.ends[index]);
    from = start + found.ends[index];
  }
  if (entry != NULL) nt_text_remember(entry, key, end - start, found.ids, found.ends, found.count);
}

/// A word, or a punctuation mark, and what it is looked up by.
typedef struct found_word {
  size_t start, end;
  nt_text_word_key key;
  uint64_t hash;
} found_word;

NT_TEXT_INLINE found_word word_at(const nt_text_run *run, size_t start, size_t end) {
  found_word word = {.start = start, .end = end};
  if (end - start > NT_TEXT_KEY_BYTES) return word;
  word.key = nt_text_word_key_of(run->scratch->text + start, end - start);
  word.hash = nt_text_hash(word.key, run->vocabulary->seed);
  return word;
}

/// Keeps the tokens of a word.
NT_TEXT_INLINE void take_word(nt_text_run *run, const found_word *word) {
  const nt_text_vocabulary *vocabulary = run->vocabulary;
  size_t start = word->start, end = word->end, bytes = end - start;
  if (__builtin_expect(bytes > NT_TEXT_KEY_BYTES, 0)) {
    take_pieces(run, start, end, NULL, word->key);
    return nt_text_end_word(run);
  }
  uint32_t whole = nt_text_whole_word(vocabulary, word->key, bytes, word->hash);
  if (whole != NT_TEXT_NONE) {
    nt_text_keep_normalised(run, whole, start, end);
    return nt_text_end_word(run);
  }
  nt_text_cached_word *entry = nt_text_cached(run->scratch, word->hash);
  if (nt_text_is_cached(entry, word->key, bytes)) {
    if (entry->count == 0) keep_unknown(run, start, end);
    size_t from = start;
    for (uint32_t index = 0; index < entry->count; index++) {
      nt_text_keep_normalised(run, entry->ids[index], from, start + entry->ends[index]);
      from = start + entry->ends[index];
    }
  } else {
    take_pieces(run, start, end, entry, word->key);
  }
  nt_text_end_word(run);
}

/// The end of the word that begins at `from`. The splitting ends with a block without words.
NT_TEXT_INLINE size_t end_of_word(const uint64_t *words, size_t from) {
  size_t block = from / 64;
  uint64_t ends = ~words[block] >> (from % 64);
  if (ends != 0) return from + (size_t)__builtin_ctzll(ends);
  for (block++; words[block] == ~(uint64_t)0;) block++;
  return block * 64 + (size_t)__builtin_ctzll(~words[block]);
}

bool nt_text_wordpiece_ascii(nt_text_run *run, size_t start, size_t end) {
  const nt_text_vocabulary *vocabulary = run->vocabulary;
  nt_text_scratch *scratch = run->scratch;
  if (!vocabulary->split(run->text + start, end - start, vocabulary->lowercase, scratch->text, scratch->words,
                         scratch->marks)) {
    return false;
  }
  run->identity = true;
  run->base = (uint32_t)start;
  uint64_t before = 0;
  for (size_t block = 0; block * 64 < end - start; block++) {
    uint64_t bits = scratch->words[block], marks = scratch->marks[block];
    uint64_t begins = (bits & ~(bits << 1 | before)) | marks;
    before = bits >> 63;
    // All words of a block are fetched from memory together: the table of a real vocabulary is as large as the second
    // level of the cache, and one fetch after the other takes most of the time.
    found_word found[64];
    size_t count = 0;
    for (; begins != 0; begins &= begins - 1) {
      size_t from = block * 64 + (size_t)__builtin_ctzll(begins);
      if (marks >> (from % 64) & 1) {
        found[count++] = (found_word){.start = from};
        continue;
      }
      found[count] = word_at(run, from, end_of_word(scratch->words, from));
      __builtin_prefetch(&vocabulary->slots[found[count++].hash & vocabulary->slot_mask]);
    }
    for (size_t index = 0; index < count && !run->done; index++) {
      size_t from = found[index].start;
      if (found[index].end > 0) {
        take_word(run, &found[index]);
        continue;
      }
      // Only a punctuation mark has no end.
      uint32_t id = vocabulary->ascii_ids[scratch->text[from]];
      run->unknown |= id == NT_TEXT_NONE;
      nt_text_keep_normalised(run, id, from, from + 1);
      nt_text_end_word(run);
    }
    if (run->done) return true;
  }
  return true;
}

static void take_range(nt_text_run *run, size_t start, size_t end) {
  found_word word = word_at(run, start, end);
  take_word(run, &word);
}

void nt_text_wordpiece(nt_text_run *run, size_t start, size_t end) {
  const uint8_t *text = run->scratch->text;
  size_t word = start;
  for (size_t index = start; index < end && !run->done;) {
    uint32_t bytes, code = nt_text_decode(text + index, &bytes);
    uint8_t flags = nt_text_character_of(code)->flags;
    if ((flags & (NT_TEXT_IS_SPACE | NT_TEXT_IS_PUNCTUATION)) == 0) {
      index += bytes;
      continue;
    }
    if (word < index) take_range(run, word, index);
    if (flags & NT_TEXT_IS_PUNCTUATION && !run->done) take_range(run, index, index + bytes);
    index += bytes;
    word = index;
  }
  if (word < end && !run->done) take_range(run, word, end);
}
