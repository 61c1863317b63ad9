/// Steps that compute each item of fp32 columns by itself. Buffers: input; output.
#pragma once

#include "nt_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nt_rows {
  /// Columns of the input.
  uint32_t columns;
} nt_rows;

/// exp(x), per element.
nt_step_function nt_exp_step(nt_isa isa);
/// log(1 + exp(x)), per element.
nt_step_function nt_softplus_step(nt_isa isa);
/// x · |x|, per element.
nt_step_function nt_signed_square_step(nt_isa isa);
/// 1 / (1 + exp(−x)), per element.
nt_step_function nt_logistic_step(nt_isa isa);
/// exp(x − max) / Σ, per item. Absolute error ≤ 2e-7.
nt_step_function nt_softmax_step(nt_isa isa);
/// Index of the largest column as one fp32 column, the lowest on a tie; a NaN never wins.
nt_step_function nt_argmax_step(nt_isa isa);

typedef struct nt_layer_norm {
  /// Columns of the input.
  uint32_t columns;
  /// Added to the variance, so that a row of one value stays finite.
  float epsilon;
  /// One number a column.
  const float *gain, *bias;
} nt_layer_norm;

/// (x − mean) / √(variance + epsilon) · gain + bias, per item.
nt_step_function nt_layer_norm_step(nt_isa isa);

typedef struct nt_activated {
  /// Columns of the input.
  uint32_t columns;
  nt_activation activation;
} nt_activated;

/// activation(x), per element.
nt_step_function nt_activate_step(nt_isa isa);

typedef struct nt_normalise {
  /// Columns of the input.
  uint32_t columns;
  /// Least norm that is divided by, so that a row of zeros stays one.
  float epsilon;
} nt_normalise;

/// x / max(√Σx², epsilon), per item.
nt_step_function nt_normalise_step(nt_isa isa);

#ifdef __cplusplus
}
#endif
