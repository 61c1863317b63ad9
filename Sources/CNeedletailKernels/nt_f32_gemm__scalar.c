#include "nt_epilogue.h"

NT_DECLARE_KERNELS(scalar)

/// The twin that defines what the others must give: fused multiply-adds in ascending k.
void nt_f32_gemm__scalar(const nt_f32_gemm_args *args) {
  for (size_t panel = args->panel_first; panel < args->panel_end; panel++) {
    const float *w = (const float *)args->weights + panel * nt_f32_panel_floats(args->depth);
    for (size_t row = 0; row < args->rows; row++) {
      const float *a = args->a + row * args->depth;
      _Alignas(64) float sums[NT_PANEL_COLUMNS] = {0};
      for (size_t k = 0; k < args->depth; k++) {
        for (size_t c = 0; c < NT_PANEL_COLUMNS; c++) {
          sums[c] = __builtin_fmaf(a[k], w[k * NT_PANEL_COLUMNS + c], sums[c]);
        }
      }
      nt_f32_epilogue(args, sums, w + args->depth * NT_PANEL_COLUMNS, row, 1, panel);
    }
  }
}

/// The same with weights of bf16, each widened to the fp32 that it is the upper half of.
void nt_bf16_gemm__scalar(const nt_f32_gemm_args *args) {
  for (size_t panel = args->panel_first; panel < args->panel_end; panel++) {
    const uint16_t *w = (const uint16_t *)args->weights + panel * nt_bf16_panel_bytes(args->depth) / sizeof(uint16_t);
    for (size_t row = 0; row < args->rows; row++) {
      const float *a = args->a + row * args->depth;
      _Alignas(64) float sums[NT_PANEL_COLUMNS] = {0};
      for (size_t k = 0; k < args->depth; k++) {
        for (size_t c = 0; c < NT_PANEL_COLUMNS; c++) {
          sums[c] = __builtin_fmaf(a[k], nt_bf16_widened(w[(k / 2 * NT_PANEL_COLUMNS + c) * 2 + k % 2]), sums[c]);
        }
      }
      nt_f32_epilogue(args, sums, nt_bf16_bias(args, panel), row, 1, panel);
    }
  }
}
