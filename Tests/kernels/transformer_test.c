// Kernels of transformers that learn, on rows of awkward sizes in blocks of memory of exactly the sizes that they are
// told: the sanitizers see what they read and write beyond. Norms, softmax and their slopes are compared with plain
// loops in double precision; Tests/NeedletailTrainingTests holds whole encoders to differences of a loss.

#include <math.h>
#include <string.h>

#include "nt_transformer.h"
#include "numbers_test.h"

static float *copied(const float *from, size_t count) {
  float *to = numbers(count);
  memcpy(to, from, count * sizeof *to);
  return to;
}

static void norms(const nt_transformer_kernels *kernels, size_t rows, size_t columns) {
  float *x = numbers(rows * columns), *y = numbers(rows * columns), *normal = numbers(rows * columns);
  float *scale = numbers(columns), *shift = numbers(columns), *inverse = numbers(rows);
  float *gradient = numbers(rows * columns), *scales = numbers(columns), *shifts = numbers(columns);
  float *before = copied(gradient, rows * columns), *scales_before = copied(scales, columns);
  float *shifts_before = copied(shifts, columns);
  nt_transformer_norm norm = {rows, columns, scale, shift, 1e-5f, normal, inverse};
  kernels->norm(&norm, x, y);
  kernels->norm_slope(&norm, gradient, scales, shifts);
  double *scale_sums = calloc(columns, sizeof *scale_sums), *shift_sums = calloc(columns, sizeof *shift_sums);
  EXPECT(scale_sums && shift_sums);
  for (size_t row = 0; row < rows; row++) {
    const float *own = x + row * columns, *slopes = before + row * columns;
    double mean = 0, variance = 0, sum = 0, products = 0;
    for (size_t c = 0; c < columns; c++) mean += own[c] / (double)columns;
    for (size_t c = 0; c < columns; c++) variance += (own[c] - mean) * (own[c] - mean) / (double)columns;
    const double factor = 1 / sqrt(variance + 1e-5);
    for (size_t c = 0; c < columns; c++) {
      const double normed = (own[c] - mean) * factor, slope = (double)slopes[c] * scale[c];
      EXPECT(fabs(y[row * columns + c] - (normed * scale[c] + shift[c])) < 1e-4);
      sum += slope / (double)columns;
      products += slope * normed / (double)columns;
      scale_sums[c] += slopes[c] * normed;
      shift_sums[c] += slopes[c];
    }
    for (size_t c = 0; c < columns; c++) {
      const double normed = (own[c] - mean) * factor;
      const double expected = factor * ((double)slopes[c] * scale[c] - sum - normed * products);
      EXPECT(fabs(gradient[row * columns + c] - expected) < 2e-4 * (1 + factor));
    }
  }
  for (size_t c = 0; c < columns; c++) {
    EXPECT(fabs(scales[c] - scales_before[c] - scale_sums[c]) < 1e-3);
    EXPECT(fabs(shifts[c] - shifts_before[c] - shift_sums[c]) < 1e-3);
  }
  // Where scale and shift do not learn.
  kernels->norm_slope(&norm, gradient, NULL, NULL);
  float *all[] = {x, y, normal, scale, shift, inverse, gradient, scales, shifts, before, scales_before, shifts_before};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  free(scale_sums);
  free(shift_sums);
}

static void softmaxes(const nt_transformer_kernels *kernels, size_t rows, size_t columns, size_t stride) {
  const size_t count = rows > 0 ? (rows - 1) * stride + columns : 0;
  float *x = numbers(count), *gradient = numbers(count);
  float *before = copied(x, count), *slopes = copied(gradient, count);
  kernels->softmax(x, rows, columns, stride);
  kernels->softmax_slope(x, gradient, rows, columns, stride, 0.5f);
  for (size_t row = 0; row < rows; row++) {
    const size_t first = row * stride;
    double total = 0, mean = 0;
    for (size_t c = 0; c < columns; c++) total += exp(before[first + c]);
    for (size_t c = 0; c < columns; c++) mean += exp(before[first + c]) / total * slopes[first + c];
    for (size_t c = 0; c < columns; c++) {
      const double share = exp(before[first + c]) / total;
      EXPECT(fabs(x[first + c] - share) < 1e-6);
      EXPECT(fabs(gradient[first + c] - share * (slopes[first + c] - mean) * 0.5) < 1e-6);
    }
    // What stands between rows stays.
    for (size_t c = columns; c < stride && first + c < count; c++) EXPECT(x[first + c] == before[first + c]);
  }
  free(x), free(gradient), free(before), free(slopes);
}

