#include "nt_internal.h"

NT_DECLARE_KERNELS(scalar)

size_t nt_panel_count(size_t columns) { return (columns + NT_PANEL_COLUMNS - 1) / NT_PANEL_COLUMNS; }

size_t nt_s8_row_stride(size_t depth) { return (depth + NT_ALIGNMENT - 1) / NT_ALIGNMENT * NT_ALIGNMENT; }

size_t nt_s8_packed_bytes(size_t columns, size_t depth) { return nt_panel_count(columns) * nt_s8_panel_bytes(depth); }

/// The order of VPDPBUSD, maddubs + madd and SDOT: a column's four of depth side by side.
void nt_s8_pack__scalar(const int8_t *w, const float *scales, const float *bias, size_t columns, size_t depth,
                        void *packed) {
  uint8_t *panel = packed;
  memset(packed, 0, nt_s8_packed_bytes(columns, depth));
  for (size_t first = 0; first < columns; first += NT_PANEL_COLUMNS) {
    nt_s8_panel_tail *tail = (nt_s8_panel_tail *)(panel + nt_s8_panel_bytes(depth) - sizeof(nt_s8_panel_tail));
    for (size_t c = 0; c < NT_PANEL_COLUMNS && first + c < columns; c++) {
      const int8_t *row = w + (first + c) * depth;
      int32_t sum = 0;
      for (size_t k = 0; k < depth; k++) {
        size_t group = k / NT_K_GROUP;
        panel[(group * NT_PANEL_COLUMNS + c) * NT_K_GROUP + k % NT_K_GROUP] = (uint8_t)row[k];
        sum += row[k];
      }
      tail->sums[c] = sum;
      tail->scales[c] = scales[first + c];
      tail->bias[c] = bias ? bias[first + c] : 0.0f;
    }
    panel += nt_s8_panel_bytes(depth);
  }
}

size_t nt_f32_packed_bytes(size_t columns, size_t depth) {
  return nt_panel_count(columns) * nt_f32_panel_floats(depth) * sizeof(float);
}

void nt_f32_pack(const float *w, const float *bias, size_t columns, size_t depth, float *packed) {
  memset(packed, 0, nt_f32_packed_bytes(columns, depth));
  for (size_t first = 0; first < columns; first += NT_PANEL_COLUMNS) {
    for (size_t c = 0; c < NT_PANEL_COLUMNS && first + c < columns; c++) {
      const float *row = w + (first + c) * depth;
      for (size_t k = 0; k < depth; k++) packed[k * NT_PANEL_COLUMNS + c] = row[k];
      packed[depth * NT_PANEL_COLUMNS + c] = bias ? bias[first + c] : 0.0f;
    }
    packed += nt_f32_panel_floats(depth);
  }
}
