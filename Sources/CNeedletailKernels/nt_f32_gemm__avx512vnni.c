#include "nt_epilogue.h"

#if defined(NT_X86)
#if defined(NT_USE_SIMDE)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#else
#include <immintrin.h>
#endif

NT_DECLARE_KERNELS(avx512vnni)

/// R rows × P panels of 16 columns: R·P accumulators of 16 floats.
NT_TARGET_AVX512VNNI NT_INLINE void tile(const nt_f32_gemm_args *args, size_t row, size_t panel, const int R,
                                         const int P) {
  size_t panel_floats = nt_f32_panel_floats(args->depth);
  const float *w = args->weights + panel * panel_floats;
  const float *a = args->a + row * args->depth;
  __m512 sums[8];
  for (int i = 0; i < R * P; i++) sums[i] = _mm512_setzero_ps();
  for (size_t k = 0; k < args->depth; k++) {
    for (int p = 0; p < P; p++) {
      __m512 weights = _mm512_load_ps(w + (size_t)p * panel_floats + k * NT_PANEL_COLUMNS);
      for (int r = 0; r < R; r++) {
        __m512 activation = _mm512_set1_ps(a[(size_t)r * args->depth + k]);
        sums[r * P + p] = _mm512_fmadd_ps(activation, weights, sums[r * P + p]);
      }
    }
  }
  for (int p = 0; p < P; p++) {
    _Alignas(64) float stored[8 * NT_PANEL_COLUMNS];
    for (int r = 0; r < R; r++) _mm512_store_ps(stored + r * NT_PANEL_COLUMNS, sums[r * P + p]);
    const float *bias = w + (size_t)p * panel_floats + args->depth * NT_PANEL_COLUMNS;
    nt_f32_epilogue(args, stored, bias, row, (size_t)R, panel + (size_t)p);
  }
}

/// Eight rows share a load of weights; a lone row takes eight panels for the same number of chains.
NT_TARGET_AVX512VNNI void nt_f32_gemm__avx512vnni(const nt_f32_gemm_args *args) {
  size_t panels = args->panel_end;
  size_t whole = args->rows / 8 * 8;
  size_t rest = args->rows - whole;
  for (size_t panel = args->panel_first; panel < panels && whole > 0; panel++) {
    for (size_t row = 0; row < whole; row += 8) tile(args, row, panel, 8, 1);
  }
  if (rest >= 4) {
    for (size_t panel = args->panel_first; panel < panels; panel++) tile(args, whole, panel, 4, 1);
    whole += 4;
    rest -= 4;
  }
  for (; rest > 0; rest--, whole++) {
    size_t panel = args->panel_first;
    for (; panel + 8 <= panels; panel += 8) tile(args, whole, panel, 1, 8);
    for (; panel < panels; panel++) tile(args, whole, panel, 1, 1);
  }
}
#endif
