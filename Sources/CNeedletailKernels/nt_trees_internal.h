// Shared by the layouts of trees: where a sum begins and ends, and how complete trees are made of others.
#pragma once

#include "nt_internal.h"
#include "nt_trees.h"

#if defined(NT_X86)
#if defined(NT_USE_SIMDE)
#define NT_TARGET_VBMI
#else
#define NT_TARGET_VBMI                                                                                \
  __attribute__((                                                                                     \
      target("avx2,fma,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx512vbmi," \
             "gfni")))
#endif
#endif

/// A running sum in the type of the model's source; the other field is unused.
typedef struct nt_sum {
  double d;
  float f;
} nt_sum;

NT_INLINE nt_sum nt_sum_start(const nt_trees *trees, size_t output) {
  double start = trees->start ? trees->start[output] : 0;
  return (nt_sum){.d = start, .f = (float)start};
}

NT_INLINE void nt_sum_add(nt_sum *sum, const void *values, size_t at, bool is_f32) {
  if (is_f32) {
    sum->f += ((const float *)values)[at];
  } else {
    sum->d += ((const double *)values)[at];
  }
}

/// Divides, adds the bias and rounds to fp32.
NT_INLINE float nt_sum_end(const nt_trees *trees, size_t output, nt_sum sum, bool is_f32) {
  if (is_f32) {
    float f = trees->divisor != 1 ? sum.f / (float)trees->divisor : sum.f;
    return trees->bias ? f + (float)trees->bias[output] : f;
  }
  double d = trees->divisor != 1 ? sum.d / trees->divisor : sum.d;
  return (float)(trees->bias ? d + trees->bias[output] : d);
}

NT_INLINE size_t nt_value_bytes(bool is_f32) { return is_f32 ? sizeof(float) : sizeof(double); }

NT_INLINE void nt_value_set(void *values, size_t at, double value, bool is_f32) {
  if (is_f32) {
    ((float *)values)[at] = (float)value;
  } else {
    ((double *)values)[at] = value;
  }
}

NT_INLINE size_t nt_round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

/// The row `r` of an input.
NT_INLINE const void *nt_trees_row(const nt_trees *trees, const void *x, size_t r) {
  return (const uint8_t *)x + r * trees->ranks.columns * (trees->ranks.is_f64 ? sizeof(double) : sizeof(float));
}

/// One number of a row.
NT_INLINE double nt_trees_number(const void *row, size_t column, const bool is_f64) {
  return is_f64 ? ((const double *)row)[column] : (double)((const float *)row)[column];
}

/// The byte of a set: 0 for members. Truncation makes −0.5 category 0, as a cast to an integer does.
NT_INLINE uint8_t nt_rank_in_set(const nt_rank_set *set, double x) {
  if (x != x) return set->missing;
  if (!(x > -1 && x < (double)set->bit_count)) return 1;
  uint32_t code = (uint32_t)(int32_t)x;
  return !(set->bits[code / 32] >> code % 32 & 1);
}

/// What sets of one column tell apart: a code, code_count for all other values, code_count + 1 for missing ones.
NT_INLINE size_t nt_code_of(const nt_rank_codes *codes, double x) {
  if (x != x) return codes->code_count + 1u;
  return x > -1 && x < (double)codes->code_count ? (uint32_t)(int32_t)x : codes->code_count;
}

/// The byte of a set of `codes` for what nt_code_of returns.
NT_INLINE uint8_t nt_rank_of_code(const nt_rank_codes *codes, const nt_rank_set *set, uint32_t code) {
  return code > codes->code_count ? set->missing : nt_rank_in_set(set, code);
}

/// Groups of `size` trees, no group with trees of two ranges, counted by the number of trees alone: an upper bound.
NT_INLINE size_t nt_groups_max(const nt_forest *forest, size_t size) {
  return forest->tree_count / size + forest->range_count;
}

/// Whether a packed form stays in proportion to the model: trees that are much smaller than the deepest one would
/// otherwise fill memory with copies of leaves.
NT_INLINE bool nt_is_proportionate(const nt_forest *forest, size_t bytes) {
  return bytes <= ((size_t)1 << 20) + 128 * ((size_t)forest->node_count + (size_t)forest->leaf_count * forest->width);
}

/// Splits and exits of the first levels of a tree as a complete one.
typedef struct nt_complete_tree {
  /// Breadth first: the node at each position, or −1 where the tree has a leaf above.
  int32_t node[(1 << NT_TREES_COMPLETE_DEPTH_MAX) - 1];
  /// From left to right: the node, or ~leaf, below the last level. A leaf further up fills all the exits below it.
  int32_t exit[1 << NT_TREES_COMPLETE_DEPTH_MAX];
} nt_complete_tree;

/// - Parameter depth: up to NT_TREES_COMPLETE_DEPTH_MAX levels.
void nt_complete(const nt_forest *forest, const nt_tree *tree, unsigned depth, nt_complete_tree *complete);

/// Adds the trees of a range for one ranked row to the sums of its outputs.
typedef void nt_range_function(const nt_trees *trees, const void *packed, const uint8_t *ranks, size_t range,
                               nt_sum *sums);

/// Row after row, range after range. `scratch` holds a ranked row, then a sum for each output of a range.
NT_INLINE void nt_trees_by_row(const nt_trees *trees, const void *packed, const void *x, size_t rows, float *y,
                               void *scratch, nt_range_function *add) {
  uint8_t *ranks = scratch;
  nt_sum *sums = (nt_sum *)(ranks + nt_round_up(nt_ranks_bytes(&trees->ranks), NT_ALIGNMENT));
  for (size_t r = 0; r < rows; r++) {
    trees->rank(&trees->ranks, nt_trees_row(trees, x, r), 1, 1, ranks);
    for (size_t range = 0; range < trees->range_count; range++, y += trees->width) {
      for (size_t w = 0; w < trees->width; w++) sums[w] = nt_sum_start(trees, range * trees->width + w);
      add(trees, packed, ranks, range, sums);
      for (size_t w = 0; w < trees->width; w++) {
        y[w] = nt_sum_end(trees, range * trees->width + w, sums[w], trees->sums_f32);
      }
    }
  }
}

#if defined(NT_X86)
/// Whether this CPU has what the layouts of AVX-512 VBMI use.
bool nt_trees_has_vbmi(void);
#endif

/// The layouts.
extern const nt_trees_layout nt_trees_nodes, nt_trees_complete;
#if defined(NT_X86)
extern const nt_trees_layout nt_trees_lanes__avx512vbmi, nt_trees_blocks__avx512vbmi, nt_trees_any_lanes__avx512vbmi,
    nt_trees_rows__avx512vbmi, nt_trees_any_rows__avx512vbmi, nt_trees_merged__avx512vbmi, nt_trees_lanes__avx2,
    nt_trees_rows__avx2, nt_trees_oblivious_lanes__avx512vbmi, nt_trees_oblivious_rows__avx512vbmi,
    nt_trees_oblivious_lanes__avx2, nt_trees_oblivious_rows__avx2;
#elif defined(NT_ARM64)
extern const nt_trees_layout nt_trees_rows__neon;
#endif
