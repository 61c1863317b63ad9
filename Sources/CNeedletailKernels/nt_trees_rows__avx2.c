// 32 rows in the 32 byte lanes of a register, bit-sliced, as nt_trees_rows__avx512vbmi.c tells.
//
// A comparison gives bytes, VPMOVMSKB their 32 bits; the masks of 8 trees are a register, and bits are selected with
// AND, ANDN and OR. Leaf numbers are bits spread to bytes; sums are scalar, row by row.
#include "nt_trees_rows.h"

#if defined(NT_X86)
#include "nt_intrinsics.h"

enum {
  block_rows = 32,
  /// Bytes compare as signed ones here.
  flip = 0x80,
};

static size_t rows_bytes(const nt_forest *forest) { return nt_rows_bytes(forest, false); }
static bool rows_pack(const nt_forest *forest, void *packed) {
  return nt_rows_pack(forest, packed, block_rows, flip, false);
}

/// Bytes of the masks of one group: 4 for each split of 8 trees.
NT_INLINE size_t mask_bytes(unsigned depth) { return (size_t)nt_block_trees * 4 << depth; }

/// Ranked rows, masks of two groups, sums of a range.
static size_t rows_scratch_bytes(const nt_forest *forest) {
  return nt_round_up((size_t)forest->rank_bytes * block_rows, NT_ALIGNMENT) + 2 * mask_bytes(nt_rows_levels(forest)) +
         forest->width * block_rows * sizeof(nt_sum);
}

NT_TARGET_AVX2 NT_INLINE __m256i choose(__m256i which, __m256i right, __m256i left) {
  return _mm256_or_si256(_mm256_and_si256(which, right), _mm256_andnot_si256(which, left));
}
NT_TARGET_AVX2 NT_INLINE __m256i select_0(const __m256i *at, size_t step, const __m256i *b) {
  (void)step, (void)b;
  return at[0];
}
#define SELECT(N, M)                                                                              \
  NT_TARGET_AVX2 NT_INLINE __m256i select_##N(const __m256i *at, size_t step, const __m256i *b) { \
    return choose(b[M], select_##M(at + step, 2 * step, b), select_##M(at, 2 * step, b));         \
  }
SELECT(1, 0)
SELECT(2, 1)
SELECT(3, 2)
SELECT(4, 3)
SELECT(5, 4)
SELECT(6, 5)
SELECT(7, 6)

/// All splits of 8 trees for 32 rows.
NT_TARGET_AVX2 NT_INLINE void compare_group(const nt_comparison *c, const uint8_t *x, uint32_t *masks,
                                            const int depth) {
  const nt_comparison *end = c + (((size_t)1 << depth) - 1) * nt_block_trees;
  for (; c < end; c += nt_block_trees, masks += nt_block_trees) {
#pragma clang loop unroll(full)
    for (int j = 0; j < nt_block_trees; j++) {
      __m256i rows = _mm256_load_si256((const void *)(x + c[j].offset));
      masks[j] = (uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi8(rows, _mm256_set1_epi32((int)c[j].number4)));
    }
  }
}

/// The leaves of 8 trees for 32 rows.
NT_TARGET_AVX2 NT_INLINE void leaves_of_group(const __m256i *masks, uint8_t *leaf, size_t trees, const int depth) {
  _Alignas(32) uint32_t bits[8][nt_block_trees];
  __m256i b[8];
#define LEVEL(L)                                   \
  if (depth > L) {                                 \
    b[L] = select_##L(masks + (1 << L) - 1, 1, b); \
    _mm256_store_si256((void *)bits[L], b[L]);     \
  }
  LEVEL(0)
  LEVEL(1)
  LEVEL(2)
  LEVEL(3)
  LEVEL(4)
  LEVEL(5)
  LEVEL(6)
  LEVEL(7)
#undef LEVEL
  const __m256i spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201ull);
  for (size_t j = 0; j < trees; j++) {
    __m256i number = _mm256_setzero_si256();
    for (int d = 0; d < depth; d++) {  // number = 2 · number + bit, the bit being −1
      __m256i rows = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits[d][j]), spread);
      __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(rows, bit), bit);
      number = _mm256_sub_epi8(_mm256_add_epi8(number, number), set);
    }
    _mm256_store_si256((void *)(leaf + j * block_rows), number);
  }
}

