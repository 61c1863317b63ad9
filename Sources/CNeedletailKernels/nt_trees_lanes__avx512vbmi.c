// Few rows: 64 trees in the 64 byte lanes of a register.
//
// A level of 64 trees at once: masked blends pick each tree's split of this level (2^d vectors at level d; the masks
// are the decisions above), VPERMB looks the row's bytes up, one comparison decides for 64 trees. Blends touch every
// split of a level, so from some depth on each tree's own path is cheaper: three levels below the blends are a block of
// 16 bytes, 7 inputs and 7 ranks, of which 8 trees are compared at once. Their 7 decisions become a leaf by one
// table look-up for 64 trees.
//
// Oblivious trees, as CatBoost grows them, ask the same on all paths: a level is one question a tree, and the decisions
// are the number of the leaf.
#include "nt_trees_lanes.h"

#if defined(NT_X86)

enum { group = 64, oblivious_depth_max = 8 };

static const nt_lanes_form blends = {.group = group}, blocks = {.group = group, .block_levels = nt_block_levels},
                           oblivious = {.group = group, .is_oblivious = true};

static size_t blends_bytes(const nt_forest *forest) {
  return forest->depth_max < 1 || forest->depth_max > 6 ? 0 : nt_lanes_bytes(forest, &blends);
}
static size_t blocks_bytes(const nt_forest *forest) {
  return forest->depth_max < 6 || forest->depth_max > NT_TREES_COMPLETE_DEPTH_MAX ? 0 : nt_lanes_bytes(forest, &blocks);
}
static size_t oblivious_bytes(const nt_forest *forest) {
  return forest->depth_max < 1 || forest->depth_max > oblivious_depth_max ? 0 : nt_lanes_bytes(forest, &oblivious);
}
static bool blends_pack(const nt_forest *forest, void *packed) { return nt_lanes_pack(forest, packed, &blends); }
static bool blocks_pack(const nt_forest *forest, void *packed) { return nt_lanes_pack(forest, packed, &blocks); }
static bool oblivious_pack(const nt_forest *forest, void *packed) { return nt_lanes_pack(forest, packed, &oblivious); }

// MARK: - walking

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
PICK(6, 5)

