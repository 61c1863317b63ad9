/// Hot loops of transformer encoders while they learn: tables, layer norms, the softmax of attention, dropout, pooling,
/// and their slopes, which turn the gradient with respect to what a function writes into that with respect to what it
/// reads. Products are the caller's, by a library.
///
/// Matrices are row-major; a row of some columns begins `stride` floats behind the one before. Rows are tokens: those
/// of a batch stand one after the other without padding, and `starts` says where each sequence's begin.
///
/// Sums go over the columns, or over the rows, in one fixed order: the same bits on any number of threads. Nothing
/// allocates or locks; sizes are the caller's duty.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Layer norm of rows: y = (x − mean) / √(variance + epsilon) · scale + shift.
typedef struct nt_transformer_norm {
  size_t rows, columns;
  const float *scale;
  const float *shift;
  float epsilon;
  /// [rows, columns]; (x − mean) / √(variance + epsilon), kept for the slopes.
  float *normal;
  /// [rows]; 1 / √(variance + epsilon), likewise.
  float *inverse;
} nt_transformer_norm;

/// Factors of dropout: element i of a site is 0 with probability `share`, else 1 / (1 − share). They follow from the
/// key and i alone, so that the slopes find them again without a mask in memory.
typedef struct nt_transformer_dropout {
  uint64_t key;
  float share;
} nt_transformer_dropout;

/// Functions for one instruction set.
typedef struct nt_transformer_kernels {
  /// Writes y, which may be x, and what the slopes need.
  void (*norm)(const nt_transformer_norm *norm, const float *x, float *y);
  /// Turns the gradient with respect to y into that with respect to x, and adds those of scale and shift unless null.
  void (*norm_slope)(const nt_transformer_norm *norm, float *gradient, float *scale_gradient, float *shift_gradient);
  /// Softmax of each row in place.
  void (*softmax)(float *x, size_t rows, size_t columns, size_t stride);
  /// Turns the gradient with respect to the probabilities into that with respect to x of the softmax, times a factor.
  void (*softmax_slope)(const float *probabilities, float *gradient, size_t rows, size_t columns, size_t stride,
                        float factor);
  /// x[row, column] += added[column]
  void (*add_row)(float *x, size_t rows, size_t columns, const float *added);
  /// x += added
  void (*add)(float *x, const float *added, size_t count);
  /// sums[column] += Σ x[row, column]
  void (*add_column_sums)(const float *x, size_t rows, size_t columns, size_t stride, float *sums);
} nt_transformer_kernels;

/// The functions of the best instruction set that nt_isa_best allows.
const nt_transformer_kernels *nt_transformer_kernels_best(void);

/// Multiplies elements by their factors; the first of x is number `first` of the site. A share of 0 changes nothing.
void nt_transformer_drop(const nt_transformer_dropout *dropout, float *x, size_t rows, size_t columns, size_t stride,
                         uint64_t first);

/// One factor, by the definition: 0 or 1 / (1 − share).
float nt_transformer_drop_factor(const nt_transformer_dropout *dropout, uint64_t index);

/// to[token] = words[ids[token]] + positions[places[token]] + types[type_of[token]]; the types may be null.
void nt_transformer_look_up(const float *words, const float *positions, const float *types, const uint32_t *ids,
                            const uint32_t *places, const uint8_t *type_of, size_t tokens, size_t columns, float *to);

/// Adds each token's gradient to the rows of the tables that it read.
void nt_transformer_look_up_slope(const float *gradient, const uint32_t *ids, const uint32_t *places,
                                  const uint8_t *type_of, size_t tokens, size_t columns, float *words, float *positions,
                                  float *types);

/// to[sequence, column]: the mean of a sequence's tokens, in rows of `stride`.
void nt_transformer_pool_mean(const float *x, const size_t *starts, size_t sequences, size_t columns, float *to,
                              size_t stride);

/// Writes the gradient with respect to each token from that with respect to the means.
void nt_transformer_pool_mean_slope(const float *gradient, size_t stride, const size_t *starts, size_t sequences,
                                    size_t columns, float *to);

#ifdef __cplusplus
}
#endif
