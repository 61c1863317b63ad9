// Proves that every instruction set gives the bits of the scalar twin, and that the polynomials keep
// their promised accuracy. `run` compiles it with sanitizers and executes it.
//
// With NT_USE_SIMDE the AVX-512 files are compiled against SIMDe, so that CPUs without AVX-512
// test them too.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "nt_arrange.h"
#include "nt_clip.h"
#include "nt_math.h"
#include "nt_preprocess.h"
#include "nt_rows.h"

/// See tokens_test.c and answers_test.c.
int check_tokens(void);
int check_answers(void);

static int passed, failed;

#define CHECK(condition, ...) \
  do {                        \
    if (condition) {          \
      passed++;               \
    } else {                  \
      failed++;               \
      if (failed <= 20) {     \
        printf("FAILED: ");   \
        printf(__VA_ARGS__);  \
        printf("\n");         \
      }                       \
    }                         \
  } while (0)

static uint64_t state = 1;

static uint64_t next_random(void) {
  uint64_t z = state += 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

static float next_float(void) { return (float)(next_random() >> 40) / (float)(1 << 23) - 1.0f; }

static void *aligned(size_t bytes) {
  void *memory = aligned_alloc(NT_ALIGNMENT, (bytes / NT_ALIGNMENT + 1) * NT_ALIGNMENT);
  if (!memory) abort();
  return memory;
}

/// Exactly sized, so that the address sanitizer sees a write beyond the last element.
static void *exact(size_t bytes) {
  void *memory = malloc(bytes ? bytes : 1);
  if (!memory) abort();
  return memory;
}

/// Kernels that one instruction set has for products.
typedef struct kernels {
  const char *name;
  nt_isa isa;
  const nt_s8_kernels *s8;
  const nt_f32_kernels *f32;
} kernels;

static kernels scalar_kernels, table_storage[5];
static const kernels *tables[5];
static size_t table_count;

static kernels kernels_for(nt_isa isa) {
  return (kernels){.name = nt_isa_name(isa), .isa = isa, .s8 = nt_s8_kernels_for(isa), .f32 = nt_f32_kernels_for(isa)};
}

static void find_tables(void) {
  static const nt_isa all[] = {NT_ISA_AVX2, NT_ISA_AVX512VNNI, NT_ISA_AMX, NT_ISA_NEON, NT_ISA_NEON_I8MM};
  scalar_kernels = kernels_for(NT_ISA_SCALAR);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    bool usable = nt_isa_supported(all[i]);
#if defined(NT_USE_SIMDE)
    usable = usable || all[i] == NT_ISA_AVX512VNNI || all[i] == NT_ISA_AMX;
#endif
    if (!usable) continue;
    table_storage[table_count] = kernels_for(all[i]);
    tables[table_count] = &table_storage[table_count];
    table_count++;
  }
  printf("instruction sets against scalar:");
  for (size_t i = 0; i < table_count; i++) printf(" %s", tables[i]->name);
  printf("; chosen: %s\n", nt_isa_name(nt_isa_best()));
}

/// One buffer of a step: what it holds before, and where its bytes go afterwards.
typedef struct buffer {
  const void *before;
  void *after;
  size_t bytes;
} buffer;

/// Runs a step on buffers of their own, each exactly sized, so that the address sanitizer sees what is written
/// beyond the last; the others are followed by bytes that must stay.
static void run_step(nt_step_function run, const void *parameters, size_t items, const buffer *buffers, size_t count) {
  size_t offsets[8], bytes = 0;
  for (size_t i = 0; i < count; i++) {
    offsets[i] = bytes;
    bytes += i + 1 == count ? buffers[i].bytes : (buffers[i].bytes / NT_ALIGNMENT + 2) * NT_ALIGNMENT;
  }
  uint8_t *arena = exact(bytes);
  memset(arena, 0xa5, bytes);
  for (size_t i = 0; i < count; i++) {
    if (buffers[i].before) memcpy(arena + offsets[i], buffers[i].before, buffers[i].bytes);
  }
  nt_call call = {.arena = arena, .offsets = offsets, .items = items, .rows = items, .units = items};
  run(parameters, &call);
  bool stayed = true;
  for (size_t i = 0; i < count; i++) {
    if (buffers[i].after) memcpy(buffers[i].after, arena + offsets[i], buffers[i].bytes);
    if (buffers[i].before) stayed = stayed && !memcmp(arena + offsets[i], buffers[i].before, buffers[i].bytes);
    size_t end = i + 1 == count ? bytes : offsets[i + 1];
    for (size_t at = offsets[i] + buffers[i].bytes; at < end; at++) stayed = stayed && arena[at] == 0xa5;
  }
  CHECK(stayed, "a step changed its input or bytes between buffers");
  free(arena);
}

/// A step of one input and one output.
static void run_unary(nt_step_function run, const void *parameters, size_t items, const void *x, size_t x_bytes,
                      void *y, size_t y_bytes) {
  buffer buffers[] = {{.before = x, .bytes = x_bytes}, {.after = y, .bytes = y_bytes}};
  run_step(run, parameters, items, buffers, 2);
}

/// How the operands of an int8 product are chosen.
typedef enum { FILL_RANDOM, FILL_EXTREME, FILL_FILLS, FILL_NONNEGATIVE } fill_kind;

static int8_t fill(fill_kind kind) {
  switch (kind) {
    case FILL_NONNEGATIVE:
      return (int8_t)(next_random() % 128);
    case FILL_RANDOM:
      return (int8_t)((int64_t)(next_random() % 255) - 127);
    case FILL_EXTREME:
      return next_random() & 1 ? 127 : -127;
    default:
      return 127;
  }
}

/// The rows of `a` in the form of `table`: through its quantise, which leaves integers as they are
/// where one of them is ±127.
static int8_t *quantised(const kernels *table, const int8_t *a, size_t m, size_t k) {
  size_t stride = nt_s8_row_stride(k);
  int8_t *rows = aligned(m * stride);
  float *x = exact(k * 4), scale;
  for (size_t r = 0; r < m; r++) {
    for (size_t i = 0; i < k; i++) x[i] = a[r * k + i];
    table->s8->quantise(x, 1, k, rows + r * stride, stride, &scale);
    CHECK(scale == 1, "quantise %s keeps integers, k %zu", table->name, k);
  }
  free(x);
  return rows;
}

