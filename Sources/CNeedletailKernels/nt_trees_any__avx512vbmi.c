// Trees of any shape up to 64 leaves, as leaf-wise boosting grows them: no level is complete.
//
// One row: 64 trees in byte lanes are asked all their splits, split j of each at once, and each tree keeps a mask of
// the leaves it may still reach (QuickScorer, Lucchese et al., 2015): a split that sends the row right clears the
// leaves left of it. The lowest leaf that stays is the one.
//
// 64 rows: a split's rows are shared out to its children by AND and ANDN on 64-bit masks, parents before children. In
// the end each leaf has the mask of its rows, and a product with a constant matrix over GF(2) turns the masks of 8
// leaves into numbers.
#include "nt_trees_values__avx512vbmi.h"

#if defined(NT_X86)

enum { group = 64, leaves_max = 64, row_bytes = 64 };

// MARK: - one row

typedef struct lanes_header {
  /// Bits of a mask, 32 or 64.
  uint32_t bits;
  uint32_t groups;
  /// Offsets: per range its first tree and group; per group its number of slots, and the offset of the first, in bytes;
  /// per slot 64 inputs, 64 ranks and 64 masks; values, `bits` per value of a leaf and tree.
  size_t range_first, group_first, group_slots, group_at, slots, values;
} lanes_header;

static size_t slot_bytes(uint32_t bits) { return 2 * group + group * bits / 8; }

static lanes_header lanes_layout(const nt_forest *forest, size_t *bytes) {
  size_t groups = nt_groups_max(forest, group), table = (forest->range_count + 1) * sizeof(uint32_t);
  lanes_header header = {.bits = forest->leaves_max <= 32 ? 32 : 64, .groups = (uint32_t)groups};
  size_t at = nt_round_up(sizeof header, NT_ALIGNMENT);
  header.range_first = at, at += nt_round_up(table, NT_ALIGNMENT);
  header.group_first = at, at += nt_round_up(table, NT_ALIGNMENT);
  header.group_slots = at, at += nt_round_up(groups * sizeof(uint32_t), NT_ALIGNMENT);
  header.group_at = at, at += nt_round_up(groups * sizeof(size_t), NT_ALIGNMENT);
  header.slots = at, at += groups * (forest->leaves_max - 1) * slot_bytes(header.bits);
  header.values = at;
  at += groups * group * forest->width * header.bits * nt_value_bytes(forest->sums_f32);
  *bytes = at;
  return header;
}

static size_t lanes_bytes(const nt_forest *forest) {
  if (forest->leaves_max > leaves_max || forest->rank_bytes > row_bytes || forest->tree_count <= group / 4) return 0;
  size_t bytes;
  lanes_layout(forest, &bytes);
  return nt_is_proportionate(forest, bytes) ? bytes : 0;
}

/// Numbers the leaves of a subtree from left to right, from `from` on, and gives each split the mask of the leaves that
/// it keeps where it sends a row right. Returns how many leaves there are. No deeper than 64 levels.
static uint32_t number_leaves(const nt_tree_node *nodes, int32_t reference, uint32_t from, uint32_t *number,
                              uint64_t *keep) {
  if (reference < 0) {
    number[~reference] = from;
    return 1;
  }
  uint32_t left = number_leaves(nodes, nodes[reference].child[0], from, number, keep);
  uint32_t right = number_leaves(nodes, nodes[reference].child[1], from + left, number, keep);
  keep[reference] = ~(((1ull << left) - 1) << from);
  return left + right;
}

