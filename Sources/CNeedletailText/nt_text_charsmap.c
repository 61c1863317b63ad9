// SentencePiece's normaliser: grapheme clusters and characters replaced by a precompiled map, spaces stripped and
// collapsed. Each character that is written stands for the bytes of a character of the text, as Hugging Face's library
// counts them: it pairs old and new characters one by one, and so does this.
#include "nt_text_build.h"

/// The library replaces clusters below so many bytes as a whole.
#define WHOLE_CLUSTER_BYTES 6u

typedef struct writer {
  nt_text_run *run;
  size_t start, end, count;
  /// The next character of the text that a new one stands for.
  size_t source;
  /// The last new character, whose change may still grow. 1: inserted; 0: in place of one; -n: and n more are removed.
  uint32_t pending;
  int32_t change;
  bool has_pending;
} writer;

static void write(writer *to, uint32_t code, nt_text_span span) {
  nt_text_scratch *scratch = to->run->scratch;
  if (to->count + 4 > scratch->normalised_max) {
    to->run->overflow = true;
    return;
  }
  uint32_t bytes = nt_text_put(scratch->text + to->count, code);
  for (uint32_t byte = 0; byte < bytes; byte++) {
    scratch->starts[to->count + byte] = span.start;
    scratch->ends[to->count + byte] = span.end;
  }
  to->count += bytes;
}

static void skip_sources(writer *to, uint32_t count) {
  for (; count > 0 && to->source < to->end; count--) to->source += nt_text_character_bytes(to->run->text[to->source]);
}

static void flush(writer *to) {
  if (!to->has_pending) return;
  to->has_pending = false;
  nt_text_span span = {(uint32_t)to->source, (uint32_t)to->source};
  if (to->change <= 0) {
    skip_sources(to, 1);
    span.end = (uint32_t)to->source;
    skip_sources(to, (uint32_t)-to->change);
  } else if (to->source > to->start) {
    uint32_t bytes;
    nt_text_decode_before(to->run->text, to->source, &bytes);
    span.start -= bytes;
  }
  write(to, to->pending, span);
}

static void put(writer *to, uint32_t code, int32_t change) {
  flush(to);
  to->pending = code;
  to->change = change;
  to->has_pending = true;
}

/// Puts a replacement in place of `old_count` characters.
static void replace(writer *to, uint32_t old_count, const uint8_t *bytes, size_t byte_count) {
  uint32_t new_count = 0, size;
  for (size_t index = 0; index < byte_count; index++) new_count += (bytes[index] & 0xC0) != 0x80;
  uint32_t number = 0;
  for (size_t index = 0; index < byte_count; index += size) {
    put(to, nt_text_decode(bytes + index, &size), number++ >= old_count ? 1 : 0);
  }
  if (new_count >= old_count) return;
  if (to->has_pending) {
    to->change -= (int32_t)(old_count - new_count);
  } else if (to->count > 0) {
    skip_sources(to, old_count - new_count);
  }
}

/// What the map has for the shortest key that begins `bytes`.
static bool find(const nt_text_charsmap *map, const uint8_t *bytes, size_t count, const uint8_t **found,
                 size_t *found_count) {
  if (map->unit_count == 0) return false;
  uint32_t node = NT_TEXT_DARTS_OFFSET(map->units[0]);
  for (size_t index = 0; index < count && bytes[index] != 0; index++) {
    node ^= bytes[index];
    uint32_t unit = map->units[node];
    if (NT_TEXT_DARTS_LABEL(unit) != bytes[index]) return false;
    node ^= NT_TEXT_DARTS_OFFSET(unit);
    if (!NT_TEXT_DARTS_HAS_LEAF(unit)) continue;
    *found = map->values + NT_TEXT_DARTS_VALUE(map->units[node]);
    *found_count = strlen((const char *)*found);
    return true;
  }
  return false;
}

static void take_character(writer *to, size_t index) {
  const uint8_t *found, *text = to->run->text;
  size_t count;
  uint32_t bytes, code = nt_text_decode(text + index, &bytes);
  if (find(&to->run->vocabulary->charsmap, text + index, bytes, &found, &count)) {
    replace(to, 1, found, count);
  } else {
    put(to, code, 0);
  }
}

