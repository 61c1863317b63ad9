/// Layers over rows of which few columns are not 0.
#pragma once

#include "nt_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/// A fully connected layer of fp32 weights that are found by column.
typedef struct nt_sparse_layer {
  /// `stride` weights for each of `depth` columns: those of the outputs, then zeros.
  const float *weights;
  /// nt_panel_count(outputs) × NT_PANEL_COLUMNS numbers.
  const float *bias;
  uint32_t outputs, stride, depth;
  nt_activation activation;
} nt_sparse_layer;

/// Weights of one column for so many outputs: up to a panel the next power of two, so that a column is a part of one
/// cache line or all of it; then whole panels.
static inline uint32_t nt_sparse_stride(uint32_t outputs) {
  uint32_t stride = 1;
  while (stride < outputs && stride < NT_PANEL_COLUMNS) stride *= 2;
  return outputs <= stride ? stride : (outputs + NT_PANEL_COLUMNS - 1) / NT_PANEL_COLUMNS * NT_PANEL_COLUMNS;
}

/// Computes one row from the columns that are not 0, which ascend. The bits are those of the dense product: fused
/// multiply-adds in the order of the columns, and one of a 0 changes nothing.
typedef void (*nt_sparse_row)(const nt_sparse_layer *layer, const uint32_t *columns, const float *numbers, size_t count,
                              float *out);

/// Null where `isa` is of another architecture.
nt_sparse_row nt_sparse_row_for(nt_isa isa);

#ifdef __cplusplus
}
#endif
