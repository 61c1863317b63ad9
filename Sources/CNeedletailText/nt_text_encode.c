// From a text to its tokens: added tokens, the model, truncation, the template.
#include "nt_text_internal.h"

/// An added token in bytes: where it begins and ends, and its index.
typedef struct match {
  size_t start, end;
  uint32_t index;
} match;

/// The first added token from `from` on, and of those that begin there the longest.
static bool find_added(const nt_text_added_set *set, const uint8_t *bytes, size_t from, size_t end, match *found) {
  for (size_t start = from; start < end; start++) {
    if (set->firsts == 1) {
      const uint8_t *next = memchr(bytes + start, set->only, end - start);
      if (next == NULL) return false;
      start = (size_t)(next - bytes);
    } else if (!set->first[bytes[start]]) {
      continue;
    }
    uint32_t node = 0;
    bool matches = false;
    for (size_t index = start; index < end;) {
      node = nt_text_child(set->trie.units, node, bytes[index++]);
      if (node == NT_TEXT_NONE) break;
      if (set->trie.values[node] == NT_TEXT_NONE) continue;
      *found = (match){start, index, set->trie.values[node]};
      matches = true;
    }
    if (matches) return true;
  }
  return false;
}

static bool is_in_word(const uint8_t *bytes, size_t start, size_t end, const match *found) {
  uint32_t count;
  if (found->start > start &&
      nt_text_character_of(nt_text_decode_before(bytes + start, found->start - start, &count))->flags &
          NT_TEXT_IS_WORD) {
    return true;
  }
  return found->end < end && nt_text_character_of(nt_text_decode(bytes + found->end, &count))->flags & NT_TEXT_IS_WORD;
}

/// Widens a match over the spaces at its sides, as its token's properties say, but not into the match before.
static void widen(const uint8_t *bytes, size_t taken, size_t end, uint32_t properties, match *found) {
  uint32_t count;
  while (properties & NT_TEXT_LSTRIP && found->start > taken &&
         nt_text_character_of(nt_text_decode_before(bytes, found->start, &count))->flags & NT_TEXT_IS_SPACE) {
    found->start -= count;
  }
  while (properties & NT_TEXT_RSTRIP && found->end < end &&
         nt_text_character_of(nt_text_decode(bytes + found->end, &count))->flags & NT_TEXT_IS_SPACE) {
    found->end += count;
  }
}

typedef void (*part_function)(nt_text_run *run, size_t start, size_t end);
typedef void (*token_function)(nt_text_run *run, uint32_t id, size_t start, size_t end);

/// Calls `part` and `token` for what lies between added tokens and for these, in order, until the run is done.
static void split_added(nt_text_run *run, const nt_text_added_set *set, const uint8_t *bytes, size_t start, size_t end,
                        part_function part, token_function token) {
  size_t taken = start, from = start;
  match found;
  while (!run->done && set->firsts > 0 && find_added(set, bytes, from, end, &found)) {
    const nt_text_added *added = &run->vocabulary->added[found.index];
    from = found.end;
    if (added->properties & NT_TEXT_SINGLE_WORD && is_in_word(bytes, start, end, &found)) continue;
    widen(bytes, taken, end, added->properties, &found);
    if (taken < found.start) part(run, taken, found.start);
    if (!run->done) token(run, added->id, found.start, found.end);
    taken = found.end;
  }
  if (taken < end && !run->done) part(run, taken, end);
}

static void keep_raw(nt_text_run *run, uint32_t id, size_t start, size_t end) {
  if (run->vocabulary->trim_offsets) {
    nt_text_keep_added_trimmed(run, id, start, end);
  } else {
    nt_text_keep(run, id, (uint32_t)start, (uint32_t)end);
  }
  run->word++;
}

static void keep_normalised(nt_text_run *run, uint32_t id, size_t start, size_t end) {
  nt_text_keep_normalised(run, id, start, end);
  run->word++;
}

