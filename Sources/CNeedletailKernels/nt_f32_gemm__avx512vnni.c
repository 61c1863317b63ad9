#include "nt_epilogue__avx512.h"
#include "nt_tiles.h"

#if defined(NT_X86)
NT_DECLARE_KERNELS(avx512vnni)

/// R rows × P panels of 16 columns: R · P accumulators of 16 floats. Whichever operands are fewer stay in registers.
NT_TARGET_AVX512VNNI NT_INLINE void tile(const nt_f32_gemm_args *args, size_t row, size_t panel, const int R,
                                         const int P) {
  size_t panel_floats = nt_f32_panel_floats(args->depth);
  const float *w = args->weights + panel * panel_floats;
  const float *a = args->a + row * args->depth;
  __m512 sums[24];
  for (int i = 0; i < R * P; i++) sums[i] = _mm512_setzero_ps();
  for (size_t k = 0; k < args->depth; k++) {
    const float *at = w + k * NT_PANEL_COLUMNS;
    if (P > R) {
      __m512 activations[8];
      for (int r = 0; r < R; r++) activations[r] = _mm512_set1_ps(a[(size_t)r * args->depth + k]);
      for (int p = 0; p < P; p++) {
        __m512 weights = _mm512_load_ps(at + (size_t)p * panel_floats);
        for (int r = 0; r < R; r++) sums[r * P + p] = _mm512_fmadd_ps(activations[r], weights, sums[r * P + p]);
      }
    } else {
      __m512 weights[8];
      for (int p = 0; p < P; p++) weights[p] = _mm512_load_ps(at + (size_t)p * panel_floats);
      for (int r = 0; r < R; r++) {
        __m512 activation = _mm512_set1_ps(a[(size_t)r * args->depth + k]);
        for (int p = 0; p < P; p++) sums[r * P + p] = _mm512_fmadd_ps(activation, weights[p], sums[r * P + p]);
      }
    }
  }
  nt_tile_output to = {.out = args->out,
                       .row_magnitudes = args->row_magnitudes,
                       .columns = args->columns,
                       .activation = args->activation};
  __m512i largest[16];
  NT_UNROLLED
  for (int r = 0; r < 16; r++) largest[r] = _mm512_setzero_si512();
  NT_UNROLLED
  for (int p = 0; p < P; p++) {
    __m512 bias = _mm512_load_ps(w + (size_t)p * panel_floats + args->depth * NT_PANEL_COLUMNS);
    NT_UNROLLED
    for (int r = 0; r < R; r++) {
      __m512 y = _mm512_add_ps(sums[r * P + p], bias);
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

NT_ROWS_OF_2_TO_8(NT_TARGET_AVX512VNNI, nt_f32_gemm_args)

/// The order of a sum is fixed, so a lone row takes eight panels to have eight independent sums, and four and two of
/// what is left.
NT_TARGET_AVX512VNNI NT_SHARED void lone_row(const nt_f32_gemm_args *args) {
  size_t panel = args->panel_first, end = args->panel_end;
  for (; panel + 8 <= end; panel += 8) tile(args, 0, panel, 1, 8);
  if (panel + 4 <= end) tile(args, 0, panel, 1, 4), panel += 4;
  if (panel + 2 <= end) tile(args, 0, panel, 1, 2), panel += 2;
  if (panel < end) tile(args, 0, panel, 1, 1);
}

NT_TARGET_AVX512VNNI void nt_f32_gemm__avx512vnni(const nt_f32_gemm_args *args) {
  if (args->rows == 1) {
    lone_row(args);
  } else {
    NT_WALK_ROWS(args, 8);
  }
}
#endif
