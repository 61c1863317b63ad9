#include "nt_transformer.h"

#include <math.h>
#include <string.h>

#include "../CNeedletailKernels/nt_lanes.h"

#define LANES nt_lane_count
/// Whole vectors of a row; what is left of it goes through nt_load_rest and nt_store_rest.
#define WHOLE(columns) ((columns) / LANES * LANES)

// MARK: - layer norm

NT_INLINE float row_sum(const float *x, size_t columns) {
  nt_lanes sum = nt_all(0), rest;
  size_t c = 0, whole = WHOLE(columns);
  for (; c < whole; c += LANES) sum += nt_load(x + c);
  if (c < columns) {
    nt_load_rest(&rest, x + c, columns - c, 0);
    sum += rest;
  }
  return nt_lane_sum(&sum);
}

/// Σ (x − mean)²
NT_INLINE float row_spread(const float *x, size_t columns, float mean) {
  nt_lanes sum = nt_all(0), rest;
  size_t c = 0, whole = WHOLE(columns);
  for (; c < whole; c += LANES) {
    nt_lanes distance = nt_load(x + c) - mean;
    sum += distance * distance;
  }
  if (c < columns) {
    nt_load_rest(&rest, x + c, columns - c, mean);
    rest -= mean;
    sum += rest * rest;
  }
  return nt_lane_sum(&sum);
}

NT_INLINE float row_product(const float *x, const float *y, size_t columns) {
  nt_lanes sum = nt_all(0), a, b;
  size_t c = 0, whole = WHOLE(columns);
  for (; c < whole; c += LANES) sum += nt_load(x + c) * nt_load(y + c);
  if (c < columns) {
    nt_load_rest(&a, x + c, columns - c, 0);
    nt_load_rest(&b, y + c, columns - c, 0);
    sum += a * b;
  }
  return nt_lane_sum(&sum);
}

NT_INLINE void norm(const nt_transformer_norm *n, const float *x, float *y) {
  const size_t columns = n->columns;
  for (size_t row = 0; row < n->rows; row++, x += columns, y += columns) {
    const float mean = row_sum(x, columns) / (float)columns;
    const float inverse = 1 / sqrtf(row_spread(x, columns, mean) / (float)columns + n->epsilon);
    float *normal = n->normal + row * columns;
    n->inverse[row] = inverse;
    for (size_t c = 0; c < columns; c++) {
      normal[c] = (x[c] - mean) * inverse;
      y[c] = normal[c] * n->scale[c] + n->shift[c];
    }
  }
}

NT_INLINE void norm_slope(const nt_transformer_norm *n, float *gradient, float *scale_gradient, float *shift_gradient) {
  const size_t columns = n->columns;
  for (size_t row = 0; row < n->rows; row++, gradient += columns) {
    const float *normal = n->normal + row * columns;
    if (scale_gradient) {
      for (size_t c = 0; c < columns; c++) {
        scale_gradient[c] += gradient[c] * normal[c];
        shift_gradient[c] += gradient[c];
      }
    }
    for (size_t c = 0; c < columns; c++) gradient[c] *= n->scale[c];
    const float mean = row_sum(gradient, columns) / (float)columns;
    const float slope = row_product(gradient, normal, columns) / (float)columns;
    const float inverse = n->inverse[row];
    for (size_t c = 0; c < columns; c++) gradient[c] = inverse * (gradient[c] - mean - normal[c] * slope);
  }
}

// MARK: - attention

NT_INLINE void softmax(float *x, size_t rows, size_t columns, size_t stride) {
  for (size_t row = 0; row < rows; row++, x += stride) {
    const float largest = nt_row_largest(x, columns);
    nt_lanes sum = nt_all(0), each;
    size_t c = 0, whole = WHOLE(columns);
    for (; c < whole; c += LANES) {
      each = nt_load(x + c) - largest;
      nt_exp_below(&each);
      nt_store(x + c, each);
      sum += each;
    }
    if (c < columns) {
      nt_load_rest(&each, x + c, columns - c, -__builtin_inff());
      each -= largest;
      nt_exp_below(&each);
      nt_store_rest(x + c, &each, columns - c);
      sum += each;
    }
    const float factor = 1 / nt_lane_sum(&sum);
    for (c = 0; c < columns; c++) x[c] *= factor;
  }
}

NT_INLINE void softmax_slope(const float *p, float *gradient, size_t rows, size_t columns, size_t stride,
                             float factor) {
  for (size_t row = 0; row < rows; row++, p += stride, gradient += stride) {
    const float mean = row_product(p, gradient, columns);
    for (size_t c = 0; c < columns; c++) gradient[c] = p[c] * (gradient[c] - mean) * factor;
  }
}

// MARK: - sums

NT_INLINE void add_row(float *x, size_t rows, size_t columns, const float *added) {
  for (size_t row = 0; row < rows; row++, x += columns) {
    for (size_t c = 0; c < columns; c++) x[c] += added[c];
  }
}

NT_INLINE void add(float *restrict x, const float *restrict added, size_t count) {
  for (size_t i = 0; i < count; i++) x[i] += added[i];
}

NT_INLINE void add_column_sums(const float *x, size_t rows, size_t columns, size_t stride, float *restrict sums) {
  for (size_t row = 0; row < rows; row++, x += stride) {
    for (size_t c = 0; c < columns; c++) sums[c] += x[c];
  }
}

// MARK: - dropout

/// The last step of SplitMix64: every bit of the number changes half of the bits.
static inline uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// 32 bits of element i: two neighbours share a word.
static inline uint32_t bits_of(uint64_t key, uint64_t i) {
  return (uint32_t)(mixed(key + (i >> 1) * 0x9e3779b97f4a7c15u) >> (i & 1 ? 32 : 0));
}

