// The two layouts in plain C, which every CPU runs: compact nodes for trees of any shape, and complete trees.
//
// Both walk eight trees in lock step: a step waits for a load, and independent chains hide that; more than eight do not
// fit the registers of x86. Nothing branches on data.
#include "nt_trees_internal.h"

enum { group = 8 };

/// Adds the leaves of a group, `at` being their places. A sum that stays in memory waits some five cycles more for each
/// addition, so that of a single value is kept in a register.
NT_INLINE void add_group(nt_sum *sums, const void *values, const size_t *at, size_t count, size_t width,
                         const bool is_f32) {
  if (width > 1) {
    for (size_t j = 0; j < count; j++) {
      for (size_t w = 0; w < width; w++) nt_sum_add(&sums[w], values, at[j] * width + w, is_f32);
    }
    return;
  }
  nt_sum sum = sums[0];
  if (count == group) {
#pragma clang loop vectorize(disable) unroll(full)
    for (size_t j = 0; j < group; j++) nt_sum_add(&sum, values, at[j], is_f32);
  } else {
    for (size_t j = 0; j < count; j++) nt_sum_add(&sum, values, at[j], is_f32);
  }
  sums[0] = sum;
}

// MARK: - compact nodes

/// One node, breadth first within its tree, so that the right child stands behind the left.
///
/// A leaf stays where it is: its rank is NT_RANK_NEVER and its distance 0. Values of leaves stand at the place of the
/// leaf among all nodes.
typedef struct compact_node {
  uint32_t input;
  /// Distance to the left child times 256, plus the rank.
  uint32_t distance_rank;
} compact_node;

/// The header of the packed form; offsets in bytes from there.
typedef struct compact_header {
  uint32_t tree_count;
  size_t range_first, first_node, steps, nodes, values;
} compact_header;

static size_t compact_nodes(const nt_forest *forest) { return (size_t)forest->node_count + forest->leaf_count; }

static compact_header compact_layout(const nt_forest *forest, size_t *bytes) {
  compact_header header = {.tree_count = forest->tree_count};
  size_t at = nt_round_up(sizeof header, NT_ALIGNMENT);
  header.range_first = at, at += nt_round_up((forest->range_count + 1) * sizeof(uint32_t), NT_ALIGNMENT);
  header.first_node = at, at += nt_round_up(forest->tree_count * sizeof(uint32_t), NT_ALIGNMENT);
  header.steps = at, at += nt_round_up(forest->tree_count * sizeof(uint32_t), NT_ALIGNMENT);
  header.nodes = at, at += nt_round_up(compact_nodes(forest) * sizeof(compact_node), NT_ALIGNMENT);
  header.values = at, at += compact_nodes(forest) * forest->width * nt_value_bytes(forest->sums_f32);
  *bytes = at;
  return header;
}

static size_t compact_bytes(const nt_forest *forest) {
  size_t bytes;
  compact_layout(forest, &bytes);
  return bytes;
}

static void compact_tree(const nt_forest *forest, const nt_tree *tree, compact_node *nodes, void *values,
                         size_t first) {
  const nt_tree_node *from = forest->nodes + tree->first_node;
  // The queue of a breadth-first walk is what has been written so far: `input` holds the reference until its turn.
  uint32_t count = 1;
  nodes[0].input = (uint32_t)(tree->nodes ? 0 : ~0);
  for (uint32_t i = 0; i < count; i++) {
    int32_t reference = (int32_t)nodes[i].input;
    if (reference < 0) {
      nodes[i] = (compact_node){.distance_rank = NT_RANK_NEVER};
      const double *leaf = forest->leaves + (size_t)(tree->first_leaf + (uint32_t)~reference) * forest->width;
      for (size_t w = 0; w < forest->width; w++) {
        nt_value_set(values, (first + i) * forest->width + w, leaf[w], forest->sums_f32);
      }
      continue;
    }
    const nt_tree_node *node = &from[reference];
    nodes[i] = (compact_node){.input = node->input, .distance_rank = (count - i) << 8 | node->rank};
    for (size_t side = 0; side < 2; side++) nodes[count++].input = (uint32_t)node->child[side];
  }
}

