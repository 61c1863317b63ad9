/// Hot loops of gradient-boosted trees: binning, gradients, histograms, split search, partition of rows. nt_net.h has
/// those of networks.
///
/// A **table** holds one byte, a *bin*, for every row and feature. A tree grows by sums of gradients and hessians over
/// the rows of a node, one sum for each bin of each feature: its *histogram*.
///
/// **The same bits on any number of threads.** Gradients are rounded to 14 bits and hessians to 12 (22 and 16 in small
/// tables, where errors do not even out), up or down by a hash of the row, so that sums stay unbiased. Their sums are
/// integers, and no order of additions changes them. The values of leaves are computed from the gradients themselves,
/// in fp64 and in the order of the rows.
///
/// Functions that end in `_task` are parts of one job for nt_boost_run. None allocates or locks; sizes are the caller's
/// duty and asserted in debug builds.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nt_boost_loss.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Features of a group, whose bins stand side by side: 16 histograms of 256 × 8 bytes fit the first-level cache.
#define NT_BOOST_LANES_MAX 16
/// Bins of a feature, those of missing values and of unknown categories among them.
#define NT_BOOST_BINS_MAX 256
/// Rows of a table: their number takes 26 bits in nt_boost_sums.
#define NT_BOOST_ROWS_MAX 0x3ffffff
/// Rows of a part of the jobs that go over rows.
#define NT_BOOST_CHUNK_ROWS 8192
/// Words of rows add up in blocks of 2^(row_bits − 1) without a carry between their fields: the gradient in the bits
/// from row_bits + 25, the hessian in the 25 bits from row_bits, and 1 in the lowest. Small blocks leave more bits for
/// each row, but every block of a large node costs as much as adding some 255 rows.
typedef enum nt_boost_row_bits {
  NT_BOOST_FINE = 9,
  NT_BOOST_COARSE = 13,
} nt_boost_row_bits;
/// Rows of a table from which it takes coarse words.
#define NT_BOOST_FINE_ROWS 32768

static inline size_t nt_boost_block_rows(nt_boost_row_bits row_bits) { return (size_t)1 << (row_bits - 1); }
/// Largest rounded gradient, by magnitude, and hessian.
static inline double nt_boost_gradient_max(nt_boost_row_bits row_bits) {
  return (double)(((uint64_t)1 << (39 - 2 * row_bits)) - 1);
}
static inline double nt_boost_hessian_max(nt_boost_row_bits row_bits) {
  return (double)((uint64_t)1 << (25 - row_bits));
}

// MARK: - threads

typedef void (*nt_boost_task)(const void *job, size_t part);

/// Runs parts 0 ..< `parts` of a job on up to `threads` threads of the process's pool, and returns when all are done.
void nt_boost_run(nt_boost_task task, const void *job, size_t parts, size_t threads);

// MARK: - bins

/// Sorts numbers without NaN in ascending order; −0 stands before 0. `spare` holds as many numbers.
void nt_boost_sort(double *numbers, double *spare, size_t count);

/// Chooses bounds of bins so that bins hold about equally many of some sorted numbers, and each number one bin where
/// there are no more numbers than bins. No bin but the last holds fewer than `rows_min` rows. A number x is in bin b if
/// bounds[b − 1] < x ≤ bounds[b].
///
/// Bounds stand in the middle between two neighbours. Returns how many there are: one less than bins.
size_t nt_boost_bounds(const double *sorted, size_t count, size_t bins_max, size_t rows_min, double *bounds);

/// Number of NaN.
size_t nt_boost_missing(const double *numbers, size_t count);

/// Writes the bins of one column. Parts are chunks of rows.
typedef struct nt_boost_bin_job {
  const double *numbers;
  size_t rows;
  uint8_t *bins;
  /// Ascending bounds of a column of numbers.
  const double *bounds;
  size_t bound_count;
  /// Null for numbers. Else the bin of each category code below `code_count`; other codes get `other_bin`.
  const uint8_t *bin_of_code;
  size_t code_count;
  uint8_t other_bin;
  uint8_t missing_bin;
} nt_boost_bin_job;

void nt_boost_bin_task(const void *job, size_t chunk);

/// One feature of a table.
typedef struct nt_boost_feature {
  /// Place of its first bin in a histogram.
  uint32_t first_bin;
  /// Bins of values. The bin of missing values follows, and then that of rare and unknown categories, which always go
  /// right.
  uint16_t bins;
  bool is_categorical;
  /// 1: answers must not fall while the feature rises; −1: not rise; 0: free.
  int8_t direction;
  /// The column that holds its bins.
  uint32_t column;
  /// Where features share the column: the bin that most rows have, and the byte of the first other one. Bytes of the
  /// others follow in their order.
  uint16_t common_bin;
  uint16_t first_byte;
} nt_boost_feature;