static void take_cluster(writer *to, size_t start, size_t end) {
  const uint8_t *found, *text = to->run->text;
  size_t count;
  if (end - start < WHOLE_CLUSTER_BYTES &&
      find(&to->run->vocabulary->charsmap, text + start, end - start, &found, &count)) {
    uint32_t old_count = 0;
    for (size_t index = start; index < end; index++) old_count += (text[index] & 0xC0) != 0x80;
    replace(to, old_count, found, count);
    return;
  }
  for (size_t index = start; index < end; index += nt_text_character_bytes(text[index])) take_character(to, index);
}

/// Whether the character at `index` is ASCII, a cluster by itself, and stays one ASCII character.
NT_TEXT_INLINE bool is_plain(const writer *to, size_t index) {
  const uint8_t *text = to->run->text;
  return text[index] < 0x80 && to->run->vocabulary->ascii[text[index]] != 0x80 &&
         (index + 1 == to->end || text[index + 1] < 0x80);
}

/// Takes the plain characters from `index` on, and returns the end of them.
static size_t take_plain(writer *to, size_t index) {
  nt_text_scratch *scratch = to->run->scratch;
  // A character that is removed changes the one before it, which waits for that.
  if (!is_plain(to, index)) return index;
  flush(to);
  if (to->source != index) return index;
  size_t room = scratch->normalised_max - to->count, end = to->end - index > room ? index + room : to->end;
  while (index < end && is_plain(to, index)) {
    scratch->text[to->count] = to->run->vocabulary->ascii[to->run->text[index]];
    scratch->starts[to->count] = (uint32_t)index;
    scratch->ends[to->count++] = (uint32_t)++index;
  }
  to->source = index;
  return index;
}

/// Strips spaces at the ends, and makes one of several.
static size_t tidy(const nt_text_vocabulary *vocabulary, nt_text_scratch *scratch, size_t count) {
  size_t from = 0, to = 0;
  uint32_t bytes;
  while (vocabulary->strip_right && count > 0 &&
         nt_text_character_of(nt_text_decode_before(scratch->text, count, &bytes))->flags & NT_TEXT_IS_SPACE) {
    count -= bytes;
  }
  while (vocabulary->strip_left && from < count &&
         nt_text_character_of(nt_text_decode(scratch->text + from, &bytes))->flags & NT_TEXT_IS_SPACE) {
    from += bytes;
  }
  if (from == 0 && !vocabulary->collapse_spaces) return count;
  for (; from < count; from++) {
    // The last of several spaces stays.
    if (vocabulary->collapse_spaces && scratch->text[from] == ' ' && from + 1 < count &&
        scratch->text[from + 1] == ' ') {
      continue;
    }
    scratch->text[to] = scratch->text[from];
    scratch->starts[to] = scratch->starts[from];
    scratch->ends[to++] = scratch->ends[from];
  }
  return to;
}

size_t nt_text_normalise_charsmap(nt_text_run *run, size_t start, size_t end) {
  writer to = {.run = run, .start = start, .end = end, .source = start};
  run->identity = false;
  for (size_t index = start; index < end && !run->overflow;) {
    size_t plain = take_plain(&to, index);
    if (plain > index) {
      index = plain;
      continue;
    }
    size_t next = nt_text_cluster_end(run->text, index, end);
    take_cluster(&to, index, next);
    index = next;
  }
  flush(&to);
  return tidy(run->vocabulary, run->scratch, to.count);
}

void nt_text_set_ascii(nt_text_vocabulary *draft) {
  for (uint32_t byte = 0; byte < 128; byte++) {
    const uint8_t *found, character = (uint8_t)byte;
    size_t count;
    draft->ascii[byte] = character;
    if (!find(&draft->charsmap, &character, 1, &found, &count)) continue;
    draft->ascii[byte] = count == 1 && found[0] < 0x80 ? found[0] : 0x80;
  }
  // A line end of two characters is one cluster.
  draft->ascii['\r'] = 0x80;
}
