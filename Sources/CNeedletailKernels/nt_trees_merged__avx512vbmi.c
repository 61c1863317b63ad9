// Many rows: up to 512, and splits of all trees that ask the same, one byte with one rank, are compared once.
//
// A question's masks for 512 rows are a register; those of a chunk of trees stay in L2, and each tree picks its own by
// offset. Everything else is as in nt_trees_rows__avx512vbmi.c, with blocks of rows in place of trees.
#include <stdlib.h>

#include "nt_trees_values__avx512vbmi.h"

#if defined(NT_X86)

enum {
  blocks_max = 8,
  rows_max = blocks_max * nt_block_rows,
  /// Questions of a chunk: their masks take 768 KiB, which L2 holds beside the rest.
  questions_max = 12288,
  depth_max = 8,
};

typedef struct question {
  uint32_t rank4;
  /// Offset of the input's 64 rows within a block.
  uint32_t offset;
} question;

/// Trees of one range whose questions are asked together.
typedef struct chunk {
  uint32_t first_tree, trees;
  uint32_t first_question, questions;
} chunk;

typedef struct merged_header {
  uint32_t depth, trees, rank_bytes, questions_most;
  /// Offsets: per range its first chunk; per tree and position the offset of its masks; planes per value and tree.
  size_t range_chunk, chunks, questions, picks, planes;
} merged_header;

static unsigned levels(const nt_forest *forest) { return forest->depth_max ? forest->depth_max : 1; }

static merged_header merged_layout(const nt_forest *forest, size_t *bytes) {
  merged_header header = {.depth = levels(forest), .trees = forest->tree_count, .rank_bytes = forest->rank_bytes};
  size_t at = nt_round_up(sizeof header, NT_ALIGNMENT), trees = forest->tree_count;
  header.range_chunk = at, at += nt_round_up((forest->range_count + 1) * sizeof(uint32_t), NT_ALIGNMENT);
  header.chunks = at, at += nt_round_up(trees * sizeof(chunk), NT_ALIGNMENT);
  header.questions = at, at += nt_round_up(((size_t)forest->node_count + 1) * sizeof(question), NT_ALIGNMENT);
  header.picks = at, at += nt_round_up(trees * (((size_t)1 << header.depth) - 1) * sizeof(uint32_t), NT_ALIGNMENT);
  header.planes = at;
  at += trees * forest->width * nt_plane_bytes(header.depth) * nt_value_bytes(forest->sums_f32);
  *bytes = at;
  return header;
}

static size_t merged_bytes(const nt_forest *forest) {
  // Below some trees there is nothing to merge; ranks of 512 rows should leave room in L2.
  if (forest->depth_max > depth_max || forest->tree_count < 8 || forest->rank_bytes > 2048) return 0;
  size_t bytes;
  merged_layout(forest, &bytes);
  return nt_is_proportionate(forest, bytes) ? bytes : 0;
}

/// The questions of as many trees as fit, from tree `t` on: marks them, numbers them by input and rank, and lets the
/// trees pick. Returns the first tree behind.
static uint32_t pack_chunk(const nt_forest *forest, merged_header *header, uint8_t *base, uint32_t t, uint32_t end,
                           uint32_t *number, chunk *k, uint32_t *questions) {
  question *all = (question *)(base + header->questions);
  uint32_t *picks = (uint32_t *)(base + header->picks);
  const size_t positions = ((size_t)1 << header->depth) - 1;
  *k = (chunk){.first_tree = t, .first_question = *questions};
  memset(number, 0, forest->rank_bytes * 256ull * sizeof *number);
  for (uint32_t count = 0; t < end && count + forest->trees[t].nodes <= questions_max; t++, k->trees++) {
    const nt_tree_node *nodes = forest->nodes + forest->trees[t].first_node;
    for (uint32_t n = 0; n < forest->trees[t].nodes; n++) {
      uint32_t *mark = &number[nodes[n].input * 256u + nodes[n].rank];
      count += !*mark, *mark = 1;
    }
  }
  for (uint32_t i = 0; i < forest->rank_bytes * 256u; i++) {
    if (!number[i]) continue;
    number[i] = k->questions++;
    all[(*questions)++] = (question){i % 256 * 0x01010101u, i / 256 * nt_block_rows};
  }
  if (k->questions > header->questions_most) header->questions_most = k->questions;
  for (uint32_t i = k->first_tree; i < t; i++) {
    nt_complete_tree complete;
    nt_complete(forest, &forest->trees[i], header->depth, &complete);
    for (size_t p = 0; p < positions; p++) {
      if (complete.node[p] < 0) continue;
      const nt_tree_node *node = &forest->nodes[forest->trees[i].first_node + (uint32_t)complete.node[p]];
      picks[i * positions + p] = number[node->input * 256u + node->rank] * (uint32_t)sizeof(__m512i);
    }
    const size_t tree_bytes = nt_plane_bytes(header->depth) * nt_value_bytes(forest->sums_f32);
    for (size_t w = 0; w < forest->width; w++) {
      nt_set_planes(base + header->planes + (w * header->trees + i) * tree_bytes, forest, &forest->trees[i],
                    complete.exit, positions + 1, header->depth, w);
    }
  }
  return t;
}

