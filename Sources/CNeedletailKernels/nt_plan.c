#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "nt_plan.h"

#include <time.h>

#include "nt_internal.h"
#include "nt_pool.h"

/// Panels that a part of a shared layer begins at a multiple of, where there are enough: the widest
/// tile of a lone row.
enum { tile_panels = 4, parts_per_thread = 4 };

// MARK: - layers

/// One layer, whole or to be shared: the product of one of the two types, less its panels.
typedef struct layer {
  const nt_kernel_table *kernels;
  const nt_s8_gemm_args *s8;
  const nt_f32_gemm_args *f32;
  size_t rows, panels, unit, parts;
  /// Null, or where all parts of the layer gather the magnitudes of its rows.
  uint32_t *row_magnitudes;
} layer;

static void run_panels(const layer *layer, size_t first, size_t end, uint32_t *row_magnitudes) {
  if (layer->s8) {
    nt_s8_gemm_args args = *layer->s8;
    args.panel_first = first;
    args.panel_end = end;
    args.row_magnitudes = row_magnitudes;
    layer->kernels->s8_gemm(&args);
  } else {
    nt_f32_gemm_args args = *layer->f32;
    args.panel_first = first;
    args.panel_end = end;
    args.row_magnitudes = row_magnitudes;
    layer->kernels->f32_gemm(&args);
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
  if (!layer->row_magnitudes) {
    run_panels(layer, first, end, NULL);
    return;
  }
  uint32_t own[NT_PLAN_ROWS_MAX];
  memset(own, 0, layer->rows * sizeof *own);
  run_panels(layer, first, end, own);
  raise(layer->row_magnitudes, own, layer->rows);
}

/// - shares: whether this run may take the helpers of the pool.
static void run_layer(layer *layer, const nt_step *step, bool shares) {
  size_t multiply_adds = layer->rows * step->in_columns * step->out_columns;
  layer->panels = nt_panel_count(step->out_columns);
  if (layer->row_magnitudes) memset(layer->row_magnitudes, 0, layer->rows * sizeof *layer->row_magnitudes);
  if (shares && multiply_adds >= NT_SHARE_MULTIPLY_ADDS_MIN) {
    size_t wanted = multiply_adds / NT_THREAD_MULTIPLY_ADDS_MIN;
    size_t threads = nt_pool_acquire(wanted < layer->panels ? wanted : layer->panels);
    if (threads > 1) {
      layer->unit = layer->panels >= 2 * tile_panels * threads ? tile_panels : 1;
      size_t units = (layer->panels + layer->unit - 1) / layer->unit;
      layer->parts = units < parts_per_thread * threads ? units : parts_per_thread * threads;
      nt_pool_run(run_part, layer, threads, layer->parts);
      return;
    }
  }
  run_panels(layer, 0, layer->panels, layer->row_magnitudes);
}

// MARK: - steps

static void run_step(const nt_plan *plan, const nt_step *step, uint8_t *base, size_t rows, bool shares) {
  const nt_kernel_table *kernels = plan->kernels;
  void *in = base + step->in_offset;
  void *out = base + step->out_offset;
  float *scales = (float *)(base + step->scales_offset);
  uint32_t *magnitudes = step->has_magnitudes ? (uint32_t *)(base + step->magnitudes_offset) : NULL;
  switch (step->kind) {
    case NT_STEP_PREPROCESS:
      kernels->preprocess(step->preprocess, in, out, rows);
      break;
    case NT_STEP_QUANTISE:
      if (magnitudes) {
        kernels->quantise_known(in, magnitudes, rows, step->in_columns, out, nt_s8_row_stride(step->in_columns),
                                scales);
      } else {
        kernels->quantise(in, rows, step->in_columns, out, nt_s8_row_stride(step->in_columns), scales);
      }
      break;
    case NT_STEP_DENSE_S8: {
      nt_s8_gemm_args args = {
          .a = in,
          .a_stride = nt_s8_row_stride(step->in_columns),
          .row_scales = scales,
          .weights = step->weights,
          .rows = rows,
          .columns = step->out_columns,
          .depth = step->in_columns,
          .out = out,
          .activation = step->activation,
          .a_is_nonnegative = step->in_is_nonnegative,
      };
      layer layer = {.kernels = kernels, .s8 = &args, .rows = rows, .row_magnitudes = magnitudes};
      run_layer(&layer, step, shares);
      break;
    }
    case NT_STEP_DENSE_F32: {
      if (step->plain_weights && rows >= plan->sgemm_rows_min) {
        plan->sgemm(in, step->plain_weights, out, rows, step->out_columns, step->in_columns);
        kernels->bias_activate(out, step->plain_bias, rows, step->out_columns, step->activation);
        break;
      }
      nt_f32_gemm_args args = {
          .a = in,
          .weights = step->weights,
          .rows = rows,
          .columns = step->out_columns,
          .depth = step->in_columns,
          .out = out,
          .activation = step->activation,
      };
      layer layer = {.kernels = kernels, .f32 = &args, .rows = rows, .row_magnitudes = magnitudes};
      run_layer(&layer, step, shares);
      break;
    }
    case NT_STEP_LOGISTIC:
      kernels->logistic(in, out, rows * step->in_columns);
      break;
    case NT_STEP_SOFTMAX:
      kernels->softmax(in, out, rows, step->in_columns);
      break;
    case NT_STEP_ARGMAX:
      kernels->argmax(in, out, rows, step->in_columns);
      break;
  }
}

void nt_plan_run(const nt_plan *plan, void *arena, size_t rows) {
  assert(rows <= NT_PLAN_ROWS_MAX);
  bool shares = rows >= plan->share_rows_min && nt_pool_threads() > 1;
  if (shares) nt_pool_enter();
  for (size_t i = 0; i < plan->step_count; i++) run_step(plan, &plan->steps[i], arena, rows, shares);
  if (shares) nt_pool_leave();
}

void nt_plan_run_alone(const nt_plan *plan, void *arena, size_t rows) {
  assert(rows <= NT_PLAN_ROWS_MAX);
  for (size_t i = 0; i < plan->step_count; i++) run_step(plan, &plan->steps[i], arena, rows, false);
}

void nt_plan_run_timed(const nt_plan *plan, void *arena, size_t rows, uint64_t *step_nanoseconds) {
  assert(rows <= NT_PLAN_ROWS_MAX);
  bool shares = rows >= plan->share_rows_min && nt_pool_threads() > 1;
  if (shares) nt_pool_enter();
  struct timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  for (size_t i = 0; i < plan->step_count; i++) {
    run_step(plan, &plan->steps[i], arena, rows, shares);
    clock_gettime(CLOCK_MONOTONIC, &after);
    step_nanoseconds[i] =
        (uint64_t)((int64_t)(after.tv_sec - before.tv_sec) * 1000000000 + (after.tv_nsec - before.tv_nsec));
    before = after;
  }
  if (shares) nt_pool_leave();
}

uint64_t nt_read_all(const void *memory, size_t bytes) {
  const uint64_t *words = memory;
  uint64_t lanes[8] = {0};
  for (size_t i = 0; i + 8 <= bytes / sizeof *words; i += 8) {
    for (size_t lane = 0; lane < 8; lane++) lanes[lane] ^= words[i + lane];
  }
  uint64_t any = 0;
  for (size_t lane = 0; lane < 8; lane++) any ^= lanes[lane];
  return any;
}