static void check_s8_table(const kernels *table, nt_s8_gemm_args args, const int8_t *a, const int8_t *w,
                           const float *scales, const float *bias, const int32_t *expected, const float *out_scalar) {
  size_t m = args.rows, n = args.columns, k = args.depth;
  void *packed = aligned(nt_s8_packed_bytes(n, k));
  int8_t *rows = quantised(table, a, m, k);
  table->s8->pack(w, scales, bias, n, k, packed);
  args.a = rows;
  args.weights = packed;
  int32_t *sums = exact(m * n * 4);
  memset(sums, 0xa5, m * n * 4);
  args.accumulators = sums;
  table->s8->gemm(&args);
  CHECK(!memcmp(sums, expected, m * n * 4), "s8 %s sums, m %zu n %zu k %zu, nonnegative %d", table->name, m, n, k,
        args.a_is_nonnegative);
  args.accumulators = NULL;
  float *out = exact(m * n * 4);
  memset(out, 0xa5, m * n * 4);
  args.out = out;
  table->s8->gemm(&args);
  CHECK(!memcmp(out, out_scalar, m * n * 4), "s8 %s out, m %zu n %zu k %zu, activation %d", table->name, m, n, k,
        (int)args.activation);
  for (size_t way = 0; way < NT_S8_WAYS_MAX && table->s8->ways[way]; way++) {
    memset(out, 0xa5, m * n * 4);
    table->s8->ways[way](&args);
    CHECK(!memcmp(out, out_scalar, m * n * 4), "s8 %s way %zu, m %zu n %zu k %zu", table->name, way, m, n, k);
  }
  // Two shards, the second first, with magnitudes.
  uint32_t *magnitudes = exact(m * 4);
  memset(out, 0xa5, m * n * 4), memset(magnitudes, 0, m * 4);
  nt_s8_gemm_args shard = args;
  shard.row_magnitudes = magnitudes;
  shard.panel_first = next_random() % (args.panel_end + 1);
  table->s8->gemm(&shard);
  bool touched = false;
  for (size_t r = 0; r < m; r++) {
    for (size_t c = 0; c < n && c < shard.panel_first * NT_PANEL_COLUMNS; c++) {
      touched = touched || nt_bits(out[r * n + c]) != 0xa5a5a5a5u;
    }
  }
  CHECK(!touched, "s8 %s writes beside its panels, m %zu n %zu k %zu", table->name, m, n, k);
  shard.panel_end = shard.panel_first;
  shard.panel_first = 0;
  table->s8->gemm(&shard);
  CHECK(!memcmp(out, out_scalar, m * n * 4), "s8 %s in shards, m %zu n %zu k %zu", table->name, m, n, k);
  bool known = true;
  for (size_t r = 0; r < m; r++) known = known && magnitudes[r] == nt_magnitude(out_scalar + r * n, n);
  CHECK(known, "s8 %s magnitudes, m %zu n %zu k %zu", table->name, m, n, k);
  free(packed), free(rows), free(sums), free(out), free(magnitudes);
}

static void check_s8(size_t m, size_t n, size_t k, fill_kind kind) {
  int8_t *w = exact(n * k), *a = exact(m * k);
  float *scales = exact(n * 4), *bias = exact(n * 4), *row_scales = exact(m * 4);
  for (size_t i = 0; i < n * k; i++) w[i] = fill(kind == FILL_NONNEGATIVE ? FILL_RANDOM : kind);
  for (size_t i = 0; i < m * k; i++) a[i] = fill(kind);
  for (size_t r = 0; r < m; r++) {
    a[r * k + next_random() % k] = kind == FILL_NONNEGATIVE || next_random() & 1 ? 127 : -127;
    row_scales[r] = fabsf(next_float()) * 0.1f + 1e-4f;
  }
  for (size_t c = 0; c < n; c++) {
    scales[c] = fabsf(next_float()) * 0.01f + 1e-5f;
    bias[c] = next_float();
  }
  int32_t *expected = exact(m * n * 4);
  for (size_t r = 0; r < m; r++) {
    for (size_t c = 0; c < n; c++) {
      int32_t sum = 0;
      for (size_t i = 0; i < k; i++) sum += a[r * k + i] * w[c * k + i];
      expected[r * n + c] = sum;
    }
  }
  nt_s8_gemm_args args = {.a_stride = nt_s8_row_stride(k),
                          .row_scales = row_scales,
                          .rows = m,
                          .columns = n,
                          .depth = k,
                          .panel_end = nt_panel_count(n),
                          .activation = (nt_activation)(next_random() % 5)};
  const kernels *scalar = &scalar_kernels;
  void *packed = aligned(nt_s8_packed_bytes(n, k));
  int8_t *rows = quantised(scalar, a, m, k);
  float *out_scalar = exact(m * n * 4);
  scalar->s8->pack(w, scales, bias, n, k, packed);
  args.a = rows, args.weights = packed, args.out = out_scalar;
  scalar->s8->gemm(&args);
  check_s8_table(scalar, args, a, w, scales, bias, expected, out_scalar);
  for (size_t t = 0; t < table_count; t++) {
    check_s8_table(tables[t], args, a, w, scales, bias, expected, out_scalar);
    if (kind != FILL_NONNEGATIVE) continue;
    nt_s8_gemm_args nonnegative = args;
    nonnegative.a_is_nonnegative = true;
    check_s8_table(tables[t], nonnegative, a, w, scales, bias, expected, out_scalar);
  }
  free(w), free(a), free(scales), free(bias), free(row_scales), free(expected), free(packed), free(rows);
  free(out_scalar);
}

