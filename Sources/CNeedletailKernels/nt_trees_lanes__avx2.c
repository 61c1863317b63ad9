// Few rows on AVX2: 32 trees in the 32 byte lanes of a register, as nt_trees_lanes__avx512vbmi.c tells for 64.
//
// VPSHUFB looks up 16 bytes of a row at once, so a row is as many pieces, and all are asked: a place that is not of the
// piece gets its top bit, which gives 0. Decisions are bytes of ones, and a level's questions are stored so that an AND
// and an XOR pick one of two: VPBLENDVB takes three operations on Alder Lake and Sapphire Rapids.
#include "nt_trees_lanes.h"

#if defined(NT_X86)
#include "nt_intrinsics.h"

enum {
  group = 32,
  piece_bytes = 16,
  /// Picks touch every split of a level: from 8 levels on, complete trees are as fast.
  picks_depth_max = 7,
  oblivious_depth_max = 8,
};

static const nt_lanes_form picks = {.group = group, .is_combined = true},
                           oblivious = {.group = group, .is_oblivious = true};

static size_t picks_bytes(const nt_forest *forest) {
  return forest->depth_max < 1 || forest->depth_max > picks_depth_max ? 0 : nt_lanes_bytes(forest, &picks);
}
static size_t oblivious_bytes(const nt_forest *forest) {
  return forest->depth_max < 1 || forest->depth_max > oblivious_depth_max ? 0 : nt_lanes_bytes(forest, &oblivious);
}
static bool picks_pack(const nt_forest *forest, void *packed) { return nt_lanes_pack(forest, packed, &picks); }
static bool oblivious_pack(const nt_forest *forest, void *packed) { return nt_lanes_pack(forest, packed, &oblivious); }

/// The bytes of a row at 32 places.
NT_TARGET_AVX2 NT_INLINE __m256i look_up(const uint8_t *ranks, __m256i at, const int pieces) {
  const __m256i outside = _mm256_set1_epi8(0x70), next = _mm256_set1_epi8(piece_bytes);
  __m256i found = _mm256_setzero_si256();
#pragma clang loop unroll(full)
  for (int i = 0; i < pieces; i++) {
    __m256i piece = _mm256_broadcastsi128_si256(_mm_load_si128((const void *)(ranks + i * piece_bytes)));
    // Places 0 to 15 become 0x70 to 0x7f, all above 0x80 and more.
    found = _mm256_or_si256(found, _mm256_shuffle_epi8(piece, _mm256_adds_epu8(at, outside)));
    at = _mm256_sub_epi8(at, next);
  }
  return found;
}

/// The decisions of 32 splits as bytes of ones: where the row's byte is at least the rank.
NT_TARGET_AVX2 NT_INLINE __m256i decide(const uint8_t *ranks, __m256i inputs, __m256i least, const int pieces) {
  __m256i found = look_up(ranks, inputs, pieces);
  return _mm256_cmpeq_epi8(_mm256_max_epu8(found, least), found);
}

