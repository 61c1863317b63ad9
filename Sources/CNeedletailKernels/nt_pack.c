#include "nt_internal.h"

NT_DECLARE_KERNELS(scalar)

size_t nt_panel_count(size_t columns) { return (columns + NT_PANEL_COLUMNS - 1) / NT_PANEL_COLUMNS; }

size_t nt_s8_row_stride(size_t depth) { return 2 * nt_s8_plane_bytes(depth) + sizeof(nt_s8_row_tail); }

size_t nt_s8_packed_bytes(size_t columns, size_t depth) {
  return nt_panel_count(columns) * nt_s8_panel_bytes(depth) + NT_S8_SLACK_BYTES;
}

size_t nt_s8_packed_offset(size_t column, size_t depth) { return column / NT_PANEL_COLUMNS * nt_s8_panel_bytes(depth); }

/// Every column's `group` steps of depth side by side, each weight plus `offset`.
NT_INLINE void pack_s8(const int8_t *w, const float *scales, const float *bias, size_t columns, size_t depth,
                       void *packed, const size_t group, const int offset) {
  uint8_t *panel = packed;
  memset(packed, 0, nt_panel_count(columns) * nt_s8_panel_bytes(depth));
  for (size_t first = 0; first < columns; first += NT_PANEL_COLUMNS) {
    nt_s8_panel_tail *tail = (nt_s8_panel_tail *)(panel + nt_s8_panel_bytes(depth) - sizeof(nt_s8_panel_tail));
    for (size_t c = 0; c < NT_PANEL_COLUMNS && first + c < columns; c++) {
      const int8_t *row = w + (first + c) * depth;
      for (size_t k = 0; k < depth; k++) {
        panel[(k / group * NT_PANEL_COLUMNS + c) * group + k % group] = (uint8_t)(row[k] + offset);
      }
      tail->scales[c] = scales[first + c];
      tail->bias[c] = bias ? bias[first + c] : 0.0f;
    }
    panel += nt_s8_panel_bytes(depth);
  }
}

/// The order of maddubs + madd and SDOT.
void nt_s8_pack__scalar(const int8_t *w, const float *scales, const float *bias, size_t columns, size_t depth,
                        void *packed) {
  pack_s8(w, scales, bias, columns, depth, packed, NT_K_GROUP, 0);
}

#if defined(NT_X86)
NT_DECLARE_KERNELS(avx512vnni)

/// VPDPBUSD takes weights as the unsigned operand.
void nt_s8_pack__avx512vnni(const int8_t *w, const float *scales, const float *bias, size_t columns, size_t depth,
                            void *packed) {
  pack_s8(w, scales, bias, columns, depth, packed, NT_K_GROUP, NT_S8_OFFSET__AVX512VNNI);
}
#elif defined(NT_ARM64)
NT_DECLARE_KERNELS(neon_i8mm)

/// SMMLA multiplies pairs of eights.
void nt_s8_pack__neon_i8mm(const int8_t *w, const float *scales, const float *bias, size_t columns, size_t depth,
                           void *packed) {
  pack_s8(w, scales, bias, columns, depth, packed, 2 * NT_K_GROUP, 0);
}
#endif

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

size_t nt_bf16_packed_bytes(size_t columns, size_t depth) {
  return nt_panel_count(columns) * nt_bf16_panel_bytes(depth);
}

void nt_bf16_pack(const float *w, const float *bias, size_t columns, size_t depth, void *packed) {
  memset(packed, 0, nt_bf16_packed_bytes(columns, depth));
  char *panel = packed;
  for (size_t first = 0; first < columns; first += NT_PANEL_COLUMNS) {
    uint16_t *to = (uint16_t *)(void *)panel;
    panel += nt_bf16_panel_bytes(depth);
    float *biases = (float *)(void *)panel - NT_PANEL_COLUMNS;
    for (size_t c = 0; c < NT_PANEL_COLUMNS && first + c < columns; c++) {
      const float *row = w + (first + c) * depth;
      for (size_t k = 0; k < depth; k++) to[(k / 2 * NT_PANEL_COLUMNS + c) * 2 + k % 2] = nt_bf16_rounded(row[k]);
      biases[c] = bias ? bias[first + c] : 0.0f;
    }
  }
}

size_t nt_bf16_row_elements(size_t depth) { return nt_bf16_padded_depth(depth); }
