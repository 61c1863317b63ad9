#include "nt_tokens.h"

#include "nt_lanes.h"

// MARK: - rows of tables

/// The row of a table for an index, moved inside where it leads out.
NT_INLINE size_t nt_table_row(const nt_embedding *p, int64_t index) {
  int64_t row = index + (int64_t)p->offset;
  return row < 0 ? 0 : row < (int64_t)p->rows ? (size_t)row : (size_t)p->rows - 1;
}

/// A finite binary16 is one of fp32 with a smaller exponent: 2¹¹² makes up for what the two formats differ in, also
/// where the number is subnormal.
NT_INLINE float nt_half_widened(uint16_t half) {
  float magnitude = nt_from_bits((uint32_t)(half & 0x7fff) << 13) * 0x1p112f;
  return nt_from_bits(nt_bits(magnitude) | (uint32_t)(half & 0x8000) << 16);
}

NT_INLINE void nt_embed(const nt_embedding *p, size_t row, float *y) {
  size_t width = p->width, first = row * width;
  switch (p->form) {
    case NT_TABLE_F32:
      memcpy(y, (const float *)p->table + first, width * sizeof *y);
      break;
    case NT_TABLE_F16: {
      const uint16_t *x = (const uint16_t *)p->table + first;
      for (size_t c = 0; c < width; c++) y[c] = nt_half_widened(x[c]);
      break;
    }
    case NT_TABLE_S8: {
      const int8_t *x = (const int8_t *)p->table + first;
      const float scale = p->scales[row];
      for (size_t c = 0; c < width; c++) y[c] = (float)x[c] * scale;
      break;
    }
  }
}

NT_INLINE void nt_embedding_items(const nt_embedding *p, const nt_call *call) {
  const int32_t *index = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  if (p->is_by_position) {
    for (size_t row = 0; row < call->rows; row++) {
      size_t first = call->starts[row], end = call->starts[row + 1];
      for (size_t i = first; i < end; i++) nt_embed(p, nt_table_row(p, (int64_t)(i - first)), y + i * p->width);
    }
    return;
  }
  for (size_t i = 0; i < call->items; i++) nt_embed(p, nt_table_row(p, index[i]), y + i * p->width);
}

// MARK: - one item from many

NT_INLINE void nt_token_pool_rows(const nt_token_pool *p, const nt_call *call) {
  const float *tokens = nt_buffer(call, 0);
  float *y = nt_buffer(call, 1);
  size_t columns = p->columns;
  for (size_t row = 0; row < call->items; row++, y += columns) {
    size_t first = call->starts[row], end = call->starts[row + 1];
    if (first == end) {
      memset(y, 0, columns * sizeof *y);
      continue;
    }
    memcpy(y, tokens + first * columns, columns * sizeof *y);
    if (p->mode == NT_POOL_FIRST) continue;
    for (size_t i = first + 1; i < end; i++) {
      const float *x = tokens + i * columns;
      if (p->mode == NT_POOL_MEAN) {
        for (size_t c = 0; c < columns; c++) y[c] += x[c];
      } else {
        // A NaN stays, on either side.
        for (size_t c = 0; c < columns; c++) y[c] = x[c] > y[c] || x[c] != x[c] ? x[c] : y[c];
      }
    }
    if (p->mode == NT_POOL_MEAN) {
      float count = (float)(end - first);
      for (size_t c = 0; c < columns; c++) y[c] /= count;
    }
  }
}

NT_STEP(nt_embedding_step, nt_embedding_items)
NT_STEP(nt_token_pool_step, nt_token_pool_rows)
