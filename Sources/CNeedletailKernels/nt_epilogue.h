// Work that follows the sums of a tile: written once, compiled for every instruction set, so that the
// floating-point part of a layer has the same bits everywhere.
#pragma once

#include "nt_lanes.h"

/// Copies the valid columns of a tile (rows × 16) to where they belong, and raises the magnitudes of
/// their rows where those are asked for.
NT_INLINE void nt_store_tile(const float *tile, float *out, uint32_t *row_magnitudes, size_t row, size_t rows,
                             size_t columns, size_t panel) {
  size_t first = panel * NT_PANEL_COLUMNS;
  size_t valid = columns - first < NT_PANEL_COLUMNS ? columns - first : NT_PANEL_COLUMNS;
  NT_EACH_ROW
  for (size_t r = 0; r < rows; r++) {
    float *to = out + (row + r) * columns + first;
    if (valid == NT_PANEL_COLUMNS) {
      memcpy(to, tile + r * NT_PANEL_COLUMNS, NT_PANEL_COLUMNS * sizeof(float));
    } else {
      for (size_t c = 0; c < valid; c++) to[c] = tile[r * NT_PANEL_COLUMNS + c];
    }
    if (row_magnitudes) {
      uint32_t largest = nt_magnitude(tile + r * NT_PANEL_COLUMNS, valid);
      row_magnitudes[row + r] = largest > row_magnitudes[row + r] ? largest : row_magnitudes[row + r];
    }
  }
}

/// Sums of rows × 16 → dequantise, bias, activation → out.
NT_INLINE void nt_s8_epilogue(const nt_s8_gemm_args *args, const int32_t *sums, const nt_s8_panel_tail *tail,
                              size_t row, size_t rows, size_t panel) {
  size_t first = panel * NT_PANEL_COLUMNS;
  if (args->accumulators) {
    size_t valid = args->columns - first < NT_PANEL_COLUMNS ? args->columns - first : NT_PANEL_COLUMNS;
    for (size_t r = 0; r < rows; r++) {
      memcpy(args->accumulators + (row + r) * args->columns + first, sums + r * NT_PANEL_COLUMNS,
             valid * sizeof(int32_t));
    }
    return;
  }
  _Alignas(64) float tile[8 * NT_PANEL_COLUMNS];
  NT_EACH_ROW
  for (size_t r = 0; r < rows; r++) {
    float row_scale = args->row_scales[row + r];
    for (size_t c = 0; c < NT_PANEL_COLUMNS; c++) {
      float product = (float)sums[r * NT_PANEL_COLUMNS + c] * (row_scale * tail->scales[c]);
      tile[r * NT_PANEL_COLUMNS + c] = product + tail->bias[c];
    }
  }
  nt_activate(tile, rows * NT_PANEL_COLUMNS, args->activation);
  nt_store_tile(tile, args->out, args->row_magnitudes, row, rows, args->columns, panel);
}

/// fp32 sums of rows × 16 (overwritten) → bias, activation → out.
NT_INLINE void nt_f32_epilogue(const nt_f32_gemm_args *args, float *tile, const float *bias, size_t row, size_t rows,
                               size_t panel) {
  NT_EACH_ROW
  for (size_t r = 0; r < rows; r++) {
    for (size_t c = 0; c < NT_PANEL_COLUMNS; c++) tile[r * NT_PANEL_COLUMNS + c] += bias[c];
  }
  nt_activate(tile, rows * NT_PANEL_COLUMNS, args->activation);
  nt_store_tile(tile, args->out, args->row_magnitudes, row, rows, args->columns, panel);
}
