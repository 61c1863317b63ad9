// 64 rows in the 64 byte lanes of a register, bit-sliced.
//
// Every split of a complete tree is one comparison of 64 rows, its result a 64-bit mask. The leaf numbers of all rows
// are then selected bit by bit: the top bit is the root's decision, the next the right child's where that is set, else
// the left child's, and so on: one VPTERNLOGQ a split for 8 trees, whose masks of 64 rows are a register.
#include "nt_trees_values__avx512vbmi.h"

#if defined(NT_X86)

static size_t rows_bytes(const nt_forest *forest) { return nt_rows_bytes(forest, true); }
static bool rows_pack(const nt_forest *forest, void *packed) {
  return nt_rows_pack(forest, packed, nt_block_rows, 0, true);
}

/// Bytes of the masks of one group: 8 for each split of 8 trees.
NT_INLINE size_t mask_bytes(unsigned depth) { return (size_t)nt_block_trees * 8 << depth; }

/// Ranked rows, masks of two groups, sums of a range.
static size_t rows_scratch_bytes(const nt_forest *forest) {
  return (size_t)forest->rank_bytes * nt_block_rows + 2 * mask_bytes(nt_rows_levels(forest)) +
         forest->width * sizeof(nt_block_sums);
}

// select_N: of 2^N masks `step` apart, the one that bits b[0] to b[N − 1] lead to; the latest bit is used last.
NT_TARGET_VBMI NT_INLINE __m512i select_0(const __m512i *at, size_t step, const __m512i *b) {
  (void)step, (void)b;
  return at[0];
}
#define SELECT(N, M)                                                                              \
  NT_TARGET_VBMI NT_INLINE __m512i select_##N(const __m512i *at, size_t step, const __m512i *b) { \
    return nt_select(b[M], select_##M(at + step, 2 * step, b), select_##M(at, 2 * step, b));      \
  }
SELECT(1, 0)
SELECT(2, 1)
SELECT(3, 2)
SELECT(4, 3)
SELECT(5, 4)
SELECT(6, 5)
SELECT(7, 6)

/// All splits of 8 trees for 64 rows.
NT_TARGET_VBMI NT_INLINE void compare_group(const nt_comparison *c, const uint8_t *x, uint64_t *masks,
                                            const int depth) {
  const nt_comparison *end = c + (((size_t)1 << depth) - 1) * nt_block_trees;
  for (; c < end; c += nt_block_trees, masks += nt_block_trees) {
#pragma clang loop unroll(full)
    for (int j = 0; j < nt_block_trees; j++) {
      masks[j] = _mm512_cmpge_epu8_mask(_mm512_load_si512((const void *)(x + c[j].offset)),
                                        _mm512_set1_epi32((int)c[j].number4));
    }
  }
}

/// The leaves of 8 trees for 64 rows.
NT_TARGET_VBMI NT_INLINE void leaves_of_group(const __m512i *masks, __m512i *leaves, const int depth) {
  __m512i b[8];
#define LEVEL(L) \
  if (depth > L) b[L] = select_##L(masks + (1 << L) - 1, 1, b);
  LEVEL(0)
  LEVEL(1)
  LEVEL(2)
  LEVEL(3)
  LEVEL(4)
  LEVEL(5)
  LEVEL(6)
  LEVEL(7)
#undef LEVEL
  for (int i = 0; i < 8; i++) leaves[i] = i < depth ? b[depth - 1 - i] : _mm512_setzero_si512();
  nt_transpose_words(leaves);
  for (int j = 0; j < nt_block_trees; j++) leaves[j] = nt_leaf_bytes(leaves[j]);
}

