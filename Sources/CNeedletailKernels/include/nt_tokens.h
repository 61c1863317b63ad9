/// Steps of encoders: rows of tables for tokens, attention among the tokens of a row, and one item from all of them.
/// Rows are as long as they are; no token is filled in.
#pragma once

#include "nt_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum nt_table_form {
  NT_TABLE_F32 = 0,
  /// IEEE 754 binary16, none of them infinite.
  NT_TABLE_F16 = 1,
  /// int8 with one fp32 scale a row.
  NT_TABLE_S8 = 2,
} nt_table_form;

/// Row `offset` + index of a table. Buffers: i32 items; fp32 output.
typedef struct nt_embedding {
  /// rows × width.
  const void *table;
  /// One a row; null unless the form is NT_TABLE_S8.
  const float *scales;
  uint32_t rows, width;
  /// Below `rows`. An index that leads outside the table is moved to its first or last row.
  uint32_t offset;
  nt_table_form form;
  /// The index is the place of the item in its row's sequence, and the input is not read.
  bool is_by_position;
} nt_embedding;

nt_step_function nt_embedding_step(nt_isa isa);

/// softmax(scale · q · kᵀ) · v among the tokens of a row, for each head. Buffers: the inputs, which are q, k and v of
/// heads × head_width columns, or one value of all three side by side; output; scratch. The keys and values of a prefix
/// stand in front of those of every row.
typedef struct nt_attention {
  const nt_f32_kernels *kernels;
  uint32_t heads, head_width;
  float scale;
  bool is_fused;
  /// Places of the prefix; 0: none.
  uint32_t prefix;
  /// [prefix, heads × head_width]; null without.
  const float *prefix_keys, *prefix_values;
} nt_attention;

/// Bytes of scratch for rows of up to `tokens` tokens, those of a prefix counted; grows with them.
size_t nt_attention_scratch_bytes(size_t head_width, size_t tokens);

/// A row's answer has the same bits whatever rows are beside it, and on every instruction set.
nt_step_function nt_attention_step(nt_isa isa);

typedef enum nt_pool_mode {
  NT_POOL_MEAN = 0,
  NT_POOL_FIRST = 1,
  NT_POOL_MAX = 2,
} nt_pool_mode;

/// One item from all tokens of a row; zeros where there are none. Buffers: fp32 tokens; fp32 rows. Counts rows.
typedef struct nt_token_pool {
  uint32_t columns;
  nt_pool_mode mode;
} nt_token_pool;

nt_step_function nt_token_pool_step(nt_isa isa);

/// What a token covers: bytes `start` to `end` of text `sequence` of its row, as part of word `word`. A special token
/// has 0, 0 and a word below 0.
typedef struct nt_token_span {
  int32_t start, end, word, sequence;
} nt_token_span;

/// The best answer in a text: the tokens s <= e of it, at most `tokens_max`, whose first and second logit have the
/// largest sum. Buffers: fp32 tokens of two logits; spans; fp32 rows of three numbers. Counts rows.
///
/// A row gets the byte at which s begins, the one at which e ends, and the share of s among the exponentials of all
/// first logits times that of e among the second ones: those of the text and of the row's first token, which stands for
/// no answer. Three zeros where the text has no token.
typedef struct nt_answer_span {
  uint32_t sequence, tokens_max;
} nt_answer_span;

nt_step_function nt_answer_span_step(nt_isa isa);

/// Entities of a row by the probabilities of its tokens. Buffers: fp32 tokens of `classes` columns; spans; fp32 rows of
/// 4 · entities_max numbers. Counts rows.
///
/// A word is of the class that its first token most likely is; words of one kind in a row are one entity, which a class
/// that begins one ends. For each entity, in their order: its kind, the byte at which it begins, the one at which it
/// ends, and the mean of the probabilities of its words; then -1, 0, 0, 0 to the end.
typedef struct nt_entities {
  uint32_t classes, entities_max;
  /// For each class: its kind, or -1 for what is no entity; and whether it begins one.
  const int32_t *kinds;
  const uint8_t *begins;
} nt_entities;

nt_step_function nt_entities_step(nt_isa isa);

#ifdef __cplusplus
}
#endif
