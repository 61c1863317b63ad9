// Few rows: 64 trees in the 64 byte lanes of a register.
//
// A level of 64 trees at once: masked blends pick each tree's split of this level (2^d vectors at level d; the masks
// are the decisions above), VPERMB looks the row's bytes up, one comparison decides for 64 trees. Blends touch every
// split of a level, so from some depth on each tree's own path is cheaper: three levels below the blends are a block of
// 16 bytes, 7 inputs and 7 ranks, of which 8 trees are compared at once. Their 7 decisions become a leaf by one
// table look-up for 64 trees.
//
// The sum sets the pace: 64 additions that wait for each other take longer than the walk of 64 trees. So for one row
// the leaves of a group are added during the walk of the next, a few between two levels: behind the walk they would
// fill the scheduler. Several rows share the loads of a group and are chains of their own.
#include "nt_trees_internal.h"

#if defined(NT_X86)
#if defined(NT_USE_SIMDE)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#else
#include <immintrin.h>
#endif

enum {
  group = 64,
  /// Bytes of a ranked row: four registers.
  row_bytes = 256,
  rows_max = 8,
  /// Levels that a block stands for, and its bytes.
  block_levels = 3,
  block_bytes = 16,
};

typedef enum pending_kind { add_f64, add_f32, add_nothing } pending_kind;

/// The leaves of the group before.
typedef struct pending {
  const uint8_t *leaf;
  const uint8_t *values;
  size_t stride_bytes;
  nt_sum sum;
} pending;

typedef struct lanes_header {
  /// Levels by blends, levels in all.
  uint32_t top, depth;
  /// Registers that hold a ranked row: 1, 2 or 4.
  uint32_t words;
  uint32_t groups;
  /// Offsets: per range its first tree, and its first group; per group and position 64 inputs and 64 ranks; per tree
  /// and exit of the blends a block; per value of a leaf and tree 2^depth numbers.
  size_t range_first, group_first, positions, blocks, values;
  /// 7 decisions of a block, breadth first, to one of its 8 exits.
  uint8_t exits[128];
} lanes_header;

typedef void walk_function(const lanes_header *header, size_t g, const uint8_t *ranks, uint8_t *leaf, pending *before);

static lanes_header lanes_layout(const nt_forest *forest, unsigned top, size_t *bytes) {
  size_t groups = nt_groups_max(forest, group);
  lanes_header header = {.top = top, .depth = forest->depth_max, .groups = (uint32_t)groups};
  if (header.depth < top) header.depth = top;
  header.words = forest->rank_bytes <= 64 ? 1 : forest->rank_bytes <= 128 ? 2 : 4;
  size_t at = nt_round_up(sizeof header, NT_ALIGNMENT), table = (forest->range_count + 1) * sizeof(uint32_t);
  header.range_first = at, at += nt_round_up(table, NT_ALIGNMENT);
  header.group_first = at, at += nt_round_up(table, NT_ALIGNMENT);
  header.positions = at, at += groups * (((size_t)1 << top) - 1) * 2 * group;
  header.blocks = at;
  if (header.depth > top) at += groups * group * ((size_t)1 << top) * block_bytes;
  header.values = at, at += (groups * group * forest->width << header.depth) * nt_value_bytes(forest->sums_f32);
  *bytes = at;
  return header;
}

static size_t bytes_of(const nt_forest *forest, unsigned levels_of_blocks) {
  size_t bytes;
  lanes_layout(forest, forest->depth_max - levels_of_blocks, &bytes);
  bool suits = forest->rank_bytes <= row_bytes && forest->tree_count > group / 4;
  return suits && nt_is_proportionate(forest, bytes) ? bytes : 0;
}
static size_t blends_bytes(const nt_forest *forest) {
  return forest->depth_max < 1 || forest->depth_max > 6 ? 0 : bytes_of(forest, 0);
}
static size_t blocks_bytes(const nt_forest *forest) {
  return forest->depth_max < 6 || forest->depth_max > 8 ? 0 : bytes_of(forest, block_levels);
}

// MARK: - packing