/// One product of fp32 results against `expected`: whole, in shards with magnitudes, and one row alone.
static void check_f32_product(const char *name, nt_f32_gemm gemm, nt_f32_gemm_args args, const float *expected) {
  size_t m = args.rows, n = args.columns, k = args.depth;
  float *out = exact(m * n * 4), *alone = exact(n * 4);
  uint32_t *magnitudes = exact(m * 4);
  memset(out, 0xa5, m * n * 4);
  args.out = out;
  gemm(&args);
  CHECK(!memcmp(out, expected, m * n * 4), "%s, m %zu n %zu k %zu, activation %d", name, m, n, k, (int)args.activation);
  memset(out, 0xa5, m * n * 4), memset(magnitudes, 0, m * 4);
  nt_f32_gemm_args shard = args;
  shard.row_magnitudes = magnitudes;
  shard.panel_first = next_random() % (args.panel_end + 1);
  gemm(&shard);
  shard.panel_end = shard.panel_first;
  shard.panel_first = 0;
  gemm(&shard);
  CHECK(!memcmp(out, expected, m * n * 4), "%s in shards, m %zu n %zu k %zu", name, m, n, k);
  for (size_t r = 0; r < m; r++) {
    CHECK(magnitudes[r] == nt_magnitude(out + r * n, n), "%s magnitudes, m %zu n %zu k %zu", name, m, n, k);
  }
  size_t row = next_random() % m;
  nt_f32_gemm_args one = args;
  one.a = args.a + row * k;
  if (args.a_rounded) one.a_rounded = args.a_rounded + row * nt_bf16_row_elements(k);
  one.rows = 1;
  one.out = alone;
  gemm(&one);
  CHECK(!memcmp(alone, out + row * n, n * 4), "%s, row %zu of %zu alone, n %zu k %zu", name, row, m, n, k);
  free(out), free(alone), free(magnitudes);
}

/// Largest difference of `out` to sums in double precision.
static double distance_to_double(const nt_f32_gemm_args *args, const float *a, const float *w, const float *bias,
                                 const float *out) {
  double worst = 0;
  for (size_t r = 0; r < args->rows; r++) {
    for (size_t c = 0; c < args->columns; c++) {
      double sum = bias[c];
      for (size_t i = 0; i < args->depth; i++) sum += (double)a[r * args->depth + i] * w[c * args->depth + i];
      worst = fmax(worst, fabs(sum - out[r * args->columns + c]));
    }
  }
  return worst;
}

/// The nearest number of 8 bits, halves to the even one, in double precision.
static float eight_bits(float x) {
  if (x == 0 || !isfinite(x)) return x;
  int exponent;
  double scaled = ldexp(frexp(x, &exponent), 8);
  return (float)ldexp(nearbyint(scaled), exponent - 8);
}

static void check_f32(size_t m, size_t n, size_t k) {
  float *w = exact(n * k * 4), *a = exact(m * k * 4), *bias = exact(n * 4);
  for (size_t i = 0; i < n * k; i++) w[i] = next_float();
  for (size_t i = 0; i < m * k; i++) a[i] = next_float();
  for (size_t i = 0; i < n; i++) bias[i] = next_float();
  float *packed = aligned(nt_f32_packed_bytes(n, k)), *expected = exact(m * n * 4), *tiles = exact(m * n * 4);
  void *rounded = aligned(nt_bf16_packed_bytes(n, k));
  nt_f32_pack(w, bias, n, k, packed);
  nt_bf16_pack(w, bias, n, k, rounded);
  nt_activation activation = (nt_activation)(next_random() % 5);
  nt_f32_gemm_args args = {.a = a,
                           .weights = packed,
                           .rows = m,
                           .columns = n,
                           .depth = k,
                           .panel_end = nt_panel_count(n),
                           .out = expected,
                           .activation = activation};
  char name[64];
  scalar_kernels.f32->gemm(&args);
  if (activation == NT_ACTIVATION_IDENTITY) {
    double worst = distance_to_double(&args, a, w, bias, expected);
    CHECK(worst < 1e-6 * (double)(k + 4), "f32 scalar, m %zu n %zu k %zu: error %g", m, n, k, worst);
  }
  for (size_t t = 0; t < table_count; t++) {
    snprintf(name, sizeof name, "f32 %s", tables[t]->name);
    check_f32_product(name, tables[t]->f32->gemm, args, expected);
  }
  // Weights of bf16: the bits of the fp32 product of weights that are rounded beforehand.
  for (size_t i = 0; i < n * k; i++) w[i] = eight_bits(w[i]);
  nt_f32_pack(w, bias, n, k, packed);
  scalar_kernels.f32->gemm(&args);
  args.weights = rounded;
  check_f32_product("bf16 scalar", scalar_kernels.f32->bf16_gemm, args, expected);
  for (size_t t = 0; t < table_count; t++) {
    snprintf(name, sizeof name, "bf16 %s", tables[t]->name);
    check_f32_product(name, tables[t]->f32->bf16_gemm, args, expected);
    if (!tables[t]->f32->bf16_tiles) continue;
    uint16_t *rows = aligned(m * nt_bf16_row_elements(k) * 2);
    tables[t]->f32->round_rows(a, m, k, rows);
    args.a_rounded = rows;
    args.out = tiles;
    tables[t]->f32->bf16_tiles(&args);
    if (activation == NT_ACTIVATION_IDENTITY) {
      float *narrow = exact(m * k * 4);
      for (size_t i = 0; i < m * k; i++) narrow[i] = eight_bits(a[i]);
      double worst = distance_to_double(&args, narrow, w, bias, tiles);
      CHECK(worst < 1e-6 * (double)(k + 4), "bf16 tiles %s, m %zu n %zu k %zu: error %g", tables[t]->name, m, n, k,
            worst);
      free(narrow);
    }
    snprintf(name, sizeof name, "bf16 tiles %s", tables[t]->name);
    check_f32_product(name, tables[t]->f32->bf16_tiles, args, tiles);
    free(rows);
    args.a_rounded = NULL;
    args.out = expected;
  }
  free(w), free(a), free(bias), free(packed), free(rounded), free(expected), free(tiles);
}

/// Rounding to bf16 of numbers that are halfway, too large, not numbers, and of all kinds of bits.
static void check_bf16_rounding(void) {
  static const struct {
    float from;
    uint32_t to;
  } some[] = {
      {1.0f, 0x3f800000},     {-1.00390625f, 0xbf800000},  {1.01171875f, 0x3f820000}, {0.0f, 0},
      {-0.0f, 0x80000000},    {3.4028234e38f, 0x7f7f0000}, {-3.4e38f, 0xff7f0000},    {3.3895314e38f, 0x7f7f0000},
      {INFINITY, 0x7f800000}, {-INFINITY, 0xff800000},
  };
  float bias = 0;
  uint16_t *packed = aligned(nt_bf16_packed_bytes(1, 1));
  for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
    nt_bf16_pack(&some[i].from, &bias, 1, 1, packed);
    CHECK((uint32_t)packed[0] << 16 == some[i].to, "%g as bf16: %x", (double)some[i].from, packed[0]);
  }
  for (int i = 0; i < 20000; i++) {
    float x = nt_from_bits((uint32_t)next_random());
    nt_bf16_pack(&x, &bias, 1, 1, packed);
    float y = nt_from_bits((uint32_t)packed[0] << 16), expected = eight_bits(x);
    // Below the normal numbers there are fewer than 8 bits.
    if (fabsf(x) < 1.2e-38f || (isfinite(x) && fabsf(x) > 3.38e38f)) continue;
    CHECK(isnan(x) ? isnan(y) : y == expected, "%a as bf16: %a, not %a", (double)x, (double)y, (double)expected);
  }
  free(packed);
}

