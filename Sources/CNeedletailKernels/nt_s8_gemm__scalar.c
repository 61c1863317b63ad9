#include "nt_epilogue.h"

NT_DECLARE_KERNELS(scalar)

/// The twin that defines what the others must give.
void nt_s8_gemm__scalar(const nt_s8_gemm_args *args) {
  const uint8_t *packed = args->weights;
  size_t panel_bytes = nt_s8_panel_bytes(args->depth);
  size_t groups = nt_k_groups(args->depth);
  for (size_t panel = args->panel_first; panel < args->panel_end; panel++) {
    const int8_t *w = (const int8_t *)(packed + panel * panel_bytes);
    const nt_s8_panel_tail *tail = (const nt_s8_panel_tail *)(w + panel_bytes - sizeof *tail);
    for (size_t row = 0; row < args->rows; row++) {
      const int8_t *a = args->a + row * args->a_stride;
      _Alignas(64) int32_t sums[NT_PANEL_COLUMNS] = {0};
      for (size_t g = 0; g < groups; g++) {
        for (size_t c = 0; c < NT_PANEL_COLUMNS; c++) {
          for (size_t k = 0; k < NT_K_GROUP; k++) {
            sums[c] += a[g * NT_K_GROUP + k] * w[(g * NT_PANEL_COLUMNS + c) * NT_K_GROUP + k];
          }
        }
      }
      nt_s8_epilogue(args, sums, tail, row, 1, panel);
    }
  }
}