static bool compact_pack(const nt_forest *forest, void *packed) {
  uint8_t *base = packed;
  size_t bytes;
  compact_header header = compact_layout(forest, &bytes);
  memcpy(packed, &header, sizeof header);
  memcpy(base + header.range_first, forest->range_first, (forest->range_count + 1) * sizeof(uint32_t));
  uint32_t *first_node = (uint32_t *)(base + header.first_node), *steps = (uint32_t *)(base + header.steps);
  uint32_t first = 0;
  for (uint32_t range = 0; range < forest->range_count; range++) {
    for (uint32_t t = forest->range_first[range]; t < forest->range_first[range + 1]; t++) {
      const nt_tree *tree = &forest->trees[t];
      first_node[t] = first;
      compact_tree(forest, tree, (compact_node *)(base + header.nodes) + first, base + header.values, first);
      first += tree->nodes + tree->leaves;
      for (uint32_t j = t; j < t + group && j < forest->range_first[range + 1]; j++) {
        if (forest->trees[j].depth > steps[t]) steps[t] = forest->trees[j].depth;
      }
    }
  }
  return true;
}

/// A ranked row, then a sum for each output of a range.
static size_t plain_scratch_bytes(const nt_forest *forest) {
  return nt_round_up(forest->rank_bytes, NT_ALIGNMENT) + forest->width * sizeof(nt_sum);
}

/// The trees of one range for one ranked row.
NT_INLINE void compact_range(const nt_trees *trees, const compact_header *header, const uint8_t *ranks, size_t range,
                             nt_sum *sums, const bool is_f32) {
  const uint8_t *base = (const uint8_t *)header;
  const uint32_t *range_first = (const uint32_t *)(base + header->range_first);
  const uint32_t *first_node = (const uint32_t *)(base + header->first_node);
  const uint32_t *steps = (const uint32_t *)(base + header->steps);
  const compact_node *nodes = (const compact_node *)(base + header->nodes);
  for (uint32_t t = range_first[range], end = range_first[range + 1]; t < end; t += group) {
    uint32_t count = end - t < group ? end - t : group;
    size_t at[group];
    for (uint32_t j = 0; j < group; j++) at[j] = first_node[j < count ? t + j : t];
    for (uint32_t left = steps[t]; left > 0; left--) {
#pragma clang loop vectorize(disable) unroll(full)
      for (size_t j = 0; j < group; j++) {
        uint32_t both = nodes[at[j]].distance_rank;
        at[j] += (both >> 8) + (ranks[nodes[at[j]].input] >= (uint8_t)both);
      }
    }
    add_group(sums, base + header->values, at, count, trees->width, is_f32);
  }
}

static void compact_walk(const nt_trees *trees, const void *packed, const uint8_t *ranks, size_t range, nt_sum *sums) {
  if (trees->sums_f32) {
    compact_range(trees, packed, ranks, range, sums, true);
  } else {
    compact_range(trees, packed, ranks, range, sums, false);
  }
}

static void compact_run(const nt_trees *trees, const void *packed, const void *x, size_t rows, float *y,
                        void *scratch) {
  nt_trees_by_row(trees, packed, x, rows, y, scratch, compact_walk);
}

const nt_trees_layout nt_trees_nodes = {"nodes", compact_bytes, compact_pack, plain_scratch_bytes, compact_run, 1};

// MARK: - complete trees

// A tree of depth D has 2^D slots: splits in slots 1 to 2^D − 1. Slot i's children are 2i, the right one, and 2i + 1:
// so the carry of the comparison is what a step adds to 2i, which is one instruction. Slots that the tree does not have
// go left, and the exits below repeat its leaf.

typedef struct complete_header {
  uint32_t depth;
  /// Numbers of inputs take 16 bits.
  bool is_wide;
  size_t range_first, ranks, inputs, values;
} complete_header;

static complete_header complete_layout(const nt_forest *forest, size_t *bytes) {
  complete_header header = {.depth = forest->depth_max, .is_wide = forest->rank_bytes > UINT8_MAX + 1};
  // Whole groups may be read behind the last tree.
  size_t at = nt_round_up(sizeof header, NT_ALIGNMENT), slots = (size_t)1 << forest->depth_max;
  size_t all = (forest->tree_count + group) * slots;
  header.range_first = at, at += nt_round_up((forest->range_count + 1) * sizeof(uint32_t), NT_ALIGNMENT);
  header.ranks = at, at += nt_round_up(all, NT_ALIGNMENT);
  header.inputs = at, at += nt_round_up(all * (header.is_wide ? sizeof(uint16_t) : sizeof(uint8_t)), NT_ALIGNMENT);
  header.values = at, at += all * forest->width * nt_value_bytes(forest->sums_f32);
  *bytes = at;
  return header;
}

static size_t complete_bytes(const nt_forest *forest) {
  if (forest->depth_max > NT_TREES_COMPLETE_DEPTH_MAX || forest->rank_bytes > UINT16_MAX) return 0;
  size_t bytes;
  complete_layout(forest, &bytes);
  return nt_is_proportionate(forest, bytes) ? bytes : 0;
}