/// Values that a row operation may meet, specials included where `specials`.
static float awkward(bool specials) {
  static const float some[] = {0.0f, -0.0f, 1e-42f, 0.5f, -0.5f, 88.8f, -103.5f, 1e30f, -1e30f, 3.4e38f};
  if (specials && next_random() % 80 == 0) return nt_from_bits(0x7f800001u + (uint32_t)(next_random() % 0x7fffffu));
  if (specials && next_random() % 80 == 0) return next_random() & 1 ? INFINITY : -INFINITY;
  if (next_random() % 20 == 0) return some[next_random() % (sizeof some / sizeof *some)];
  return next_float() * 12.0f;
}

/// Equal bits, or both NaN: which NaN comes out is left open.
static bool same(const float *x, const float *y, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (nt_bits(x[i]) != nt_bits(y[i]) && !(x[i] != x[i] && y[i] != y[i])) return false;
  }
  return true;
}

/// Whether `row`, in the form of `table`, holds the elements that `plain` holds in the scalar form, and
/// nothing but zeros beyond them.
static bool same_elements(const kernels *table, const int8_t *row, const int8_t *plain, size_t columns) {
  size_t plane = nt_s8_plane_bytes(columns);
  for (size_t i = 0; i < plane; i++) {
    int value = row[i];
    if (!strcmp(table->name, "avx2") && row[plane + i]) value = -value;
    if (value != (i < columns ? plain[i] : 0)) return false;
  }
  return true;
}

static bool same_quantised(const kernels *table, const int8_t *q, const int8_t *plain, size_t rows, size_t columns) {
  size_t stride = nt_s8_row_stride(columns);
  for (size_t r = 0; r < rows; r++) {
    if (!same_elements(table, q + r * stride, plain + r * stride, columns)) return false;
  }
  return true;
}

static void check_rows(size_t rows, size_t columns, bool specials) {
  size_t stride = nt_s8_row_stride(columns), count = rows * columns;
  float *x = exact(count * 4), *y0 = exact(count * 4), *y1 = exact(count * 4), *bias = exact(columns * 4);
  float *s0 = exact(rows * 4), *s1 = exact(rows * 4);
  uint32_t *magnitudes = exact(rows * 4);
  int8_t *q0 = aligned(rows * stride), *q1 = aligned(rows * stride);
  for (size_t i = 0; i < count; i++) x[i] = awkward(specials);
  if (next_random() % 4 == 0) memset(x, 0, columns * 4);
  for (size_t i = 0; i < columns; i++) bias[i] = next_float();
  const kernels *scalar = &scalar_kernels;
  for (size_t t = 0; t < table_count; t++) {
    const kernels *table = tables[t];
    memset(q0, 1, rows * stride), memset(q1, 2, rows * stride);
    scalar->s8->quantise(x, rows, columns, q0, stride, s0);
    table->s8->quantise(x, rows, columns, q1, stride, s1);
    CHECK(same_quantised(table, q1, q0, rows, columns) && same(s0, s1, rows), "quantise %s, %zu × %zu", table->name,
          rows, columns);
    for (size_t r = 0; r < rows; r++) magnitudes[r] = nt_magnitude(x + r * columns, columns);
    memset(q1, 2, rows * stride), memset(s1, 2, rows * 4);
    table->s8->quantise_known(x, magnitudes, rows, columns, q1, stride, s1);
    CHECK(same_quantised(table, q1, q0, rows, columns) && same(s0, s1, rows), "quantise_known %s, %zu × %zu",
          table->name, rows, columns);
    nt_rows parameters = {.columns = (uint32_t)columns};
    struct {
      const char *name;
      nt_step_function (*find)(nt_isa isa);
      size_t out;
    } steps[] = {{"softmax", nt_softmax_step, count},   {"argmax", nt_argmax_step, rows},
                 {"logistic", nt_logistic_step, count}, {"exp", nt_exp_step, count},
                 {"softplus", nt_softplus_step, count}, {"signed square", nt_signed_square_step, count}};
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
      run_unary(steps[s].find(NT_ISA_SCALAR), &parameters, rows, x, count * 4, y0, steps[s].out * 4);
      run_unary(steps[s].find(table->isa), &parameters, rows, x, count * 4, y1, steps[s].out * 4);
      CHECK(same(y0, y1, steps[s].out), "%s %s, %zu × %zu", steps[s].name, table->name, rows, columns);
    }
    nt_layer_norm norm = {.columns = (uint32_t)columns, .epsilon = 1e-5f, .gain = bias, .bias = bias};
    run_unary(nt_layer_norm_step(NT_ISA_SCALAR), &norm, rows, x, count * 4, y0, count * 4);
    run_unary(nt_layer_norm_step(table->isa), &norm, rows, x, count * 4, y1, count * 4);
    CHECK(same(y0, y1, count), "layer norm %s, %zu × %zu", table->name, rows, columns);
    for (int activation = 0; activation < 5; activation++) {
      nt_activated activated = {.columns = (uint32_t)columns, .activation = (nt_activation)activation};
      run_unary(nt_activate_step(table->isa), &activated, rows, x, count * 4, y0, count * 4);
      memcpy(y1, x, count * 4);
      scalar->f32->bias_activate(y1, NULL, rows, columns, (nt_activation)activation);
      CHECK(same(y0, y1, count), "activate %d %s, %zu × %zu", activation, table->name, rows, columns);
      memcpy(y0, x, count * 4), memcpy(y1, x, count * 4);
      scalar->f32->bias_activate(y0, bias, rows, columns, (nt_activation)activation);
      table->f32->bias_activate(y1, bias, rows, columns, (nt_activation)activation);
      CHECK(same(y0, y1, count), "activation %d %s, %zu × %zu", activation, table->name, rows, columns);
    }
  }
  free(x), free(y0), free(y1), free(bias), free(s0), free(s1), free(magnitudes), free(q0), free(q1);
}