// pick_N: of 2^N questions, `step` bytes apart, the one that the decisions k[0] to k[N − 1] lead to, lane by lane.
NT_TARGET_AVX2 NT_INLINE __m256i pick_0(const uint8_t *at, size_t step, const __m256i *k) {
  (void)step, (void)k;
  return _mm256_load_si256((const void *)at);
}
#define PICK(N, M)                                                                              \
  NT_TARGET_AVX2 NT_INLINE __m256i pick_##N(const uint8_t *at, size_t step, const __m256i *k) { \
    __m256i right = _mm256_and_si256(k[M], pick_##M(at + step, 2 * step, k));                   \
    return _mm256_xor_si256(pick_##M(at, 2 * step, k), right);                                  \
  }
PICK(1, 0)
PICK(2, 1)
PICK(3, 2)
PICK(4, 3)
PICK(5, 4)
PICK(6, 5)

/// The leaves of 32 trees; the trees of the group before are added between the levels.
NT_TARGET_AVX2 NT_INLINE void walk(const nt_lanes_header *header, size_t g, const uint8_t *ranks, uint8_t *leaf,
                                   nt_pending *before, const int depth, const int pieces, const nt_pending_kind kind) {
  nt_pending p = *before;
  const uint8_t *at = (const uint8_t *)header + header->positions + g * header->questions * 2 * group;
  __m256i k[picks_depth_max], found = _mm256_setzero_si256();
#define LEVEL(D)                                                                                        \
  if (depth > D) {                                                                                      \
    const uint8_t *level = at + 2 * group * ((1 << D) - 1);                                             \
    k[D] = decide(ranks, pick_##D(level, 2 * group, k), pick_##D(level + group, 2 * group, k), pieces); \
    found = _mm256_sub_epi8(_mm256_add_epi8(found, found), k[D]);                                       \
    nt_add_some(&p, group * (D + 1) / depth - group * D / depth, kind, false);                          \
  }
  LEVEL(0)
  LEVEL(1)
  LEVEL(2)
  LEVEL(3)
  LEVEL(4)
  LEVEL(5)
  LEVEL(6)
#undef LEVEL
  _mm256_store_si256((void *)leaf, found);
  if (kind != nt_add_nothing) *before = p;
}

/// As `walk`, of trees whose levels are one question each.
NT_TARGET_AVX2 NT_INLINE void walk_oblivious(const nt_lanes_header *header, size_t g, const uint8_t *ranks,
                                             uint8_t *leaf, nt_pending *before, const int pieces,
                                             const nt_pending_kind kind) {
  nt_pending p = *before;
  const uint8_t *at = (const uint8_t *)header + header->positions + g * header->questions * 2 * group;
  __m256i found = _mm256_setzero_si256();
  for (uint32_t level = header->questions; level > 0; level--, at += 2 * group) {
    __m256i right =
        decide(ranks, _mm256_load_si256((const void *)at), _mm256_load_si256((const void *)(at + group)), pieces);
    found = _mm256_sub_epi8(_mm256_add_epi8(found, found), right);
  }
  nt_add_some(&p, group, kind, false);
  _mm256_store_si256((void *)leaf, found);
  if (kind != nt_add_nothing) *before = p;
}

#define WALK(NAME, BODY)                                                                                        \
  NT_TARGET_AVX2 static void NAME(const nt_lanes_header *header, size_t g, const uint8_t *ranks, uint8_t *leaf, \
                                  nt_pending *before) {                                                         \
    BODY;                                                                                                       \
  }
#define KINDS(NAME, DEPTH, PIECES)                                                  \
  WALK(NAME##_f64, walk(header, g, ranks, leaf, before, DEPTH, PIECES, nt_add_f64)) \
  WALK(NAME##_f32, walk(header, g, ranks, leaf, before, DEPTH, PIECES, nt_add_f32)) \
  WALK(NAME##_nothing, walk(header, g, ranks, leaf, before, DEPTH, PIECES, nt_add_nothing))
#define OBLIVIOUS(NAME, PIECES)                                                        \
  WALK(NAME##_f64, walk_oblivious(header, g, ranks, leaf, before, PIECES, nt_add_f64)) \
  WALK(NAME##_f32, walk_oblivious(header, g, ranks, leaf, before, PIECES, nt_add_f32)) \
  WALK(NAME##_nothing, walk_oblivious(header, g, ranks, leaf, before, PIECES, nt_add_nothing))
#define WALKS(DEPTH) \
  KINDS(picks##DEPTH##_2, DEPTH, 2) KINDS(picks##DEPTH##_4, DEPTH, 4) KINDS(picks##DEPTH##_16, DEPTH, 16)
WALKS(1)
WALKS(2)
WALKS(3)
WALKS(4)
WALKS(5)
WALKS(6)
WALKS(7)
OBLIVIOUS(oblivious_2, 2)
OBLIVIOUS(oblivious_4, 4)
OBLIVIOUS(oblivious_16, 16)

#define BY_KIND(NAME) {NAME##_f64, NAME##_f32, NAME##_nothing}
#define BY_PIECES(NAME) {BY_KIND(NAME##_2), BY_KIND(NAME##_4), BY_KIND(NAME##_16)}
/// By depth from 1, by pieces of a row, by what is added meanwhile.
static nt_walk_function *const walks_of_picks[picks_depth_max][3][3] = {
    BY_PIECES(picks1), BY_PIECES(picks2), BY_PIECES(picks3), BY_PIECES(picks4),
    BY_PIECES(picks5), BY_PIECES(picks6), BY_PIECES(picks7)};
static nt_walk_function *const walks_of_oblivious[3][3] = BY_PIECES(oblivious);

static void run_walks(const nt_trees *trees, const void *packed, const void *x, size_t rows, float *y, void *scratch,
                      nt_walk_function *const (*by_pieces)[3]) {
  const nt_lanes_header *header = packed;
  nt_walk_function *const *walks = by_pieces[header->rank_bytes <= 2 * piece_bytes   ? 0
                                             : header->rank_bytes <= 4 * piece_bytes ? 1
                                                                                     : 2];
  if (trees->sums_f32) {
    nt_lanes_run(trees, header, x, rows, y, scratch, walks, group, false, true);
  } else {
    nt_lanes_run(trees, header, x, rows, y, scratch, walks, group, false, false);
  }
}

static void picks_run(const nt_trees *trees, const void *packed, const void *x, size_t rows, float *y, void *scratch) {
  const nt_lanes_header *header = packed;
  run_walks(trees, packed, x, rows, y, scratch, walks_of_picks[header->depth - 1]);
}
static void oblivious_run(const nt_trees *trees, const void *packed, const void *x, size_t rows, float *y,
                          void *scratch) {
  run_walks(trees, packed, x, rows, y, scratch, walks_of_oblivious);
}

const nt_trees_layout nt_trees_lanes__avx2 = {"lanes", picks_bytes, picks_pack, nt_lanes_scratch_bytes, picks_run, 1};
const nt_trees_layout nt_trees_oblivious_lanes__avx2 = {"oblivious-lanes",      oblivious_bytes, oblivious_pack,
                                                        nt_lanes_scratch_bytes, oblivious_run,   1};
#endif