static void sums(const nt_transformer_kernels *kernels, size_t rows, size_t columns) {
  float *x = numbers(rows * columns), *row = numbers(columns), *total = numbers(columns);
  float *before = copied(x, rows * columns), *total_before = copied(total, columns);
  kernels->add_row(x, rows, columns, row);
  for (size_t i = 0; i < rows * columns; i++) EXPECT(x[i] == before[i] + row[i % columns]);
  kernels->add(x, before, rows * columns);
  for (size_t i = 0; i < rows * columns; i++) EXPECT(x[i] == (before[i] + row[i % columns]) + before[i]);
  kernels->add_column_sums(before, rows, columns, columns, total);
  for (size_t c = 0; c < columns; c++) {
    double sum = total_before[c];
    for (size_t r = 0; r < rows; r++) sum += before[r * columns + c];
    EXPECT(fabs(total[c] - sum) < 1e-4);
  }
  free(x), free(row), free(total), free(before), free(total_before);
}

/// A table's rows are read and added to; means of sequences, one of them empty, and their slopes.
static void tables(size_t columns) {
  enum { tokens = 5, sequences = 3 };
  const uint32_t ids[tokens] = {2, 0, 2, 1, 3}, places[tokens] = {0, 1, 2, 0, 1};
  const uint8_t kinds[tokens] = {0, 0, 1, 1, 0};
  const size_t starts[sequences + 1] = {0, 3, 3, 5};
  float *words = numbers(4 * columns), *positions = numbers(3 * columns), *types = numbers(2 * columns);
  float *x = numbers(tokens * columns), *means = numbers(sequences * columns), *slopes = numbers(tokens * columns);
  for (int has_types = 0; has_types < 2; has_types++) {
    float *read = has_types ? types : NULL;
    nt_transformer_look_up(words, positions, read, ids, places, kinds, tokens, columns, x);
    for (size_t t = 0; t < tokens; t++) {
      for (size_t c = 0; c < columns; c++) {
        const double own = (double)words[ids[t] * columns + c] + positions[places[t] * columns + c];
        EXPECT(fabs(x[t * columns + c] - own - (read ? read[kinds[t] * columns + c] : 0)) < 1e-6);
      }
    }
  }
  nt_transformer_pool_mean(x, starts, sequences, columns, means, columns);
  nt_transformer_pool_mean_slope(means, columns, starts, sequences, columns, slopes);
  for (size_t c = 0; c < columns; c++) {
    EXPECT(fabs(means[c] - (x[c] + x[columns + c] + x[2 * columns + c]) / 3.0) < 1e-6);
    EXPECT(means[columns + c] == 0);
    EXPECT(fabs(slopes[c] - means[c] / 3.0) < 1e-6 &&
           fabs(slopes[4 * columns + c] - means[2 * columns + c] / 2.0) < 1e-6);
  }
  for (int has_types = 0; has_types < 2; has_types++) {
    float *read = has_types ? types : NULL;
    float *tables[] = {words, positions, types};
    float *before[] = {copied(words, 4 * columns), copied(positions, 3 * columns), copied(types, 2 * columns)};
    const size_t rows[] = {4, 3, 2};
    nt_transformer_look_up_slope(slopes, ids, places, kinds, tokens, columns, words, positions, read);
    for (int table = 0; table < 3; table++) {
      for (size_t row = 0; row < rows[table]; row++) {
        for (size_t c = 0; c < columns; c++) {
          double expected = before[table][row * columns + c];
          for (size_t t = 0; t < tokens && (table < 2 || has_types); t++) {
            const size_t own[] = {ids[t], places[t], kinds[t]};
            if (own[table] == row) expected += slopes[t * columns + c];
          }
          EXPECT(fabs(tables[table][row * columns + c] - expected) < 1e-5);
        }
      }
      free(before[table]);
    }
  }
  free(words), free(positions), free(types), free(x), free(means), free(slopes);
}

int main(void) {
  const nt_transformer_kernels *kernels = nt_transformer_kernels_best();
  const size_t sizes[] = {1, 2, 7, 15, 16, 17, 33, 64, 100};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    norms(kernels, 3, sizes[i]);
    softmaxes(kernels, 4, sizes[i], sizes[i]);
    softmaxes(kernels, 3, sizes[i], sizes[i] + 5);
    sums(kernels, 5, sizes[i]);
    tables(sizes[i]);
  }
  norms(kernels, 0, 16);
  softmaxes(kernels, 0, 16, 16);
  puts("transformers: good");
  return 0;
}
