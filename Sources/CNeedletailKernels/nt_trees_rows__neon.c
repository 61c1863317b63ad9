// 16 rows in the 16 byte lanes of a register.
//
// As nt_trees_rows__avx512vbmi.c tells, but decisions stay bytes of zeros or ones: NEON has no instruction that packs
// them into bits, and BSL selects bytes as well as bits. None of this has been timed: no machine with NEON was at hand.
#include "nt_neon.h"
#include "nt_trees_rows.h"

#if defined(NT_ARM64)

enum { block_rows = 16 };

static size_t rows_bytes(const nt_forest *forest) { return nt_rows_bytes(forest, false); }
static bool rows_pack(const nt_forest *forest, void *packed) {
  return nt_rows_pack(forest, packed, block_rows, 0, false);
}

/// Ranked rows, sums of a range.
static size_t rows_scratch_bytes(const nt_forest *forest) {
  return nt_round_up((size_t)forest->rank_bytes * block_rows, NT_ALIGNMENT) +
         forest->width * block_rows * sizeof(nt_sum);
}

// select_N: of 2^N splits, `step` positions apart, the decision that bits b[0] to b[N − 1] lead to. The splits of a
// tree stand a group apart.
NT_INLINE uint8x16_t select_0(const nt_comparison *at, size_t step, const uint8_t *x, const uint8x16_t *b) {
  (void)step, (void)b;
  return vcgeq_u8(vld1q_u8(x + at->offset), vreinterpretq_u8_u32(vdupq_n_u32(at->number4)));
}
#define SELECT(N, M)                                                                                               \
  NT_INLINE uint8x16_t select_##N(const nt_comparison *at, size_t step, const uint8_t *x, const uint8x16_t *b) {   \
    return vbslq_u8(b[M], select_##M(at + step * nt_block_trees, 2 * step, x, b), select_##M(at, 2 * step, x, b)); \
  }
SELECT(1, 0)
SELECT(2, 1)
SELECT(3, 2)
SELECT(4, 3)
SELECT(5, 4)
SELECT(6, 5)
SELECT(7, 6)

/// The leaves of one tree for 16 rows.
NT_INLINE uint8x16_t leaves_of_tree(const nt_comparison *at, const uint8_t *x, const int depth) {
  uint8x16_t b[8], number = vdupq_n_u8(0);
#define LEVEL(L)                                                           \
  if (depth > L) {                                                         \
    b[L] = select_##L(at + ((1 << L) - 1) * nt_block_trees, 1, x, b);      \
    number = vsubq_u8(vaddq_u8(number, number), b[L]); /* the bit is −1 */ \
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
  return number;
}

NT_INLINE void block(const nt_trees *trees, const nt_rows_header *header, const uint8_t *x, size_t rows, float *y,
                     nt_sum *sums, const int depth, const bool is_f32) {
  const uint8_t *base = (const uint8_t *)header;
  const uint32_t *range_first = (const uint32_t *)(base + header->range_first);
  const uint32_t *group_first = (const uint32_t *)(base + header->group_first);
  const nt_comparison *comparisons = (const nt_comparison *)(base + header->comparisons);
  const size_t per_group = (((size_t)1 << depth) - 1) * nt_block_trees;
  const size_t group_bytes = nt_block_trees * nt_rows_tree_bytes((unsigned)depth, is_f32, false);
  for (size_t range = 0; range < trees->range_count; range++) {
    nt_rows_start(trees, range, block_rows, sums);
    size_t left = range_first[range + 1] - range_first[range];
    for (size_t g = group_first[range]; g < group_first[range + 1]; g++) {
      size_t count = left < nt_block_trees ? left : nt_block_trees;
      uint8_t leaf[nt_block_trees * block_rows];
      for (size_t j = 0; j < count; j++) {
        vst1q_u8(leaf + j * block_rows, leaves_of_tree(comparisons + g * per_group + j, x, depth));
      }
      for (size_t w = 0; w < trees->width; w++) {
        nt_rows_add(base + header->values + (w * header->groups + g) * group_bytes, leaf, count, block_rows,
                    sums + w * block_rows, depth, is_f32);
      }
      left -= count;
    }
    nt_rows_store(trees, range, block_rows, sums, rows, y, is_f32);
  }
}

typedef void block_function(const nt_trees *trees, const nt_rows_header *header, const uint8_t *x, size_t rows,
                            float *y, nt_sum *sums);
#define BLOCK(D)                                                                                                      \
  static void block_##D(const nt_trees *trees, const nt_rows_header *header, const uint8_t *x, size_t rows, float *y, \
                        nt_sum *sums) {                                                                               \
    if (trees->sums_f32) {                                                                                            \
      block(trees, header, x, rows, y, sums, D, true);                                                                \
    } else {                                                                                                          \
      block(trees, header, x, rows, y, sums, D, false);                                                               \
    }                                                                                                                 \
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
  const size_t bytes = (size_t)nt_ranks_bytes(&trees->ranks) * block_rows;
  uint8_t *ranked = scratch;
  nt_sum *sums = (nt_sum *)(ranked + nt_round_up(bytes, NT_ALIGNMENT));
  const size_t outputs = (size_t)trees->range_count * trees->width;
  for (size_t done = 0; done < rows; done += block_rows) {
    size_t count = rows - done < block_rows ? rows - done : block_rows;
    trees->rank(&trees->ranks, nt_trees_row(trees, x, done), count, block_rows, ranked);
    blocks[header->depth - 1](trees, header, ranked, count, y + done * outputs, sums);
  }
}

const nt_trees_layout nt_trees_rows__neon = {"rows", rows_bytes, rows_pack, rows_scratch_bytes, run, block_rows};
#endif
