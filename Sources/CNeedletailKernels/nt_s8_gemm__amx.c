#include "nt_amx.h"
#include "nt_tiles.h"

#if defined(NT_X86)
NT_DECLARE_KERNELS(amx)
NT_DECLARE_KERNELS(avx512vnni)

// TDPBSUD multiplies a tile of signed activations, up to 16 rows × 64 of depth, by a tile of 64 of depth × 16 columns
// of unsigned weights into 16 × 16 sums. Sixteen groups of a panel as AVX-512 VNNI packs it, 1,024 bytes in a row, are
// such a tile of weights: both read the same bytes, and the row's compensation takes off the same 128 · Σa. Sums are
// exact modulo 2³², so the bits are those of every other kernel.
//
// The last tile of a depth that is no multiple of 64 reads on, behind its panel; the activations there are zeros, so
// that what it reads does not count. NT_S8_SLACK_BYTES follow the last panel for it.
//
// G multiply-adds/s of the prototype that this kernel follows, on Sapphire Rapids at 2.78 GHz, where the host grants
// full speed and where it throttles tiles. This kernel has run under emulation only.
//
//   N = K     16 rows       32 rows       VNNI, 8 rows
//     128     566 / 269     586 / 282     248
//     512     990 / 426   1,196 / 498     344
//   1,024   1,108 / 432   1,270 / 510     338

/// A tile of weights costs its load, 8 to 21 cycles, however few the rows; VNNI takes eight cycles a row for the same.
/// AMX wins from four rows on by a quarter and from eight on by a factor of two. But where the host throttles tiles
/// they take three to four times as long, which costs more below eight rows than there is to gain.
enum { amx_rows_min = 8, amx_depth_min = 64 };

enum {
  step_depth = 64,
  step_bytes = step_depth * NT_PANEL_COLUMNS,
  /// Sums of up to 32 rows of one panel.
  panel_sums = 32 * NT_PANEL_COLUMNS,
  /// Longest run of steps in depth before the next rows: two panels of it, 32 KiB, stay in L1.
  block_steps = 16,
  /// Rows whose sums of two panels wait in memory for the next block of depth: 16 KiB.
  group_rows = 128,
};

NT_INLINE size_t steps_of(size_t depth) { return (depth + step_depth - 1) / step_depth; }

/// Every tile is 64 bytes wide; `rows` says how high each is.
NT_TARGET_AMX NT_INLINE void configure(const uint8_t rows[8]) {
  _Alignas(64) nt_tile_config config;
  memset(&config, 0, sizeof config);
  config.palette = 1;
  for (int i = 0; i < 8; i++) config.row_bytes[i] = 64, config.rows[i] = rows[i];
  nt_tile_configure(&config);
}

// MARK: - epilogue, beside the next block

/// A block of rows × panels whose sums wait in memory. Its epilogue runs between the steps of the next block: tiles
/// take 64 cycles a step and hardly an issue slot, an epilogue takes both vector ports for some cycles a row and panel.
typedef struct pending {
  const int32_t *sums;
  /// Place of the block, of whose `rows` so many are `done`.
  size_t row, rows, panel, done;
  __m512i largest[32];
} pending;

NT_TARGET_AMX NT_INLINE void finish_rows(const nt_s8_gemm_args *args, pending *block, size_t count, const int P) {
  size_t end = block->done + count < block->rows ? block->done + count : block->rows;
  if (block->done >= end) return;
  nt_tile_output to = nt_s8_output(args);
  nt_s8_panel_lanes lanes[4];
  for (int p = 0; p < P; p++) lanes[p] = nt_s8_load_panel(args, block->panel + (size_t)p);
  NT_EACH_ROW
  for (size_t r = block->done; r < end; r++) {
    size_t row = block->row + r;
    const int8_t *a = args->a + row * args->a_stride;
    __m512i start = _mm512_set1_epi32(nt_s8_tail_of_row(a, args->depth)->compensation);
    __m512 row_scale = _mm512_set1_ps(args->accumulators ? 0 : args->row_scales[row]);
    __m512i largest = _mm512_setzero_si512();
    for (int p = 0; p < P; p++) {
      const int32_t *from = block->sums + r * NT_PANEL_COLUMNS + (size_t)p * panel_sums;
      __m512i sums = _mm512_add_epi32(start, _mm512_load_si512(from));
      largest = nt_s8_finish_lanes(args, &to, sums, row, block->panel + (size_t)p, row_scale, lanes[p], largest);
    }
    block->largest[r] = largest;
  }
  block->done = end;
}

