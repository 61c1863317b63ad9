#include "nt_epilogue.h"
#include "nt_tiles.h"

#if defined(NT_X86)
#if defined(NT_USE_SIMDE)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#else
#include <immintrin.h>
#endif

NT_DECLARE_KERNELS(avx512vnni)

NT_TARGET_AVX512VNNI NT_SHARED void epilogue(const nt_f32_gemm_args *args, float *tile, const float *bias, size_t row,
                                             size_t rows, size_t panel) {
  nt_f32_epilogue(args, tile, bias, row, rows, panel);
}

/// R rows × P panels of 16 columns: R·P accumulators of 16 floats.
NT_TARGET_AVX512VNNI NT_INLINE void tile(const nt_f32_gemm_args *args, size_t row, size_t panel, const int R,
                                         const int P) {
  size_t panel_floats = nt_f32_panel_floats(args->depth);
  const float *w = args->weights + panel * panel_floats;
  const float *a = args->a + row * args->depth;
  __m512 sums[24];
  for (int i = 0; i < R * P; i++) sums[i] = _mm512_setzero_ps();
  for (size_t k = 0; k < args->depth; k++) {
    __m512 weights[8];
    for (int p = 0; p < P; p++) weights[p] = _mm512_load_ps(w + (size_t)p * panel_floats + k * NT_PANEL_COLUMNS);
    for (int r = 0; r < R; r++) {
      __m512 activation = _mm512_set1_ps(a[(size_t)r * args->depth + k]);
      for (int p = 0; p < P; p++) sums[r * P + p] = _mm512_fmadd_ps(activation, weights[p], sums[r * P + p]);
    }
  }
  for (int p = 0; p < P; p++) {
    _Alignas(64) float stored[8 * NT_PANEL_COLUMNS];
    for (int r = 0; r < R; r++) _mm512_store_ps(stored + r * NT_PANEL_COLUMNS, sums[r * P + p]);
    const float *bias = w + (size_t)p * panel_floats + args->depth * NT_PANEL_COLUMNS;
    epilogue(args, stored, bias, row, (size_t)R, panel + (size_t)p);
  }
}

/// The order of a sum is fixed, so a lone row takes eight panels to have eight independent sums.
NT_TARGET_AVX512VNNI void nt_f32_gemm__avx512vnni(const nt_f32_gemm_args *args) {
  if (args->rows == 1) {
    NT_WALK_ONE_ROW(args, tile, 8);
  } else {
    NT_WALK_TILES_OF_8(args, tile);
  }
}
#endif
