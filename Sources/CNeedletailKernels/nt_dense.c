#include "nt_dense.h"

#include "nt_lanes.h"
#include "nt_pool.h"

// MARK: - kernels by instruction set

/// Adds a bias and activates, for products of a library.
NT_INLINE void bias_activate(float *x, const float *bias, size_t rows, size_t columns, nt_activation activation) {
  if (!bias) {
    nt_activate(x, rows * columns, activation);
    return;
  }
  for (size_t row = 0; row < rows; row++, x += columns) {
    for (size_t c = 0; c < columns; c++) x[c] += bias[c];
    nt_activate(x, columns, activation);
  }
}

#define NT_BIAS_ACTIVATE(isa, target)                                                               \
  target void nt_f32_bias_activate__##isa(float *x, const float *bias, size_t rows, size_t columns, \
                                          nt_activation activation) {                               \
    bias_activate(x, bias, rows, columns, activation);                                              \
  }

#define NT_S8_KERNELS(isa, packing, rows, ...)                                 \
  static const nt_s8_kernels s8__##isa = {.pack = nt_s8_pack__##packing,       \
                                          .gemm = nt_s8_gemm__##isa,           \
                                          .ways = {__VA_ARGS__},               \
                                          .quantise = nt_f32_quantise__##rows, \
                                          .quantise_known = nt_f32_quantise_known__##rows};
#define NT_F32_KERNELS(name, isa, rows, ...)                                                \
  static const nt_f32_kernels f32__##name = {.gemm = nt_f32_gemm__##isa,                    \
                                             .bf16_gemm = nt_bf16_gemm__##isa,              \
                                             .bias_activate = nt_f32_bias_activate__##rows, \
                                             __VA_ARGS__};

NT_DECLARE_KERNELS(scalar)
NT_BIAS_ACTIVATE(scalar, )
NT_S8_KERNELS(scalar, scalar, scalar, )
NT_F32_KERNELS(scalar, scalar, scalar, .bf16_tiles = NULL)
#if defined(NT_X86)
NT_DECLARE_KERNELS(avx2)
NT_DECLARE_KERNELS(avx512vnni)
NT_DECLARE_KERNELS(amx)
NT_BIAS_ACTIVATE(avx2, NT_TARGET_AVX2)
NT_BIAS_ACTIVATE(avx512vnni, NT_TARGET_AVX512VNNI)
NT_S8_KERNELS(avx2, scalar, avx2, NULL)
NT_S8_KERNELS(avx512vnni, avx512vnni, avx512vnni, nt_s8_gemm_near__avx512vnni, nt_s8_gemm_far__avx512vnni)
NT_S8_KERNELS(amx, avx512vnni, avx512vnni, nt_s8_gemm__amx, nt_s8_gemm_near__avx512vnni, nt_s8_gemm_far__avx512vnni)
NT_F32_KERNELS(avx2, avx2, avx2, .bf16_tiles = NULL)
NT_F32_KERNELS(avx512vnni, avx512vnni, avx512vnni, .bf16_tiles = NULL)
NT_F32_KERNELS(amx, avx512vnni, avx512vnni, .bf16_tiles = nt_bf16_tiles__amx, .round_rows = nt_bf16_round_rows__amx)
#elif defined(NT_ARM64)
NT_DECLARE_KERNELS(neon)
NT_DECLARE_KERNELS(neon_i8mm)
NT_S8_KERNELS(neon, scalar, neon, NULL)
NT_S8_KERNELS(neon_i8mm, neon_i8mm, neon, NULL)
NT_F32_KERNELS(neon, neon, scalar, .bf16_tiles = NULL)
#endif

const nt_s8_kernels *nt_s8_kernels_for(nt_isa isa) {
  switch (isa) {
    case NT_ISA_SCALAR:
      return &s8__scalar;
#if defined(NT_X86)
    case NT_ISA_AVX2:
      return &s8__avx2;
    case NT_ISA_AVX512VNNI:
      return &s8__avx512vnni;
    case NT_ISA_AMX:
      return &s8__amx;
#elif defined(NT_ARM64)
    case NT_ISA_NEON:
      return &s8__neon;
    case NT_ISA_NEON_I8MM:
      return &s8__neon_i8mm;
#endif
    default:
      return NULL;
  }
}

