#include "nt_epilogue__avx512.h"

#if defined(NT_X86)
NT_DECLARE_KERNELS(avx512vnni)

/// Bits of the largest |x| of a row.
NT_TARGET_AVX512VNNI NT_INLINE uint32_t magnitude(const float *x, size_t columns) {
  const __m512i bits = _mm512_set1_epi32(0x7fffffff);
  __m512i largest[4];
  for (int i = 0; i < 4; i++) largest[i] = _mm512_setzero_si512();
  size_t c = 0;
  for (; c + 64 <= columns; c += 64) {
    for (int i = 0; i < 4; i++) {
      __m512i lanes = _mm512_and_si512(bits, _mm512_loadu_si512(x + c + 16 * (size_t)i));
      largest[i] = _mm512_max_epu32(largest[i], lanes);
    }
  }
  for (; c < columns; c += 16) {
    __mmask16 valid = columns - c >= 16 ? 0xffff : (__mmask16)((1u << (columns - c)) - 1);
    largest[0] = _mm512_max_epu32(largest[0], _mm512_and_si512(bits, _mm512_maskz_loadu_epi32(valid, x + c)));
  }
  __m512i both = _mm512_max_epu32(_mm512_max_epu32(largest[0], largest[1]), _mm512_max_epu32(largest[2], largest[3]));
  return _mm512_reduce_max_epu32(both);
}

/// One row, 64 columns at a time. CVTPS2DQ rounds half to even as the twin does, and no product leaves ±127 by as much
/// as a half, so narrowing never saturates. VPDPBUSD by ones adds up what was written.
NT_TARGET_AVX512VNNI NT_INLINE void quantise_row(const float *x, uint32_t bits, size_t columns, int8_t *q,
                                                 float *row_scale) {
  // Narrowing works within 128 bits; this puts the four quarters in order again.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  nt_s8_row_tail *tail = nt_s8_tail_of_row(q, columns);
  float inverse;
  tail->compensation = 0;
  if (!nt_row_scales(bits, row_scale, &inverse)) {
    memset(q, 0, nt_s8_plane_bytes(columns));
    return;
  }
  __m512 factor = _mm512_set1_ps(inverse);
  __m512i sum = _mm512_setzero_si512();
  for (size_t c = 0; c < columns; c += 64) {
    uint64_t valid = columns - c >= 64 ? ~0ull : (1ull << (columns - c)) - 1;
    __m512i rounded[4];
    for (int i = 0; i < 4; i++) {
      __m512 lanes = _mm512_maskz_loadu_ps((__mmask16)(valid >> 16 * i), x + c + 16 * (size_t)i);
      rounded[i] = _mm512_cvtps_epi32(_mm512_mul_ps(lanes, factor));
    }
    __m512i low = _mm512_packs_epi32(rounded[0], rounded[1]), high = _mm512_packs_epi32(rounded[2], rounded[3]);
    __m512i bytes = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high));
    sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), bytes);
    _mm512_store_si512(q + c, bytes);
  }
  // Modulo 2³², as the sums that it corrects.
  uint32_t total = (uint32_t)_mm512_reduce_add_epi32(sum);
  tail->compensation = (int32_t)(0u - NT_S8_OFFSET__AVX512VNNI * total);
}

NT_TARGET_AVX512VNNI void nt_f32_quantise_known__avx512vnni(const float *x, const uint32_t *row_magnitudes, size_t rows,
                                                            size_t columns, int8_t *q, size_t q_stride,
                                                            float *row_scales) {
  assert(q_stride >= nt_s8_row_stride(columns));
  for (size_t row = 0; row < rows; row++, x += columns, q += q_stride) {
    quantise_row(x, row_magnitudes[row], columns, q, row_scales + row);
  }
}

NT_TARGET_AVX512VNNI void nt_f32_quantise__avx512vnni(const float *x, size_t rows, size_t columns, int8_t *q,
                                                      size_t q_stride, float *row_scales) {
  assert(q_stride >= nt_s8_row_stride(columns));
  for (size_t row = 0; row < rows; row++, x += columns, q += q_stride) {
    quantise_row(x, magnitude(x, columns), columns, q, row_scales + row);
  }
}
#endif
