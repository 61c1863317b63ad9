#include "nt_amx.h"
#include "nt_tiles.h"

#if defined(NT_X86)
// TDPBF16PS multiplies a tile of activations, up to 16 rows × 32 of depth, by a tile of 32 of depth × 16 columns of
// weights into 16 × 16 fp32 sums. Sixteen pairs of depth of a panel, 1,024 bytes in a row, are such a tile of weights.
// The depth of rows and panels is filled up with zeros, so that no tile reads what is not its own.
//
// G multiply-adds/s of the prototype that this kernel follows, on Sapphire Rapids at 2.78 GHz, beside fused
// multiply-adds of fp32: 512 wide 378 at 8 rows and 703 at 32, beside 83; 1,024 wide 181 and 424, beside 72. This
// kernel has run under emulation only.

enum {
  step_depth = nt_bf16_step_depth,
  step_bytes = step_depth * NT_PANEL_COLUMNS * (int)sizeof(uint16_t),
  tile_floats = 16 * NT_PANEL_COLUMNS,
};

NT_TARGET_AVX512VNNI void nt_bf16_round_rows__amx(const float *x, size_t rows, size_t depth, uint16_t *to) {
  size_t stride = nt_bf16_padded_depth(depth);
  for (size_t row = 0; row < rows; row++, x += depth, to += stride) {
    for (size_t k = 0; k < depth; k++) to[k] = nt_bf16_rounded(x[k]);
    memset(to + depth, 0, (stride - depth) * sizeof *to);
  }
}

/// Every tile is 64 bytes wide; `rows` says how high each is.
NT_TARGET_AMX_BF16 NT_INLINE void configure(const uint8_t rows[8]) {
  _Alignas(64) nt_tile_config config;
  memset(&config, 0, sizeof config);
  config.palette = 1;
  for (int i = 0; i < 8; i++) config.row_bytes[i] = 64, config.rows[i] = rows[i];
  nt_tile_configure(&config);
}

/// Up to 16 rows of one panel: bias, activation, store.
NT_TARGET_AMX_BF16 NT_SHARED void finish(const nt_f32_gemm_args *args, const float *sums, size_t row, size_t rows,
                                         size_t panel) {
  nt_tile_output to = {.out = args->out,
                       .row_magnitudes = args->row_magnitudes,
                       .columns = args->columns,
                       .activation = args->activation};
  __m512 bias = _mm512_load_ps(nt_bf16_bias(args, panel));
  __m512i largest[16];
  for (int r = 0; r < 16; r++) largest[r] = _mm512_setzero_si512();
  NT_EACH_ROW
  for (size_t r = 0; r < rows; r++) {
    __m512 y = _mm512_add_ps(_mm512_load_ps(sums + r * NT_PANEL_COLUMNS), bias);
    largest[r] = nt_finish_lanes(&to, y, row + r, panel, largest[r]);
  }
  if (to.row_magnitudes) nt_raise_magnitudes(to.row_magnitudes + row, largest, rows);
}

/// Up to 16 rows: one tile of activations, P panels.
NT_TARGET_AMX_BF16 NT_INLINE void low_block(const nt_f32_gemm_args *args, size_t panel, const int P) {
  size_t bytes = nt_bf16_panel_bytes(args->depth), stride = nt_bf16_padded_depth(args->depth);
  const char *w = (const char *)args->weights + panel * bytes;
  const uint16_t *a = args->a_rounded;
  nt_tile_zero(0), nt_tile_zero(1), nt_tile_zero(2), nt_tile_zero(3);
  for (size_t k = 0; k < stride; k += step_depth, w += step_bytes, a += step_depth) {
    nt_tile_load(4, a, stride * sizeof *a);
    nt_tile_load(5, w, 64), nt_tile_multiply_bf16(0, 4, 5);
    if (P > 1) nt_tile_load(6, w + bytes, 64), nt_tile_multiply_bf16(1, 4, 6);
    if (P > 2) nt_tile_load(7, w + 2 * bytes, 64), nt_tile_multiply_bf16(2, 4, 7);
    if (P > 3) nt_tile_load(5, w + 3 * bytes, 64), nt_tile_multiply_bf16(3, 4, 5);
  }
  _Alignas(64) float sums[4 * tile_floats];
  nt_tile_store(0, sums, 64);
  if (P > 1) nt_tile_store(1, sums + tile_floats, 64);
  if (P > 2) nt_tile_store(2, sums + 2 * tile_floats, 64);
  if (P > 3) nt_tile_store(3, sums + 3 * tile_floats, 64);
  for (int p = 0; p < P; p++) finish(args, sums + p * tile_floats, 0, args->rows, panel + (size_t)p);
}

