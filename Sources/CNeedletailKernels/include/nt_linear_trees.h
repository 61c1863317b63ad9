/// The step that sums decision trees with linear leaves. Buffers: fp64 input; fp32 output.
///
/// A leaf answers its constant plus its coefficients times columns of the row, term after term, and trees are added in
/// the order of the model, all in fp64 as LightGBM does: every instruction set gives the same bits. A row that lacks
/// one of the columns that its leaf asks for gets the leaf's value instead.
#pragma once

#include "nt_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/// One split. Its children are nodes from 0 on, and below 0 leaf ~child.
typedef struct nt_linear_node {
  double threshold;
  /// Bit c is set for category c, which goes left; NULL for a numeric split.
  const uint32_t *set;
  /// Categories of the set.
  uint32_t set_count;
  uint32_t column;
  int32_t left, right;
  /// `TreeMissing` of the bundle's schema.
  uint8_t missing;
} nt_linear_node;

typedef struct nt_linear_leaf {
  double constant;
  /// The answer for a row that lacks one of the terms' columns.
  double value;
  uint32_t term_first, term_end;
} nt_linear_leaf;

typedef struct nt_linear_term {
  double coefficient;
  uint32_t column;
} nt_linear_term;

typedef struct nt_linear_trees {
  const nt_linear_node *nodes;
  const nt_linear_leaf *leaves;
  const nt_linear_term *terms;
  /// Node, or ~leaf, at which each tree begins; trees stand in the order of their outputs.
  const int32_t *roots;
  /// Per output, its first tree; one more entry ends the last.
  const uint32_t *output_first;
  /// One for each output; NULL: zeros.
  const double *start, *bias;
  double divisor;
  uint32_t columns, outputs;
  /// x < t goes left, not x <= t.
  bool is_below;
  /// Values within NT_TREES_TINY of 0 count as 0.
  bool flushes_tiny;
} nt_linear_trees;

void nt_linear_trees_step(const void *parameters, const nt_call *call);

#ifdef __cplusplus
}
#endif
