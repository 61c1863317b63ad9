// Timing loops of `Tests/peers/run engine`, built as a shared library so that one Python process can
// alternate them with the peers. Every function returns the best of many short rounds: noise on a
// shared machine only ever adds time.

#include <cblas.h>
#include <stdlib.h>
#include <time.h>

#include "nt_internal.h"
#include "nt_plan.h"

#if defined(NT_X86)
#include <immintrin.h>
#endif

static double now_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *aligned_bytes(size_t bytes) {
  void *memory = aligned_alloc(NT_ALIGNMENT, (bytes + 2 * NT_ALIGNMENT - 1) / NT_ALIGNMENT * NT_ALIGNMENT);
  if (!memory) abort();
  return memory;
}

static uint32_t random_state = 1;
static uint32_t next_random(void) { return (random_state = random_state * 1664525u + 1013904223u) >> 8; }

/// Seconds of one CALL: the best of rounds that fill about `seconds`, each some 200 µs long.
#define NT_BEST(seconds, CALL)                                         \
  ({                                                                   \
    double nt_start = now_seconds();                                   \
    CALL;                                                              \
    double nt_once = now_seconds() - nt_start;                         \
    size_t nt_calls = (size_t)(200e-6 / (nt_once + 1e-9)) + 1;         \
    double nt_best = 1e9, nt_end = now_seconds() + (seconds);          \
    do {                                                               \
      nt_start = now_seconds();                                        \
      for (size_t nt_call = 0; nt_call < nt_calls; nt_call++) CALL;    \
      double nt_each = (now_seconds() - nt_start) / (double)nt_calls;  \
      nt_best = nt_each < nt_best ? nt_each : nt_best;                 \
    } while (now_seconds() < nt_end);                                  \
    nt_best;                                                           \
  })

// MARK: - the machine's limits

#define NT_OPAQUE(x) __asm__ volatile("" : "+x"(x))
#define NT_CHAINS 10
enum { peak_steps = 20000 };

#if defined(NT_X86)
NT_TARGET_AVX2 static void peak_s8__avx2(void) {
  __m256i sums[NT_CHAINS], a = _mm256_set1_epi8(3), w = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1);
  for (int i = 0; i < NT_CHAINS; i++) sums[i] = _mm256_setzero_si256();
  for (int step = 0; step < peak_steps; step++) {
    for (int i = 0; i < NT_CHAINS; i++) {
      NT_OPAQUE(a);
      sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(_mm256_maddubs_epi16(a, w), ones));
      NT_OPAQUE(sums[i]);
    }
  }
}

NT_TARGET_AVX2 static void peak_f32__avx2(void) {
  __m256 sums[NT_CHAINS], a = _mm256_set1_ps(3);
  for (int i = 0; i < NT_CHAINS; i++) sums[i] = _mm256_setzero_ps();
  for (int step = 0; step < peak_steps; step++) {
    for (int i = 0; i < NT_CHAINS; i++) {
      sums[i] = _mm256_fmadd_ps(a, a, sums[i]);
      NT_OPAQUE(sums[i]);
    }
  }
}

#define NT_TARGET_512 __attribute__((target("avx512f,avx512vnni")))
NT_TARGET_512 static void peak_s8__avx512vnni(void) {
  __m512i sums[NT_CHAINS], a = _mm512_set1_epi8(3);
  for (int i = 0; i < NT_CHAINS; i++) sums[i] = _mm512_setzero_si512();
  for (int step = 0; step < peak_steps; step++) {
    for (int i = 0; i < NT_CHAINS; i++) {
      sums[i] = _mm512_dpbusd_epi32(sums[i], a, a);
      __asm__ volatile("" : "+v"(sums[i]));
    }
  }
}

NT_TARGET_512 static void peak_f32__avx512vnni(void) {
  __m512 sums[NT_CHAINS], a = _mm512_set1_ps(3);
  for (int i = 0; i < NT_CHAINS; i++) sums[i] = _mm512_setzero_ps();
  for (int step = 0; step < peak_steps; step++) {
    for (int i = 0; i < NT_CHAINS; i++) {
      sums[i] = _mm512_fmadd_ps(a, a, sums[i]);
      __asm__ volatile("" : "+v"(sums[i]));
    }
  }
}