static bool merged_pack(const nt_forest *forest, void *packed) {
  uint8_t *base = packed;
  size_t bytes;
  merged_header header = merged_layout(forest, &bytes);
  uint32_t *range_chunk = (uint32_t *)(base + header.range_chunk), chunks = 0, questions = 0;
  // While a plan is compiled only.
  uint32_t *number = malloc(forest->rank_bytes * 256ull * sizeof *number + 1);
  if (!number) return false;
  for (uint32_t range = 0; range < forest->range_count; range++) {
    range_chunk[range] = chunks;
    for (uint32_t t = forest->range_first[range], end = forest->range_first[range + 1]; t < end; chunks++) {
      t = pack_chunk(forest, &header, base, t, end, number, (chunk *)(base + header.chunks) + chunks, &questions);
    }
  }
  range_chunk[forest->range_count] = chunks;
  free(number);
  memcpy(packed, &header, sizeof header);
  return true;
}

/// Ranked rows, masks of a chunk, sums of a range.
static size_t merged_scratch_bytes(const nt_forest *forest) {
  size_t questions = forest->node_count < questions_max ? forest->node_count : questions_max;
  return (size_t)forest->rank_bytes * rows_max + (questions + 1) * sizeof(__m512i) +
         forest->width * blocks_max * sizeof(nt_block_sums);
}

NT_TARGET_VBMI static void ask(const question *q, size_t count, const uint8_t *x, size_t block_bytes, size_t blocks,
                               uint64_t *masks) {
  for (const question *end = q + count; q < end; q++, masks += blocks_max) {
    __m512i rank = _mm512_set1_epi32((int)q->rank4);
    for (size_t b = 0; b < blocks; b++) {
      masks[b] = _mm512_cmpge_epu8_mask(_mm512_load_si512((const void *)(x + b * block_bytes + q->offset)), rank);
    }
  }
}

