// From masks of rows to sums: shared by the layouts that take 64 rows in the 64 byte lanes of a register.
//
// A decision about 64 rows is a 64-bit mask, 8 of them are a register. A leaf number is a byte a row, made of masks by
// a bit transposition. Values are looked up one byte plane at a time, unpacked to numbers and added in the order of the
// trees: no gather, no branch on data.
#pragma once

#include "nt_trees_rows.h"

#if defined(NT_X86)
#include "nt_intrinsics.h"
#if defined(NT_USE_SIMDE)
#include <simde/x86/gfni.h>
// SIMDe lacks this one: two 128-bit parts of `a`, then two of `b`.
#undef _mm512_shuffle_i64x2
#define PART(imm, i) ((imm) >> (2 * (i)) & 3)
#define _mm512_shuffle_i64x2(a, b, imm)                                                                        \
  _mm512_permutex2var_epi64(                                                                                   \
      a,                                                                                                       \
      _mm512_set_epi64(9 + 2 * PART(imm, 3), 8 + 2 * PART(imm, 3), 9 + 2 * PART(imm, 2), 8 + 2 * PART(imm, 2), \
                       1 + 2 * PART(imm, 1), 2 * PART(imm, 1), 1 + 2 * PART(imm, 0), 2 * PART(imm, 0)),        \
      b)
#endif

/// Rows of a block.
enum { nt_block_rows = 64 };

/// Sums of 64 rows: fp64 fill all registers, fp32 four.
typedef struct nt_block_sums {
  __m512i v[8];
} nt_block_sums;

NT_TARGET_VBMI NT_INLINE __m512i nt_select(__m512i which, __m512i right, __m512i left) {
  return _mm512_ternarylogic_epi64(which, right, left, 0xca);
}

/// 8 × 8 transposition of 64-bit elements: from [bit][tree] to [tree][bit].
NT_TARGET_VBMI NT_INLINE void nt_transpose_words(__m512i r[8]) {
  __m512i t[8], u[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm512_unpacklo_epi64(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi64(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; j++) {
      u[i + j] = _mm512_shuffle_i64x2(t[i + j], t[i + 2 + j], 0x88);
      u[i + 2 + j] = _mm512_shuffle_i64x2(t[i + j], t[i + 2 + j], 0xdd);
    }
  }
  for (int j = 0; j < 4; j++) {
    r[j] = _mm512_shuffle_i64x2(u[j], u[4 + j], 0x88);
    r[4 + j] = _mm512_shuffle_i64x2(u[j], u[4 + j], 0xdd);
  }
}

/// 8 masks of 64 rows, bit j of the numbers in element j, to 64 numbers.
NT_TARGET_VBMI NT_INLINE __m512i nt_leaf_bytes(__m512i masks) {
  // Byte 8q + 7 − j of the shuffled register is byte q of element j: all bits of 8 rows.
  const __m512i shuffle =
      _mm512_set_epi64(0x070f171f272f373f, 0x060e161e262e363e, 0x050d151d252d353d, 0x040c141c242c343c,
                       0x030b131b232b333b, 0x020a121a222a323a, 0x0109111921293139, 0x0008101820283038);
  const __m512i one_bit = _mm512_set1_epi64((long long)0x8040201008040201ull);
  return _mm512_gf2p8affine_epi64_epi8(one_bit, _mm512_permutexvar_epi8(shuffle, masks), 0);
}

/// One byte of the values of 64 leaves, from a table of 64, 128 or 256.
NT_TARGET_VBMI NT_INLINE __m512i nt_plane(const uint8_t *table, __m512i leaf, const int depth) {
  __m512i low = _mm512_load_si512((const void *)table);
  if (depth <= 6) return _mm512_permutexvar_epi8(leaf, low);
  __m512i first = _mm512_permutex2var_epi8(low, leaf, _mm512_load_si512((const void *)(table + 64)));
  if (depth <= 7) return first;
  __m512i second = _mm512_permutex2var_epi8(_mm512_load_si512((const void *)(table + 128)), leaf,
                                            _mm512_load_si512((const void *)(table + 192)));
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(leaf), first, second);
}

