// Kernels of boosted trees on random tables of awkward sizes, in blocks of memory of exactly the sizes that they are
// told: the sanitizers see what they read and write beyond. Sums, orders and quantiles are compared with plain twins;
// Tests/NeedletailTrainingTests compares splits and gradients.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nt_boost.h"
#include "nt_pool.h"

#define EXPECT(condition)                                                      \
  do {                                                                         \
    if (!(condition)) {                                                        \
      fprintf(stderr, "boost_test.c:%d: expected %s\n", __LINE__, #condition); \
      exit(1);                                                                 \
    }                                                                          \
  } while (0)

static uint64_t state = 88172645463325252u;

static uint64_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

static size_t below(size_t bound) { return next() % bound; }
static double uniform(void) { return (double)(next() >> 11) * 0x1p-53; }

static void *block(size_t count, size_t size) {
  void *memory = calloc(count > 0 ? count : 1, size);
  EXPECT(memory != NULL);
  return memory;
}

static size_t chunks_of(size_t rows) { return (rows + NT_BOOST_CHUNK_ROWS - 1) / NT_BOOST_CHUNK_ROWS; }

// MARK: - bins

static int by_number(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void test_bins(size_t rows, size_t bins_max) {
  double *numbers = block(rows, sizeof *numbers), *sorted = block(rows, sizeof *sorted);
  double *expected = block(rows, sizeof *expected), *spare = block(rows, sizeof *spare);
  double *bounds = block(bins_max, sizeof *bounds);
  uint8_t *bins = block(rows, 1), *bin_of_code = block(7, 1);
  for (size_t i = 0; i < rows; i++)
    numbers[i] = below(3) ? (uniform() - 0.5) * exp2((double)below(40)) : (double)below(5);
  memcpy(sorted, numbers, rows * sizeof *sorted);
  memcpy(expected, numbers, rows * sizeof *sorted);
  nt_boost_sort(sorted, spare, rows);
  qsort(expected, rows, sizeof *expected, by_number);
  for (size_t i = 0; i < rows; i++) EXPECT(sorted[i] == expected[i]);
  size_t count = nt_boost_bounds(sorted, rows, bins_max, 1 + below(4), bounds);
  EXPECT(count < bins_max);
  for (size_t i = 1; i < count; i++) EXPECT(bounds[i - 1] < bounds[i]);
  if (rows > 2) numbers[rows / 2] = NAN;
  EXPECT(nt_boost_missing(numbers, rows) == (rows > 2));
  nt_boost_bin_job job = {.numbers = numbers, .rows = rows, .bins = bins, .bounds = bounds, .bound_count = count};
  job.missing_bin = 255;
  nt_boost_run(nt_boost_bin_task, &job, chunks_of(rows), 2);
  for (size_t i = 0; i < rows; i++) {
    size_t bin = 0;
    while (bin < count && bounds[bin] < numbers[i]) bin++;
    EXPECT(bins[i] == (numbers[i] == numbers[i] ? bin : 255));
  }
  // Codes: some unknown, some beyond the table, some no whole numbers above 0.
  for (size_t i = 0; i < rows; i++) numbers[i] = i % 5 == 4 ? NAN : (double)below(12) - 3;
  for (size_t i = 0; i < 7; i++) bin_of_code[i] = (uint8_t)(6 - i);
  job.bin_of_code = bin_of_code;
  job.code_count = 7;
  job.other_bin = 9;
  nt_boost_run(nt_boost_bin_task, &job, chunks_of(rows), 2);
  for (size_t i = 0; i < rows; i++) {
    int code = numbers[i] == numbers[i] ? (int)numbers[i] : 100;
    EXPECT(bins[i] == (code == 100 ? 255 : code < 0 || code > 6 ? 9 : 6 - code));
  }
  free(numbers), free(sorted), free(expected), free(spare), free(bounds), free(bins), free(bin_of_code);
}

// MARK: - losses

static void test_losses(size_t rows, nt_boost_loss loss, size_t outputs) {
  float *scores = block(rows * outputs, sizeof *scores), *bias = block(outputs, sizeof *bias);
  float *weights = block(rows, sizeof *weights), *maxima = block(chunks_of(rows) * outputs * 2, sizeof *maxima);
  float *gradients = block(rows * outputs, sizeof *gradients), *hessians = block(rows * outputs, sizeof *hessians);
  double *targets = block(rows, sizeof *targets);
  nt_boost_figures *figures = block(chunks_of(rows), sizeof *figures);
  for (size_t i = 0; i < rows * outputs; i++) scores[i] = (float)(uniform() * 4 - 2);
  for (size_t i = 0; i < rows; i++) {
    targets[i] = (double)below(outputs > 1 ? outputs : 2);
    weights[i] = (float)uniform();
  }
  for (size_t k = 0; k < outputs; k++) bias[k] = (float)k / 8;
  nt_boost_gradient_job job = {.gradients = gradients, .hessians = hessians, .maxima = maxima};
  job.rows = (nt_boost_rows){loss, rows, outputs, scores, bias, targets, weights, 1.25};
  if (loss == NT_BOOST_QUANTILE) job.rows.parameter = 0.3;
  nt_boost_run(nt_boost_gradient_task, &job, chunks_of(rows), 2);
  nt_boost_loss_job judged = {job.rows, figures};
  nt_boost_run(nt_boost_loss_task, &judged, chunks_of(rows), 2);
  // Gradients are slopes of the loss: of one row, by a step to either side.
  size_t own = below(rows);
  nt_boost_rows one = job.rows;
  for (size_t k = 0; k < outputs; k++) {
    float single[16], up[16], weight = weights[own];
    EXPECT(outputs <= 16);
    for (size_t j = 0; j < outputs; j++) single[j] = scores[j * rows + own];
    memcpy(up, single, sizeof up);
    up[k] += 0x1p-6f;
    single[k] -= 0x1p-6f;
    nt_boost_figures a, b;
    one.rows = 1;
    one.targets = &targets[own];
    one.weights = &weight;
    one.scores = single;
    judged = (nt_boost_loss_job){one, &a};
    nt_boost_loss_task(&judged, 0);
    one.scores = up;
    judged = (nt_boost_loss_job){one, &b};
    nt_boost_loss_task(&judged, 0);
    double slope = (b.loss - a.loss) / 0x1p-5, found = (double)gradients[k * rows + own];
    double distance = fabs((double)(scores[own] + bias[0]) - targets[own]);
    bool is_at_corner = loss == NT_BOOST_RANK || distance < 0.02 || fabs(distance - 1.25) < 0.02;
    EXPECT(is_at_corner || fabs(slope - found) < 2e-3 * (1 + fabs(found)));
    EXPECT(hessians[k * rows + own] >= 0);
  }
  free(scores), free(bias), free(weights), free(maxima), free(gradients), free(hessians), free(targets), free(figures);
}

static void test_ranking(size_t rows, size_t places) {
  uint32_t *order = block(rows, sizeof *order), *starts = block(rows + 1, sizeof *starts);
  uint32_t *room = block(rows, sizeof *room);
  float *gains = block(rows, sizeof *gains), *scores = block(rows, sizeof *scores), bias = 0;
  float *gradients = block(rows, sizeof *gradients), *hessians = block(rows, sizeof *hessians);
  double *targets = block(rows, sizeof *targets);
  size_t groups = 0;
  for (size_t i = 0; i < rows; i += 1 + below(90)) starts[groups++] = (uint32_t)i;
  starts[groups] = (uint32_t)rows;
  nt_boost_figures *figures = block(groups, sizeof *figures);
  for (size_t i = 0; i < rows; i++) {
    order[i] = (uint32_t)(rows - 1 - i);
    targets[i] = (double)(below(4) ? below(3) : below(NT_BOOST_RELEVANCE_MAX + 1));
    scores[i] = below(5) ? (float)uniform() : 0;
  }
  nt_boost_rank_job job = {.gradients = gradients, .hessians = hessians, .figures = figures};
  job.rows = (nt_boost_rows){NT_BOOST_RANK, rows, 1, scores, &bias, targets, NULL, 0};
  job.groups = (nt_boost_groups_of_rows){groups, 2, order, starts, places, room, gains};
  nt_boost_run(nt_boost_rank_task, &job, (groups + 1) / 2, 2);
  nt_boost_run(nt_boost_ranking_loss_task, &job, (groups + 1) / 2, 2);
  for (size_t group = 0; group < groups; group++) {
    double sum = 0;
    for (size_t i = starts[group]; i < starts[group + 1]; i++) sum += (double)gradients[order[i]];
    EXPECT(fabs(sum) < 1e-3);
    EXPECT(figures[group].quality >= 0 && figures[group].quality <= 1 + 1e-9);
  }
  // Scores in the order of the targets leave nothing to gain.
  for (size_t i = 0; i < rows; i++) scores[i] = (float)targets[i];
  nt_boost_run(nt_boost_ranking_loss_task, &job, (groups + 1) / 2, 2);
  for (size_t group = 0; group < groups; group++) EXPECT(fabs(figures[group].loss) < 1e-9);
  free(order), free(starts), free(room), free(gains), free(scores), free(gradients), free(hessians), free(targets);
  free(figures);
}

// MARK: - a whole tree

static int by_residual(const void *a, const void *b) {
  float x = ((const nt_boost_residual *)a)->value, y = ((const nt_boost_residual *)b)->value;
  return (x > y) - (x < y);
}

static void test_quantile(size_t count) {
  nt_boost_residual *residuals = block(count, sizeof *residuals), *sorted = block(count, sizeof *sorted);
  double sum = 0;
  for (size_t i = 0; i < count; i++) {
    residuals[i] = (nt_boost_residual){below(2) ? (float)below(9) : (float)uniform() * 9, (float)(1 + below(3))};
    sum += (double)residuals[i].weight;
  }
  memcpy(sorted, residuals, count * sizeof *sorted);
  qsort(sorted, count, sizeof *sorted, by_residual);
  double shares[] = {0.1, 0.25, 0.5, 0.75, 0.9, (double)below(64) / 64};
  for (size_t i = 0; i < 6; i++) {
    double before = 0, wanted = shares[i] * sum;
    size_t place = 0;
    while (place + 1 < count && before + (double)sorted[place].weight < wanted)
      before += (double)sorted[place++].weight;
    float expected = sorted[place].value;
    if (before + (double)sorted[place].weight == wanted && place + 1 < count) {
      expected = expected / 2 + sorted[place + 1].value / 2;
    }
    EXPECT(nt_boost_quantile(residuals, count, shares[i]) == expected);
  }
  free(residuals), free(sorted);
}

/// A split of all rows, its sides' histograms, leaves, and a walk down the tree of one step.
static void test_tree(size_t rows, size_t features, bool is_categorical, bool is_renewed) {
  size_t lanes = features < NT_BOOST_LANES_MAX ? features : NT_BOOST_LANES_MAX, stride = 1;
  while (stride < lanes) stride *= 2;
  size_t groups = (features + lanes - 1) / lanes, entries = 0;
  nt_boost_feature *feature = block(features, sizeof *feature);
  for (size_t f = 0; f < features; f++) {
    size_t bins = f % 7 == 6 ? 1 : f % 5 == 4 ? (is_categorical ? 254 : 255) : 1 + below(40);
    feature[f] = (nt_boost_feature){
        (uint32_t)entries, (uint16_t)bins, is_categorical, is_categorical ? 0 : (int8_t)below(2), 0, 0, 0};
    entries += bins + 1 + is_categorical;
  }
  uint8_t *bins = block(groups * rows * stride, 1), *columns = block(features * rows, 1);
  for (size_t f = 0; f < features; f++) {
    for (size_t row = 0; row < rows; row++) {
      columns[f * rows + row] = (uint8_t)below(feature[f].bins + 1u + is_categorical);
    }
  }
  uint32_t *by_column = block(features, sizeof *by_column), *first = block(features + 1, sizeof *first);
  for (uint32_t f = 0; f < features; f++) by_column[f] = f, first[f + 1] = f + 1, feature[f].column = f;
  nt_boost_table table = {bins, rows, stride, lanes, features, features, feature, by_column, first};
  nt_boost_interleave_job interleaving = {columns, &table, bins};
  nt_boost_run(nt_boost_interleave_task, &interleaving, chunks_of(rows), 2);
  for (size_t f = 0; f < features; f++) {
    for (size_t row = 0; row < rows; row++) {
      EXPECT(bins[f / lanes * rows * stride + row * stride + f % lanes] == columns[f * rows + row]);
    }
  }
  float *gradients = block(rows, sizeof *gradients), *hessians = block(rows, sizeof *hessians);
  float *scores = block(rows, sizeof *scores), bias = 0;
  double *targets = block(rows, sizeof *targets);
  uint64_t *words = block(rows, sizeof *words);
  for (size_t row = 0; row < rows; row++) {
    targets[row] = uniform();
    gradients[row] = (float)(uniform() - 0.3 - 0.4 * (bins[row * stride] > feature[0].bins / 2));
    hessians[row] = (float)uniform();
  }
  nt_boost_row_bits bits = rows % 2 ? NT_BOOST_FINE : NT_BOOST_COARSE;
  double unit = 1 / nt_boost_gradient_max(bits), hessian_unit = 1 / nt_boost_hessian_max(bits);
  nt_boost_round_job rounding = {gradients, hessians, rows, bits, unit, hessian_unit, 5, words};
  nt_boost_run(nt_boost_round_task, &rounding, chunks_of(rows), 2);
  uint32_t *list = block(rows, sizeof *list), *left = block(rows, sizeof *left), *right = block(rows, sizeof *right);
  size_t count = nt_boost_sample(rows, below(2) ? 1 : 0.7, 3, list);
  nt_boost_sums *parent = block(entries, sizeof *parent), *child = block(entries, sizeof *child);
  nt_boost_split *splits = block(2 * features, sizeof *splits);
  uint8_t *is_used = block(features, 1);
  memset(is_used, 1, features);
  nt_boost_search_job job = {
      .table = &table, .words = words, .row_bits = bits, .rows = list, .row_count = count, .splits = splits};
  job.rules = (nt_boost_rules){unit, hessian_unit, 0, 1, 0, 1, 0, 2, 1, 32};
  job.built = (nt_boost_node){parent, nt_boost_total(words, bits, list, count), -INFINITY, INFINITY, is_used, true};
  nt_boost_run(nt_boost_search_task, &job, groups, 2);
  size_t best = 0;
  for (size_t f = 0; f < features; f++) {
    nt_boost_sums sum = {0, 0};
    for (size_t bin = 0; bin < feature[f].bins + 1u + is_categorical; bin++) {
      sum.gradient += parent[feature[f].first_bin + bin].gradient;
      sum.weight += parent[feature[f].first_bin + bin].weight;
    }
    EXPECT(sum.gradient == job.built.totals.gradient && sum.weight == job.built.totals.weight);
    if (splits[f].gain > splits[best].gain) best = f;
  }
  nt_boost_split split = splits[best];
  uint8_t goes_left[NT_BOOST_BINS_MAX + 1];
  for (size_t bin = 0; bin <= NT_BOOST_BINS_MAX; bin++)
    goes_left[bin] = bin < 256 && (split.members[bin >> 6] >> (bin & 63) & 1);
  size_t *left_counts = block(chunks_of(count), sizeof *left_counts), lefts = 0;
  nt_boost_partition_job partition = {columns + best * rows, goes_left, list, count, left, right, left_counts};
  nt_boost_run(nt_boost_partition_task, &partition, chunks_of(count), 2);
  nt_boost_run(nt_boost_gather_task, &partition, chunks_of(count), 2);
  for (size_t chunk = 0; chunk < chunks_of(count); chunk++) lefts += left_counts[chunk];
  if (split.gain > 0) EXPECT(lefts == (split.left.weight & NT_BOOST_ROWS_MAX));
  for (size_t i = 1; i < count; i++) EXPECT(i == lefts || list[i - 1] < list[i]);
  // The sibling's histogram is what the built one leaves of the parent's.
  job.row_count = lefts;
  job.built = (nt_boost_node){child, nt_boost_total(words, bits, list, lefts), -1, 1, is_used, lefts > 1};
  job.sibling = (nt_boost_node){
      parent, nt_boost_total(words, bits, list + lefts, count - lefts), -1, 1, is_used, count - lefts > 1};
  nt_boost_run(nt_boost_search_task, &job, groups, 2);
  for (size_t bin = 0; bin < entries; bin++) EXPECT((parent[bin].weight & NT_BOOST_ROWS_MAX) <= count);
  nt_boost_rows loss = {NT_BOOST_ABSOLUTE, rows, 1, scores, &bias, targets, NULL, 0};
  nt_boost_residual *residuals = block(rows, sizeof *residuals);
  nt_boost_leaf leaves[2] = {{0, lefts, -1, 1, 0}, {lefts, count - lefts, -1, 1, 0}};
  nt_boost_leaf_job filling = {leaves, list,     gradients, hessians, 0, 1, 0.5, scores, is_renewed ? &loss : NULL,
                               0.5,    residuals};
  nt_boost_run(nt_boost_leaf_task, &filling, 2, 2);
  float values[2] = {leaves[0].value, leaves[1].value}, *walked = block(rows, sizeof *walked);
  nt_boost_step step = {(uint32_t)best, ~0, ~1, {0}};
  memcpy(step.members, split.members, sizeof step.members);
  nt_boost_walk_job walk = {&table, &step, split.gain > 0, values, walked};
  nt_boost_run(nt_boost_walk_task, &walk, chunks_of(rows), 2);
  if (split.gain > 0) {
    for (size_t i = 0; i < count; i++) EXPECT(walked[list[i]] == scores[list[i]]);
  }
  free(feature), free(by_column), free(first), free(bins), free(columns), free(gradients), free(hessians), free(scores),
      free(targets), free(words), free(list);
  free(left), free(right), free(parent), free(child), free(splits), free(is_used), free(left_counts), free(residuals);
  free(walked);
}

int main(void) {
  nt_pool_start(2);
  size_t sizes[] = {1, 2, 3, 17, 255, 4095, 4097, 8192, 8193, 20001};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    size_t rows = sizes[i];
    for (size_t bins = 2; bins <= 255; bins += 11) test_bins(rows, bins);
    test_bins(rows, 255);
    for (int loss = NT_BOOST_SQUARED; loss <= NT_BOOST_RANK; loss++) {
      for (int times = 0; times < 20; times++) {
        test_losses(rows, (nt_boost_loss)loss, loss == NT_BOOST_SOFTMAX ? 2 + below(9) : 1);
      }
    }
    for (size_t places = 1; places < 40; places += 6) test_ranking(rows, places);
    for (int times = 0; times < 30; times++) test_quantile(1 + below(rows));
    for (size_t features = 1; features <= 35; features++) {
      test_tree(rows, features, false, features % 2);
      test_tree(rows, features, true, features % 2);
    }
  }
  puts("boosted trees: ok");
  return 0;
}
