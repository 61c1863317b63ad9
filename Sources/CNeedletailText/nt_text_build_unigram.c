#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "nt_text_build.h"

/// What Hugging Face's library takes off the lowest score for an unknown character.
#define UNKNOWN_PENALTY 10.0

/// Whether a node's children lie inside, and their values begin with a character. Appends children not seen before.
static bool check_node(const nt_text_charsmap *map, const uint8_t *values, size_t value_bytes, uint32_t node,
                       uint8_t *seen, uint32_t *nodes, size_t *count) {
  // Children lie in one block of 256.
  if (((size_t)node | 255) >= map->unit_count) return false;
  for (uint32_t byte = 1; byte < 256; byte++) {
    uint32_t child = node ^ byte, unit = map->units[child];
    if (NT_TEXT_DARTS_LABEL(unit) != byte) continue;
    uint32_t next = child ^ NT_TEXT_DARTS_OFFSET(unit);
    if (next >= map->unit_count) return false;
    if (NT_TEXT_DARTS_HAS_LEAF(unit)) {
      size_t value = NT_TEXT_DARTS_VALUE(map->units[next]);
      if (value > value_bytes || (values[value] & 0xC0) == 0x80) return false;
    }
    if (seen[next]) continue;
    seen[next] = 1;
    nodes[(*count)++] = next;
  }
  return true;
}

/// Checks every node of a map once. They are a graph, for keys share their ends; a circle in it is harmless, for each
/// step of a search takes a byte of the text.
static nt_text_status check_nodes(const nt_text_charsmap *map, const uint8_t *values, size_t value_bytes,
                                  size_t *where) {
  uint8_t *seen = calloc(map->unit_count, 1);
  uint32_t *nodes = malloc((map->unit_count + 1) * sizeof *nodes);
  nt_text_status status = seen == NULL || nodes == NULL ? NT_TEXT_NO_MEMORY : NT_TEXT_OK;
  if (status == NT_TEXT_OK) nodes[0] = NT_TEXT_DARTS_OFFSET(map->units[0]);
  for (size_t index = 0, count = 1; index < count && status == NT_TEXT_OK; index++) {
    *where = nodes[index];
    if (!check_node(map, values, value_bytes, nodes[index], seen, nodes, &count)) status = NT_TEXT_BAD_CHARSMAP;
  }
  free(seen);
  free(nodes);
  return status;
}

nt_text_status nt_text_read_charsmap(const nt_text_spec *spec, nt_text_charsmap *map, uint32_t **units,
                                     uint8_t **values, size_t *value_bytes, size_t *where) {
  const uint8_t *bytes = spec->charsmap;
  *where = 0;
  *value_bytes = 0;
  if (spec->charsmap_bytes == 0) return NT_TEXT_OK;
  if (spec->charsmap_bytes < 4 || spec->charsmap_bytes > NT_TEXT_CHARSMAP_BYTES_MAX) return NT_TEXT_BAD_CHARSMAP;
  uint32_t size = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
  if (size < 4 || size % 4 != 0 || size > spec->charsmap_bytes - 4) return NT_TEXT_BAD_CHARSMAP;
  map->unit_count = size / 4;
  *value_bytes = spec->charsmap_bytes - 4 - size;
  *units = malloc(size);
  *values = malloc(*value_bytes + 1);
  if (*units == NULL || *values == NULL) return NT_TEXT_NO_MEMORY;
  for (size_t index = 0; index < map->unit_count; index++) {
    const uint8_t *unit = bytes + 4 + 4 * index;
    (*units)[index] = (uint32_t)unit[0] | (uint32_t)unit[1] << 8 | (uint32_t)unit[2] << 16 | (uint32_t)unit[3] << 24;
  }
  memcpy(*values, bytes + 4 + size, *value_bytes);
  (*values)[(*value_bytes)++] = 0;
  map->units = *units;
  map->values = *values;
  *where = 4 + size + nt_text_invalid(*values, *value_bytes);
  if (*where < 4 + size + *value_bytes) return NT_TEXT_BAD_CHARSMAP;
  return check_nodes(map, *values, *value_bytes - 1, where);
}

nt_text_status nt_text_build_unigram(const nt_text_spec *spec, const nt_text_key *tokens, size_t ids,
                                     nt_text_vocabulary *draft, double **scores, size_t *where) {
  double lowest = INFINITY;
  *scores = calloc(ids + 1, sizeof **scores);
  if (*scores == NULL) return NT_TEXT_NO_MEMORY;
  for (size_t index = 0; index < spec->tokens.count; index++) {
    *where = index;
    if (!isfinite(spec->scores[index])) return NT_TEXT_BAD_SCORE;
    if (spec->scores[index] < lowest) lowest = spec->scores[index];
    (*scores)[spec->ids[index]] = spec->scores[index];
  }
  draft->scores = *scores;
  draft->unknown_score = lowest - UNKNOWN_PENALTY;
  draft->byte_fallback = spec->byte_fallback;
  for (uint32_t byte = 0; byte < 256; byte++) {
    char name[8];
    snprintf(name, sizeof name, "<0x%02X>", byte);
    nt_text_key key = {(const uint8_t *)name, 6, 0};
    draft->byte_ids[byte] = nt_text_find_key(tokens, spec->tokens.count, &key);
  }
  return NT_TEXT_OK;
}
