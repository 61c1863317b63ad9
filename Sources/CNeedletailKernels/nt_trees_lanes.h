// The common part of the layouts for few rows: a group of trees in the byte lanes of a register.
//
// A *walk* leads one row to the leaves of all trees of a group: questions of a level are picked for every tree by the
// decisions above, or, where trees are oblivious, are the same on all paths. What is picked from, how the leaves are
// added and how rows are shared out is here; walks are a matter of the instruction set.
//
// The sum sets the pace: additions that wait for each other take longer than the walk. So for one row the leaves of a
// group are added during the walk of the next, a few between two levels: behind the walk they would fill the scheduler.
// Several rows share the loads of a group and are chains of their own.
#pragma once

#include "nt_trees_internal.h"

#if defined(NT_X86)
#include "nt_intrinsics.h"

/// The bytes of a row at 64 places.
NT_TARGET_VBMI NT_INLINE __m512i nt_look_up(const __m512i *row, __m512i at, const int words) {
  if (words == 1) return _mm512_permutexvar_epi8(at, row[0]);
  if (words == 2) return _mm512_permutex2var_epi8(row[0], at, row[1]);
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(at), _mm512_permutex2var_epi8(row[0], at, row[1]),
                                _mm512_permutex2var_epi8(row[2], at, row[3]));
}
#endif

enum {
  /// Most trees of a group.
  nt_lanes_max = 64,
  /// Bytes of a ranked row: four registers of 512 bits.
  nt_lanes_row_bytes = 256,
  nt_lanes_rows_max = 8,
  /// Levels that a block stands for, and its bytes.
  nt_block_levels = 3,
  nt_block_bytes = 16,
};

typedef enum nt_pending_kind { nt_add_f64, nt_add_f32, nt_add_nothing } nt_pending_kind;

/// The leaves of the group before.
typedef struct nt_pending {
  /// Numbers of leaves: bytes, or 16 bits each where trees are deeper than 8 levels.
  const uint8_t *leaf;
  const uint8_t *values;
  size_t stride_bytes;
  nt_sum sum;
} nt_pending;

typedef struct nt_lanes_header {
  /// Trees of a group.
  uint32_t group;
  /// Levels by questions in lanes, levels in all.
  uint32_t top, depth;
  /// Questions of a group: one for each position of the upper levels, or for each level of oblivious trees.
  uint32_t questions;
  uint32_t rank_bytes;
  uint32_t groups;
  /// Offsets: per range its first tree, and its first group; per group and question its inputs, then its ranks; per
  /// tree and exit of the upper levels a block; per value of a leaf and tree 2^depth numbers.
  size_t range_first, group_first, positions, blocks, values;
  /// 7 decisions of a block, breadth first, to one of its 8 exits.
  uint8_t exits[128];
} nt_lanes_header;

/// How the trees of a forest stand in lanes.
typedef struct nt_lanes_form {
  uint32_t group;
  /// Levels below the questions, as blocks: 0 or nt_block_levels.
  uint32_t block_levels;
  /// All splits of a level ask the same.
  bool is_oblivious;
  /// The questions of a level are stored as their algebraic normal form in the decisions above, so that picking one
  /// takes an AND and an XOR for each: a blend of bytes is three operations on recent processors.
  bool is_combined;
} nt_lanes_form;

typedef void nt_walk_function(const nt_lanes_header *header, size_t g, const uint8_t *ranks, uint8_t *leaf,
                              nt_pending *before);

NT_INLINE nt_lanes_header nt_lanes_layout(const nt_forest *forest, const nt_lanes_form *form, size_t *bytes) {
  size_t groups = nt_groups_max(forest, form->group);
  nt_lanes_header header = {.group = form->group, .depth = forest->depth_max, .groups = (uint32_t)groups};
  header.top = header.depth - form->block_levels;
  header.questions = form->is_oblivious ? header.top : (1u << header.top) - 1;
  header.rank_bytes = forest->rank_bytes;
  size_t at = nt_round_up(sizeof header, NT_ALIGNMENT), table = (forest->range_count + 1) * sizeof(uint32_t);
  header.range_first = at, at += nt_round_up(table, NT_ALIGNMENT);
  header.group_first = at, at += nt_round_up(table, NT_ALIGNMENT);
  header.positions = at, at += nt_round_up(groups * header.questions * 2 * form->group, NT_ALIGNMENT);
  header.blocks = at;
  if (form->block_levels) at += groups * form->group * ((size_t)1 << header.top) * nt_block_bytes;
  header.values = at;
  at += (groups * form->group * forest->width << header.depth) * nt_value_bytes(forest->sums_f32);
  *bytes = at;
  return header;
}

