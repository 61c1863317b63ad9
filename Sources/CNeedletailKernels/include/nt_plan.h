/// A compiled model as the kernels see it: a flat list of steps, run by one call.
#pragma once

#include "nt_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Rows of one run.
#define NT_PLAN_ROWS_MAX 4096
/// A layer of fewer multiply-adds stays on its core: it takes less time than waking a helper.
#define NT_SHARE_MULTIPLY_ADDS_MIN ((size_t)2 << 20)
/// What each thread that shares a layer gets at least.
#define NT_THREAD_MULTIPLY_ADDS_MIN ((size_t)1 << 20)

typedef enum nt_step_kind {
  NT_STEP_PREPROCESS,
  NT_STEP_QUANTISE,
  NT_STEP_DENSE_S8,
  NT_STEP_DENSE_F32,
  NT_STEP_LOGISTIC,
  NT_STEP_SOFTMAX,
  NT_STEP_ARGMAX,
} nt_step_kind;

/// C ← A · Bᵀ: a is rows × depth, b columns × depth, c rows × columns, all row-major.
typedef void (*nt_sgemm)(const float *a, const float *b, float *c, size_t rows, size_t columns, size_t depth);

/// One operation with everything resolved. Offsets are bytes into the arena.
typedef struct nt_step {
  nt_step_kind kind;
  nt_activation activation;
  uint32_t in_columns, out_columns;
  size_t in_offset, out_offset;
  /// Quantise writes and int8 dense reads the row scales here.
  size_t scales_offset;
  /// Dense gathers the magnitudes of its rows here for the quantise behind it, which then reads each
  /// row once instead of twice; unused unless `has_magnitudes`.
  size_t magnitudes_offset;
  bool has_magnitudes;
  /// Int8 dense: no element of the input is below 0.
  bool in_is_nonnegative;
  /// Packed weights.
  const void *weights;
  const nt_preprocess *preprocess;
  /// Relaxed plans: canonical fp32 weights and bias for nt_plan.sgemm, else null.
  const float *plain_weights, *plain_bias;
} nt_step;

typedef struct nt_plan {
  const nt_kernel_table *kernels;
  const nt_step *steps;
  size_t step_count;
  /// Relaxed plans hand fp32 layers to this from `sgemm_rows_min` rows on, else null.
  nt_sgemm sgemm;
  size_t sgemm_rows_min;
  /// Rows from which some layer is worth sharing; SIZE_MAX: none ever is.
  size_t share_rows_min;
} nt_plan;

/// Runs every step on `rows` rows, at most NT_PLAN_ROWS_MAX. `arena` is aligned to NT_ALIGNMENT and as
/// large as planned.
void nt_plan_run(const nt_plan *plan, void *arena, size_t rows);
/// The same on this thread only: for a loader, whose warm-up must not take the pool from those who serve.
void nt_plan_run_alone(const nt_plan *plan, void *arena, size_t rows);
/// The same as nt_plan_run, and how long each step took: for people who ask where the time goes. Reading the clock
/// adds some 20 ns a step.
void nt_plan_run_timed(const nt_plan *plan, void *arena, size_t rows, uint64_t *step_nanoseconds);

/// Reads `bytes` bytes, a multiple of 64, and returns a word that depends on all of them: how fast
/// memory can be read.
uint64_t nt_read_all(const void *memory, size_t bytes);

#ifdef __cplusplus
}
#endif
