// The common part of the layouts of blocks of rows: every split of complete trees as one comparison of a block.
#pragma once

#include "nt_trees_internal.h"

/// Trees of a group: with 64 rows, their masks are a register of 512 bits.
enum { nt_block_trees = 8 };

/// One split of one tree for a block of rows.
typedef struct nt_comparison {
  /// The byte that the input is compared with, four times: broadcasting 32 bits from memory needs no shuffle.
  uint32_t number4;
  /// Offset of the input's rows.
  uint32_t offset;
} nt_comparison;

typedef struct nt_rows_header {
  uint32_t depth, groups;
  /// Offsets: per range its first tree, and its first group of 8; comparisons per group, position and tree; values per
  /// value of a leaf and tree, 2^depth numbers or their byte planes.
  size_t range_first, group_first, comparisons, values;
} nt_rows_header;

/// Bytes of one plane of a tree's values.
NT_INLINE size_t nt_plane_bytes(unsigned depth) { return depth <= 6 ? 64 : (size_t)1 << depth; }

/// Value `w` of the leaves as byte planes: byte b of leaf e at [b * plane + e].
///
/// - Parameter exits: ~leaf each.
NT_INLINE void nt_set_planes(uint8_t *planes, const nt_forest *forest, const nt_tree *tree, const int32_t *exits,
                             size_t exit_count, unsigned depth, size_t w) {
  for (size_t e = 0; e < exit_count; e++) {
    uint8_t bytes[8];
    double value = forest->leaves[(size_t)(tree->first_leaf + (uint32_t)~exits[e]) * forest->width + w];
    nt_value_set(bytes, 0, value, forest->sums_f32);
    for (size_t b = 0; b < nt_value_bytes(forest->sums_f32); b++) planes[b * nt_plane_bytes(depth) + e] = bytes[b];
  }
}

NT_INLINE unsigned nt_rows_levels(const nt_forest *forest) { return forest->depth_max ? forest->depth_max : 1; }

/// Bytes of one value of the leaves of a tree.
NT_INLINE size_t nt_rows_tree_bytes(unsigned depth, bool is_f32, bool has_planes) {
  return (has_planes ? nt_plane_bytes(depth) : (size_t)1 << depth) * nt_value_bytes(is_f32);
}

NT_INLINE nt_rows_header nt_rows_layout(const nt_forest *forest, bool has_planes, size_t *bytes) {
  size_t groups = nt_groups_max(forest, nt_block_trees), table = (forest->range_count + 1) * sizeof(uint32_t);
  nt_rows_header header = {.depth = nt_rows_levels(forest), .groups = (uint32_t)groups};
  size_t at = nt_round_up(sizeof header, NT_ALIGNMENT), trees = groups * nt_block_trees;
  header.range_first = at, at += nt_round_up(table, NT_ALIGNMENT);
  header.group_first = at, at += nt_round_up(table, NT_ALIGNMENT);
  header.comparisons = at, at += trees * (((size_t)1 << header.depth) - 1) * sizeof(nt_comparison);
  header.values = nt_round_up(at, NT_ALIGNMENT);
  *bytes = header.values + trees * forest->width * nt_rows_tree_bytes(header.depth, forest->sums_f32, has_planes);
  return header;
}

/// Up to 8 levels: leaf numbers are bytes.
NT_INLINE size_t nt_rows_bytes(const nt_forest *forest, bool has_planes) {
  if (forest->depth_max > 8) return 0;
  size_t bytes;
  nt_rows_layout(forest, has_planes, &bytes);
  return nt_is_proportionate(forest, bytes) ? bytes : 0;
}

/// - Parameter flip: what ranks are combined with by exclusive or, after 1 is taken off where it is not 0: for
///   instruction sets that compare signed bytes for `greater` only.
NT_INLINE nt_comparison nt_comparison_of(const nt_tree_node *node, uint32_t block_rows, uint8_t flip) {
  uint8_t number = (uint8_t)((node->rank - (flip != 0)) ^ flip);
  return (nt_comparison){number * 0x01010101u, node->input * block_rows};
}

