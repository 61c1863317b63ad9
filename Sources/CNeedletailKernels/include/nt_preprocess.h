/// The step of preprocessing: impute, scale and one-hot in one pass; and the same with the layer behind it, which then
/// reads the weights of the indicators that are 1, and no others.
#pragma once

#include "nt_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Neighbouring input columns that preprocessing treats alike.
typedef struct nt_column_run {
  uint32_t first, count;
  /// 0 passes the columns through; n turns the run's only column into n indicators.
  uint32_t width;
} nt_column_run;

/// An absent field is null or 0. Buffers: input; output.
typedef struct nt_preprocess {
  /// Per input column: what NaN becomes.
  const float *fill;
  /// Per input column: y = (x − offset) · scale, computed in the input's type. Both or neither.
  const float *offset, *scale;
  const nt_column_run *runs;
  uint32_t run_count;
  uint32_t in_columns, out_columns;
  /// Clamp the scaled value to [0, 1].
  bool clamp;
} nt_preprocess;

/// Null where `isa` is of another architecture.
nt_step_function nt_preprocess_f32_step(nt_isa isa);
/// The input is fp64, the output fp32: for a chain that scales.
nt_step_function nt_preprocess_f64_f32_step(nt_isa isa);
/// Input and output are fp64: for a chain that does not scale.
nt_step_function nt_preprocess_f64_step(nt_isa isa);

/// Preprocessing and a layer of fp32 weights. The sums have the bits of the two steps apart: fused multiply-adds in
/// ascending order of the columns, and one of an indicator that is 0 changes nothing. Buffers: input; fp32 output;
/// scratch of `columns.in_columns` × 8 bytes.
typedef struct nt_indicator_layer {
  nt_preprocess columns;
  /// Written by nt_f32_pack: `depth` weights for each of `outputs`.
  const float *weights;
  uint32_t outputs, depth;
  nt_activation activation;
} nt_indicator_layer;

/// Null where `isa` is of another architecture.
nt_step_function nt_indicator_layer_f32_step(nt_isa isa);
/// The input is fp64.
nt_step_function nt_indicator_layer_f64_step(nt_isa isa);

#ifdef __cplusplus
}
#endif
