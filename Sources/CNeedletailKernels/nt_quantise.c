#include "nt_math.h"

// Rows of fp32 to rows of int8. AVX-512 has a file of its own, and AVX2 and NEON have one for the second half, AVX2
// because its products read another form of row.

/// Finds the magnitude of each row itself.
#define NT_QUANTISE(isa, target)                                                                              \
  target void nt_f32_quantise__##isa(const float *x, size_t rows, size_t columns, int8_t *q, size_t q_stride, \
                                     float *row_scales) {                                                     \
    for (size_t row = 0; row < rows; row++, x += columns, q += q_stride) {                                    \
      uint32_t magnitude = nt_magnitude(x, columns);                                                          \
      nt_f32_quantise_known__##isa(x, &magnitude, 1, columns, q, q_stride, row_scales + row);                 \
    }                                                                                                         \
  }

NT_DECLARE_KERNELS(scalar)
NT_QUANTISE(scalar, )

/// No product leaves ±127 by as much as a half, so rounding needs no clamp. Nothing is added to packed weights, so rows
/// need no compensation.
void nt_f32_quantise_known__scalar(const float *x, const uint32_t *row_magnitudes, size_t rows, size_t columns,
                                   int8_t *q, size_t q_stride, float *row_scales) {
  assert(q_stride >= nt_s8_row_stride(columns));
  for (size_t row = 0; row < rows; row++, x += columns, q += q_stride) {
    nt_s8_row_tail *tail = nt_s8_tail_of_row(q, columns);
    float inverse;
    tail->compensation = 0;
    if (!nt_row_scales(row_magnitudes[row], &row_scales[row], &inverse)) {
      memset(q, 0, nt_s8_plane_bytes(columns));
      continue;
    }
    for (size_t c = 0; c < columns; c++) q[c] = (int8_t)nt_round_even(x[c] * inverse);
    memset(q + columns, 0, nt_s8_plane_bytes(columns) - columns);
  }
}

#if defined(NT_X86)
NT_DECLARE_KERNELS(avx2)
NT_QUANTISE(avx2, NT_TARGET_AVX2)
#elif defined(NT_ARM64)
NT_DECLARE_KERNELS(neon)
NT_QUANTISE(neon, )
#endif
