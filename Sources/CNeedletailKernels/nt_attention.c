#include "nt_lanes.h"
#include "nt_tokens.h"

// Queries are taken in blocks, so that their scores stay in the second-level cache however long the row is. Keys and
// values are packed as the weights of a layer are, and both products are the engine's own: each sum runs in one order,
// whatever block or row it stands in. A row's tokens are filled up with zeros to whole panels; that these count for
// nothing depends on the row alone. What stands in front of a row's keys and values, its prefix, is packed with them:
// it costs what as many tokens cost here, and nothing in the layers.

enum { block_queries = 32 };

NT_INLINE size_t nt_whole_panels(size_t count) {
  return (count + NT_PANEL_COLUMNS - 1) / NT_PANEL_COLUMNS * NT_PANEL_COLUMNS;
}

/// Keys or values of one row and head: some of a prefix, then those of the row's tokens.
typedef struct nt_attended {
  const float *prefix;
  size_t prefix_count, prefix_stride;
  const float *tokens;
  size_t tokens_stride;
  /// Those of both together.
  size_t count;
} nt_attended;

NT_INLINE const float *nt_attended_at(const nt_attended *a, size_t index) {
  return index < a->prefix_count ? a->prefix + index * a->prefix_stride
                                 : a->tokens + (index - a->prefix_count) * a->tokens_stride;
}

/// Scratch of one row and head, in floats from its start. Each part is a multiple of NT_ALIGNMENT.
typedef struct nt_attention_parts {
  size_t keys, values, queries, scores, answers, end;
} nt_attention_parts;

NT_INLINE nt_attention_parts nt_attention_places(size_t width, size_t keys) {
  size_t padded = nt_whole_panels(keys);
  nt_attention_parts parts = {.keys = 0};
  parts.values = parts.keys + padded / NT_PANEL_COLUMNS * nt_f32_panel_floats(width);
  parts.queries = parts.values + nt_panel_count(width) * nt_f32_panel_floats(padded);
  parts.scores = parts.queries + block_queries * width;
  parts.answers = parts.scores + block_queries * padded;
  parts.end = parts.answers + block_queries * width;
  return parts;
}

size_t nt_attention_scratch_bytes(size_t head_width, size_t tokens) {
  return nt_attention_places(head_width, tokens).end * sizeof(float);
}

/// Keys as the columns of a layer; the last panel is filled up with zeros. Without vectors of its own: compilers would
/// scatter.
NT_SHARED void pack_keys(const nt_attended *k, size_t width, float *to) {
  for (size_t first = 0; first < k->count; first += NT_PANEL_COLUMNS) {
    if (k->count - first < NT_PANEL_COLUMNS) memset(to, 0, nt_f32_panel_floats(width) * sizeof *to);
    for (size_t c = 0; c < NT_PANEL_COLUMNS && first + c < k->count; c++) {
      const float *key = nt_attended_at(k, first + c);
      for (size_t i = 0; i < width; i++) to[i * NT_PANEL_COLUMNS + c] = key[i];
    }
    memset(to + width * NT_PANEL_COLUMNS, 0, NT_PANEL_COLUMNS * sizeof *to);
    to += nt_f32_panel_floats(width);
  }
}

/// Values as the weights of a layer whose depth is the tokens.
NT_SHARED void pack_values(const nt_attended *v, size_t padded, size_t width, float *to) {
  for (size_t first = 0; first < width; first += NT_PANEL_COLUMNS) {
    size_t columns = width - first < NT_PANEL_COLUMNS ? width - first : NT_PANEL_COLUMNS;
    if (columns < NT_PANEL_COLUMNS) memset(to, 0, nt_f32_panel_floats(padded) * sizeof *to);
    for (size_t i = 0; i < v->count; i++) {
      memcpy(to + i * NT_PANEL_COLUMNS, nt_attended_at(v, i) + first, columns * sizeof *to);
    }
    memset(to + v->count * NT_PANEL_COLUMNS, 0, (padded + 1 - v->count) * NT_PANEL_COLUMNS * sizeof *to);
    to += nt_f32_panel_floats(padded);
  }
}