/// Finishes what is left of a block, whose sums may be overwritten then.
NT_TARGET_AMX NT_INLINE void drain(const nt_s8_gemm_args *args, pending *block, const int P) {
  if (block->rows == 0) return;
  finish_rows(args, block, block->rows, P);
  if (args->row_magnitudes) {
    uint32_t *magnitudes = args->row_magnitudes + block->row;
    nt_raise_magnitudes(magnitudes, block->largest, block->rows < 16 ? block->rows : 16);
    if (block->rows > 16) nt_raise_magnitudes(magnitudes + 16, block->largest + 16, block->rows - 16);
  }
  block->rows = 0;
}

NT_TARGET_AMX NT_INLINE void wait(pending *block, const int32_t *sums, size_t row, size_t rows, size_t panel) {
  block->sums = sums;
  block->row = row;
  block->rows = rows;
  block->panel = panel;
  block->done = 0;
  for (size_t r = rows; r % 16; r++) block->largest[r] = _mm512_setzero_si512();
}

// MARK: - up to 16 rows: one tile of activations, four panels

NT_TARGET_AMX NT_INLINE void low_block(const nt_s8_gemm_args *args, pending *block, int32_t *sums, size_t panel,
                                       const int P) {
  size_t bytes = nt_s8_panel_bytes(args->depth), steps = steps_of(args->depth);
  size_t share = (block->rows + steps - 1) / steps;
  const uint8_t *w = (const uint8_t *)args->weights + panel * bytes;
  const int8_t *a = args->a;
  nt_tile_zero(0), nt_tile_zero(1), nt_tile_zero(2), nt_tile_zero(3);
  for (size_t s = 0; s < steps; s++, w += step_bytes, a += step_depth) {
    nt_tile_load(4, a, args->a_stride);
    nt_tile_load(5, w, 64), nt_tile_multiply(0, 4, 5);
    if (P > 1) nt_tile_load(6, w + bytes, 64), nt_tile_multiply(1, 4, 6);
    if (P > 2) nt_tile_load(7, w + 2 * bytes, 64), nt_tile_multiply(2, 4, 7);
    if (P > 3) nt_tile_load(5, w + 3 * bytes, 64), nt_tile_multiply(3, 4, 5);
    finish_rows(args, block, share, P);
  }
  drain(args, block, P);
  nt_tile_store(0, sums, 64);
  if (P > 1) nt_tile_store(1, sums + panel_sums, 64);
  if (P > 2) nt_tile_store(2, sums + 2 * panel_sums, 64);
  if (P > 3) nt_tile_store(3, sums + 3 * panel_sums, 64);
  wait(block, sums, 0, args->rows, panel);
}

NT_TARGET_AMX NT_INLINE size_t low_panels(const nt_s8_gemm_args *args, size_t panel, const int P) {
  _Alignas(64) int32_t sums[4 * panel_sums];
  pending block;
  block.rows = block.done = 0;
  for (; panel + (size_t)P <= args->panel_end; panel += (size_t)P) low_block(args, &block, sums, panel, P);
  drain(args, &block, P);
  return panel;
}

NT_TARGET_AMX NT_SHARED void low(const nt_s8_gemm_args *args) {
  uint8_t r = (uint8_t)args->rows;
  configure((uint8_t[8]){r, r, r, r, r, 16, 16, 16});
  size_t panel = low_panels(args, args->panel_first, 4);
  if (panel + 2 <= args->panel_end) panel = low_panels(args, panel, 2);
  if (panel < args->panel_end) low_panels(args, panel, 1);
}

// MARK: - more rows: two tiles of activations × two panels

/// Part of the depth of a block: where it begins in its operands, and how many steps it has.
typedef struct depth_part {
  const int8_t *a;
  const uint8_t *w;
  size_t steps;
  bool is_first;
} depth_part;

