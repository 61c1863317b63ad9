// Trees of any shape up to 64 leaves for one row: 64 trees in byte lanes.
//
// Trees are asked all their splits, number j of each at once, and each tree keeps a mask of the leaves it may still
// reach (QuickScorer, Lucchese et al., 2015): a split that sends the row right clears the leaves left of it. The lowest
// leaf that stays is the one.
//
// Splits by sets of categories are not asked at all. What those of one column leave of a tree depends on the category
// alone, so the packed form holds a mask of leaves for every tree and category, and a row takes one AND for each column
// of categories, however many sets there are.
#include "nt_trees_lanes.h"

#if defined(NT_X86)

enum { group = 64, leaves_max = 64, row_bytes = nt_lanes_row_bytes };

typedef struct lanes_header {
  /// Bits of a mask, 32 or 64.
  uint32_t bits;
  uint32_t groups;
  /// Columns of categories, and categories of all of them, with two each for other and for missing values.
  uint32_t code_columns, categories;
  /// Bytes of a row's numbers.
  uint32_t number_bytes;
  /// Offsets: per range its first tree and group; per group its number of slots, and the offset of the first, in bytes;
  /// per slot 64 inputs, 64 ranks and 64 masks; per column of categories the place of its first; per group and category
  /// 64 masks; values, `bits` per value of a leaf and tree.
  size_t range_first, group_first, group_slots, group_at, slots, category_first, masks, values;
} lanes_header;

static size_t mask_bytes(uint32_t bits) { return group * bits / 8; }
static size_t slot_bytes(uint32_t bits) { return 2 * group + mask_bytes(bits); }

static lanes_header lanes_layout(const nt_forest *forest, size_t *bytes) {
  size_t groups = nt_groups_max(forest, group), table = (forest->range_count + 1) * sizeof(uint32_t);
  lanes_header header = {.bits = forest->leaves_max <= 32 ? 32 : 64,
                         .groups = (uint32_t)groups,
                         .code_columns = forest->code_columns,
                         .categories = forest->categories,
                         .number_bytes = forest->rank_bytes - forest->set_bytes};
  size_t at = nt_round_up(sizeof header, NT_ALIGNMENT);
  header.range_first = at, at += nt_round_up(table, NT_ALIGNMENT);
  header.group_first = at, at += nt_round_up(table, NT_ALIGNMENT);
  header.group_slots = at, at += nt_round_up(groups * sizeof(uint32_t), NT_ALIGNMENT);
  header.group_at = at, at += nt_round_up(groups * sizeof(size_t), NT_ALIGNMENT);
  header.slots = at, at += groups * (forest->leaves_max - 1) * slot_bytes(header.bits);
  header.category_first = at, at += nt_round_up(header.code_columns * sizeof(uint32_t), NT_ALIGNMENT);
  header.masks = at, at += groups * header.categories * mask_bytes(header.bits);
  header.values = at;
  at += groups * group * forest->width * header.bits * nt_value_bytes(forest->sums_f32);
  *bytes = at;
  return header;
}

/// Columns of categories that a row's places are kept for.
enum { code_columns_max = 1 << 16 };
/// Questions that packing may ask of sets. A model with more would keep a load waiting, and takes another layout.
static const uint64_t pack_questions_max = 1 << 26;

static size_t lanes_bytes(const nt_forest *forest) {
  if (forest->leaves_max > leaves_max || forest->tree_count <= group / 4) return 0;
  if (forest->rank_bytes - forest->set_bytes > row_bytes || forest->code_columns > code_columns_max) return 0;
  if (forest->set_bytes && (uint64_t)forest->node_count * forest->categories > pack_questions_max) return 0;
  size_t bytes;
  lanes_layout(forest, &bytes);
  return nt_is_proportionate(forest, bytes) ? bytes : 0;
}

// MARK: - packing

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