/// The three levels below an exit of the blends.
static void pack_block(const nt_tree_node *nodes, int32_t exit, uint8_t *block) {
  memset(block, 0, 8), memset(block + 8, NT_RANK_NEVER, 8);
  int32_t at[15] = {exit};
  for (size_t p = 0; p < 7; p++) {
    for (size_t side = 0; side < 2; side++) at[2 * p + 1 + side] = at[p] < 0 ? at[p] : nodes[at[p]].child[side];
    if (at[p] < 0) continue;
    block[p] = (uint8_t)nodes[at[p]].input, block[8 + p] = nodes[at[p]].rank;
  }
}

static void pack_tree(const nt_forest *forest, const nt_tree *tree, const lanes_header *header, uint8_t *base,
                      size_t slot) {
  const nt_tree_node *nodes = forest->nodes + tree->first_node;
  const size_t positions = ((size_t)1 << header->top) - 1, stride = (size_t)1 << header->depth;
  nt_complete_tree complete;
  nt_complete(forest, tree, header->top, &complete);
  uint8_t *group_at = base + header->positions + slot / group * positions * 2 * group;
  for (size_t p = 0; p < positions; p++) {
    if (complete.node[p] < 0) continue;
    group_at[p * 2 * group + slot % group] = (uint8_t)nodes[complete.node[p]].input;
    group_at[p * 2 * group + group + slot % group] = nodes[complete.node[p]].rank;
  }
  if (header->depth > header->top) {
    for (size_t e = 0; e <= positions; e++) {
      pack_block(nodes, complete.exit[e], base + header->blocks + ((slot << header->top) + e) * block_bytes);
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
}

static bool pack(const nt_forest *forest, void *packed, unsigned top) {
  uint8_t *base = packed;
  size_t bytes;
  lanes_header header = lanes_layout(forest, top, &bytes);
  for (size_t bits = 0; bits < 128; bits++) {
    size_t p = 0;
    for (int d = 0; d < block_levels; d++) p = 2 * p + 1 + (bits >> p & 1);
    header.exits[bits] = (uint8_t)(p - 7);
  }
  memcpy(packed, &header, sizeof header);
  memcpy(base + header.range_first, forest->range_first, (forest->range_count + 1) * sizeof(uint32_t));
  uint32_t *group_first = (uint32_t *)(base + header.group_first);
  // Lanes without a tree never go right and have values of −0, which change no sum.
  for (size_t i = 0; i < header.groups * (((size_t)1 << top) - 1); i++) {
    memset(base + header.positions + i * 2 * group + group, NT_RANK_NEVER, group);
  }
  for (size_t i = 0; i < (size_t)header.groups * group * forest->width << header.depth; i++) {
    nt_value_set(base + header.values, i, -0.0, forest->sums_f32);
  }
  if (header.depth > top) {
    for (size_t i = 0; i < (size_t)header.groups * group << top; i++) {
      memset(base + header.blocks + i * block_bytes + 8, NT_RANK_NEVER, 8);
    }
  }
  uint32_t g = 0;
  for (uint32_t range = 0; range < forest->range_count; range++) {
    uint32_t first = forest->range_first[range], end = forest->range_first[range + 1];
    group_first[range] = g;
    for (uint32_t t = first; t < end; t++) {
      pack_tree(forest, &forest->trees[t], &header, base, (size_t)g * group + t - first);
    }
    g += (end - first + group - 1) / group;
  }
  group_first[forest->range_count] = g;
  return true;
}

static bool blends_pack(const nt_forest *forest, void *packed) { return pack(forest, packed, forest->depth_max); }
static bool blocks_pack(const nt_forest *forest, void *packed) {
  return pack(forest, packed, forest->depth_max - block_levels);
}

/// Ranked rows, then a sum for each row and output of a range.
static size_t scratch_bytes(const nt_forest *forest) { return rows_max * (row_bytes + forest->width * sizeof(nt_sum)); }

// MARK: - walking

/// Adds the next `count` trees of the group before.
NT_INLINE void add_some(pending *p, int count, const pending_kind kind) {
  if (kind == add_nothing) return;
#pragma clang loop unroll(full)
  for (int i = 0; i < count; i++, p->values += p->stride_bytes) {
    nt_sum_add(&p->sum, p->values, p->leaf[i], kind == add_f32);
  }
  p->leaf += count;
}

/// The bytes of a row at 64 places.
NT_TARGET_VBMI NT_INLINE __m512i look_up(const __m512i *row, __m512i at, const int words) {
  if (words == 1) return _mm512_permutexvar_epi8(at, row[0]);
  if (words == 2) return _mm512_permutex2var_epi8(row[0], at, row[1]);
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(at), _mm512_permutex2var_epi8(row[0], at, row[1]),
                                _mm512_permutex2var_epi8(row[2], at, row[3]));
}

// pick_N: of 2^N vectors, `step` bytes apart, the one that the decisions k[0] to k[N − 1] lead to, lane by lane. The
// latest decision is used last, so that only one blend waits for it.
NT_TARGET_VBMI NT_INLINE __m512i pick_0(const uint8_t *at, size_t step, const __mmask64 *k) {
  (void)step, (void)k;
  return _mm512_load_si512((const void *)at);
}
#define PICK(N, M)                                                                                    \
  NT_TARGET_VBMI NT_INLINE __m512i pick_##N(const uint8_t *at, size_t step, const __mmask64 *k) {     \
    return _mm512_mask_blend_epi8(k[M], pick_##M(at, 2 * step, k), pick_##M(at + step, 2 * step, k)); \
  }
PICK(1, 0)
PICK(2, 1)
PICK(3, 2)
PICK(4, 3)
PICK(5, 4)

/// The exits, 0 to 2^top − 1, of 64 trees; adds `share` trees of the group before, spread over the levels.
NT_TARGET_VBMI NT_INLINE __m512i exits_of(const uint8_t *at, const __m512i *row, pending *before, const int top,
                                          const int words, const pending_kind kind, const int share) {
  __mmask64 k[6];
  __m512i exits = _mm512_setzero_si512();
#define LEVEL(D)                                                                                    \
  if (top > D) {                                                                                    \
    const uint8_t *level = at + 2 * group * ((1 << D) - 1);                                         \
    __m512i found = look_up(row, pick_##D(level, 2 * group, k), words);                             \
    k[D] = _mm512_cmpge_epu8_mask(found, pick_##D(level + group, 2 * group, k));                    \
    exits = _mm512_mask_add_epi8(exits, k[D], exits, _mm512_set1_epi8((char)(1 << (top - 1 - D)))); \
    add_some(before, share * (D + 1) / top - share * D / top, kind);                                \
  }
  LEVEL(0)
  LEVEL(1)
  LEVEL(2)
  LEVEL(3)
  LEVEL(4)
  LEVEL(5)
#undef LEVEL
  return exits;
}

/// Blocks of four trees, every other one, in the four quarters of a register.
NT_TARGET_VBMI NT_INLINE __m512i four_blocks(const uint8_t *blocks, const uint8_t *exit, size_t j, const int top) {
#define BLOCK(J) _mm_load_si128((const void *)(blocks + (((J) << top) + exit[J]) * block_bytes))
  __m512i four = _mm512_castsi128_si512(BLOCK(j));
  four = _mm512_inserti32x4(four, BLOCK(j + 2), 1);
  four = _mm512_inserti32x4(four, BLOCK(j + 4), 2);
  return _mm512_inserti32x4(four, BLOCK(j + 6), 3);
#undef BLOCK
}

/// The leaves of 64 trees from the exits of their blends.
NT_TARGET_VBMI NT_INLINE __m512i leaves_of(const lanes_header *header, size_t g, const __m512i *row, __m512i exits,
                                           pending *before, const int top, const int words, const pending_kind kind) {
  const uint8_t *blocks = (const uint8_t *)header + header->blocks + ((g * group) << top) * block_bytes;
  _Alignas(64) uint8_t exit[group];
  _Alignas(64) uint64_t decisions[8];
  _mm512_store_si512((void *)exit, exits);
  for (size_t j = 0; j < group; j += 8) {
    __m512i even = four_blocks(blocks, exit, j, top), odd = four_blocks(blocks, exit, j + 1, top);
    __m512i found = look_up(row, _mm512_unpacklo_epi64(even, odd), words);
    decisions[j / 8] = _mm512_cmpge_epu8_mask(found, _mm512_unpackhi_epi64(even, odd));
    add_some(before, group / 16, kind);
  }
  __m512i low = _mm512_permutex2var_epi8(_mm512_loadu_si512((const void *)header->exits),
                                         _mm512_load_si512((const void *)decisions),
                                         _mm512_loadu_si512((const void *)(header->exits + 64)));
  // Exits of the blends are below 32, so that no bit leaves its byte.
  return _mm512_or_si512(_mm512_slli_epi16(exits, block_levels), low);
}

NT_TARGET_VBMI NT_INLINE void walk(const lanes_header *header, size_t g, const uint8_t *ranks, uint8_t *leaf,
                                   pending *before, const int top, const int words, const bool has_blocks,
                                   const pending_kind kind) {
  pending p = *before;
  __m512i row[4];
  for (int i = 0; i < words; i++) row[i] = _mm512_load_si512((const void *)(ranks + 64 * i));
  const uint8_t *at = (const uint8_t *)header + header->positions + g * (((size_t)1 << top) - 1) * 2 * group;
  __m512i found = exits_of(at, row, &p, top, words, kind, has_blocks ? group / 2 : group);
  if (has_blocks) found = leaves_of(header, g, row, found, &p, top, words, kind);
  _mm512_store_si512((void *)leaf, found);
  if (kind != add_nothing) *before = p;
}

#define WALK(NAME, TOP, WORDS, BLOCKS, KIND)                                                                 \
  NT_TARGET_VBMI static void NAME(const lanes_header *header, size_t g, const uint8_t *ranks, uint8_t *leaf, \
                                  pending *before) {                                                         \
    walk(header, g, ranks, leaf, before, TOP, WORDS, BLOCKS, KIND);                                          \
  }
#define KINDS(NAME, TOP, WORDS, BLOCKS)         \
  WALK(NAME##_f64, TOP, WORDS, BLOCKS, add_f64) \
  WALK(NAME##_f32, TOP, WORDS, BLOCKS, add_f32) WALK(NAME##_nothing, TOP, WORDS, BLOCKS, add_nothing)
#define WALKS(NAME, TOP, BLOCKS) \
  KINDS(NAME##_1, TOP, 1, BLOCKS) KINDS(NAME##_2, TOP, 2, BLOCKS) KINDS(NAME##_4, TOP, 4, BLOCKS)
WALKS(blends1, 1, false)
WALKS(blends2, 2, false)
WALKS(blends3, 3, false)
WALKS(blends4, 4, false)
WALKS(blends5, 5, false)
WALKS(blends6, 6, false)
WALKS(blocks3, 3, true)
WALKS(blocks4, 4, true)
WALKS(blocks5, 5, true)

#define BY_KIND(NAME) {NAME##_f64, NAME##_f32, NAME##_nothing}
#define BY_WORDS(NAME) {BY_KIND(NAME##_1), BY_KIND(NAME##_2), BY_KIND(NAME##_4)}
/// By levels of the blends from 1, by registers of a row, by what is added meanwhile.
static walk_function *const walks_of_blends[6][3][3] = {BY_WORDS(blends1), BY_WORDS(blends2), BY_WORDS(blends3),
                                                        BY_WORDS(blends4), BY_WORDS(blends5), BY_WORDS(blends6)};
/// The same from 3 levels.
static walk_function *const walks_of_blocks[3][3][3] = {BY_WORDS(blocks3), BY_WORDS(blocks4), BY_WORDS(blocks5)};

static walk_function *const *walks_of(const lanes_header *header) {
  size_t words = header->words == 4 ? 2 : header->words - 1;
  return header->depth > header->top ? walks_of_blocks[header->top - 3][words]
                                     : walks_of_blends[header->top - 1][words];
}

// MARK: - summing

/// One row with one value a leaf: each group's leaves are added during the walk of the next.
NT_INLINE float one_row(const nt_trees *trees, const lanes_header *header, size_t range, const uint8_t *ranks,
                        walk_function *const *walks, const bool is_f32) {
  static const double no_f64 = -0.0;
  static const float no_f32 = -0.0f;
  const uint8_t *base = (const uint8_t *)header;
  const uint32_t *group_first = (const uint32_t *)(base + header->group_first);
  const size_t stride = nt_value_bytes(is_f32) << header->depth;
  _Alignas(64) uint8_t leaf[2][group] = {{0}};
  pending before = {.leaf = leaf[1],
                    .values = is_f32 ? (const uint8_t *)&no_f32 : (const uint8_t *)&no_f64,
                    .sum = nt_sum_start(trees, range)};
  for (size_t g = group_first[range]; g < group_first[range + 1]; g++) {
    walks[is_f32 ? add_f32 : add_f64](header, g, ranks, leaf[g & 1], &before);
    before.leaf = leaf[g & 1], before.stride_bytes = stride;
    before.values = base + header->values + g * group * stride;
  }
  add_some(&before, group, is_f32 ? add_f32 : add_f64);
  return nt_sum_end(trees, range, before.sum, is_f32);
}

/// Some rows: groups outside, rows inside, so that a group is read from L2 once; each row is a chain of additions.
NT_INLINE void some_rows(const nt_trees *trees, const lanes_header *header, size_t range, const uint8_t *ranks,
                         nt_sum *sums, float *y, walk_function *const *walks, const int rows, const bool is_f32) {
  const uint8_t *base = (const uint8_t *)header;
  const uint32_t *group_first = (const uint32_t *)(base + header->group_first);
  const uint32_t *range_first = (const uint32_t *)(base + header->range_first);
  const size_t width = trees->width, outputs = trees->range_count * width, stride = (size_t)1 << header->depth;
  for (size_t w = 0; w < width; w++) {
    for (int r = 0; r < rows; r++) sums[w * rows_max + r] = nt_sum_start(trees, range * width + w);
  }
  size_t left = range_first[range + 1] - range_first[range];
  for (size_t g = group_first[range]; g < group_first[range + 1]; g++, left -= left < group ? left : group) {
    _Alignas(64) uint8_t leaf[rows_max][group];
    pending none = {0};
    for (int r = 0; r < rows; r++) walks[add_nothing](header, g, ranks + r * row_bytes, leaf[r], &none);
    size_t count = left < group ? left : group;
    for (size_t w = 0; w < width; w++) {
      nt_sum here[rows_max];
      for (int r = 0; r < rows; r++) here[r] = sums[w * rows_max + r];
      size_t at = (w * header->groups + g) * group * stride;
      for (size_t j = 0; j < count; j++, at += stride) {
#pragma clang loop vectorize(disable) unroll(full)
        for (int r = 0; r < rows; r++) nt_sum_add(&here[r], base + header->values, at + leaf[r][j], is_f32);
      }
      for (int r = 0; r < rows; r++) sums[w * rows_max + r] = here[r];
    }
  }
  for (size_t w = 0; w < width; w++) {
    for (int r = 0; r < rows; r++) {
      y[r * outputs + range * width + w] = nt_sum_end(trees, range * width + w, sums[w * rows_max + r], is_f32);
    }
  }
}

NT_INLINE void run_as(const nt_trees *trees, const lanes_header *header, const void *x, size_t rows, float *y,
                      void *scratch, const bool is_f32) {
  walk_function *const *walks = walks_of(header);
  uint8_t *ranks = scratch;
  nt_sum *sums = (nt_sum *)(ranks + rows_max * row_bytes);
  const size_t outputs = (size_t)trees->range_count * trees->width;
  for (size_t done = 0; done < rows;) {
    size_t left = rows - done, count = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
    for (size_t r = 0; r < count; r++) {
      trees->rank(&trees->ranks, nt_trees_row(trees, x, done + r), 1, 1, ranks + r * row_bytes);
    }
    for (size_t range = 0; range < trees->range_count; range++) {
      float *to = y + done * outputs;
      if (count == 8) {
        some_rows(trees, header, range, ranks, sums, to, walks, 8, is_f32);
      } else if (count == 4) {
        some_rows(trees, header, range, ranks, sums, to, walks, 4, is_f32);
      } else if (count == 2) {
        some_rows(trees, header, range, ranks, sums, to, walks, 2, is_f32);
      } else if (trees->width > 1) {
        some_rows(trees, header, range, ranks, sums, to, walks, 1, is_f32);
      } else {
        to[range] = one_row(trees, header, range, ranks, walks, is_f32);
      }
    }
    done += count;
  }
}

static void run(const nt_trees *trees, const void *packed, const void *x, size_t rows, float *y, void *scratch) {
  trees->sums_f32 ? run_as(trees, packed, x, rows, y, scratch, true)
                  : run_as(trees, packed, x, rows, y, scratch, false);
}

const nt_trees_layout nt_trees_lanes__avx512vbmi = {"lanes", blends_bytes, blends_pack, scratch_bytes, run, 1};
const nt_trees_layout nt_trees_blocks__avx512vbmi = {"lanes+blocks", blocks_bytes, blocks_pack, scratch_bytes, run, 1};
#endif