NT_INLINE size_t nt_lanes_bytes(const nt_forest *forest, const nt_lanes_form *form) {
  size_t bytes;
  nt_lanes_layout(forest, form, &bytes);
  bool suits = forest->rank_bytes <= nt_lanes_row_bytes && forest->tree_count > form->group / 4;
  return suits && nt_is_proportionate(forest, bytes) ? bytes : 0;
}

// MARK: - packing

/// The three levels below an exit of the questions.
NT_INLINE void nt_lanes_pack_block(const nt_tree_node *nodes, int32_t exit, uint8_t *block) {
  memset(block, 0, 8), memset(block + 8, NT_RANK_NEVER, 8);
  int32_t at[15] = {exit};
  for (size_t p = 0; p < 7; p++) {
    for (size_t side = 0; side < 2; side++) at[2 * p + 1 + side] = at[p] < 0 ? at[p] : nodes[at[p]].child[side];
    if (at[p] < 0) continue;
    block[p] = (uint8_t)nodes[at[p]].input, block[8 + p] = nodes[at[p]].rank;
  }
}

/// The algebraic normal form of the 2^d questions of a level, `step` bytes apart: number i becomes the XOR of all
/// numbers whose bits are among those of i.
NT_INLINE void nt_lanes_combine(uint8_t *level, unsigned d, size_t step) {
  for (size_t bit = 1; bit < (size_t)1 << d; bit *= 2) {
    for (size_t i = 0; i < (size_t)1 << d; i++) {
      if (i & bit) level[i * step] ^= level[(i ^ bit) * step];
    }
  }
}

/// Returns whether the tree suits the form: all splits of a level of an oblivious tree ask the same.
NT_INLINE bool nt_lanes_pack_tree(const nt_forest *forest, const nt_tree *tree, const nt_lanes_form *form,
                                  const nt_lanes_header *header, uint8_t *base, size_t slot) {
  const nt_tree_node *nodes = forest->nodes + tree->first_node;
  const size_t group = form->group, stride = (size_t)1 << header->depth;
  nt_complete_tree complete;
  nt_complete(forest, tree, header->top, &complete);
  uint8_t *lane = base + header->positions + slot / group * header->questions * 2 * group + slot % group;
  for (unsigned d = 0; d < header->top; d++) {
    const size_t first = ((size_t)1 << d) - 1;
    const nt_tree_node *asked = NULL;
    for (size_t p = first; p < 2 * first + 1; p++) {
      // Where the tree has no split, all exits below hold the same leaf, so that any answer will do.
      if (complete.node[p] < 0) continue;
      const nt_tree_node *node = &nodes[complete.node[p]];
      uint8_t *question = lane + (form->is_oblivious ? d : p) * 2 * group;
      question[0] = (uint8_t)node->input, question[group] = node->rank;
      if (form->is_oblivious && asked && (asked->input != node->input || asked->rank != node->rank)) return false;
      asked = node;
    }
    if (!form->is_combined || form->is_oblivious) continue;
    nt_lanes_combine(lane + first * 2 * group, d, 2 * group);
    nt_lanes_combine(lane + first * 2 * group + group, d, 2 * group);
  }
  if (form->block_levels) {
    for (size_t e = 0; e < (size_t)1 << header->top; e++) {
      uint8_t *block = base + header->blocks + ((slot << header->top) + e) * nt_block_bytes;
      nt_lanes_pack_block(nodes, complete.exit[e], block);
    }
    nt_complete(forest, tree, header->depth, &complete);
  }
  for (size_t w = 0; w < forest->width; w++) {
    size_t first = (w * header->groups * group + slot) * stride;
    for (size_t e = 0; e < stride; e++) {
      size_t leaf = tree->first_leaf + (uint32_t)~complete.exit[e];
      nt_value_set(base + header->values, first + e, forest->leaves[leaf * forest->width + w], forest->sums_f32);
    }
  }
  return true;
}

