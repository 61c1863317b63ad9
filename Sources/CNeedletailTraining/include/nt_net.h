/// Hot loops of networks of fully connected layers: products, activations and their slopes, batch normalisation,
/// losses, and steps of optimisers.
///
/// Matrices are row-major with rows of a **stride** that is a multiple of NT_NET_LANES: what stands behind the columns
/// is 0, and no loop has a tail. Weights lie as [inputs, outputs], so that outputs are neighbours.
///
/// Sums go over the depth, or over the rows, in their order, one fused multiply-add each where the processor has one:
/// the same bits on any number of threads. Nothing allocates or locks; sizes are the caller's duty.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Columns of a row are padded to a multiple of this.
#define NT_NET_LANES 16

/// C ← A · B, or C ← initial + A · B. A(row, k) stands at a[row · a_row + k · a_depth].
typedef struct nt_net_product {
  const float *a;
  size_t a_row, a_depth;
  /// [depth, columns]
  const float *b;
  size_t b_stride;
  /// [rows, columns]
  float *c;
  size_t c_stride;
  /// One row that every row of C begins with; null: 0.
  const float *initial;
  size_t rows, columns, depth;
} nt_net_product;

/// What Adam and SGD remember of each parameter; `second` is null for SGD.
typedef struct nt_net_step {
  float *parameters;
  const float *gradient;
  float *first;
  float *second;
  size_t count;
  float rate;
  /// Added to the gradient, and taken off the parameters themselves, times each parameter.
  float coupled_decay, decay;
  /// Adam: 1 − 0.9ᵗ and √(1 − 0.999ᵗ). SGD: the momentum, and nothing.
  float correction1, correction2;
} nt_net_step;

/// One layer's batch normalisation. Vectors have the stride of the rows.
typedef struct nt_net_norm {
  size_t rows, stride;
  /// Sums of the layer, which become scale · normal + shift.
  float *sums;
  /// The sums less their mean, by their deviation; kept for the slopes.
  float *normal;
  const float *scale;
  const float *shift;
  /// 1 / deviation of the batch's columns.
  float *inverse;
  float *running_mean;
  float *running_variance;
} nt_net_norm;

/// Functions for one instruction set. Activations are numbers of nt_activation.
typedef struct nt_net_kernels {
  void (*multiply)(const nt_net_product *product);
  /// to[column, row] = from[row, column]; rows and columns are multiples of NT_NET_LANES.
  void (*transpose)(const float *from, size_t rows, size_t columns, size_t from_stride, float *to, size_t to_stride);
  void (*activate)(uint32_t activation, const float *sums, float *to, size_t count);
  /// Multiplies gradients by the activation's derivative at the sums.
  void (*slope)(uint32_t activation, const float *sums, float *gradient, size_t count);
  /// sums[column] = Σ x[row, column]
  void (*column_sums)(const float *x, size_t rows, size_t stride, float *sums);
  void (*multiply_elements)(float *x, const float *factors, size_t count);
  double (*square_sum)(const float *x, size_t count);
  void (*adam)(const nt_net_step *step);
  void (*sgd)(const nt_net_step *step);
  /// Normalises by the batch, and moves the running figures by a tenth, as PyTorch's BatchNorm1d.
  void (*norm)(const nt_net_norm *norm);
  /// Normalises by the running figures.
  void (*norm_running)(const nt_net_norm *norm);
  /// Turns gradients by the outputs into those by the sums, and writes those of scale and shift.
  void (*norm_slope)(const nt_net_norm *norm, float *gradient, float *scale_gradient, float *shift_gradient);
  /// Cross-entropy of softmax over each row's columns, times its weight. Writes weight · (probability − truth) / rows.
  double (*softmax_loss)(const float *z, size_t rows, size_t columns, size_t stride, const double *targets,
                         const float *weights, float *gradient, size_t *correct);
} nt_net_kernels;

/// The functions of the best instruction set that nt_isa_best allows.
const nt_net_kernels *nt_net_kernels_best(void);

#ifdef __cplusplus
}
#endif
