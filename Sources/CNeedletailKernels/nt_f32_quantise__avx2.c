#include "nt_internal.h"

#if defined(NT_X86)
#include <immintrin.h>

#include "nt_math.h"

NT_DECLARE_KERNELS(avx2)

/// 32 columns at a time: what the compiler makes of the scalar twin narrows int32 to int8 by way of
/// memory. CVTPS2DQ rounds half to even as the twin does, and no product leaves ±127 by as much as a
/// half, so narrowing never saturates.
NT_TARGET_AVX2 void nt_f32_quantise_known__avx2(const float *x, const uint32_t *row_magnitudes, size_t rows,
                                                size_t columns, int8_t *q, size_t q_stride, float *row_scales) {
  assert(q_stride >= columns);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  size_t whole = columns / 32 * 32;
  for (size_t row = 0; row < rows; row++, x += columns, q += q_stride) {
    float inverse;
    if (!nt_row_scales(row_magnitudes[row], &row_scales[row], &inverse)) {
      memset(q, 0, q_stride);
      continue;
    }
    __m256 factor = _mm256_set1_ps(inverse);
    for (size_t c = 0; c < whole; c += 32) {
      __m256i rounded[4];
      for (size_t i = 0; i < 4; i++) {
        rounded[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + c + 8 * i), factor));
      }
      __m256i low = _mm256_packs_epi32(rounded[0], rounded[1]);
      __m256i high = _mm256_packs_epi32(rounded[2], rounded[3]);
      __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
      _mm256_storeu_si256((__m256i *)(q + c), bytes);
    }
    for (size_t c = whole; c < columns; c++) q[c] = (int8_t)nt_round_even(x[c] * inverse);
    memset(q + columns, 0, q_stride - columns);
  }
}
#endif
