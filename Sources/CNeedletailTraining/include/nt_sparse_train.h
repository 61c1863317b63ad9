/// Products of rows of which few columns are not 0, for training of linear models in double precision.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Lists of numbers with their places, one behind the other: list i is `starts[i]` ..< `starts[i + 1]`. By rows the
/// places are columns, by columns they are rows.
typedef struct nt_sparse_lists {
  const uint64_t *starts;
  const uint32_t *places;
  const float *numbers;
  size_t count;
} nt_sparse_lists;

/// Adds to each list's row of `outputs` sums the numbers times the rows of `factors` at their places: with lists of
/// rows scores += x · w, with lists of columns gradient += xᵀ · slopes. Lists `first` ..< `end` only.
void nt_sparse_add(const nt_sparse_lists *lists, size_t first, size_t end, const double *factors, size_t outputs,
                   double *sums);

/// Lists by column from those by row. `starts` has columns + 1 elements; the others have as many as there are numbers.
void nt_sparse_transpose(const nt_sparse_lists *rows, size_t columns, uint64_t *starts, uint32_t *places,
                         float *numbers);

#ifdef __cplusplus
}
#endif
