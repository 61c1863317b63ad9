// Byte-level BPE: words as GPT-2's regular expression splits them, then bytes merged in pairs, the lowest rank first.
#include "nt_text_internal.h"

/// Bytes of a word whose pairs are searched one by one. A longer word has a heap, so that its time stays near-linear.
#define SHORT_WORD 32u

static const nt_text_merge *merge_of(const nt_text_vocabulary *vocabulary, uint32_t left, uint32_t right) {
  return nt_text_merge_of(vocabulary->merges, vocabulary->merge_mask, vocabulary->merge_seed, left, right);
}

static size_t merge_short(const nt_text_vocabulary *vocabulary, const uint8_t *word, size_t bytes, uint32_t *ids,
                          uint32_t *ends) {
  const nt_text_merge *pairs[SHORT_WORD];
  size_t count = bytes;
  for (size_t index = 0; index < bytes; index++) {
    ids[index] = vocabulary->byte_ids[word[index]];
    ends[index] = (uint32_t)index + 1;
  }
  for (size_t index = 0; index + 1 < bytes; index++) pairs[index] = merge_of(vocabulary, ids[index], ids[index + 1]);
  for (;;) {
    size_t best = count;
    uint32_t rank = NT_TEXT_NONE;
    for (size_t index = 0; index + 1 < count; index++) {
      if (pairs[index] == NULL || pairs[index]->rank >= rank) continue;
      rank = pairs[index]->rank;
      best = index;
    }
    if (best == count) return count;
    ids[best] = pairs[best]->id;
    ends[best] = ends[best + 1];
    count--;
    for (size_t index = best + 1; index < count; index++) {
      ids[index] = ids[index + 1];
      ends[index] = ends[index + 1];
      if (index + 1 < count) pairs[index] = pairs[index + 1];
    }
    if (best > 0) pairs[best - 1] = merge_of(vocabulary, ids[best - 1], ids[best]);
    if (best + 1 < count) pairs[best] = merge_of(vocabulary, ids[best], ids[best + 1]);
  }
}

// MARK: - long words

/// A heap whose first is the lowest rank, and of these the first place.
typedef struct heap {
  nt_text_candidate *candidates;
  size_t count;
} heap;

static bool is_before(const nt_text_candidate *a, const nt_text_candidate *b) {
  return a->rank != b->rank ? a->rank < b->rank : a->place < b->place;
}

static void push(heap *heap, nt_text_candidate candidate) {
  size_t at = heap->count++;
  while (at > 0 && is_before(&candidate, &heap->candidates[(at - 1) / 2])) {
    heap->candidates[at] = heap->candidates[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  heap->candidates[at] = candidate;
}

static nt_text_candidate pop(heap *heap) {
  nt_text_candidate first = heap->candidates[0], last = heap->candidates[--heap->count];
  size_t at = 0;
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= heap->count) break;
    if (child + 1 < heap->count && is_before(&heap->candidates[child + 1], &heap->candidates[child])) child++;
    if (!is_before(&heap->candidates[child], &last)) break;
    heap->candidates[at] = heap->candidates[child];
    at = child;
  }
  heap->candidates[at] = last;
  return first;
}

/// Offers the merge of the symbols at `left` and behind it.
static void offer(const nt_text_vocabulary *vocabulary, heap *heap, const nt_text_symbol *symbols, uint32_t left) {
  if (left == NT_TEXT_NONE || symbols[left].next == NT_TEXT_NONE) return;
  const nt_text_merge *merge = merge_of(vocabulary, symbols[left].id, symbols[symbols[left].next].id);
  if (merge != NULL) push(heap, (nt_text_candidate){merge->rank, left, merge->id});
}

static size_t merge_long(const nt_text_vocabulary *vocabulary, nt_text_symbol *symbols, nt_text_candidate *candidates,
                         const uint8_t *word, size_t bytes, uint32_t *ids, uint32_t *ends) {
  heap heap = {candidates, 0};
  for (size_t index = 0; index < bytes; index++) {
    symbols[index] = (nt_text_symbol){
        .id = vocabulary->byte_ids[word[index]],
        .previous = (uint32_t)index - 1,  // NT_TEXT_NONE for the first.
        .next = index + 1 < bytes ? (uint32_t)index + 1 : NT_TEXT_NONE,
        .bytes = 1,
    };
  }
  // Every merge takes one candidate and offers two, so that there are never more than twice the bytes.
  for (uint32_t index = 0; index + 1 < bytes; index++) offer(vocabulary, &heap, symbols, index);
  while (heap.count > 0) {
    nt_text_candidate best = pop(&heap);
    nt_text_symbol *left = &symbols[best.place];
    if (left->bytes == 0 || left->next == NT_TEXT_NONE) continue;
    nt_text_symbol *right = &symbols[left->next];
    const nt_text_merge *merge = merge_of(vocabulary, left->id, right->id);
    // One of the two has been merged since with another.
    if (merge == NULL || merge->id != best.id) continue;
    left->id = merge->id;
    left->bytes += right->bytes;
    left->next = right->next;
    right->bytes = 0;
    if (left->next != NT_TEXT_NONE) symbols[left->next].previous = best.place;
    offer(vocabulary, &heap, symbols, left->previous);
    offer(vocabulary, &heap, symbols, best.place);
  }
  size_t count = 0;
  uint32_t end = 0;
  for (uint32_t index = 0; index != NT_TEXT_NONE; index = symbols[index].next) {
    end += symbols[index].bytes;
    ids[count] = symbols[index].id;
    ends[count++] = end;
  }
  return count;
}

