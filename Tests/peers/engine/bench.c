// Timing loops of `Tests/peers/run engine`, built as a shared library so that one Python process can
// alternate them with the peers. Every function is one round: the mean over as many calls as fill the
// time given. The process takes rounds of all rows in turn and the median of each.

#include <cblas.h>
#include <stdlib.h>
#include <time.h>

#include "nt_math.h"
#include "nt_dense.h"
#include "nt_rows.h"

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

/// Seconds of one CALL: the mean over about `seconds`, after one call that warms the caches.
#define NT_ROUND(seconds, CALL)                                                        \
  ({                                                                                   \
    CALL;                                                                              \
    double nt_start = now_seconds(), nt_spent;                                         \
    size_t nt_calls = 0, nt_batch = 1;                                                 \
    do {                                                                               \
      for (size_t nt_call = 0; nt_call < nt_batch; nt_call++) CALL;                    \
      nt_calls += nt_batch;                                                            \
      nt_spent = now_seconds() - nt_start;                                             \
      /* Batches of a quarter of the time: the clock costs as much as a small plan. */ \
      nt_batch = (size_t)((double)nt_calls * (seconds) / 4 / nt_spent) + 1;            \
    } while (nt_spent < (seconds));                                                    \
    nt_spent / (double)nt_calls;                                                       \
  })

// MARK: - the machine's limits

#define NT_OPAQUE(x) __asm__ volatile("" : "+x"(x))
#define NT_CHAINS 10
enum { peak_steps = 2000 };

#if defined(NT_X86)
/// The instructions of int8 products, from registers. FACTOR: the weights as maddubs gets them.
#define NT_PEAK_S8(name, FACTOR)                                                                            \
  NT_TARGET_AVX2 static void name(void) {                                                                   \
    __m256i sums[NT_CHAINS], a = _mm256_set1_epi8(3), w = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1); \
    for (int i = 0; i < NT_CHAINS; i++) sums[i] = _mm256_setzero_si256();                                   \
    for (int step = 0; step < peak_steps; step++) {                                                         \
      for (int i = 0; i < NT_CHAINS; i++) {                                                                 \
        NT_OPAQUE(a);                                                                                       \
        sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(_mm256_maddubs_epi16(a, FACTOR), ones));      \
        NT_OPAQUE(sums[i]);                                                                                 \
      }                                                                                                     \
    }                                                                                                       \
  }

NT_PEAK_S8(peak_s8__avx2, w)
NT_PEAK_S8(peak_s8_xor__avx2, _mm256_xor_si256(w, a))
NT_PEAK_S8(peak_s8_psignb__avx2, _mm256_sign_epi8(w, a))

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

/// Two start in a cycle and take up to five: ten chains reach five sixths of what sixteen do.
#define NT_WIDE_CHAINS 16
#define NT_TARGET_512 __attribute__((target("avx512f,avx512vnni")))
NT_TARGET_512 static void peak_s8__avx512vnni(void) {
  __m512i sums[NT_WIDE_CHAINS], a = _mm512_set1_epi8(3);
  for (int i = 0; i < NT_WIDE_CHAINS; i++) sums[i] = _mm512_setzero_si512();
  for (int step = 0; step < peak_steps; step++) {
    for (int i = 0; i < NT_WIDE_CHAINS; i++) {
      sums[i] = _mm512_dpbusd_epi32(sums[i], a, a);
      __asm__ volatile("" : "+v"(sums[i]));
    }
  }
}

NT_TARGET_512 static void peak_f32__avx512vnni(void) {
  __m512 sums[NT_WIDE_CHAINS], a = _mm512_set1_ps(3);
  for (int i = 0; i < NT_WIDE_CHAINS; i++) sums[i] = _mm512_setzero_ps();
  for (int step = 0; step < peak_steps; step++) {
    for (int i = 0; i < NT_WIDE_CHAINS; i++) {
      sums[i] = _mm512_fmadd_ps(a, a, sums[i]);
      __asm__ volatile("" : "+v"(sums[i]));
    }
  }
}