NT_TARGET_AVX2 NT_INLINE void block(const nt_trees *trees, const nt_rows_header *header, const uint8_t *x, size_t rows,
                                    float *y, uint8_t *scratch, const int depth, const bool is_f32) {
  const uint8_t *base = (const uint8_t *)header;
  const uint32_t *range_first = (const uint32_t *)(base + header->range_first);
  const uint32_t *group_first = (const uint32_t *)(base + header->group_first);
  const nt_comparison *comparisons = (const nt_comparison *)(base + header->comparisons);
  const size_t per_group = (((size_t)1 << depth) - 1) * nt_block_trees, half = mask_bytes((unsigned)depth);
  const size_t group_bytes = nt_block_trees * nt_rows_tree_bytes((unsigned)depth, is_f32, false);
  nt_sum *sums = (nt_sum *)(scratch + 2 * half);
  for (size_t range = 0; range < trees->range_count; range++) {
    nt_rows_start(trees, range, block_rows, sums);
    size_t from = group_first[range], to = group_first[range + 1];
    // A group is finished while the masks of the next are written, so that none is read while it is being stored.
    for (size_t g = from; g <= to; g++) {
      if (g < to) compare_group(comparisons + g * per_group, x, (uint32_t *)(scratch + (g & 1) * half), depth);
      if (g == from) continue;
      size_t left = range_first[range + 1] - range_first[range] - (g - 1 - from) * nt_block_trees;
      size_t count = left < nt_block_trees ? left : nt_block_trees;
      _Alignas(32) uint8_t leaf[nt_block_trees * block_rows];
      leaves_of_group((const __m256i *)(scratch + ((g - 1) & 1) * half), leaf, count, depth);
      for (size_t w = 0; w < trees->width; w++) {
        nt_rows_add(base + header->values + (w * header->groups + g - 1) * group_bytes, leaf, count, block_rows,
                    sums + w * block_rows, depth, is_f32);
      }
    }
    nt_rows_store(trees, range, block_rows, sums, rows, y, is_f32);
  }
}

typedef void block_function(const nt_trees *trees, const nt_rows_header *header, const uint8_t *x, size_t rows,
                            float *y, uint8_t *scratch);
#define BLOCK(D)                                                                                              \
  NT_TARGET_AVX2 static void block_##D(const nt_trees *trees, const nt_rows_header *header, const uint8_t *x, \
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

NT_TARGET_AVX2 static void run(const nt_trees *trees, const void *packed, const void *x, size_t rows, float *y,
                               void *scratch) {
  const nt_rows_header *header = packed;
  const size_t bytes = (size_t)nt_ranks_bytes(&trees->ranks) * block_rows;
  uint8_t *ranked = scratch, *rest = ranked + nt_round_up(bytes, NT_ALIGNMENT);
  const size_t outputs = (size_t)trees->range_count * trees->width;
  for (size_t done = 0; done < rows; done += block_rows) {
    size_t count = rows - done < block_rows ? rows - done : block_rows;
    trees->rank(&trees->ranks, nt_trees_row(trees, x, done), count, block_rows, ranked);
    for (size_t i = 0; i < bytes; i++) ranked[i] ^= flip;
    blocks[header->depth - 1](trees, header, ranked, count, y + done * outputs, rest);
  }
}

const nt_trees_layout nt_trees_rows__avx2 = {"rows", rows_bytes, rows_pack, rows_scratch_bytes, run, block_rows};
#endif
