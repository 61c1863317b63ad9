#include "nt_rows.h"

#include "nt_math.h"

NT_INLINE void nt_logistic_rows(const nt_rows *p, const nt_call *call) {
  const float *x = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  size_t count = call->items * p->columns;
  for (size_t i = 0; i < count; i++) y[i] = nt_logistic(x[i]);
}

NT_INLINE void nt_exp_rows(const nt_rows *p, const nt_call *call) {
  const float *x = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  size_t count = call->items * p->columns;
  for (size_t i = 0; i < count; i++) y[i] = nt_exp(x[i]);
}

NT_INLINE void nt_softplus_rows(const nt_rows *p, const nt_call *call) {
  const float *x = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  size_t count = call->items * p->columns;
  for (size_t i = 0; i < count; i++) y[i] = nt_softplus(x[i]);
}

NT_INLINE void nt_signed_square_rows(const nt_rows *p, const nt_call *call) {
  const float *x = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  size_t count = call->items * p->columns;
  for (size_t i = 0; i < count; i++) y[i] = x[i] * __builtin_fabsf(x[i]);
}

/// Lanes of a sum or a maximum: the same for every instruction set, so that all go in one order. A single running value
/// would wait for itself, four cycles a column.
enum { lanes = 16 };

NT_INLINE float nt_row_largest(const float *x, size_t columns) {
  float largest[lanes];
  for (size_t lane = 0; lane < lanes; lane++) largest[lane] = -__builtin_inff();
  size_t whole = columns / lanes * lanes;
  for (size_t c = 0; c < whole; c += lanes) {
    for (size_t lane = 0; lane < lanes; lane++)
      largest[lane] = x[c + lane] > largest[lane] ? x[c + lane] : largest[lane];
  }
  for (size_t c = whole; c < columns; c++) largest[0] = x[c] > largest[0] ? x[c] : largest[0];
  for (size_t half = lanes / 2; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; lane++) {
      largest[lane] = largest[lane + half] > largest[lane] ? largest[lane + half] : largest[lane];
    }
  }
  return largest[0];
}

NT_INLINE void nt_softmax_rows(const nt_rows *p, const nt_call *call) {
  const float *x = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  size_t columns = p->columns;
  for (size_t item = 0; item < call->items; item++, x += columns, y += columns) {
    // A NaN is no maximum, and makes the sum and so every answer NaN.
    float largest = nt_row_largest(x, columns);
    for (size_t c = 0; c < columns; c++) y[c] = nt_exp(x[c] - largest);
    float sums[lanes] = {0};
    size_t whole = columns / lanes * lanes;
    for (size_t c = 0; c < whole; c += lanes) {
      for (size_t lane = 0; lane < lanes; lane++) sums[lane] += y[c + lane];
    }
    for (size_t lane = 0; whole + lane < columns; lane++) sums[lane] += y[whole + lane];
    for (size_t half = lanes / 2; half > 0; half /= 2) {
      for (size_t lane = 0; lane < half; lane++) sums[lane] += sums[lane + half];
    }
    for (size_t c = 0; c < columns; c++) y[c] = y[c] / sums[0];
  }
}

/// Index of the first of the largest columns; 0 where all are NaN or −∞.
NT_INLINE void nt_argmax_rows(const nt_rows *p, const nt_call *call) {
  const float *x = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  for (size_t item = 0; item < call->items; item++, x += p->columns) {
    float largest = nt_row_largest(x, p->columns);
    size_t winner = 0;
    while (winner < p->columns && !(x[winner] == largest)) winner++;
    y[item] = largest == -__builtin_inff() || winner == p->columns ? 0 : (float)winner;
  }
}

NT_STEP(nt_exp_step, nt_exp_rows)
NT_STEP(nt_softplus_step, nt_softplus_rows)
NT_STEP(nt_signed_square_step, nt_signed_square_rows)
NT_STEP(nt_logistic_step, nt_logistic_rows)
NT_STEP(nt_softmax_step, nt_softmax_rows)
NT_STEP(nt_argmax_step, nt_argmax_rows)