/// Multiply-adds of one product of tiles.
enum { amx_multiply_adds = 16 * 16 * 64, amx_chains = 4 };
__attribute__((target("amx-tile,amx-int8"))) static void peak_s8__amx(void) {
  struct __attribute__((packed)) {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } config = {.palette = 1};
  for (int i = 0; i < 8; i++) config.row_bytes[i] = 64, config.rows[i] = 16;
  _tile_loadconfig(&config);
  _tile_zero(0), _tile_zero(1), _tile_zero(2), _tile_zero(3);
  _tile_zero(4), _tile_zero(5), _tile_zero(6), _tile_zero(7);
  for (int step = 0; step < peak_steps; step++) {
    _tile_dpbsud(0, 4, 6), _tile_dpbsud(1, 4, 7), _tile_dpbsud(2, 5, 6), _tile_dpbsud(3, 5, 7);
  }
  _tile_release();
}

/// Reads of 64 bytes: those of 32 reach two thirds of what L2 delivers.
NT_TARGET_512 static void read_all__avx512vnni(const uint8_t *from, size_t bytes) {
  __m512i any[4];
  for (int i = 0; i < 4; i++) any[i] = _mm512_setzero_si512();
  size_t at = 0;
  for (; at + 256 <= bytes; at += 256) {
    for (size_t i = 0; i < 4; i++) any[i] |= _mm512_load_si512(from + at + 64 * i);
  }
  for (; at + 64 <= bytes; at += 64) any[0] |= _mm512_load_si512(from + at);
  for (int i = 0; i < 4; i++) __asm__ volatile("" : "+v"(any[i]));
}

NT_TARGET_AVX2 static void read_all__avx2(const uint8_t *from, size_t bytes) {
  __m256i any[4];
  for (int i = 0; i < 4; i++) any[i] = _mm256_setzero_si256();
  for (size_t at = 0; at < bytes; at += 128) {
    for (size_t i = 0; i < 4; i++) any[i] |= _mm256_load_si256((const __m256i *)(from + at + 32 * i));
  }
  for (int i = 0; i < 4; i++) NT_OPAQUE(any[i]);
}
#endif

typedef enum nt_bench_mix { NT_MIX_F32, NT_MIX_S8, NT_MIX_S8_XOR, NT_MIX_S8_PSIGNB } nt_bench_mix;

/// Multiply-adds per second from registers; 0 where this CPU or architecture has no such loop.
double nt_bench_peak(nt_isa isa, nt_bench_mix mix, double seconds) {
#if defined(NT_X86)
  if (!nt_isa_supported(isa)) return 0;
  double steps = (double)NT_CHAINS * peak_steps;
  if (isa == NT_ISA_AVX2) {
    switch (mix) {
      case NT_MIX_F32:
        return 8 * steps / NT_ROUND(seconds, peak_f32__avx2());
      case NT_MIX_S8:
        return 32 * steps / NT_ROUND(seconds, peak_s8__avx2());
      case NT_MIX_S8_XOR:
        return 32 * steps / NT_ROUND(seconds, peak_s8_xor__avx2());
      case NT_MIX_S8_PSIGNB:
        return 32 * steps / NT_ROUND(seconds, peak_s8_psignb__avx2());
    }
  }
  steps = (double)NT_WIDE_CHAINS * peak_steps;
  bool is_wide = isa == NT_ISA_AVX512VNNI || isa == NT_ISA_AMX;
  if (is_wide && mix == NT_MIX_F32) return 16 * steps / NT_ROUND(seconds, peak_f32__avx512vnni());
  if (isa == NT_ISA_AVX512VNNI && mix == NT_MIX_S8) return 64 * steps / NT_ROUND(seconds, peak_s8__avx512vnni());
  if (isa == NT_ISA_AMX && mix == NT_MIX_S8) {
    return (double)amx_multiply_adds * amx_chains * peak_steps / NT_ROUND(seconds, peak_s8__amx());
  }
#else
  (void)isa, (void)mix, (void)seconds;
#endif
  return 0;
}

