// Terms of texts. The analysers are those of scikit-learn's CountVectorizer, letter by letter: lower case first, then
// units, then runs of them. One thing differs: a capital sigma becomes σ at the end of a word too.
#include "nt_text_terms.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "nt_columns.h"
#include "nt_text_item.h"
#include "nt_text_unicode.h"

// MARK: - units

/// White space as Python has it: that of Unicode, and four separators of ASCII.
static bool is_space(uint32_t code) {
  if (code < 0x85) return code == ' ' || (code >= 9 && code <= 13) || (code >= 0x1C && code <= 0x1F);
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
         code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

/// Letters and numbers of Unicode, and the underscore: `\w` of Python's regular expressions.
static bool is_word(uint32_t code) {
  if (code < 0x80) return (code | 32) - 'a' < 26 || code - '0' < 10 || code == '_';
  return nt_text_character_of(code)->flags & (NT_TEXT_IS_LETTER | NT_TEXT_IS_NUMBER);
}

/// The lower case of a character; NT_TEXT_TWO_CHARACTERS for U+0130, which becomes "i" and a dot above.
static uint32_t lower_of(uint32_t code) {
  if (code < 0x80) return code - 'A' < 26 ? code | 32 : code;
  int32_t distance = nt_text_character_of(code)->lower;
  return distance == NT_TEXT_TWO_CHARACTERS ? NT_TEXT_TWO_CHARACTERS : code + (uint32_t)distance;
}

size_t nt_term_unit_bytes(size_t bytes) { return 2 * bytes + 8; }
size_t nt_term_starts(size_t bytes) { return bytes + bytes / 2 + 4; }

size_t nt_term_count(const nt_term_analyser *analyser, size_t bytes) {
  size_t units = analyser->unit == NT_TERM_WORDS ? bytes / 3 + 1 : nt_term_starts(bytes);
  return units * (analyser->longest - analyser->shortest + 1);
}

/// Words of two characters and more, each but the first behind a space.
static size_t word_units(bool keeps_case, const uint8_t *text, size_t bytes, uint8_t *units, uint32_t *starts) {
  size_t at = 0, end = 0, count = 0;
  while (at < bytes) {
    size_t start = count == 0 ? 0 : end + 1, next = start, characters = 0;
    while (at < bytes) {
      uint32_t size, code = nt_text_decode(text + at, &size);
      bool belongs = is_word(code);
      at += size;
      if (!belongs) break;
      uint32_t lower = keeps_case ? code : lower_of(code);
      characters++;
      next += nt_text_put(units + next, lower == NT_TEXT_TWO_CHARACTERS ? 'i' : lower);
      // The dot above ends the word: it is no letter.
      if (lower == NT_TEXT_TWO_CHARACTERS) break;
    }
    if (characters < 2) continue;
    if (count > 0) units[end] = ' ';
    starts[count++] = (uint32_t)start;
    end = next;
  }
  starts[count] = (uint32_t)end + 1;
  return count;
}

/// Characters being written, each with its start.
typedef struct characters {
  uint8_t *units;
  uint32_t *starts;
  size_t end, count;
} characters;

static void put(characters *to, uint32_t code) {
  to->starts[to->count++] = (uint32_t)to->end;
  to->end += nt_text_put(to->units + to->end, code);
}

static void put_lower(characters *to, uint32_t code) {
  uint32_t lower = lower_of(code);
  if (lower != NT_TEXT_TWO_CHARACTERS) return put(to, lower);
  put(to, 'i');
  put(to, 0x307);
}

/// All characters; several of white space in a row become one space.
static void put_characters(bool keeps_case, const uint8_t *text, size_t bytes, characters *to) {
  size_t spaces = 0;
  uint32_t space = ' ';
  for (size_t at = 0; at < bytes;) {
    uint32_t size, code = nt_text_decode(text + at, &size);
    at += size;
    if (is_space(code)) {
      space = spaces++ == 0 ? code : ' ';
      if (at < bytes) continue;
    }
    if (spaces > 0) put(to, space);
    if (is_space(code)) break;
    spaces = 0;
    keeps_case ? put(to, code) : put_lower(to, code);
  }
}

/// The characters of each word, a space in front of each and behind the last.
static void put_word_characters(bool keeps_case, const uint8_t *text, size_t bytes, characters *to) {
  bool is_inside = false;
  for (size_t at = 0; at < bytes;) {
    uint32_t size, code = nt_text_decode(text + at, &size);
    at += size;
    if (is_space(code)) {
      is_inside = false;
      continue;
    }
    if (!is_inside) put(to, ' ');
    is_inside = true;
    keeps_case ? put(to, code) : put_lower(to, code);
  }
  if (to->count > 0) put(to, ' ');
}

size_t nt_term_units(const nt_term_analyser *analyser, const uint8_t *text, size_t bytes, uint8_t *units,
                     uint32_t *starts) {
  if (analyser->unit == NT_TERM_WORDS) return word_units(analyser->keeps_case, text, bytes, units, starts);
  characters to = {.units = units, .starts = starts};
  if (analyser->unit == NT_TERM_CHARACTERS) {
    put_characters(analyser->keeps_case, text, bytes, &to);
  } else {
    put_word_characters(analyser->keeps_case, text, bytes, &to);
  }
  starts[to.count] = (uint32_t)to.end;
  assert(to.end <= nt_term_unit_bytes(bytes) && to.count < nt_term_starts(bytes));
  return to.count;
}

// MARK: - terms

/// All runs of `size` units among units `first` ..< `end`. `gap` bytes lie between two units.
#define EACH_RUN(first, end, size, gap)                                                 \
  for (size_t unit = (first); unit + (size) <= (end); unit++) {                         \
    TERM(units + starts[unit], starts[unit + (size)] - (uint32_t)(gap) - starts[unit]); \
  }

/// All terms. A word that is shorter than a size is one term of that size and the last of its word.
#define EACH_TERM                                                                 \
  if (analyser->unit != NT_TERM_WORD_CHARACTERS) {                                \
    uint32_t gap = analyser->unit == NT_TERM_WORDS;                               \
    for (size_t size = analyser->shortest; size <= analyser->longest; size++) {   \
      EACH_RUN(0, count, size, gap)                                               \
    }                                                                             \
  } else {                                                                        \
    for (size_t first = 0, last = 0; first + 1 < count; first = last) {           \
      for (last = first + 1; units[starts[last]] != ' '; last++) {                \
      }                                                                           \
      size_t length = last + 1 - first;                                           \
      for (size_t size = analyser->shortest; size <= analyser->longest; size++) { \
        if (size < length) {                                                      \
          EACH_RUN(first, last + 1, size, 0)                                      \
          continue;                                                               \
        }                                                                         \
        TERM(units + starts[first], starts[last + 1] - starts[first]);            \
        break;                                                                    \
      }                                                                           \
    }                                                                             \
  }

void nt_term_visit(const nt_term_analyser *analyser, const uint8_t *units, const uint32_t *starts, size_t count,
                   nt_term_visitor visit, void *context) {
#define TERM(term, bytes) visit(context, term, bytes)
  EACH_TERM
#undef TERM
}

static bool equals(const nt_terms *terms, uint32_t index, const uint8_t *term, size_t bytes) {
  uint32_t start = index == 0 ? 0 : terms->ends[index - 1];
  return terms->ends[index] - start == bytes && memcmp(terms->bytes + start, term, bytes) == 0;
}

void nt_terms_insert(const nt_terms *terms, uint32_t *slots, uint32_t index) {
  uint32_t start = index == 0 ? 0 : terms->ends[index - 1];
  uint32_t slot = nt_murmur3(terms->bytes + start, terms->ends[index] - start) & terms->slot_mask;
  while (slots[slot] != 0) slot = (slot + 1) & terms->slot_mask;
  slots[slot] = index + 1;
}

/// Writes the column of each term that has one. The lowest bit tells the sign of a hashed term.
static size_t columns_of(const nt_terms *terms, const uint8_t *units, const uint32_t *starts, size_t count,
                         uint32_t *columns) {
  const nt_term_analyser *analyser = &terms->analyser;
  size_t found = 0;
  if (terms->bytes == NULL) {
#define TERM(term, bytes)                                                                      \
  do {                                                                                         \
    uint32_t hash = nt_murmur3(term, bytes);                                                   \
    columns[found++] = nt_bucket(hash, terms->columns) << 1 | (terms->is_signed & hash >> 31); \
  } while (0)
    EACH_TERM
#undef TERM
    return found;
  }
#define TERM(term, bytes)                                                                    \
  do {                                                                                       \
    uint32_t slot = nt_murmur3(term, bytes) & terms->slot_mask;                              \
    while (terms->slots[slot] != 0 && !equals(terms, terms->slots[slot] - 1, term, bytes)) { \
      slot = (slot + 1) & terms->slot_mask;                                                  \
    }                                                                                        \
    if (terms->slots[slot] != 0) columns[found++] = (terms->slots[slot] - 1) << 1;           \
  } while (0)
  EACH_TERM
#undef TERM
  return found;
}

/// Sorts numbers below 2²⁴. `others` has room for as many.
static void sort(uint32_t *numbers, size_t count, uint32_t *others) {
  if (count <= 48) {
    for (size_t i = 1; i < count; i++) {
      uint32_t number = numbers[i];
      size_t at = i;
      for (; at > 0 && numbers[at - 1] > number; at--) numbers[at] = numbers[at - 1];
      numbers[at] = number;
    }
    return;
  }
  uint32_t *from = numbers, *to = others;
  for (uint32_t shift = 0; shift < 24; shift += 8) {
    uint32_t places[256] = {0};
    for (size_t i = 0; i < count; i++) places[from[i] >> shift & 255]++;
    for (uint32_t digit = 0, sum = 0; digit < 256; digit++) {
      uint32_t own = places[digit];
      places[digit] = sum;
      sum += own;
    }
    for (size_t i = 0; i < count; i++) to[places[from[i] >> shift & 255]++] = from[i];
    uint32_t *swapped = from;
    from = to;
    to = swapped;
  }
  memcpy(numbers, from, count * sizeof *numbers);
}

size_t nt_terms_scratch_bytes(const nt_term_analyser *analyser, size_t bytes) {
  return (nt_term_unit_bytes(bytes) + 3) / 4 * 4 + nt_term_starts(bytes) * sizeof(uint32_t) +
         nt_term_count(analyser, bytes) * (sizeof(uint32_t) + sizeof(nt_term_number));
}

nt_terms_scratch nt_terms_scratch_at(const nt_term_analyser *analyser, size_t bytes, void *block) {
  nt_terms_scratch scratch = {.units = block};
  scratch.starts = (uint32_t *)(void *)(scratch.units + (nt_term_unit_bytes(bytes) + 3) / 4 * 4);
  scratch.columns = scratch.starts + nt_term_starts(bytes);
  scratch.numbers = (nt_term_number *)(void *)(scratch.columns + nt_term_count(analyser, bytes));
  return scratch;
}

/// What a term counts before it is made part of the whole.
static double weight_of(const nt_terms *terms, uint32_t column, int32_t count) {
  double weight = terms->is_binary ? 1 : count;
  if (terms->is_sublinear && weight > 1) weight = 1 + nt_natural_log(weight);
  return terms->idf ? weight * (double)terms->idf[column] : weight;
}

size_t nt_terms_of(const nt_terms *terms, const uint8_t *text, size_t bytes, const nt_terms_scratch *scratch) {
  uint32_t *columns = scratch->columns;
  nt_term_number *numbers = scratch->numbers;
  size_t units = nt_term_units(&terms->analyser, text, bytes, scratch->units, scratch->starts);
  size_t all = columns_of(terms, scratch->units, scratch->starts, units, columns);
  sort(columns, all, (uint32_t *)(void *)numbers);
  size_t count = 0;
  for (size_t i = 0; i < all; i++) {
    uint32_t column = columns[i] >> 1;
    int32_t number = columns[i] & 1 ? -1 : 1;
    if (count > 0 && columns[count - 1] == column) {
      numbers[count - 1].count += number;
    } else {
      // What is written lies behind what is still to be read.
      columns[count] = column;
      numbers[count++].count = number;
    }
  }
  double sum = 0;
  for (size_t i = 0; terms->norm != NT_TERM_NORM_NONE && i < count; i++) {
    double weight = weight_of(terms, columns[i], numbers[i].count);
    sum += terms->norm == NT_TERM_NORM_L2 ? weight * weight : weight < 0 ? -weight : weight;
  }
  if (terms->norm == NT_TERM_NORM_L2) sum = sqrt(sum);
  double length = sum > 0 ? sum : 1;
  for (size_t i = 0; i < count; i++) {
    numbers[i].weight = (float)(weight_of(terms, columns[i], numbers[i].count) / length);
  }
  return count;
}

// MARK: - steps

/// Text of one row.
static const nt_text_item *text_of(const nt_terms_step *step, const nt_call *call, size_t row) {
  const nt_text_item *texts = nt_buffer(call, 0);
  const nt_text_item *text = texts + row * step->texts_per_row + step->text;
  assert(text->length <= step->bytes_max);
  return text;
}

void nt_terms_run(const void *parameters, const nt_call *call) {
  const nt_terms_step *step = parameters;
  float *out = nt_buffer(call, 1);
  nt_terms_scratch scratch = nt_terms_scratch_at(&step->terms.analyser, step->bytes_max, nt_buffer(call, 2));
  memset(out, 0, call->items * step->terms.columns * sizeof *out);
  for (size_t row = 0; row < call->items; row++, out += step->terms.columns) {
    const nt_text_item *text = text_of(step, call, row);
    size_t count = nt_terms_of(&step->terms, text->bytes, text->length, &scratch);
    for (size_t i = 0; i < count; i++) out[scratch.columns[i]] = scratch.numbers[i].weight;
  }
}

void nt_terms_layer_run(const void *parameters, const nt_call *call) {
  const nt_terms_layer *layer = parameters;
  const nt_terms_step *step = &layer->step;
  float *out = nt_buffer(call, 1);
  nt_terms_scratch scratch = nt_terms_scratch_at(&step->terms.analyser, step->bytes_max, nt_buffer(call, 2));
  for (size_t row = 0; row < call->items; row++, out += layer->layer.outputs) {
    const nt_text_item *text = text_of(step, call, row);
    size_t count = nt_terms_of(&step->terms, text->bytes, text->length, &scratch);
    layer->row(&layer->layer, scratch.columns, &scratch.numbers[0].weight, count, out);
  }
}
