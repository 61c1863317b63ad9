#include "nt_epilogue.h"

#if defined(NT_X86)
#include <immintrin.h>

NT_DECLARE_KERNELS(avx2)

// maddubs wants unsigned × signed, so quantised rows come as magnitudes and masks of their signs. Where
// a is negative, |a| · ~w = −|a| · (w + 1) = a · w − |a|: one XOR in place of a change of sign, and the
// sum of those |a|, the row's compensation, makes up for the rest. |a| ≤ 127 and −128 ≤ ~w ≤ 127, so
// the int16 pairs of maddubs reach at most 2 · 127 · 128 = 32,512 and never saturate.
//
// Measured on Zen 3 at 3.24 GHz, G multiply-adds/s. From registers, nothing else in the loop:
//
//   maddubs, madd, add: what a product needs at the least       103 (two multiplies a cycle)
//   with PSIGNB before: 2 a cycle, on the ports that multiply    83
//   with XOR before: 4 a cycle                                   96
//   widened to int16: two of madd, add                           84
//   with PBLENDVB of w and −w before                             84
//
// N = K = 1,024, in cache, by shape of tile, rows × panels:
//
//   XOR                 4 × 1 79, 2 × 2 78, 3 × 2 77, 5 × 1 77, 1 × 4 84 where four panels fit L1
//   PSIGNB of w or a    4 × 1 64 to 70
//   none, a ≥ 0         4 × 1 95, 2 × 2 91
//
// XOR loses a fifth between registers and memory: with two operands to wait for, the scheduler's 64
// entries fill before the multipliers are fed. Mask and magnitude side by side, unrolling by four and
// software pipelining by hand changed it by less than 3 %.

//
// N = K = 4,096, 16 MiB of weights: fetching 2 KiB ahead of the weights takes 4 rows from 61 to 72 and,
// for a ≥ 0, from 62 to 90; fetching the panel behind instead, to 70 and 90. In cache it costs nothing.

enum { tile_rows_max = 4, prefetch_bytes = 2048 };

NT_TARGET_AVX2 NT_SHARED void epilogue(const nt_s8_gemm_args *args, const int32_t *sums, const nt_s8_panel_tail *tail,
                                       size_t row, size_t rows, size_t panel) {
  nt_s8_epilogue(args, sums, tail, row, rows, panel);
}

NT_TARGET_AVX2 NT_INLINE __m256i broadcast_four(const uint8_t *at) {
  int32_t four;
  memcpy(&four, at, sizeof four);
  return _mm256_set1_epi32(four);
}

/// The epilogue of identity and ReLU over a whole panel, without leaving registers: the same
/// operations in the same order as nt_s8_epilogue.
NT_TARGET_AVX2 NT_INLINE void finish_in_registers(const nt_s8_gemm_args *args, const __m256i *sums,
                                                  const nt_s8_panel_tail *tail, size_t row, size_t panel, const int R) {
  const __m256i magnitude_bits = _mm256_set1_epi32(0x7fffffff);
  bool is_relu = args->activation == NT_ACTIVATION_RELU;
  for (int r = 0; r < R; r++) {
    __m256 row_scale = _mm256_broadcast_ss(args->row_scales + row + (size_t)r);
    __m256 y[2];
    for (int half = 0; half < 2; half++) {
      __m256 factor = _mm256_mul_ps(row_scale, _mm256_load_ps(tail->scales + 8 * half));
      y[half] = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[2 * r + half]), factor),
                              _mm256_load_ps(tail->bias + 8 * half));
      // MAXPS gives its second operand for NaN and for −0 against 0, as x < 0 ? 0 : x does.
      if (is_relu) y[half] = _mm256_max_ps(_mm256_setzero_ps(), y[half]);
      _mm256_storeu_ps(args->out + (row + (size_t)r) * args->columns + panel * NT_PANEL_COLUMNS + 8 * (size_t)half,
                       y[half]);
    }
    if (args->row_magnitudes) {
      __m256i eight = _mm256_max_epu32(_mm256_and_si256(_mm256_castps_si256(y[0]), magnitude_bits),
                                       _mm256_and_si256(_mm256_castps_si256(y[1]), magnitude_bits));
      __m128i four = _mm_max_epu32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
      __m128i two = _mm_max_epu32(four, _mm_unpackhi_epi64(four, four));
      uint32_t largest = (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(two, _mm_shuffle_epi32(two, 1)));
      uint32_t *known = args->row_magnitudes + row + (size_t)r;
      *known = largest > *known ? largest : *known;
    }
  }
}

