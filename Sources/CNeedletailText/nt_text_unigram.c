// Unigram: words that begin with SentencePiece's mark, and for each the tokens whose scores have the largest sum.
#include "nt_text_internal.h"

/// The mark that stands for a space, U+2581.
static const uint8_t mark[3] = {0xE2, 0x96, 0x81};

/// Keeps a token that covers bytes `from` to `to` of the word.
static void keep(nt_text_run *run, uint32_t id, size_t from, size_t to) {
  nt_text_keep(run, id, run->scratch->word_starts[from], run->scratch->word_ends[to - 1]);
}

/// The token of exactly these bytes, NT_TEXT_NONE without one.
static uint32_t find_token(const nt_text_vocabulary *vocabulary, const uint8_t *bytes, size_t count) {
  uint32_t node = 0;
  for (size_t index = 0; index < count && node != NT_TEXT_NONE; index++) {
    node = nt_text_child(vocabulary->trie.units, node, bytes[index]);
  }
  return node == NT_TEXT_NONE ? NT_TEXT_NONE : vocabulary->trie.values[node];
}

/// Keeps what stands for characters in a row that no token covers. False: tokens of bytes, which share one place.
static bool keep_unknown(nt_text_run *run, size_t from, size_t to, uint32_t *id) {
  const nt_text_vocabulary *vocabulary = run->vocabulary;
  const uint8_t *word = run->scratch->word;
  *id = find_token(vocabulary, word + from, to - from);
  bool has_bytes = *id == NT_TEXT_NONE && vocabulary->byte_fallback;
  for (size_t index = from; index < to && has_bytes; index++)
    has_bytes = vocabulary->byte_ids[word[index]] != NT_TEXT_NONE;
  if (has_bytes) {
    for (size_t index = from; index < to; index++) keep(run, vocabulary->byte_ids[word[index]], from, to);
    return false;
  }
  if (*id == NT_TEXT_NONE) *id = vocabulary->unknown_id;
  run->unknown |= *id == NT_TEXT_NONE;
  keep(run, *id, from, to);
  return true;
}

/// Finds the best path to each place of a word.
static void find_paths(const nt_text_vocabulary *vocabulary, const uint8_t *word, size_t bytes, nt_text_path *paths) {
  for (size_t index = 0; index <= bytes; index++) paths[index] = (nt_text_path){0, NT_TEXT_NONE, 0, 0};
  for (size_t start = 0; start < bytes;) {
    double here = paths[start].score;
    size_t next = start + nt_text_character_bytes(word[start]);
    bool has_single = false;
    uint32_t node = 0;
    for (size_t end = start; end < bytes;) {
      node = nt_text_child(vocabulary->trie.units, node, word[end++]);
      if (node == NT_TEXT_NONE) break;
      if (!(vocabulary->trie.units[node].base & NT_TEXT_ENDS_TOKEN)) continue;
      uint32_t id = vocabulary->trie.values[node];
      double score = vocabulary->scores[id] + here;
      if (paths[end].start == NT_TEXT_NONE || score > paths[end].score) {
        paths[end] = (nt_text_path){score, (uint32_t)start, id, 0};
      }
      has_single |= end == next;
    }
    if (!has_single) {
      double score = vocabulary->unknown_score + here;
      if (paths[next].start == NT_TEXT_NONE || score > paths[next].score) {
        paths[next] = (nt_text_path){score, (uint32_t)start, vocabulary->unknown_id, 0};
      }
    }
    start = next;
  }
  for (size_t end = bytes; end > 0; end = paths[end].start) paths[paths[end].start].next = (uint32_t)end;
}