/// Bins of all rows, a byte for every row and column. Column c is lane c % lanes of group c / lanes. The groups stand
/// one after the other, each of them `rows` × `stride` bytes.
///
/// Features may share a column if no row differs from the most common bin in two of them (Ke et al., 2017): its byte is
/// 0 where all have that bin. Sums are then built for one column instead of many.
typedef struct nt_boost_table {
  const uint8_t *bins;
  size_t rows, stride, lanes, columns, features;
  const nt_boost_feature *feature;
  /// Features by column: those of column c are by_column[first_of_column[c]] ..< [first_of_column[c + 1]].
  const uint32_t *by_column, *first_of_column;
} nt_boost_table;

/// Bins of a feature, those of missing values and of unknown categories among them.
static inline size_t nt_boost_all_bins(const nt_boost_feature *feature) {
  return (size_t)feature->bins + 1 + feature->is_categorical;
}

/// Puts the bins of a feature into a column that it shares: rows with its common bin keep their byte. Parts are chunks
/// of rows.
typedef struct nt_boost_share_column_job {
  const nt_boost_feature *feature;
  const uint8_t *bins;
  uint8_t *column;
  size_t rows;
} nt_boost_share_column_job;

void nt_boost_share_column_task(const void *job, size_t chunk);

/// Writes the bins of a table from those of its columns, which stand one after the other. Parts are chunks of rows.
typedef struct nt_boost_interleave_job {
  const uint8_t *columns;
  const nt_boost_table *table;
  /// Those of the table.
  uint8_t *bins;
} nt_boost_interleave_job;

void nt_boost_interleave_task(const void *job, size_t chunk);

// MARK: - rounding

/// Rounds gradients and hessians of one output, and packs those of a row into one word.
typedef struct nt_boost_round_job {
  const float *gradients, *hessians;
  size_t rows;
  nt_boost_row_bits row_bits;
  /// Gradient of 1, and hessian of 1; 0 where all are 0.
  double gradient_unit, hessian_unit;
  /// A word of its own for every tree.
  uint64_t seed;
  uint64_t *words;
} nt_boost_round_job;

void nt_boost_round_task(const void *job, size_t chunk);

/// Rows that a tree learns from, each chosen with a probability by a hash. Returns their number.
size_t nt_boost_sample(size_t rows, double share, uint64_t seed, uint32_t *sample);

/// As many rows as `draws`, drawn with replacement by a hash, in ascending order. `sample` has room for `draws` ones,
/// at most as many as rows. Returns their number.
size_t nt_boost_bootstrap(size_t rows, size_t draws, uint64_t seed, uint32_t *sample);

// MARK: - histograms and splits

/// Sum over the rows of a bin.
typedef struct nt_boost_sums {
  int64_t gradient;
  /// Hessian in the upper 38 bits, number of rows in the lower 26.
  uint64_t weight;
} nt_boost_sums;

/// Sum of the words of some rows.
nt_boost_sums nt_boost_total(const uint64_t *words, nt_boost_row_bits row_bits, const uint32_t *rows, size_t count);

/// What a split must fulfil, and how gains are computed.
typedef struct nt_boost_rules {
  double gradient_unit, hessian_unit;
  double l1, l2;
  /// Smallest gain, rows and sum of hessians of each side.
  double gain_min;
  uint32_t rows_min;
  double weight_min;
  /// Categories with fewer rows go right, and it is added to a category's hessian where they are ordered.
  double category_smoothing;
  /// Added to l2 for splits by categories.
  double category_l2;
  /// Categories on the smaller side.
  uint32_t categories_max;
} nt_boost_rules;

/// The best split of a node by one feature.
typedef struct nt_boost_split {
  /// Reduction of the loss; 0: none.
  double gain;
  nt_boost_sums left;
  /// Last bin that goes left; of numbers only.
  uint16_t bin;
  /// Bit for each bin whose rows go left, that of missing values included.
  uint64_t members[4];
  bool missing_goes_left;
} nt_boost_split;