/// Bytes per second of reading `memory` again and again; 0 where this architecture has no such loop.
double nt_bench_read(const void *memory, size_t bytes, double seconds) {
#if defined(NT_X86)
  bytes = bytes / 128 * 128;
  if (nt_isa_supported(NT_ISA_AVX512VNNI)) {
    return (double)bytes / NT_ROUND(seconds, read_all__avx512vnni(memory, bytes));
  }
  return (double)bytes / NT_ROUND(seconds, read_all__avx2(memory, bytes));
#else
  (void)memory, (void)bytes, (void)seconds;
  return 0;
#endif
}

// MARK: - products

/// Operands of products of up to `rows` rows.
typedef struct nt_bench_product {
  const nt_s8_kernels *s8_kernels;
  const nt_f32_kernels *f32_kernels;
  size_t packed_bytes;
  nt_s8_gemm_args s8;
  nt_f32_gemm_args f32;
  /// The fp32 weights before packing, for OpenBLAS.
  float *w;
} nt_bench_product;

static float *random_floats(size_t count) {
  float *x = aligned_bytes(count * sizeof *x);
  for (size_t i = 0; i < count; i++) x[i] = (float)(next_random() % 1000) * 1e-3f - 0.5f;
  return x;
}

nt_bench_product *nt_bench_s8_new(nt_isa isa, size_t rows, size_t columns, size_t depth) {
  nt_bench_product *product = calloc(1, sizeof *product);
  if (!product) abort();
  product->s8_kernels = nt_s8_kernels_for(isa);
  product->packed_bytes = nt_s8_packed_bytes(columns, depth);
  size_t stride = nt_s8_row_stride(depth);
  int8_t *w = aligned_bytes(columns * depth), *a = aligned_bytes(rows * stride);
  float *x = random_floats(rows * depth), *scales = random_floats(columns), *row_scales = aligned_bytes(rows * 4);
  for (size_t i = 0; i < columns * depth; i++) w[i] = (int8_t)((int)(next_random() % 255) - 127);
  void *packed = aligned_bytes(product->packed_bytes);
  product->s8_kernels->pack(w, scales, NULL, columns, depth, packed);
  product->s8_kernels->quantise(x, rows, depth, a, stride, row_scales);
  product->s8 = (nt_s8_gemm_args){.a = a,
                                  .a_stride = stride,
                                  .row_scales = row_scales,
                                  .weights = packed,
                                  .columns = columns,
                                  .depth = depth,
                                  .panel_end = nt_panel_count(columns),
                                  .out = aligned_bytes(rows * columns * 4),
                                  .activation = NT_ACTIVATION_RELU};
  free(w), free(x), free(scales);
  return product;
}

/// Seconds of one int8 product with its epilogue. The time does not depend on the elements, so the
/// promise that none is below 0 may be given without being kept.
double nt_bench_s8_run(nt_bench_product *product, size_t rows, bool nonnegative, double seconds) {
  product->s8.rows = rows;
  product->s8.a_is_nonnegative = nonnegative;
  return NT_ROUND(seconds, product->s8_kernels->gemm(&product->s8));
}

/// Bytes per second of reading the packed weights of an int8 product.
double nt_bench_s8_read(nt_bench_product *product, double seconds) {
  return nt_bench_read(product->s8.weights, product->packed_bytes, seconds);
}

/// Bytes per second of reading the packed fp32 weights.
double nt_bench_f32_read(nt_bench_product *product, double seconds) {
  return nt_bench_read(product->f32.weights, product->packed_bytes, seconds);
}