NT_TARGET_AVX2 static void read_all(const uint8_t *from, size_t bytes) {
  __m256i any[4];
  for (int i = 0; i < 4; i++) any[i] = _mm256_setzero_si256();
  for (size_t at = 0; at < bytes; at += 128) {
    for (size_t i = 0; i < 4; i++) any[i] |= _mm256_load_si256((const __m256i *)(from + at + 32 * i));
  }
  for (int i = 0; i < 4; i++) NT_OPAQUE(any[i]);
}
#endif

/// Multiply-adds per second from registers; 0 where this CPU or architecture has no such loop.
double nt_bench_peak(nt_isa isa, bool int8, double seconds) {
#if defined(NT_X86)
  if (!nt_isa_supported(isa)) return 0;
  double steps = (double)NT_CHAINS * peak_steps;
  switch (isa) {
    case NT_ISA_AVX2:
      return int8 ? 32 * steps / NT_BEST(seconds, peak_s8__avx2()) : 8 * steps / NT_BEST(seconds, peak_f32__avx2());
    case NT_ISA_AVX512VNNI:
      return int8 ? 64 * steps / NT_BEST(seconds, peak_s8__avx512vnni())
                  : 16 * steps / NT_BEST(seconds, peak_f32__avx512vnni());
    default:
      return 0;
  }
#else
  (void)isa, (void)int8, (void)seconds;
  return 0;
#endif
}

/// Bytes per second of reading `bytes` again and again.
double nt_bench_read(size_t bytes, double seconds) {
#if defined(NT_X86)
  bytes = bytes / 128 * 128;
  uint8_t *memory = aligned_bytes(bytes);
  memset(memory, 1, bytes);
  double each = NT_BEST(seconds, read_all(memory, bytes));
  free(memory);
  return (double)bytes / each;
#else
  (void)bytes, (void)seconds;
  return 0;
#endif
}

// MARK: - products

/// Seconds of one int8 product with its epilogue.
double nt_bench_s8(nt_isa isa, size_t rows, size_t columns, size_t depth, double seconds) {
  size_t stride = nt_s8_row_stride(depth);
  int8_t *w = aligned_bytes(columns * depth), *a = aligned_bytes(rows * stride);
  float *scales = aligned_bytes(columns * 4), *row_scales = aligned_bytes(rows * 4);
  float *out = aligned_bytes(rows * columns * 4);
  for (size_t i = 0; i < columns * depth; i++) w[i] = (int8_t)((int)(next_random() % 255) - 127);
  for (size_t i = 0; i < rows * stride; i++) a[i] = (int8_t)((int)(next_random() % 255) - 127);
  for (size_t i = 0; i < columns; i++) scales[i] = 0.01f;
  for (size_t i = 0; i < rows; i++) row_scales[i] = 0.01f;
  void *packed = aligned_bytes(nt_s8_packed_bytes(columns, depth));
  const nt_kernel_table *kernels = nt_kernel_table_for(isa);
  kernels->s8_pack(w, scales, NULL, columns, depth, packed);
  nt_s8_gemm_args args = {.a = a, .a_stride = stride, .row_scales = row_scales, .weights = packed, .rows = rows,
                          .columns = columns, .depth = depth, .panel_end = nt_panel_count(columns), .out = out, .activation = NT_ACTIVATION_RELU};
  double each = NT_BEST(seconds, kernels->s8_gemm(&args));
  free(w), free(a), free(scales), free(row_scales), free(out), free(packed);
  return each;
}

/// Seconds of one fp32 product, ours in [0] and OpenBLAS on one thread in [1], alternating.
void nt_bench_f32(nt_isa isa, size_t rows, size_t columns, size_t depth, double seconds, double each[2]) {
  float *w = aligned_bytes(columns * depth * 4), *a = aligned_bytes(rows * depth * 4);
  float *out = aligned_bytes(rows * columns * 4), *packed = aligned_bytes(nt_f32_packed_bytes(columns, depth));
  for (size_t i = 0; i < columns * depth; i++) w[i] = (float)(next_random() % 1000) * 1e-3f - 0.5f;
  for (size_t i = 0; i < rows * depth; i++) a[i] = (float)(next_random() % 1000) * 1e-3f - 0.5f;
  nt_f32_pack(w, NULL, columns, depth, packed);
  nt_f32_gemm_args args = {.a = a, .weights = packed, .rows = rows, .columns = columns, .depth = depth,
                           .panel_end = nt_panel_count(columns), .out = out};
  const nt_kernel_table *kernels = nt_kernel_table_for(isa);
  openblas_set_num_threads(1);
  each[0] = each[1] = 1e9;
  for (int turn = 0; turn < 3; turn++) {
    double ours = NT_BEST(seconds / 6, kernels->f32_gemm(&args));
    double blas = NT_BEST(seconds / 6, cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)columns,
                                                   (int)depth, 1, a, (int)depth, w, (int)depth, 0, out, (int)columns));
    each[0] = ours < each[0] ? ours : each[0];
    each[1] = blas < each[1] ? blas : each[1];
  }
  free(w), free(a), free(out), free(packed);
}