static void pack_lane(const nt_forest *forest, const nt_tree *tree, const lanes_header *header, uint8_t *base, size_t g,
                      size_t lane) {
  const nt_tree_node *nodes = forest->nodes + tree->first_node;
  uint32_t number[leaves_max] = {0};
  uint64_t keep[leaves_max];
  number_leaves(nodes, tree->nodes ? 0 : ~0, 0, number, keep);
  for (size_t w = 0; w < forest->width; w++) {
    size_t first = ((w * header->groups + g) * group + lane) * header->bits;
    for (uint32_t leaf = 0; leaf < tree->leaves; leaf++) {
      nt_value_set(base + header->values, first + number[leaf],
                   forest->leaves[(size_t)(tree->first_leaf + leaf) * forest->width + w], forest->sums_f32);
    }
  }
  uint8_t *slot = base + header->slots + ((size_t *)(base + header->group_at))[g];
  for (uint32_t n = 0; n < tree->nodes; n++, slot += slot_bytes(header->bits)) {
    slot[lane] = (uint8_t)nodes[n].input, slot[group + lane] = nodes[n].rank;
    memcpy(slot + 2 * group + lane * header->bits / 8, &keep[n], header->bits / 8);
  }
}

static bool lanes_pack(const nt_forest *forest, void *packed) {
  uint8_t *base = packed;
  size_t bytes, at = 0;
  lanes_header header = lanes_layout(forest, &bytes);
  memcpy(packed, &header, sizeof header);
  memcpy(base + header.range_first, forest->range_first, (forest->range_count + 1) * sizeof(uint32_t));
  uint32_t *group_first = (uint32_t *)(base + header.group_first), g = 0;
  uint32_t *group_slots = (uint32_t *)(base + header.group_slots);
  size_t *group_at = (size_t *)(base + header.group_at);
  for (uint32_t range = 0; range < forest->range_count; range++) {
    uint32_t end = forest->range_first[range + 1];
    group_first[range] = g;
    for (uint32_t first = forest->range_first[range]; first < end; first += group, g++) {
      uint32_t last = end - first < group ? end : first + group;
      for (uint32_t t = first; t < last; t++) {
        if (forest->trees[t].nodes > group_slots[g]) group_slots[g] = forest->trees[t].nodes;
      }
      group_at[g] = at;
      for (uint32_t j = 0; j < group_slots[g]; j++, at += slot_bytes(header.bits)) {
        memset(base + header.slots + at + group, NT_RANK_NEVER, group);
      }
      for (uint32_t t = first; t < last; t++) pack_lane(forest, &forest->trees[t], &header, base, g, t - first);
    }
  }
  group_first[forest->range_count] = g;
  return true;
}

static size_t lanes_scratch_bytes(const nt_forest *forest) { return row_bytes + forest->width * sizeof(nt_sum); }

/// The leaves of 64 trees.
NT_TARGET_VBMI NT_INLINE void walk(const uint8_t *slot, uint32_t slots, __m512i row, uint8_t *leaf, const int bits) {
  const int registers = bits / 8;  // 4 of 16 trees, or 8 of 8
  __m512i keep[8];
  for (int i = 0; i < registers; i++) keep[i] = _mm512_set1_epi32(-1);
  for (; slots > 0; slots--, slot += 2 * group + group * bits / 8) {
    uint64_t right = _mm512_cmpge_epu8_mask(_mm512_permutexvar_epi8(_mm512_load_si512((const void *)slot), row),
                                            _mm512_load_si512((const void *)(slot + group)));
    for (int i = 0; i < registers; i++) {
      __m512i mask = _mm512_load_si512((const void *)(slot + 2 * group + 64 * i));
      keep[i] = bits == 32 ? _mm512_mask_and_epi32(keep[i], (__mmask16)(right >> (16 * i)), keep[i], mask)
                           : _mm512_mask_and_epi64(keep[i], (__mmask8)(right >> (8 * i)), keep[i], mask);
    }
  }
#if defined(NT_USE_SIMDE)
  // SIMDe counts no leading zeros of 512 bits.
  for (int i = 0; i < registers; i++) {
    _Alignas(64) uint8_t bytes[64];
    _mm512_store_si512((void *)bytes, keep[i]);
    for (int j = 0; j < 512 / bits; j++) {
      uint64_t mask = 0;
      memcpy(&mask, bytes + j * bits / 8, (size_t)bits / 8);
      leaf[i * 512 / bits + j] = (uint8_t)__builtin_ctzll(mask);
    }
  }
#else
  // The place of the lowest bit: 31 or 63 less the leading zeros of x & −x.
  for (int i = 0; i < registers; i++) {
    if (bits == 32) {
      __m512i low = _mm512_and_si512(keep[i], _mm512_sub_epi32(_mm512_setzero_si512(), keep[i]));
      __m512i number = _mm512_sub_epi32(_mm512_set1_epi32(31), _mm512_lzcnt_epi32(low));
      _mm_store_si128((__m128i *)(void *)(leaf + 16 * i), _mm512_cvtepi32_epi8(number));
    } else {
      __m512i low = _mm512_and_si512(keep[i], _mm512_sub_epi64(_mm512_setzero_si512(), keep[i]));
      __m512i number = _mm512_sub_epi64(_mm512_set1_epi64(63), _mm512_lzcnt_epi64(low));
      _mm_storel_epi64((__m128i *)(void *)(leaf + 8 * i), _mm512_cvtepi64_epi8(number));
    }
  }
#endif
}