nt_bench_product *nt_bench_f32_new(nt_isa isa, size_t rows, size_t columns, size_t depth) {
  nt_bench_product *product = calloc(1, sizeof *product);
  if (!product) abort();
  product->f32_kernels = nt_f32_kernels_for(isa);
  product->w = random_floats(columns * depth);
  product->packed_bytes = nt_f32_packed_bytes(columns, depth);
  float *packed = aligned_bytes(product->packed_bytes);
  nt_f32_pack(product->w, NULL, columns, depth, packed);
  product->f32 = (nt_f32_gemm_args){.a = random_floats(rows * depth),
                                    .weights = packed,
                                    .columns = columns,
                                    .depth = depth,
                                    .panel_end = nt_panel_count(columns),
                                    .out = aligned_bytes(rows * columns * 4)};
  openblas_set_num_threads(1);
  return product;
}

/// Seconds of one fp32 product.
double nt_bench_f32_run(nt_bench_product *product, size_t rows, double seconds) {
  product->f32.rows = rows;
  return NT_ROUND(seconds, product->f32_kernels->gemm(&product->f32));
}

/// Seconds of one fp32 product by OpenBLAS on one thread.
double nt_bench_f32_run_blas(nt_bench_product *product, size_t rows, double seconds) {
  const nt_f32_gemm_args *args = &product->f32;
  int m = (int)rows, n = (int)args->columns, k = (int)args->depth;
  return NT_ROUND(seconds, cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1, args->a, k, product->w, k,
                                       0, args->out, n));
}

void nt_bench_product_free(nt_bench_product *product) {
  free((void *)product->s8.a), free((void *)product->s8.row_scales), free((void *)product->s8.weights);
  free(product->s8.out), free((void *)product->f32.a), free((void *)product->f32.weights), free(product->f32.out);
  free(product->w), free(product);
}

// MARK: - row operations

typedef enum nt_bench_row_operation {
  NT_ROWS_QUANTISE,
  NT_ROWS_QUANTISE_KNOWN,
  NT_ROWS_LOGISTIC,
  NT_ROWS_SOFTMAX,
  NT_ROWS_ARGMAX,
  NT_ROWS_TANH,
  NT_ROWS_GELU,
  NT_ROWS_EXP,
  NT_ROWS_LAYER_NORM,
} nt_bench_row_operation;

/// Seconds of one row operation on rows × columns. Activations work in place, again and again; a bias keeps what they
/// are given from shrinking to subnormal numbers, which processors compute a hundred times slower.
double nt_bench_rows(nt_isa isa, nt_bench_row_operation operation, size_t rows, size_t columns, double seconds) {
  const nt_s8_kernels *kernels = nt_s8_kernels_for(isa);
  const nt_f32_kernels *f32_kernels = nt_f32_kernels_for(isa);
  size_t stride = nt_s8_row_stride(columns);
  // Input and output are the buffers of a step, in one arena.
  size_t bytes = rows * columns * 4, offsets[] = {0, bytes};
  float *x = random_floats(2 * rows * columns), *scales = random_floats(rows);
  nt_rows parameters = {.columns = (uint32_t)columns};
  float *gain = random_floats(columns), *bias = aligned_bytes(columns * 4);
  for (size_t c = 0; c < columns; c++) bias[c] = 0.5f;
  nt_layer_norm layer_norm = {.columns = (uint32_t)columns, .epsilon = 1e-5f, .gain = gain, .bias = bias};
  nt_call call = {.arena = (uint8_t *)x, .offsets = offsets, .items = rows, .rows = rows, .units = rows};
  int8_t *q = aligned_bytes(rows * stride);
  uint32_t *magnitudes = aligned_bytes(rows * 4);
  for (size_t r = 0; r < rows; r++) magnitudes[r] = nt_magnitude(x + r * columns, columns);
  double each = 0;
  switch (operation) {
    case NT_ROWS_QUANTISE:
      each = NT_ROUND(seconds, kernels->quantise(x, rows, columns, q, stride, scales));
      break;
    case NT_ROWS_QUANTISE_KNOWN:
      each = NT_ROUND(seconds, kernels->quantise_known(x, magnitudes, rows, columns, q, stride, scales));
      break;
    case NT_ROWS_LOGISTIC:
      each = NT_ROUND(seconds, nt_logistic_step(isa)(&parameters, &call));
      break;
    case NT_ROWS_SOFTMAX:
      each = NT_ROUND(seconds, nt_softmax_step(isa)(&parameters, &call));
      break;
    case NT_ROWS_ARGMAX:
      each = NT_ROUND(seconds, nt_argmax_step(isa)(&parameters, &call));
      break;
    case NT_ROWS_TANH:
      each = NT_ROUND(seconds, f32_kernels->bias_activate(x, bias, rows, columns, NT_ACTIVATION_TANH));
      break;
    case NT_ROWS_GELU:
      each = NT_ROUND(seconds, f32_kernels->bias_activate(x, bias, rows, columns, NT_ACTIVATION_GELU));
      break;
    case NT_ROWS_EXP:
      each = NT_ROUND(seconds, nt_exp_step(isa)(&parameters, &call));
      break;
    case NT_ROWS_LAYER_NORM:
      each = NT_ROUND(seconds, nt_layer_norm_step(isa)(&layer_norm, &call));
      break;
  }
  free(x), free(scales), free(q), free(magnitudes), free(gain), free(bias);
  return each;
}