NT_INLINE bool nt_lanes_pack(const nt_forest *forest, void *packed, const nt_lanes_form *form) {
  uint8_t *base = packed;
  size_t bytes, group = form->group;
  nt_lanes_header header = nt_lanes_layout(forest, form, &bytes);
  for (size_t bits = 0; bits < 128; bits++) {
    size_t p = 0;
    for (int d = 0; d < nt_block_levels; d++) p = 2 * p + 1 + (bits >> p & 1);
    header.exits[bits] = (uint8_t)(p - 7);
  }
  memcpy(packed, &header, sizeof header);
  memcpy(base + header.range_first, forest->range_first, (forest->range_count + 1) * sizeof(uint32_t));
  uint32_t *group_first = (uint32_t *)(base + header.group_first);
  // Lanes without a tree, and those of a tree without a split, find their leaf wherever they go: values are the same,
  // or −0, which changes no sum.
  for (size_t i = 0; i < (size_t)header.groups * group * forest->width << header.depth; i++) {
    nt_value_set(base + header.values, i, -0.0, forest->sums_f32);
  }
  uint32_t g = 0;
  for (uint32_t range = 0; range < forest->range_count; range++) {
    uint32_t first = forest->range_first[range], end = forest->range_first[range + 1];
    group_first[range] = g;
    for (uint32_t t = first; t < end; t++) {
      size_t slot = (size_t)g * group + t - first;
      if (!nt_lanes_pack_tree(forest, &forest->trees[t], form, &header, base, slot)) return false;
    }
    g += (uint32_t)((end - first + group - 1) / group);
  }
  group_first[forest->range_count] = g;
  return true;
}

/// Ranked rows, then a sum for each row and output of a range.
static inline size_t nt_lanes_scratch_bytes(const nt_forest *forest) {
  return nt_lanes_rows_max * (nt_lanes_row_bytes + forest->width * sizeof(nt_sum));
}

// MARK: - summing

NT_INLINE size_t nt_leaf_at(const uint8_t *leaf, size_t i, const bool is_wide) {
  return is_wide ? ((const uint16_t *)leaf)[i] : leaf[i];
}

/// Adds the next `count` trees of the group before.
NT_INLINE void nt_add_some(nt_pending *p, int count, const nt_pending_kind kind, const bool is_wide) {
  if (kind == nt_add_nothing) return;
#pragma clang loop unroll(full)
  for (int i = 0; i < count; i++, p->values += p->stride_bytes) {
    nt_sum_add(&p->sum, p->values, nt_leaf_at(p->leaf, (size_t)i, is_wide), kind == nt_add_f32);
  }
  p->leaf += count * (is_wide ? 2 : 1);
}

/// One row with one value a leaf: each group's leaves are added during the walk of the next.
NT_INLINE float nt_lanes_row(const nt_trees *trees, const nt_lanes_header *header, size_t range, const uint8_t *ranks,
                             nt_walk_function *const *walks, const size_t group, const bool is_wide,
                             const bool is_f32) {
  static const double no_f64 = -0.0;
  static const float no_f32 = -0.0f;
  const uint8_t *base = (const uint8_t *)header;
  const uint32_t *group_first = (const uint32_t *)(base + header->group_first);
  const size_t stride = nt_value_bytes(is_f32) << header->depth;
  _Alignas(NT_ALIGNMENT) uint8_t leaf[2][2 * nt_lanes_max] = {{0}};
  nt_pending before = {.leaf = leaf[1],
                       .values = is_f32 ? (const uint8_t *)&no_f32 : (const uint8_t *)&no_f64,
                       .sum = nt_sum_start(trees, range)};
  for (size_t g = group_first[range]; g < group_first[range + 1]; g++) {
    walks[is_f32 ? nt_add_f32 : nt_add_f64](header, g, ranks, leaf[g & 1], &before);
    before.leaf = leaf[g & 1], before.stride_bytes = stride;
    before.values = base + header->values + g * group * stride;
  }
  nt_add_some(&before, (int)group, is_f32 ? nt_add_f32 : nt_add_f64, is_wide);
  return nt_sum_end(trees, range, before.sum, is_f32);
}