static void check_quantise_by_hand(void) {
  // 127 / 254 = 0.5, so 1, 3 and 5 land on ties: half to even gives 0, 2 and 2.
  float x[] = {254, 1, 3, 5, -1, -3, -254};
  _Alignas(NT_ALIGNMENT) int8_t q[192];
  int8_t expected[] = {127, 0, 2, 2, 0, -2, -127};
  float scale;
  scalar_kernels.s8->quantise(x, 1, 7, q, sizeof q, &scale);
  CHECK(!memcmp(q, expected, 7) && scale == 2.0f, "ties round to even");
  float zeros[3] = {0, -0.0f, 0}, bad[3] = {1, NAN, 2};
  scalar_kernels.s8->quantise(zeros, 1, 3, q, sizeof q, &scale);
  CHECK(scale == 0 && !q[0] && !q[1] && !q[2], "a row of zeros has scale 0");
  scalar_kernels.s8->quantise(bad, 1, 3, q, sizeof q, &scale);
  CHECK(scale != scale && !q[0] && !q[2], "a NaN shows in the scale");
}

static void check_preprocess(size_t rows, size_t columns) {
  float *fill_values = exact(columns * 4), *offset = exact(columns * 4), *scale = exact(columns * 4);
  nt_column_run *runs = exact(columns * sizeof *runs);
  nt_preprocess p = {.runs = runs, .in_columns = (uint32_t)columns};
  for (size_t c = 0; c < columns; c++) {
    fill_values[c] = next_float(), offset[c] = next_float(), scale[c] = next_float();
    uint32_t width = next_random() % 3 == 0 ? 1 + next_random() % 5 : 0;
    if (width) offset[c] = 0, scale[c] = 1, fill_values[c] = 0;
    p.out_columns += width ? width : 1;
    bool joins = !width && p.run_count && !runs[p.run_count - 1].width;
    if (joins) {
      runs[p.run_count - 1].count++;
    } else {
      runs[p.run_count++] = (nt_column_run){.first = (uint32_t)c, .count = 1, .width = width};
    }
  }
  if (next_random() % 4) p.fill = fill_values;
  if (next_random() % 4) p.offset = offset, p.scale = scale, p.clamp = next_random() % 3 == 0;
  float *x = exact(rows * columns * 4);
  size_t out_count = rows * p.out_columns;
  float *y0 = exact(out_count * 4), *y1 = exact(out_count * 4);
  for (size_t i = 0; i < rows * columns; i++) {
    x[i] = next_random() % 7 == 0 ? NAN : (float)((int64_t)(next_random() % 8) - 1) * (next_random() % 9 ? 1 : 0.7f);
  }
  size_t in_bytes = rows * columns * 4, out_bytes = out_count * 4;
  run_unary(nt_preprocess_f32_step(NT_ISA_SCALAR), &p, rows, x, in_bytes, y0, out_bytes);
  double *wide = exact(rows * columns * 8), *wide0 = exact(out_count * 8), *wide1 = exact(out_count * 8);
  float *narrow0 = exact(out_bytes), *narrow1 = exact(out_bytes);
  for (size_t i = 0; i < rows * columns; i++) wide[i] = (double)x[i] + (x[i] == 0.7f ? 1e-9 : 0);
  nt_preprocess unscaled = p;
  unscaled.offset = unscaled.scale = NULL;
  run_unary(nt_preprocess_f64_f32_step(NT_ISA_SCALAR), &p, rows, wide, in_bytes * 2, narrow0, out_bytes);
  run_unary(nt_preprocess_f64_step(NT_ISA_SCALAR), &unscaled, rows, wide, in_bytes * 2, wide0, out_count * 8);
  for (size_t t = 0; t < table_count; t++) {
    run_unary(nt_preprocess_f32_step(tables[t]->isa), &p, rows, x, in_bytes, y1, out_bytes);
    CHECK(same(y0, y1, out_count), "preprocess %s, %zu × %zu", tables[t]->name, rows, columns);
    run_unary(nt_preprocess_f64_f32_step(tables[t]->isa), &p, rows, wide, in_bytes * 2, narrow1, out_bytes);
    CHECK(same(narrow0, narrow1, out_count), "preprocess f64 to f32 %s, %zu × %zu", tables[t]->name, rows, columns);
    run_unary(nt_preprocess_f64_step(tables[t]->isa), &unscaled, rows, wide, in_bytes * 2, wide1, out_count * 8);
    CHECK(!memcmp(wide0, wide1, out_count * 8) || !p.fill, "preprocess f64 %s, %zu × %zu", tables[t]->name, rows,
          columns);
  }
  free(wide), free(wide0), free(wide1), free(narrow0), free(narrow1);
  free(fill_values), free(offset), free(scale), free(runs), free(x), free(y0), free(y1);
}

