// Extended grapheme clusters: the rules GB3 to GB13 of Unicode's annex 29.
#include <stdbool.h>

#include "nt_text_unicode.h"

/// What the characters of a cluster so far say of the next one.
typedef struct cluster {
  uint32_t last;
  /// An odd count of regional indicators.
  bool is_half_flag;
  /// A pictograph with marks behind it, and whether a joiner follows them.
  bool is_pictograph, is_joined;
  /// A consonant of a conjunct, and whether a linker follows it.
  bool is_consonant, is_linked;
} cluster;

static void take(cluster *cluster, uint8_t class) {
  uint32_t kind = class & 15, conjunct = class & 48;
  cluster->last = kind;
  cluster->is_half_flag = kind == NT_TEXT_CLUSTER_REGIONAL && !cluster->is_half_flag;
  cluster->is_joined = cluster->is_pictograph && kind == NT_TEXT_CLUSTER_ZWJ;
  cluster->is_pictograph =
      kind == NT_TEXT_CLUSTER_PICTOGRAPHIC || (cluster->is_pictograph && kind == NT_TEXT_CLUSTER_EXTEND);
  if (conjunct == NT_TEXT_CONJUNCT_CONSONANT) {
    cluster->is_consonant = true;
    cluster->is_linked = false;
  } else if (conjunct == NT_TEXT_CONJUNCT_LINKER) {
    cluster->is_linked = cluster->is_consonant;
  } else if (conjunct != NT_TEXT_CONJUNCT_EXTEND) {
    cluster->is_consonant = cluster->is_linked = false;
  }
}

static bool joins(const cluster *cluster, uint8_t class) {
  uint32_t last = cluster->last, next = class & 15;
  if (last == NT_TEXT_CLUSTER_CR && next == NT_TEXT_CLUSTER_LF) return true;
  if (last >= NT_TEXT_CLUSTER_CR && last <= NT_TEXT_CLUSTER_CONTROL) return false;
  switch (next) {
    case NT_TEXT_CLUSTER_CR:
    case NT_TEXT_CLUSTER_LF:
    case NT_TEXT_CLUSTER_CONTROL:
      return false;
    case NT_TEXT_CLUSTER_EXTEND:
    case NT_TEXT_CLUSTER_ZWJ:
    case NT_TEXT_CLUSTER_SPACING:
      return true;
    default:
      break;
  }
  if (last == NT_TEXT_CLUSTER_PREPEND) return true;
  if (cluster->is_linked && (class & 48) == NT_TEXT_CONJUNCT_CONSONANT) return true;
  switch (next) {
    case NT_TEXT_CLUSTER_L:
    case NT_TEXT_CLUSTER_LV:
    case NT_TEXT_CLUSTER_LVT:
      return last == NT_TEXT_CLUSTER_L;
    case NT_TEXT_CLUSTER_V:
      return last == NT_TEXT_CLUSTER_L || last == NT_TEXT_CLUSTER_V || last == NT_TEXT_CLUSTER_LV;
    case NT_TEXT_CLUSTER_T:
      return last == NT_TEXT_CLUSTER_V || last == NT_TEXT_CLUSTER_LV || last == NT_TEXT_CLUSTER_T ||
             last == NT_TEXT_CLUSTER_LVT;
    case NT_TEXT_CLUSTER_PICTOGRAPHIC:
      return cluster->is_joined;
    case NT_TEXT_CLUSTER_REGIONAL:
      return cluster->is_half_flag;
    default:
      return false;
  }
}

size_t nt_text_cluster_end(const uint8_t *bytes, size_t start, size_t end) {
  cluster cluster = {0};
  uint32_t count;
  take(&cluster, nt_text_character_of(nt_text_decode(bytes + start, &count))->cluster);
  size_t index = start + count;
  while (index < end) {
    uint8_t class = nt_text_character_of(nt_text_decode(bytes + index, &count))->cluster;
    if (!joins(&cluster, class)) break;
    take(&cluster, class);
    index += count;
  }
  return index;
}
