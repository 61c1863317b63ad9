#include "nt_net.h"

#include <math.h>
#include <string.h>

#include "../CNeedletailKernels/nt_lanes.h"

#define LANES NT_NET_LANES

/// a · b + c: fused where the instruction set has such an instruction, which a library would imitate elsewhere.
#define ADD_PRODUCT(fused, a, b, c) ((fused) ? nt_fma(a, b, c) : (a) * (b) + (c))

// MARK: - products

/// Rows × panels of 16 columns of C, the whole depth at once.
NT_INLINE void tile(const nt_net_product *p, size_t row, size_t column, const size_t rows, const size_t panels,
                    const bool fused) {
  nt_lanes sums[8][2];
  for (size_t i = 0; i < rows; i++) {
    for (size_t j = 0; j < panels; j++) {
      sums[i][j] = p->initial ? nt_load(p->initial + column + j * LANES) : nt_all(0);
    }
  }
  const float *a = p->a + row * p->a_row, *b = p->b + column;
  for (size_t k = 0; k < p->depth; k++) {
    nt_lanes right[2];
    for (size_t j = 0; j < panels; j++) right[j] = nt_load(b + j * LANES);
    for (size_t i = 0; i < rows; i++) {
      nt_lanes left = nt_all(a[i * p->a_row]);
      for (size_t j = 0; j < panels; j++) sums[i][j] = ADD_PRODUCT(fused, left, right[j], sums[i][j]);
    }
    a += p->a_depth;
    b += p->b_stride;
  }
  for (size_t i = 0; i < rows; i++) {
    for (size_t j = 0; j < panels; j++) nt_store(p->c + (row + i) * p->c_stride + column + j * LANES, sums[i][j]);
  }
}

NT_INLINE void columns_of(const nt_net_product *p, size_t column, const size_t rows_max, const size_t panels,
                          const bool fused) {
  size_t row = 0;
  for (; row + rows_max <= p->rows; row += rows_max) tile(p, row, column, rows_max, panels, fused);
  if (row + 4 <= p->rows) {
    tile(p, row, column, 4, panels, fused);
    row += 4;
  }
  if (row + 2 <= p->rows) {
    tile(p, row, column, 2, panels, fused);
    row += 2;
  }
  for (; row < p->rows; row++) tile(p, row, column, 1, panels, fused);
}

/// - wide: two panels at a time and eight rows, which fill 32 registers of 64 bytes; else one panel and six rows, which
///   fill sixteen registers of 32 bytes.
NT_INLINE void multiply(const nt_net_product *p, const bool wide, const bool fused) {
  size_t column = 0;
  if (wide) {
    for (; column + 2 * LANES <= p->columns; column += 2 * LANES) columns_of(p, column, 8, 2, fused);
  }
  for (; column < p->columns; column += LANES) columns_of(p, column, wide ? 8 : 6, 1, fused);
}

/// Sixteen rows of sixteen: each round interleaves vectors that are eight apart, and four rounds turn rows to columns.
NT_INLINE void transpose(const float *from, size_t rows, size_t columns, size_t from_stride, float *to,
                         size_t to_stride) {
  for (size_t row = 0; row < rows; row += LANES) {
    for (size_t column = 0; column < columns; column += LANES) {
      nt_lanes x[LANES], y[LANES];
      for (size_t i = 0; i < LANES; i++) x[i] = nt_load(from + (row + i) * from_stride + column);
      for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < LANES / 2; i++) {
          y[2 * i] =
              __builtin_shufflevector(x[i], x[i + LANES / 2], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
          y[2 * i + 1] = __builtin_shufflevector(x[i], x[i + LANES / 2], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29,
                                                 14, 30, 15, 31);
        }
        memcpy(x, y, sizeof x);
      }
      for (size_t i = 0; i < LANES; i++) nt_store(to + (column + i) * to_stride + row, x[i]);
    }
  }
}

// MARK: - activations

NT_INLINE void activate(nt_activation activation, const float *sums, float *to, size_t count) {
  memcpy(to, sums, count * sizeof *to);
  nt_activate(to, count, activation);
}

