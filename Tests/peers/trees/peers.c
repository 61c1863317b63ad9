// Calls the peers' C functions for rows in batches and times them, so that no binding is in a measurement.
// Every function returns nanoseconds for one pass over the rows; below 0 if the peer refused.

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

static double now_nanoseconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static size_t batch_of(size_t rows, size_t done, size_t batch) { return rows - done < batch ? rows - done : batch; }

typedef int single_row(void *configuration, const void *row, int64_t *length, double *out);

/// LGBM_BoosterPredictForMatSingleRowFast.
double peers_lightgbm_single(single_row *predict, void *configuration, const float *x, size_t rows, size_t columns,
                             double *out) {
  int64_t length;
  double start = now_nanoseconds();
  for (size_t r = 0; r < rows; r++) {
    if (predict(configuration, x + r * columns, &length, out + r)) return -1;
  }
  return now_nanoseconds() - start;
}

typedef int matrix(void *booster, const void *x, int type, int32_t rows, int32_t columns, int is_row_major,
                   int prediction, int first, int count, const char *parameters, int64_t *length, double *out);

/// LGBM_BoosterPredictForMat.
double peers_lightgbm_matrix(matrix *predict, void *booster, const float *x, size_t rows, size_t columns, size_t batch,
                             double *out) {
  enum { f32 = 0, raw_score = 1 };
  int64_t length;
  double start = now_nanoseconds();
  for (size_t r = 0; r < rows; r += batch) {
    if (predict(booster, x + r * columns, f32, (int32_t)batch_of(rows, r, batch), (int32_t)columns, 1, raw_score, 0, -1,
                "num_threads=1", &length, out + r)) {
      return -1;
    }
  }
  return now_nanoseconds() - start;
}

typedef int from_dense(void *booster, const char *array, const char *configuration, void *proxy, const uint64_t **shape,
                       uint64_t *dimensions, const float **out);

/// XGBoosterPredictFromDense.
double peers_xgboost(from_dense *predict, void *booster, const float *x, size_t rows, size_t columns, size_t batch,
                     double *out) {
  static const char configuration[] =
      "{\"type\":1,\"training\":false,\"iteration_begin\":0,\"iteration_end\":0,\"strict_shape\":false,"
      "\"missing\":NaN,\"cache_id\":0}";
  const uint64_t *shape;
  uint64_t dimensions;
  const float *answers;
  double start = now_nanoseconds();
  for (size_t r = 0; r < rows; r += batch) {
    char array[200];
    size_t count = batch_of(rows, r, batch);
    snprintf(array, sizeof array, "{\"data\":[%llu,true],\"shape\":[%zu,%zu],\"typestr\":\"<f4\",\"version\":3}",
             (unsigned long long)(uintptr_t)(x + r * columns), count, columns);
    if (predict(booster, array, configuration, NULL, &shape, &dimensions, &answers)) return -1;
    for (size_t i = 0; i < count; i++) out[r + i] = (double)answers[i];
  }
  return now_nanoseconds() - start;
}

typedef void compiled_forest(const double *x, double *out, int32_t from, int32_t to);

/// The function that lleaves compiles; it takes fp64 rows.
double peers_lleaves(compiled_forest *predict, const double *x, size_t rows, size_t columns, size_t batch,
                     double *out) {
  double start = now_nanoseconds();
  for (size_t r = 0; r < rows; r += batch) predict(x + r * columns, out + r, 0, (int32_t)batch_of(rows, r, batch));
  return now_nanoseconds() - start;
}

typedef union entry {
  int missing;
  float value;
} entry;
typedef void generated_row(entry *row, int is_margin, float *out);

/// The function for one row in the C code that tl2cgen generates; it writes into the row.
double peers_generated(generated_row *predict, const float *x, size_t rows, size_t columns, double *out) {
  entry row[1024];
  if (columns > sizeof row / sizeof *row) return -1;
  double start = now_nanoseconds();
  for (size_t r = 0; r < rows; r++) {
    float answer = 0;
    for (size_t i = 0; i < columns; i++) {
      row[i].value = x[r * columns + i];
      if (isnan(row[i].value)) row[i].missing = -1;
    }
    predict(row, 1, &answer);
    out[r] = (double)answer;
  }
  return now_nanoseconds() - start;
}