/// Adds one tree. Three levels of unpacking, two for fp32, make numbers of byte planes and leave the rows in the order
/// that nt_store_sums undoes.
NT_TARGET_VBMI NT_INLINE void nt_add_leaves(nt_block_sums *sums, __m512i leaf, const uint8_t *planes, const int depth,
                                            const bool is_f32) {
  const size_t size = nt_plane_bytes((unsigned)depth);
  __m512i p[8], w[8], d[8];
  const int count = is_f32 ? 4 : 8;
  for (int b = 0; b < count; b++) p[b] = nt_plane(planes + (size_t)b * size, leaf, depth);
  for (int b = 0; b < count; b += 2) {
    w[b] = _mm512_unpacklo_epi8(p[b], p[b + 1]);
    w[b + 1] = _mm512_unpackhi_epi8(p[b], p[b + 1]);
  }
  for (int b = 0; b < count; b += 4) {
    for (int h = 0; h < 2; h++) {
      d[b + 2 * h] = _mm512_unpacklo_epi16(w[b + h], w[b + 2 + h]);
      d[b + 2 * h + 1] = _mm512_unpackhi_epi16(w[b + h], w[b + 2 + h]);
    }
  }
  for (int i = 0; i < 4; i++) {
    if (is_f32) {
      sums->v[i] = _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(sums->v[i]), _mm512_castsi512_ps(d[i])));
    } else {
      __m512d low = _mm512_castsi512_pd(_mm512_unpacklo_epi32(d[i], d[4 + i]));
      __m512d high = _mm512_castsi512_pd(_mm512_unpackhi_epi32(d[i], d[4 + i]));
      sums->v[2 * i] = _mm512_castpd_si512(_mm512_add_pd(_mm512_castsi512_pd(sums->v[2 * i]), low));
      sums->v[2 * i + 1] = _mm512_castpd_si512(_mm512_add_pd(_mm512_castsi512_pd(sums->v[2 * i + 1]), high));
    }
  }
}

NT_TARGET_VBMI NT_INLINE void nt_start_sums(const nt_trees *trees, size_t output, nt_block_sums *sums,
                                            const bool is_f32) {
  nt_sum start = nt_sum_start(trees, output);
  __m512i all = is_f32 ? _mm512_castps_si512(_mm512_set1_ps(start.f)) : _mm512_castpd_si512(_mm512_set1_pd(start.d));
  for (int i = 0; i < 8; i++) sums->v[i] = all;
}

/// - Parameter y: output `output` of the block's first row.
NT_TARGET_VBMI NT_INLINE void nt_store_sums(const nt_trees *trees, size_t output, const nt_block_sums *sums, float *y,
                                            size_t rows, const bool is_f32) {
  _Alignas(64) float f[4][16];
  _Alignas(64) double d[8][8];
  memcpy(f, sums->v, sizeof f), memcpy(d, sums->v, sizeof d);
  const size_t stride = (size_t)trees->range_count * trees->width;
  // Within 16 rows, which are a 128-bit lane of bytes, fp64 register i holds rows 2i and 2i + 1, fp32 register i four.
  // clang would make vectors of it by gathers and scatters, which are slower than these loads and stores.
#pragma clang loop vectorize(disable)
  for (size_t r = 0; r < rows; r++) {
    nt_sum sum = {0};
    if (is_f32) {
      sum.f = f[r % 16 / 4][r / 16 * 4 + r % 4];
    } else {
      sum.d = d[r % 16 / 2][r / 16 * 2 + r % 2];
    }
    y[r * stride] = nt_sum_end(trees, output, sum, is_f32);
  }
}
#endif