/// A part of the text between added tokens that are looked for before normalising.
static void take_part(nt_text_run *run, size_t start, size_t end) {
  const nt_text_vocabulary *vocabulary = run->vocabulary;
  const nt_text_added_set *added = &vocabulary->normalised_added;
  if (vocabulary->model == NT_TEXT_BPE) {
    split_added(run, added, run->text, start, end, nt_text_bpe, keep_raw);
    return;
  }
  if (vocabulary->model == NT_TEXT_UNIGRAM) {
    size_t count = nt_text_normalise_charsmap(run, start, end);
    split_added(run, added, run->scratch->text, 0, count, nt_text_unigram, keep_normalised);
    return;
  }
  if (vocabulary->clean_text && added->firsts == 0 && nt_text_wordpiece_ascii(run, start, end)) return;
  size_t count = nt_text_normalise_bert(run, start, end);
  split_added(run, added, run->scratch->text, 0, count, nt_text_wordpiece, keep_normalised);
}

static nt_text_status take_text(nt_text_run *run, nt_text text, size_t *where) {
  if (text.count > run->scratch->bytes_max) {
    *where = run->scratch->bytes_max;
    return NT_TEXT_TOO_LONG;
  }
  *where = nt_text_invalid(text.bytes, text.count);
  if (*where < text.count) return NT_TEXT_INVALID_UTF8;
  run->text = text.bytes;
  run->bytes = text.count;
  run->count = 0;
  run->word = 0;
  run->done = run->unknown = run->overflow = false;
  split_added(run, &run->vocabulary->raw_added, text.bytes, 0, text.count, take_part, keep_raw);
  *where = run->scratch->bytes_max;
  if (run->overflow) return NT_TEXT_TOO_LONG;
  return run->unknown ? NT_TEXT_NO_UNKNOWN_TOKEN : NT_TEXT_OK;
}

/// Shortens the counts of tokens of both texts to `room` together. `pair`: there is a second text.
static nt_text_status truncate_counts(nt_text_truncation truncation, size_t room, bool pair, size_t *first,
                                      size_t *second) {
  if (truncation == NT_TEXT_KEEP_ALL) return NT_TEXT_OK;
  if (room == 0) *first = *second = 0;
  if (*first + *second <= room) return NT_TEXT_OK;
  size_t excess = *first + *second - room;
  if (truncation != NT_TEXT_LONGEST_FIRST) {
    size_t *chosen = truncation == NT_TEXT_ONLY_FIRST ? first : second;
    if ((truncation == NT_TEXT_ONLY_SECOND && !pair) || *chosen <= excess) return NT_TEXT_CANNOT_TRUNCATE;
    *chosen -= excess;
    return NT_TEXT_OK;
  }
  if (!pair) {
    *first = room;
    return NT_TEXT_OK;
  }
  size_t *shorter = *first <= *second ? first : second, *longer = shorter == first ? second : first;
  *longer = *shorter > room ? *shorter : room - *shorter > *shorter ? room - *shorter : *shorter;
  if (*shorter + *longer > room) {
    *shorter = room / 2;
    *longer = room / 2 + room % 2;
  }
  return NT_TEXT_OK;
}

/// Leaves out the tokens of one text that the vocabulary drops, and returns how many remain.
static size_t drop(uint32_t dropped, uint32_t *ids, uint32_t *starts, uint32_t *ends, uint32_t *words, size_t count) {
  if (dropped == NT_TEXT_NONE) return count;
  size_t kept = 0;
  for (size_t index = 0; index < count; index++) {
    if (ids[index] == dropped) continue;
    ids[kept] = ids[index];
    starts[kept] = starts[index];
    ends[kept] = ends[index];
    words[kept++] = words[index];
  }
  return kept;
}

static void put_special(nt_text_scratch *scratch, size_t at, const nt_text_piece *piece, bool second) {
  scratch->token_ids[at] = piece->id;
  scratch->token_starts[at] = scratch->token_ends[at] = 0;
  scratch->token_words[at] = NT_TEXT_NONE;
  scratch->token_types[at] = piece->type;
  scratch->token_sequences[at] = second;
}

