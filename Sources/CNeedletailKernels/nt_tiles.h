// How a product is cut into register tiles where rows and panels of a tile are compile-time constants.
#pragma once

#include "nt_internal.h"

/// Before a loop over the rows or panels of a tile that follows its products: clang would leave it rolled where it is
/// long, and then keep every sum of the tile in memory, which halves the speed of the products.
#if defined(__clang__)
#define NT_UNROLLED _Pragma("clang loop unroll(full)")
#else
#define NT_UNROLLED
#endif

/// Rows are cut into as few tiles as can be and as equal as can be, which beats full tiles and a short
/// rest: a rest of one or two rows has too few independent sums to hide the latency of multiply-adds.
NT_INLINE size_t nt_tile_count(size_t rows, size_t rows_max) { return (rows + rows_max - 1) / rows_max; }
NT_INLINE size_t nt_tile_row(size_t rows, size_t tiles, size_t index) { return rows * index / tiles; }

/// Defines rows_R: all panels from `panel` to `end` for the same R rows, W at a time, then the rest in halves. For the
/// 32 registers of AVX-512: 8 panels of two or three rows, 6 rows × 4 panels or 8 × 3 are 16 to 24 sums.
#define NT_ROWS(target, type, R, W)                                                        \
  target NT_SHARED void rows_##R(const type *args, size_t row, size_t panel, size_t end) { \
    for (; panel + W <= end; panel += W) tile(args, row, panel, R, W);                     \
    if (W > 4 && panel + 4 <= end) tile(args, row, panel, R, 4), panel += 4;               \
    if (panel + 2 <= end) tile(args, row, panel, R, 2), panel += 2;                        \
    if (panel < end) tile(args, row, panel, R, 1);                                         \
  }
#define NT_ROWS_OF_2_TO_8(target, type) \
  NT_ROWS(target, type, 2, 8)           \
  NT_ROWS(target, type, 3, 8)           \
  NT_ROWS(target, type, 4, 4)           \
  NT_ROWS(target, type, 5, 4)           \
  NT_ROWS(target, type, 6, 4)           \
  NT_ROWS(target, type, 7, 3)           \
  NT_ROWS(target, type, 8, 3)

#define NT_CASE(R, call) \
  case R:                \
    call;                \
    break;

/// rows_2 to rows_8 over two or more rows and all panels of the call. Eight panels at a time stay in L2 while the rows
/// pass over them, at 8 to 16 bytes a cycle of the 64 that L2 gives; so depth is not blocked.
#define NT_WALK_ROWS(args, rows_max)                                                             \
  do {                                                                                           \
    size_t nt_tiles = nt_tile_count((args)->rows, rows_max);                                     \
    size_t nt_step = nt_tiles == 1 ? (args)->panel_end : 8;                                      \
    for (size_t nt_at = (args)->panel_first; nt_at < (args)->panel_end; nt_at += nt_step) {      \
      size_t nt_end = nt_at + nt_step < (args)->panel_end ? nt_at + nt_step : (args)->panel_end; \
      for (size_t nt_i = 0; nt_i < nt_tiles; nt_i++) {                                           \
        size_t nt_row = nt_tile_row((args)->rows, nt_tiles, nt_i);                               \
        switch (nt_tile_row((args)->rows, nt_tiles, nt_i + 1) - nt_row) {                        \
          NT_CASE(2, rows_2(args, nt_row, nt_at, nt_end))                                        \
          NT_CASE(3, rows_3(args, nt_row, nt_at, nt_end))                                        \
          NT_CASE(4, rows_4(args, nt_row, nt_at, nt_end))                                        \
          NT_CASE(5, rows_5(args, nt_row, nt_at, nt_end))                                        \
          NT_CASE(6, rows_6(args, nt_row, nt_at, nt_end))                                        \
          NT_CASE(7, rows_7(args, nt_row, nt_at, nt_end))                                        \
          NT_CASE(8, rows_8(args, nt_row, nt_at, nt_end))                                        \
        }                                                                                        \
      }                                                                                          \
    }                                                                                            \
  } while (0)

/// tile(args, row, panel, R, 1) over all rows and panels of the call, for tiles of up to six rows.
#define NT_WALK_TILES_OF_6(args, tile)                                             \
  do {                                                                             \
    const size_t nt_rows = (args)->rows, nt_tiles = nt_tile_count(nt_rows, 6);     \
    for (size_t nt_at = (args)->panel_first; nt_at < (args)->panel_end; nt_at++) { \
      for (size_t nt_i = 0; nt_i < nt_tiles; nt_i++) {                             \
        size_t nt_row = nt_tile_row(nt_rows, nt_tiles, nt_i);                      \
        switch (nt_tile_row(nt_rows, nt_tiles, nt_i + 1) - nt_row) {               \
          NT_CASE(2, tile(args, nt_row, nt_at, 2, 1))                              \
          NT_CASE(3, tile(args, nt_row, nt_at, 3, 1))                              \
          NT_CASE(4, tile(args, nt_row, nt_at, 4, 1))                              \
          NT_CASE(5, tile(args, nt_row, nt_at, 5, 1))                              \
          NT_CASE(6, tile(args, nt_row, nt_at, 6, 1))                              \
        }                                                                          \
      }                                                                            \
    }                                                                              \
  } while (0)

/// One row: P panels at a time, the rest one by one.
#define NT_WALK_ONE_ROW(args, tile, P)                                                 \
  do {                                                                                 \
    size_t nt_at = (args)->panel_first;                                                \
    for (; nt_at + (P) <= (args)->panel_end; nt_at += (P)) tile(args, 0, nt_at, 1, P); \
    for (; nt_at < (args)->panel_end; nt_at++) tile(args, 0, nt_at, 1, 1);             \
  } while (0)
