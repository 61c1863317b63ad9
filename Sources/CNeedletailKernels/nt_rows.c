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

/// Lanes of a sum: the same for every instruction set, so that all add in one order.
enum { lanes = 16 };

NT_INLINE void nt_softmax_rows(const nt_rows *p, const nt_call *call) {
  const float *x = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  size_t columns = p->columns;
  for (size_t item = 0; item < call->items; item++, x += columns, y += columns) {
    float largest = x[0];
    for (size_t c = 1; c < columns; c++) largest = x[c] > largest ? x[c] : largest;
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

NT_INLINE void nt_argmax_rows(const nt_rows *p, const nt_call *call) {
  const float *x = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  for (size_t item = 0; item < call->items; item++, x += p->columns) {
    size_t winner = 0;
    float largest = -__builtin_inff();
    for (size_t c = 0; c < p->columns; c++) {
      if (x[c] > largest) {
        largest = x[c];
        winner = c;
      }
    }
    y[item] = (float)winner;
  }
}

NT_STEP(nt_exp_step, nt_exp_rows)
NT_STEP(nt_softplus_step, nt_softplus_rows)
NT_STEP(nt_signed_square_step, nt_signed_square_rows)
NT_STEP(nt_logistic_step, nt_logistic_rows)
NT_STEP(nt_softmax_step, nt_softmax_rows)
NT_STEP(nt_argmax_step, nt_argmax_rows)
