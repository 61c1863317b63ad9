/// A compiled model as the kernels see it: a flat list of steps, run by one call.
#pragma once

#include "nt_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Rows, or units, of one run.
#define NT_PLAN_ITEMS_MAX 16384

/// Unit that a step counts: the rows of the run, its units (tokens of a text; for tables a unit is a row), or nothing,
/// because what it computes is the same however much is in the run.
typedef enum nt_count { NT_COUNT_ROWS = 0, NT_COUNT_UNITS = 1, NT_COUNT_ONE = 2 } nt_count;

/// One run of one step.
typedef struct nt_call {
  /// Scratch of the run, aligned to NT_ALIGNMENT.
  uint8_t *arena;
  /// Where the buffers of the step begin, in bytes from the arena's start; the step's header tells their order.
  const size_t *offsets;
  /// How many items the step computes: `rows`, `units` or 1.
  size_t items;
  size_t rows, units;
  /// The unit that each row begins with, and behind the last row the number of units: rows + 1 numbers. Null in plans
  /// without values per token.
  const uint32_t *starts;
  /// Whether the step may take the helpers of the pool.
  bool shares;
} nt_call;

/// Buffer `index` of a step.
static inline void *nt_buffer(const nt_call *call, size_t index) { return call->arena + call->offsets[index]; }

/// Computes one step. `parameters` is the struct that the header of the operation declares for it.
typedef void (*nt_step_function)(const void *parameters, const nt_call *call);

/// One step with everything resolved.
typedef struct nt_step {
  nt_step_function run;
  const void *parameters;
  const size_t *offsets;
  nt_count count;
  /// The step writes `starts`, and so says how many units there are.
  bool finds_units;
} nt_step;

/// A plan's `starts_offset` where it has no values per token.
#define NT_PLAN_NO_STARTS SIZE_MAX

typedef struct nt_plan {
  const nt_step *steps;
  size_t step_count;
  /// Rows and units from which some step is worth sharing; SIZE_MAX: none ever is.
  size_t share_rows_min, share_units_min;
  /// Where the `starts` of a run lie in its arena.
  size_t starts_offset;
} nt_plan;

/// Runs every step on `rows` rows that hold `units` units, both at most NT_PLAN_ITEMS_MAX; where a step finds the
/// units, `units` are the most that it may find. `arena` is aligned to NT_ALIGNMENT and as large as planned.
void nt_plan_run(const nt_plan *plan, void *arena, size_t rows, size_t units);
/// Runs every step on this thread only: for a loader, whose warm-up must not take the pool from those who serve.
void nt_plan_run_alone(const nt_plan *plan, void *arena, size_t rows, size_t units);
/// Runs every step as nt_plan_run does, and writes how long each took, for people who ask where the time goes. Reading
/// the clock adds some 20 ns a step.
void nt_plan_run_timed(const nt_plan *plan, void *arena, size_t rows, size_t units, uint64_t *step_nanoseconds);

/// Reads `bytes` bytes, a multiple of 64, and returns a word that depends on all of them: how fast
/// memory can be read.
uint64_t nt_read_all(const void *memory, size_t bytes);

#ifdef __cplusplus
}
#endif
