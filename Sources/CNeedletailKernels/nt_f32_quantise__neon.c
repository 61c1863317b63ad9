#include "nt_math.h"
#include "nt_neon.h"

#if defined(NT_ARM64)

NT_DECLARE_KERNELS(neon)

/// 16 columns at a time. FCVTNS rounds half to even as the scalar twin does.
void nt_f32_quantise_known__neon(const float *x, const uint32_t *row_magnitudes, size_t rows, size_t columns, int8_t *q,
                                 size_t q_stride, float *row_scales) {
  assert(q_stride >= nt_s8_row_stride(columns));
  size_t whole = columns / 16 * 16;
  for (size_t row = 0; row < rows; row++, x += columns, q += q_stride) {
    float inverse;
    nt_s8_tail_of_row(q, columns)->compensation = 0;
    if (!nt_row_scales(row_magnitudes[row], &row_scales[row], &inverse)) {
      memset(q, 0, nt_s8_plane_bytes(columns));
      continue;
    }
    for (size_t c = 0; c < whole; c += 16) {
      int16x4_t rounded[4];
      for (size_t i = 0; i < 4; i++) {
        rounded[i] = vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + c + 4 * i), inverse)));
      }
      int8x8_t low = vmovn_s16(vcombine_s16(rounded[0], rounded[1]));
      vst1q_s8(q + c, vcombine_s8(low, vmovn_s16(vcombine_s16(rounded[2], rounded[3]))));
    }
    for (size_t c = whole; c < columns; c++) q[c] = (int8_t)nt_round_even(x[c] * inverse);
    memset(q + columns, 0, nt_s8_plane_bytes(columns) - columns);
  }
}
#endif
