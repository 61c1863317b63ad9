#include "nt_epilogue.h"

#if defined(NT_X86)
#include <immintrin.h>

NT_DECLARE_KERNELS(avx2)

NT_TARGET_AVX2 NT_SHARED void epilogue(const nt_f32_gemm_args *args, float *tile, const float *bias, size_t row,
                                       size_t rows, size_t panel) {
  nt_f32_epilogue(args, tile, bias, row, rows, panel);
}

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
    epilogue(args, stored, bias, row, (size_t)R, panel + (size_t)p);
  }
}

/// R rows × two panels; four rows and more fill the registers with one panel at a time.
NT_TARGET_AVX2 NT_INLINE void two_panels(const nt_f32_gemm_args *args, size_t row, size_t panel, size_t panels,
                                         const int R) {
  if (R < 4 && panels == 2) {
    tile(args, row, panel, R, 2);
  } else {
    for (size_t p = 0; p < panels; p++) tile(args, row, panel + p, R, 1);
  }
}

/// Eight chains hide the four cycles of two fused multiply-adds each. So rows are cut into tiles of
/// three to six as equal as can be, which beats sixes and a short rest: with 8 rows 4 + 4 reaches
/// the peak, 6 + 1 + 1 stays at 70 % of it.
NT_TARGET_AVX2 void nt_f32_gemm__avx2(const nt_f32_gemm_args *args) {
  size_t panels = args->panel_end;
  size_t rows = args->rows;
  if (rows == 1) {
    size_t panel = args->panel_first;
    for (; panel + 4 <= panels; panel += 4) tile(args, 0, panel, 1, 4);
    for (; panel < panels; panel++) tile(args, 0, panel, 1, 1);
    return;
  }
  size_t tiles = (rows + 5) / 6;
  for (size_t panel = args->panel_first; panel < panels; panel += 2) {
    size_t count = panels - panel < 2 ? 1 : 2;
    for (size_t i = 0; i < tiles; i++) {
      size_t row = rows * i / tiles;
      switch (rows * (i + 1) / tiles - row) {
        case 2:
          two_panels(args, row, panel, count, 2);
          break;
        case 3:
          two_panels(args, row, panel, count, 3);
          break;
        case 4:
          two_panels(args, row, panel, count, 4);
          break;
        case 5:
          two_panels(args, row, panel, count, 5);
          break;
        default:
          two_panels(args, row, panel, count, 6);
          break;
      }
    }
  }
}
#endif