// MARK: - plans

enum { layers_max = 8 };

/// A multilayer perceptron with ReLU between its layers, as the plan compiler lowers it.
typedef struct nt_bench_mlp {
  nt_step steps[2 * layers_max];
  nt_quantise quantise[layers_max];
  nt_dense_s8 s8[layers_max];
  nt_dense_f32 f32[layers_max];
  /// Offsets for each layer: its input, the quantised rows, their scales, their magnitudes; then those of its product.
  size_t quantise_offsets[layers_max][4], s8_offsets[layers_max][4], f32_offsets[layers_max][2];
  nt_plan plan;
  uint8_t *arena;
  size_t out_offset, layer_count;
} nt_bench_mlp;

static nt_bench_mlp *mlp_new(size_t rows_max, size_t layers, const uint32_t *widths) {
  if (layers > layers_max) abort();
  nt_bench_mlp *mlp = calloc(1, sizeof *mlp);
  if (!mlp) abort();
  size_t widest = 0;
  for (size_t i = 0; i <= layers; i++) widest = widths[i] > widest ? widths[i] : widest;
  // The arena: two values, the quantised rows, their scales and magnitudes.
  size_t values = rows_max * widest * 4 / NT_ALIGNMENT * NT_ALIGNMENT + NT_ALIGNMENT;
  size_t rows = rows_max * nt_s8_row_stride(widest), scales = 2 * values + rows, magnitudes = scales + 4 * rows_max;
  for (size_t i = 0; i < layers; i++) {
    size_t in = i % 2 * values, out = (i + 1) % 2 * values;
    memcpy(mlp->quantise_offsets[i], (size_t[]){in, 2 * values, scales, magnitudes}, sizeof mlp->quantise_offsets[i]);
    memcpy(mlp->s8_offsets[i], (size_t[]){2 * values, scales, out, magnitudes}, sizeof mlp->s8_offsets[i]);
    memcpy(mlp->f32_offsets[i], (size_t[]){in, out}, sizeof mlp->f32_offsets[i]);
    mlp->out_offset = out;
  }
  mlp->plan = (nt_plan){.steps = mlp->steps, .share_rows_min = SIZE_MAX, .share_units_min = SIZE_MAX};
  mlp->arena = aligned_bytes(2 * values + rows + 8 * rows_max);
  mlp->layer_count = layers;
  return mlp;
}