/// Add, concat and select against plain loops, on every instruction set.
static void check_arrange(size_t items, size_t columns) {
  size_t other = 1 + next_random() % 7, both = columns + other;
  float *a = exact(items * columns * 4), *b = exact(items * columns * 4), *y = exact(items * columns * 4);
  double *wide_a = exact(items * columns * 8), *wide_b = exact(items * columns * 8), *wide = exact(items * columns * 8);
  for (size_t i = 0; i < items * columns; i++) wide_a[i] = a[i] = awkward(true), wide_b[i] = b[i] = awkward(true);
  nt_add add = {.elements = (uint32_t)columns};
  for (size_t t = 0; t <= table_count; t++) {
    nt_isa isa = t == 0 ? NT_ISA_SCALAR : tables[t - 1]->isa;
    buffer floats[] = {{.before = a, .bytes = items * columns * 4},
                       {.before = b, .bytes = items * columns * 4},
                       {.after = y, .bytes = items * columns * 4}};
    run_step(nt_add_f32_step(isa), &add, items, floats, 3);
    buffer doubles[] = {{.before = wide_a, .bytes = items * columns * 8},
                        {.before = wide_b, .bytes = items * columns * 8},
                        {.after = wide, .bytes = items * columns * 8}};
    run_step(nt_add_f64_step(isa), &add, items, doubles, 3);
    bool right = true;
    for (size_t i = 0; i < items * columns; i++) {
      float sum = a[i] + b[i];
      double wide_sum = wide_a[i] + wide_b[i];
      right = right && same(&y[i], &sum, 1) && (wide[i] == wide_sum || (wide[i] != wide[i] && wide_sum != wide_sum));
    }
    CHECK(right, "add %s, %zu × %zu", nt_isa_name(isa), items, columns);
  }
  // Concat of `columns` and `other` columns, in one block and in two.
  for (uint32_t outer = 1; outer <= 2; outer++) {
    float *c = exact(items * outer * columns * 4), *d = exact(items * outer * other * 4),
          *e = exact(items * outer * both * 4);
    for (size_t i = 0; i < items * outer * columns; i++) c[i] = next_float();
    for (size_t i = 0; i < items * outer * other; i++) d[i] = next_float();
    uint32_t block_bytes[] = {(uint32_t)columns * 4, (uint32_t)other * 4};
    nt_concat concat = {.block_bytes = block_bytes, .input_count = 2, .outer = outer};
    buffer buffers[] = {{.before = c, .bytes = items * outer * columns * 4},
                        {.before = d, .bytes = items * outer * other * 4},
                        {.after = e, .bytes = items * outer * both * 4}};
    run_step(nt_concat_step, &concat, items, buffers, 3);
    bool right = true;
    for (size_t block = 0; block < items * outer; block++) {
      for (size_t i = 0; i < both; i++) {
        float expected = i < columns ? c[block * columns + i] : d[block * other + i - columns];
        right = right && e[block * both + i] == expected;
      }
    }
    CHECK(right, "concat, %zu × %u × (%zu + %zu)", items, outer, columns, other);
    free(c), free(d), free(e);
  }
  // Any columns in any order, some twice.
  uint32_t *chosen = exact(other * 4);
  for (size_t i = 0; i < other; i++) chosen[i] = (uint32_t)(next_random() % columns);
  nt_select select = {.columns = chosen, .in_columns = (uint32_t)columns, .out_columns = (uint32_t)other, .outer = 1};
  float *four = exact(items * other * 4);
  double *eight = exact(items * other * 8);
  run_unary(nt_select_4_step, &select, items, a, items * columns * 4, four, items * other * 4);
  run_unary(nt_select_8_step, &select, items, wide_a, items * columns * 8, eight, items * other * 8);
  bool right = true;
  for (size_t item = 0; item < items; item++) {
    for (size_t i = 0; i < other; i++) {
      right = right && same(&four[item * other + i], &a[item * columns + chosen[i]], 1);
      right = right && !memcmp(&eight[item * other + i], &wide_a[item * columns + chosen[i]], 8);
    }
  }
  CHECK(right, "select, %zu × %zu of %zu", items, other, columns);
  free(a), free(b), free(y), free(wide_a), free(wide_b), free(wide), free(chosen), free(four), free(eight);
}

/// Clip against plain comparisons, NaN and infinite bounds included; each side has one bound, or one a column.
static void check_clip(size_t items, size_t columns, bool one_low, bool one_high) {
  size_t lows = one_low ? 1 : columns, highs = one_high ? 1 : columns;
  float *x = exact(items * columns * 4), *y = exact(items * columns * 4), *low = exact(lows * 4);
  float *high = exact(highs * 4);
  for (size_t i = 0; i < items * columns; i++) x[i] = awkward(true);
  for (size_t c = 0; c < lows; c++) low[c] = next_random() % 5 ? next_float() : -INFINITY;
  for (size_t c = 0; c < highs; c++) high[c] = next_random() % 5 ? next_float() + 1.0f : INFINITY;
  nt_clip clip = {
      .low = low, .high = high, .columns = (uint32_t)columns, .has_one_low = one_low, .has_one_high = one_high};
  for (size_t t = 0; t <= table_count; t++) {
    nt_isa isa = t == 0 ? NT_ISA_SCALAR : tables[t - 1]->isa;
    run_unary(nt_clip_step(isa), &clip, items, x, items * columns * 4, y, items * columns * 4);
    bool right = true;
    for (size_t i = 0; i < items * columns; i++) {
      float least = low[one_low ? 0 : i % columns], most = high[one_high ? 0 : i % columns];
      float bounded = isnan(x[i]) ? x[i] : fminf(fmaxf(x[i], least), most);
      right = right && (y[i] == bounded || (isnan(y[i]) && isnan(bounded)));
    }
    CHECK(right, "clip %s, %zu × %zu, one low %d, one high %d", nt_isa_name(isa), items, columns, one_low, one_high);
  }
  free(x), free(y), free(low), free(high);
}

// MARK: - curves

/// How far a curve may be from its exact value: of the value itself where that is a normal number, or of max(1, |x|).
typedef enum { RELATIVE, ABSOLUTE } error_kind;

static double logistic_exact(double x) { return 1 / (1 + exp(-x)); }
static double gelu_exact(double x) { return 0.5 * x * erfc(-x / sqrt(2)); }
static double softplus_exact(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }

typedef struct curve {
  const char *name;
  /// A step, or null where `activation` tells the function.
  nt_step_function (*step)(nt_isa isa);
  nt_activation activation;
  double (*exact)(double);
  error_kind kind;
  double bound;
} curve;

static const curve curves[] = {
    {"exp", nt_exp_step, NT_ACTIVATION_IDENTITY, exp, RELATIVE, 1e-7},
    {"logistic", nt_logistic_step, NT_ACTIVATION_LOGISTIC, logistic_exact, RELATIVE, 2e-7},
    {"softplus", nt_softplus_step, NT_ACTIVATION_IDENTITY, softplus_exact, RELATIVE, 2e-7},
    {"tanh", NULL, NT_ACTIVATION_TANH, tanh, RELATIVE, 2e-7},
    {"gelu", NULL, NT_ACTIVATION_GELU, gelu_exact, ABSOLUTE, 2e-7},
};
enum { curve_count = sizeof curves / sizeof *curves, points_max = 1 << 16 };

