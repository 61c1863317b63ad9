#include "nt_epilogue.h"
#include "nt_neon.h"
#include "nt_tiles.h"

#if defined(NT_ARM64)

NT_DECLARE_KERNELS(neon_i8mm)

enum { tile_rows_max = 6 };

NT_TARGET_I8MM NT_SHARED void epilogue(const nt_s8_gemm_args *args, const int32_t *sums, const nt_s8_panel_tail *tail,
                                       size_t row, size_t rows, size_t panel) {
  nt_s8_epilogue(args, sums, tail, row, rows, panel);
}

/// R rows × one panel. SMMLA multiplies two rows of eight by two columns of eight into 2 × 2 sums: a
/// pair of rows takes eight of them for the panel's sixteen columns. An odd last row is multiplied by
/// itself, and the copy is left out.
NT_TARGET_I8MM NT_INLINE void tile(const nt_s8_gemm_args *args, size_t row, size_t panel, const int R, const int P) {
  (void)P;
  const int pairs = (R + 1) / 2;
  size_t eights = nt_k_groups(args->depth) / 2;
  const int8_t *w = (const int8_t *)args->weights + panel * nt_s8_panel_bytes(args->depth);
  const int8_t *a = args->a + row * args->a_stride;
  int32x4_t sums[8 * (tile_rows_max / 2)];
  for (int i = 0; i < 8 * pairs; i++) sums[i] = vdupq_n_s32(0);
  for (size_t e = 0; e < eights; e++) {
    int8x16_t two_rows[tile_rows_max / 2];
    for (int i = 0; i < pairs; i++) {
      size_t upper = (size_t)(2 * i), lower = 2 * i + 1 < R ? upper + 1 : upper;
      two_rows[i] =
          vcombine_s8(vld1_s8(a + upper * args->a_stride + 8 * e), vld1_s8(a + lower * args->a_stride + 8 * e));
    }
    for (int c = 0; c < 8; c++) {
      int8x16_t two_columns = vld1q_s8(w + 8 * NT_PANEL_COLUMNS * e + 16 * (size_t)c);
      for (int i = 0; i < pairs; i++) sums[8 * i + c] = vmmlaq_s32(sums[8 * i + c], two_rows[i], two_columns);
    }
  }
  _Alignas(64) int32_t stored[tile_rows_max * NT_PANEL_COLUMNS];
  for (int i = 0; i < pairs; i++) {
    for (int c = 0; c < 8; c++) {
      int32_t *upper = stored + 2 * i * NT_PANEL_COLUMNS + 2 * c;
      vst1_s32(upper, vget_low_s32(sums[8 * i + c]));
      if (2 * i + 1 < R) vst1_s32(upper + NT_PANEL_COLUMNS, vget_high_s32(sums[8 * i + c]));
    }
  }
  epilogue(args, stored, nt_s8_tail_of_panel(args, panel), row, (size_t)R, panel);
}

NT_TARGET_I8MM void nt_s8_gemm__neon_i8mm(const nt_s8_gemm_args *args) {
  if (args->rows == 1) {
    NT_WALK_ONE_ROW(args, tile, 1);
  } else {
    NT_WALK_TILES_OF_6(args, tile);
  }
}
#endif
