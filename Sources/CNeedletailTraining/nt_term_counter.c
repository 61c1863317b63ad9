#include "nt_term_counter.h"

#include <stdlib.h>
#include <string.h>

#include "nt_columns.h"

typedef struct entry {
  uint64_t start, occurrences;
  uint32_t size, hash;
  /// Texts that have it, and the number of the last of them.
  uint32_t texts, last;
} entry;

struct nt_term_counter {
  nt_term_analyser analyser;
  nt_term_counter_status status;
  /// Texts counted so far.
  uint32_t texts;
  entry *entries;
  size_t count, capacity;
  /// Bytes of all terms.
  uint8_t *bytes;
  size_t bytes_count, bytes_capacity;
  /// Number of an entry + 1; 0: free. At most half of them are taken.
  uint32_t *slots;
  size_t slot_mask;
  /// Scratch for one text.
  uint8_t *units;
  uint32_t *starts;
  size_t text_capacity;
};

/// Makes room for `count` elements. False where there is no memory.
static bool grow(void **memory, size_t *capacity, size_t count, size_t element) {
  if (count <= *capacity) return true;
  size_t wanted = *capacity * 2 > count ? *capacity * 2 : count;
  void *larger = realloc(*memory, wanted * element);
  if (larger == NULL) return false;
  *memory = larger;
  *capacity = wanted;
  return true;
}

static bool grow_slots(nt_term_counter *counter) {
  size_t slots = counter->slots ? 2 * (counter->slot_mask + 1) : 1 << 12;
  uint32_t *larger = calloc(slots, sizeof *larger);
  if (larger == NULL) return false;
  for (size_t index = 0; index < counter->count; index++) {
    size_t slot = counter->entries[index].hash & (slots - 1);
    while (larger[slot] != 0) slot = (slot + 1) & (slots - 1);
    larger[slot] = (uint32_t)index + 1;
  }
  free(counter->slots);
  counter->slots = larger;
  counter->slot_mask = slots - 1;
  return true;
}

nt_term_counter *nt_term_counter_make(const nt_term_analyser *analyser) {
  nt_term_counter *counter = calloc(1, sizeof *counter);
  if (counter == NULL) return NULL;
  counter->analyser = *analyser;
  if (!grow_slots(counter)) {
    free(counter);
    return NULL;
  }
  return counter;
}

void nt_term_counter_free(nt_term_counter *counter) {
  free(counter->entries);
  free(counter->bytes);
  free(counter->slots);
  free(counter->units);
  free(counter->starts);
  free(counter);
}

static entry *add(nt_term_counter *counter, const uint8_t *term, size_t size, uint32_t hash, size_t slot) {
  if (counter->count == NT_TERM_COUNTER_MAX) {
    counter->status = NT_TERM_COUNTER_FULL;
    return NULL;
  }
  void *entries = counter->entries, *bytes = counter->bytes;
  bool has_room = grow(&entries, &counter->capacity, counter->count + 1, sizeof(entry)) &&
                  grow(&bytes, &counter->bytes_capacity, counter->bytes_count + size, 1);
  counter->entries = entries;
  counter->bytes = bytes;
  if (!has_room) {
    counter->status = NT_TERM_COUNTER_NO_MEMORY;
    return NULL;
  }
  entry *new = &counter->entries[counter->count++];
  *new = (entry){.start = counter->bytes_count, .size = (uint32_t)size, .hash = hash, .last = UINT32_MAX};
  memcpy(counter->bytes + counter->bytes_count, term, size);
  counter->bytes_count += size;
  counter->slots[slot] = (uint32_t)counter->count;
  return new;
}

static void visit(void *context, const uint8_t *term, size_t size) {
  nt_term_counter *counter = context;
  if (counter->status != NT_TERM_COUNTER_OK) return;
  if (2 * (counter->count + 1) > counter->slot_mask && !grow_slots(counter)) {
    counter->status = NT_TERM_COUNTER_NO_MEMORY;
    return;
  }
  uint32_t hash = nt_murmur3(term, size);
  size_t slot = hash & counter->slot_mask;
  entry *found = NULL;
  while (counter->slots[slot] != 0) {
    entry *other = &counter->entries[counter->slots[slot] - 1];
    if (other->hash == hash && other->size == size && memcmp(counter->bytes + other->start, term, size) == 0) {
      found = other;
      break;
    }
    slot = (slot + 1) & counter->slot_mask;
  }
  if (found == NULL) found = add(counter, term, size, hash, slot);
  if (found == NULL) return;
  found->occurrences++;
  if (found->last != counter->texts) found->texts++;
  found->last = counter->texts;
}

nt_term_counter_status nt_term_counter_add(nt_term_counter *counter, const uint8_t *text, size_t bytes) {
  if (bytes > counter->text_capacity || counter->units == NULL) {
    uint8_t *units = realloc(counter->units, nt_term_unit_bytes(bytes));
    if (units != NULL) counter->units = units;
    uint32_t *starts = realloc(counter->starts, nt_term_starts(bytes) * sizeof *starts);
    if (starts != NULL) counter->starts = starts;
    if (units == NULL || starts == NULL) return NT_TERM_COUNTER_NO_MEMORY;
    counter->text_capacity = bytes;
  }
  size_t units = nt_term_units(&counter->analyser, text, bytes, counter->units, counter->starts);
  nt_term_visit(&counter->analyser, counter->units, counter->starts, units, visit, counter);
  counter->texts++;
  return counter->status;
}

size_t nt_term_counter_count(const nt_term_counter *counter) { return counter->count; }

nt_counted_term nt_term_counter_term(const nt_term_counter *counter, size_t index) {
  const entry *found = &counter->entries[index];
  return (nt_counted_term){.bytes = counter->bytes + found->start,
                           .size = found->size,
                           .texts = found->texts,
                           .occurrences = found->occurrences};
}