const nt_f32_kernels *nt_f32_kernels_for(nt_isa isa) {
  switch (isa) {
    case NT_ISA_SCALAR:
      return &f32__scalar;
#if defined(NT_X86)
    case NT_ISA_AVX2:
      return &f32__avx2;
    case NT_ISA_AVX512VNNI:
      return &f32__avx512vnni;
    case NT_ISA_AMX:
      return nt_has_bf16_tiles() ? &f32__amx : &f32__avx512vnni;
#elif defined(NT_ARM64)
    case NT_ISA_NEON:
    case NT_ISA_NEON_I8MM:
      return &f32__neon;
#endif
    default:
      return NULL;
  }
}

// MARK: - layers

/// Panels that a part of a shared layer begins at a multiple of, where there are enough: the widest
/// tile of a lone row.
enum { tile_panels = 4, parts_per_thread = 4 };

/// One layer, whole or to be shared: the product of one of the two types, less its panels.
typedef struct layer {
  nt_s8_gemm s8_gemm;
  nt_f32_gemm f32_gemm;
  const nt_s8_gemm_args *s8;
  const nt_f32_gemm_args *f32;
  size_t items, columns, panels, unit, parts;
  /// Null, or where all parts of the layer gather the magnitudes of its items.
  uint32_t *magnitudes;
} layer;

static void run_panels(const layer *layer, size_t first, size_t end, uint32_t *magnitudes) {
  if (layer->s8) {
    nt_s8_gemm_args args = *layer->s8;
    args.panel_first = first;
    args.panel_end = end;
    args.row_magnitudes = magnitudes;
    layer->s8_gemm(&args);
  } else {
    nt_f32_gemm_args args = *layer->f32;
    args.panel_first = first;
    args.panel_end = end;
    args.row_magnitudes = magnitudes;
    layer->f32_gemm(&args);
  }
}