size_t nt_text_merge_word(const nt_text_vocabulary *vocabulary, nt_text_symbol *symbols, nt_text_candidate *candidates,
                          const uint8_t *word, size_t bytes, uint32_t *ids, uint32_t *ends) {
  return bytes <= SHORT_WORD ? merge_short(vocabulary, word, bytes, ids, ends)
                             : merge_long(vocabulary, symbols, candidates, word, bytes, ids, ends);
}

// MARK: - places

/// Leaves spaces out of what a token covers, as Hugging Face's library does: by characters, whatever they are.
static void trim(const nt_text_run *run, uint32_t leading, uint32_t trailing, uint32_t *start, uint32_t *end) {
  const uint8_t *text = run->text;
  bool is_first = run->count == 0 || *start == 0;
  // The one space that was put in front stands for no byte of the text.
  if (is_first && run->vocabulary->trim_prefix_space && leading == 1) leading = 0;
  for (; leading > 0 && *start < *end; leading--) *start += nt_text_character_bytes(text[*start]);
  if (trailing == 0) return;
  uint32_t trimmed = *end;
  for (; trailing > 0 && trimmed > 0; trailing--) {
    do trimmed--;
    while (trimmed > 0 && (text[trimmed] & 0xC0) == 0x80);
  }
  if (trailing == 0) *end = trimmed > *start ? trimmed : *start;
}

/// Keeps a token that covers bytes `from` to `to` of the part with its space in front. It covers whole characters of
/// the text, and the space in front the first character.
NT_TEXT_INLINE void keep(nt_text_run *run, uint32_t id, size_t from, size_t to) {
  const uint8_t *text = run->text;
  size_t start = run->base + (from < run->prefix ? 0 : from - run->prefix);
  size_t end = run->base + (to <= run->prefix ? 1 : to - run->prefix);
  while (start > run->base && (text[start] & 0xC0) == 0x80) start--;
  while (end < run->bytes && (text[end] & 0xC0) == 0x80) end++;
  uint32_t covered[2] = {(uint32_t)start, (uint32_t)end};
  if (run->vocabulary->trim_offsets) {
    const uint16_t *spaces = run->vocabulary->spaces[id];
    if (spaces[0] | spaces[1]) trim(run, spaces[0], spaces[1], &covered[0], &covered[1]);
  }
  nt_text_keep(run, id, covered[0], covered[1]);
}

void nt_text_keep_added_trimmed(nt_text_run *run, uint32_t id, size_t start, size_t end) {
  uint32_t leading = 0, trailing = 0, count, covered[2] = {(uint32_t)start, (uint32_t)end};
  for (size_t at = start; at < end; at += count, leading++) {
    uint32_t code = nt_text_decode(run->text + at, &count);
    // U+0120 is the space of the alphabet.
    if (code != 0x120 && !(nt_text_character_of(code)->flags & NT_TEXT_IS_SPACE)) break;
  }
  for (size_t at = end; at > start; at -= count, trailing++) {
    uint32_t code = nt_text_decode_before(run->text, at, &count);
    if (code != 0x120 && !(nt_text_character_of(code)->flags & NT_TEXT_IS_SPACE)) break;
  }
  trim(run, leading, trailing, &covered[0], &covered[1]);
  nt_text_keep(run, id, covered[0], covered[1]);
}

// MARK: - words

static __attribute__((noinline)) void take_merged(nt_text_run *run, size_t start, size_t end,
                                                  nt_text_cached_word *entry, nt_text_word_key key) {
  nt_text_scratch *scratch = run->scratch;
  const uint8_t *word = scratch->text + start;
  size_t bytes = end - start, from = start;
  uint32_t short_ids[SHORT_WORD], short_ends[SHORT_WORD], *ids = short_ids, *ends = short_ends;
  if (bytes > SHORT_WORD) ids = scratch->starts, ends = scratch->ends;
  size_t count = nt_text_merge_word(run->vocabulary, scratch->symbols, scratch->candidates, word, bytes, ids, ends);
  for (size_t index = 0; index < count; index++) {
    keep(run, ids[index], from, start + ends[index]);
    from = start + ends[index];
  }
  if (entry == NULL || count > NT_TEXT_CACHED_TOKENS) return;
  uint16_t short_places[NT_TEXT_CACHED_TOKENS];
  for (size_t index = 0; index < count; index++) short_places[index] = (uint16_t)ends[index];
  nt_text_remember(entry, key, bytes, ids, short_places, count);
}