/// One block of up to 64 ranked rows.
NT_TARGET_VBMI NT_INLINE void block(const nt_trees *trees, const nt_rows_header *header, const uint8_t *x, size_t rows,
                                    float *y, uint8_t *scratch, const int depth, const bool is_f32) {
  const uint8_t *base = (const uint8_t *)header;
  const uint32_t *range_first = (const uint32_t *)(base + header->range_first);
  const uint32_t *group_first = (const uint32_t *)(base + header->group_first);
  const nt_comparison *comparisons = (const nt_comparison *)(base + header->comparisons);
  const size_t per_group = (((size_t)1 << depth) - 1) * nt_block_trees, width = trees->width;
  const size_t tree_bytes = nt_plane_bytes((unsigned)depth) * nt_value_bytes(is_f32);
  nt_block_sums *sums = (nt_block_sums *)(scratch + 2 * mask_bytes((unsigned)depth));
  for (size_t range = 0; range < trees->range_count; range++) {
    for (size_t w = 0; w < width; w++) nt_start_sums(trees, range * width + w, &sums[w], is_f32);
    size_t from = group_first[range], to = group_first[range + 1];
    // A group is finished while the masks of the next are written: they are stored as 8 bytes and loaded as 64, which
    // waits until the stores have left the store buffer.
    for (size_t g = from; g <= to; g++) {
      if (g < to) {
        uint64_t *masks = (uint64_t *)(scratch + (g & 1) * mask_bytes((unsigned)depth));
        compare_group(comparisons + g * per_group, x, masks, depth);
      }
      if (g == from) continue;
      __m512i leaves[8];
      leaves_of_group((const __m512i *)(scratch + ((g - 1) & 1) * mask_bytes((unsigned)depth)), leaves, depth);
      size_t left = range_first[range + 1] - range_first[range] - (g - 1 - from) * nt_block_trees;
      size_t count = left < nt_block_trees ? left : nt_block_trees;
      for (size_t w = 0; w < width; w++) {
        const uint8_t *planes = base + header->values + (w * header->groups + g - 1) * nt_block_trees * tree_bytes;
        nt_block_sums here = sums[w];
        for (size_t j = 0; j < count; j++) nt_add_leaves(&here, leaves[j], planes + j * tree_bytes, depth, is_f32);
        sums[w] = here;
      }
    }
    for (size_t w = 0; w < width; w++) {
      nt_store_sums(trees, range * width + w, &sums[w], y + range * width + w, rows, is_f32);
    }
  }
}

typedef void block_function(const nt_trees *trees, const nt_rows_header *header, const uint8_t *x, size_t rows,
                            float *y, uint8_t *scratch);
#define BLOCK(D)                                                                                              \
  NT_TARGET_VBMI static void block_##D(const nt_trees *trees, const nt_rows_header *header, const uint8_t *x, \
                                       size_t rows, float *y, uint8_t *scratch) {                             \
    if (trees->sums_f32) {                                                                                    \
      block(trees, header, x, rows, y, scratch, D, true);                                                     \
    } else {                                                                                                  \
      block(trees, header, x, rows, y, scratch, D, false);                                                    \
    }                                                                                                         \
  }
BLOCK(1)
BLOCK(2)
BLOCK(3)
BLOCK(4)
BLOCK(5)
BLOCK(6)
BLOCK(7)
BLOCK(8)
static block_function *const blocks[] = {block_1, block_2, block_3, block_4, block_5, block_6, block_7, block_8};

static void run(const nt_trees *trees, const void *packed, const void *x, size_t rows, float *y, void *scratch) {
  const nt_rows_header *header = packed;
  uint8_t *ranked = scratch, *rest = ranked + (size_t)nt_ranks_bytes(&trees->ranks) * nt_block_rows;
  const size_t outputs = (size_t)trees->range_count * trees->width;
  for (size_t done = 0; done < rows; done += nt_block_rows) {
    size_t count = rows - done < nt_block_rows ? rows - done : nt_block_rows;
    trees->rank(&trees->ranks, nt_trees_row(trees, x, done), count, nt_block_rows, ranked);
    blocks[header->depth - 1](trees, header, ranked, count, y + done * outputs, rest);
  }
}

const nt_trees_layout nt_trees_rows__avx512vbmi = {"rows", rows_bytes,   rows_pack, rows_scratch_bytes,
                                                   run,    nt_block_rows};
#endif