/// Raises what the threads of a layer share. The largest of some numbers is the same in any order.
static void raise(uint32_t *shared, const uint32_t *own, size_t count) {
  for (size_t i = 0; i < count; i++) {
    uint32_t known = __atomic_load_n(&shared[i], __ATOMIC_RELAXED);
    while (own[i] > known &&
           !__atomic_compare_exchange_n(&shared[i], &known, own[i], true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
  }
}

static void run_part(const void *context, size_t part) {
  const layer *layer = context;
  size_t units = (layer->panels + layer->unit - 1) / layer->unit;
  size_t first = units * part / layer->parts * layer->unit, end = units * (part + 1) / layer->parts * layer->unit;
  if (end > layer->panels) end = layer->panels;
  if (!layer->magnitudes) {
    run_panels(layer, first, end, NULL);
    return;
  }
  // 64 KiB of stack, of which a run touches four bytes an item.
  uint32_t own[NT_PLAN_ITEMS_MAX];
  memset(own, 0, layer->items * sizeof *own);
  run_panels(layer, first, end, own);
  raise(layer->magnitudes, own, layer->items);
}

/// - shares: whether this run may take the helpers of the pool.
static void run_layer(layer *layer, const nt_dense_time *time, bool shares) {
  layer->panels = nt_panel_count(layer->columns);
  if (layer->magnitudes) memset(layer->magnitudes, 0, layer->items * sizeof *layer->magnitudes);
  size_t wanted = shares ? nt_dense_threads(time, layer->items) : 1;
  if (wanted > 1) {
    size_t threads = nt_pool_acquire(wanted < layer->panels ? wanted : layer->panels);
    if (threads > 1) {
      layer->unit = layer->panels >= 2 * tile_panels * threads ? tile_panels : 1;
      size_t units = (layer->panels + layer->unit - 1) / layer->unit;
      layer->parts = units < parts_per_thread * threads ? units : parts_per_thread * threads;
      nt_pool_run(run_part, layer, threads, layer->parts);
      return;
    }
  }
  run_panels(layer, 0, layer->panels, layer->magnitudes);
}

// MARK: - steps

void nt_quantise_step(const void *parameters, const nt_call *call) {
  const nt_quantise *p = parameters;
  const float *x = nt_buffer(call, 0);
  int8_t *q = nt_buffer(call, 1);
  float *scales = nt_buffer(call, 2);
  size_t stride = nt_s8_row_stride(p->columns);
  if (p->has_magnitudes) {
    p->kernels->quantise_known(x, nt_buffer(call, 3), call->items, p->columns, q, stride, scales);
  } else {
    p->kernels->quantise(x, call->items, p->columns, q, stride, scales);
  }
}

void nt_dense_choose(nt_dense_s8 *layer, size_t bucket, nt_s8_gemm gemm) {
  assert(bucket < NT_DENSE_BUCKETS);
  __atomic_store_n(&layer->gemms[bucket], gemm, __ATOMIC_RELAXED);
}

void nt_dense_s8_step(const void *parameters, const nt_call *call) {
  const nt_dense_s8 *p = parameters;
  nt_s8_gemm_args args = {
      .a = nt_buffer(call, 0),
      .a_stride = nt_s8_row_stride(p->depth),
      .row_scales = nt_buffer(call, 1),
      .weights = p->weights,
      .rows = call->items,
      .columns = p->columns,
      .depth = p->depth,
      .out = nt_buffer(call, 2),
      .activation = p->activation,
      .a_is_nonnegative = p->input_is_nonnegative,
  };
  nt_s8_gemm chosen = __atomic_load_n(&p->gemms[nt_dense_bucket(call->items)], __ATOMIC_RELAXED);
  layer layer = {
      .s8_gemm = chosen ? chosen : p->kernels->gemm,
      .s8 = &args,
      .items = call->items,
      .columns = p->columns,
      .magnitudes = p->gathers_magnitudes ? nt_buffer(call, 3) : NULL,
  };
  run_layer(&layer, &p->time, call->shares);
}

void nt_dense_f32_choose(nt_dense_f32 *layer, size_t bucket, nt_f32_way way) {
  assert(bucket < NT_DENSE_BUCKETS);
  __atomic_store_n(&layer->ways[bucket], (uint8_t)way, __ATOMIC_RELAXED);
}

void nt_dense_f32_step(const void *parameters, const nt_call *call) {
  const nt_dense_f32 *p = parameters;
  const float *x = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  uint8_t way = __atomic_load_n(&p->ways[nt_dense_bucket(call->items)], __ATOMIC_RELAXED);
  if (way == NT_F32_WAY_LIBRARY) {
    p->sgemm(x, p->plain_weights, y, call->items, p->columns, p->depth);
    p->kernels->bias_activate(y, p->plain_bias, call->items, p->columns, p->activation);
    return;
  }
  nt_f32_gemm_args args = {
      .a = x,
      .weights = way == NT_F32_WAY_EXACT ? p->weights : p->bf16_weights,
      .rows = call->items,
      .columns = p->columns,
      .depth = p->depth,
      .out = y,
      .activation = p->activation,
  };
  if (way == NT_F32_WAY_BF16_TILES) {
    uint16_t *rounded = nt_buffer(call, p->gathers_magnitudes ? 3 : 2);
    p->kernels->round_rows(x, call->items, p->depth, rounded);
    args.a_rounded = rounded;
  }
  layer layer = {
      .f32_gemm = way == NT_F32_WAY_EXACT  ? p->kernels->gemm
                  : way == NT_F32_WAY_BF16 ? p->kernels->bf16_gemm
                                           : p->kernels->bf16_tiles,
      .f32 = &args,
      .items = call->items,
      .columns = p->columns,
      .magnitudes = p->gathers_magnitudes ? nt_buffer(call, 2) : NULL,
  };
  run_layer(&layer, &p->time, call->shares);
}