/// Value `w` of the 2^depth exits of a tree, as numbers or as byte planes.
NT_INLINE void nt_rows_pack_values(uint8_t *values, const nt_forest *forest, const nt_tree *tree, const int32_t *exits,
                                   unsigned depth, size_t w, bool has_planes) {
  if (has_planes) {
    nt_set_planes(values, forest, tree, exits, (size_t)1 << depth, depth, w);
    return;
  }
  for (size_t e = 0; e < (size_t)1 << depth; e++) {
    size_t leaf = tree->first_leaf + (uint32_t)~exits[e];
    nt_value_set(values, e, forest->leaves[leaf * forest->width + w], forest->sums_f32);
  }
}

/// - Parameter flip: as of nt_comparison_of.
NT_INLINE bool nt_rows_pack(const nt_forest *forest, void *packed, uint32_t block_rows, uint8_t flip, bool has_planes) {
  uint8_t *base = packed;
  size_t bytes;
  nt_rows_header header = nt_rows_layout(forest, has_planes, &bytes);
  const size_t positions = ((size_t)1 << header.depth) - 1;
  const size_t tree_bytes = nt_rows_tree_bytes(header.depth, forest->sums_f32, has_planes);
  memcpy(packed, &header, sizeof header);
  memcpy(base + header.range_first, forest->range_first, (forest->range_count + 1) * sizeof(uint32_t));
  uint32_t *group_first = (uint32_t *)(base + header.group_first);
  nt_comparison *comparisons = (nt_comparison *)(base + header.comparisons);
  uint32_t g = 0;
  for (uint32_t range = 0; range < forest->range_count; range++) {
    uint32_t first = forest->range_first[range], end = forest->range_first[range + 1];
    group_first[range] = g;
    for (uint32_t t = first; t < end; t++) {
      size_t slot = (size_t)g * nt_block_trees + t - first;
      nt_complete_tree complete;
      nt_complete(forest, &forest->trees[t], header.depth, &complete);
      for (size_t p = 0; p < positions; p++) {
        // Where the tree has no split, both sides hold the same leaf, so that any answer will do.
        if (complete.node[p] < 0) continue;
        const nt_tree_node *node = &forest->nodes[forest->trees[t].first_node + (uint32_t)complete.node[p]];
        comparisons[(slot / nt_block_trees * positions + p) * nt_block_trees + slot % nt_block_trees] =
            nt_comparison_of(node, block_rows, flip);
      }
      for (size_t w = 0; w < forest->width; w++) {
        nt_rows_pack_values(base + header.values + (w * header.groups * nt_block_trees + slot) * tree_bytes, forest,
                            &forest->trees[t], complete.exit, header.depth, w, has_planes);
      }
    }
    g += (end - first + nt_block_trees - 1) / nt_block_trees;
  }
  group_first[forest->range_count] = g;
  return true;
}

// MARK: - plain sums

/// Adds 8 trees, or the last few, to the sums of a block whose leaf numbers stand as leaf[tree * block_rows + row].
NT_INLINE void nt_rows_add(const void *values, const uint8_t *leaf, size_t trees, size_t block_rows, nt_sum *sums,
                           const int depth, const bool is_f32) {
  const size_t exits = (size_t)1 << depth;
  for (size_t r = 0; r < block_rows; r++) {
    nt_sum here = sums[r];
    if (trees == nt_block_trees) {
#pragma clang loop vectorize(disable) unroll(full)
      for (size_t j = 0; j < nt_block_trees; j++) {
        nt_sum_add(&here, values, j * exits + leaf[j * block_rows + r], is_f32);
      }
    } else {
      for (size_t j = 0; j < trees; j++) nt_sum_add(&here, values, j * exits + leaf[j * block_rows + r], is_f32);
    }
    sums[r] = here;
  }
}

NT_INLINE void nt_rows_start(const nt_trees *trees, size_t range, size_t block_rows, nt_sum *sums) {
  for (size_t i = 0; i < trees->width * block_rows; i++) {
    sums[i] = nt_sum_start(trees, range * trees->width + i / block_rows);
  }
}

NT_INLINE void nt_rows_store(const nt_trees *trees, size_t range, size_t block_rows, const nt_sum *sums, size_t rows,
                             float *y, const bool is_f32) {
  const size_t outputs = (size_t)trees->range_count * trees->width;
  for (size_t w = 0; w < trees->width; w++) {
    size_t output = range * trees->width + w;
    for (size_t r = 0; r < rows; r++) {
      y[r * outputs + output] = nt_sum_end(trees, output, sums[w * block_rows + r], is_f32);
    }
  }
}