// choose_N: as select_N of the other file, of masks by their offsets.
NT_TARGET_VBMI NT_INLINE __m512i choose_0(const uint8_t *masks, const uint32_t *at, size_t step, const __m512i *b) {
  (void)step, (void)b;
  return _mm512_load_si512((const void *)(masks + at[0]));
}
#define CHOOSE(N, M)                                                                                       \
  NT_TARGET_VBMI NT_INLINE __m512i choose_##N(const uint8_t *masks, const uint32_t *at, size_t step,       \
                                              const __m512i *b) {                                          \
    return nt_select(b[M], choose_##M(masks, at + step, 2 * step, b), choose_##M(masks, at, 2 * step, b)); \
  }
CHOOSE(1, 0)
CHOOSE(2, 1)
CHOOSE(3, 2)
CHOOSE(4, 3)
CHOOSE(5, 4)
CHOOSE(6, 5)
CHOOSE(7, 6)

/// The leaves of one tree for 8 blocks of rows, nt_block_trees registers apart.
NT_TARGET_VBMI NT_INLINE void leaves_of_tree(const uint8_t *masks, const uint32_t *at, __m512i *leaves,
                                             const int depth) {
  __m512i b[8], bits[8];
#define LEVEL(L) \
  if (depth > L) b[L] = choose_##L(masks, at + (1 << L) - 1, 1, b);
  LEVEL(0)
  LEVEL(1)
  LEVEL(2)
  LEVEL(3)
  LEVEL(4)
  LEVEL(5)
  LEVEL(6)
  LEVEL(7)
#undef LEVEL
  for (int i = 0; i < 8; i++) bits[i] = i < depth ? b[depth - 1 - i] : _mm512_setzero_si512();
  nt_transpose_words(bits);  // from [bit][block] to [block][bit]
  for (int i = 0; i < blocks_max; i++) leaves[i * nt_block_trees] = nt_leaf_bytes(bits[i]);
}

NT_TARGET_VBMI NT_INLINE void some_blocks(const nt_trees *trees, const merged_header *header, const uint8_t *x,
                                          size_t rows, float *y, uint8_t *masks, nt_block_sums *sums, const int depth,
                                          const bool is_f32) {
  const uint8_t *base = (const uint8_t *)header;
  const uint32_t *range_chunk = (const uint32_t *)(base + header->range_chunk);
  const chunk *chunks = (const chunk *)(base + header->chunks);
  const uint32_t *picks = (const uint32_t *)(base + header->picks);
  const size_t blocks = (rows + nt_block_rows - 1) / nt_block_rows, width = trees->width;
  const size_t tree_bytes = nt_plane_bytes((unsigned)depth) * nt_value_bytes(is_f32);
  const size_t positions = ((size_t)1 << depth) - 1, outputs = trees->range_count * width;
  for (size_t range = 0; range < trees->range_count; range++) {
    for (size_t i = 0; i < width * blocks_max; i++) {
      nt_start_sums(trees, range * width + i / blocks_max, &sums[i], is_f32);
    }
    for (const chunk *k = chunks + range_chunk[range]; k < chunks + range_chunk[range + 1]; k++) {
      ask((const question *)(base + header->questions) + k->first_question, k->questions, x,
          (size_t)header->rank_bytes * nt_block_rows, blocks, (uint64_t *)masks);
      for (size_t t = k->first_tree, end = t + k->trees; t < end; t += nt_block_trees) {
        size_t count = end - t < nt_block_trees ? end - t : nt_block_trees;
        __m512i leaves[blocks_max * nt_block_trees];
        for (size_t j = 0; j < count; j++) leaves_of_tree(masks, picks + (t + j) * positions, leaves + j, depth);
        for (size_t w = 0; w < width; w++) {
          const uint8_t *planes = base + header->planes + (w * header->trees + t) * tree_bytes;
          for (size_t b = 0; b < blocks; b++) {
            nt_block_sums here = sums[w * blocks_max + b];
            for (size_t j = 0; j < count; j++) {
              nt_add_leaves(&here, leaves[b * nt_block_trees + j], planes + j * tree_bytes, depth, is_f32);
            }
            sums[w * blocks_max + b] = here;
          }
        }
      }
    }
    for (size_t w = 0; w < width; w++) {
      for (size_t b = 0; b < blocks; b++) {
        size_t first = b * nt_block_rows, left = rows - first;
        nt_store_sums(trees, range * width + w, &sums[w * blocks_max + b], y + first * outputs + range * width + w,
                      left < nt_block_rows ? left : nt_block_rows, is_f32);
      }
    }
  }
}

typedef void blocks_function(const nt_trees *trees, const merged_header *header, const uint8_t *x, size_t rows,
                             float *y, uint8_t *masks, nt_block_sums *sums);
#define BLOCKS(D)                                                                                             \
  NT_TARGET_VBMI static void blocks_##D(const nt_trees *trees, const merged_header *header, const uint8_t *x, \
                                        size_t rows, float *y, uint8_t *masks, nt_block_sums *sums) {         \
    if (trees->sums_f32) {                                                                                    \
      some_blocks(trees, header, x, rows, y, masks, sums, D, true);                                           \
    } else {                                                                                                  \
      some_blocks(trees, header, x, rows, y, masks, sums, D, false);                                          \
    }                                                                                                         \
  }
BLOCKS(1)
BLOCKS(2)
BLOCKS(3)
BLOCKS(4)
BLOCKS(5)
BLOCKS(6)
BLOCKS(7)
BLOCKS(8)
static blocks_function *const by_depth[] = {blocks_1, blocks_2, blocks_3, blocks_4,
                                            blocks_5, blocks_6, blocks_7, blocks_8};

static void run(const nt_trees *trees, const void *packed, const void *x, size_t rows, float *y, void *scratch) {
  const merged_header *header = packed;
  const size_t block_bytes = (size_t)header->rank_bytes * nt_block_rows;
  uint8_t *ranked = scratch, *masks = ranked + blocks_max * block_bytes;
  nt_block_sums *sums = (nt_block_sums *)(masks + ((size_t)header->questions_most + 1) * sizeof(__m512i));
  const size_t outputs = (size_t)trees->range_count * trees->width;
  for (size_t done = 0; done < rows; done += rows_max) {
    size_t count = rows - done < rows_max ? rows - done : rows_max;
    for (size_t first = 0; first < count; first += nt_block_rows) {
      size_t left = count - first;
      trees->rank(&trees->ranks, nt_trees_row(trees, x, done + first), left < nt_block_rows ? left : nt_block_rows,
                  nt_block_rows, ranked + first / nt_block_rows * block_bytes);
    }
    by_depth[header->depth - 1](trees, header, ranked, count, y + done * outputs, masks, sums);
  }
}

const nt_trees_layout nt_trees_merged__avx512vbmi = {"merged", merged_bytes, merged_pack, merged_scratch_bytes,
                                                     run,      rows_max};
#endif
