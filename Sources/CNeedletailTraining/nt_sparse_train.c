#include "nt_sparse_train.h"

#include <string.h>

void nt_sparse_add(const nt_sparse_lists *lists, size_t first, size_t end, const double *factors, size_t outputs,
                   double *sums) {
  for (size_t list = first; list < end; list++) {
    double *sum = sums + list * outputs;
    for (uint64_t i = lists->starts[list]; i < lists->starts[list + 1]; i++) {
      const double *factor = factors + (size_t)lists->places[i] * outputs;
      double number = (double)lists->numbers[i];
      for (size_t output = 0; output < outputs; output++) sum[output] += number * factor[output];
    }
  }
}

void nt_sparse_transpose(const nt_sparse_lists *rows, size_t columns, uint64_t *starts, uint32_t *places,
                         float *numbers) {
  uint64_t all = rows->starts[rows->count];
  memset(starts, 0, (columns + 1) * sizeof *starts);
  for (uint64_t i = 0; i < all; i++) starts[rows->places[i] + 1]++;
  for (size_t column = 0; column < columns; column++) starts[column + 1] += starts[column];
  for (size_t row = 0; row < rows->count; row++) {
    for (uint64_t i = rows->starts[row]; i < rows->starts[row + 1]; i++) {
      uint64_t place = starts[rows->places[i]]++;
      places[place] = (uint32_t)row;
      numbers[place] = rows->numbers[i];
    }
  }
  // Each start has moved to the next one.
  for (size_t column = columns; column > 0; column--) starts[column] = starts[column - 1];
  starts[0] = 0;
}
