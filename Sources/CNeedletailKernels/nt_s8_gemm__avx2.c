#include "nt_epilogue.h"

#if defined(NT_X86)
#include <immintrin.h>

NT_DECLARE_KERNELS(avx2)

// maddubs wants unsigned × signed, so a sign moves over to the other factor: |a| · sign(w, a), or
// |w| · sign(a, w). Its int16 pairs reach at most 2 · 127 · 127 = 32,258 and never saturate.
//
// Measured on Zen 3 at 3.24 GHz, N = K = 1,024, G multiply-adds/s; 100 is the rate of maddubs, madd
// and add alone, without the sign that exactness costs:
//
//   |a| · sign(w, a)         2 rows × 2 panels 66.6, 4 × 1 64
//   |w| · sign(a, w)         2 rows 63.4, 3 67.4, 4 69.6, 5 68.0, 6 57 (registers spill)
//   widened to int16, madd   6 rows 64.9
//
// |w| is shared by the rows of a tile, |a| by its panels: hence the first form for few rows.

enum { row_panels = 4, tile_rows_max = 5 };

NT_TARGET_AVX2 NT_INLINE __m256i four_activations(const int8_t *at) {
  int32_t four;
  memcpy(&four, at, sizeof four);
  return _mm256_set1_epi32(four);
}

/// sums + Σ over each column's four of magnitude · signed_factor.
NT_TARGET_AVX2 NT_INLINE __m256i multiply_add(__m256i sums, __m256i magnitude, __m256i signed_factor) {
  __m256i pairs = _mm256_maddubs_epi16(magnitude, signed_factor);
  return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/// The epilogue of identity and ReLU over a whole panel, without leaving registers: the same
/// operations in the same order as nt_s8_epilogue.
NT_TARGET_AVX2 NT_INLINE void finish_in_registers(const nt_s8_gemm_args *args, const __m256i *sums,
                                                  const nt_s8_panel_tail *tail, size_t row, size_t panel,
                                                  const int R) {
  const __m256i magnitude_bits = _mm256_set1_epi32(0x7fffffff);
  __m256i magnitudes[tile_rows_max];
  for (int r = 0; r < R; r++) magnitudes[r] = _mm256_setzero_si256();
  bool is_relu = args->activation == NT_ACTIVATION_RELU;
  for (int half = 0; half < 2; half++) {
    __m256 scales = _mm256_load_ps(tail->scales + 8 * half);
    __m256 bias = _mm256_load_ps(tail->bias + 8 * half);
    for (int r = 0; r < R; r++) {
      __m256 factor = _mm256_mul_ps(_mm256_broadcast_ss(args->row_scales + row + (size_t)r), scales);
      __m256 y = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[2 * r + half]), factor), bias);
      // MAXPS gives its second operand for NaN and for −0 against 0, as x < 0 ? 0 : x does.
      if (is_relu) y = _mm256_max_ps(_mm256_setzero_ps(), y);
      magnitudes[r] = _mm256_max_epu32(magnitudes[r], _mm256_and_si256(_mm256_castps_si256(y), magnitude_bits));
      _mm256_storeu_ps(args->out + (row + (size_t)r) * args->columns + panel * NT_PANEL_COLUMNS + 8 * (size_t)half, y);
    }
  }
  for (int r = 0; args->row_magnitudes && r < R; r++) {
    __m128i four = _mm_max_epu32(_mm256_castsi256_si128(magnitudes[r]), _mm256_extracti128_si256(magnitudes[r], 1));
    __m128i two = _mm_max_epu32(four, _mm_unpackhi_epi64(four, four));
    uint32_t largest = (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(two, _mm_shuffle_epi32(two, 1)));
    uint32_t *known = args->row_magnitudes + row + (size_t)r;
    *known = largest > *known ? largest : *known;
  }
}

NT_TARGET_AVX2 NT_INLINE void finish(const nt_s8_gemm_args *args, const __m256i *sums, size_t row, size_t panel,
                                     const int R) {
  const uint8_t *end = (const uint8_t *)args->weights + (panel + 1) * nt_s8_panel_bytes(args->depth);
  const nt_s8_panel_tail *tail = (const nt_s8_panel_tail *)(end - sizeof(nt_s8_panel_tail));
  bool is_whole = (panel + 1) * NT_PANEL_COLUMNS <= args->columns;
  if (is_whole && !args->accumulators && args->activation <= NT_ACTIVATION_RELU) {
    finish_in_registers(args, sums, tail, row, panel, R);
    return;
  }
  _Alignas(64) int32_t stored[tile_rows_max * NT_PANEL_COLUMNS];
  for (int i = 0; i < 2 * R; i++) _mm256_store_si256((__m256i *)(stored + 8 * i), sums[i]);
  nt_s8_epilogue(args, stored, tail, row, (size_t)R, panel);
}