/// Takes the leaves that a split by a set rules out from the masks of its column's categories.
static void pack_set(const nt_ranks *ranks, const nt_tree_node *node, uint64_t keep, const lanes_header *header,
                     uint8_t *base, size_t g, size_t lane) {
  const uint32_t *category_first = (const uint32_t *)(base + header->category_first);
  uint32_t set = node->input - header->number_bytes, column = 0;
  while (set >= ranks->codes[column].first_set + ranks->codes[column].sets) column++;
  const nt_rank_codes *codes = &ranks->codes[column];
  const size_t bytes = header->bits / 8;
  uint8_t *masks = base + header->masks + (g * header->categories + category_first[column]) * mask_bytes(header->bits);
  for (uint32_t c = 0; c < codes->code_count + 2; c++) {
    if (nt_rank_of_code(codes, &ranks->sets[set], c) < node->rank) continue;
    uint64_t mask = 0;
    uint8_t *at = masks + c * mask_bytes(header->bits) + lane * bytes;
    memcpy(&mask, at, bytes);
    mask &= keep;
    memcpy(at, &mask, bytes);
  }
}

static uint32_t numbers_of(const nt_forest *forest, const nt_tree *tree, const lanes_header *header) {
  uint32_t count = 0;
  for (uint32_t n = 0; n < tree->nodes; n++) {
    count += forest->nodes[tree->first_node + n].input < header->number_bytes;
  }
  return count;
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
  for (uint32_t n = 0; n < tree->nodes; n++) {
    if (nodes[n].input >= header->number_bytes) {
      pack_set(forest->ranks, &nodes[n], keep[n], header, base, g, lane);
      continue;
    }
    slot[lane] = (uint8_t)nodes[n].input, slot[group + lane] = nodes[n].rank;
    memcpy(slot + 2 * group + lane * header->bits / 8, &keep[n], header->bits / 8);
    slot += slot_bytes(header->bits);
  }
}