NT_TARGET_VBMI NT_INLINE void one_range(const nt_trees *trees, const lanes_header *header, const uint8_t *ranks,
                                        size_t range, nt_sum *sums, const int bits, const bool is_f32) {
  const uint8_t *base = (const uint8_t *)header;
  const uint32_t *group_first = (const uint32_t *)(base + header->group_first);
  const uint32_t *range_first = (const uint32_t *)(base + header->range_first);
  const uint32_t *group_slots = (const uint32_t *)(base + header->group_slots);
  const size_t *group_at = (const size_t *)(base + header->group_at);
  __m512i row = _mm512_load_si512((const void *)ranks);
  size_t left = range_first[range + 1] - range_first[range];
  for (size_t g = group_first[range]; g < group_first[range + 1]; g++, left -= left < group ? left : group) {
    _Alignas(64) uint8_t leaf[group];
    walk(base + header->slots + group_at[g], group_slots[g], row, leaf, bits);
    size_t count = left < group ? left : group;
    for (size_t w = 0; w < trees->width; w++) {
      size_t at = (w * header->groups + g) * group * (size_t)bits;
      nt_sum here = sums[w];
      for (size_t j = 0; j < count; j++, at += (size_t)bits)
        nt_sum_add(&here, base + header->values, at + leaf[j], is_f32);
      sums[w] = here;
    }
  }
}

NT_TARGET_VBMI static void range_of(const nt_trees *trees, const void *packed, const uint8_t *ranks, size_t range,
                                    nt_sum *sums) {
  const lanes_header *header = packed;
  if (header->bits == 32) {
    trees->sums_f32 ? one_range(trees, header, ranks, range, sums, 32, true)
                    : one_range(trees, header, ranks, range, sums, 32, false);
  } else {
    trees->sums_f32 ? one_range(trees, header, ranks, range, sums, 64, true)
                    : one_range(trees, header, ranks, range, sums, 64, false);
  }
}

static void lanes_run(const nt_trees *trees, const void *packed, const void *x, size_t rows, float *y, void *scratch) {
  nt_trees_by_row(trees, packed, x, rows, y, scratch, range_of);
}

const nt_trees_layout nt_trees_any_lanes__avx512vbmi = {"lanes-any",         lanes_bytes, lanes_pack,
                                                        lanes_scratch_bytes, lanes_run,   1};

// MARK: - 64 rows

typedef struct split {
  uint32_t rank4;
  /// Offset of the input's 64 rows.
  uint32_t offset;
  /// Slots of masks: leaf l is slot l, split n is slot 64 + n, the root 64.
  uint8_t child[2];
} split;

enum { slots = 2 * leaves_max };

typedef struct rows_header {
  uint32_t trees;
  /// Offsets: per range its first tree; per tree its first split, and its registers of 8 leaves; planes per value and
  /// tree.
  size_t range_first, first_split, octets, splits, planes;
} rows_header;