/// Lays special tokens around the sequences. The first lies in its place already.
static size_t lay_out(nt_text_scratch *scratch, const nt_text_layout *layout, bool special, size_t first,
                      size_t second) {
  size_t at = 0;
  for (size_t index = 0; index < layout->count; index++) {
    const nt_text_piece *piece = &layout->pieces[index];
    size_t count = piece->kind == NT_TEXT_SEQUENCE_A ? first : second;
    if (piece->kind == NT_TEXT_SPECIAL) {
      if (special) put_special(scratch, at++, piece, false);
      continue;
    }
    if (piece->kind == NT_TEXT_SEQUENCE_B) {
      memcpy(scratch->token_ids + at, scratch->second_ids, count * sizeof(uint32_t));
      memcpy(scratch->token_starts + at, scratch->second_starts, count * sizeof(uint32_t));
      memcpy(scratch->token_ends + at, scratch->second_ends, count * sizeof(uint32_t));
      memcpy(scratch->token_words + at, scratch->second_words, count * sizeof(uint32_t));
    }
    memset(scratch->token_types + at, piece->type, count);
    memset(scratch->token_sequences + at, piece->kind == NT_TEXT_SEQUENCE_B, count);
    at += count;
  }
  return at;
}

nt_text_status nt_text_encode(const nt_text_vocabulary *vocabulary, nt_text_scratch *scratch, nt_text first,
                              const nt_text *second, bool special, nt_text_tokens *tokens, size_t *where) {
  size_t ignored;
  if (where == NULL) where = &ignored;
  *where = 0;
  const nt_text_layout *layout = second != NULL ? &vocabulary->pair : &vocabulary->single;
  bool keeps_all = vocabulary->truncation == NT_TEXT_KEEP_ALL;
  size_t leading = 0;
  while (special && layout->pieces[leading].kind == NT_TEXT_SPECIAL) leading++;
  // One text is done with the tokens that are kept. The shares of two hang on the counts of all tokens of both.
  size_t limit = keeps_all ? scratch->tokens_max + 1 : second != NULL ? SIZE_MAX : vocabulary->tokens_max;
  nt_text_run run = {
      .vocabulary = vocabulary,
      .scratch = scratch,
      .ids = scratch->token_ids + leading,
      .starts = scratch->token_starts + leading,
      .ends = scratch->token_ends + leading,
      .words = scratch->token_words + leading,
      .capacity = scratch->tokens_max,
      .limit = limit,
  };
  nt_text_status status = take_text(&run, first, where);
  size_t counts[2] = {run.count, 0};
  if (status == NT_TEXT_OK && second != NULL) {
    run.ids = scratch->second_ids, run.starts = scratch->second_starts, run.ends = scratch->second_ends;
    run.words = scratch->second_words;
    status = take_text(&run, *second, where);
    counts[1] = run.count;
  }
  if (status != NT_TEXT_OK) return status;
  size_t specials = special ? layout->specials : 0;
  status = truncate_counts(vocabulary->truncation, keeps_all ? 0 : vocabulary->tokens_max - specials, second != NULL,
                           &counts[0], &counts[1]);
  if (status != NT_TEXT_OK) return status;
  if (counts[0] > scratch->tokens_max || counts[1] > scratch->tokens_max) {
    *where = scratch->tokens_max;
    return NT_TEXT_TOO_MANY_TOKENS;
  }
  counts[0] = drop(vocabulary->dropped_id, scratch->token_ids + leading, scratch->token_starts + leading,
                   scratch->token_ends + leading, scratch->token_words + leading, counts[0]);
  counts[1] = drop(vocabulary->dropped_id, scratch->second_ids, scratch->second_starts, scratch->second_ends,
                   scratch->second_words, counts[1]);
  *tokens = (nt_text_tokens){
      .count = lay_out(scratch, layout, special, counts[0], counts[1]),
      .ids = scratch->token_ids,
      .starts = scratch->token_starts,
      .ends = scratch->token_ends,
      .words = scratch->token_words,
      .types = scratch->token_types,
      .sequences = scratch->token_sequences,
  };
  return NT_TEXT_OK;
}
