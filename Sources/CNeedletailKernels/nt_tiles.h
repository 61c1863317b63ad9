// How a product is cut into register tiles where rows and panels of a tile are compile-time constants.
#pragma once

#include "nt_internal.h"

/// Rows are cut into as few tiles as can be and as equal as can be, which beats full tiles and a short
/// rest: a rest of one or two rows has too few independent sums to hide the latency of multiply-adds.
NT_INLINE size_t nt_tile_count(size_t rows, size_t rows_max) { return (rows + rows_max - 1) / rows_max; }
NT_INLINE size_t nt_tile_row(size_t rows, size_t tiles, size_t index) { return rows * index / tiles; }

/// `count` panels of one tile: P at once, or one by one where fewer are left.
#define NT_TILE_CASE(args, tile, row, panel, count, R, P)                                  \
  case R:                                                                                  \
    if ((count) == (P)) {                                                                  \
      tile(args, row, panel, R, P);                                                        \
    } else {                                                                               \
      for (size_t nt_p = 0; nt_p < (count); nt_p++) tile(args, row, (panel) + nt_p, R, 1); \
    }                                                                                      \
    break;

/// tile(args, row, panel, R, P) over all rows and all panels of the call, for the 32 registers of
/// AVX-512: 6 rows × 4 panels or 8 × 3 are 24 sums. The panels of a tile stay in L2 while the rows
/// pass over them, at 8 to 16 bytes a cycle of the 64 that L2 gives; so depth is not blocked.
#define NT_WALK_TILES_OF_8(args, tile)                                                      \
  do {                                                                                      \
    const size_t nt_rows = (args)->rows, nt_tiles = nt_tile_count(nt_rows, 8);              \
    const size_t nt_wide = nt_tile_count(nt_rows, nt_tiles) <= 6 ? 4 : 3;                   \
    for (size_t nt_at = (args)->panel_first; nt_at < (args)->panel_end; nt_at += nt_wide) { \
      size_t nt_left = (args)->panel_end - nt_at;                                           \
      size_t nt_count = nt_left < nt_wide ? nt_left : nt_wide;                              \
      for (size_t nt_i = 0; nt_i < nt_tiles; nt_i++) {                                      \
        size_t nt_row = nt_tile_row(nt_rows, nt_tiles, nt_i);                               \
        size_t nt_height = nt_tile_row(nt_rows, nt_tiles, nt_i + 1) - nt_row;               \
        if (nt_wide == 3) {                                                                 \
          switch (nt_height) {                                                              \
            NT_TILE_CASE(args, tile, nt_row, nt_at, nt_count, 6, 3)                         \
            NT_TILE_CASE(args, tile, nt_row, nt_at, nt_count, 7, 3)                         \
            NT_TILE_CASE(args, tile, nt_row, nt_at, nt_count, 8, 3)                         \
          }                                                                                 \
        } else {                                                                            \
          switch (nt_height) {                                                              \
            NT_TILE_CASE(args, tile, nt_row, nt_at, nt_count, 2, 4)                         \
            NT_TILE_CASE(args, tile, nt_row, nt_at, nt_count, 3, 4)                         \
            NT_TILE_CASE(args, tile, nt_row, nt_at, nt_count, 4, 4)                         \
            NT_TILE_CASE(args, tile, nt_row, nt_at, nt_count, 5, 4)                         \
            NT_TILE_CASE(args, tile, nt_row, nt_at, nt_count, 6, 4)                         \
          }                                                                                 \
        }                                                                                   \
      }                                                                                     \
    }                                                                                       \
  } while (0)

/// tile(args, row, panel, R, 1) over all rows and panels of the call, for tiles of up to six rows.
#define NT_WALK_TILES_OF_6(args, tile)                                             \
  do {                                                                             \
    const size_t nt_rows = (args)->rows, nt_tiles = nt_tile_count(nt_rows, 6);     \
    for (size_t nt_at = (args)->panel_first; nt_at < (args)->panel_end; nt_at++) { \
      for (size_t nt_i = 0; nt_i < nt_tiles; nt_i++) {                             \
        size_t nt_row = nt_tile_row(nt_rows, nt_tiles, nt_i);                      \
        switch (nt_tile_row(nt_rows, nt_tiles, nt_i + 1) - nt_row) {               \
          NT_TILE_CASE(args, tile, nt_row, nt_at, 1u, 2, 1)                        \
          NT_TILE_CASE(args, tile, nt_row, nt_at, 1u, 3, 1)                        \
          NT_TILE_CASE(args, tile, nt_row, nt_at, 1u, 4, 1)                        \
          NT_TILE_CASE(args, tile, nt_row, nt_at, 1u, 5, 1)                        \
          NT_TILE_CASE(args, tile, nt_row, nt_at, 1u, 6, 1)                        \
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