/// Elements whose bits are below are dropped.
static inline uint32_t bound_of(float share) { return (uint32_t)((double)share * 4294967296.0); }

float nt_transformer_drop_factor(const nt_transformer_dropout *dropout, uint64_t index) {
  return bits_of(dropout->key, index) < bound_of(dropout->share) ? 0 : 1 / (1 - dropout->share);
}

void nt_transformer_drop(const nt_transformer_dropout *dropout, float *x, size_t rows, size_t columns, size_t stride,
                         uint64_t first) {
  if (dropout->share <= 0) return;
  const uint32_t bound = bound_of(dropout->share);
  const float kept = 1 / (1 - dropout->share);
  for (size_t row = 0; row < rows; row++, x += stride) {
    for (size_t c = 0; c < columns; c++) x[c] *= bits_of(dropout->key, first + c) < bound ? 0 : kept;
    first += columns;
  }
}

// MARK: - tables and pooling

void nt_transformer_look_up(const float *words, const float *positions, const float *types, const uint32_t *ids,
                            const uint32_t *places, const uint8_t *type_of, size_t tokens, size_t columns, float *to) {
  for (size_t token = 0; token < tokens; token++, to += columns) {
    const float *word = words + ids[token] * columns, *position = positions + places[token] * columns;
    for (size_t c = 0; c < columns; c++) to[c] = word[c] + position[c];
    if (!types) continue;
    const float *type = types + type_of[token] * columns;
    for (size_t c = 0; c < columns; c++) to[c] += type[c];
  }
}

void nt_transformer_look_up_slope(const float *gradient, const uint32_t *ids, const uint32_t *places,
                                  const uint8_t *type_of, size_t tokens, size_t columns, float *words, float *positions,
                                  float *types) {
  for (size_t token = 0; token < tokens; token++, gradient += columns) {
    float *word = words + ids[token] * columns, *position = positions + places[token] * columns;
    for (size_t c = 0; c < columns; c++) {
      word[c] += gradient[c];
      position[c] += gradient[c];
    }
    if (!types) continue;
    float *type = types + type_of[token] * columns;
    for (size_t c = 0; c < columns; c++) type[c] += gradient[c];
  }
}

void nt_transformer_pool_mean(const float *x, const size_t *starts, size_t sequences, size_t columns, float *to,
                              size_t stride) {
  for (size_t sequence = 0; sequence < sequences; sequence++, to += stride) {
    const size_t first = starts[sequence], count = starts[sequence + 1] - first;
    memset(to, 0, columns * sizeof *to);
    for (size_t token = first; token < first + count; token++) {
      for (size_t c = 0; c < columns; c++) to[c] += x[token * columns + c];
    }
    if (count == 0) continue;
    const float share = 1 / (float)count;
    for (size_t c = 0; c < columns; c++) to[c] *= share;
  }
}

void nt_transformer_pool_mean_slope(const float *gradient, size_t stride, const size_t *starts, size_t sequences,
                                    size_t columns, float *to) {
  for (size_t sequence = 0; sequence < sequences; sequence++, gradient += stride) {
    const size_t first = starts[sequence], end = starts[sequence + 1];
    const float share = 1 / (float)(end > first ? end - first : 1);
    for (size_t token = first; token < end; token++) {
      for (size_t c = 0; c < columns; c++) to[token * columns + c] = gradient[c] * share;
    }
  }
}

// MARK: - instruction sets

#define KERNELS(isa, target)                                                                                           \
  target static void norm__##isa(const nt_transformer_norm *n, const float *x, float *y) { norm(n, x, y); }            \
  target static void norm_slope__##isa(const nt_transformer_norm *n, float *gradient, float *scale, float *shift) {    \
    norm_slope(n, gradient, scale, shift);                                                                             \
  }                                                                                                                    \
  target static void softmax__##isa(float *x, size_t rows, size_t columns, size_t stride) {                            \
    softmax(x, rows, columns, stride);                                                                                 \
  }                                                                                                                    \
  target static void softmax_slope__##isa(const float *p, float *gradient, size_t rows, size_t columns, size_t stride, \
                                          float factor) {                                                              \
    softmax_slope(p, gradient, rows, columns, stride, factor);                                                         \
  }                                                                                                                    \
  target static void add_row__##isa(float *x, size_t rows, size_t columns, const float *added) {                       \
    add_row(x, rows, columns, added);                                                                                  \
  }                                                                                                                    \
  target static void add__##isa(float *x, const float *added, size_t count) { add(x, added, count); }                  \
  target static void add_column_sums__##isa(const float *x, size_t rows, size_t columns, size_t stride, float *sums) { \
    add_column_sums(x, rows, columns, stride, sums);                                                                   \
  }                                                                                                                    \
  static const nt_transformer_kernels kernels__##isa = {                                                               \
      norm__##isa,    norm_slope__##isa, softmax__##isa,         softmax_slope__##isa,                                 \
      add_row__##isa, add__##isa,        add_column_sums__##isa,                                                       \
  };

#if defined(NT_X86)
KERNELS(scalar, )
KERNELS(avx2, NT_TARGET_AVX2)
KERNELS(avx512vnni, NT_TARGET_AVX512VNNI)
#else
KERNELS(scalar, )
#endif

const nt_transformer_kernels *nt_transformer_kernels_best(void) {
#if defined(NT_X86)
  nt_isa isa = nt_isa_of_vectors(nt_isa_best());
  if (isa == NT_ISA_AVX512VNNI) return &kernels__avx512vnni;
  if (isa == NT_ISA_AVX2) return &kernels__avx2;
#endif
  return &kernels__scalar;
}
