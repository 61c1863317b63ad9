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
      if (node == NT_TEXT_NONE || vocabulary->trie.values[node] == NT_TEXT_NONE) continue;
      longest = vocabulary->trie.values[node];
      longest_end = index;
    }
    if (longest == NT_TEXT_NONE) {
      found->count = 0;
      return;
    }
    found->ids[found->count] = longest;
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

/// Keeps the tokens of the word in normalised bytes `start` to `end`.
NT_TEXT_INLINE void take_word(nt_text_run *run, size_t start, size_t end) {
  const nt_text_vocabulary *vocabulary = run->vocabulary;
  size_t bytes = end - start;
  if (__builtin_expect(bytes > NT_TEXT_KEY_BYTES, 0)) {
    take_pieces(run, start, end, NULL, (nt_text_word_key){0, 0});
    return nt_text_end_word(run);
  }
  nt_text_word_key key = nt_text_word_key_of(run->scratch->text + start, bytes);
  uint64_t hash = nt_text_hash(key, vocabulary->seed);
  uint32_t whole = nt_text_whole_word(vocabulary, key, bytes, hash);
  if (whole != NT_TEXT_NONE) {
    nt_text_keep_normalised(run, whole, start, end);
    return nt_text_end_word(run);
  }
  nt_text_cached_word *entry = nt_text_cached(run->scratch, hash);
  if (nt_text_is_cached(entry, key, bytes)) {
    if (entry->count == 0) keep_unknown(run, start, end);
    size_t from = start;
    for (uint32_t index = 0; index < entry->count; index++) {
      nt_text_keep_normalised(run, entry->ids[index], from, start + entry->ends[index]);
      from = start + entry->ends[index];
    }
  } else {
    take_pieces(run, start, end, entry, key);
  }
  nt_text_end_word(run);
}

bool nt_text_wordpiece_ascii(nt_text_run *run, size_t start, size_t end) {
  const nt_text_vocabulary *vocabulary = run->vocabulary;
  nt_text_scratch *scratch = run->scratch;
  const uint64_t *words = scratch->words, *marks = scratch->marks;
  if (!vocabulary->split(run->text + start, end - start, vocabulary->lowercase, scratch->text, scratch->words,
                         scratch->marks)) {
    return false;
  }
  run->identity = true;
  run->base = (uint32_t)start;
  uint64_t before = 0;
  for (size_t block = 0; block * 64 < end - start; block++) {
    uint64_t bits = words[block];
    uint64_t begins = (bits & ~(bits << 1 | before)) | marks[block];
    before = bits >> 63;
    for (; begins != 0; begins &= begins - 1) {
      if (run->done) return true;
      uint32_t bit = (uint32_t)__builtin_ctzll(begins);
      size_t from = block * 64 + bit, to;
      if (marks[block] >> bit & 1) {
        uint32_t id = vocabulary->ascii_ids[scratch->text[from]];
        run->unknown |= id == NT_TEXT_NONE;
        nt_text_keep_normalised(run, id, from, from + 1);
        nt_text_end_word(run);
        continue;
      }
      uint64_t ends = ~bits >> bit;
      if (ends != 0) {
        to = from + (size_t)__builtin_ctzll(ends);
      } else {
        // The splitting ends with a block without words.
        size_t next = block + 1;
        while (words[next] == ~(uint64_t)0) next++;
        to = next * 64 + (size_t)__builtin_ctzll(~words[next]);
      }
      take_word(run, from, to);
    }
  }
  return true;
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
    if (word < index) take_word(run, word, index);
    if (flags & NT_TEXT_IS_PUNCTUATION && !run->done) take_word(run, index, index + bytes);
    index += bytes;
    word = index;
  }
  if (word < end && !run->done) take_word(run, word, end);
}
