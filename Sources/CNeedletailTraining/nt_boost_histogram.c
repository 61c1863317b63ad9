#include <assert.h>
#include <string.h>

#include "nt_boost.h"
#include "nt_boost_internal.h"

/// Rows ahead whose bins and words are fetched: some 100 ns of work.
enum { rows_ahead = 16 };

typedef uint64_t work_bins[NT_BOOST_LANES_MAX][NT_BOOST_BINS_MAX];

static inline __attribute__((always_inline)) void add_row(work_bins work, const uint8_t *bins, uint64_t word,
                                                          size_t lanes) {
#pragma clang loop unroll(full)
  for (size_t lane = 0; lane < lanes; lane++) work[lane][bins[lane]] += word;
}

static inline __attribute__((always_inline)) void add_rows(work_bins work, const uint8_t *bins, size_t stride,
                                                           const uint64_t *words, const uint32_t *rows, size_t count,
                                                           size_t lanes) {
  size_t i = 0;
  for (; i + rows_ahead < count; i++) {
    size_t ahead = rows[i + rows_ahead], row = rows[i];
    __builtin_prefetch(bins + ahead * stride);
    __builtin_prefetch(words + ahead);
    add_row(work, bins + row * stride, words[row], lanes);
  }
  for (; i < count; i++) add_row(work, bins + rows[i] * stride, words[rows[i]], lanes);
}

/// A loop for each number of lanes, in which that number is known.
static void add_block(work_bins work, const uint8_t *bins, size_t stride, const uint64_t *words, const uint32_t *rows,
                      size_t count, size_t lanes) {
#define WITH(n)                                          \
  case n:                                                \
    add_rows(work, bins, stride, words, rows, count, n); \
    break
  switch (lanes) {
    WITH(1);
    WITH(2);
    WITH(3);
    WITH(4);
    WITH(5);
    WITH(6);
    WITH(7);
    WITH(8);
    WITH(9);
    WITH(10);
    WITH(11);
    WITH(12);
    WITH(13);
    WITH(14);
    WITH(15);
    WITH(16);
    default:
      assert(false);
  }
#undef WITH
}

/// Unpacks the sums of a block into those of a feature, or adds them.
static void unpack(const uint64_t *work, int row_bits, nt_boost_sums *sums, size_t bins, bool adds) {
  for (size_t bin = 0; bin < bins; bin++) {
    uint64_t word = work[bin];
    int64_t gradient = (int64_t)word >> (row_bits + 25);
    uint64_t weight = (word >> row_bits & 0x1ffffff) << 26 | (word & ((1u << row_bits) - 1));
    sums[bin].gradient = adds ? sums[bin].gradient + gradient : gradient;
    sums[bin].weight = adds ? sums[bin].weight + weight : weight;
  }
}

nt_boost_sums nt_boost_total(const uint64_t *words, nt_boost_row_bits row_bits, const uint32_t *rows, size_t count) {
  nt_boost_sums sums = {0, 0};
  size_t block_rows = nt_boost_block_rows(row_bits);
  for (size_t begin = 0; begin < count; begin += block_rows) {
    size_t end = begin + block_rows < count ? begin + block_rows : count;
    uint64_t word = 0;
    for (size_t i = begin; i < end; i++) word += words[rows[i]];
    nt_boost_sums block;
    unpack(&word, row_bits, &block, 1, false);
    sums.gradient += block.gradient;
    sums.weight += block.weight;
  }
  return sums;
}

/// Unpacks the sums of a column's block into those of its feature, or features. Bins that most rows have are left out
/// where features share the column.
static void unpack_column(const nt_boost_search_job *job, const uint64_t *work, size_t column, bool adds) {
  const nt_boost_table *table = job->table;
  const uint32_t *first = &table->by_column[table->first_of_column[column]];
  const uint32_t *end = &table->by_column[table->first_of_column[column + 1]];
  const bool is_shared = end - first > 1;
  for (; first < end; first++) {
    const nt_boost_feature *feature = &table->feature[*first];
    nt_boost_sums *sums = job->built.histogram + feature->first_bin;
    size_t bins = nt_boost_all_bins(feature), common = feature->common_bin;
    if (is_shared) {
      unpack(work + feature->first_byte, job->row_bits, sums, common, adds);
      unpack(work + feature->first_byte + common, job->row_bits, sums + common + 1, bins - common - 1, adds);
    } else {
      unpack(work, job->row_bits, sums, bins, adds);
    }
  }
}

/// Sums of the bin that most rows have: what the others leave of the node's.
static void fill_common(const nt_boost_search_job *job, const nt_boost_feature *feature) {
  nt_boost_sums *sums = job->built.histogram + feature->first_bin, rest = job->built.totals;
  for (size_t bin = 0; bin < nt_boost_all_bins(feature); bin++) {
    if (bin == feature->common_bin) continue;
    rest.gradient -= sums[bin].gradient;
    rest.weight -= sums[bin].weight;
  }
  sums[feature->common_bin] = rest;
}

/// Histograms of the features of one group of columns.
static void build(const nt_boost_search_job *job, size_t group, size_t first_column, size_t lanes) {
  const nt_boost_table *table = job->table;
  const uint8_t *bins = table->bins + group * table->rows * table->stride;
  _Alignas(64) work_bins work;
  size_t begin = 0, block_rows = nt_boost_block_rows(job->row_bits);
  do {
    size_t count = job->row_count - begin < block_rows ? job->row_count - begin : block_rows;
    memset(work, 0, lanes * sizeof work[0]);
    add_block(work, bins, table->stride, job->words, job->rows + begin, count, lanes);
    for (size_t lane = 0; lane < lanes; lane++) unpack_column(job, work[lane], first_column + lane, begin > 0);
    begin += count;
  } while (begin < job->row_count);
}

/// Finishes the histograms of a feature, and searches them.
static void search(const nt_boost_search_job *job, size_t index, bool is_shared) {
  const nt_boost_feature *feature = &job->table->feature[index];
  nt_boost_split *splits[2] = {&job->splits[index], &job->splits[job->table->features + index]};
  splits[0]->gain = 0;
  splits[1]->gain = 0;
  if (is_shared) fill_common(job, feature);
  const nt_boost_sums *built = job->built.histogram + feature->first_bin;
  if (job->sibling.histogram) {
    nt_boost_sums *sibling = job->sibling.histogram + feature->first_bin;
    for (size_t bin = 0; bin < nt_boost_all_bins(feature); bin++) {
      sibling[bin].gradient -= built[bin].gradient;
      sibling[bin].weight -= built[bin].weight;
    }
    if (job->sibling.is_searched && job->sibling.is_used[index]) {
      nt_boost_best(sibling, feature, &job->sibling, &job->rules, splits[1]);
    }
  }
  if (job->built.is_searched && job->built.is_used[index]) {
    nt_boost_best(built, feature, &job->built, &job->rules, splits[0]);
  }
}

void nt_boost_search_task(const void *context, size_t group) {
  const nt_boost_search_job *job = context;
  const nt_boost_table *table = job->table;
  size_t first = group * table->lanes, lanes = table->columns - first;
  if (lanes > table->lanes) lanes = table->lanes;
  build(job, group, first, lanes);
  for (size_t column = first; column < first + lanes; column++) {
    const uint32_t begin = table->first_of_column[column], end = table->first_of_column[column + 1];
    for (uint32_t place = begin; place < end; place++) search(job, table->by_column[place], end - begin > 1);
  }
}
