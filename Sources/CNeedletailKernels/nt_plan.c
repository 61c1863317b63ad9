#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "nt_plan.h"

#include <time.h>

#include "nt_internal.h"
#include "nt_pool.h"

/// A run before its first step.
static nt_call begin(const nt_plan *plan, void *arena, size_t rows, size_t units, bool may_share) {
  assert(rows <= NT_PLAN_ITEMS_MAX && units <= NT_PLAN_ITEMS_MAX);
  bool is_worthwhile = rows >= plan->share_rows_min || units >= plan->share_units_min;
  nt_call call = {.arena = arena, .rows = rows, .units = units};
  if (plan->starts_offset != NT_PLAN_NO_STARTS) call.starts = (const void *)(call.arena + plan->starts_offset);
  call.shares = may_share && is_worthwhile && nt_pool_threads() > 1;
  if (call.shares) nt_pool_enter();
  return call;
}

static void run_step(const nt_step *step, nt_call *call) {
  call->offsets = step->offsets;
  call->items = step->count == NT_COUNT_ROWS ? call->rows : step->count == NT_COUNT_UNITS ? call->units : 1;
  // Texts without a token leave nothing to compute per token.
  if (call->items == 0) return;
  step->run(step->parameters, call);
  if (step->finds_units) call->units = call->starts[call->rows];
}

static void end(const nt_call *call) {
  if (call->shares) nt_pool_leave();
}

void nt_plan_run(const nt_plan *plan, void *arena, size_t rows, size_t units) {
  nt_call call = begin(plan, arena, rows, units, true);
  for (size_t i = 0; i < plan->step_count; i++) run_step(&plan->steps[i], &call);
  end(&call);
}

void nt_plan_run_alone(const nt_plan *plan, void *arena, size_t rows, size_t units) {
  nt_call call = begin(plan, arena, rows, units, false);
  for (size_t i = 0; i < plan->step_count; i++) run_step(&plan->steps[i], &call);
}

void nt_plan_run_timed(const nt_plan *plan, void *arena, size_t rows, size_t units, uint64_t *step_nanoseconds) {
  nt_call call = begin(plan, arena, rows, units, true);
  struct timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  for (size_t i = 0; i < plan->step_count; i++) {
    run_step(&plan->steps[i], &call);
    clock_gettime(CLOCK_MONOTONIC, &after);
    step_nanoseconds[i] =
        (uint64_t)((int64_t)(after.tv_sec - before.tv_sec) * 1000000000 + (after.tv_nsec - before.tv_nsec));
    before = after;
  }
  end(&call);
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
