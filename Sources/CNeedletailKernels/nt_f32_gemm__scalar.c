#include "nt_epilogue.h"

NT_DECLARE_KERNELS(scalar)

/// The twin that defines what the others must give: fused multiply-adds in ascending k.
void nt_f32_gemm__scalar(const nt_f32_gemm_args *args) {
  for (size_t panel = args->panel_first; panel < args->panel_end; panel++) {
    const float *w = args->weights + panel * nt_f32_panel_floats(args->depth);
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
