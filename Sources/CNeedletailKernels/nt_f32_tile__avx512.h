// The fp32 tile of AVX-512: its steps of depth and its end, for weights of fp32 and of bf16.
#pragma once

#include "nt_epilogue__avx512.h"
#include "nt_tiles.h"

#if defined(NT_X86)
/// How 16 weights of one step of depth lie in memory.
enum { NT_WEIGHTS_F32, NT_WEIGHTS_BF16_LOWER, NT_WEIGHTS_BF16_UPPER };

/// A bf16 is the upper half of an fp32: a shift, or a mask, widens sixteen of the 32 that lie side by side.
NT_TARGET_AVX512VNNI NT_INLINE __m512 nt_weights_lanes(const void *at, const int form) {
  if (form == NT_WEIGHTS_F32) return _mm512_load_ps(at);
  __m512i pairs = _mm512_load_si512(at);
  if (form == NT_WEIGHTS_BF16_LOWER) return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
  return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000)));
}

/// One step of depth of R rows × P panels. Whichever operands are fewer stay in registers.
///
/// - a: the activation of the first row; the next row's stands `depth` behind it.
/// - w: the weights of the first panel; the next panel's stand `panel_bytes` behind them.
NT_TARGET_AVX512VNNI NT_INLINE void nt_f32_tile_step(__m512 *sums, const float *a, size_t depth, const char *w,
                                                     size_t panel_bytes, const int R, const int P, const int form) {
  if (P > R) {
    __m512 activations[8];
    for (int r = 0; r < R; r++) activations[r] = _mm512_set1_ps(a[(size_t)r * depth]);
    for (int p = 0; p < P; p++) {
      __m512 weights = nt_weights_lanes(w + (size_t)p * panel_bytes, form);
      for (int r = 0; r < R; r++) sums[r * P + p] = _mm512_fmadd_ps(activations[r], weights, sums[r * P + p]);
    }
  } else {
    __m512 weights[8];
    for (int p = 0; p < P; p++) weights[p] = nt_weights_lanes(w + (size_t)p * panel_bytes, form);
    for (int r = 0; r < R; r++) {
      __m512 activation = _mm512_set1_ps(a[(size_t)r * depth]);
      for (int p = 0; p < P; p++) sums[r * P + p] = _mm512_fmadd_ps(activation, weights[p], sums[r * P + p]);
    }
  }
}

/// Sums → bias, activation, store.
///
/// - bias: of the first panel; the next panel's stands `panel_bytes` behind it.
NT_TARGET_AVX512VNNI NT_INLINE void nt_f32_tile_finish(const nt_f32_gemm_args *args, const __m512 *sums, size_t row,
                                                       size_t panel, const char *bias, size_t panel_bytes, const int R,
                                                       const int P) {
  nt_tile_output to = {.out = args->out,
                       .row_magnitudes = args->row_magnitudes,
                       .columns = args->columns,
                       .activation = args->activation};
  __m512i largest[16];
  NT_UNROLLED
  for (int r = 0; r < 16; r++) largest[r] = _mm512_setzero_si512();
  NT_UNROLLED
  for (int p = 0; p < P; p++) {
    __m512 added = _mm512_load_ps(bias + (size_t)p * panel_bytes);
    NT_UNROLLED
    for (int r = 0; r < R; r++) {
      __m512 y = _mm512_add_ps(sums[r * P + p], added);
      largest[r] = nt_finish_lanes(&to, y, row + (size_t)r, panel + (size_t)p, largest[r]);
    }
  }
  if (!to.row_magnitudes) return;
  if (R == 1) {
    nt_raise_magnitude(to.row_magnitudes + row, largest[0]);
  } else {
    nt_raise_magnitudes(to.row_magnitudes + row, largest, (size_t)R);
  }
}

/// Defines the product `name` by a function `tile`, for both forms of weights. The order of a sum is fixed, so a lone
/// row takes eight panels to have eight independent sums, and four and two of what is left.
#define NT_F32_GEMM__AVX512(name)                                              \
  NT_ROWS_OF_2_TO_8(NT_TARGET_AVX512VNNI, nt_f32_gemm_args)                    \
  NT_TARGET_AVX512VNNI NT_SHARED void lone_row(const nt_f32_gemm_args *args) { \
    size_t panel = args->panel_first, end = args->panel_end;                   \
    for (; panel + 8 <= end; panel += 8) tile(args, 0, panel, 1, 8);           \
    if (panel + 4 <= end) tile(args, 0, panel, 1, 4), panel += 4;              \
    if (panel + 2 <= end) tile(args, 0, panel, 1, 2), panel += 2;              \
    if (panel < end) tile(args, 0, panel, 1, 1);                               \
  }                                                                            \
  NT_TARGET_AVX512VNNI void name(const nt_f32_gemm_args *args) {               \
    if (args->rows == 1) {                                                     \
      lone_row(args);                                                          \
    } else {                                                                   \
      NT_WALK_ROWS(args, 8);                                                   \
    }                                                                          \
  }
#endif