/// The exits, 0 to 2^top − 1, of 64 trees; adds `share` trees of the group before, spread over the levels.
NT_TARGET_VBMI NT_INLINE __m512i exits_of(const uint8_t *at, const __m512i *row, nt_pending *before, const int top,
                                          const int words, const nt_pending_kind kind, const int share,
                                          const bool is_wide) {
  __mmask64 k[7];
  __m512i exits = _mm512_setzero_si512();
#define LEVEL(D)                                                                                    \
  if (top > D) {                                                                                    \
    const uint8_t *level = at + 2 * group * ((1 << D) - 1);                                         \
    __m512i found = nt_look_up(row, pick_##D(level, 2 * group, k), words);                          \
    k[D] = _mm512_cmpge_epu8_mask(found, pick_##D(level + group, 2 * group, k));                    \
    exits = _mm512_mask_add_epi8(exits, k[D], exits, _mm512_set1_epi8((char)(1 << (top - 1 - D)))); \
    nt_add_some(before, share * (D + 1) / top - share * D / top, kind, is_wide);                    \
  }
  LEVEL(0)
  LEVEL(1)
  LEVEL(2)
  LEVEL(3)
  LEVEL(4)
  LEVEL(5)
  LEVEL(6)
#undef LEVEL
  return exits;
}

/// Blocks of four trees, every other one, in the four quarters of a register.
NT_TARGET_VBMI NT_INLINE __m512i four_blocks(const uint8_t *blocks, const uint8_t *exit, size_t j, const int top) {
#define BLOCK(J) _mm_load_si128((const void *)(blocks + (((J) << top) + exit[J]) * nt_block_bytes))
  __m512i four = _mm512_castsi128_si512(BLOCK(j));
  four = _mm512_inserti32x4(four, BLOCK(j + 2), 1);
  four = _mm512_inserti32x4(four, BLOCK(j + 4), 2);
  return _mm512_inserti32x4(four, BLOCK(j + 6), 3);
#undef BLOCK
}

/// Writes the leaves of 64 trees from the exits of their blends.
NT_TARGET_VBMI NT_INLINE void leaves_of(const nt_lanes_header *header, size_t g, const __m512i *row, __m512i exits,
                                        uint8_t *leaf, nt_pending *before, const int top, const int words,
                                        const nt_pending_kind kind, const bool is_wide) {
  const uint8_t *blocks = (const uint8_t *)header + header->blocks + ((g * group) << top) * nt_block_bytes;
  _Alignas(64) uint8_t exit[group];
  _Alignas(64) uint64_t decisions[8];
  _mm512_store_si512((void *)exit, exits);
  for (size_t j = 0; j < group; j += 8) {
    __m512i even = four_blocks(blocks, exit, j, top), odd = four_blocks(blocks, exit, j + 1, top);
    __m512i found = nt_look_up(row, _mm512_unpacklo_epi64(even, odd), words);
    decisions[j / 8] = _mm512_cmpge_epu8_mask(found, _mm512_unpackhi_epi64(even, odd));
    nt_add_some(before, group / 16, kind, is_wide);
  }
  __m512i low = _mm512_permutex2var_epi8(_mm512_loadu_si512((const void *)header->exits),
                                         _mm512_load_si512((const void *)decisions),
                                         _mm512_loadu_si512((const void *)(header->exits + 64)));
  if (!is_wide) {
    // Exits of the blends are below 32, so that no bit leaves its byte.
    _mm512_store_si512((void *)leaf, _mm512_or_si512(_mm512_slli_epi16(exits, nt_block_levels), low));
    return;
  }
  for (int half = 0; half < 2; half++) {
    __m512i high = _mm512_cvtepu8_epi16(half ? _mm512_extracti64x4_epi64(exits, 1) : _mm512_castsi512_si256(exits));
    __m512i below = _mm512_cvtepu8_epi16(half ? _mm512_extracti64x4_epi64(low, 1) : _mm512_castsi512_si256(low));
    _mm512_store_si512((void *)(leaf + half * group), _mm512_or_si512(_mm512_slli_epi16(high, nt_block_levels), below));
  }
}

NT_TARGET_VBMI NT_INLINE void walk(const nt_lanes_header *header, size_t g, const uint8_t *ranks, uint8_t *leaf,
                                   nt_pending *before, const int top, const int words, const bool has_blocks,
                                   const nt_pending_kind kind) {
  nt_pending p = *before;
  __m512i row[4];
  for (int i = 0; i < words; i++) row[i] = _mm512_load_si512((const void *)(ranks + 64 * i));
  const uint8_t *at = (const uint8_t *)header + header->positions + g * header->questions * 2 * group;
  // Leaves of trees of 9 and 10 levels have numbers of 16 bits.
  const bool is_wide = has_blocks && top + nt_block_levels > 8;
  __m512i exits = exits_of(at, row, &p, top, words, kind, has_blocks ? group / 2 : group, is_wide);
  if (has_blocks) {
    leaves_of(header, g, row, exits, leaf, &p, top, words, kind, is_wide);
  } else {
    _mm512_store_si512((void *)leaf, exits);
  }
  if (kind != nt_add_nothing) *before = p;
}

/// As `walk`, of trees whose levels are one question each.
NT_TARGET_VBMI NT_INLINE void walk_oblivious(const nt_lanes_header *header, size_t g, const uint8_t *ranks,
                                             uint8_t *leaf, nt_pending *before, const int words,
                                             const nt_pending_kind kind) {
  nt_pending p = *before;
  __m512i row[4], found = _mm512_setzero_si512();
  for (int i = 0; i < words; i++) row[i] = _mm512_load_si512((const void *)(ranks + 64 * i));
  const uint8_t *at = (const uint8_t *)header + header->positions + g * header->questions * 2 * group;
  for (uint32_t level = header->questions; level > 0; level--, at += 2 * group) {
    __m512i bytes = nt_look_up(row, _mm512_load_si512((const void *)at), words);
    __mmask64 right = _mm512_cmpge_epu8_mask(bytes, _mm512_load_si512((const void *)(at + group)));
    found = _mm512_add_epi8(found, found);
    found = _mm512_mask_add_epi8(found, right, found, _mm512_set1_epi8(1));
  }
  nt_add_some(&p, group, kind, false);
  _mm512_store_si512((void *)leaf, found);
  if (kind != nt_add_nothing) *before = p;
}

#define WALK(NAME, TOP, WORDS, BLOCKS, KIND)                                                                    \
  NT_TARGET_VBMI static void NAME(const nt_lanes_header *header, size_t g, const uint8_t *ranks, uint8_t *leaf, \
                                  nt_pending *before) {                                                         \
    walk(header, g, ranks, leaf, before, TOP, WORDS, BLOCKS, KIND);                                             \
  }
#define KINDS(NAME, TOP, WORDS, BLOCKS)            \
  WALK(NAME##_f64, TOP, WORDS, BLOCKS, nt_add_f64) \
  WALK(NAME##_f32, TOP, WORDS, BLOCKS, nt_add_f32) WALK(NAME##_nothing, TOP, WORDS, BLOCKS, nt_add_nothing)
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
WALKS(blocks6, 6, true)
WALKS(blocks7, 7, true)

#define OBLIVIOUS(NAME, WORDS, KIND)                                                                            \
  NT_TARGET_VBMI static void NAME(const nt_lanes_header *header, size_t g, const uint8_t *ranks, uint8_t *leaf, \
                                  nt_pending *before) {                                                         \
    walk_oblivious(header, g, ranks, leaf, before, WORDS, KIND);                                                \
  }
#define OBLIVIOUS_KINDS(NAME, WORDS)       \
  OBLIVIOUS(NAME##_f64, WORDS, nt_add_f64) \
  OBLIVIOUS(NAME##_f32, WORDS, nt_add_f32) OBLIVIOUS(NAME##_nothing, WORDS, nt_add_nothing)
OBLIVIOUS_KINDS(oblivious_1, 1)
OBLIVIOUS_KINDS(oblivious_2, 2)
OBLIVIOUS_KINDS(oblivious_4, 4)

#define BY_KIND(NAME) {NAME##_f64, NAME##_f32, NAME##_nothing}
#define BY_WORDS(NAME) {BY_KIND(NAME##_1), BY_KIND(NAME##_2), BY_KIND(NAME##_4)}
/// By levels of the blends from 1, by registers of a row, by what is added meanwhile.
static nt_walk_function *const walks_of_blends[6][3][3] = {BY_WORDS(blends1), BY_WORDS(blends2), BY_WORDS(blends3),
                                                           BY_WORDS(blends4), BY_WORDS(blends5), BY_WORDS(blends6)};
/// The same from 3 levels.
static nt_walk_function *const walks_of_blocks[5][3][3] = {BY_WORDS(blocks3), BY_WORDS(blocks4), BY_WORDS(blocks5),
                                                           BY_WORDS(blocks6), BY_WORDS(blocks7)};
static nt_walk_function *const walks_of_oblivious[3][3] = BY_WORDS(oblivious);

/// The walks of a row of as many bytes.
static nt_walk_function *const *walks_of(const nt_lanes_header *header, nt_walk_function *const (*by_words)[3]) {
  return by_words[header->rank_bytes <= 64 ? 0 : header->rank_bytes <= 128 ? 1 : 2];
}

static void run_walks(const nt_trees *trees, const nt_lanes_header *header, const void *x, size_t rows, float *y,
                      void *scratch, nt_walk_function *const *walks) {
  if (trees->sums_f32) {
    nt_lanes_run(trees, header, x, rows, y, scratch, walks, group, false, true);
  } else {
    nt_lanes_run(trees, header, x, rows, y, scratch, walks, group, false, false);
  }
}
static void run_wide_walks(const nt_trees *trees, const nt_lanes_header *header, const void *x, size_t rows, float *y,
                           void *scratch, nt_walk_function *const *walks) {
  if (trees->sums_f32) {
    nt_lanes_run(trees, header, x, rows, y, scratch, walks, group, true, true);
  } else {
    nt_lanes_run(trees, header, x, rows, y, scratch, walks, group, true, false);
  }
}

static void blends_run(const nt_trees *trees, const void *packed, const void *x, size_t rows, float *y, void *scratch) {
  const nt_lanes_header *header = packed;
  run_walks(trees, header, x, rows, y, scratch, walks_of(header, walks_of_blends[header->top - 1]));
}
static void blocks_run(const nt_trees *trees, const void *packed, const void *x, size_t rows, float *y, void *scratch) {
  const nt_lanes_header *header = packed;
  nt_walk_function *const *walks = walks_of(header, walks_of_blocks[header->top - 3]);
  if (header->depth > 8) {
    run_wide_walks(trees, header, x, rows, y, scratch, walks);
  } else {
    run_walks(trees, header, x, rows, y, scratch, walks);
  }
}
static void oblivious_run(const nt_trees *trees, const void *packed, const void *x, size_t rows, float *y,
                          void *scratch) {
  const nt_lanes_header *header = packed;
  run_walks(trees, header, x, rows, y, scratch, walks_of(header, walks_of_oblivious));
}

const nt_trees_layout nt_trees_lanes__avx512vbmi = {
    "lanes", blends_bytes, blends_pack, nt_lanes_scratch_bytes, blends_run, 1};
const nt_trees_layout nt_trees_blocks__avx512vbmi = {"lanes+blocks",         blocks_bytes, blocks_pack,
                                                     nt_lanes_scratch_bytes, blocks_run,   1};
const nt_trees_layout nt_trees_oblivious_lanes__avx512vbmi = {"oblivious-lanes",      oblivious_bytes, oblivious_pack,
                                                              nt_lanes_scratch_bytes, oblivious_run,   1};
#endif