#define EACH_LANES(i, count) for (size_t i = 0; i < (count); i += LANES)

NT_INLINE void slope(nt_activation activation, const float *sums, float *gradient, size_t count) {
  switch (activation) {
    case NT_ACTIVATION_IDENTITY:
      break;
    case NT_ACTIVATION_RELU:
      EACH_LANES(i, count) {
        nt_lanes x = nt_load(sums + i), g = nt_load(gradient + i);
        nt_store(gradient + i, nt_select(x > 0.0f, g, nt_all(0)));
      }
      break;
    case NT_ACTIVATION_TANH:
      EACH_LANES(i, count) {
        nt_lanes y = nt_load(sums + i), g = nt_load(gradient + i);
        nt_tanh(&y);
        nt_store(gradient + i, g * (1.0f - y * y));
      }
      break;
    case NT_ACTIVATION_LOGISTIC:
      EACH_LANES(i, count) {
        nt_lanes y = nt_load(sums + i), g = nt_load(gradient + i);
        nt_logistic(&y);
        nt_store(gradient + i, g * (y * (1.0f - y)));
      }
      break;
    case NT_ACTIVATION_GELU:
      // The derivative of x · Φ(x) is Φ(x) + x · φ(x).
      EACH_LANES(i, count) {
        nt_lanes x = nt_load(sums + i), g = nt_load(gradient + i), y = x, density = x * x * -0.5f;
        nt_gelu(&y);
        nt_exp_below(&density);
        nt_lanes cumulative = nt_select(x == 0.0f, nt_all(0.5f), y / x);
        nt_store(gradient + i, g * (cumulative + x * density * 0.39894228f));
      }
      break;
  }
}

// MARK: - sums and steps

NT_INLINE void column_sums(const float *x, size_t rows, size_t stride, float *sums) {
  EACH_LANES(column, stride) {
    nt_lanes sum = nt_all(0);
    for (size_t row = 0; row < rows; row++) sum += nt_load(x + row * stride + column);
    nt_store(sums + column, sum);
  }
}

NT_INLINE void multiply_elements(float *x, const float *factors, size_t count) {
  EACH_LANES(i, count) nt_store(x + i, nt_load(x + i) * nt_load(factors + i));
}

NT_INLINE double square_sum(const float *x, size_t count) {
  double total = 0;
  for (size_t start = 0; start < count; start += 4096) {
    nt_lanes sum = nt_all(0);
    size_t end = start + 4096 < count ? start + 4096 : count;
    for (size_t i = start; i < end; i += LANES) sum += nt_load(x + i) * nt_load(x + i);
    total += (double)nt_lane_sum(&sum);
  }
  return total;
}

/// Square roots of each lane.
NT_INLINE void roots(nt_lanes *x) {
#if defined(__has_builtin) && __has_builtin(__builtin_elementwise_sqrt)
  *x = __builtin_elementwise_sqrt(*x);
#else
  for (int i = 0; i < LANES; i++) (*x)[i] = sqrtf((*x)[i]);
#endif
}

NT_INLINE void adam(const nt_net_step *s) {
  const float rate = s->rate / s->correction1, shrink = 1 - s->rate * s->decay, inverse = 1 / s->correction2;
  EACH_LANES(i, s->count) {
    nt_lanes p = nt_load(s->parameters + i), g = nt_load(s->gradient + i) + s->coupled_decay * p;
    nt_lanes first = 0.9f * nt_load(s->first + i) + (1 - 0.9f) * g;
    nt_lanes second = 0.999f * nt_load(s->second + i) + (1 - 0.999f) * g * g;
    nt_store(s->first + i, first);
    nt_store(s->second + i, second);
    roots(&second);
    nt_store(s->parameters + i, shrink * p - rate * first / (second * inverse + 1e-8f));
  }
}

