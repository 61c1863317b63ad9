// BERT's normaliser: cleaning, spaces around ideographs, accents stripped, lower case, in one pass.
//
// A normalised character stands for the bytes of the character that it comes from, as in Hugging Face's library. Where
// combining marks change places, the library hands out the places of the text in the new order, and so does this.
#include "nt_text_internal.h"

/// What is known while a text is normalised.
typedef struct normaliser {
  nt_text_scratch *scratch;
  bool lowercase;
  size_t count;
  /// Marks that wait for a character of combining class 0, and the characters of the text that they come from.
  size_t pending, sources;
  /// True where one of them is not removed in the end.
  bool survivors;
  /// The last character of the text that was written.
  nt_text_span last;
} normaliser;

static void write(normaliser *to, uint32_t code, nt_text_span span) {
  nt_text_scratch *scratch = to->scratch;
  uint32_t bytes = nt_text_put(scratch->text + to->count, code);
  for (uint32_t byte = 0; byte < bytes; byte++) {
    scratch->starts[to->count + byte] = span.start;
    scratch->ends[to->count + byte] = span.end;
  }
  to->count += bytes;
}

static void write_lower(normaliser *to, uint32_t code, const nt_text_character *character, nt_text_span span) {
  if (!to->lowercase || character->lower == 0) {
    write(to, code, span);
  } else if (character->lower == NT_TEXT_TWO_CHARACTERS) {
    write(to, 'i', span);
    write(to, 0x307, span);
  } else {
    write(to, (uint32_t)((int32_t)code + character->lower), span);
  }
}

/// A waiting mark is its class, then whether it begins what its source decomposes to, then itself.
static uint64_t waiting(uint32_t code, uint8_t combining, bool begins) {
  return (uint64_t)combining << 32 | (uint64_t)begins << 31 | code;
}

/// Writes the marks that wait, by class and within a class in the order of the text.
static void write_pending(normaliser *to) {
  if (to->sources > 0 && !to->survivors) to->last = to->scratch->sources[to->sources - 1];
  if (to->survivors) {
    // Sorted by counting: thousands of marks on one letter take no longer a piece than two.
    uint32_t places[257] = {0};
    for (size_t index = 0; index < to->pending; index++) places[(to->scratch->pending[index] >> 32) + 1]++;
    for (uint32_t index = 0; index < 256; index++) places[index + 1] += places[index];
    for (size_t index = 0; index < to->pending; index++) {
      uint64_t mark = to->scratch->pending[index];
      to->scratch->sorted[places[mark >> 32]++] = mark;
    }
    size_t source = 0;
    for (size_t index = 0; index < to->pending; index++) {
      uint64_t mark = to->scratch->sorted[index];
      if (mark >> 31 & 1) to->last = to->scratch->sources[source++];
      uint32_t code = (uint32_t)mark & 0x1FFFFF;
      const nt_text_character *character = nt_text_character_of(code);
      if (!(character->flags & NT_TEXT_IS_MARK)) write_lower(to, code, character, to->last);
    }
  }
  to->pending = to->sources = 0;
  to->survivors = false;
}

/// Takes one character of a decomposition; `begins` for its first.
static void take_part(normaliser *to, uint32_t code, bool begins, nt_text_span span) {
  const nt_text_character *character = nt_text_character_of(code);
  if (character->combining == 0) {
    write_pending(to);
    if (begins) to->last = span;
    if (!(character->flags & NT_TEXT_IS_MARK)) write_lower(to, code, character, to->last);
    return;
  }
  to->scratch->pending[to->pending++] = waiting(code, character->combining, begins);
  if (begins) to->scratch->sources[to->sources++] = span;
  to->survivors |= !(character->flags & NT_TEXT_IS_MARK);
}

static void take_decomposed(normaliser *to, uint32_t code, const nt_text_character *character, nt_text_span span) {
  if (code >= 0xAC00 && code < 0xAC00 + 11172) {
    // Hangul syllables are 19 leading × 21 vowels × 28 trailing letters; the first trailing one is none.
    uint32_t syllable = code - 0xAC00, trailing = syllable % 28;
    take_part(to, 0x1100 + syllable / 588, true, span);
    take_part(to, 0x1161 + syllable % 588 / 28, false, span);
    if (trailing > 0) take_part(to, 0x11A7 + trailing, false, span);
  } else if (character->parts_count == 0) {
    take_part(to, code, true, span);
  } else {
    for (uint32_t part = 0; part < character->parts_count; part++) {
      take_part(to, nt_text_parts[character->parts + part], part == 0, span);
    }
  }
}

size_t nt_text_normalise_bert(nt_text_run *run, size_t start, size_t end) {
  const nt_text_vocabulary *vocabulary = run->vocabulary;
  normaliser to = {.scratch = run->scratch, .lowercase = vocabulary->lowercase};
  run->identity = false;
  for (size_t index = start; index < end;) {
    if (run->text[index] < 0x80) {
      // What is removed does not part a letter from its marks.
      if (vocabulary->ascii[run->text[index]] == 0x80) {
        index++;
        continue;
      }
      write_pending(&to);
      nt_text_scratch *scratch = run->scratch;
      size_t count = to.count;
      for (; index < end && run->text[index] < 0x80; index++) {
        uint8_t byte = vocabulary->ascii[run->text[index]];
        scratch->text[count] = byte;
        scratch->starts[count] = (uint32_t)index;
        scratch->ends[count] = (uint32_t)index + 1;
        count += byte != 0x80;
      }
      to.count = count;
      // No mark takes its place from an ASCII character: a decomposition's later parts follow its first.
      continue;
    }
    uint32_t bytes, code = nt_text_decode(run->text + index, &bytes);
    nt_text_span span = {(uint32_t)index, (uint32_t)index + bytes};
    index += bytes;
    const nt_text_character *character = nt_text_character_of(code);
    if (vocabulary->clean_text) {
      if (character->flags & NT_TEXT_IS_REMOVED) continue;
      if (character->flags & NT_TEXT_IS_SPACE) {
        write_pending(&to);
        write(&to, ' ', span);
        continue;
      }
    }
    bool spaced = vocabulary->space_ideographs && character->flags & NT_TEXT_IS_IDEOGRAPH;
    if (spaced) {
      write_pending(&to);
      write(&to, ' ', span);
    }
    if (vocabulary->strip_accents) {
      take_decomposed(&to, code, character, span);
    } else {
      write_lower(&to, code, character, span);
    }
    if (spaced) {
      write_pending(&to);
      write(&to, ' ', span);
    }
  }
  write_pending(&to);
  return to.count;
}
