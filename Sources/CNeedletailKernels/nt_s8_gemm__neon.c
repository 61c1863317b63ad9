#include "nt_epilogue.h"

#if defined(NT_ARM64)
#include <arm_neon.h>

NT_DECLARE_KERNELS(neon)

#define NT_TARGET_DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))

/// R rows × 16 columns: 4·R accumulators of 4 int32. SDOT is signed × signed, so nothing needs lifting.
NT_TARGET_DOTPROD NT_INLINE void tile(const nt_s8_gemm_args *args, size_t row, size_t panel, const int R) {
  size_t panel_bytes = nt_s8_panel_bytes(args->depth);
  size_t groups = nt_k_groups(args->depth);
  const int8_t *w = (const int8_t *)args->weights + panel * panel_bytes;
  const int8_t *a = args->a + row * args->a_stride;
  int32x4_t sums[16];
  for (int i = 0; i < 4 * R; i++) sums[i] = vdupq_n_s32(0);
  for (size_t g = 0; g < groups; g++) {
    const int8_t *at = w + g * NT_K_GROUP * NT_PANEL_COLUMNS;
    for (int r = 0; r < R; r++) {
      int32_t four;
      memcpy(&four, a + (size_t)r * args->a_stride + g * NT_K_GROUP, sizeof four);
      int8x16_t activation = vreinterpretq_s8_s32(vdupq_n_s32(four));
      for (int q = 0; q < 4; q++) sums[4 * r + q] = vdotq_s32(sums[4 * r + q], vld1q_s8(at + 16 * q), activation);
    }
  }
  _Alignas(64) int32_t stored[4 * NT_PANEL_COLUMNS];
  for (int i = 0; i < 4 * R; i++) vst1q_s32(stored + 4 * i, sums[i]);
  const nt_s8_panel_tail *tail = (const nt_s8_panel_tail *)(w + panel_bytes - sizeof *tail);
  nt_s8_epilogue(args, stored, tail, row, (size_t)R, panel);
}

NT_TARGET_DOTPROD void nt_s8_gemm__neon(const nt_s8_gemm_args *args) {
  for (size_t panel = args->panel_first; panel < args->panel_end; panel++) {
    size_t row = 0;
    for (; row + 4 <= args->rows; row += 4) tile(args, row, panel, 4);
    for (; row < args->rows; row++) tile(args, row, panel, 1);
  }
}
#endif