NT_TARGET_AVX2 NT_INLINE void finish(const nt_s8_gemm_args *args, const __m256i *sums, size_t row, size_t panel,
                                     const int R) {
  const nt_s8_panel_tail *tail = nt_s8_tail_of_panel(args, panel);
  bool is_whole = (panel + 1) * NT_PANEL_COLUMNS <= args->columns;
  if (is_whole && !args->accumulators && args->activation <= NT_ACTIVATION_RELU) {
    finish_in_registers(args, sums, tail, row, panel, R);
    return;
  }
  _Alignas(64) int32_t stored[tile_rows_max * NT_PANEL_COLUMNS];
  for (int i = 0; i < 2 * R; i++) _mm256_store_si256((__m256i *)(stored + 8 * i), sums[i]);
  epilogue(args, stored, tail, row, (size_t)R, panel);
}

/// R rows × P panels: 2·R·P accumulators of 8 int32.
NT_TARGET_AVX2 NT_INLINE void tile(const nt_s8_gemm_args *args, size_t row, size_t panel, const int R, const int P,
                                   const bool signs) {
  size_t panel_bytes = nt_s8_panel_bytes(args->depth);
  size_t groups = nt_k_groups(args->depth);
  size_t stride = args->a_stride, plane = nt_s8_plane_bytes(args->depth);
  const uint8_t *w = (const uint8_t *)args->weights + panel * panel_bytes;
  const uint8_t *a = (const uint8_t *)args->a + row * stride;
  __m256i sums[2 * R * P];
  for (int r = 0; r < R; r++) {
    __m256i start = _mm256_setzero_si256();
    if (signs) start = _mm256_set1_epi32(nt_s8_tail_of_row(a + (size_t)r * stride, args->depth)->compensation);
    for (int p = 0; p < P; p++) sums[2 * (p * R + r)] = sums[2 * (p * R + r) + 1] = start;
  }
  const __m256i ones = _mm256_set1_epi16(1);
  // Groups come in pairs.
  for (size_t pair = 0; pair < groups; pair += 2) {
    for (size_t g = pair; g < pair + 2; g++) {
      for (int p = 0; p < P; p++) {
        const uint8_t *at = w + (size_t)p * panel_bytes + g * NT_K_GROUP * NT_PANEL_COLUMNS;
        _mm_prefetch((const char *)((uintptr_t)at + prefetch_bytes), _MM_HINT_T0);
      }
      for (int r = 0; r < R; r++) {
        const uint8_t *at = a + (size_t)r * stride + g * NT_K_GROUP;
        __m256i magnitudes = broadcast_four(at);
        __m256i mask = signs ? broadcast_four(at + plane) : _mm256_setzero_si256();
        for (int p = 0; p < P; p++) {
          const uint8_t *weights = w + (size_t)p * panel_bytes + g * NT_K_GROUP * NT_PANEL_COLUMNS;
          for (int half = 0; half < 2; half++) {
            __m256i factor = _mm256_load_si256((const __m256i *)weights + half);
            if (signs) factor = _mm256_xor_si256(mask, factor);
            __m256i *to = sums + 2 * (p * R + r) + half;
            *to = _mm256_add_epi32(*to, _mm256_madd_epi16(_mm256_maddubs_epi16(magnitudes, factor), ones));
          }
        }
      }
    }
  }
  for (int p = 0; p < P; p++) finish(args, sums + 2 * p * R, row, panel + (size_t)p, R);
}

NT_TARGET_AVX2 NT_INLINE void gemm(const nt_s8_gemm_args *args, const bool signs) {
  size_t panel = args->panel_first, end = args->panel_end;
  if (args->rows == 1) {
    for (; panel + 2 <= end; panel += 2) tile(args, 0, panel, 1, 2, signs);
    for (; panel < end; panel++) tile(args, 0, panel, 1, 1, signs);
    return;
  }
  if (args->rows == 2) {
    for (; panel + 2 <= end; panel += 2) tile(args, 0, panel, 2, 2, signs);
    for (; panel < end; panel++) tile(args, 0, panel, 2, 1, signs);
    return;
  }
  for (; panel < end; panel++) {
    size_t row = 0;
    // Fours; what does not divide ends in 4 + 2, 3 + 2 or 3, so that no row runs alone.
    for (; args->rows - row >= 6 || args->rows - row == 4; row += 4) tile(args, row, panel, 4, 1, signs);
    switch (args->rows - row) {
      case 5:
        tile(args, row, panel, 3, 1, signs);
        tile(args, row + 3, panel, 2, 1, signs);
        break;
      case 3:
        tile(args, row, panel, 3, 1, signs);
        break;
      case 2:
        tile(args, row, panel, 2, 1, signs);
        break;
      default:
        break;
    }
  }
}

NT_TARGET_AVX2 void nt_s8_gemm__avx2(const nt_s8_gemm_args *args) {
  if (args->a_is_nonnegative) {
    gemm(args, false);
  } else {
    gemm(args, true);
  }
}
#endif
