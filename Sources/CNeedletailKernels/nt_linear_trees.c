#include "nt_linear_trees.h"

#include "nt_internal.h"
#include "nt_trees.h"

/// Values of `TreeMissing` in the bundle's schema.
enum { missing_left = 0, missing_as_zero = 2, missing_or_zero_left = 3 };

NT_INLINE bool is_tiny(double x) { return __builtin_fabs(x) <= (double)NT_TREES_TINY; }

NT_INLINE bool goes_left(const nt_linear_node *node, double x, bool is_below) {
  bool takes_zeros = node->missing >= missing_or_zero_left;
  if (__builtin_isnan(x) || (takes_zeros && is_tiny(x))) {
    if (node->missing != missing_as_zero) return node->missing == missing_left || node->missing == missing_or_zero_left;
    x = 0;
  }
  if (node->set) {
    // Truncated towards 0, so that what lies above −1 is category 0.
    if (!(x > -1 && x < (double)node->set_count)) return false;
    uint32_t code = (uint32_t)x;
    return node->set[code / 32] >> (code % 32) & 1;
  }
  return is_below ? x < node->threshold : x <= node->threshold;
}

NT_INLINE double column_of(const nt_linear_trees *trees, const double *row, uint32_t column) {
  double x = row[column];
  return trees->flushes_tiny && is_tiny(x) ? 0 : x;
}

NT_INLINE double leaf_answer(const nt_linear_trees *trees, const nt_linear_leaf *leaf, const double *row) {
  double sum = leaf->constant;
  for (uint32_t t = leaf->term_first; t < leaf->term_end; t++) {
    double x = column_of(trees, row, trees->terms[t].column);
    if (__builtin_isnan(x)) return leaf->value;
    sum += trees->terms[t].coefficient * x;
  }
  return sum;
}

void nt_linear_trees_step(const void *parameters, const nt_call *call) {
  const nt_linear_trees *trees = parameters;
  const double *row = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  for (size_t item = 0; item < call->items; item++, row += trees->columns, y += trees->outputs) {
    for (uint32_t output = 0; output < trees->outputs; output++) {
      double sum = trees->start ? trees->start[output] : 0;
      for (uint32_t tree = trees->output_first[output]; tree < trees->output_first[output + 1]; tree++) {
        int32_t at = trees->roots[tree];
        while (at >= 0) {
          const nt_linear_node *node = &trees->nodes[at];
          at = goes_left(node, column_of(trees, row, node->column), trees->is_below) ? node->left : node->right;
        }
        sum += leaf_answer(trees, &trees->leaves[~at], row);
      }
      if (trees->divisor != 1) sum /= trees->divisor;
      if (trees->bias) sum += trees->bias[output];
      y[output] = (float)sum;
    }
  }
}
