#include "nt_internal.h"

#if defined(NT_X86)
#include <immintrin.h>

#include "nt_math.h"

NT_DECLARE_KERNELS(avx2)

/// 32 columns at a time: what the compiler makes of the scalar twin narrows int32 to int8 by way of
/// memory. CVTPS2DQ rounds half to even as the twin does, and no product leaves ±127 by as much as a
/// half, so narrowing never saturates. Writes magnitudes and masks of signs: see nt_s8_gemm__avx2.
NT_TARGET_AVX2 void nt_f32_quantise_known__avx2(const float *x, const uint32_t *row_magnitudes, size_t rows,
                                                size_t columns, int8_t *q, size_t q_stride, float *row_scales) {
  assert(q_stride >= nt_s8_row_stride(columns));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  size_t whole = columns / 32 * 32, plane = nt_s8_plane_bytes(columns);
  for (size_t row = 0; row < rows; row++, x += columns, q += q_stride) {
    int8_t *masks = q + plane;
    nt_s8_row_tail *tail = nt_s8_tail_of_row(q, columns);
    float inverse;
    tail->compensation = 0;
    if (!nt_row_scales(row_magnitudes[row], &row_scales[row], &inverse)) {
      memset(q, 0, 2 * plane);
      continue;
    }
    // Σ |q| over negative q.
    __m256i below = _mm256_setzero_si256();
    int32_t compensation = 0;
    __m256 factor = _mm256_set1_ps(inverse);
    for (size_t c = 0; c < whole; c += 32) {
      __m256i rounded[4];
      for (size_t i = 0; i < 4; i++) {
        rounded[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + c + 8 * i), factor));
      }
      __m256i low = _mm256_packs_epi32(rounded[0], rounded[1]);
      __m256i high = _mm256_packs_epi32(rounded[2], rounded[3]);
      __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
      __m256i magnitudes = _mm256_abs_epi8(bytes);
      __m256i negative = _mm256_cmpgt_epi8(_mm256_setzero_si256(), bytes);
      below = _mm256_add_epi64(below, _mm256_sad_epu8(_mm256_and_si256(magnitudes, negative), _mm256_setzero_si256()));
      _mm256_store_si256((__m256i *)(q + c), magnitudes);
      _mm256_store_si256((__m256i *)(masks + c), negative);
    }
    for (size_t c = whole; c < columns; c++) {
      int32_t rounded = nt_round_even(x[c] * inverse);
      bool is_negative = rounded < 0;
      q[c] = (int8_t)(is_negative ? -rounded : rounded);
      masks[c] = is_negative ? -1 : 0;
      compensation += is_negative ? -rounded : 0;
    }
    memset(q + columns, 0, plane - columns);
    memset(masks + columns, 0, plane - columns);
    __m128i two = _mm_add_epi64(_mm256_castsi256_si128(below), _mm256_extracti128_si256(below, 1));
    two = _mm_add_epi64(two, _mm_unpackhi_epi64(two, two));
    tail->compensation = compensation + _mm_cvtsi128_si32(two);
  }
}
#endif