/// Exponentials of the first `count` scores less the largest, and zeros behind them. Returns the inverse of their sum.
NT_INLINE float nt_exponentials(float *x, size_t count, size_t padded) {
  const nt_lanes_mask lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  float largest = nt_row_largest(x, count);
  size_t whole = count / nt_lane_count * nt_lane_count;
  nt_lanes sum = nt_all(0);
  for (size_t c = 0; c < whole; c += nt_lane_count) {
    nt_lanes e = nt_load(x + c) - largest;
    nt_exp_below(&e);
    nt_store(x + c, e);
    sum += e;
  }
  if (whole < padded) {
    nt_lanes e = nt_load(x + whole) - largest;
    nt_exp_below(&e);
    e = nt_select(lane < (int32_t)(count - whole), e, nt_all(0));
    nt_store(x + whole, e);
    sum += e;
  }
  return 1.0f / nt_lane_sum(&sum);
}

/// One head of one row of `count` tokens.
NT_INLINE void nt_attend(const nt_attention *p, const float *q, size_t stride, size_t count, const nt_attended *k,
                         const nt_attended *v, float *y, float *scratch) {
  const size_t width = p->head_width, keys = k->count, padded = nt_whole_panels(keys), y_stride = p->heads * width;
  const nt_attention_parts parts = nt_attention_places(width, keys);
  float *queries = scratch + parts.queries, *scores = scratch + parts.scores, *answers = scratch + parts.answers;
  pack_keys(k, width, scratch + parts.keys);
  pack_values(v, padded, width, scratch + parts.values);
  nt_f32_gemm_args by_keys = {.a = queries,
                              .weights = scratch + parts.keys,
                              .columns = padded,
                              .depth = width,
                              .panel_end = padded / NT_PANEL_COLUMNS,
                              .out = scores};
  nt_f32_gemm_args by_values = {.a = scores,
                                .weights = scratch + parts.values,
                                .columns = width,
                                .depth = padded,
                                .panel_end = nt_panel_count(width),
                                .out = answers};
  for (size_t first = 0; first < count; first += block_queries) {
    size_t rows = count - first < block_queries ? count - first : block_queries;
    float inverse[block_queries];
    for (size_t r = 0; r < rows; r++) {
      for (size_t c = 0; c < width; c++) queries[r * width + c] = q[(first + r) * stride + c] * p->scale;
    }
    by_keys.rows = by_values.rows = rows;
    p->kernels->gemm(&by_keys);
    for (size_t r = 0; r < rows; r++) inverse[r] = nt_exponentials(scores + r * padded, keys, padded);
    p->kernels->gemm(&by_values);
    for (size_t r = 0; r < rows; r++) {
      float *to = y + (first + r) * y_stride;
      for (size_t c = 0; c < width; c++) to[c] = answers[r * width + c] * inverse[r];
    }
  }
}

NT_INLINE void nt_attention_rows(const nt_attention *p, const nt_call *call) {
  const size_t width = p->heads * p->head_width, stride = p->is_fused ? 3 * width : width;
  const size_t inputs = p->is_fused ? 1 : 3;
  const float *q = nt_buffer(call, 0);
  const float *k = p->is_fused ? q + width : nt_buffer(call, 1);
  const float *v = p->is_fused ? q + 2 * width : nt_buffer(call, 2);
  float *y = nt_buffer(call, inputs), *scratch = nt_buffer(call, inputs + 1);
  for (size_t row = 0; row < call->rows; row++) {
    size_t first = call->starts[row], count = call->starts[row + 1] - first;
    if (count == 0) continue;
    for (size_t head = 0; head < p->heads; head++) {
      size_t column = head * p->head_width, at = first * stride + column;
      nt_attended keys = {.prefix_count = p->prefix,
                          .prefix_stride = width,
                          .tokens = k + at,
                          .tokens_stride = stride,
                          .count = p->prefix + count};
      nt_attended values = keys;
      values.tokens = v + at;
      if (p->prefix > 0) {
        keys.prefix = p->prefix_keys + column;
        values.prefix = p->prefix_values + column;
      }
      nt_attend(p, q + at, stride, count, &keys, &values, y + first * width + column, scratch);
    }
  }
}

NT_STEP(nt_attention_step, nt_attention_rows)