NT_TARGET_AMX_BF16 NT_SHARED void low(const nt_f32_gemm_args *args) {
  uint8_t r = (uint8_t)args->rows;
  configure((uint8_t[8]){r, r, r, r, r, 16, 16, 16});
  size_t panel = args->panel_first, end = args->panel_end;
  for (; panel + 4 <= end; panel += 4) low_block(args, panel, 4);
  if (panel + 2 <= end) low_block(args, panel, 2), panel += 2;
  if (panel < end) low_block(args, panel, 1);
}

/// `height` rows from `row` on, of which the first tile has `upper`, by P panels.
NT_TARGET_AMX_BF16 NT_INLINE void high_block(const nt_f32_gemm_args *args, size_t row, size_t height, size_t upper,
                                             size_t panel, const int P) {
  size_t bytes = nt_bf16_panel_bytes(args->depth), stride = nt_bf16_padded_depth(args->depth);
  const char *w = (const char *)args->weights + panel * bytes;
  const uint16_t *a0 = args->a_rounded + row * stride, *a1 = a0 + upper * stride;
  nt_tile_zero(0), nt_tile_zero(1), nt_tile_zero(2), nt_tile_zero(3);
  for (size_t k = 0; k < stride; k += step_depth, w += step_bytes, a0 += step_depth, a1 += step_depth) {
    nt_tile_load(6, w, 64), nt_tile_load(4, a0, stride * sizeof *a0);
    if (P > 1) nt_tile_load(7, w + bytes, 64);
    nt_tile_load(5, a1, stride * sizeof *a1);
    nt_tile_multiply_bf16(0, 4, 6);
    if (P > 1) nt_tile_multiply_bf16(1, 4, 7);
    nt_tile_multiply_bf16(2, 5, 6);
    if (P > 1) nt_tile_multiply_bf16(3, 5, 7);
  }
  _Alignas(64) float sums[4 * tile_floats];
  nt_tile_store(0, sums, 64), nt_tile_store(2, sums + 2 * tile_floats, 64);
  if (P > 1) nt_tile_store(1, sums + tile_floats, 64), nt_tile_store(3, sums + 3 * tile_floats, 64);
  for (int p = 0; p < P; p++) {
    finish(args, sums + p * tile_floats, row, upper, panel + (size_t)p);
    finish(args, sums + (2 + p) * tile_floats, row + upper, height - upper, panel + (size_t)p);
  }
}

/// More rows: two tiles of activations × two panels. All blocks of rows are `height` high; the last reaches back over
/// rows that are done already and writes the same bits again, so that one tile configuration serves all.
NT_TARGET_AMX_BF16 NT_SHARED void high(const nt_f32_gemm_args *args) {
  size_t blocks = nt_tile_count(args->rows, 32), height = nt_tile_count(args->rows, blocks), upper = (height + 1) / 2;
  uint8_t h0 = (uint8_t)upper, h1 = (uint8_t)(height - upper);
  configure((uint8_t[8]){h0, h0, h1, h1, h0, h1, 16, 16});
  for (size_t panel = args->panel_first; panel < args->panel_end; panel += 2) {
    for (size_t row = 0; row < args->rows; row += height) {
      size_t at = row + height > args->rows ? args->rows - height : row;
      if (panel + 2 <= args->panel_end) {
        high_block(args, at, height, upper, panel, 2);
      } else {
        high_block(args, at, height, upper, panel, 1);
      }
    }
  }
}

NT_TARGET_AMX_BF16 void nt_bf16_tiles__amx(const nt_f32_gemm_args *args) {
  if (args->rows <= 16) {
    low(args);
  } else {
    high(args);
  }
  // Back to the initial state, as nt_s8_gemm__amx leaves it.
  nt_tile_release();
}
#endif
