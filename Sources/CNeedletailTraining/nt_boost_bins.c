#include <assert.h>
#include <math.h>
#include <string.h>

#include "nt_boost_internal.h"
#include "nt_pool.h"

// MARK: - threads

void nt_boost_run(nt_boost_task task, const void *job, size_t parts, size_t threads) {
  size_t shared = 1;
  nt_pool_enter();
  if (parts > 1 && parts <= NT_POOL_PARTS_MAX && threads > 1)
    shared = nt_pool_acquire(threads < parts ? threads : parts);
  if (shared > 1) {
    nt_pool_run(task, job, shared, parts);
  } else {
    for (size_t part = 0; part < parts; part++) task(job, part);
  }
  nt_pool_leave();
}

// MARK: - sorting

enum { digit_bits = 11, digits = 6, digit_values = 1 << digit_bits };

/// Bits of a number in an order that unsigned comparison follows, and back.
static uint64_t ordered(uint64_t bits) { return bits ^ ((bits >> 63) ? ~0ull : 1ull << 63); }
static uint64_t unordered(uint64_t bits) { return bits ^ ((bits >> 63) ? 1ull << 63 : ~0ull); }

void nt_boost_sort(double *numbers, double *spare, size_t count) {
  // Numbers and keys share their memory; memcpy keeps the compiler from assuming otherwise.
  static_assert(sizeof(double) == sizeof(uint64_t), "keys are numbers");
  uint32_t counts[digits][digit_values];
  memset(counts, 0, sizeof counts);
  for (size_t i = 0; i < count; i++) {
    uint64_t bits;
    memcpy(&bits, &numbers[i], sizeof bits);
    bits = ordered(bits);
    memcpy(&numbers[i], &bits, sizeof bits);
    for (int digit = 0; digit < digits; digit++) counts[digit][bits >> (digit * digit_bits) & (digit_values - 1)]++;
  }
  double *from = numbers, *to = spare;
  for (int digit = 0; digit < digits; digit++) {
    uint32_t place = 0;
    bool is_constant = false;
    for (int value = 0; value < digit_values; value++) {
      uint32_t here = counts[digit][value];
      is_constant |= here == count;
      counts[digit][value] = place;
      place += here;
    }
    if (is_constant) continue;
    for (size_t i = 0; i < count; i++) {
      uint64_t bits;
      memcpy(&bits, &from[i], sizeof bits);
      memcpy(&to[counts[digit][bits >> (digit * digit_bits) & (digit_values - 1)]++], &bits, sizeof bits);
    }
    double *swap = from;
    from = to;
    to = swap;
  }
  for (size_t i = 0; i < count; i++) {
    uint64_t bits;
    memcpy(&bits, &from[i], sizeof bits);
    bits = unordered(bits);
    memcpy(&numbers[i], &bits, sizeof bits);
  }
}

// MARK: - bounds

/// Number b with a ≤ b < c, half way where that is possible.
static double between(double a, double c) {
  double middle = a / 2 + c / 2;
  return middle >= a && middle < c ? middle : a;
}

size_t nt_boost_bounds(const double *sorted, size_t count, size_t bins_max, size_t rows_min, double *bounds) {
  assert(bins_max >= 1 && bins_max <= NT_BOOST_BINS_MAX);
  size_t distinct = 0;
  for (size_t i = 0; i < count; i++) distinct += i == 0 || sorted[i] != sorted[i - 1];
  size_t bins = distinct < bins_max ? distinct : bins_max, written = 0;
  size_t rows_left = count, bins_left = bins, in_bin = 0;
  for (size_t i = 0; i < count && bins_left > 1;) {
    size_t end = i + 1;
    while (end < count && sorted[end] == sorted[i]) end++;
    in_bin += end - i;
    size_t following = end;
    while (following < count && sorted[following] == sorted[end]) following++;
    // A bin ends when it holds its share; also before a number that has a share by itself.
    double share = (double)rows_left / (double)bins_left;
    bool is_full = distinct <= bins_max || (double)in_bin >= share;
    bool is_before_large = end < count && (double)(following - end) >= share && (double)in_bin * 2 >= share;
    if (end < count && in_bin >= rows_min && (is_full || is_before_large)) {
      bounds[written++] = between(sorted[i], sorted[end]);
      rows_left -= in_bin;
      bins_left--;
      in_bin = 0;
    }
    i = end;
  }
  return written;
}

size_t nt_boost_missing(const double *numbers, size_t count) {
  size_t missing = 0;
  for (size_t i = 0; i < count; i++) missing += numbers[i] != numbers[i];
  return missing;
}

// MARK: - bins

/// Number of bounds below x. Always the same number of steps, so that nothing is mispredicted.
static uint8_t bin_of(double x, const double *bounds, size_t count) {
  const double *base = bounds;
  for (size_t half; count > 1; count -= half) {
    half = count / 2;
    base = base[half - 1] < x ? base + half : base;
  }
  return (uint8_t)((base - bounds) + (count == 1 && base[0] < x));
}

void nt_boost_bin_task(const void *context, size_t chunk) {
  const nt_boost_bin_job *job = context;
  nt_boost_span span = nt_boost_span_of(chunk, job->rows);
  for (size_t row = span.first; row < span.end; row++) {
    double x = job->numbers[row];
    uint8_t bin = job->missing_bin;
    if (x == x) {
      if (job->bin_of_code) {
        bin = x >= 0 && x < (double)job->code_count ? job->bin_of_code[(size_t)x] : job->other_bin;
      } else {
        bin = bin_of(x, job->bounds, job->bound_count);
      }
    }
    job->bins[row] = bin;
  }
}

void nt_boost_share_column_task(const void *context, size_t chunk) {
  const nt_boost_share_column_job *job = context;
  const nt_boost_feature *feature = job->feature;
  nt_boost_span span = nt_boost_span_of(chunk, job->rows);
  for (size_t row = span.first; row < span.end; row++) {
    uint8_t bin = job->bins[row];
    if (bin != feature->common_bin)
      job->column[row] = (uint8_t)(feature->first_byte + bin - (bin > feature->common_bin));
  }
}

void nt_boost_interleave_task(const void *context, size_t chunk) {
  const nt_boost_interleave_job *job = context;
  const nt_boost_table *table = job->table;
  nt_boost_span span = nt_boost_span_of(chunk, table->rows);
  for (size_t column = 0; column < table->columns; column++) {
    const uint8_t *from = job->columns + column * table->rows;
    uint8_t *to = job->bins + column / table->lanes * table->rows * table->stride + column % table->lanes;
    for (size_t row = span.first; row < span.end; row++) to[row * table->stride] = from[row];
  }
}
