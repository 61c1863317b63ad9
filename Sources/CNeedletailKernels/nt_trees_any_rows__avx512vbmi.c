// Trees of any shape up to 64 leaves for many rows: 64 rows at a time.
//
// A split's rows are shared out to its children by AND and ANDN on 64-bit masks, parents before children. In the end
// each leaf has the mask of its rows, and a product with a constant matrix over GF(2) turns the masks of 8 leaves into
// numbers.
#include "nt_trees_values__avx512vbmi.h"

#if defined(NT_X86)

enum { leaves_max = 64 };

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