static rows_header rows_layout(const nt_forest *forest, size_t *bytes) {
  rows_header header = {.trees = forest->tree_count};
  size_t at = nt_round_up(sizeof header, NT_ALIGNMENT), trees = forest->tree_count;
  header.range_first = at, at += nt_round_up((forest->range_count + 1) * sizeof(uint32_t), NT_ALIGNMENT);
  header.first_split = at, at += nt_round_up((trees + 1) * sizeof(uint32_t), NT_ALIGNMENT);
  header.octets = at, at += nt_round_up(trees, NT_ALIGNMENT);
  header.splits = at, at += nt_round_up(forest->node_count * sizeof(split), NT_ALIGNMENT);
  header.planes = at, at += trees * forest->width * 64 * nt_value_bytes(forest->sums_f32);
  *bytes = at;
  return header;
}

static size_t rows_bytes(const nt_forest *forest) {
  if (forest->leaves_max > leaves_max) return 0;
  size_t bytes;
  rows_layout(forest, &bytes);
  return nt_is_proportionate(forest, bytes) ? bytes : 0;
}

static bool rows_pack(const nt_forest *forest, void *packed) {
  uint8_t *base = packed;
  size_t bytes;
  rows_header header = rows_layout(forest, &bytes);
  memcpy(packed, &header, sizeof header);
  memcpy(base + header.range_first, forest->range_first, (forest->range_count + 1) * sizeof(uint32_t));
  uint32_t *first_split = (uint32_t *)(base + header.first_split), at = 0;
  split *splits = (split *)(base + header.splits);
  const size_t tree_bytes = 64 * nt_value_bytes(forest->sums_f32);
  for (uint32_t t = 0; t < forest->tree_count; t++) {
    const nt_tree *tree = &forest->trees[t];
    first_split[t] = at, base[header.octets + t] = (uint8_t)((tree->leaves + 7) / 8);
    // Nodes have larger numbers than their parents, so that their own order will do.
    for (uint32_t n = 0; n < tree->nodes; n++) {
      const nt_tree_node *node = &forest->nodes[tree->first_node + n];
      splits[at] = (split){.rank4 = node->rank * 0x01010101u, .offset = node->input * nt_block_rows};
      for (size_t side = 0; side < 2; side++) {
        int32_t child = node->child[side];
        splits[at].child[side] = (uint8_t)(child < 0 ? ~child : leaves_max + child);
      }
      at++;
    }
    int32_t exits[leaves_max];
    for (uint32_t leaf = 0; leaf < tree->leaves; leaf++) exits[leaf] = ~(int32_t)leaf;
    for (size_t w = 0; w < forest->width; w++) {
      nt_set_planes(base + header.planes + (w * header.trees + t) * tree_bytes, forest, tree, exits, tree->leaves, 6,
                    w);
    }
  }
  first_split[forest->tree_count] = at;
  return true;
}

/// Ranked rows, masks of two trees, sums of a range.
static size_t rows_scratch_bytes(const nt_forest *forest) {
  return (size_t)forest->rank_bytes * nt_block_rows + 2 * slots * sizeof(uint64_t) +
         forest->width * sizeof(nt_block_sums);
}

/// The rows of each leaf.
NT_TARGET_VBMI NT_INLINE void share_out(const split *s, const split *end, const uint8_t *x, uint64_t *masks) {
  uint64_t *own = masks + leaves_max;
  masks[0] = ~0ull, *own = ~0ull;  // a tree without splits is its leaf 0
#pragma clang loop unroll_count(2)
  for (; s < end; s++, own++) {
    uint64_t right =
        _mm512_cmpge_epu8_mask(_mm512_load_si512((const void *)(x + s->offset)), _mm512_set1_epi32((int)s->rank4));
    uint64_t rows = *own;
    masks[s->child[0]] = rows & ~right;
    masks[s->child[1]] = rows & right;
  }
}