nt_bench_mlp *nt_bench_mlp_new_s8(nt_isa isa, size_t rows_max, size_t layers, const uint32_t *widths,
                                  const int8_t *const *weights, const float *const *scales, const float *const *bias) {
  nt_bench_mlp *mlp = mlp_new(rows_max, layers, widths);
  const nt_s8_kernels *kernels = nt_s8_kernels_for(isa);
  for (size_t i = 0; i < layers; i++) {
    void *packed = aligned_bytes(nt_s8_packed_bytes(widths[i + 1], widths[i]));
    kernels->pack(weights[i], scales[i], bias[i], widths[i + 1], widths[i], packed);
    mlp->quantise[i] = (nt_quantise){.kernels = kernels, .columns = widths[i], .has_magnitudes = i > 0};
    mlp->s8[i] = (nt_dense_s8){.kernels = kernels,
                               .weights = packed,
                               .columns = widths[i + 1],
                               .depth = widths[i],
                               .activation = i + 1 < layers ? NT_ACTIVATION_RELU : NT_ACTIVATION_IDENTITY,
                               .input_is_nonnegative = i > 0,
                               .gathers_magnitudes = i + 1 < layers};
    mlp->steps[2 * i] =
        (nt_step){.run = nt_quantise_step, .parameters = &mlp->quantise[i], .offsets = mlp->quantise_offsets[i]};
    mlp->steps[2 * i + 1] =
        (nt_step){.run = nt_dense_s8_step, .parameters = &mlp->s8[i], .offsets = mlp->s8_offsets[i]};
  }
  mlp->plan.step_count = 2 * layers;
  return mlp;
}

nt_bench_mlp *nt_bench_mlp_new_f32(nt_isa isa, size_t rows_max, size_t layers, const uint32_t *widths,
                                   const float *const *weights, const float *const *bias) {
  nt_bench_mlp *mlp = mlp_new(rows_max, layers, widths);
  for (size_t i = 0; i < layers; i++) {
    float *packed = aligned_bytes(nt_f32_packed_bytes(widths[i + 1], widths[i]));
    nt_f32_pack(weights[i], bias[i], widths[i + 1], widths[i], packed);
    mlp->f32[i] = (nt_dense_f32){.kernels = nt_f32_kernels_for(isa),
                                 .weights = packed,
                                 .columns = widths[i + 1],
                                 .depth = widths[i],
                                 .activation = i + 1 < layers ? NT_ACTIVATION_RELU : NT_ACTIVATION_IDENTITY};
    mlp->steps[i] = (nt_step){.run = nt_dense_f32_step, .parameters = &mlp->f32[i], .offsets = mlp->f32_offsets[i]};
  }
  mlp->plan.step_count = layers;
  return mlp;
}

/// Seconds of one run over `rows` rows of `x`; the last answer goes to `y`. The input is written anew
/// each time, as a server does, because an even layer's output takes its place.
double nt_bench_mlp_run(nt_bench_mlp *mlp, size_t rows, const float *x, size_t x_bytes, float *y, size_t y_bytes,
                        double seconds) {
  double each = NT_ROUND(seconds, (memcpy(mlp->arena, x, x_bytes), nt_plan_run(&mlp->plan, mlp->arena, rows, rows)));
  memcpy(y, mlp->arena + mlp->out_offset, y_bytes);
  return each;
}

void nt_bench_mlp_free(nt_bench_mlp *mlp) {
  for (size_t i = 0; i < mlp->layer_count; i++) {
    free((void *)mlp->s8[i].weights);
    free((void *)mlp->f32[i].weights);
  }
  free(mlp->arena);
  free(mlp);
}

/// Seconds of a plan without steps: what calling a plan costs.
double nt_bench_empty_plan(double seconds) {
  nt_plan plan = {.share_rows_min = SIZE_MAX, .share_units_min = SIZE_MAX};
  nt_plan *hidden = &plan;
  return NT_ROUND(seconds, ({
                    __asm__ volatile("" : "+r"(hidden)::"memory");
                    nt_plan_run(hidden, NULL, 1, 1);
                  }));
}
