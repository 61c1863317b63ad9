// Row operations, written once. A file per instruction set defines NT_ISA and NT_TARGET and includes
// this; loops over columns are elementwise, or reduce in 16 fixed lanes, so vectorising them changes
// no bit. NT_WEIGHT_OFFSET: what packing adds to every int8 weight, taken off again by the rows.
// NT_OWN_QUANTISE_KNOWN: the instruction set has quantise_known in a file of its own.

#include "nt_math.h"

#define NT_CONCAT_(a, b) a##b
#define NT_CONCAT(a, b) NT_CONCAT_(a, b)
#define NT_NAME(op) NT_CONCAT(nt_f32_##op##__, NT_ISA)

#define NT_LANES 16

#if !defined(NT_WEIGHT_OFFSET)
#define NT_WEIGHT_OFFSET 0
#endif

#if !defined(NT_OWN_QUANTISE_KNOWN)
/// No product leaves ±127 by as much as a half, so rounding needs no clamp.
NT_TARGET void NT_NAME(quantise_known)(const float *x, const uint32_t *row_magnitudes, size_t rows, size_t columns,
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
    int32_t sum = 0;
    for (size_t c = 0; c < columns; c++) {
      int32_t rounded = nt_round_even(x[c] * inverse);
      q[c] = (int8_t)rounded;
      sum += rounded;
    }
    memset(q + columns, 0, nt_s8_plane_bytes(columns) - columns);
    // Modulo 2³², as the sums that it corrects.
    tail->compensation = (int32_t)(0u - NT_WEIGHT_OFFSET * (uint32_t)sum);
  }
}
#endif

NT_TARGET void NT_NAME(quantise)(const float *x, size_t rows, size_t columns, int8_t *q, size_t q_stride,
                                 float *row_scales) {
  for (size_t row = 0; row < rows; row++, x += columns, q += q_stride) {
    uint32_t magnitude = nt_magnitude(x, columns);
    NT_NAME(quantise_known)(x, &magnitude, 1, columns, q, q_stride, row_scales + row);
  }
}

/// One value through impute and scale.
NT_INLINE float NT_NAME(scaled)(const nt_preprocess *p, float x, size_t column) {
  if (p->fill) x = x != x ? p->fill[column] : x;
  if (p->scale) {
    x = (x - p->offset[column]) * p->scale[column];
    if (p->clamp) {
      x = x < 0.0f ? 0.0f : x;
      x = x > 1.0f ? 1.0f : x;
    }
  }
  return x;
}

NT_TARGET void NT_NAME(preprocess)(const nt_preprocess *p, const float *x, float *y, size_t rows) {
  for (size_t row = 0; row < rows; row++, x += p->in_columns) {
    for (size_t run = 0; run < p->run_count; run++) {
      size_t first = p->runs[run].first, count = p->runs[run].count, width = p->runs[run].width;
      if (width == 0) {
        for (size_t c = 0; c < count; c++) y[c] = NT_NAME(scaled)(p, x[first + c], first + c);
        y += count;
      } else {
        float code = NT_NAME(scaled)(p, x[first], first);
        memset(y, 0, width * sizeof(float));
        // Widths stay below 2²⁴, so the comparison is exact; NaN fails it.
        if (code >= 0.0f && code < (float)width && code == (float)(uint32_t)code) y[(uint32_t)code] = 1.0f;
        y += width;
      }
    }
  }
}

NT_TARGET void NT_NAME(bias_activate)(float *x, const float *bias, size_t rows, size_t columns,
                                      nt_activation activation) {
  for (size_t row = 0; bias && row < rows; row++) {
    for (size_t c = 0; c < columns; c++) x[row * columns + c] += bias[c];
  }
  nt_activate(x, rows * columns, activation);
}

NT_TARGET void NT_NAME(logistic)(const float *x, float *y, size_t count) {
  for (size_t i = 0; i < count; i++) y[i] = nt_logistic(x[i]);
}

NT_TARGET void NT_NAME(softmax)(const float *x, float *y, size_t rows, size_t columns) {
  for (size_t row = 0; row < rows; row++, x += columns, y += columns) {
    float largest = x[0];
    for (size_t c = 1; c < columns; c++) largest = x[c] > largest ? x[c] : largest;
    for (size_t c = 0; c < columns; c++) y[c] = nt_exp(x[c] - largest);
    float lanes[NT_LANES] = {0};
    size_t whole = columns / NT_LANES * NT_LANES;
    for (size_t c = 0; c < whole; c += NT_LANES) {
      for (size_t lane = 0; lane < NT_LANES; lane++) lanes[lane] += y[c + lane];
    }
    for (size_t lane = 0; whole + lane < columns; lane++) lanes[lane] += y[whole + lane];
    for (size_t half = NT_LANES / 2; half > 0; half /= 2) {
      for (size_t lane = 0; lane < half; lane++) lanes[lane] += lanes[lane + half];
    }
    for (size_t c = 0; c < columns; c++) y[c] = y[c] / lanes[0];
  }
}

NT_TARGET void NT_NAME(argmax)(const float *x, float *y, size_t rows, size_t columns) {
  for (size_t row = 0; row < rows; row++, x += columns) {
    size_t winner = 0;
    float largest = -__builtin_inff();
    for (size_t c = 0; c < columns; c++) {
      if (x[c] > largest) {
        largest = x[c];
        winner = c;
      }
    }
    y[row] = (float)winner;
  }
}
