/// The step that keeps columns within bounds. Buffers: fp32 input; fp32 output.
#pragma once

#include "nt_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/// y = min(max(x, low), high), per column; NaN stays NaN. Infinite bounds are none.
typedef struct nt_clip {
  /// One bound for each column, or a single one for all: a value may have a million columns, and many nodes.
  const float *low, *high;
  uint32_t columns;
  bool has_one_low, has_one_high;
} nt_clip;

/// Null where `isa` is of another architecture.
nt_step_function nt_clip_step(nt_isa isa);

#ifdef __cplusplus
}
#endif
