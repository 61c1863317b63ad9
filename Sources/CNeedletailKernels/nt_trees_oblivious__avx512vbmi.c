// Oblivious trees for 64 rows in the 64 byte lanes of a register: a comparison and two additions a level.
#include "nt_trees_oblivious.h"
#include "nt_trees_values__avx512vbmi.h"

#if defined(NT_X86)

static size_t oblivious_bytes(const nt_forest *forest) { return nt_oblivious_bytes(forest, true); }
static bool oblivious_pack(const nt_forest *forest, void *packed) {
  return nt_oblivious_pack(forest, packed, nt_block_rows, 0, true);
}

/// Ranked rows, sums of a range.
static size_t oblivious_scratch_bytes(const nt_forest *forest) {
  return (size_t)forest->rank_bytes * nt_block_rows + forest->width * sizeof(nt_block_sums);
}

/// The leaves of one tree for 64 rows.
NT_TARGET_VBMI NT_INLINE __m512i leaves_of_tree(const nt_comparison *level, const uint8_t *x, const int depth) {
  __m512i number = _mm512_setzero_si512();
  const __m512i one = _mm512_set1_epi8(1);
#pragma clang loop unroll(full)
  for (int d = 0; d < depth; d++) {
    __m512i rows = _mm512_load_si512((const void *)(x + level[d].offset));
    __mmask64 right = _mm512_cmpge_epu8_mask(rows, _mm512_set1_epi32((int)level[d].number4));
    number = _mm512_add_epi8(number, number);
    number = _mm512_mask_add_epi8(number, right, number, one);
  }
  return number;
}

/// One block of up to 64 ranked rows.
NT_TARGET_VBMI NT_INLINE void block(const nt_trees *trees, const nt_oblivious_header *header, const uint8_t *x,
                                    size_t rows, float *y, nt_block_sums *sums, const int depth, const bool is_f32) {
  const uint8_t *base = (const uint8_t *)header;
  const uint32_t *range_first = (const uint32_t *)(base + header->range_first);
  const nt_comparison *comparisons = (const nt_comparison *)(base + header->comparisons);
  const size_t width = trees->width, tree_bytes = nt_plane_bytes((unsigned)depth) * nt_value_bytes(is_f32);
  for (size_t range = 0; range < trees->range_count; range++) {
    for (size_t w = 0; w < width; w++) nt_start_sums(trees, range * width + w, &sums[w], is_f32);
    for (size_t t = range_first[range], end = range_first[range + 1]; t < end; t += nt_block_trees) {
      const size_t count = end - t < nt_block_trees ? end - t : nt_block_trees;
      __m512i leaves[nt_block_trees];
      for (size_t j = 0; j < count; j++) leaves[j] = leaves_of_tree(comparisons + (t + j) * (size_t)depth, x, depth);
      for (size_t w = 0; w < width; w++) {
        const uint8_t *planes = base + header->values + (w * header->trees + t) * tree_bytes;
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

typedef void block_function(const nt_trees *trees, const nt_oblivious_header *header, const uint8_t *x, size_t rows,
                            float *y, nt_block_sums *sums);
#define BLOCK(D)                                                                                                   \
  NT_TARGET_VBMI static void block_##D(const nt_trees *trees, const nt_oblivious_header *header, const uint8_t *x, \
                                       size_t rows, float *y, nt_block_sums *sums) {                               \
    if (trees->sums_f32) {                                                                                         \
      block(trees, header, x, rows, y, sums, D, true);                                                             \
    } else {                                                                                                       \
      block(trees, header, x, rows, y, sums, D, false);                                                            \
    }                                                                                                              \
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
  const nt_oblivious_header *header = packed;
  uint8_t *ranked = scratch;
  nt_block_sums *sums = (nt_block_sums *)(ranked + (size_t)nt_ranks_bytes(&trees->ranks) * nt_block_rows);
  const size_t outputs = (size_t)trees->range_count * trees->width;
  for (size_t done = 0; done < rows; done += nt_block_rows) {
    size_t count = rows - done < nt_block_rows ? rows - done : nt_block_rows;
    trees->rank(&trees->ranks, nt_trees_row(trees, x, done), count, nt_block_rows, ranked);
    blocks[header->depth - 1](trees, header, ranked, count, y + done * outputs, sums);
  }
}

const nt_trees_layout nt_trees_oblivious_rows__avx512vbmi = {
    "oblivious-rows", oblivious_bytes, oblivious_pack, oblivious_scratch_bytes, run, nt_block_rows};
#endif
