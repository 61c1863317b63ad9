#include "nt_epilogue.h"
#include "nt_neon.h"
#include "nt_tiles.h"

#if defined(NT_ARM64)

NT_DECLARE_KERNELS(neon)

enum { tile_rows_max = 6 };

NT_SHARED void epilogue(const nt_f32_gemm_args *args, float *tile, const float *bias, size_t row, size_t rows,
                        size_t panel) {
  nt_f32_epilogue(args, tile, bias, row, rows, panel);
}

/// R rows × P panels: 4·R·P sums of 4 floats, by fused multiply-adds in ascending depth.
NT_INLINE void tile(const nt_f32_gemm_args *args, size_t row, size_t panel, const int R, const int P) {
  size_t panel_floats = nt_f32_panel_floats(args->depth);
  const float *w = args->weights + panel * panel_floats;
  const float *a = args->a + row * args->depth;
  float32x4_t sums[4 * tile_rows_max];
  for (int i = 0; i < 4 * R * P; i++) sums[i] = vdupq_n_f32(0);
  for (size_t k = 0; k < args->depth; k++) {
    for (int p = 0; p < P; p++) {
      const float *at = w + (size_t)p * panel_floats + k * NT_PANEL_COLUMNS;
      float32x4_t weights[4];
      for (int q = 0; q < 4; q++) weights[q] = vld1q_f32(at + 4 * q);
      for (int r = 0; r < R; r++) {
        float32x4_t activation = vld1q_dup_f32(a + (size_t)r * args->depth + k);
        for (int q = 0; q < 4; q++) {
          float32x4_t *to = sums + 4 * (p * R + r) + q;
          *to = vfmaq_f32(*to, weights[q], activation);
        }
      }
    }
  }
  _Alignas(64) float stored[tile_rows_max * NT_PANEL_COLUMNS];
  for (int p = 0; p < P; p++) {
    for (int i = 0; i < 4 * R; i++) vst1q_f32(stored + 4 * i, sums[4 * p * R + i]);
    const float *bias = w + (size_t)p * panel_floats + args->depth * NT_PANEL_COLUMNS;
    epilogue(args, stored, bias, row, (size_t)R, panel + (size_t)p);
  }
}

void nt_f32_gemm__neon(const nt_f32_gemm_args *args) {
  if (args->rows == 1) {
    NT_WALK_ONE_ROW(args, tile, 4);
  } else {
    NT_WALK_TILES_OF_6(args, tile);
  }
}
#endif