static bool complete_pack(const nt_forest *forest, void *packed) {
  uint8_t *base = packed;
  size_t bytes, slots = (size_t)1 << forest->depth_max;
  complete_header header = complete_layout(forest, &bytes);
  memcpy(packed, &header, sizeof header);
  memcpy(base + header.range_first, forest->range_first, (forest->range_count + 1) * sizeof(uint32_t));
  uint8_t *ranks = base + header.ranks, *inputs = base + header.inputs;
  memset(ranks, NT_RANK_NEVER, (forest->tree_count + group) * slots);
  for (uint32_t t = 0; t < forest->tree_count; t++) {
    const nt_tree *tree = &forest->trees[t];
    nt_complete_tree complete;
    nt_complete(forest, tree, forest->depth_max, &complete);
    for (size_t level = 1; level < slots; level *= 2) {
      for (size_t p = level - 1; p < 2 * level - 1; p++) {
        if (complete.node[p] < 0) continue;
        const nt_tree_node *node = &forest->nodes[tree->first_node + (uint32_t)complete.node[p]];
        size_t slot = t * slots + 3 * level - 2 - p;
        ranks[slot] = node->rank;
        if (header.is_wide) {
          ((uint16_t *)inputs)[slot] = (uint16_t)node->input;
        } else {
          inputs[slot] = (uint8_t)node->input;
        }
      }
    }
    for (size_t e = 0; e < slots; e++) {
      const double *leaf = forest->leaves + (size_t)(tree->first_leaf + (uint32_t)~complete.exit[e]) * forest->width;
      for (size_t w = 0; w < forest->width; w++) {
        nt_value_set(base + header.values, (t * slots + slots - 1 - e) * forest->width + w, leaf[w], forest->sums_f32);
      }
    }
  }
  return true;
}

NT_INLINE void complete_range(const nt_trees *trees, const complete_header *header, const uint8_t *ranks, size_t range,
                              nt_sum *sums, const unsigned depth, const bool is_wide, const bool is_f32) {
  const uint8_t *base = (const uint8_t *)header;
  const uint32_t *range_first = (const uint32_t *)(base + header->range_first);
  const size_t slots = (size_t)1 << depth;
  for (uint32_t t = range_first[range], end = range_first[range + 1]; t < end; t += group) {
    const uint8_t *rank = base + header->ranks + t * slots, *inputs = base + header->inputs;
    const uint8_t *narrow = inputs + t * slots;
    const uint16_t *wide = (const uint16_t *)inputs + t * slots;
    size_t at[group];
    for (size_t j = 0; j < group; j++) at[j] = 1;
    for (unsigned d = 0; d < depth; d++) {
#pragma clang loop vectorize(disable) unroll(full)
      for (size_t j = 0; j < group; j++) {
        size_t slot = at[j] + j * slots;
        at[j] += at[j] + (ranks[is_wide ? wide[slot] : narrow[slot]] < rank[slot]);
      }
    }
    for (size_t j = 0; j < group; j++) at[j] += (t + j - 1) * slots;
    add_group(sums, base + header->values, at, end - t < group ? end - t : group, trees->width, is_f32);
  }
}

/// The depths that libraries default to are compiled as constants, for numbers of inputs that are bytes.
NT_INLINE void complete_depth(const nt_trees *trees, const complete_header *header, const uint8_t *ranks, size_t range,
                              nt_sum *sums, const bool is_f32) {
  if (header->is_wide) {
    complete_range(trees, header, ranks, range, sums, header->depth, true, is_f32);
  } else if (header->depth == 6) {
    complete_range(trees, header, ranks, range, sums, 6, false, is_f32);
  } else if (header->depth == 8) {
    complete_range(trees, header, ranks, range, sums, 8, false, is_f32);
  } else {
    complete_range(trees, header, ranks, range, sums, header->depth, false, is_f32);
  }
}

static void complete_walk(const nt_trees *trees, const void *packed, const uint8_t *ranks, size_t range, nt_sum *sums) {
  if (trees->sums_f32) {
    complete_depth(trees, packed, ranks, range, sums, true);
  } else {
    complete_depth(trees, packed, ranks, range, sums, false);
  }
}

static void complete_run(const nt_trees *trees, const void *packed, const void *x, size_t rows, float *y,
                         void *scratch) {
  nt_trees_by_row(trees, packed, x, rows, y, scratch, complete_walk);
}

const nt_trees_layout nt_trees_complete = {"complete",          complete_bytes, complete_pack,
                                           plain_scratch_bytes, complete_run,   1};
