#include "nt_math.h"

// Rows of fp32 to rows of int8. AVX2 and NEON have files of their own for the second half, AVX2 because its
// products read another form of row.

/// No product leaves ±127 by as much as a half, so rounding needs no clamp.
///
/// - weight_offset: what packing adds to every int8 weight; the row's compensation takes it off again.
NT_INLINE void quantise_known(const float *x, const uint32_t *row_magnitudes, size_t rows, size_t columns, int8_t *q,
                              size_t q_stride, float *row_scales, const uint32_t weight_offset) {
  assert(q_stride >= nt_s8_row_stride(columns));
  for (size_t row = 0; row < rows; row++, x += columns, q += q_stride) {
    nt_s8_row_tail *tail = nt_s8_tail_of_row(q, columns);
    float inverse;
    tail->compensation = 0;
    if (!nt_row_scales(row_magnitudes[row], &row_scales[row], &inverse)) {
      memset(q, 0, nt_s8_plane_bytes(columns));
      continue;
    }
    int32_t sum = 0;
    for (size_t c = 0; c < columns; c++) {
      int32_t rounded = nt_round_even(x[c] * inverse);
      q[c] = (int8_t)rounded;
      sum += rounded;
    }
    memset(q + columns, 0, nt_s8_plane_bytes(columns) - columns);
    // Modulo 2³², as the sums that it corrects.
    tail->compensation = (int32_t)(0u - weight_offset * (uint32_t)sum);
  }
}

#define NT_QUANTISE_KNOWN(isa, target, weight_offset)                                                       \
  target void nt_f32_quantise_known__##isa(const float *x, const uint32_t *row_magnitudes, size_t rows,     \
                                           size_t columns, int8_t *q, size_t q_stride, float *row_scales) { \
    quantise_known(x, row_magnitudes, rows, columns, q, q_stride, row_scales, weight_offset);               \
  }

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
NT_QUANTISE_KNOWN(scalar, , 0)
NT_QUANTISE(scalar, )

#if defined(NT_X86)
NT_DECLARE_KERNELS(avx2)
NT_DECLARE_KERNELS(avx512vnni)
NT_QUANTISE(avx2, NT_TARGET_AVX2)
NT_QUANTISE_KNOWN(avx512vnni, NT_TARGET_AVX512VNNI, NT_S8_OFFSET__AVX512VNNI)
NT_QUANTISE(avx512vnni, NT_TARGET_AVX512VNNI)
#elif defined(NT_ARM64)
NT_DECLARE_KERNELS(neon)
NT_QUANTISE(neon, )
#endif
