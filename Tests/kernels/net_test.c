// Kernels of networks on matrices of awkward sizes, in blocks of memory of exactly the sizes that they are told: the
// sanitizers see what they read and write beyond. Products, transposes and sums are compared with plain loops;
// Tests/NeedletailTrainingTests holds slopes, normalisation, losses and steps to double precision.

#include <math.h>

#include "nt_net.h"
#include "numbers_test.h"

static void products(const nt_net_kernels *kernels, size_t rows, size_t columns, size_t depth, int by_column) {
  // A lies by rows, or by columns as activations do for the gradient of weights.
  float *a = numbers(rows * depth), *b = numbers(depth * columns), *c = numbers(rows * columns);
  float *initial = numbers(columns);
  size_t a_row = by_column ? 1 : depth, a_depth = by_column ? rows : 1;
  for (int has_initial = 0; has_initial < 2; has_initial++) {
    nt_net_product product = {a,    a_row,   a_depth, b, columns, c, columns, has_initial ? initial : NULL,
                              rows, columns, depth};
    kernels->multiply(&product);
    for (size_t i = 0; i < rows; i++) {
      for (size_t j = 0; j < columns; j++) {
        double sum = has_initial ? (double)initial[j] : 0;
        for (size_t k = 0; k < depth; k++) sum += (double)a[i * a_row + k * a_depth] * (double)b[k * columns + j];
        EXPECT(fabs(sum - (double)c[i * columns + j]) <= 1e-5 * (1 + (double)depth / 16));
      }
    }
  }
  free(a), free(b), free(c), free(initial);
}

int main(void) {
  const nt_net_kernels *kernels = nt_net_kernels_best();
  for (size_t rows = 0; rows < 21; rows++) {
    for (size_t columns = NT_NET_LANES; columns <= 5 * NT_NET_LANES; columns += NT_NET_LANES) {
      for (size_t depth = 0; depth < 40; depth += 13) {
        products(kernels, rows, columns, depth, 0);
        products(kernels, rows, columns, depth, 1);
      }
    }
  }
  for (size_t rows = NT_NET_LANES; rows <= 3 * NT_NET_LANES; rows += NT_NET_LANES) {
    const size_t columns = 2 * NT_NET_LANES;
    float *from = numbers(rows * columns), *to = numbers(rows * columns), *sums = numbers(columns);
    kernels->transpose(from, rows, columns, columns, to, rows);
    kernels->column_sums(from, rows, columns, sums);
    double squares = 0;
    for (size_t j = 0; j < columns; j++) {
      float sum = 0;
      for (size_t i = 0; i < rows; i++) {
        EXPECT(to[j * rows + i] == from[i * columns + j]);
        sum += from[i * columns + j];
        squares += (double)from[i * columns + j] * (double)from[i * columns + j];
      }
      EXPECT(sum == sums[j]);
    }
    EXPECT(fabs(kernels->square_sum(from, rows * columns) - squares) < 1e-4 * squares);
    for (uint32_t activation = 0; activation < 5; activation++) {
      kernels->activate(activation, from, to, rows * columns);
      kernels->slope(activation, from, to, rows * columns);
      for (size_t i = 0; i < rows * columns; i++) EXPECT(isfinite(to[i]));
    }
    free(from), free(to), free(sums);
  }
  puts("products, transposes, sums and activations of networks agree");
  return 0;
}
