// The common part of the layouts of oblivious trees, as CatBoost grows them, for blocks of rows.
//
// All splits of a level ask the same, so the answers of a row's levels are the bits of its leaf's number: no split is
// picked, and numbers of leaves are made in byte lanes without masks.
#pragma once

#include "nt_trees_rows.h"

typedef struct nt_oblivious_header {
  uint32_t depth, trees;
  /// Offsets: per range its first tree; comparisons per tree and level; values per value of a leaf and tree, 2^depth
  /// numbers or their byte planes.
  size_t range_first, comparisons, values;
} nt_oblivious_header;

NT_INLINE nt_oblivious_header nt_oblivious_layout(const nt_forest *forest, bool has_planes, size_t *bytes) {
  nt_oblivious_header header = {.depth = nt_rows_levels(forest), .trees = forest->tree_count};
  const size_t trees = forest->tree_count;
  size_t at = nt_round_up(sizeof header, NT_ALIGNMENT);
  header.range_first = at, at += nt_round_up((forest->range_count + 1) * sizeof(uint32_t), NT_ALIGNMENT);
  header.comparisons = at, at += nt_round_up(trees * header.depth * sizeof(nt_comparison), NT_ALIGNMENT);
  header.values = at;
  *bytes = at + trees * forest->width * nt_rows_tree_bytes(header.depth, forest->sums_f32, has_planes);
  return header;
}

/// Up to 8 levels: leaf numbers are bytes.
NT_INLINE size_t nt_oblivious_bytes(const nt_forest *forest, bool has_planes) {
  if (forest->depth_max > 8) return 0;
  size_t bytes;
  nt_oblivious_layout(forest, has_planes, &bytes);
  return nt_is_proportionate(forest, bytes) ? bytes : 0;
}

/// The question of each level; false if splits of one level ask differently. A level without a split asks byte 0:
/// exits below it hold the same leaf, so that any answer will do.
NT_INLINE bool nt_oblivious_levels(const nt_tree_node *nodes, const nt_complete_tree *complete, unsigned depth,
                                   nt_tree_node *levels) {
  for (unsigned d = 0; d < depth; d++) {
    const nt_tree_node *asked = NULL;
    levels[d] = (nt_tree_node){.rank = 1};
    for (size_t p = ((size_t)1 << d) - 1; p + 1 < (size_t)2 << d; p++) {
      if (complete->node[p] < 0) continue;
      const nt_tree_node *node = &nodes[complete->node[p]];
      if (asked && (asked->input != node->input || asked->rank != node->rank)) return false;
      asked = node, levels[d] = *node;
    }
  }
  return true;
}

/// - Parameter flip: as of nt_rows_pack.
NT_INLINE bool nt_oblivious_pack(const nt_forest *forest, void *packed, uint32_t block_rows, uint8_t flip,
                                 bool has_planes) {
  uint8_t *base = packed;
  size_t bytes;
  nt_oblivious_header header = nt_oblivious_layout(forest, has_planes, &bytes);
  const size_t tree_bytes = nt_rows_tree_bytes(header.depth, forest->sums_f32, has_planes);
  memcpy(packed, &header, sizeof header);
  memcpy(base + header.range_first, forest->range_first, (forest->range_count + 1) * sizeof(uint32_t));
  nt_comparison *comparisons = (nt_comparison *)(base + header.comparisons);
  for (uint32_t t = 0; t < forest->tree_count; t++) {
    nt_complete_tree complete;
    nt_tree_node levels[8];
    nt_complete(forest, &forest->trees[t], header.depth, &complete);
    if (!nt_oblivious_levels(forest->nodes + forest->trees[t].first_node, &complete, header.depth, levels))
      return false;
    for (unsigned d = 0; d < header.depth; d++) {
      comparisons[t * header.depth + d] = nt_comparison_of(&levels[d], block_rows, flip);
    }
    for (size_t w = 0; w < forest->width; w++) {
      nt_rows_pack_values(base + header.values + (w * forest->tree_count + t) * tree_bytes, forest, &forest->trees[t],
                          complete.exit, header.depth, w, has_planes);
    }
  }
  return true;
}