/// Keeps the tokens of the word that has been put together.
static void take_word(nt_text_run *run, size_t bytes) {
  const nt_text_vocabulary *vocabulary = run->vocabulary;
  nt_text_scratch *scratch = run->scratch;
  nt_text_cached_word *entry = NULL;
  nt_text_word_key key = {0, 0};
  if (bytes <= NT_TEXT_KEY_BYTES) {
    key = nt_text_word_key_of(scratch->word, bytes);
    entry = nt_text_cached(scratch, nt_text_hash(key, vocabulary->seed));
    if (nt_text_is_cached(entry, key, bytes)) {
      for (uint32_t index = 0, from = 0; index < entry->count; from = entry->ends[index++]) {
        keep(run, entry->ids[index], from, entry->ends[index]);
      }
      return nt_text_end_word(run);
    }
  }
  nt_text_path *paths = scratch->paths;
  find_paths(vocabulary, scratch->word, bytes, paths);
  uint32_t ids[NT_TEXT_CACHED_TOKENS];
  uint16_t ends[NT_TEXT_CACHED_TOKENS];
  size_t count = 0;
  for (size_t from = 0; from < bytes;) {
    size_t to = paths[from].next;
    uint32_t id = paths[to].id;
    if (id == vocabulary->unknown_id) {
      // Unknown characters in a row are one token.
      while (to < bytes && paths[paths[to].next].id == vocabulary->unknown_id) to = paths[to].next;
      if (!keep_unknown(run, from, to, &id)) entry = NULL;
    } else {
      keep(run, id, from, to);
    }
    if (count < NT_TEXT_CACHED_TOKENS) ids[count] = id, ends[count] = (uint16_t)to;
    count++;
    from = to;
  }
  // A word without a token is refused each time that it comes.
  if (entry != NULL && !run->unknown) nt_text_remember(entry, key, bytes, ids, ends, count);
  nt_text_end_word(run);
}

static void append(nt_text_run *run, size_t *count, const uint8_t *bytes, size_t byte_count, uint32_t start,
                   uint32_t end) {
  nt_text_scratch *scratch = run->scratch;
  if (*count + byte_count > scratch->normalised_max) {
    run->overflow = true;
    return;
  }
  for (size_t index = 0; index < byte_count; index++) {
    scratch->word[*count + index] = bytes[index];
    scratch->word_starts[*count + index] = start;
    scratch->word_ends[*count + index] = end;
  }
  *count += byte_count;
}

static bool is_mark(const uint8_t *text, size_t index, size_t end) {
  return end - index >= sizeof mark && memcmp(text + index, mark, sizeof mark) == 0;
}

/// Puts marks in place of spaces, one in front where it is wanted, and ends a word before each.
static void take_marked(nt_text_run *run, size_t start, size_t end) {
  const nt_text_vocabulary *vocabulary = run->vocabulary;
  const nt_text_scratch *scratch = run->scratch;
  size_t count = 0;
  bool prepends = vocabulary->prepend == NT_TEXT_PREPEND_ALWAYS ||
                  (vocabulary->prepend == NT_TEXT_PREPEND_FIRST && scratch->starts[start] == 0);
  if (prepends && scratch->text[start] != ' ' && !is_mark(scratch->text, start, end)) {
    append(run, &count, mark, sizeof mark, scratch->starts[start], scratch->ends[start]);
  }
  for (size_t index = start; index < end && !run->done && !run->overflow;) {
    bool is_space = scratch->text[index] == ' ';
    if (is_space || is_mark(scratch->text, index, end)) {
      if (vocabulary->splits_marks && count > 0) {
        take_word(run, count);
        count = 0;
        if (run->done) return;
      }
      append(run, &count, mark, sizeof mark, scratch->starts[index], scratch->ends[index]);
      index += is_space ? 1 : sizeof mark;
      continue;
    }
    append(run, &count, scratch->text + index, 1, scratch->starts[index], scratch->ends[index]);
    index++;
  }
  if (count > 0 && !run->done && !run->overflow) take_word(run, count);
}

void nt_text_unigram(nt_text_run *run, size_t start, size_t end) {
  if (!run->vocabulary->splits_spaces) return take_marked(run, start, end);
  const uint8_t *text = run->scratch->text;
  size_t word = start;
  for (size_t index = start; index < end && !run->done;) {
    uint32_t bytes, code = nt_text_decode(text + index, &bytes);
    if (nt_text_character_of(code)->flags & NT_TEXT_IS_SPACE) {
      if (word < index) take_marked(run, word, index);
      word = index + bytes;
    }
    index += bytes;
  }
  if (word < end && !run->done) take_marked(run, word, end);
}