NT_INLINE void sgd(const nt_net_step *s) {
  EACH_LANES(i, s->count) {
    nt_lanes p = nt_load(s->parameters + i), g = nt_load(s->gradient + i) + s->coupled_decay * p;
    nt_lanes first = s->correction1 * nt_load(s->first + i) + g;
    nt_store(s->first + i, first);
    nt_store(s->parameters + i, p - s->rate * first);
  }
}

// MARK: - batch normalisation

static const float norm_epsilon = 1e-5f, norm_momentum = 0.1f;

NT_INLINE void norm(const nt_net_norm *n) {
  const float share = 1 / (float)n->rows;
  // The running variance is that of a sample.
  const float sample = n->rows > 1 ? (float)n->rows / (float)(n->rows - 1) : 1;
  EACH_LANES(column, n->stride) {
    nt_lanes mean = nt_all(0), variance = nt_all(0);
    for (size_t row = 0; row < n->rows; row++) mean += nt_load(n->sums + row * n->stride + column);
    mean *= share;
    for (size_t row = 0; row < n->rows; row++) {
      nt_lanes distance = nt_load(n->sums + row * n->stride + column) - mean;
      variance += distance * distance;
    }
    variance *= share;
    nt_lanes inverse = variance + norm_epsilon;
    roots(&inverse);
    inverse = 1.0f / inverse;
    nt_store(n->inverse + column, inverse);
    nt_lanes old_mean = nt_load(n->running_mean + column), old_variance = nt_load(n->running_variance + column);
    nt_store(n->running_mean + column, old_mean + norm_momentum * (mean - old_mean));
    nt_store(n->running_variance + column, old_variance + norm_momentum * (variance * sample - old_variance));
    const nt_lanes scale = nt_load(n->scale + column), shift = nt_load(n->shift + column);
    for (size_t row = 0; row < n->rows; row++) {
      nt_lanes normal = (nt_load(n->sums + row * n->stride + column) - mean) * inverse;
      nt_store(n->normal + row * n->stride + column, normal);
      nt_store(n->sums + row * n->stride + column, normal * scale + shift);
    }
  }
}

NT_INLINE void norm_running(const nt_net_norm *n) {
  EACH_LANES(column, n->stride) {
    nt_lanes factor = nt_load(n->running_variance + column) + norm_epsilon;
    roots(&factor);
    factor = nt_load(n->scale + column) / factor;
    const nt_lanes mean = nt_load(n->running_mean + column), shift = nt_load(n->shift + column);
    for (size_t row = 0; row < n->rows; row++) {
      float *x = n->sums + row * n->stride + column;
      nt_store(x, (nt_load(x) - mean) * factor + shift);
    }
  }
}

NT_INLINE void norm_slope(const nt_net_norm *n, float *gradient, float *scale_gradient, float *shift_gradient) {
  const float share = 1 / (float)n->rows;
  EACH_LANES(column, n->stride) {
    nt_lanes sum = nt_all(0), products = nt_all(0);
    for (size_t row = 0; row < n->rows; row++) {
      nt_lanes g = nt_load(gradient + row * n->stride + column);
      sum += g;
      products += g * nt_load(n->normal + row * n->stride + column);
    }
    nt_store(scale_gradient + column, products);
    nt_store(shift_gradient + column, sum);
    sum *= share;
    products *= share;
    const nt_lanes factor = nt_load(n->scale + column) * nt_load(n->inverse + column);
    for (size_t row = 0; row < n->rows; row++) {
      float *g = gradient + row * n->stride + column;
      nt_lanes normal = nt_load(n->normal + row * n->stride + column);
      nt_store(g, factor * (nt_load(g) - sum - normal * products));
    }
  }
}

// MARK: - losses