static void run_curve(const curve *curve, const kernels *table, const float *x, float *y, size_t count) {
  memcpy(y, x, count * 4);
  if (!curve->step) {
    table->f32->bias_activate(y, NULL, 1, count, curve->activation);
    return;
  }
  nt_rows parameters = {.columns = (uint32_t)count};
  static float arena[2 * points_max];
  size_t offsets[] = {0, sizeof arena / 2};
  memcpy(arena, x, count * 4);
  nt_call call = {.arena = (uint8_t *)arena, .offsets = offsets, .items = 1, .rows = 1, .units = 1};
  curve->step(table->isa)(&parameters, &call);
  memcpy(y, arena + points_max, count * 4);
}

/// Largest error so far, and where.
typedef struct worst_error {
  double error;
  float at;
  size_t points;
} worst_error;

/// The first of `some` against the exact values, and the others against its bits.
static void check_points(const curve *curve, const kernels *const *some, size_t count_of_some, const float *x,
                         size_t count, worst_error *worst) {
  static float found[points_max], other[points_max];
  run_curve(curve, some[0], x, found, count);
  for (size_t i = 0; i < count; i++) {
    double exact = curve->exact(x[i]), size = fabs(exact);
    if (x[i] != x[i]) {
      CHECK(found[i] != found[i], "%s of the NaN %08x: %g", curve->name, nt_bits(x[i]), found[i]);
      continue;
    }
    // Gelu of −∞ is −∞ · 0.
    if (isinf(x[i]) && curve->kind == ABSOLUTE) continue;
    if (size > 3.4028235e38 || isinf(exact)) {
      CHECK(found[i] == exact || found[i] == INFINITY, "%s of %.9g: %g", curve->name, x[i], found[i]);
      continue;
    }
    if (curve->kind == RELATIVE && size < 1.17549435e-38) {
      CHECK(fabs(found[i] - exact) <= 1.17549435e-38, "%s of %.9g: %g", curve->name, x[i], found[i]);
      continue;
    }
    double error = fabs(found[i] - exact) / (curve->kind == RELATIVE ? size : fmax(1, fabs((double)x[i])));
    worst->points++;
    if (!(error <= worst->error)) worst->error = error, worst->at = x[i];
  }
  for (size_t t = 1; t < count_of_some; t++) {
    run_curve(curve, some[t], x, other, count);
    CHECK(same(found, other, count), "%s, %s, from %.9g: other bits than %s", curve->name, some[t]->name, x[0],
          some[0]->name);
  }
}

/// Floats of all magnitudes, NaN of every payload among them, `stride` bit patterns apart; then a grid where the curves
/// bend. The scalar twin takes part unless every float is tried.
static void check_curves(uint32_t stride) {
  const kernels *some[6];
  size_t count_of_some = 0;
  if (stride > 1 || table_count == 0) some[count_of_some++] = &scalar_kernels;
  for (size_t t = 0; t < table_count; t++) some[count_of_some++] = tables[t];
  static float x[points_max];
  for (size_t c = 0; c < curve_count; c++) {
    worst_error worst = {0};
    size_t count = 0;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += stride) {
      x[count++] = nt_from_bits((uint32_t)bits);
      if (count < points_max && bits + stride <= UINT32_MAX) continue;
      check_points(&curves[c], some, count_of_some, x, count, &worst);
      count = 0;
    }
    static const float spans[] = {1, 8, 89};
    for (size_t s = 0; s < sizeof spans / sizeof *spans; s++) {
      for (int part = 0; part < 8; part++) {
        for (int i = 0; i < points_max; i++) x[i] = ((float)(part * points_max + i) / (4 * points_max) - 1) * spans[s];
        check_points(&curves[c], some, count_of_some, x, points_max, &worst);
      }
    }
    static const uint32_t odd[] = {0x7f800001, 0x7fc00001, 0xff800001, 0xffc00001, 0x7fffffff, 0xffffffff,
                                   0x7f800000, 0xff800000, 0x80000000, 0x42b17217, 0x42b17218, 0xc2aeac4f};
    memcpy(x, odd, sizeof odd);
    check_points(&curves[c], some, count_of_some, x, sizeof odd / 4, &worst);
    printf("%-9s %s error %.2e, of %zu points\n", curves[c].name, curves[c].kind == RELATIVE ? "relative" : "absolute",
           worst.error, worst.points);
    CHECK(worst.error <= curves[c].bound, "%s: error %g at %.9g, bound %g", curves[c].name, worst.error, worst.at,
          curves[c].bound);
  }
  float at[] = {0, 1000, -1000, INFINITY, -INFINITY}, y[5];
  const float values[curve_count][5] = {{1, INFINITY, 0, INFINITY, 0},
                                        {0.5f, 1, 0, 1, 0},
                                        {0.69314718f, 1000, 0, INFINITY, 0},
                                        {0, 1, -1, 1, -1},
                                        {0, 1000, 0, INFINITY, NAN}};
  for (size_t c = 0; c < curve_count; c++) {
    run_curve(&curves[c], &scalar_kernels, at, y, 5);
    for (int i = 0; i < 5; i++) {
      CHECK(y[i] == values[c][i] || (y[i] != y[i] && isnan(values[c][i])), "%s of %g: %.9g", curves[c].name, at[i],
            y[i]);
    }
  }
}

/// Softmax and layer norm of the scalar twin against sums in double precision.
static void check_rows_accuracy(void) {
  double worst_softmax = 0, worst_norm = 0;
  for (size_t columns = 1; columns <= 1200; columns += columns < 70 ? 1 : 113) {
    float *x = exact(columns * 4), *y = exact(columns * 4), *gain = exact(columns * 4), *bias = exact(columns * 4);
    for (size_t c = 0; c < columns; c++) x[c] = next_float() * 8, gain[c] = next_float(), bias[c] = next_float();
    nt_rows softmax = {.columns = (uint32_t)columns};
    run_unary(nt_softmax_step(NT_ISA_SCALAR), &softmax, 1, x, columns * 4, y, columns * 4);
    double largest = -INFINITY, sum = 0, mean = 0, variance = 0;
    for (size_t c = 0; c < columns; c++) largest = fmax(largest, x[c]), mean += x[c] / (double)columns;
    for (size_t c = 0; c < columns; c++) {
      sum += exp(x[c] - largest);
      variance += (x[c] - mean) * (x[c] - mean) / (double)columns;
    }
    for (size_t c = 0; c < columns; c++) worst_softmax = fmax(worst_softmax, fabs(exp(x[c] - largest) / sum - y[c]));
    nt_layer_norm norm = {.columns = (uint32_t)columns, .epsilon = 1e-5f, .gain = gain, .bias = bias};
    run_unary(nt_layer_norm_step(NT_ISA_SCALAR), &norm, 1, x, columns * 4, y, columns * 4);
    for (size_t c = 0; c < columns; c++) {
      double expected = (x[c] - mean) / sqrt(variance + (double)1e-5f) * gain[c] + bias[c];
      worst_norm = fmax(worst_norm, fabs(expected - y[c]) / fmax(1, fabs(expected)));
    }
    free(x), free(y), free(gain), free(bias);
  }
  printf("softmax absolute error %.2e, layer norm %.2e of max(1, |y|)\n", worst_softmax, worst_norm);
  CHECK(worst_softmax <= 2e-7, "softmax: error %g", worst_softmax);
  CHECK(worst_norm <= 2e-7, "layer norm: error %g", worst_norm);
}