// MARK: - plans

enum { layers_max = 8 };

/// An int8 multilayer perceptron as the plan compiler lowers it: quantise, dense, quantise, …
typedef struct nt_bench_mlp {
  nt_step steps[2 * layers_max];
  nt_plan plan;
  uint8_t *arena;
  size_t out_offset;
} nt_bench_mlp;

nt_bench_mlp *nt_bench_mlp_new(nt_isa isa, size_t rows_max, size_t layers, const uint32_t *widths,
                               const int8_t *const *weights, const float *const *scales, const float *const *bias) {
  if (layers > layers_max) abort();
  nt_bench_mlp *mlp = calloc(1, sizeof *mlp);
  if (!mlp) abort();
  size_t widest = 0;
  for (size_t i = 0; i <= layers; i++) widest = widths[i] > widest ? widths[i] : widest;
  size_t values = nt_s8_row_stride(rows_max * widest * 4), rows = rows_max * nt_s8_row_stride(widest);
  for (size_t i = 0; i < layers; i++) {
    void *packed = aligned_bytes(nt_s8_packed_bytes(widths[i + 1], widths[i]));
    nt_kernel_table_for(isa)->s8_pack(weights[i], scales[i], bias[i], widths[i + 1], widths[i], packed);
    size_t in = i % 2 * values, out = (i + 1) % 2 * values;
    mlp->steps[2 * i] = (nt_step){.kind = NT_STEP_QUANTISE, .in_columns = widths[i], .out_columns = widths[i],
                                  .in_offset = in, .out_offset = 2 * values, .scales_offset = 2 * values + rows};
    mlp->steps[2 * i + 1] = (nt_step){.kind = NT_STEP_DENSE_S8, .in_columns = widths[i], .out_columns = widths[i + 1],
                                      .in_offset = 2 * values, .out_offset = out,
                                      .scales_offset = 2 * values + rows, .weights = packed,
                                      .activation = i + 1 < layers ? NT_ACTIVATION_RELU : NT_ACTIVATION_IDENTITY};
    mlp->out_offset = out;
  }
  mlp->plan = (nt_plan){.kernels = nt_kernel_table_for(isa), .steps = mlp->steps, .step_count = 2 * layers};
  mlp->arena = aligned_bytes(2 * values + rows + nt_s8_row_stride(4 * rows_max));
  return mlp;
}

/// Seconds of one run over `rows` rows of `x`; the last answer goes to `y`. The input is written anew
/// each time, as a server does, because an even layer's output takes its place.
double nt_bench_mlp_run(nt_bench_mlp *mlp, size_t rows, const float *x, size_t x_bytes, float *y, size_t y_bytes,
                        double seconds) {
  double each =
      NT_BEST(seconds, (memcpy(mlp->arena, x, x_bytes), nt_plan_run(&mlp->plan, mlp->arena, rows)));
  memcpy(y, mlp->arena + mlp->out_offset, y_bytes);
  return each;
}

void nt_bench_mlp_free(nt_bench_mlp *mlp) {
  for (size_t i = 1; i < mlp->plan.step_count; i += 2) free((void *)mlp->steps[i].weights);
  free(mlp->arena);
  free(mlp);
}

/// Seconds of a plan without steps: what calling a plan costs.
double nt_bench_empty_plan(nt_isa isa, double seconds) {
  nt_plan plan = {.kernels = nt_kernel_table_for(isa)};
  nt_plan *hidden = &plan;
  return NT_BEST(seconds, ({
                   __asm__ volatile("" : "+r"(hidden)::"memory");
                   nt_plan_run(hidden, NULL, 1);
                 }));
}