/// Some rows: groups outside, rows inside, so that a group is read from L2 once; each row is a chain of additions.
NT_INLINE void nt_lanes_some(const nt_trees *trees, const nt_lanes_header *header, size_t range, const uint8_t *ranks,
                             nt_sum *sums, float *y, nt_walk_function *const *walks, const int rows, const size_t group,
                             const bool is_wide, const bool is_f32) {
  const uint8_t *base = (const uint8_t *)header;
  const uint32_t *group_first = (const uint32_t *)(base + header->group_first);
  const uint32_t *range_first = (const uint32_t *)(base + header->range_first);
  const size_t width = trees->width, outputs = trees->range_count * width, stride = (size_t)1 << header->depth;
  for (size_t w = 0; w < width; w++) {
    for (int r = 0; r < rows; r++) sums[w * nt_lanes_rows_max + r] = nt_sum_start(trees, range * width + w);
  }
  size_t left = range_first[range + 1] - range_first[range];
  for (size_t g = group_first[range]; g < group_first[range + 1]; g++, left -= left < group ? left : group) {
    _Alignas(NT_ALIGNMENT) uint8_t leaf[nt_lanes_rows_max][2 * nt_lanes_max];
    nt_pending none = {0};
    for (int r = 0; r < rows; r++) walks[nt_add_nothing](header, g, ranks + r * nt_lanes_row_bytes, leaf[r], &none);
    size_t count = left < group ? left : group;
    for (size_t w = 0; w < width; w++) {
      nt_sum here[nt_lanes_rows_max];
      for (int r = 0; r < rows; r++) here[r] = sums[w * nt_lanes_rows_max + r];
      size_t at = (w * header->groups + g) * group * stride;
      for (size_t j = 0; j < count; j++, at += stride) {
#pragma clang loop vectorize(disable) unroll(full)
        for (int r = 0; r < rows; r++) {
          nt_sum_add(&here[r], base + header->values, at + nt_leaf_at(leaf[r], j, is_wide), is_f32);
        }
      }
      for (int r = 0; r < rows; r++) sums[w * nt_lanes_rows_max + r] = here[r];
    }
  }
  for (size_t w = 0; w < width; w++) {
    for (int r = 0; r < rows; r++) {
      nt_sum sum = sums[w * nt_lanes_rows_max + r];
      y[r * outputs + range * width + w] = nt_sum_end(trees, range * width + w, sum, is_f32);
    }
  }
}

NT_INLINE void nt_lanes_run(const nt_trees *trees, const nt_lanes_header *header, const void *x, size_t rows, float *y,
                            void *scratch, nt_walk_function *const *walks, const size_t group, const bool is_wide,
                            const bool is_f32) {
  uint8_t *ranks = scratch;
  nt_sum *sums = (nt_sum *)(ranks + nt_lanes_rows_max * nt_lanes_row_bytes);
  const size_t outputs = (size_t)trees->range_count * trees->width;
  for (size_t done = 0; done < rows;) {
    size_t left = rows - done, count = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
    for (size_t r = 0; r < count; r++) {
      trees->rank(&trees->ranks, nt_trees_row(trees, x, done + r), 1, 1, ranks + r * nt_lanes_row_bytes);
    }
    for (size_t range = 0; range < trees->range_count; range++) {
      float *to = y + done * outputs;
      if (count == 8) {
        nt_lanes_some(trees, header, range, ranks, sums, to, walks, 8, group, is_wide, is_f32);
      } else if (count == 4) {
        nt_lanes_some(trees, header, range, ranks, sums, to, walks, 4, group, is_wide, is_f32);
      } else if (count == 2) {
        nt_lanes_some(trees, header, range, ranks, sums, to, walks, 2, group, is_wide, is_f32);
      } else if (trees->width > 1) {
        nt_lanes_some(trees, header, range, ranks, sums, to, walks, 1, group, is_wide, is_f32);
      } else {
        to[range] = nt_lanes_row(trees, header, range, ranks, walks, group, is_wide, is_f32);
      }
    }
    done += count;
  }
}
