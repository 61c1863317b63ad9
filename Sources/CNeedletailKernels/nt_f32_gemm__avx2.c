#include "nt_epilogue.h"

#if defined(NT_X86)
#include <immintrin.h>

NT_DECLARE_KERNELS(avx2)

/// R rows × P panels of 16 columns: 2·R·P accumulators of 8 floats.
NT_TARGET_AVX2 NT_INLINE void tile(const nt_f32_gemm_args *args, size_t row, size_t panel, const int R, const int P) {
  size_t panel_floats = nt_f32_panel_floats(args->depth);
  const float *w = args->weights + panel * panel_floats;
  const float *a = args->a + row * args->depth;
  __m256 sums[12];
  for (int i = 0; i < 2 * R * P; i++) sums[i] = _mm256_setzero_ps();
  for (size_t k = 0; k < args->depth; k++) {
    for (int p = 0; p < P; p++) {
      const float *at = w + (size_t)p * panel_floats + k * NT_PANEL_COLUMNS;
      __m256 w0 = _mm256_load_ps(at);
      __m256 w1 = _mm256_load_ps(at + 8);
      for (int r = 0; r < R; r++) {
        __m256 activation = _mm256_broadcast_ss(a + (size_t)r * args->depth + k);
        int i = 2 * (r * P + p);
        sums[i] = _mm256_fmadd_ps(activation, w0, sums[i]);
        sums[i + 1] = _mm256_fmadd_ps(activation, w1, sums[i + 1]);
      }
    }
  }
  for (int p = 0; p < P; p++) {
    _Alignas(64) float stored[6 * NT_PANEL_COLUMNS];
    for (int r = 0; r < R; r++) {
      int i = 2 * (r * P + p);
      _mm256_store_ps(stored + r * NT_PANEL_COLUMNS, sums[i]);
      _mm256_store_ps(stored + r * NT_PANEL_COLUMNS + 8, sums[i + 1]);
    }
    const float *bias = w + (size_t)p * panel_floats + args->depth * NT_PANEL_COLUMNS;
    nt_f32_epilogue(args, stored, bias, row, (size_t)R, panel + (size_t)p);
  }
}

/// Six rows × 16 columns fill twelve of sixteen registers; few rows take more panels instead.
NT_TARGET_AVX2 void nt_f32_gemm__avx2(const nt_f32_gemm_args *args) {
  size_t panels = nt_panels(args->columns);
  size_t whole = args->rows / 6 * 6;
  size_t rest = args->rows - whole;
  for (size_t panel = 0; panel < panels && whole > 0; panel++) {
    for (size_t row = 0; row < whole; row += 6) tile(args, row, panel, 6, 1);
  }
  if (rest >= 3) {
    for (size_t panel = 0; panel < panels; panel++) tile(args, whole, panel, 3, 1);
    whole += 3;
    rest -= 3;
  }
  for (; rest > 0; rest--, whole++) {
    size_t panel = 0;
    for (; panel + 4 <= panels; panel += 4) tile(args, whole, panel, 1, 4);
    for (; panel < panels; panel++) tile(args, whole, panel, 1, 1);
  }
}
#endif