/// R rows × P panels as |a| · sign(w, a): 2·R·P accumulators of 8 int32.
NT_TARGET_AVX2 NT_INLINE void flat_tile(const nt_s8_gemm_args *args, size_t row, size_t panel, const int R,
                                        const int P) {
  size_t panel_bytes = nt_s8_panel_bytes(args->depth);
  size_t groups = nt_k_groups(args->depth);
  const uint8_t *w = (const uint8_t *)args->weights + panel * panel_bytes;
  const int8_t *a = args->a + row * args->a_stride;
  __m256i sums[2 * row_panels];
  for (int i = 0; i < 2 * R * P; i++) sums[i] = _mm256_setzero_si256();
  for (size_t g = 0; g < groups; g++) {
    for (int r = 0; r < R; r++) {
      __m256i signs = four_activations(a + (size_t)r * args->a_stride + g * NT_K_GROUP);
      __m256i magnitude = _mm256_abs_epi8(signs);
      for (int p = 0; p < P; p++) {
        const __m256i *at = (const __m256i *)(w + (size_t)p * panel_bytes + g * NT_K_GROUP * NT_PANEL_COLUMNS);
        __m256i *to = sums + 2 * (p * R + r);
        to[0] = multiply_add(to[0], magnitude, _mm256_sign_epi8(_mm256_load_si256(at), signs));
        to[1] = multiply_add(to[1], magnitude, _mm256_sign_epi8(_mm256_load_si256(at + 1), signs));
      }
    }
  }
  for (int p = 0; p < P; p++) finish(args, sums + 2 * p * R, row, panel + (size_t)p, R);
}

/// R rows × one panel as |w| · sign(a, w): 2·R accumulators of 8 int32.
NT_TARGET_AVX2 NT_INLINE void tall_tile(const nt_s8_gemm_args *args, size_t row, size_t panel, const int R) {
  size_t groups = nt_k_groups(args->depth);
  const uint8_t *w = (const uint8_t *)args->weights + panel * nt_s8_panel_bytes(args->depth);
  const int8_t *a = args->a + row * args->a_stride;
  __m256i sums[2 * tile_rows_max];
  for (int i = 0; i < 2 * R; i++) sums[i] = _mm256_setzero_si256();
  for (size_t g = 0; g < groups; g++) {
    // One half of the panel after the other, so that five rows fit the sixteen registers.
    for (int half = 0; half < 2; half++) {
      __m256i signs = _mm256_load_si256((const __m256i *)(w + g * NT_K_GROUP * NT_PANEL_COLUMNS) + half);
      __m256i magnitude = _mm256_abs_epi8(signs);
      for (int r = 0; r < R; r++) {
        __m256i four = four_activations(a + (size_t)r * args->a_stride + g * NT_K_GROUP);
        // Read again for the other half: kept, five rows' activations would push sums out of registers.
        if (R > 4) __asm__ volatile("" : "+x"(four));
        sums[2 * r + half] = multiply_add(sums[2 * r + half], magnitude, _mm256_sign_epi8(four, signs));
      }
    }
  }
  finish(args, sums, row, panel, R);
}

NT_TARGET_AVX2 void nt_s8_gemm__avx2(const nt_s8_gemm_args *args) {
  size_t panels = args->panel_end, panel = args->panel_first;
  if (args->rows == 1) {
    for (; panel + row_panels <= panels; panel += row_panels) flat_tile(args, 0, panel, 1, row_panels);
    for (; panel < panels; panel++) flat_tile(args, 0, panel, 1, 1);
    return;
  }
  if (args->rows == 2) {
    for (; panel + 2 <= panels; panel += 2) flat_tile(args, 0, panel, 2, 2);
    for (; panel < panels; panel++) flat_tile(args, 0, panel, 2, 1);
    return;
  }
  // Fours; what does not divide ends in 4 + 3, 3 + 3, 5 or 3, so that no row runs alone.
  for (; panel < panels; panel++) {
    size_t row = 0;
    for (; args->rows - row >= 8 || args->rows - row == 4; row += 4) tall_tile(args, row, panel, 4);
    switch (args->rows - row) {
      case 7:
        tall_tile(args, row, panel, 4);
        tall_tile(args, row + 4, panel, 3);
        break;
      case 6:
        tall_tile(args, row, panel, 3);
        tall_tile(args, row + 3, panel, 3);
        break;
      case 5:
        tall_tile(args, row, panel, 5);
        break;
      case 3:
        tall_tile(args, row, panel, 3);
        break;
      default:
        break;
    }
  }
}
#endif
