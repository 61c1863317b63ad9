/// The step that turns texts into tokens, and so says how many tokens each row
/// has.
#pragma once

#include "nt_plan.h"
#include "nt_text.h"
#include "nt_tokens.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Buffers: texts, `texts_per_row` items a row; where each row's tokens begin,
/// the `starts` of the run; one nt_text_status a row; scratch that
/// nt_text_scratch_make made; i32 ids; where `has_types`, i32 types; where
/// `has_spans`, an nt_token_span each.
///
/// A row that cannot be tokenised has no tokens, and its status says why.
typedef struct nt_tokenize {
  const nt_text_vocabulary *vocabulary;
  /// Which text of a row, and which is the second of a pair; NT_TEXT_NONE:
  /// there is none.
  uint32_t first, second, texts_per_row;
  /// Tokens of one run, for which the buffers have room.
  uint32_t units_max;
  bool has_types, has_spans;
} nt_tokenize;

/// Counts rows, and finds units.
void nt_tokenize_step(const void *parameters, const nt_call *call);

#ifdef __cplusplus
}
#endif