/// The sums of 1 to `rows_max` rows, each against the first rows of the scalar twin's, which check_s8
/// compares with plain loops.
static void check_cube(size_t rows_max, size_t n, size_t k, int8_t *w, int8_t *a, const float *scales) {
  size_t stride = nt_s8_row_stride(k);
  for (size_t i = 0; i < n * k; i++) w[i] = fill(FILL_RANDOM);
  for (size_t i = 0; i < rows_max * k; i++) a[i] = fill(FILL_RANDOM);
  for (size_t r = 0; r < rows_max; r++) a[r * k + next_random() % k] = 127;
  int32_t *expected = exact(rows_max * n * 4), *sums = exact(rows_max * n * 4);
  void *packed = aligned(nt_s8_packed_bytes(n, k));
  for (size_t t = 0; t <= table_count; t++) {
    const kernels *table = t == 0 ? &scalar_kernels : tables[t - 1];
    int8_t *rows = quantised(table, a, rows_max, k);
    table->s8->pack(w, scales, NULL, n, k, packed);
    nt_s8_gemm_args args = {.a = rows,
                            .a_stride = stride,
                            .weights = packed,
                            .columns = n,
                            .depth = k,
                            .panel_end = nt_panel_count(n),
                            .accumulators = t == 0 ? expected : sums};
    for (args.rows = t == 0 ? rows_max : 1; args.rows <= rows_max; args.rows++) {
      table->s8->gemm(&args);
      CHECK(t == 0 || !memcmp(sums, expected, args.rows * n * 4), "s8 %s sums, m %zu n %zu k %zu", table->name,
            args.rows, n, k);
    }
    free(rows);
  }
  free(expected), free(sums), free(packed);
}

/// The cube of 1 to 70 rows, 1 to 130 columns and 1 to 130 of depth: all of it, or with every depth
/// `pairs` of the widths, a different few for each.
static void check_cubes(size_t pairs) {
  enum { rows_max = 70, side = 130 };
  int8_t *w = exact(side * side), *a = exact(rows_max * side);
  float *scales = exact(side * 4);
  for (size_t i = 0; i < side; i++) scales[i] = 1;
  for (size_t k = 1; k <= side; k++) {
    for (size_t i = 0; i < pairs; i++) check_cube(rows_max, 1 + (k * 37 + i * 61) % side, k, w, a, scales);
  }
  free(w), free(a), free(scales);
}

static void check_all(size_t pairs) {
  check_cubes(pairs);
  for (size_t m = 1; m <= 20; m++) {
    for (int i = 0; i < 4; i++) {
      size_t n = 1 + next_random() % 130, k = 1 + next_random() % 130;
      check_s8(m, n, k, i % 2 ? FILL_RANDOM : FILL_NONNEGATIVE);
      check_f32(m, n, k);
    }
    check_s8(m, 1 + next_random() % 40, 1 + next_random() % 130, FILL_EXTREME);
  }
  for (size_t k = 1; k <= 130; k++) {
    check_s8(1 + k % 9, 1 + k * 7 % 130, k, k % 2 ? FILL_EXTREME : FILL_NONNEGATIVE);
    check_f32(1 + k % 9, k, 131 - k);
  }
  // Blocks of rows, panels and depth of AMX, and their rests.
  check_s8(8, 17, 64, FILL_RANDOM);
  check_s8(16, 66, 2100, FILL_EXTREME);
  check_s8(17, 50, 65, FILL_NONNEGATIVE);
  check_s8(33, 34, 1090, FILL_RANDOM);
  check_s8(130, 20, 1100, FILL_EXTREME);
  check_s8(141, 49, 200, FILL_NONNEGATIVE);
  check_s8(33, 257, 1023, FILL_RANDOM);
  check_s8(70, 131, 515, FILL_NONNEGATIVE);
  check_s8(5, 130, 4097, FILL_FILLS);
  check_s8(1, 300, 20001, FILL_EXTREME);
  check_s8(3, 17, NT_S8_DEPTH_MAX, FILL_FILLS);
  check_f32(33, 257, 1023);
  check_f32(70, 50, 65);
  check_f32(16, 66, 513);
  check_f32(1, 300, 2049);
  for (size_t columns = 1; columns <= 130; columns++) {
    check_rows(1 + columns % 7, columns, false);
    check_rows(1 + columns % 5, columns, true);
    check_preprocess(1 + columns % 6, columns);
    check_arrange(1 + columns % 6, columns);
    for (int sides = 0; sides < 4; sides++) check_clip(1 + columns % 6, columns, sides & 1, sides & 2);
  }
  check_quantise_by_hand();
  check_bf16_rounding();
  check_rows_accuracy();
  // Every float where the whole cube of products is asked for.
  check_curves(pairs >= 130 ? 1 : 4099);
}

/// The argument: widths of the cube to take with every depth, 1 to 130, or 0 for a few products only.
int main(int count, char **arguments) {
  long pairs = count > 1 ? strtol(arguments[1], NULL, 10) : 1;
  find_tables();
  if (pairs > 0) {
    check_all((size_t)pairs);
    failed += check_tokens() + check_answers();
  } else {
    for (size_t m = 1; m <= 9; m++) check_s8(m, 33, 70 + m, FILL_RANDOM);
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