/// Leaf numbers of 64 rows from the masks of 8 × `octets` leaves. Masks behind the last leaf are zero.
NT_TARGET_VBMI NT_INLINE __m512i leaf_numbers(const uint64_t *masks, size_t octets) {
  // Affine byte 7 − b holds which of 8 leaves have bit b in their number: 0xaa, 0xcc, 0xf0, then all or none.
  const uint64_t low = 0xaaccf00000000000ull;
  const uint64_t high[8] = {low,
                            low | 0xffull << 32,
                            low | 0xffull << 24,
                            low | 0xffffull << 24,
                            low | 0xffull << 16,
                            low | 0xff00ffull << 16,
                            low | 0xffffull << 16,
                            low | 0xffffffull << 16};
  __m512i leaf = _mm512_setzero_si512();
  for (size_t o = 0; o < octets; o++) {
    // Bit j of a row's byte: the row is in leaf 8o + j.
    __m512i by_row = nt_leaf_bytes(_mm512_load_si512((const void *)(masks + o * 8)));
    leaf = _mm512_or_si512(leaf, _mm512_gf2p8affine_epi64_epi8(by_row, _mm512_set1_epi64((long long)high[o]), 0));
  }
  return leaf;
}

NT_TARGET_VBMI NT_INLINE void block(const nt_trees *trees, const rows_header *header, const uint8_t *x, size_t rows,
                                    float *y, uint64_t *masks, const bool is_f32) {
  const uint8_t *base = (const uint8_t *)header, *octets = base + header->octets;
  const uint32_t *range_first = (const uint32_t *)(base + header->range_first);
  const uint32_t *first_split = (const uint32_t *)(base + header->first_split);
  const split *splits = (const split *)(base + header->splits);
  nt_block_sums *sums = (nt_block_sums *)(masks + 2 * slots);
  const size_t width = trees->width, tree_bytes = 64 * nt_value_bytes(is_f32);
  for (size_t range = 0; range < trees->range_count; range++) {
    for (size_t w = 0; w < width; w++) nt_start_sums(trees, range * width + w, &sums[w], is_f32);
    // A tree is finished while the masks of the next are written, so that none is read while it is being stored.
    for (uint32_t from = range_first[range], to = range_first[range + 1], t = from; t <= to; t++) {
      if (t < to) {
        uint64_t *own = masks + (t & 1) * slots;
        _mm512_store_si512((void *)(own + (octets[t] - 1) * 8), _mm512_setzero_si512());  // may be partial
        share_out(splits + first_split[t], splits + first_split[t + 1], x, own);
      }
      if (t == from) continue;
      __m512i leaf = leaf_numbers(masks + ((t - 1) & 1) * slots, octets[t - 1]);
      for (size_t w = 0; w < width; w++) {
        const uint8_t *planes = base + header->planes + (w * header->trees + t - 1) * tree_bytes;
        nt_block_sums here = sums[w];
        nt_add_leaves(&here, leaf, planes, 6, is_f32);
        sums[w] = here;
      }
    }
    for (size_t w = 0; w < width; w++) {
      nt_store_sums(trees, range * width + w, &sums[w], y + range * width + w, rows, is_f32);
    }
  }
}

NT_TARGET_VBMI static void rows_run(const nt_trees *trees, const void *packed, const void *x, size_t rows, float *y,
                                    void *scratch) {
  uint8_t *ranked = scratch;
  uint64_t *masks = (uint64_t *)(ranked + (size_t)nt_ranks_bytes(&trees->ranks) * nt_block_rows);
  const size_t outputs = (size_t)trees->range_count * trees->width;
  for (size_t done = 0; done < rows; done += nt_block_rows) {
    size_t count = rows - done < nt_block_rows ? rows - done : nt_block_rows;
    trees->rank(&trees->ranks, nt_trees_row(trees, x, done), count, nt_block_rows, ranked);
    if (trees->sums_f32) {
      block(trees, packed, ranked, count, y + done * outputs, masks, true);
    } else {
      block(trees, packed, ranked, count, y + done * outputs, masks, false);
    }
  }
}

const nt_trees_layout nt_trees_any_rows__avx512vbmi = {"rows-any",         rows_bytes, rows_pack,
                                                       rows_scratch_bytes, rows_run,   nt_block_rows};
#endif