/// Adds a part of the depth to the four tiles of `sums`, which the first part starts from 0.
NT_TARGET_AMX NT_INLINE void high_block(const nt_s8_gemm_args *args, pending *block, depth_part part, size_t upper,
                                        int32_t *sums, const int P) {
  size_t stride = args->a_stride, bytes = nt_s8_panel_bytes(args->depth);
  size_t share = (block->rows + part.steps - 1) / part.steps;
  const int8_t *a0 = part.a, *a1 = part.a + upper * stride;
  const uint8_t *w = part.w;
  int32_t *lower = sums + upper * NT_PANEL_COLUMNS;
  if (part.is_first) {
    nt_tile_zero(0), nt_tile_zero(1), nt_tile_zero(2), nt_tile_zero(3);
  } else {
    nt_tile_load(0, sums, 64), nt_tile_load(2, lower, 64);
    if (P > 1) nt_tile_load(1, sums + panel_sums, 64), nt_tile_load(3, lower + panel_sums, 64);
  }
  for (size_t s = 0; s < part.steps; s++, a0 += step_depth, a1 += step_depth, w += step_bytes) {
    nt_tile_load(6, w, 64), nt_tile_load(4, a0, stride);
    if (P > 1) nt_tile_load(7, w + bytes, 64);
    nt_tile_load(5, a1, stride);
    nt_tile_multiply(0, 4, 6);
    if (P > 1) nt_tile_multiply(1, 4, 7);
    nt_tile_multiply(2, 5, 6);
    if (P > 1) nt_tile_multiply(3, 5, 7);
    finish_rows(args, block, share, P);
  }
  drain(args, block, P);
  nt_tile_store(0, sums, 64), nt_tile_store(2, lower, 64);
  if (P > 1) nt_tile_store(1, sums + panel_sums, 64), nt_tile_store(3, lower + panel_sums, 64);
}

/// Rows first ..< end by all panels from `panel`, P at a time. All blocks of rows are `height` high; the last reaches
/// back over rows that are done already and writes the same bits again, so that one tile configuration serves all.
NT_TARGET_AMX NT_INLINE size_t high_panels(const nt_s8_gemm_args *args, size_t first, size_t end, size_t height,
                                           size_t panel, const int P) {
  size_t bytes = nt_s8_panel_bytes(args->depth), steps = steps_of(args->depth), upper = (height + 1) / 2;
  size_t parts = (steps + block_steps - 1) / block_steps;
  _Alignas(64) int32_t sums[group_rows / 32 * 2 * panel_sums];
  pending block;
  block.rows = block.done = 0;
  for (; panel + (size_t)P <= args->panel_end; panel += (size_t)P) {
    for (size_t i = 0; i < parts; i++) {
      size_t s = steps * i / parts;
      depth_part part = {.w = (const uint8_t *)args->weights + panel * bytes + s * step_bytes,
                         .steps = steps * (i + 1) / parts - s,
                         .is_first = i == 0};
      int32_t *to = sums;
      for (size_t row = first; row < end; row += height, to += 2 * panel_sums) {
        size_t at = row + height > end ? end - height : row;
        part.a = args->a + at * args->a_stride + s * step_depth;
        high_block(args, &block, part, upper, to, P);
        if (i + 1 == parts) wait(&block, to, at, height, panel);
      }
    }
  }
  drain(args, &block, P);
  return panel;
}

NT_TARGET_AMX NT_SHARED void high(const nt_s8_gemm_args *args) {
  size_t blocks = nt_tile_count(args->rows, 32), height = (args->rows + blocks - 1) / blocks;
  uint8_t upper = (uint8_t)((height + 1) / 2), lower = (uint8_t)(height - upper);
  configure((uint8_t[8]){upper, upper, lower, lower, upper, lower, 16, 16});
  size_t group = group_rows / 32 * height;
  for (size_t first = 0; first < args->rows; first += group) {
    size_t end = first + group < args->rows ? first + group : args->rows;
    if (end - first < height) first = end - height;
    size_t panel = high_panels(args, first, end, height, args->panel_first, 2);
    if (panel < args->panel_end) high_panels(args, first, end, height, panel, 1);
  }
}

NT_TARGET_AMX void nt_s8_gemm__amx(const nt_s8_gemm_args *args) {
  if (args->rows < amx_rows_min || args->depth < amx_depth_min) {
    nt_s8_gemm__avx512vnni(args);
    return;
  }
  if (args->rows <= 16) {
    low(args);
  } else {
    high(args);
  }
  // Back to the initial state: a context switch then saves nothing of the 8 KiB of tiles. Two switches take 2.12 µs
  // without tiles, 2.27 released, and 2.71 with live ones.
  nt_tile_release();
}
#endif
