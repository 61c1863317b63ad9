#include "nt_epilogue.h"
#include "nt_neon.h"
#include "nt_tiles.h"

#if defined(NT_ARM64)

NT_DECLARE_KERNELS(neon)

enum { tile_rows_max = 6 };

NT_TARGET_DOTPROD NT_SHARED void epilogue(const nt_s8_gemm_args *args, const int32_t *sums,
                                          const nt_s8_panel_tail *tail, size_t row, size_t rows, size_t panel) {
  nt_s8_epilogue(args, sums, tail, row, rows, panel);
}

/// R rows × P panels: 4·R·P sums of 4 int32. SDOT is signed × signed, so nothing needs compensation,
/// and takes its activations from one lane: eight steps of depth per load.
NT_TARGET_DOTPROD NT_INLINE void tile(const nt_s8_gemm_args *args, size_t row, size_t panel, const int R, const int P) {
  size_t panel_bytes = nt_s8_panel_bytes(args->depth);
  size_t groups = nt_k_groups(args->depth);
  const int8_t *w = (const int8_t *)args->weights + panel * panel_bytes;
  const int8_t *a = args->a + row * args->a_stride;
  int32x4_t sums[4 * tile_rows_max];
  for (int i = 0; i < 4 * R * P; i++) sums[i] = vdupq_n_s32(0);
  for (size_t pair = 0; pair < groups; pair += 2) {
    int8x8_t activations[tile_rows_max];
    for (int r = 0; r < R; r++) activations[r] = vld1_s8(a + (size_t)r * args->a_stride + pair * NT_K_GROUP);
    for (int p = 0; p < P; p++) {
      const int8_t *at = w + (size_t)p * panel_bytes + pair * NT_K_GROUP * NT_PANEL_COLUMNS;
      for (int q = 0; q < 4; q++) {
        int8x16_t first = vld1q_s8(at + 16 * q), second = vld1q_s8(at + 64 + 16 * q);
        for (int r = 0; r < R; r++) {
          int32x4_t *to = sums + 4 * (p * R + r) + q;
          *to = vdotq_lane_s32(vdotq_lane_s32(*to, first, activations[r], 0), second, activations[r], 1);
        }
      }
    }
  }
  _Alignas(64) int32_t stored[tile_rows_max * NT_PANEL_COLUMNS];
  for (int p = 0; p < P; p++) {
    for (int i = 0; i < 4 * R; i++) vst1q_s32(stored + 4 * i, sums[4 * p * R + i]);
    epilogue(args, stored, nt_s8_tail_of_panel(args, panel + (size_t)p), row, (size_t)R, panel + (size_t)p);
  }
}

NT_TARGET_DOTPROD void nt_s8_gemm__neon(const nt_s8_gemm_args *args) {
  if (args->rows == 1) {
    NT_WALK_ONE_ROW(args, tile, 4);
  } else {
    NT_WALK_TILES_OF_6(args, tile);
  }
}
#endif
