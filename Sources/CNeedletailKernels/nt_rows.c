#include "nt_rows.h"

#include "nt_lanes.h"

#define NT_EACH_COLUMN(name, f)                                                  \
  NT_INLINE void name(const nt_rows *p, const nt_call *call) {                   \
    NT_MAP(f, nt_buffer(call, 0), nt_buffer(call, 1), call->items * p->columns); \
  }

NT_INLINE void nt_activate_rows(const nt_activated *p, const nt_call *call) {
  const float *x = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  size_t count = call->items * p->columns;
  switch (p->activation) {
    case NT_ACTIVATION_IDENTITY:
      memcpy(y, x, count * sizeof *y);
      break;
    case NT_ACTIVATION_RELU:
      NT_MAP(nt_relu, x, y, count);
      break;
    case NT_ACTIVATION_TANH:
      NT_MAP(nt_tanh, x, y, count);
      break;
    case NT_ACTIVATION_LOGISTIC:
      NT_MAP(nt_logistic, x, y, count);
      break;
    case NT_ACTIVATION_GELU:
      NT_MAP(nt_gelu, x, y, count);
      break;
  }
}

NT_INLINE void nt_signed_square(nt_lanes *x) { *x *= (nt_lanes)((nt_lanes_bits)*x & 0x7fffffffu); }

NT_EACH_COLUMN(nt_logistic_rows, nt_logistic)
NT_EACH_COLUMN(nt_exp_rows, nt_exp)
NT_EACH_COLUMN(nt_softplus_rows, nt_softplus)
NT_EACH_COLUMN(nt_signed_square_rows, nt_signed_square)

/// One division an item; a NaN makes the sum and so every answer NaN.
NT_INLINE void nt_softmax_rows(const nt_rows *p, const nt_call *call) {
  const float *x = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  size_t columns = p->columns, whole = columns / nt_lane_count * nt_lane_count, left = columns - whole;
  for (size_t item = 0; item < call->items; item++, x += columns, y += columns) {
    float largest = nt_row_largest(x, columns);
    nt_lanes sum = nt_all(0), rest = nt_all(0);
    for (size_t c = 0; c < whole; c += nt_lane_count) {
      nt_lanes e = nt_load(x + c) - largest;
      nt_exp_below(&e);
      nt_store(y + c, e);
      sum += e;
    }
    if (left) {
      nt_load_rest(&rest, x + whole, left, -__builtin_inff());
      rest -= largest;
      nt_exp_below(&rest);
      sum += rest;
    }
    float inverse = 1.0f / nt_lane_sum(&sum);
    for (size_t c = 0; c < whole; c += nt_lane_count) nt_store(y + c, nt_load(y + c) * inverse);
    if (left) {
      rest *= inverse;
      nt_store_rest(y + whole, &rest, left);
    }
  }
}

/// Index of the first of the largest columns; 0 where all are NaN or −∞.
NT_INLINE void nt_argmax_rows(const nt_rows *p, const nt_call *call) {
  const float *x = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  size_t columns = p->columns;
  for (size_t item = 0; item < call->items; item++, x += columns) {
    float largest = nt_row_largest(x, columns);
    size_t winner = 0;
    for (; winner + nt_lane_count <= columns; winner += nt_lane_count) {
      nt_lanes_mask is_largest = nt_load(x + winner) == largest;
      if (nt_any(&is_largest)) break;
    }
    while (winner < columns && !(x[winner] == largest)) winner++;
    y[item] = largest == -__builtin_inff() || winner == columns ? 0 : (float)winner;
  }
}

