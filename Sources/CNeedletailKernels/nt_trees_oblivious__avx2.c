// Oblivious trees for 32 rows in the 32 byte lanes of a register; sums are scalar, row by row.
#include "nt_trees_oblivious.h"

#if defined(NT_X86)
#include "nt_intrinsics.h"

enum {
  block_rows = 32,
  /// Bytes compare as signed ones here.
  flip = 0x80,
};

static size_t oblivious_bytes(const nt_forest *forest) { return nt_oblivious_bytes(forest, false); }
static bool oblivious_pack(const nt_forest *forest, void *packed) {
  return nt_oblivious_pack(forest, packed, block_rows, flip, false);
}

/// Ranked rows, sums of a range.
static size_t oblivious_scratch_bytes(const nt_forest *forest) {
  return nt_round_up((size_t)forest->rank_bytes * block_rows, NT_ALIGNMENT) +
         forest->width * block_rows * sizeof(nt_sum);
}

/// The leaves of one tree for 32 rows.
NT_TARGET_AVX2 NT_INLINE __m256i leaves_of_tree(const nt_comparison *level, const uint8_t *x, const int depth) {
  __m256i number = _mm256_setzero_si256();
#pragma clang loop unroll(full)
  for (int d = 0; d < depth; d++) {  // number = 2 · number + bit, the bit being −1
    __m256i rows = _mm256_load_si256((const void *)(x + level[d].offset));
    __m256i right = _mm256_cmpgt_epi8(rows, _mm256_set1_epi32((int)level[d].number4));
    number = _mm256_sub_epi8(_mm256_add_epi8(number, number), right);
  }
  return number;
}

/// One block of up to 32 ranked rows.
NT_TARGET_AVX2 NT_INLINE void block(const nt_trees *trees, const nt_oblivious_header *header, const uint8_t *x,
                                    size_t rows, float *y, nt_sum *sums, const int depth, const bool is_f32) {
  const uint8_t *base = (const uint8_t *)header;
  const uint32_t *range_first = (const uint32_t *)(base + header->range_first);
  const nt_comparison *comparisons = (const nt_comparison *)(base + header->comparisons);
  const size_t tree_bytes = nt_rows_tree_bytes((unsigned)depth, is_f32, false);
  for (size_t range = 0; range < trees->range_count; range++) {
    nt_rows_start(trees, range, block_rows, sums);
    for (size_t t = range_first[range], end = range_first[range + 1]; t < end; t += nt_block_trees) {
      const size_t count = end - t < nt_block_trees ? end - t : nt_block_trees;
      _Alignas(32) uint8_t leaf[nt_block_trees * block_rows];
      for (size_t j = 0; j < count; j++) {
        __m256i leaves = leaves_of_tree(comparisons + (t + j) * (size_t)depth, x, depth);
        _mm256_store_si256((void *)(leaf + j * block_rows), leaves);
      }
      for (size_t w = 0; w < trees->width; w++) {
        nt_rows_add(base + header->values + (w * header->trees + t) * tree_bytes, leaf, count, block_rows,
                    sums + w * block_rows, depth, is_f32);
      }
    }
    nt_rows_store(trees, range, block_rows, sums, rows, y, is_f32);
  }
}

typedef void block_function(const nt_trees *trees, const nt_oblivious_header *header, const uint8_t *x, size_t rows,
                            float *y, nt_sum *sums);
#define BLOCK(D)                                                                                                   \
  NT_TARGET_AVX2 static void block_##D(const nt_trees *trees, const nt_oblivious_header *header, const uint8_t *x, \
                                       size_t rows, float *y, nt_sum *sums) {                                      \
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

NT_TARGET_AVX2 static void run(const nt_trees *trees, const void *packed, const void *x, size_t rows, float *y,
                               void *scratch) {
  const nt_oblivious_header *header = packed;
  const size_t bytes = (size_t)nt_ranks_bytes(&trees->ranks) * block_rows;
  uint8_t *ranked = scratch;
  nt_sum *sums = (nt_sum *)(ranked + nt_round_up(bytes, NT_ALIGNMENT));
  const size_t outputs = (size_t)trees->range_count * trees->width;
  for (size_t done = 0; done < rows; done += block_rows) {
    size_t count = rows - done < block_rows ? rows - done : block_rows;
    trees->rank(&trees->ranks, nt_trees_row(trees, x, done), count, block_rows, ranked);
    for (size_t i = 0; i < bytes; i++) ranked[i] ^= flip;
    blocks[header->depth - 1](trees, header, ranked, count, y + done * outputs, sums);
  }
}

const nt_trees_layout nt_trees_oblivious_rows__avx2 = {
    "oblivious-rows", oblivious_bytes, oblivious_pack, oblivious_scratch_bytes, run, block_rows};
#endif