/// One of the two nodes that a search is about.
typedef struct nt_boost_node {
  /// One for each bin of each feature.
  nt_boost_sums *histogram;
  nt_boost_sums totals;
  /// Bounds of the node's value, under constraints of direction; infinite without.
  double value_min, value_max;
  /// Features that may be asked about: a byte each, 0: not.
  const uint8_t *is_used;
  bool is_searched;
} nt_boost_node;

/// Builds the histogram of a node from its rows; subtracts it from its parent's, which becomes its sibling's; and
/// searches both. Parts are the groups of the table.
typedef struct nt_boost_search_job {
  const nt_boost_table *table;
  const uint64_t *words;
  nt_boost_row_bits row_bits;
  const uint32_t *rows;
  size_t row_count;
  nt_boost_node built;
  /// Its histogram is that of the parent before; null for a root.
  nt_boost_node sibling;
  nt_boost_rules rules;
  /// The best of each feature: those of `built`, then those of `sibling`.
  nt_boost_split *splits;
} nt_boost_search_job;

void nt_boost_search_task(const void *job, size_t group);

/// Number of groups of a table.
static inline size_t nt_boost_groups(const nt_boost_table *table) {
  return (table->columns + table->lanes - 1) / table->lanes;
}

/// −T(g) / (h + l2), T taking l1 off the magnitude: the value of a leaf with these sums.
double nt_boost_leaf_value(double gradient, double hessian, double l1, double l2);

// MARK: - rows

/// Sorts the rows of a node into those that go left and those that go right, each in their order. Parts are chunks.
///
/// nt_boost_partition_task writes a chunk's rows to `left` and `right` at the chunk's own place and counts the left
/// ones; once all are counted, nt_boost_gather_task brings them together.
typedef struct nt_boost_partition_job {
  /// The column's byte of each row: those of a million rows fit the second-level cache, which their rows in a
  /// table do not.
  const uint8_t *bins;
  /// 1 for each byte that goes left, else 0.
  const uint8_t *goes_left;
  uint32_t *rows;
  size_t row_count;
  uint32_t *left, *right;
  /// For each chunk, the rows that go left.
  size_t *left_counts;
} nt_boost_partition_job;

void nt_boost_partition_task(const void *job, size_t chunk);
void nt_boost_gather_task(const void *job, size_t chunk);

/// A leaf of a new tree: a range of the rows, and what they come to.
typedef struct nt_boost_leaf {
  size_t first, count;
  double value_min, value_max;
  /// Written: the value with the learning rate in it.
  float value;
} nt_boost_leaf;

/// A residual, and the weight of its row.
typedef struct nt_boost_residual {
  float value, weight;
} nt_boost_residual;

/// The number that `share` of the weights lie below: half way to the next one where exactly that share does, as numpy's
/// `averaged_inverted_cdf`. Changes the order of the residuals. 0 without any.
float nt_boost_quantile(nt_boost_residual *residuals, size_t count, double share);

/// Values of leaves, and scores of their rows. Parts are leaves.
typedef struct nt_boost_leaf_job {
  nt_boost_leaf *leaves;
  const uint32_t *rows;
  const float *gradients, *hessians;
  double l1, l2, learning_rate;
  /// Null: the scores stay as they are.
  float *scores;
  /// Null, or the rows of a loss whose best value of a leaf is the quantile of its residuals at `share`.
  const nt_boost_rows *renewed;
  double share;
  /// Room for as many residuals as there are rows.
  nt_boost_residual *residuals;
} nt_boost_leaf_job;

void nt_boost_leaf_task(const void *job, size_t leaf);

/// Shares of the classes among the rows of leaves, by weight. Parts are leaves.
typedef struct nt_boost_share_job {
  const nt_boost_leaf *leaves;
  const uint32_t *rows;
  /// Indices of classes.
  const double *targets;
  /// Null: 1 for all.
  const float *weights;
  size_t classes;
  /// For each leaf one number a class; 0 where a leaf has no weight.
  float *shares;
} nt_boost_share_job;

void nt_boost_share_task(const void *job, size_t leaf);

/// A split of a tree on the bytes of a column. Children from 0 are splits; below, leaf ~child.
typedef struct nt_boost_step {
  uint32_t column;
  int32_t left, right;
  uint64_t members[4];
} nt_boost_step;

/// Adds the values of a tree to scores. Parts are chunks of rows.
typedef struct nt_boost_walk_job {
  const nt_boost_table *table;
  const nt_boost_step *steps;
  size_t step_count;
  const float *values;
  float *scores;
} nt_boost_walk_job;

void nt_boost_walk_task(const void *job, size_t chunk);

#ifdef __cplusplus
}
#endif