NT_INLINE double softmax_loss(const float *z, size_t rows, size_t columns, size_t stride, const double *targets,
                              const float *weights, float *gradient, size_t *correct) {
  double loss = 0;
  *correct = 0;
  for (size_t row = 0; row < rows; row++, z += stride, gradient += stride) {
    size_t best = 0, truth = (size_t)targets[row];
    for (size_t k = 1; k < columns; k++) best = z[k] > z[best] ? k : best;
    EACH_LANES(k, stride) {
      nt_lanes x = nt_load(z + k) - z[best];
      nt_exp(&x);
      nt_store(gradient + k, x);
    }
    float total = 0;
    for (size_t k = 0; k < columns; k++) total += gradient[k];
    const float share = weights[row] / (float)rows, factor = share / total;
    EACH_LANES(k, stride) nt_store(gradient + k, nt_load(gradient + k) * factor);
    for (size_t k = columns; k < stride; k++) gradient[k] = 0;
    gradient[truth] -= share;
    loss += (double)(weights[row] * (logf(total) + z[best] - z[truth]));
    *correct += best == truth;
  }
  return loss;
}

// MARK: - instruction sets

#define KERNELS(isa, target, wide, fused)                                                                            \
  target static void multiply__##isa(const nt_net_product *p) { multiply(p, wide, fused); }                          \
  target static void transpose__##isa(const float *from, size_t rows, size_t columns, size_t from_stride, float *to, \
                                      size_t to_stride) {                                                            \
    transpose(from, rows, columns, from_stride, to, to_stride);                                                      \
  }                                                                                                                  \
  target static void activate__##isa(uint32_t activation, const float *sums, float *to, size_t count) {              \
    activate((nt_activation)activation, sums, to, count);                                                            \
  }                                                                                                                  \
  target static void slope__##isa(uint32_t activation, const float *sums, float *gradient, size_t count) {           \
    slope((nt_activation)activation, sums, gradient, count);                                                         \
  }                                                                                                                  \
  target static void column_sums__##isa(const float *x, size_t rows, size_t stride, float *sums) {                   \
    column_sums(x, rows, stride, sums);                                                                              \
  }                                                                                                                  \
  target static void multiply_elements__##isa(float *x, const float *factors, size_t count) {                        \
    multiply_elements(x, factors, count);                                                                            \
  }                                                                                                                  \
  target static double square_sum__##isa(const float *x, size_t count) { return square_sum(x, count); }              \
  target static void adam__##isa(const nt_net_step *step) { adam(step); }                                            \
  target static void sgd__##isa(const nt_net_step *step) { sgd(step); }                                              \
  target static void norm__##isa(const nt_net_norm *n) { norm(n); }                                                  \
  target static void norm_running__##isa(const nt_net_norm *n) { norm_running(n); }                                  \
  target static void norm_slope__##isa(const nt_net_norm *n, float *gradient, float *scale, float *shift) {          \
    norm_slope(n, gradient, scale, shift);                                                                           \
  }                                                                                                                  \
  target static double softmax_loss__##isa(const float *z, size_t rows, size_t columns, size_t stride,               \
                                           const double *targets, const float *weights, float *gradient,             \
                                           size_t *correct) {                                                        \
    return softmax_loss(z, rows, columns, stride, targets, weights, gradient, correct);                              \
  }                                                                                                                  \
  static const nt_net_kernels kernels__##isa = {                                                                     \
      multiply__##isa,          transpose__##isa,  activate__##isa,     slope__##isa, column_sums__##isa,            \
      multiply_elements__##isa, square_sum__##isa, adam__##isa,         sgd__##isa,   norm__##isa,                   \
      norm_running__##isa,      norm_slope__##isa, softmax_loss__##isa,                                              \
  };

#if defined(NT_X86)
KERNELS(scalar, , false, false)
KERNELS(avx2, NT_TARGET_AVX2, false, true)
KERNELS(avx512vnni, NT_TARGET_AVX512VNNI, true, true)
#else
// NEON has fused multiply-adds, and 32 registers of 16 bytes.
KERNELS(scalar, , false, true)
#endif

const nt_net_kernels *nt_net_kernels_best(void) {
#if defined(NT_X86)
  nt_isa isa = nt_isa_of_vectors(nt_isa_best());
  if (isa == NT_ISA_AVX512VNNI) return &kernels__avx512vnni;
  if (isa == NT_ISA_AVX2) return &kernels__avx2;
#endif
  return &kernels__scalar;
}