/// Twice over the row: the mean, then the squares of what differs from it.
NT_INLINE void nt_layer_norm_rows(const nt_layer_norm *p, const nt_call *call) {
  const float *x = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  size_t columns = p->columns, whole = columns / nt_lane_count * nt_lane_count, left = columns - whole;
  for (size_t item = 0; item < call->items; item++, x += columns, y += columns) {
    nt_lanes sum[chains], square[chains], rest = nt_all(0);
    for (size_t i = 0; i < chains; i++) sum[i] = square[i] = nt_all(0);
    size_t c = 0;
    for (; c + chained <= columns; c += chained) {
      for (size_t i = 0; i < chains; i++) sum[i] += nt_load(x + c + nt_lane_count * i);
    }
    for (; c < whole; c += nt_lane_count) sum[0] += nt_load(x + c);
    if (left) {
      nt_load_rest(&rest, x + whole, left, 0);
      sum[1] += rest;
    }
    sum[0] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    // Double precision for the few numbers of a row that all its columns depend on.
    float mean = (float)((double)nt_lane_sum(&sum[0]) / (double)columns);
    for (c = 0; c + chained <= columns; c += chained) {
      for (size_t i = 0; i < chains; i++) {
        nt_lanes d = nt_load(x + c + nt_lane_count * i) - mean;
        square[i] = nt_fma(d, d, square[i]);
      }
    }
    for (; c < whole; c += nt_lane_count) {
      nt_lanes d = nt_load(x + c) - mean;
      square[0] = nt_fma(d, d, square[0]);
    }
    if (left) {
      nt_load_rest(&rest, x + whole, left, mean);
      rest -= mean;
      square[1] = nt_fma(rest, rest, square[1]);
    }
    square[0] = (square[0] + square[1]) + (square[2] + square[3]);
    double variance = (double)nt_lane_sum(&square[0]) / (double)columns;
    float inverse = (float)(1 / __builtin_sqrt(variance + (double)p->epsilon));
    for (c = 0; c < whole; c += nt_lane_count) {
      nt_store(y + c, nt_fma((nt_load(x + c) - mean) * inverse, nt_load(p->gain + c), nt_load(p->bias + c)));
    }
    if (left) {
      nt_lanes gain, bias;
      nt_load_rest(&gain, p->gain + whole, left, 0);
      nt_load_rest(&bias, p->bias + whole, left, 0);
      rest = nt_fma(rest * inverse, gain, bias);
      nt_store_rest(y + whole, &rest, left);
    }
  }
}

/// The norm in double precision: all columns depend on it.
NT_INLINE void nt_normalise_rows(const nt_normalise *p, const nt_call *call) {
  const float *x = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  size_t columns = p->columns, whole = columns / nt_lane_count * nt_lane_count, left = columns - whole;
  for (size_t item = 0; item < call->items; item++, x += columns, y += columns) {
    nt_lanes square[chains], rest = nt_all(0);
    for (size_t i = 0; i < chains; i++) square[i] = nt_all(0);
    size_t c = 0;
    for (; c + chained <= columns; c += chained) {
      for (size_t i = 0; i < chains; i++) {
        nt_lanes lanes = nt_load(x + c + nt_lane_count * i);
        square[i] = nt_fma(lanes, lanes, square[i]);
      }
    }
    for (; c < whole; c += nt_lane_count) {
      nt_lanes lanes = nt_load(x + c);
      square[0] = nt_fma(lanes, lanes, square[0]);
    }
    if (left) {
      nt_load_rest(&rest, x + whole, left, 0);
      square[1] = nt_fma(rest, rest, square[1]);
    }
    square[0] = (square[0] + square[1]) + (square[2] + square[3]);
    float norm = (float)__builtin_sqrt((double)nt_lane_sum(&square[0]));
    norm = norm < p->epsilon ? p->epsilon : norm;
    for (c = 0; c < whole; c += nt_lane_count) nt_store(y + c, nt_load(x + c) / norm);
    if (left) {
      rest /= norm;
      nt_store_rest(y + whole, &rest, left);
    }
  }
}

NT_STEP(nt_activate_step, nt_activate_rows)
NT_STEP(nt_normalise_step, nt_normalise_rows)
NT_STEP(nt_exp_step, nt_exp_rows)
NT_STEP(nt_softplus_step, nt_softplus_rows)
NT_STEP(nt_signed_square_step, nt_signed_square_rows)
NT_STEP(nt_logistic_step, nt_logistic_rows)
NT_STEP(nt_softmax_step, nt_softmax_rows)
NT_STEP(nt_argmax_step, nt_argmax_rows)
NT_STEP(nt_layer_norm_step, nt_layer_norm_rows)