static bool lanes_pack(const nt_forest *forest, void *packed) {
  uint8_t *base = packed;
  size_t bytes, at = 0;
  lanes_header header = lanes_layout(forest, &bytes);
  memcpy(packed, &header, sizeof header);
  memcpy(base + header.range_first, forest->range_first, (forest->range_count + 1) * sizeof(uint32_t));
  uint32_t *category_first = (uint32_t *)(base + header.category_first);
  for (uint32_t c = 0, first = 0; c < header.code_columns; first += forest->ranks->codes[c].code_count + 2, c++) {
    category_first[c] = first;
  }
  memset(base + header.masks, 0xff, header.groups * (size_t)header.categories * mask_bytes(header.bits));
  uint32_t *group_first = (uint32_t *)(base + header.group_first), g = 0;
  uint32_t *group_slots = (uint32_t *)(base + header.group_slots);
  size_t *group_at = (size_t *)(base + header.group_at);
  for (uint32_t range = 0; range < forest->range_count; range++) {
    uint32_t end = forest->range_first[range + 1];
    group_first[range] = g;
    for (uint32_t first = forest->range_first[range]; first < end; first += group, g++) {
      uint32_t last = end - first < group ? end : first + group;
      for (uint32_t t = first; t < last; t++) {
        uint32_t numbers = numbers_of(forest, &forest->trees[t], &header);
        if (numbers > group_slots[g]) group_slots[g] = numbers;
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

// MARK: - one row

/// A ranked row, the sums of a range, and the place of the row's category in each column.
static size_t lanes_scratch_bytes(const nt_forest *forest) {
  return row_bytes + forest->width * sizeof(nt_sum) + forest->code_columns * sizeof(uint32_t);
}

/// What a row asks with.
typedef struct question {
  const uint8_t *ranks;
  const uint32_t *places;
} question;

/// The leaves of 64 trees.
NT_TARGET_VBMI NT_INLINE void walk(const lanes_header *header, size_t g, const question *row, uint8_t *leaf,
                                   const int bits, const int words) {
  const uint8_t *base = (const uint8_t *)header;
  const int registers = bits / 8;  // 4 of 16 trees, or 8 of 8
  __m512i keep[8], ranks[4];
  for (int i = 0; i < words; i++) ranks[i] = _mm512_load_si512((const void *)(row->ranks + 64 * i));
  for (int i = 0; i < registers; i++) keep[i] = _mm512_set1_epi32(-1);
  const uint8_t *masks = base + header->masks + g * header->categories * (size_t)(group * bits / 8);
  for (uint32_t c = 0; c < header->code_columns; c++) {
    const uint8_t *at = masks + row->places[c] * (size_t)(group * bits / 8);
    for (int i = 0; i < registers; i++)
      keep[i] = _mm512_and_si512(keep[i], _mm512_load_si512((const void *)(at + 64 * i)));
  }
  const uint8_t *slot = base + header->slots + ((const size_t *)(base + header->group_at))[g];
  uint32_t slots = ((const uint32_t *)(base + header->group_slots))[g];
  for (; slots > 0; slots--, slot += 2 * group + group * bits / 8) {
    __m512i found = nt_look_up(ranks, _mm512_load_si512((const void *)slot), words);
    uint64_t right = _mm512_cmpge_epu8_mask(found, _mm512_load_si512((const void *)(slot + group)));
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

NT_TARGET_VBMI NT_INLINE void walk_of(const lanes_header *header, size_t g, const question *row, uint8_t *leaf,
                                      const int bits) {
  if (header->number_bytes <= 64) {
    walk(header, g, row, leaf, bits, 1);
  } else if (header->number_bytes <= 128) {
    walk(header, g, row, leaf, bits, 2);
  } else {
    walk(header, g, row, leaf, bits, 4);
  }
}

NT_TARGET_VBMI NT_INLINE void one_range(const nt_trees *trees, const lanes_header *header, const question *row,
                                        size_t range, nt_sum *sums, const int bits, const bool is_f32) {
  const uint8_t *base = (const uint8_t *)header;
  const uint32_t *group_first = (const uint32_t *)(base + header->group_first);
  const uint32_t *range_first = (const uint32_t *)(base + header->range_first);
  size_t left = range_first[range + 1] - range_first[range];
  for (size_t g = group_first[range]; g < group_first[range + 1]; g++, left -= left < group ? left : group) {
    _Alignas(64) uint8_t leaf[group];
    walk_of(header, g, row, leaf, bits);
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

NT_TARGET_VBMI NT_INLINE void range_of(const nt_trees *trees, const lanes_header *header, const question *row,
                                       size_t range, nt_sum *sums) {
  if (header->bits == 32) {
    trees->sums_f32 ? one_range(trees, header, row, range, sums, 32, true)
                    : one_range(trees, header, row, range, sums, 32, false);
  } else {
    trees->sums_f32 ? one_range(trees, header, row, range, sums, 64, true)
                    : one_range(trees, header, row, range, sums, 64, false);
  }
}

NT_TARGET_VBMI static void lanes_run(const nt_trees *trees, const void *packed, const void *x, size_t rows, float *y,
                                     void *scratch) {
  const lanes_header *header = packed;
  const uint32_t *category_first = (const uint32_t *)((const uint8_t *)packed + header->category_first);
  uint8_t *ranks = scratch;
  nt_sum *sums = (nt_sum *)(ranks + row_bytes);
  uint32_t *places = (uint32_t *)(sums + trees->width);
  const question row = {ranks, places};
  // Sets need no bytes.
  nt_ranks numbers = trees->ranks;
  numbers.codes_count = 0;
  for (size_t r = 0; r < rows; r++) {
    const void *from = nt_trees_row(trees, x, r);
    trees->rank(&numbers, from, 1, 1, ranks);
    for (uint32_t c = 0; c < header->code_columns; c++) {
      const nt_rank_codes *codes = &trees->ranks.codes[c];
      places[c] = category_first[c] + nt_code_of(codes, nt_trees_number(from, codes->column, trees->ranks.is_f64));
    }
    for (size_t range = 0; range < trees->range_count; range++, y += trees->width) {
      for (size_t w = 0; w < trees->width; w++) sums[w] = nt_sum_start(trees, range * trees->width + w);
      range_of(trees, header, &row, range, sums);
      for (size_t w = 0; w < trees->width; w++) {
        y[w] = nt_sum_end(trees, range * trees->width + w, sums[w], trees->sums_f32);
      }
    }
  }
}

const nt_trees_layout nt_trees_any_lanes__avx512vbmi = {"lanes-any",         lanes_bytes, lanes_pack,
                                                        lanes_scratch_bytes, lanes_run,   1};
#endif
