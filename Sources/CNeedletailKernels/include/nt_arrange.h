/// Steps that add columns to one another or move them, of any element type.
#pragma once

#include "nt_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Buffers: two inputs; output. y = a + b, per element.
typedef struct nt_add {
  /// Elements of one item.
  uint32_t elements;
} nt_add;

nt_step_function nt_add_f32_step(nt_isa isa);
nt_step_function nt_add_f64_step(nt_isa isa);

/// Buffers: `input_count` inputs; output. Each item of an input is `outer` blocks of its own number of bytes; the
/// output has the blocks of all inputs side by side.
typedef struct nt_concat {
  const uint32_t *block_bytes;
  uint32_t input_count, outer;
} nt_concat;

void nt_concat_step(const void *parameters, const nt_call *call);

/// Buffers: input; output. Block by block, output element i is input element columns[i].
typedef struct nt_select {
  /// Each below `in_columns`.
  const uint32_t *columns;
  uint32_t in_columns, out_columns;
  /// Blocks of one item.
  uint32_t outer;
} nt_select;

/// Elements of 4 bytes, of 8 bytes.
void nt_select_4_step(const void *parameters, const nt_call *call);
void nt_select_8_step(const void *parameters, const nt_call *call);

#ifdef __cplusplus
}
#endif
