/// Hot loops of gradient-boosted trees: binning, gradients, histograms, split search, partition of rows.
///
/// A **table** holds one byte, a *bin*, for every row and feature. A tree grows by sums of gradients and hessians over
/// the rows of a node, one sum for each bin of each feature: its *histogram*.
///
/// **The same bits on any number of threads.** Gradients are rounded to 14 bits and hessians to 12, up or down by a
/// hash of the row, so that sums stay unbiased. Their sums are integers, and no order of additions changes them. The
/// values of leaves are computed from the gradients themselves, in fp64 and in the order of the rows.
///
/// Functions that end in `_task` are parts of one job for nt_boost_run. None allocates or locks; sizes are the caller's
/// duty and asserted in debug builds.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
/// Largest rounded gradient, by magnitude, and hessian.
#define NT_BOOST_GRADIENT_MAX 8191
#define NT_BOOST_HESSIAN_MAX 4096

// MARK: - threads

typedef void (*nt_boost_task)(const void *job, size_t part);

/// Runs parts 0 ..< `parts` of a job on up to `threads` threads of the process's pool, and returns when all are done.
void nt_boost_run(nt_boost_task task, const void *job, size_t parts, size_t threads);

// MARK: - bins

/// Sorts numbers without NaN in ascending order; −0 stands before 0. `spare` holds as many numbers.
void nt_boost_sort(double *numbers, double *spare, size_t count);

/// Chooses bounds of bins so that bins hold about equally many of some sorted numbers, and each number one bin where
/// there are no more numbers than bins. A number x is in bin b if bounds[b − 1] < x ≤ bounds[b].
///
/// Bounds stand in the middle between two neighbours. Returns how many there are: one less than bins.
size_t nt_boost_bounds(const double *sorted, size_t count, size_t bins_max, double *bounds);

/// Number of NaN.
size_t nt_boost_missing(const double *numbers, size_t count);

/// Writes the bins of one column, `stride` bytes apart. Parts are chunks of rows.
typedef struct nt_boost_bin_job {
  const double *numbers;
  size_t rows;
  uint8_t *bins;
  size_t stride;
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
} nt_boost_feature;

/// Bins of all rows. Feature f is lane f % lanes of group f / lanes. The groups stand one after the other, each of them
/// `rows` × `stride` bytes.
typedef struct nt_boost_table {
  const uint8_t *bins;
  size_t rows, stride, lanes, features;
  const nt_boost_feature *feature;
} nt_boost_table;

// MARK: - gradients

typedef enum nt_boost_loss {
  /// ½ (s − y)².
  NT_BOOST_SQUARED = 0,
  /// Cross-entropy of classes 0 and 1, s being the log-odds of 1.
  NT_BOOST_LOGISTIC = 1,
  /// Cross-entropy of several classes.
  NT_BOOST_SOFTMAX = 2,
} nt_boost_loss;

/// Scores and targets of some rows. Parts of its jobs are chunks of rows.
typedef struct nt_boost_rows {
  nt_boost_loss loss;
  size_t rows;
  /// Scores a row: classes for softmax, else 1. They stand class by class, `rows` apart.
  size_t outputs;
  const float *scores;
  /// Added to every score: one for each output.
  const float *bias;
  /// Numbers, or indices of classes.
  const double *targets;
  /// Weight of each class; null: 1 for all.
  const float *class_weights;
} nt_boost_rows;

/// Sum of the losses of a chunk of rows; correct classes, or the sum of squared errors; and the weights of the rows.
typedef struct nt_boost_figures {
  double loss, quality, weight;
} nt_boost_figures;

typedef struct nt_boost_loss_job {
  nt_boost_rows rows;
  /// One for each chunk.
  nt_boost_figures *figures;
} nt_boost_loss_job;

void nt_boost_loss_task(const void *job, size_t chunk);

typedef struct nt_boost_gradient_job {
  nt_boost_rows rows;
  /// outputs × rows.
  float *gradients, *hessians;
  /// Per chunk and output the largest gradient by magnitude, and the largest hessian.
  float *maxima;
} nt_boost_gradient_job;

void nt_boost_gradient_task(const void *job, size_t chunk);

/// Rounds gradients and hessians of one output, and packs those of a row into one word: gradient in bits 38 to 63,
/// hessian in bits 13 to 37, 1 in bits 0 to 12. 4,096 such words add up without a carry between the fields.
typedef struct nt_boost_round_job {
  const float *gradients, *hessians;
  size_t rows;
  /// Gradient of 1, and hessian of 1; 0 where all are 0.
  double gradient_unit, hessian_unit;
  /// A word of its own for every tree.
  uint64_t seed;
  uint64_t *words;
} nt_boost_round_job;

void nt_boost_round_task(const void *job, size_t chunk);

/// Rows that a tree learns from, each chosen with a probability by a hash. Returns their number.
size_t nt_boost_sample(size_t rows, double share, uint64_t seed, uint32_t *sample);

// MARK: - histograms and splits

/// Sum over the rows of a bin.
typedef struct nt_boost_sums {
  int64_t gradient;
  /// Hessian in the upper 38 bits, number of rows in the lower 26.
  uint64_t weight;
} nt_boost_sums;

/// Sum of the words of some rows.
nt_boost_sums nt_boost_total(const uint64_t *words, const uint32_t *rows, size_t count);

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
  bool is_searched;
} nt_boost_node;

/// Builds the histogram of a node from its rows; subtracts it from its parent's, which becomes its sibling's; and
/// searches both. Parts are the groups of the table.
typedef struct nt_boost_search_job {
  const nt_boost_table *table;
  const uint64_t *words;
  const uint32_t *rows;
  size_t row_count;
  nt_boost_node built;
  /// Its histogram is that of the parent before; null for a root.
  nt_boost_node sibling;
  /// Features that may be asked about: a byte each, 0: not.
  const uint8_t *is_used;
  nt_boost_rules rules;
  /// The best of each feature: those of `built`, then those of `sibling`.
  nt_boost_split *splits;
} nt_boost_search_job;

void nt_boost_search_task(const void *job, size_t group);

/// Number of groups of a table.
static inline size_t nt_boost_groups(const nt_boost_table *table) {
  return (table->features + table->lanes - 1) / table->lanes;
}

/// −T(g) / (h + l2), T taking l1 off the magnitude: the value of a leaf with these sums.
double nt_boost_leaf_value(double gradient, double hessian, double l1, double l2);

// MARK: - rows

/// Sorts the rows of a node into those that go left and those that go right, each in their order. Parts are chunks.
///
/// nt_boost_partition_task writes a chunk's rows to `left` and `right` at the chunk's own place and counts the left
/// ones; once all are counted, nt_boost_gather_task brings them together.
typedef struct nt_boost_partition_job {
  const uint8_t *bins;
  size_t stride;
  /// 1 for each bin that goes left, else 0.
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

/// Values of leaves, and scores of their rows. Parts are leaves.
typedef struct nt_boost_leaf_job {
  nt_boost_leaf *leaves;
  const uint32_t *rows;
  const float *gradients, *hessians;
  double l1, l2, learning_rate;
  /// Null: the scores stay as they are.
  float *scores;
} nt_boost_leaf_job;

void nt_boost_leaf_task(const void *job, size_t leaf);

/// A split of a tree on bins. Children from 0 are splits; below, leaf ~child.
typedef struct nt_boost_step {
  uint32_t feature;
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