NT_TEXT_INLINE void take_word(nt_text_run *run, size_t start, size_t end) {
  const nt_text_vocabulary *vocabulary = run->vocabulary;
  size_t bytes = end - start;
  if (__builtin_expect(bytes > NT_TEXT_KEY_BYTES, 0)) {
    uint32_t node = vocabulary->ignore_merges ? 0 : NT_TEXT_NONE;
    for (size_t index = start; index < end && node != NT_TEXT_NONE; index++) {
      node = nt_text_child(vocabulary->trie.units, node, run->scratch->text[index]);
    }
    if (node != NT_TEXT_NONE && vocabulary->trie.values[node] != NT_TEXT_NONE) {
      keep(run, vocabulary->trie.values[node], start, end);
    } else {
      take_merged(run, start, end, NULL, (nt_text_word_key){0, 0});
    }
    return nt_text_end_word(run);
  }
  nt_text_word_key key = nt_text_word_key_of(run->scratch->text + start, bytes);
  uint64_t hash = nt_text_hash(key, vocabulary->seed);
  uint32_t whole = nt_text_whole_word(vocabulary, key, bytes, hash);
  if (whole != NT_TEXT_NONE) {
    keep(run, whole, start, end);
    return nt_text_end_word(run);
  }
  nt_text_cached_word *entry = nt_text_cached(run->scratch, hash);
  if (nt_text_is_cached(entry, key, bytes)) {
    size_t from = start;
    for (uint32_t index = 0; index < entry->count; index++) {
      keep(run, entry->ids[index], from, start + entry->ends[index]);
      from = start + entry->ends[index];
    }
  } else {
    take_merged(run, start, end, entry, key);
  }
  nt_text_end_word(run);
}

enum { letter = NT_TEXT_IS_LETTER, number = NT_TEXT_IS_NUMBER, space = NT_TEXT_IS_SPACE };

/// The class of the character at `bytes`: a letter, a number, a space, or 0.
NT_TEXT_INLINE uint32_t class_at(const uint8_t *bytes, uint32_t *count) {
  return nt_text_character_of(nt_text_decode(bytes, count))->flags & (letter | number | space);
}

/// The end of the run of one class that begins at `index`.
static size_t end_of_run(const uint8_t *text, size_t index, size_t end, uint32_t class) {
  uint32_t count;
  while (index < end && class_at(text + index, &count) == class) index += count;
  return index;
}

/// The end of what `'s|'t|'re|'ve|'m|'ll|'d` matches at an apostrophe, 0 where it does not.
static size_t end_of_contraction(const uint8_t *text, size_t index, size_t end) {
  if (end - index >= 2 && text[index + 1] != 0 && strchr("stmd", text[index + 1]) != NULL) return index + 2;
  if (end - index < 3) return 0;
  const char *two = (const char *)text + index + 1;
  return memcmp(two, "re", 2) == 0 || memcmp(two, "ve", 2) == 0 || memcmp(two, "ll", 2) == 0 ? index + 3 : 0;
}

/// The end of what the regular expression matches at `index`:
/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
static size_t end_of_word(const uint8_t *text, size_t index, size_t end) {
  if (text[index] == '\'') {
    size_t contraction = end_of_contraction(text, index, end);
    if (contraction > 0) return contraction;
  }
  uint32_t count, next_count, class = class_at(text + index, &count);
  if (class != space) return end_of_run(text, index + count, end, class);
  if (text[index] == ' ' && index + 1 < end) {
    uint32_t next = class_at(text + index + 1, &next_count);
    if (next != space) return end_of_run(text, index + 1 + next_count, end, next);
  }
  size_t behind = end_of_run(text, index + count, end, space);
  if (behind == end || behind == index + count) return behind;
  // Spaces before a word, without the last one.
  nt_text_decode_before(text, behind, &count);
  return behind - count;
}

void nt_text_bpe(nt_text_run *run, size_t start, size_t end) {
  nt_text_scratch *scratch = run->scratch;
  run->base = (uint32_t)start;
  run->prefix = run->vocabulary->add_prefix_space && run->text[start] != ' ';
  scratch->text[0] = ' ';
  memcpy(scratch->text + run->prefix, run->text + start, end - start);
  size_t count = run->prefix + end - start;
  for (size_t index = 0; index < count && !run->done;) {
    size_t next = end_of_word(scratch->text, index, count);
    take_word(run, index, next);
    index = next;
  }
}
